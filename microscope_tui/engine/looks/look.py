"""A look at single examples and rows: what a job of a kind other than `measure` makes, and keeps in the store."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from microscope_tui.engine.looks.looking import Tell
from microscope_tui.engine.open_models import MODELS
from microscope_tui.errors import Cancelled, Fault, MicroscopeError, blaming
from microscope_tui.inspection import Cloud, Preview, Projection, TokenTable, WorstTokens
from microscope_tui.stamps import Stamps, refuse_changed
from microscope_tui.store import Store, StoreFull
from microscope_tui.terms import JobKind, Progress, Request, Stream

if TYPE_CHECKING:
    from microscope_tui.engine.looks.pooled import Unexplained
    from microscope_tui.models.base import Captured
    from microscope_tui.slices import Slice

Look = Preview | TokenTable | WorstTokens | Cloud

MAPS = {JobKind.MAP: Projection.PCA, JobKind.TSNE: Projection.TSNE}


class MapParts(NamedTuple):
    """Of a map that takes its time: what was `begun` of it, and what keeps the layers so far, made of these files on
    this device."""

    begun: Cloud | None
    keep: Callable[[Cloud, Stamps, str], None]


@blaming(Fault.MODEL)
def run(
    request: Request,
    store: Store,
    *,
    kind: JobKind,
    example: int | None,
    on_progress: Callable[[Progress], None],
    on_part: Callable[[], None] = lambda: None,
    should_stop: Callable[[], bool],
    memory_check: bool = True,
) -> None:
    """Make a look and keep it (`Store.remember_look`), in place of the one that is there.

    `preview` opens no model: it is of the page that begins at `example`, the first for None. `tokens` is of the example
    number `example` of the slice. `map` and `t-sne` are of the first of the request's streams. `tokens` and `worst` use
    what a walk for the request, or for other streams beside its own, has committed. Of a map that takes its time the
    layers so far are kept, of which `on_part` tells; not in place of all of an older one. Raises `Cancelled` when told
    to stop, and `MicroscopeError` for what cannot be had, with `memory_check` also for a model that cannot fit into the
    free memory.
    """

    def tell(progress: Progress) -> None:
        if should_stop():
            raise Cancelled(f"Stopped while {progress.phase}.")
        on_progress(progress)

    from microscope_tui.slices import open_slice

    tell(Progress("opening slice"))
    slice_ = open_slice(request.slice)

    def keep(value: Look, files: Stamps, device: str | None) -> None:
        files = {**slice_.stamps, **files}
        refuse_changed(files)  # it would be recalled for nothing
        store.remember_look(request, kind, example, value.to_json(), files, device)

    known = _map(store, request, kind)

    def keep_part(value: Cloud, files: Stamps, device: str) -> None:
        if known is None or not known.complete:
            with suppress(StoreFull):  # the whole of it is what must be kept
                keep(value, files, device)
                on_part()

    begun = known if known and not known.complete else None
    keep(*_made(request, store, slice_, kind, example, tell, MapParts(begun, keep_part), memory_check))


def _map(store: Store, request: Request, kind: JobKind) -> Cloud | None:
    """The map that is there, or a part of it; None for one that another version wrote in another way."""
    data = store.recall_look(request, kind, None) if kind in MAPS else None
    with suppress(LookupError, TypeError, ValueError):
        return None if data is None else Cloud.from_json(data)
    return None


def _made(
    request: Request,
    store: Store,
    slice_: Slice,
    kind: JobKind,
    example: int | None,
    tell: Tell,
    parts: MapParts,
    memory_check: bool,
) -> tuple[Look, Stamps, str | None]:
    """The look, the files besides the slice's that it depends on, as they were opened, and the device of its model."""
    if kind is JobKind.PREVIEW:
        from microscope_tui.engine.looks.cards import preview

        start = example or 0
        if not 0 <= start < len(slice_):
            sentence = f"There is no example {start} in {request.slice}: it has {len(slice_):,}."
            raise MicroscopeError(sentence, fault=Fault.SLICE)
        return preview(slice_, start, tell), {}, None
    if kind is JobKind.TOKENS and (example is None or not 0 <= example < len(slice_)):
        raise MicroscopeError(
            f"There is no example {example} in {request.slice}: it has {len(slice_):,}, counted from 0.",
            fault=Fault.SLICE,
        )
    model, files = MODELS.open(request, tell, memory_check=memory_check)
    from microscope_tui.engine.looks.cloud import cloud
    from microscope_tui.engine.looks.kept import explained, opened, walked, worst_rows
    from microscope_tui.engine.looks.tokens import token_table
    from microscope_tui.engine.looks.worst import worst_tokens
    from microscope_tui.engine.sums import Committed

    stream = request.streams[0] if kind in MAPS else Stream.RESIDUAL
    with opened(request, store, model, slice_, stream) as kept:
        if kind in MAPS:
            sums, counted = kept if isinstance(kept, Committed) else None, walked(request, store, kept)

            def keep(value: Cloud) -> None:
                parts.keep(value, files, model.device)

            made = cloud(request, model, slice_, stream, sums, tell, MAPS[kind], counted, keep, parts.begun)
            return made, files, model.device
        if kind is JobKind.WORST:
            found, fitted = worst_rows(request, store, model, kept, tell)
            return worst_tokens(request, model, slice_, found, fitted, tell), files, model.device
        if kind is JobKind.TOKENS and example is not None:

            def explain(captured: Captured) -> Unexplained:
                return explained(request, store, model, kept, captured, example, tell)

            table = token_table(request, model, slice_, example, explain, tell)
            return replace(table, walked=walked(request, store, kept)), files, model.device
    raise MicroscopeError(f"A job of kind {kind} is no look.")
