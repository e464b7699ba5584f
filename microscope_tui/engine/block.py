"""The rows of one batch as they came out of the model, in a file.

Whoever goes on adds them to the sums just as it was done the first time, and gets the same bits without a forward pass.
A block says what its batch added, never what there was before, so it fits behind any beginning of the same examples.
One that cannot be used for whatever reason is measured again.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from microscope_tui.engine.rows import below
from microscope_tui.engine.tally import Tally
from microscope_tui.engine.tensors import head_of, parts_of, tensors_of
from microscope_tui.errors import MicroscopeError, is_out_of_memory
from microscope_tui.models.base import Captured
from microscope_tui.models.before import Stage
from microscope_tui.store import Store
from microscope_tui.store.names import RowsName
from microscope_tui.terms import Stream

PARTS = ("example", "position", "modality", "group", "ids")
"""What a captured batch has besides its rows, for each of them."""

UNREADABLE = (LookupError, TypeError, ValueError, AttributeError, OSError, SafetensorError)
"""What is raised by a file that is not as this version writes it, or that another process removed meanwhile."""


@dataclass(frozen=True)
class Piece:
    """A captured batch in host memory, and the `places` of its examples in the slice. `devices` says of each tensor of
    one that was read and that was not there where it belongs."""

    head: Mapping[str, Any]
    tensors: Mapping[str, Tensor]
    places: tuple[int, ...]
    devices: Mapping[str, torch.device] = field(default_factory=dict)

    @classmethod
    def of(cls, captured: Captured, places: Sequence[int]) -> Self:
        """A copy of what is on other devices."""
        tensors = dict(_tensors(captured))
        head = {"places": list(places), **_head(captured, tensors)}
        return cls(head, _in_host_memory(tensors), tuple(places))

    @property
    def nbytes(self) -> int:
        return sum(tensor.nbytes for tensor in self.tensors.values())

    def captured(self) -> Captured:
        """The batch, each tensor where it was when it was counted, for sums round otherwise on another device."""
        return _captured(
            self.head, {name: tensor.to(self.devices.get(name, "cpu")) for name, tensor in self.tensors.items()}
        )


@dataclass(frozen=True)
class Block:
    """What one step of a walk added: the captured batches and the rest of what is known, of `nbytes` on the disk."""

    pieces: tuple[Piece, ...]
    tally: Tally
    nbytes: int


def nbytes_of(captured: Captured) -> int:
    """The bytes of a batch in a block."""
    return sum(tensor.nbytes for _, tensor in _tensors(captured))


def block_of(pieces: Sequence[Piece], tally: Tally) -> tuple[memoryview, ...]:
    """The bytes of a block, in parts; `tally` is what the batch added."""
    head = {"tally": tally.to_json(), "pieces": [piece.head for piece in pieces]}
    named = ((f"{number}.{name}", each) for number, piece in enumerate(pieces) for name, each in piece.tensors.items())
    return parts_of(dict(named), head)


def read(store: Store, name: RowsName, device: torch.device, optional: Collection[str]) -> Block | None:
    """The block of this name; None when it is gone or damaged, or none for a model that is entered on this `device` and
    with these `optional` libraries."""
    try:
        file = store.blob_file(str(name))
        block = None if file is None else _read(file, device)
    except (*UNREADABLE, MicroscopeError):
        return None
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        return None
    if block is None or (block.tally.skipped and not set(optional) <= set(block.tally.optional)):
        return None  # of a GPU that is not here; or skipped for want of what is
    places = [place for piece in block.pieces for place in piece.places]
    complete = len(places) + len(block.tally.skipped) == block.tally.consumed == name.end - name.start
    return block if complete and set(places) <= set(range(name.start, name.end)) else None


def _read(file: Path, device: torch.device) -> Block | None:
    """The block in a file; None when its rows were on a device of a kind that is not here. Raises `UNREADABLE`, also
    when a part is missing: nothing of a block may be counted before all of it is known."""
    with safe_open(file, framework="pt") as opened:
        head, tensors = head_of(opened), tensors_of(opened)
    pieces = []
    for number, piece in enumerate(head["pieces"]):
        places = _placed(piece["kinds"], device)
        if places is None:
            return None
        own = below(tensors, f"{number}.")
        _captured(piece, own)
        devices = {name: places[was] for name, was in piece["devices"].items()}
        pieces.append(Piece(piece, own, tuple(map(int, piece["places"])), devices))
    return Block(tuple(pieces), Tally.from_json(head["tally"]), file.stat().st_size)


def _tensors(captured: Captured) -> Iterator[tuple[str, Tensor]]:
    """All that sums are made of, by name."""
    for name in PARTS:
        yield name, getattr(captured, name)
    for stream, layers in captured.rows.items():
        for number, rows in enumerate(layers):
            yield f"rows.{stream}.{number}", rows
    for name, stage in captured.before.items():
        yield f"before.{name}.example", stage.example
        yield f"before.{name}.position", stage.position
        for number, rows in enumerate(stage.rows):
            yield f"before.{name}.{number}", rows


def _in_host_memory(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.cpu() for name, tensor in tensors.items()}


def _head(captured: Captured, tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """How the tensors are put together again, where they were, and what kinds of device that were."""
    devices = {name: str(tensor.device) for name, tensor in tensors.items() if tensor.device.type != "cpu"}
    return {
        "rows": {str(stream): len(layers) for stream, layers in captured.rows.items()},
        "before": {name: len(stage.rows) for name, stage in captured.before.items()},
        "devices": devices,
        "kinds": {device: _kind(torch.device(device)) for device in set(devices.values())},
    }


def _captured(head: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Captured:
    def numbered(prefix: str, count: int) -> list[Tensor]:
        return [tensors[f"{prefix}.{number}"] for number in range(count)]

    return Captured(
        **{name: tensors[name] for name in PARTS},
        rows={Stream(stream): numbered(f"rows.{stream}", count) for stream, count in head["rows"].items()},
        last_logits=None,
        before={
            name: Stage(
                numbered(f"before.{name}", count), tensors[f"before.{name}.example"], tensors[f"before.{name}.position"]
            )
            for name, count in head["before"].items()
        },
    )


def _kind(device: torch.device) -> str | None:
    """What a device is called by who made it: another kind rounds otherwise. None for one that is not here."""
    if device.type != "cuda":
        return device.type
    here = (device.index or 0) < torch.cuda.device_count()
    return torch.cuda.get_device_name(device) if here else None


def _placed(kinds: Mapping[str, str], device: torch.device) -> dict[str, torch.device] | None:
    """For each device that rows were on the one where they belong: that of this walk where all were on one, which may
    have had another number. None where it is of another kind."""
    places = {name: device if len(kinds) == 1 else torch.device(name) for name in kinds}
    return places if all(_kind(places[name]) == kind for name, kind in kinds.items()) else None
