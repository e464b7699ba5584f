"""The rows of single batches as they came out of the model, kept on the disk until sums are that hold them.

Sums are many times larger than what one batch adds to them, and so are not written after every batch: its rows are, as
a block. Whoever goes on adds them to the sums that were committed before just as it was done the first time, and gets
the same bits without a forward pass. A block says what its batch added, never what there was before, so it fits behind
any beginning of the same examples. One that cannot be used for whatever reason is measured again.
"""

from __future__ import annotations

import json
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor

from microscope_tui.engine.rows import below
from microscope_tui.engine.tally import Tally
from microscope_tui.engine.tensors import metadata_of, parts_of, tensors_of
from microscope_tui.errors import MicroscopeError
from microscope_tui.models.base import Captured
from microscope_tui.models.before import Stage
from microscope_tui.models.quiet import is_out_of_memory
from microscope_tui.store import DiskFull, Store, StoreFull, content_key
from microscope_tui.store.names import rows_name
from microscope_tui.terms import Stream

FORMAT = 2
"""Goes up whenever a block is written otherwise: part of its name."""

WRITING = 0.05
"""At most this share of a walk's time goes into writing rows."""

ALLOWED_SECONDS = 1.0
"""So much of it at the beginning, when not much time has gone by."""

PACE = 1 / 200e6
"""Seconds that a byte takes, until some were timed."""

PARTS = ("example", "position", "modality", "group", "ids")
"""What a captured batch has besides its rows, for each of them."""

UNREADABLE = (LookupError, TypeError, ValueError, AttributeError, OSError, SafetensorError)
"""What is raised by a block that is not as this version writes them, or that another process removed meanwhile."""


@dataclass(frozen=True)
class Piece:
    """A captured batch, in host memory, and the `places` of its examples in the slice. `devices` says of each tensor
    that was not there where it belongs."""

    head: Mapping[str, Any]
    tensors: Mapping[str, Tensor]
    devices: Mapping[str, torch.device]
    places: tuple[int, ...]

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


