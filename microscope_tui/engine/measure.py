"""Request to measurement: open the model and the slice, walk over the examples, keep what adds up.

Heavy libraries are imported by the functions that need them, so that a result that is already in the store
is read without loading torch.
"""

from __future__ import annotations

import contextlib
import gc
import os
import platform
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

from microscope_tui import __version__
from microscope_tui.catalogue import moving_reference
from microscope_tui.results import Measurement
from microscope_tui.settings import Settings
from microscope_tui.stamps import Stamps, changed, refuse_changed, stamps_of
from microscope_tui.store import Store, content_key
from microscope_tui.store.libraries import installed, is_behind, versions
from microscope_tui.terms import Metric, Modality, Progress, Request, SliceSpec, Stream, words

if TYPE_CHECKING:
    from microscope_tui.engine.plan import Plan
    from microscope_tui.models.base import OpenModel
    from microscope_tui.slices import Slice

# Threads that wait for work by spinning make small products up to ten times slower as soon as another process
# wants a core. Read by OpenMP when torch is first imported, hence before any function here does so.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

ESTIMATORS_VERSION = 4
"""Goes up whenever the same rows would give other numbers: part of every cache key."""

OnProgress = Callable[[Progress], None]
OnPartial = Callable[[Measurement], None]


def measure(
    model: str,
    slice: str | SliceSpec,
    *,
    metrics: Sequence[Metric | str] = tuple(Metric),
    modalities: Sequence[Modality | str] = (Modality.TEXT, Modality.IMAGE),
    streams: Sequence[Stream | str] = tuple(Stream),
    without: Sequence[str] | str | None = None,
    one_tile: bool = False,
    before: bool | None = None,
    reference: bool | None = None,
    cache: Path | str | None = None,
    on_progress: OnProgress | None = None,
) -> Measurement:
    """Measure a model on a slice and return all its profiles.

    `model` is a hub id, a local folder or `demo:NAME`; `slice` a `SliceSpec` or its text form. For `without`,
    `one_tile`, `before` and `reference` see `Request`. With `cache`, a folder, a result that is there is read
    instead of measured, and a new one is kept. What is None, and all other settings, come from the settings file and
    the environment. Raises `MicroscopeError` with one sentence when something asked for cannot be had.
    """
    settings = Settings.load({"without": without, "before": before, "reference": reference})
    request = Request(
        model=model,
        slice=SliceSpec.parse(slice) if isinstance(slice, str) else slice,
        metrics=words(metrics, Metric, "metrics"),
        modalities=words(modalities, Modality, "modalities"),
        streams=words(streams, Stream, "streams"),
        one_tile=one_tile,
        **settings.of_request(),
    )
    with contextlib.ExitStack() as stack:
        store = stack.enter_context(Store(Path(cache), limit_bytes=settings.cache_limit)) if cache is not None else None
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
    from microscope_tui.engine.state import Keeper
    from microscope_tui.engine.walk import Listeners, Walk
    from microscope_tui.models.parts import made_of
    from microscope_tui.slices import open_slice

    slice_ = open_slice(request.slice)
    on_progress(Progress("loading model", total=len(slice_)))
    model, own = SHELF.open(request, on_phase=lambda phase: on_progress(Progress(phase, total=len(slice_))))
    read = {**{file: own[file] for file in map(Path.absolute, model.files)}, **slice_.rows.stamps}
    plan = plan_of(request, model)
    provenance = {**provenance_of(request, model, slice_, plan), **made_of(model)}
    refuse_changed(read)  # the key tells of the files as they are now, the slice holds what was in them
    key = str(provenance["key"])
    measurement = store.measurement(key) if store else None
    if measurement is None or is_behind(measurement):
        grows = request.slice.count is not None
        state = str(provenance["state"])
        keeper = None
        if store:
            wider = wider_sums(provenance, slice_)
            keeper = Keeper(
                store,
                state,
                slice_.keys,
                request.max_batch,
                grows=grows,
                read=read,
                wider=wider,
                optional=provenance["optional"],
            )
        listeners = Listeners(on_progress, on_partial, should_stop)
        walk = Walk(request, model, slice_, plan, provenance, keeper, listeners)
        measurement = walk.measure()
        refuse_changed(read)
        if store:
            store.put_measurement(key, measurement)
            if keeper and keeper.notes:
                from microscope_tui.engine.looks.maps import keep_maps, maps_name

                keep_maps(store, maps_name(state, slice_.digest), walk)
    if store:
        store.remember(request, key, {**slice_.stamps, **own})
    # One result may have several names: a folder, and a copy of it.
    return replace(measurement, model=request.model, slice=request.slice)


def plan_of(request: Request, model: OpenModel) -> Plan:
    """Where the moments of this request live, and in how many folds."""
    from microscope_tui.engine.accumulate import captured_streams
    from microscope_tui.engine.plan import plan
    from microscope_tui.engine.walk import stages_before, trusted_streams

    return plan(
        layers=model.layers,
        width=model.width,
        kinds=len(request.modalities) * len(captured_streams(trusted_streams(request, model))),
        folds=request.folds,
        sample=request.sample_tokens,
        device=model.input_device,
        shapes=stages_before(request, model),
    )


