"""A source for tests: fixed profiles, jobs that the test moves along, no disk and no worker."""

from __future__ import annotations

import math
import queue
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Literal

from microscope_tui.catalogue.listing import Entry
from microscope_tui.errors import Fault, MicroscopeError
from microscope_tui.results import Estimate, Measurement, Profile
from microscope_tui.store.order import in_order
from microscope_tui.terms import Job, JobKind, JobState, Metric, Modality, Progress, Request, SliceSpec, Stream
from microscope_tui.tui.data.source import Held, Stock
from microscope_tui.tui.data.values import Value
from microscope_tui.tui.session import modalities_of

SLICE = SliceSpec("demo:scienceqa")
MODELS = ("demo:llava-next", "demo:omnifusion")


@dataclass(frozen=True)
class News:
    kind: Literal["job", "partial", "log"]
    job: Job | None = None
    text: str = ""


class FakeSource:
    """Results in `stored`, of requests that leave rows out in `variants`; others become jobs that stay queued until the
    test moves them. It keeps what `Source` promises, as `test_sources` holds it to: nothing is found under another
    request than the one that it answers."""

    read_only = False

    def __init__(self, stored: Sequence[Measurement] = ()) -> None:
        self.stored = {(m.model, str(m.slice)): m for m in stored}
        self.variants: dict[Request, Measurement] = {}
        self.partials: dict[str, Measurement] = {}
        self.worked: dict[str, Job] = {}
        self.order: list[str] = []
        self.news: queue.Queue[News | MicroscopeError | None] = queue.Queue()
        self.looks: dict[tuple[str, JobKind, int | None], Value] = {}
        self.submitted: list[Request] = []
        self.looked_at: list[tuple[str, JobKind, int | None]] = []
        self.cancelled: list[str] = []
        self.held: dict[str, Held] = {}
        self.damage: list[str] = []
        self.left: list[str] = []
        self.hub: dict[str, Entry] = {}
        self.wanted_elsewhere: set[str] = set()
        self.old_worker: str | None = None
        self.refuse: dict[str, str] = {}
        self.broken: str | None = None
        self.log = "worker: ready"
        self.follows = 0
        self.alive = True
        self.closed = False

    def check(self, request: Request) -> None:
        for name in (request.model, request.slice.source):
            if name in self.refuse:
                raise MicroscopeError(self.refuse[name], fault=Fault.MODEL if name == request.model else Fault.SLICE)

    def recall(self, request: Request) -> Measurement | None:
        # Lists: a test may store something meanwhile.
        known = [*self.variants.items()] + [(_usual(*of), found) for of, found in [*self.stored.items()]]
        own = (found for asked, found in known if asked == request)
        wider = (found.narrowed(request) for asked, found in known if _covers(asked, request))
        return next(filter(None, chain(own, wider)), None)

    def partial(self, job_id: str) -> Measurement | None:
        return self.partials.get(job_id)

    def look(self, request: Request, kind: JobKind, example: int | None) -> Value | None:
        found = self.looks.get((request.model, kind, example))
        return found if found and _is_of(found, request) else None

    def submit(self, request: Request, kind: JobKind = JobKind.MEASURE, example: int | None = None) -> Job:
        if self.broken:
            raise MicroscopeError(self.broken, fault=Fault.MODEL if self.read_only else Fault.WORKER)
        if kind is JobKind.MEASURE:
            self.submitted.append(request)
        else:
            self.looked_at.append((request.model, kind, example))
        asked = (request, kind, example)
        for known in [*self.worked.values()]:
            if not known.state.ended and (known.request, known.kind, known.example) == asked:
                return known
        number = len(self.worked) + 1
        job = Job(f"job-{number}", request, created=1_700_000_000.0 + number, kind=kind, example=example)
        self.worked[job.id] = job
        return job

    def cancel(self, job_id: str) -> None:
        self.cancelled.append(job_id)
        self._become(job_id, JobState.CANCELLED)

    def leave(self, job_id: str) -> Job:
        self.left.append(job_id)
        if job_id not in self.wanted_elsewhere:
            self.cancel(job_id)
        return self._job(job_id)

    def pause(self, job_id: str) -> None:
        self._become(job_id, JobState.PAUSED)

    def resume(self, job_id: str) -> None:
        if self._job(job_id).state is JobState.PAUSED:
            self._become(job_id, JobState.QUEUED)

    def reorder(self, job_id: str, place: int) -> None:
        job = self._job(job_id)
        if not job.state.waits:
            raise MicroscopeError(f"The job {job_id} is {job.state}: only one that waits can be moved.")
        waiting = [each.id for each in self.jobs() if each.state.waits and each.id != job_id]
        waiting.insert(place, job_id)
        self.order = waiting

    def retry(self, job_id: str) -> None:
        job = self._job(job_id)
        self.submit(job.request, job.kind, job.example)

    def jobs(self) -> Sequence[Job]:
        return in_order(self.worked.values(), self.order)

    def lives(self) -> bool:
        return self.alive

    def outdated(self) -> str | None:
        return self.old_worker

    def follow(self) -> Iterator[News]:
        if self.closed:
            return
        if not self.alive:
            raise MicroscopeError("No worker runs on /nowhere: start one with `microscope-tui worker start`.")
        self.follows += 1
        for job in self.jobs():
            yield News("job", job)
            if job.state is JobState.RUNNING:
                yield News("partial", job)
        while (news := self.news.get()) is not None:
            if isinstance(news, MicroscopeError):
                raise news
            yield news

    def models(self) -> Sequence[Entry]:
        return (
            Entry(MODELS[0], "LLaVA-NeXT, small", "in the package"),
            Entry(MODELS[1], "OmniFusion, small", "in the package"),
            Entry("llava-hf/llava-v1.6-mistral-7b-hf", "LLaVA-NeXT, Mistral 7B", "", here=False),
        )

    def slices(self) -> Sequence[Entry]:
        return (
            Entry("demo:scienceqa", "ScienceQA, small", "in the package"),
            Entry("derek-thomas/ScienceQA", "ScienceQA test", "", here=False),
        )

    def on_hub(self, entry: Entry, *, slices: bool) -> Entry:
        if entry.name not in self.hub:
            raise MicroscopeError("the hub cannot be reached")
        return self.hub[entry.name]

    def log_tail(self) -> str:
        return self.log

    def stock(self) -> Stock:
        return Stock("/nowhere", tuple(self.held.values()), sum(each.size for each in self.held.values()), 10**9)

    def remove(self, key: str) -> None:
        if key in self.held and self.held[key].in_use:
            raise MicroscopeError(f"{key} is in use by a waiting or running job: cancel the job first.")
        self.held.pop(key, None)

    def verify(self) -> Sequence[str]:
        return self.damage

    def tidy(self) -> str:
        return "Removed 2 leftovers, 0.1 MB."

    def close(self) -> None:
        self.closed = True
        self.news.put(None)

    def move(
        self,
        job: Job,
        state: JobState,
        progress: Progress | None = None,
        error: str | None = None,
        partial: Measurement | None = None,
        fault: Fault | None = None,
    ) -> Job:
        """Bring a job into a state and tell the followers."""
        moved = replace(job, state=state, progress=progress or job.progress, error=error, fault=fault)
        self.worked[job.id] = moved
        if partial is not None:
            self.partials[job.id] = partial
            self.news.put(News("partial", moved))
        self.news.put(News("job", moved))
        return moved

    def _job(self, job_id: str) -> Job:
        if job_id not in self.worked:
            raise MicroscopeError(f"There is no job {job_id}: `microscope-tui jobs` lists them.")
        return self.worked[job_id]

    def _become(self, job_id: str, state: JobState) -> None:
        """What has ended stays as it is."""
        if not (job := self._job(job_id)).state.ended:
            self.move(job, state)


