"""Request to measurement: open the model and the slice, walk over the examples, keep what adds up.

Heavy libraries are imported by the functions that need them, so that a result that is already in the store
is read without loading torch.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from microscope_tui.catalogue.locate import in_full
from microscope_tui.engine.open_models import MODELS
from microscope_tui.errors import Fault, blaming
from microscope_tui.results import Measurement
from microscope_tui.settings import Settings
from microscope_tui.stamps import refuse_changed
from microscope_tui.store import Store
from microscope_tui.store.libraries import is_behind
from microscope_tui.terms import Metric, Modality, Progress, Request, SliceSpec, Stream, words

OnProgress = Callable[[Progress], None]
OnPartial = Callable[[Measurement], None]


def measure(
    model: str,
    slice: str | SliceSpec,
    *,
    metrics: Sequence[Metric | str] = tuple(Metric),
    modalities: Sequence[Modality | str] = (Modality.TEXT, Modality.IMAGE),
    streams: Sequence[Stream | str] = tuple(Stream),
    one_tile: bool = False,
    matched: int | None = None,
    dtype: str | None = None,
    device: str | None = None,
    attention: str | None = None,
    sample_tokens: int | None = None,
    folds: int | None = None,
    max_batch: int | None = None,
    without: Sequence[str] | str | None = None,
    before: bool | None = None,
    reference: bool | None = None,
    memory_check: bool | None = None,
    cache: Path | str | None = None,
    on_progress: OnProgress | None = None,
) -> Measurement:
    """Measure a model on a slice and return all its profiles.

    `model` is a hub id, a folder or `demo:NAME`; `slice` a `SliceSpec` or its text form. For what is measured and how
    (`metrics` … `reference`) see `Request`, for `memory_check` `Settings`; those of `Settings` that are None come from
    the settings file and the environment. With `cache`, a folder, a result that is there is read instead of measured,
    and a new one is kept. Raises `MicroscopeError` with one sentence when something asked for cannot be had.
    """
    given = {
        "dtype": dtype,
        "device": device,
        "attention": attention,
        "sample_tokens": sample_tokens,
        "folds": folds,
        "max_batch": max_batch,
        "without": without,
        "before": before,
        "reference": reference,
        "memory_check": memory_check,
    }
    settings = Settings.load(given)
    request = Request(
        model=model,
        slice=SliceSpec.parse(slice) if isinstance(slice, str) else slice,
        metrics=words(metrics, Metric, "metrics"),
        modalities=words(modalities, Modality, "modalities"),
        streams=words(streams, Stream, "streams"),
        one_tile=one_tile,
        matched=matched,
        **settings.of_request(),
    )
    with contextlib.ExitStack() as stack:
        store = stack.enter_context(Store(Path(cache), limit_bytes=settings.cache_limit)) if cache is not None else None
        progress = on_progress or (lambda _: None)
        return run(in_full(request), store, on_progress=progress, memory_check=settings.memory_check)


@blaming(Fault.MODEL)
def run(
    request: Request,
    store: Store | None,
    *,
    on_progress: OnProgress,
    on_partial: OnPartial | None = None,
    should_stop: Callable[[], bool] = lambda: False,
    memory_check: bool = True,
) -> Measurement:
    """Answer a request: read the measurement when the store has it, else measure and keep it.

    `on_partial` gets the profiles of the examples so far every few seconds; `should_stop` is asked between
    batches, and `Cancelled` is raised when it says so. `MicroscopeError` for anything the user can mend; with
    `memory_check` also for a model that cannot fit into the free memory, before it is loaded.
    """
    if store and (known := store.recall(request)):
        return known
    on_progress(Progress("opening slice"))
    from microscope_tui.engine.looks.maps import keep_maps, maps_name
    from microscope_tui.engine.provenance import plan_of, provenance_of, wider_sums
    from microscope_tui.engine.state import Keeper
    from microscope_tui.engine.threads import threads_for, with_all_threads
    from microscope_tui.engine.walk import Listeners, Walk, check_modalities
    from microscope_tui.models.parts import made_of
    from microscope_tui.slices import open_slice

    slice_ = open_slice(request.slice)
    on_progress(Progress("loading model", total=len(slice_)))

    def of_slice(progress: Progress) -> None:
        on_progress(replace(progress, total=len(slice_)))

    model, own = MODELS.open(request, of_slice, memory_check=memory_check)
    check_modalities(request, model)
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
        # Looks may be made there: with the threads that they have alone, for what they show depends on it.
        listeners = Listeners(
            with_all_threads(on_progress), on_partial and with_all_threads(on_partial), with_all_threads(should_stop)
        )
        walk = Walk(request, model, slice_, plan, provenance, keeper, listeners)
        with threads_for(plan.tasks):
            measurement = walk.measure()
        refuse_changed(read)
        if store:
            store.put_measurement(key, measurement)
            if keeper and not keeper.has_all_sums:
                keep_maps(store, maps_name(state, slice_.digest), walk)
    if store:
        store.remember(request, key, {**slice_.stamps, **own}, str(provenance["device"]))
    # One result may have several names: a folder, and a copy of it.
    return replace(measurement, model=request.model, slice=request.slice)