class Shelf:
    """Keeps the model that was opened last: the next job often wants the same one."""

    def __init__(self) -> None:
        self._wanted: tuple[object, ...] | None = None
        self._stamps: Stamps = {}
        self._model: OpenModel | None = None

    def open(self, request: Request, on_phase: Callable[[str], None]) -> tuple[OpenModel, Stamps]:
        """The model of a request, the one on the shelf when it is the same; and the files it depends on, as they were
        before they were read. Raises `MicroscopeError`, also when one of them was changed meanwhile."""
        from microscope_tui.engine.forecast import check_room
        from microscope_tui.models.fetch import fetch
        from microscope_tui.models.identity import files_of
        from microscope_tui.models.load import open_model

        wanted = (request.model, request.dtype, request.device, request.attention, request.one_tile)
        if self._model is None or wanted != self._wanted or changed(self._stamps):
            self.clear()
            files = files_of(fetch(request.model, on_phase))  # which may itself move what the name refers to
            reference = moving_reference(request.model)
            before = stamps_of((*files, reference) if reference else files)
            if Settings.load().memory_check:
                check_room(request)
            model = open_model(
                request.model,
                dtype=request.dtype,
                device=request.device,
                attention=request.attention,
                one_tile=request.one_tile,
                on_phase=on_phase,
            )
            moving = [file for name in model.sources if (file := moving_reference(name))]
            # What became known only while it was opened (a vision tower elsewhere) was put there by the opening.
            self._stamps = {**stamps_of((*model.files, *moving)), **before}
            refuse_changed(self._stamps)
            self._model, self._wanted = model, wanted
        return self._model, self._stamps

    def clear(self) -> None:
        """Forget the model, and give its memory back to the device."""
        if self._model is None:
            return
        import torch

        self._model = None
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def free_models() -> None:
    """Let go of the model that was opened last, and of its memory."""
    SHELF.clear()


SHELF = Shelf()


OF_SUMS = (
    *("model", "architecture", "dtype", "device", "attention", "chat_template", "prompt", "sample_tokens", "folds"),
    *("products", "max_batch", "without", "one_tile", "before", "scoring", "capture", "estimators", "versions"),
)
"""What sums depend on besides the data, the modalities and the captured streams."""

OF_PROFILES = ("slice", "metrics", "modalities", "streams", "trusted", "reference", "matched")
"""What depends on the draw, or says what is made of the sums."""


def provenance_of(request: Request, model: OpenModel, slice_: Slice, plan: Plan) -> dict[str, Any]:
    """What the numbers depend on, the key made of all of it, and where and with what they were made.

    `state` is the name of the sums that they are made of: of all that a measurement depends on, but for the draw and
    for what is made of the sums.
    """
    from microscope_tui.engine.answers import SCORING
    from microscope_tui.engine.walk import trusted_streams
    from microscope_tui.models.capture import CAPTURE_VERSION
    from microscope_tui.slices import TEMPLATE

    depends: dict[str, Any] = {
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
        "trusted": sorted(trusted_streams(request, model)),
        "sample_tokens": request.sample_tokens,
        "folds": plan.folds,
        "products": str(plan.dtype).removeprefix("torch."),
        "max_batch": request.max_batch,
        "without": list(request.without),
        "one_tile": request.one_tile,
        "before": request.before,
        "reference": request.reference,
        "matched": request.matched,
        "scoring": SCORING,
        "capture": CAPTURE_VERSION,
        "estimators": ESTIMATORS_VERSION,
        "versions": dict(versions()),
    }
    libraries = {name: version(name) for name in ("torch", "transformers", "datasets", "numpy")}
    made_with = {"microscope_tui": __version__, "python": platform.python_version(), **libraries}
    assert depends.keys() == {*OF_SUMS, *OF_PROFILES}, "a dependency of which it is not said what depends on it"
    provenance = {**depends, "versions": made_with, "optional": installed(), "key": content_key(**depends)}
    captured = sorted({"residual" if stream == "update" else stream for stream in depends["trusted"]})
    return {**provenance, "state": sums_name(provenance, slice_, depends["modalities"], captured)}


def sums_name(provenance: Mapping[str, Any], slice_: Slice, modalities: Sequence[str], captured: Sequence[str]) -> str:
    """The name of the sums of these modalities in these captured streams, all else as a provenance says."""
    depends = {name: provenance[name] for name in OF_SUMS}
    return content_key(**depends, modalities=modalities, captured=captured, data=slice_.content)


def wider_sums(provenance: Mapping[str, Any], slice_: Slice) -> list[str]:
    """The names of sums that hold those of a provenance: of the same rows, with more modalities or streams."""
    captured = {"residual" if stream == "update" else stream for stream in provenance["trusted"]}
    wider = [
        sums_name(provenance, slice_, modalities, streams)
        for modalities in _supersets(provenance["modalities"], Modality)
        for streams in _supersets(captured, (Stream.RESIDUAL, Stream.MAIN))
    ]
    return [name for name in wider if name != provenance["state"]]


def _supersets(words: Collection[str], universe: Iterable[str]) -> list[list[str]]:
    others = sorted(set(map(str, universe)) - set(words))
    return [sorted({*words, *more}) for n in range(len(others) + 1) for more in combinations(others, n)]