def _usual(model: str, spec: str) -> Request:
    """What the explorer asks for of a model and a slice when nothing is chosen."""
    slice_ = SliceSpec.parse(spec)
    return Request(model, slice_, modalities=modalities_of(slice_))


def _covers(asked: Request, request: Request) -> bool:
    """Whether who asked for one thing has asked for all of another."""
    narrow = replace(asked, metrics=request.metrics, modalities=request.modalities, streams=request.streams)
    return narrow == request and all(
        {*getattr(request, name)} <= {*getattr(asked, name)} for name in ("metrics", "modalities", "streams")
    )


def _is_of(value: Value, request: Request) -> bool:
    """Whether a look is of the examples and rows of a request. One map stands for those of every stream."""
    return value.slice == request.slice and not request.without


@dataclass(frozen=True)
class Shape:
    """What the made-up profiles look like."""

    layers: int = 24
    d: int = 64
    n: int = 4812
    tilt: float = 0.0
    gap: tuple[int, ...] = ()
    notes: Mapping[int, tuple[str, ...]] = field(default_factory=dict)


def made_up(
    model: str = MODELS[0],
    spec: SliceSpec = SLICE,
    shape: Shape = Shape(),
    *,
    complete: bool = True,
    examples: int = 200,
    refused: dict[str, str] | None = None,
) -> Measurement:
    """A measurement of smooth curves, with several variants of linearity."""
    methods = {
        Metric.LINEARITY: ("in-sample", "held-out", "update"),
        Metric.DIMENSION: ("mle",),
        Metric.ANISOTROPY: ("top-eigenvalue",),
    }
    profiles = tuple(
        _profile(metric, method, modality, stream, shape, examples)
        for metric, names in methods.items()
        for method in names
        for modality in (Modality.TEXT, Modality.IMAGE)
        for stream in Stream
        if stream.value not in (refused or {})
    )
    tokens = {"text": shape.n, "image": shape.n * 3}
    return Measurement(
        model,
        spec,
        profiles,
        accuracy=0.71,
        examples=examples,
        tokens=tokens,
        refused=refused or {},
        provenance={"dtype": "float32"},
        complete=complete,
    )


