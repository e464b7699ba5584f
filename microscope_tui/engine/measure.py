"""Request to measurement: open the model and the slice, walk over the examples, keep what adds up.

Heavy libraries are imported by the functions that need them, so that a result that is already in the store
is read without loading torch.
"""

from __future__ import annotations

import contextlib
import os
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from microscope_tui import __version__
from microscope_tui.errors import BadExample, Cancelled, MicroscopeError
from microscope_tui.settings import Settings
from microscope_tui.store import Store, content_key
from microscope_tui.terms import Measurement, Metric, Modality, Profile, Progress, Request, Skipped, SliceSpec, Stream

if TYPE_CHECKING:
    from microscope_tui.engine.accumulate import Accumulator
    from microscope_tui.engine.answers import Answers
    from microscope_tui.engine.plan import Plan
    from microscope_tui.engine.state import Keeper
    from microscope_tui.models.base import OpenModel
    from microscope_tui.slices import Example, Slice

# Threads that wait for work by spinning make small products up to ten times slower as soon as another process
# wants a core. Read by OpenMP when torch is first imported, hence before any function here does so.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

ESTIMATORS_VERSION = 1
"""Goes up whenever the same rows would give other numbers: part of every cache key."""

PARTIAL_POINTS = 1024
"""Rows that dimension looks at while a job runs: enough to see the shape, cheap enough to repeat."""
PARTIAL_SECONDS = 2.0
PARTIAL_SHARE = 1 / 3
"""At most this share of a job's time goes into partial profiles."""

OnProgress = Callable[[Progress], None]
OnPartial = Callable[[Measurement], None]


def measure(
    model: str,
    slice: str | SliceSpec,
    *,
    metrics: Sequence[Metric | str] = tuple(Metric),
    modalities: Sequence[Modality | str] = (Modality.TEXT, Modality.IMAGE),
    streams: Sequence[Stream | str] = tuple(Stream),
    cache: Path | str | None = None,
    on_progress: OnProgress | None = None,
) -> Measurement:
    """Measure a model on a slice and return all its profiles.

    `model` is a hub id, a local folder or `demo:NAME`; `slice` a `SliceSpec` or its text form. With `cache`, a
    folder, a result that is there is read instead of measured, and a new one is kept. Settings other than
    these come from the settings file and the environment. Raises `MicroscopeError` with one sentence when
    something asked for cannot be had.
    """
    settings = Settings.load()
    request = Request(
        model=model,
        slice=SliceSpec.parse(slice) if isinstance(slice, str) else slice,
        metrics=tuple(Metric(m) for m in metrics),
        modalities=tuple(Modality(m) for m in modalities),
        streams=tuple(Stream(s) for s in streams),
        **settings.of_request(),
    )
    with contextlib.ExitStack() as stack:
        store = stack.enter_context(Store(Path(cache))) if cache is not None else None
        return run(request, store, on_progress=on_progress or (lambda _: None))


def run(
    request: Request,
    store: Store | None,
    *,
    on_progress: OnProgress,
    on_partial: OnPartial | None = None,
    should_stop: Callable[[], bool] = lambda: False,
) -> Measurement:
    """Answer a request: read the measurement when the store has it, else measure and keep it.

    `on_partial` gets the profiles of the examples so far every few seconds; `should_stop` is asked between
    batches, and `Cancelled` is raised when it says so. `MicroscopeError` for anything the user can mend.
    """
    if store and (known := store.recall(request)):
        return known
    on_progress(Progress("opening slice"))
    from microscope_tui.engine.accumulate import captured_streams
    from microscope_tui.engine.plan import plan
    from microscope_tui.engine.state import Keeper
    from microscope_tui.slices import open_slice

    slice_ = open_slice(request.slice)
    on_progress(Progress("loading model", total=len(slice_)))
    model = SHELF.open(request, on_phase=lambda phase: on_progress(Progress(phase, total=len(slice_))))
    moments = plan(
        layers=model.layers,
        width=model.width,
        kinds=len(request.modalities) * len(captured_streams(request.streams)),
        folds=request.folds,
        device=model.input_device,
    )
    provenance = _provenance(request, model, slice_, moments)
    key = str(provenance["key"])
    measurement = store.measurement(key) if store else None
    if measurement is None:
        keeper = Keeper(store, _of_state(provenance, slice_), slice_.keys) if store else None
        walk = _Walk(request, model, slice_, moments, provenance, keeper, on_progress, on_partial, should_stop)
        measurement = walk.measure()
        if store:
            store.put_measurement(key, measurement)
    if store:
        store.remember(request, key, (*model.files, *slice_.files))
    # One result may have several names: a folder, and a copy of it.
    return replace(measurement, model=request.model, slice=request.slice)


