"""What comes of a request, as types: estimates, profiles, measurements. Imports nothing that is slow to import.

Everything here is a frozen value that goes through JSON unchanged: `x == type(x).from_json(x.to_json())`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from enum import StrEnum
from itertools import zip_longest
from typing import Any, Self

from microscope_tui.methods import METHODS, method_of
from microscope_tui.terms import Metric, Modality, Request, SliceSpec, Stream, captured_streams


class Trap(StrEnum):
    """What a note can be about that is told elsewhere too, or before the others."""

    SMALL_UPDATE = "small update"
    FEW_ROWS = "few rows"
    SINKS = "sinks"
    DUPLICATES = "duplicates"


class Note(str):
    """The text of a note that says to the program, too, what it is `about`."""

    about: Trap | None

    def __new__(cls, text: str, about: Trap | None = None) -> Note:
        note = super().__new__(cls, text)
        note.about = about
        return note


def about(note: str) -> Trap | None:
    """What a note is about where it says so to the program."""
    return note.about if isinstance(note, Note) else None


@dataclass(frozen=True)
class Estimate:
    """One number with what one must know to believe it.

    `value` is None when the quantity is undefined, and `reason` says why. `low` and `high` bound the 95 %
    interval, None where there is none. `n` rows of width `d` went in. `notes` are traps that apply here; `facts`
    stand beside the number and warn of nothing (ρ, rank, how it was fitted). `influence` is what each fold, a group of
    examples that is left out at once, adds to the error of the value: the squares add up to the squared standard error.
    Empty where it is not known. `shares` are the folds' shares of the rows. `repeated` is the share of the rows given
    that repeat an earlier one, None where nobody has looked.
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    n: int = 0
    d: int = 0
    reason: str | None = None
    notes: tuple[str, ...] = ()
    facts: tuple[str, ...] = ()
    influence: tuple[float, ...] = ()
    shares: tuple[float, ...] = ()
    repeated: float | None = None