def _profile(metric: Metric, method: str, modality: Modality, stream: Stream, shape: Shape, examples: int) -> Profile:
    states = metric is not Metric.LINEARITY and stream is not Stream.UPDATE
    layers = range(shape.layers + 1 if states else shape.layers)
    n = shape.n * (3 if modality is Modality.IMAGE else 1)
    estimates = []
    for layer in layers:
        if layer in shape.gap:
            reason = f"n = {n} rows are too few for d = {shape.d}"
            estimates.append(Estimate(None, n=n, d=shape.d, reason=reason))
            continue
        value = _value(metric, method, modality, stream, layer / max(shape.layers, 1), shape.tilt)
        spread = {Metric.LINEARITY: 0.03, Metric.DIMENSION: 1.6, Metric.ANISOTROPY: 0.05}[metric]
        half = spread * (0.6 + 0.5 * math.sin(layer / 3 + shape.tilt) ** 2)
        notes = shape.notes.get(layer, ())
        estimates.append(Estimate(value, value - half, value + half, n, shape.d, notes=notes))
    return Profile.of(metric, method, modality, stream, estimates, d=shape.d, examples=examples)


def _value(metric: Metric, method: str, modality: Modality, stream: Stream, x: float, tilt: float) -> float:
    bump = math.exp(-(((x - 0.55 - 0.1 * tilt) / 0.25) ** 2))
    image = modality is Modality.IMAGE
    main = stream is Stream.MAIN
    if metric is Metric.LINEARITY:
        base = 0.80 if main else 0.95
        value = base - 0.12 * bump + 0.04 * x - (0.05 * x if image else 0) - 0.04 * tilt
        return value - {"held-out": 0.03, "update": 0.25}.get(method, 0.0)
    if metric is Metric.DIMENSION:
        return 8 + 14 * bump + (5 if image else 0) - (3 if main else 0) + 3 * tilt
    return 0.15 + 0.5 * x**2 * (1.2 if main else 0.8) + (0.08 if image else 0) + 0.05 * math.sin(9 * x) - 0.1 * tilt
