"""Linear maps that are kept of a walk whose sums are too large to keep, for the looks that come later.

The sums of a 7B decoder are hundreds of gigabytes; its maps A_l are four, in float32, one entry of the store for each
block and modality of the residual stream. Beside them stands what only the sums and the sample can tell: which tokens
the maps of other folds explain worst.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from safetensors.torch import load, save
from torch import Tensor

from microscope_tui.engine.looks.looking import Tell
from microscope_tui.engine.looks.pooled import Fits, Unexplained, taken, told
from microscope_tui.engine.looks.worst import WorstRows, worst_of
from microscope_tui.engine.sums import Running
from microscope_tui.engine.walk import Walk
from microscope_tui.geometry.solve import factor
from microscope_tui.models.base import Captured
from microscope_tui.store import QUOTA_SHARE, Store, StoreFull
from microscope_tui.terms import Modality, Progress, Stream


def maps_name(state: str, digest: str) -> str:
    """The name of the maps of a walk: the name of its sums, and the digest of its examples."""
    return f"maps-{state}-{digest}"


def maps_bytes(layers: int, width: int, modalities: int) -> int:
    """What the maps of a decoder of `layers` blocks of width d take."""
    return modalities * layers * width**2 * 4


def keep_maps(store: Store, name: str, walk: Walk) -> None:
    """Make the maps of a walk that is over, and keep them; where there is no room for them, none.

    No stop is heard: the measurement is kept already, and without the walk's sums they cannot be made again.
    """
    sums = Running(walk.accumulator, walk.slice.keys, [skipped.example for skipped in walk.skipped])
    modalities = [modality for modality in walk.request.modalities if sums.has(modality, Stream.RESIDUAL)]
    layers = walk.model.layers
    if maps_bytes(layers, walk.model.width, len(modalities)) > QUOTA_SHARE * store.limit_bytes:
        return

    head: dict[str, Any] = {"examples": sums.examples(), "modalities": {}}
    try:
        for modality in modalities:
            fits, n = Fits(sums, modality), 0
            for layer, moments in enumerate(fits.blocks()):
                walk.tell.progress(Progress(f"keeping linear maps of {modality} tokens", layer, layers, unit="maps"))
                n = moments.n
                if not fits.trusts(layer, moments):
                    continue
                kept = {
                    "a": factor(moments.n, moments.mean_x, moments.xx).solve(moments.xy).float(),
                    "mean_x": moments.mean_x,
                    "mean_y": moments.mean_y,
                    "scale": moments.yy.trace()[None] / moments.n,
                }
                value = save({key: tensor.cpu().contiguous() for key, tensor in kept.items()})
                store.put_blob(_part(name, modality, layer), value)
            worst = worst_of(sums, modality, layers, walk.tell.progress)
            head["modalities"][str(modality)] = {"n": n, "notes": fits.notes(), "worst": worst.to_json()}
        store.put_blob(name, json.dumps(head).encode())
    except StoreFull:
        return  # the measurement itself is kept, and says all but this


class LinearMaps:
    """The maps that `keep_maps` has kept under a name."""

    def __init__(self, store: Store, name: str, head: bytes) -> None:
        self._store, self._name = store, name
        values = json.loads(head)
        self.counted: list[int] = values["examples"]
        self._of: dict[str, Any] = values["modalities"]

    @classmethod
    def find(cls, store: Store, name: str) -> LinearMaps | None:
        head = store.blob(name)
        return None if head is None else cls(store, name, head)

    def worst(self, modality: Modality) -> WorstRows | None:
        of = self._of.get(str(modality))
        return None if of is None else WorstRows.from_json(of["worst"])

    def unexplained(self, modalities: Sequence[Modality], captured: Captured, index: int, tell: Tell) -> Unexplained:
        """As `pooled.unexplained`, but that the example is among those that the maps were fitted on."""
        states = captured.rows[Stream.RESIDUAL]
        errors = torch.full((len(states) - 1, len(captured)), torch.nan, dtype=torch.float64)
        notes: list[str] = []
        for modality in modalities:
            at = captured.mask(modality).cpu().nonzero()[:, 0]
            of = self._of.get(str(modality))
            if not len(at) or of is None:
                continue
            for layer, (x, y) in enumerate(pairwise(states)):
                tell(Progress(f"linear maps of {modality} tokens", layer, len(errors), unit="maps"))
                part = self._store.blob(_part(self._name, modality, layer))
                if part is not None:
                    errors[layer, at] = _left_by(load(part), x, y, at)
            if index in self.counted:
                rows = f"{of['n']:,} rows"
                notes.append(f"the linear maps of {modality} tokens are fitted on this example too, among {rows}")
            notes += of["notes"]
        return Unexplained(told(errors), len(self.counted), tuple(notes))


def _left_by(kept: dict[str, Tensor], x: Tensor, y: Tensor, at: Tensor) -> Tensor:
    """‖ỹ − x̃A‖²/mean‖ỹ‖² of some of the rows of x, y (T, d), on the CPU."""
    device = x.device
    a, mean_x, mean_y, scale = (kept[name].to(device) for name in ("a", "mean_x", "mean_y", "scale"))
    cx, cy = taken(x, at, device).double() - mean_x, taken(y, at, device).double() - mean_y
    return ((cy - (cx.float() @ a).double()).square().sum(1) / scale).cpu()


def _part(name: str, modality: Modality, layer: int) -> str:
    return f"{name}-{modality}-{layer}"