class Journal:
    """The blocks of one walk. `base`, `keys` and `batch` are as for a `Keeper`."""

    def __init__(self, store: Store, base: str, keys: Sequence[str], batch: int) -> None:
        self._store, self._base, self._keys, self._batch = store, base, keys, batch
        self._began = time.monotonic()
        self._spent = 0.0
        self._written = 0
        self._pieces: list[tuple[dict[str, Any], dict[str, Tensor]]] = []
        self._roomy = True
        self.tally = Tally()
        """What is on the disk, in sums and the blocks behind them."""
        self.whole = True
        """Whether nothing was counted since that cannot be written any more as a block."""
        self.nbytes = 0
        """The bytes of the blocks behind the sums."""

    @property
    def held(self) -> int:
        """The bytes of what was counted and is in no block yet."""
        return sum(tensor.nbytes for _, piece in self._pieces for tensor in piece.values())

    def spare_memory(self) -> None:
        """Hold no rows from now on."""
        self._roomy = False
        self._give_up()

    def note(self, captured: Captured, places: Sequence[int]) -> None:
        """Hold a batch that was counted until its block is written, if there is time to write it."""
        if not self.whole:
            return
        started = time.monotonic()
        tensors = dict(_tensors(captured))
        size = sum(tensor.nbytes for tensor in tensors.values())
        pace = self._spent / self._written if self._written else PACE
        if self._spent + size * pace > ALLOWED_SECONDS + WRITING * (started - self._began):
            self._give_up()
            return
        try:
            held = _in_host_memory(tensors)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            self._give_up()
            return
        self._pieces.append(({"places": list(places), **_head(captured, tensors)}, held))
        self._spent += time.monotonic() - started

    def write(self, tally: Tally) -> None:
        """Put what was counted since `self.tally` on the disk, if all of it is held. Raises `DiskFull`."""
        if not self.whole:
            return
        started = time.monotonic()
        head = {"tally": tally.since(self.tally).to_json(), "pieces": [piece for piece, _ in self._pieces]}
        tensors = {
            f"{number}.{name}": tensor
            for number, (_, piece) in enumerate(self._pieces)
            for name, tensor in piece.items()
        }
        try:
            parts = parts_of(tensors, {"block": json.dumps(head)})
            self._store.put_blob(self._name(self.tally.consumed), parts)
        except StoreFull as error:
            self._give_up()
            if isinstance(error, DiskFull):
                raise
            return  # other jobs use the room: a kill costs what was measured since the last block
        except MicroscopeError:  # a busy database, say: no walk ends for a copy that it can do without
            self._give_up()
            return
        size = sum(part.nbytes for part in parts)
        self._on_disk(tally, self.nbytes + size)
        self._written += size
        self._spent += time.monotonic() - started

    def read(self, start: int, *, device: torch.device, optional: Collection[str]) -> Block | None:
        """The block behind the first `start` examples; None when there is none, or none for a model that is entered on
        this `device` and with these `optional` libraries."""
        if start >= len(self._keys):
            return None
        try:
            file = self._store.blob_file(self._name(start))
            if file is None:
                return None
            block = _read(file, device)
        except (*UNREADABLE, MicroscopeError):
            return None
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            return None
        if block is None or (block.tally.skipped and not set(optional) <= set(block.tally.optional)):
            return None  # of a GPU that is not here; or skipped for want of what is
        places = [place for piece in block.pieces for place in piece.places]
        complete = len(places) + len(block.tally.skipped) == block.tally.consumed == self._end(start) - start
        return block if complete and set(places) <= set(range(start, self._end(start))) else None

    def replayed(self, tally: Tally, block: Block) -> None:
        """A block that was read was counted: this is the tally now."""
        self._on_disk(tally, self.nbytes + block.nbytes)

    def follow(self, tally: Tally) -> None:
        """Sums of this tally are on the disk: blocks are to come behind them."""
        self.whole = self._roomy
        self._on_disk(tally, 0)

    def forget(self, start: int, end: int) -> None:
        """Remove the blocks from example number `start` up to `end`, where batches begin."""
        there = {entry.key.partition("/")[2] for entry in self._store.entries()}
        self._store.remove_blobs(
            [name for first in range(start, end, self._batch) if (name := self._name(first)) in there]
        )

    def _on_disk(self, tally: Tally, nbytes: int) -> None:
        self._pieces, self.tally, self.nbytes = [], tally, nbytes

    def _give_up(self) -> None:
        self.whole = False
        self._pieces.clear()

    def _end(self, start: int) -> int:
        return min(start + self._batch, len(self._keys))

    def _name(self, start: int) -> str:
        """The name of the block behind the first `start` examples: every block is of one batch."""
        end = self._end(start)
        return rows_name(self._base, start, end, self._digests[end])

    @cached_property
    def _digests(self) -> dict[int, str]:
        """A digest of the examples before the end of each batch."""
        digests, digest = {}, str(FORMAT)
        for start in range(0, len(self._keys), self._batch):
            keys = self._keys[start : start + self._batch]
            digest = digests[start + len(keys)] = content_key(before=digest, keys=list(keys))[:16]
        return digests


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


def _read(file: Path, device: torch.device) -> Block | None:
    """The block in a file of the journal; None when its rows were on a device of a kind that is not here. Raises
    `UNREADABLE`, also when a part is missing: nothing of a block may be counted before all of it is known."""
    head = json.loads(metadata_of(file)["block"])
    tensors = tensors_of(file)
    pieces = []
    for number, piece in enumerate(head["pieces"]):
        places = _placed(piece["kinds"], device)
        if places is None:
            return None
        own = below(tensors, f"{number}.")
        _captured(piece, own)
        devices = {name: places[was] for name, was in piece["devices"].items()}
        pieces.append(Piece(piece, own, devices, tuple(map(int, piece["places"]))))
    return Block(tuple(pieces), Tally.from_json(head["tally"]), file.stat().st_size)