class Shelf:
    """Keeps the model that was opened last: the next job often wants the same one."""

    def __init__(self) -> None:
        self._wanted: tuple[str, ...] | None = None
        self._stamps: list[tuple[int, int]] = []
        self._model: OpenModel | None = None

    def open(self, request: Request, on_phase: Callable[[str], None]) -> OpenModel:
        """The model of a request: the one on the shelf when it is the same and its files have not changed."""
        from microscope_tui.models.load import open_model

        wanted = (request.model, request.dtype, request.device, request.attention)
        if self._model is None or wanted != self._wanted or _stamps(self._model.files) != self._stamps:
            self._model = None  # frees its memory before the next one is loaded
            self._model = open_model(
                request.model,
                dtype=request.dtype,
                device=request.device,
                attention=request.attention,
                on_phase=on_phase,
            )
            self._wanted, self._stamps = wanted, _stamps(self._model.files)
        return self._model

    def clear(self) -> None:
        """Forget the model."""
        self._model = None


def free_models() -> None:
    """Let go of the model that was opened last, and of its memory."""
    SHELF.clear()


def _stamps(files: Sequence[Path]) -> list[tuple[int, int]]:
    return [(stat.st_size, stat.st_mtime_ns) for stat in (file.stat() for file in files)]


SHELF = Shelf()


class _Walk:
    """One walk over the examples of a slice."""

    def __init__(
        self,
        request: Request,
        model: OpenModel,
        slice_: Slice,
        plan: Plan,
        provenance: dict[str, Any],
        keeper: Keeper | None,
        on_progress: OnProgress,
        on_partial: OnPartial | None,
        should_stop: Callable[[], bool],
    ) -> None:
        from microscope_tui.engine.accumulate import Accumulator
        from microscope_tui.engine.answers import Answers

        self.request, self.model, self.slice, self.provenance = request, model, slice_, provenance
        self.on_progress, self.on_partial, self.should_stop = on_progress, on_partial, should_stop
        self.streams = tuple(stream for stream in request.streams if stream in model.streams)
        if not self.streams:
            raise MicroscopeError(f"No stream of {request.model} can be measured: {'; '.join(model.refused.values())}")
        self.plan, self.keeper = plan, keeper
        self.accumulator: Accumulator = Accumulator(
            model.layers,
            model.width,
            modalities=request.modalities,
            streams=self.streams,
            plan=plan,
            budget=request.sample_tokens,
        )
        self.answers: Answers = Answers(model.token_ids)
        self.skipped: list[Skipped] = []
        self.done = 0
        self.before = 0  # examples that an earlier walk has counted or skipped
        self.batch_size = request.max_batch
        self.started = time.monotonic()
        self.next_partial = self.started + PARTIAL_SECONDS / 2
        self.partial_cost = PARTIAL_SECONDS  # until one was timed: the first comes without intervals

    def measure(self) -> Measurement:
        index, total = self._begin(), len(self.slice)
        while index < total:
            self._heed()
            self._add(range(index, min(index + self.batch_size, total)))
            index = min(index + self.batch_size, total)
            self._report(total)
            if self.keeper and (self.keeper.due() or index == total):
                self.keeper.commit(self.accumulator, self.answers, self.skipped, self.done, index)
        if not self.done:
            first = self.skipped[0]
            raise MicroscopeError(
                f"None of the {total} examples of {self.request.slice} can be used; the first: {first.example}: "
                f"{first.reason}"
            )
        self.on_progress(self._progress("computing profiles", total))
        return self._measurement(self._profiles(), complete=True)

    def _begin(self) -> int:
        """Where to begin: behind what an earlier walk over these examples has committed."""
        committed = self.keeper.begin(self.accumulator, self.answers) if self.keeper else None
        if committed is None:
            return 0
        self.skipped, self.done = committed.skipped, committed.done
        self.before = len(committed.consumed)
        return self.before

    def _add(self, indices: Sequence[int]) -> None:
        """Capture and count the examples at these indices; one that cannot be used is skipped and named."""
        examples: list[Example] = []
        for i in indices:
            try:
                examples.append(self.slice.example(i))
            except BadExample as error:
                self.skipped.append(Skipped(error.example, error.reason))
        self._capture(examples)

    def _capture(self, examples: Sequence[Example]) -> None:
        from microscope_tui.engine.accumulate import captured_streams
        from microscope_tui.models.base import OutOfMemory

        if not examples:
            return
        try:
            captured = self.model.capture(self.model.prepare(examples), captured_streams(self.streams))
        except BadExample as error:
            if len(examples) == 1:
                self.skipped.append(Skipped(error.example, error.reason))
            else:
                for example in examples:
                    self._capture([example])
            return
        except OutOfMemory as error:
            if len(examples) == 1:
                raise MicroscopeError(
                    f"{examples[0].key} alone does not fit into memory: choose a smaller model, dtype bfloat16, "
                    "or a device with more memory."
                ) from error
            self.batch_size = half = len(examples) // 2
            self._capture(examples[:half])
            self._capture(examples[half:])
            return
        self.accumulator.add(captured, [example.key for example in examples])
        self.answers.add(examples, captured.last_logits)
        self.done += len(examples)

    def _report(self, total: int) -> None:
        self.on_progress(self._progress("measuring", total))
        now = time.monotonic()
        if self.on_partial is None or now < self.next_partial or not self.done:
            return
        # Intervals solve every moment once more for each fold: they are drawn live where that is quick.
        intervals = self.partial_cost * self.plan.folds < PARTIAL_SECONDS
        self.on_partial(self._measurement(self._profiles(points=PARTIAL_POINTS, intervals=intervals), complete=False))
        cost = time.monotonic() - now
        self.partial_cost = cost / self.plan.folds if intervals else cost
        self.next_partial = now + max(PARTIAL_SECONDS, cost / PARTIAL_SHARE)

    def _profiles(self, **options: Any) -> tuple[Profile, ...]:
        """The profiles so far; a stop is heard between any two of them."""
        profiles = []
        for profile in self.accumulator.profiles(self.request.metrics, **options):
            self._heed()
            profiles.append(profile)
        return tuple(profiles)

    def _heed(self) -> None:
        if self.should_stop():
            raise Cancelled(f"Stopped after {self.done} of {len(self.slice)} examples.")

    def _progress(self, phase: str, total: int) -> Progress:
        seen = self.done + len(self.skipped)
        rate = (seen - self.before) / max(time.monotonic() - self.started, 1e-9)
        tokens = sum(self.accumulator.tokens.values())
        eta = (total - seen) / rate if rate else None
        return Progress(phase, seen, total, tokens, rate, eta, len(self.skipped))

    def _measurement(self, profiles: tuple[Profile, ...], *, complete: bool) -> Measurement:
        wanted = self.request.streams
        return Measurement(
            model=self.request.model,
            slice=self.request.slice,
            profiles=profiles,
            accuracy=self.answers.accuracy,
            examples=self.done,
            tokens={str(modality): count for modality, count in self.accumulator.tokens.items()},
            skipped=tuple(self.skipped),
            refused={str(s): reason for s, reason in self.model.refused.items() if s in wanted},
            notes=(*self.model.notes, *((self.plan.note,) if self.plan.note else ())),
            provenance=self.provenance,
            complete=complete,
        )


