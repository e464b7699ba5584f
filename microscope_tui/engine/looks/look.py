"""A look at single examples and rows: what a job of a kind other than `measure` makes, and keeps in the store."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from microscope_tui.engine.looks.looking import Tell
from microscope_tui.engine.measure import SHELF
from microscope_tui.errors import Cancelled, MicroscopeError
from microscope_tui.inspection import Cloud, Preview, Projection, TokenTable, WorstTokens
from microscope_tui.stamps import Stamps, refuse_changed
from microscope_tui.store import Store
from microscope_tui.terms import JobKind, Progress, Request, Stream

if TYPE_CHECKING:
    from microscope_tui.engine.looks.pooled import Unexplained
    from microscope_tui.models.base import Captured
    from microscope_tui.slices import Slice

Look = Preview | TokenTable | WorstTokens | Cloud

MAPS = {JobKind.MAP: Projection.PCA, JobKind.TSNE: Projection.TSNE}


def run(
    request: Request,
    store: Store,
    *,
    kind: JobKind,
    example: int | None,
    on_progress: Callable[[Progress], None],
    should_stop: Callable[[], bool],
) -> None:
    """Make a look and keep it (`Store.remember_look`), in place of the one that is there.

    `preview` opens no model: it is of the page that begins at `example`, the first for None. `tokens` is of the example
    number `example` of the slice. `map` and `t-sne` are of the first of the request's streams. `tokens` and `worst` use
    what a walk for the request, or for other streams beside its own, has committed. Raises `Cancelled` when told to
    stop, and `MicroscopeError` for what cannot be had.
    """

    def tell(progress: Progress) -> None:
        if should_stop():
            raise Cancelled(f"Stopped while {progress.phase}.")
        on_progress(progress)

    from microscope_tui.slices import open_slice

    tell(Progress("opening slice"))
    slice_ = open_slice(request.slice)
    value, files = _made(request, store, slice_, kind, example, tell)
    files = {**slice_.stamps, **files}
    refuse_changed(files)  # it would be recalled for nothing
    store.remember_look(request, kind, example, value.to_json(), files)


def _made(
    request: Request, store: Store, slice_: Slice, kind: JobKind, example: int | None, tell: Tell
) -> tuple[Look, Stamps]:
    """The look, and the files besides the slice's that it depends on, as they were opened."""
    if kind is JobKind.PREVIEW:
        from microscope_tui.engine.looks.cards import preview

        start = example or 0
        if not 0 <= start < len(slice_):
            raise MicroscopeError(f"There is no example {start} in {request.slice}: it has {len(slice_):,}.")
        return preview(slice_, start, tell), {}
    if kind is JobKind.TOKENS and (example is None or not 0 <= example < len(slice_)):
        raise MicroscopeError(
            f"There is no example {example} in {request.slice}: it has {len(slice_):,}, counted from 0."
        )
    model, files = SHELF.open(request, on_phase=lambda phase: tell(Progress(phase)))
    from microscope_tui.engine.kept import explained, opened, worst_rows
    from microscope_tui.engine.looks.cloud import cloud
    from microscope_tui.engine.looks.tokens import token_table
    from microscope_tui.engine.looks.worst import worst_tokens
    from microscope_tui.engine.sums import Committed

    stream = request.streams[0] if kind in MAPS else Stream.RESIDUAL
    with opened(request, store, model, slice_, stream) as kept:
        if kind in MAPS:
            sums = kept if isinstance(kept, Committed) else None
            return cloud(request, model, slice_, stream, sums, tell, MAPS[kind]), files
        if kind is JobKind.WORST:
            found, fitted = worst_rows(request, store, model, kept, tell)
            return worst_tokens(request, model, slice_, found, fitted, tell), files
        if kind is JobKind.TOKENS and example is not None:

            def explain(captured: Captured) -> Unexplained:
                return explained(request, store, model, kept, captured, example, tell)

            return token_table(request, model, slice_, example, explain, tell), files
    raise MicroscopeError(f"A job of kind {kind} is no look.")
