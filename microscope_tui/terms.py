"""The words of the house and what is asked in them, as types. Imports nothing that is slow to import.

Everything here is a frozen value that goes through JSON unchanged: `x == type(x).from_json(x.to_json())`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from enum import StrEnum
from typing import Any, Self, TypeVar
from urllib.parse import parse_qsl, quote, urlencode

from microscope_tui.errors import Fault, MicroscopeError


class Modality(StrEnum):
    """What a token position holds."""

    TEXT = "text"
    IMAGE = "image"
    VIDEO = "video"
    AUDIO = "audio"


class Stream(StrEnum):
    """Which rows of the decoder are looked at.

    `RESIDUAL`: hidden states h_0 … h_L, h_L before the final norm. `UPDATE`: what block l adds,
    h_{l+1} − h_l, for l = 0 … L−1. `MAIN`: the paper's chained residual-free forward,
    m_{l+1} = MLP(norm(Attn(norm(m_l)))) with m_0 = h_0: a counterfactual that never occurs in the model.
    """

    RESIDUAL = "residual"
    UPDATE = "update"
    MAIN = "main"


def captured_streams(streams: Sequence[Stream]) -> tuple[Stream, ...]:
    """The streams to capture for those asked for: the update is the difference of two residual layers."""
    captured = {Stream.RESIDUAL if stream is Stream.UPDATE else stream for stream in streams}
    return tuple(stream for stream in Stream if stream in captured)


class Metric(StrEnum):
    """The three quantities, each a number per layer."""

    LINEARITY = "linearity"
    DIMENSION = "dimension"
    ANISOTROPY = "anisotropy"


class JobKind(StrEnum):
    """What a job makes: the profiles of a slice, the tokens of one of its examples, a preview of its examples, a map
    of a sample of its rows by their main axes or by t-SNE, or the tokens that linear maps explain worst."""

    MEASURE = "measure"
    TOKENS = "tokens"
    PREVIEW = "preview"
    MAP = "map"
    TSNE = "t-sne"
    WORST = "worst"


KIND_WORDS: Mapping[JobKind, str] = {
    JobKind.MEASURE: "measure",
    JobKind.TOKENS: "tokens",
    JobKind.PREVIEW: "examples",
    JobKind.MAP: "map",
    JobKind.TSNE: "t-SNE map",
    JobKind.WORST: "worst tokens",
}
"""What people call what a job of each kind makes."""


class JobState(StrEnum):
    """Where a job stands. A paused one keeps what it has and waits until it is told to go on."""

    QUEUED = "queued"
    RUNNING = "running"
    PAUSED = "paused"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def ended(self) -> bool:
        return self in (JobState.DONE, JobState.FAILED, JobState.CANCELLED)

    @property
    def waits(self) -> bool:
        return self in (JobState.QUEUED, JobState.PAUSED)


SINK_RATIO = 10.0
"""A row so many times longer than the median of the rows that are not zero is a sink: much attention may go to it, and
it rules whatever it counts in."""

PARTIAL_SECONDS = 2.0
"""Partial results are made, go to the disk and are announced at most so often."""

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
"""What the options of a question are called, in their order."""

DTYPES = ("float32", "bfloat16", "float16")
"""Precisions that a model can be opened in."""

NUMBER_BYTES: Mapping[str, int] = {
    "float64": 8,
    "float32": 4,
    "bfloat16": 2,
    "float16": 2,
    "float8_e4m3fn": 1,
    "int8": 1,
    "uint8": 1,
}
"""Bytes of a number, by the names that configurations give."""


def check_dtype(dtype: str) -> None:
    """Raise `MicroscopeError` unless a model can be opened in this precision, or in its own."""
    if dtype not in ("auto", *DTYPES):
        raise MicroscopeError(f"There is no precision {dtype!r}: use {', '.join(DTYPES)} or auto.")


COLUMN_ROLES = ("image", "video", "audio", "question", "choices", "answer", "hint")
"""What a column of a data set can be mapped to."""

SLICE_OPTIONS = ("split", "filter", "count", "seed", "prompt", "stream")

FILTER_KINDS = ("image", "video", "audio", "text-only")
"""Filters by what an example has: a picture, video or sound, or none of them."""

FILTER_COLUMNS = ("task", "grade", "subject", "topic", "category", "skill")
"""ScienceQA's columns that describe a question; a filter names one with a value: `subject:physics`."""


def filter_terms(text: str) -> list[tuple[str, str]]:
    """The terms of a filter, joined by commas there: each its name, and its value (empty for `FILTER_KINDS`).

    Raises `MicroscopeError` for one that cannot be.
    """
    found = []
    for term in filter(None, (term.strip() for term in text.split(","))):
        name, colon, value = (part.strip() for part in term.partition(":"))
        if name not in (FILTER_COLUMNS if colon else FILTER_KINDS) or bool(colon) != bool(value):
            raise MicroscopeError(
                f"There is no filter {term!r}: use {', '.join(FILTER_KINDS)}, or one of {', '.join(FILTER_COLUMNS)} "
                "with a value, like subject:natural science."
            )
        found.append((name, value))
    return found