def _provenance(request: Request, model: OpenModel, slice_: Slice, plan: Plan) -> dict[str, Any]:
    """What the numbers depend on, the key made of all of it, and where and with what they were made."""
    from microscope_tui.engine.answers import SCORING
    from microscope_tui.models.capture import CAPTURE_VERSION
    from microscope_tui.slices import TEMPLATE

    depends = {
        "model": model.identity,
        "architecture": model.architecture,
        "dtype": model.dtype,
        "device": model.device.split(":")[0],
        "attention": model.attention,
        "chat_template": model.template,
        "prompt": TEMPLATE,
        "slice": slice_.digest,
        "metrics": sorted(request.metrics),
        "modalities": sorted(request.modalities),
        "streams": sorted(request.streams),
        "sample_tokens": request.sample_tokens,
        "folds": plan.folds,
        "products": str(plan.dtype).removeprefix("torch."),
        "max_batch": request.max_batch,
        "scoring": SCORING,
        "capture": CAPTURE_VERSION,
        "estimators": ESTIMATORS_VERSION,
        "versions": {name: version(name) for name in ("torch", "transformers")},
    }
    libraries = {name: version(name) for name in ("torch", "transformers", "datasets", "numpy")}
    made_with = {"microscope_tui": __version__, "python": platform.python_version(), **libraries}
    return {**depends, "versions": made_with, "key": content_key(**depends)}


def _of_state(provenance: dict[str, Any], slice_: Slice) -> dict[str, Any]:
    """What the sums of a walk depend on: all that a measurement does, but for the draw and the metrics."""
    others = ("key", "slice", "metrics")
    return {name: value for name, value in provenance.items() if name not in others} | {"data": slice_.content}
