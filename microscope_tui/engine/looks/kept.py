"""Finding what a walk has kept that a look can use: its sums, or else its linear maps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from safetensors import safe_open

from microscope_tui.engine.draw import Draw, names_in
from microscope_tui.engine.looks.looking import Tell
from microscope_tui.engine.looks.maps import LinearMaps, maps_bytes, maps_name
from microscope_tui.engine.looks.pooled import Unexplained, unexplained
from microscope_tui.engine.looks.worst import WorstRows, worst_of
from microscope_tui.engine.provenance import plan_of, provenance_of, wider_sums
from microscope_tui.engine.sums import Committed
from microscope_tui.errors import MicroscopeError
from microscope_tui.models.base import Captured, OpenModel
from microscope_tui.slices import Slice
from microscope_tui.store import QUOTA_SHARE, Store
from microscope_tui.terms import Modality, Request, Stream, captured_streams

Kept = Committed | LinearMaps


@contextmanager
def opened(request: Request, store: Store, model: OpenModel, slice_: Slice, stream: Stream) -> Iterator[Kept | None]:
    """The sums of the furthest state that a walk for the request has committed, with rows of `stream`.

    Where there are none, the maps of a walk that is over; None when there are none either. A request that asked for
    other streams beside this one made the same sums of it: its state will do as well.
    """
    device = model.input_device if model.input_device.type == "cuda" else torch.device("cpu")
    for asked in variants(request, stream):
        provenance = _provenance(asked, store, model, slice_)
        if provenance is None:
            continue
        base = str(provenance["state"])
        wider = wider_sums(provenance, slice_)
        states = Draw(slice_.keys, request.max_batch).states(names_in(store), (base, *wider))
        file = next((file for state in states if (file := store.blob_file(str(state))) is not None), None)
        if file is not None:
            with safe_open(file, framework="pt") as state:
                yield Committed(state, slice_.keys, device)
            return
        if (maps := LinearMaps.find(store, maps_name(base, str(provenance["slice"])))) is not None:
            yield maps
            return
    yield None


def variants(request: Request, stream: Stream) -> list[Request]:
    """The request, and those for other streams that hold rows of `stream`; each set of captured streams once."""
    (captured,) = captured_streams([stream])
    asked = [request.streams, tuple(Stream), (captured,)]
    found: dict[tuple[Stream, ...], tuple[Stream, ...]] = {}
    for streams in asked:
        if captured in captured_streams(streams):
            found.setdefault(captured_streams(streams), streams)
    return [replace(request, streams=streams) for streams in found.values()]


def walked(request: Request, store: Store, kept: Kept | None) -> int:
    """How many examples have been walked over for the request, or for other streams beside its own: a measurement of
    no more of them has nothing better to make a look of, also where its sums were not kept."""
    counted = kept.counted if isinstance(kept, LinearMaps) else kept.examples() if kept else ()
    measured = store.recall(request)
    return max(len(counted), measured.examples if measured else 0)


def missing(request: Request, store: Store, model: OpenModel) -> str:
    """Why there is nothing that a look could use, and what to do."""
    needed = maps_bytes(model.layers, model.width, len(request.modalities)) / QUOTA_SHARE
    room = f", with cache_limit_gb = {needed / 1e9:.1g} or more" if needed > store.limit_bytes else ""
    if store.recall(request) is None:
        return f"measure this slice first, with the residual stream{room}"
    return f"its linear maps are not in the cache: remove the measurement there and measure again{room}"


def explained(
    request: Request, store: Store, model: OpenModel, kept: Kept | None, captured: Captured, index: int, tell: Tell
) -> Unexplained:
    """What the maps leave of the tokens of the example number `index`, `captured` alone."""
    if kept is None:
        return Unexplained(notes=(f"no linear maps: {missing(request, store, model)}",))
    if isinstance(kept, LinearMaps):
        return kept.unexplained(request.modalities, captured, index, tell)
    return unexplained(request, model, kept, captured, index, tell)


def worst_rows(
    request: Request, store: Store, model: OpenModel, kept: Kept | None, tell: Tell
) -> tuple[Mapping[Modality, WorstRows], int]:
    """The worst rows of each modality, and how many examples the maps were fitted on. Raises `MicroscopeError`."""
    if kept is None:
        raise MicroscopeError(f"The worst tokens of {request.slice} are not known: {missing(request, store, model)}.")
    if isinstance(kept, LinearMaps):
        found = {modality: kept.worst(modality) for modality in request.modalities}
        return {modality: worst for modality, worst in found.items() if worst is not None}, len(kept.counted)
    modalities = [modality for modality in request.modalities if kept.has(modality, Stream.RESIDUAL)]
    return {modality: worst_of(kept, modality, model.layers, tell) for modality in modalities}, len(kept.examples())


def _provenance(request: Request, store: Store, model: OpenModel, slice_: Slice) -> dict[str, Any] | None:
    """What the sums of exactly this request depend on, None where it cannot be measured."""
    if not set(request.streams) & set(model.streams):
        return None
    measured = store.recall(request)
    if measured is not None:
        return dict(measured.provenance)
    try:
        return provenance_of(request, model, slice_, plan_of(request, model))
    except MicroscopeError:  # it would not fit into memory here
        return None