@dataclass(frozen=True)
class Profile:
    """One metric over the layers of one (model, slice, modality, stream). Lists are of equal length.

    States (anisotropy and dimension of `residual` and `main`) have layers 0 … L. What belongs to a block
    (linearity, and everything of `update`) has one entry a block, l = 0 … L−1, for the block that layer l
    enters. `notes[i]` holds the reason where `value[i]` is None, and the traps that apply; `facts[i]` what else
    stands beside the number.

    Layers below 0 are stages before the decoder, the last of them the connector; `stages[i]` is their name, empty
    inside the decoder, and `widths[i]` the width of their rows, which is d inside it.

    `influence[i]` is what each fold of examples adds to the error of value i (see `Estimate`), to six digits. The
    folds are those of the slice, whatever the model: two profiles of one slice are compared fold by fold.
    `shares[i]` are the shares of the rows that these folds have there, to four digits. `repeated[i]` is as in
    `Estimate`.
    """

    metric: Metric
    method: str
    modality: Modality
    stream: Stream
    layers: tuple[int, ...]
    value: tuple[float | None, ...]
    low: tuple[float | None, ...]
    high: tuple[float | None, ...]
    n: tuple[int, ...]
    d: int
    examples: int
    notes: tuple[tuple[str, ...], ...]
    facts: tuple[tuple[str, ...], ...] = ()
    stages: tuple[str, ...] = ()
    widths: tuple[int, ...] = ()
    influence: tuple[tuple[float, ...], ...] = ()
    shares: tuple[tuple[float, ...], ...] = ()
    repeated: tuple[float | None, ...] = ()

    def __post_init__(self) -> None:
        count = len(self.layers)
        empty = {"facts": (), "stages": "", "widths": self.d, "influence": (), "shares": (), "repeated": None}
        for name, usual in empty.items():
            if not getattr(self, name):
                object.__setattr__(self, name, (usual,) * count)
        lengths = {len(getattr(self, name)) for name in LISTS}
        if len(lengths) != 1:
            raise ValueError(f"the lists of a profile have different lengths: {sorted(lengths)}")

    @property
    def formula(self) -> str:
        return method_of(self.metric, self.method).formula

    @classmethod
    def of(
        cls,
        metric: Metric,
        method: str,
        modality: Modality,
        stream: Stream,
        estimates: Sequence[Estimate],
        *,
        d: int,
        examples: int,
    ) -> Self:
        """The profile of one estimate a layer, from layer 0 on."""
        return cls(
            metric,
            method,
            modality,
            stream,
            layers=tuple(range(len(estimates))),
            value=tuple(e.value for e in estimates),
            low=tuple(e.low for e in estimates),
            high=tuple(e.high for e in estimates),
            n=tuple(e.n for e in estimates),
            d=d,
            examples=examples,
            notes=tuple(((e.reason,) if e.reason else ()) + e.notes for e in estimates),
            facts=tuple(e.facts for e in estimates),
            influence=tuple(tuple(float(f"{u:.6g}") for u in e.influence) for e in estimates),
            shares=tuple(tuple(float(f"{share:.4g}") for share in e.shares) for e in estimates),
            repeated=tuple(e.repeated for e in estimates),
        )

    def to_json(self) -> dict[str, Any]:
        data = asdict(self)
        data["formula"] = self.formula
        data["traps"] = [[about(note) or "" for note in notes] for notes in self.notes]
        data["n_over_d"] = [n / d if d else None for n, d in zip(self.n, self.widths, strict=True)]
        return data

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        # What older versions have measured says nothing of groups, of rows that repeat, and of what notes are about.
        values = {"influence": (), "shares": (), "repeated": (), **data}
        values = {f.name: values[f.name] for f in fields(cls)}
        for name in LISTS:
            values[name] = tuple(values[name])
        for name in ("notes", "facts", "influence", "shares"):
            values[name] = tuple(map(tuple, values[name]))
        values["notes"] = tuple(
            tuple(Note(text, Trap(trap)) if trap else text for text, trap in zip_longest(notes, traps))
            for notes, traps in zip_longest(values["notes"], data.get("traps", ()), fillvalue=())
        )
        values["metric"] = Metric(values["metric"])
        values["modality"] = Modality(values["modality"])
        values["stream"] = Stream(values["stream"])
        return cls(**values)


def not_measured(tokens: Mapping[str, int] | Mapping[Modality, int], modalities: Sequence[str]) -> tuple[str, ...]:
    """Notes of the modalities that were not asked for and have positions, of which `tokens` says how many."""
    others = (m for m in Modality if m not in modalities and tokens.get(m))
    return tuple(f"{tokens[m]:,} {m} positions are not measured: ask for {m} too" for m in others)


LISTS = ("layers", "value", "low", "high", "n", "notes", "facts", "stages", "widths", "influence", "shares", "repeated")
"""The fields of a profile with one entry a layer."""


def unbroken(known: Iterable[bool], stages: Sequence[str]) -> Iterator[list[int]]:
    """The runs of places that are `known`, for lines without a gap. Each of the `stages` before the decoder begins a
    new one: its rows have nothing to do with those of the one before."""
    run: list[int] = []
    for i, is_known in enumerate(known):
        if run and (not is_known or (stages and stages[i] != stages[i - 1])):
            yield run
            run = []
        if is_known:
            run.append(i)
    if run:
        yield run


@dataclass(frozen=True)
class Skipped:
    """An example that could not be used, by name, and why."""

    example: str
    reason: str


@dataclass(frozen=True)
class Answer:
    """The option that the model chose of an example, whether it is right, and by what margin of logits."""

    example: str
    chosen: int
    right: bool
    margin: float