W = TypeVar("W", bound=StrEnum)


@dataclass(frozen=True)
class SliceSpec:
    """A named, reproducible choice of examples from a data set.

    `source` is a hub id (`derek-thomas/ScienceQA`), a local folder or file, or `demo:NAME`. `count` is
    None for every example. `filter` names a filter of the source (`image`, `text-only`, `subject:…`, …),
    several joined by `,`; empty for none. With a count, `seed` decides which examples are drawn.

    `prompt` is put to every example instead of a question of its own. With `stream` the data is not downloaded:
    the first `count` examples are taken in order. `columns` are pairs of a role (of `COLUMN_ROLES`) and the name of
    the column that plays it, several names joined by `,`, for data whose columns are not named as ScienceQA's.

    The text form is `SOURCE?split=test&filter=image&count=200&seed=1&image=photo`; what has its default is left out.
    """

    source: str
    split: str = "test"
    filter: str = ""
    count: int | None = None
    seed: int = 0
    prompt: str = ""
    stream: bool = False
    columns: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        if not self.source:
            raise MicroscopeError("The slice has no source: give a hub id, a folder or demo:scienceqa.")
        if self.count is not None and self.count < 1:
            raise MicroscopeError(f"A slice of {self.count} examples is empty: give count=1 or more.")
        if self.stream and self.count is None:
            raise MicroscopeError("A streamed slice needs to know where to end: give a count, like count=200.")
        if self.stream and self.seed:
            raise MicroscopeError("A streamed slice is the first examples in order and no draw: leave out the seed.")
        roles = [role for role, _ in self.columns]
        for role, name in self.columns:
            if role not in COLUMN_ROLES:
                raise MicroscopeError(f"No column can be mapped to {role!r}: use {', '.join(COLUMN_ROLES)}.")
            if not name.strip(","):
                raise MicroscopeError(f"{role}= in the slice names no column.")
            if roles.count(role) > 1:
                raise MicroscopeError(f"{role}= stands twice in the slice: join its columns by a comma.")
        if self.prompt and "question" in roles:
            raise MicroscopeError("The slice has both a prompt and a column of questions: leave out one of them.")
        # A mapping has no order, and equal slices must compare equal.
        object.__setattr__(self, "columns", tuple(sorted(self.columns)))

    @classmethod
    def parse(cls, text: str) -> Self:
        """The spec of a text form; `MicroscopeError` names the part that is wrong."""
        source, _, query = text.partition("?")
        values: dict[str, Any] = {}
        columns: list[tuple[str, str]] = []
        for name, value in parse_qsl(query, keep_blank_values=True):
            if name in COLUMN_ROLES:
                columns.append((name, value))
            elif name in values:
                raise MicroscopeError(f"{name}= stands twice in the slice: leave out one of them.")
            elif name not in SLICE_OPTIONS:
                options = ", ".join((*sorted(SLICE_OPTIONS), *COLUMN_ROLES))
                raise MicroscopeError(f"A slice has no option {name!r}: use {options}.")
            elif name in ("count", "seed"):
                try:
                    values[name] = int(value)
                except ValueError:
                    raise MicroscopeError(f"{name}={value} in the slice is not a whole number.") from None
            elif name == "stream":
                if value not in ("0", "1"):
                    raise MicroscopeError(f"stream={value} in the slice means nothing: use stream=1.")
                values[name] = value == "1"
            else:
                values[name] = value
        return cls(source, **values, columns=tuple(columns))

    def __str__(self) -> str:
        own = [f for f in fields(self) if f.name in SLICE_OPTIONS]
        options = {f.name: getattr(self, f.name) for f in own if getattr(self, f.name) != f.default}
        if self.stream:
            options["stream"] = 1
        options |= dict(self.columns)
        return self.source + ("?" + urlencode(options, safe=":,", quote_via=quote) if options else "")

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        return cls(**{**data, "columns": tuple((role, name) for role, name in data.get("columns", ()))})