@dataclass(frozen=True)
class Measurement:
    """All profiles of one request. `complete` is False while the worker is still adding examples.

    `questions` are the examples with options and a known answer. `scored` of them are those whose options the model's
    first token tells apart, and `accuracy` is the share of these that were answered right, None where there are none.
    `provenance` is what the numbers depend on: identity of model and data, template, dtype, device,
    attention, versions, cache key. `refused` says of each stream that could not be trusted why not.
    `tokens` counts the rows of each modality, `groups` those of each group of positions, and `sinks` the rows of
    each modality with a massive norm at some layer, whether or not they count. `answers` are the options that the
    model chose.
    """

    model: str
    slice: SliceSpec
    profiles: tuple[Profile, ...]
    accuracy: float | None = None
    examples: int = 0
    tokens: Mapping[str, int] = field(default_factory=dict)
    skipped: tuple[Skipped, ...] = ()
    refused: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    provenance: Mapping[str, Any] = field(default_factory=dict)
    complete: bool = True
    groups: Mapping[str, int] = field(default_factory=dict)
    sinks: Mapping[str, int] = field(default_factory=dict)
    answers: tuple[Answer, ...] = ()
    questions: int = 0

    @property
    def scored(self) -> int:
        """How many questions `accuracy` is the share of."""
        return len(self.answers)

    def profile(self, metric: Metric, modality: Modality, stream: Stream, method: str | None = None) -> Profile | None:
        """The profile asked for (by default of the metric's first method), None if it was not measured."""
        method = method or METHODS[metric][0]
        for p in self.profiles:
            if (p.metric, p.method, p.modality, p.stream) == (metric, method, modality, stream):
                return p
        return None

    def narrowed(self, request: Request) -> Self | None:
        """What a request gets of this measurement, which asked for at least its metrics, modalities and streams.

        None where measuring could give something else: fewer folds than asked for, because all of it together took
        too much memory; examples left out for the sake of a stream that is not asked for; massive rows counted in such
        a stream; notes that may be of more rows than are asked for, or one that there would be; or nothing at all.
        """
        fewer_folds = self.provenance.get("folds", request.folds) != request.folds
        others = set(self.provenance.get("streams", request.streams)) - set(request.streams)
        measured = [Stream(name) for name in self.provenance.get("trusted", request.streams)]
        modalities = [Modality(name) for name in self.provenance.get("modalities", request.modalities)]
        captured = captured_streams(measured)
        wanted = captured_streams([stream for stream in measured if stream in request.streams])
        fewer_rows = wanted != captured or set(modalities) != set(request.modalities)
        has_stages = Stream.RESIDUAL in measured and Modality.IMAGE in modalities
        wants_stages = Stream.RESIDUAL in request.streams and Modality.IMAGE in request.modalities
        other_notes = (fewer_rows and self.notes) or (request.before and has_stages and not wants_stages)
        profiles = tuple(
            p
            for p in self.profiles
            if p.metric in request.metrics and p.modality in request.modalities and p.stream in request.streams
        )
        other_sinks = wanted[:1] != captured[:1]  # they are counted in the first captured stream
        if fewer_folds or (self.skipped and others) or other_sinks or other_notes or not profiles:
            return None
        return replace(
            self,
            profiles=profiles,
            tokens={m: n for m, n in self.tokens.items() if n or m in request.modalities},
            sinks={m: n for m, n in self.sinks.items() if m in request.modalities},
            refused={stream: why for stream, why in self.refused.items() if stream in request.streams},
            notes=self.notes or not_measured(self.tokens, request.modalities),
        )

    def to_json(self) -> dict[str, Any]:
        return {
            "model": self.model,
            "slice": str(self.slice),
            "profiles": [p.to_json() for p in self.profiles],
            "accuracy": self.accuracy,
            "questions": self.questions,
            "scored": self.scored,
            "examples": self.examples,
            "tokens": dict(self.tokens),
            "skipped": [asdict(s) for s in self.skipped],
            "refused": dict(self.refused),
            "notes": list(self.notes),
            "provenance": dict(self.provenance),
            "complete": self.complete,
            "groups": dict(self.groups),
            "sinks": dict(self.sinks),
            "answers": [asdict(a) for a in self.answers],
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        values = {f.name: data[f.name] for f in fields(cls)}
        values["slice"] = SliceSpec.parse(values["slice"])
        values["profiles"] = tuple(Profile.from_json(p) for p in values["profiles"])
        values["skipped"] = tuple(Skipped(**s) for s in values["skipped"])
        values["answers"] = tuple(Answer(**a) for a in values["answers"])
        values["notes"] = tuple(values["notes"])
        return cls(**values)