@dataclass(frozen=True)
class Request:
    """All that a measurement depends on, as asked for: one job of the worker.

    `dtype`, `device` and `attention` may be `auto`: resolved by the worker, recorded in the provenance.
    `sample_tokens` bounds the rows kept of each modality; `folds` is the number of groups of examples for
    held-out scores and intervals. `max_batch` bounds the examples in one forward pass.

    `without` names rows that do not count: `sinks`, `duplicates`, or groups of positions of the model (`special`,
    `newline`, `tiles`, …). With `one_tile` a model that cuts pictures into tiles gets each as one. With `before` the
    vision tower and the connector are measured too, as layers before the decoder. `matched` bounds the rows of
    each modality, stream and layer that a method of dimension counts, the different ones or all where it keeps copies:
    as many for all that is compared. With `reference` the values of LLM-Microscope's own functions stand beside ours.
    """

    model: str
    slice: SliceSpec
    metrics: tuple[Metric, ...] = tuple(Metric)
    modalities: tuple[Modality, ...] = (Modality.TEXT, Modality.IMAGE)
    streams: tuple[Stream, ...] = tuple(Stream)
    dtype: str = "auto"
    device: str = "auto"
    attention: str = "auto"
    sample_tokens: int = 4096
    folds: int = 10
    max_batch: int = 8
    without: tuple[str, ...] = ()
    one_tile: bool = False
    before: bool = False
    reference: bool = False
    matched: int | None = None

    def __post_init__(self) -> None:
        for name, kind in (("metrics", Metric), ("modalities", Modality), ("streams", Stream)):
            object.__setattr__(self, name, words(getattr(self, name), kind, name))
        for name in ("sample_tokens", "folds", "max_batch"):
            if getattr(self, name) < 1:
                raise MicroscopeError(f"{name} = {getattr(self, name)} must be 1 or more.")
        if self.matched is not None and self.matched < 1:
            raise MicroscopeError(f"matched = {self.matched} must be 1 or more.")
        check_dtype(self.dtype)
        # A set has no order, and equal requests must compare equal.
        object.__setattr__(self, "without", tuple(sorted(set(self.without))))

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        values = dict(data)
        values["slice"] = SliceSpec.from_json(values["slice"])
        return cls(**values)


def words(given: Sequence[str], kind: type[W], name: str) -> tuple[W, ...]:
    """The words of an enum as given, each once; `MicroscopeError` for an unknown one, or when there are none."""
    once = dict.fromkeys((given,) if isinstance(given, str) else given)
    unknown = next((word for word in once if word not in tuple(kind)), None)
    if unknown is not None:
        raise MicroscopeError(f"{unknown!r} is none of the {name}: use {', '.join(kind)}.")
    if not once:
        raise MicroscopeError(f"No {name} are asked for: use {', '.join(kind)}.")
    return tuple(kind(word) for word in once)


@dataclass(frozen=True)
class Progress:
    """How far a job is. `phase` is one word or two for people: `loading model`, `measuring`, …

    `done` of `total` are counted in `unit`. A phase before or after them may count by itself: `percent` is how far
    that is. `rate` is examples a second, `eta` seconds, `device_bytes` the memory in use on the accelerator;
    None while unknown, or where there is none.
    """

    phase: str
    done: int = 0
    total: int = 0
    tokens: int = 0
    rate: float | None = None
    eta: float | None = None
    skipped: int = 0
    device_bytes: int | None = None
    unit: str = "examples"
    percent: int | None = None

    @property
    def counts_examples(self) -> bool:
        """Whether examples are being done, and not what comes before or after them."""
        return self.done > 0 and self.unit == "examples" and self.percent is None


STOPPING: Mapping[JobState, str] = {JobState.CANCELLED: "cancelling", JobState.PAUSED: "pausing"}
"""What a running job can be told to become, and what it is said to do until it is."""


@dataclass(frozen=True)
class Job:
    """One request to the worker, and where it stands. Times are seconds since the epoch.

    `kind` is what it makes; `example` the index in the slice of the one example that a job of kind `tokens` looks at.
    With `memory_check` it fails before a model is loaded that cannot fit into the free memory. `surroundings` is the
    key of what its words mean where it was asked (`store.keys.surroundings_key`), empty where that is not known.
    `becoming` is what a running one was told to become and is not yet: a key of `STOPPING`. `fault` is what `error` is
    about, where that is known.
    """

    id: str
    request: Request
    state: JobState = JobState.QUEUED
    progress: Progress = Progress("queued")
    error: str | None = None
    created: float = 0.0
    started: float | None = None
    ended: float | None = None
    kind: JobKind = JobKind.MEASURE
    example: int | None = None
    memory_check: bool = True
    surroundings: str = ""
    becoming: JobState | None = None
    fault: Fault | None = None

    @property
    def now(self) -> Progress:
        """How far it is, for people: that it is about to stop goes before what it does meanwhile."""
        return replace(self.progress, phase=STOPPING[self.becoming], percent=None) if self.becoming else self.progress

    def is_older(self, known: Job) -> bool:
        """Whether it is an earlier job than one that is `known`, or an earlier state of one that has ended since."""
        return self.created < known.created or (self.id == known.id and known.state.ended and not self.state.ended)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        values = dict(data)
        values["request"] = Request.from_json(values["request"])
        values["kind"] = JobKind(values.get("kind", JobKind.MEASURE))
        values["state"] = JobState(values["state"])
        values["progress"] = Progress(**values["progress"])
        values["becoming"] = JobState(values["becoming"]) if values.get("becoming") else None
        values["fault"] = Fault(values["fault"]) if values.get("fault") else None
        return cls(**values)
