"""The rows of single batches as they came out of the model, kept on the disk until sums are that hold them.

Sums are many times larger than what one batch adds to them, and so are not written after every batch: its rows are.
Whoever goes on adds them to the sums that were committed before just as it was done the first time, and gets the same
bits without a forward pass.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from microscope_tui.engine.rows import below
from microscope_tui.engine.tensors import metadata_of, parts_of, tensors_of
from microscope_tui.models.base import Captured
from microscope_tui.models.before import Stage
from microscope_tui.results import Answer, Skipped
from microscope_tui.store import DiskFull, Store, StoreFull, content_key
from microscope_tui.store.libraries import installed, learned
from microscope_tui.terms import Stream

SHARE = 0.05
"""At most this share of a walk's time goes into writing rows."""

ALLOWED_SECONDS = 1.0
"""So much of it at the beginning, when not much time has gone by."""

PACE = 1 / 200e6
"""Seconds that a byte takes, until some were timed."""

PARTS = ("example", "position", "modality", "group", "ids")
"""What a captured batch has besides its rows, for each of them."""


@dataclass(frozen=True)
class Piece:
    """A captured batch, and the places of its examples in the slice."""

    captured: Captured
    places: tuple[int, ...]


@dataclass(frozen=True)
class Block:
    """What came between two commits: the captured batches, and the examples that were skipped; `answers` to some of
    the `asked` questions. After it the first `end` examples are consumed, and `done` of them counted. `optional` are
    the libraries for some examples that were there."""

    end: int
    done: int
    asked: int
    pieces: tuple[Piece, ...]
    skipped: tuple[Skipped, ...]
    answers: tuple[Answer, ...]
    optional: tuple[str, ...]


class Journal:
    """The blocks of one walk since sums were committed. `base`, `keys` and `batch` are as for a `Keeper`."""

    def __init__(self, store: Store, base: str, keys: Sequence[str], batch: int) -> None:
        self._store, self._base, self._keys, self._batch = store, base, keys, batch
        self._began = time.monotonic()
        self._spent = 0.0
        self._written = 0
        self._pieces: list[tuple[dict[str, Any], dict[str, Tensor]]] = []
        self._known: tuple[int, int] = (0, 0)  # skipped examples and answers up to the last block
        self.end = 0
        """How many examples the sums and the blocks are of."""
        self.whole = True
        """Whether the disk has every block since sums were committed."""
        self.nbytes = 0
        """The bytes of those blocks."""

    def note(self, captured: Captured, places: Sequence[int]) -> None:
        """Hold a batch that was counted until its block is written, if there is time to write it."""
        if not self.whole:
            return
        started = time.monotonic()
        tensors = dict(_tensors(captured))
        size = sum(tensor.nbytes for tensor in tensors.values())
        pace = self._spent / self._written if self._written else PACE
        self.whole = self._spent + size * pace <= ALLOWED_SECONDS + SHARE * (started - self._began)
        if self.whole:
            head = {"places": list(places), **_head(captured, tensors)}
            self._pieces.append((head, {name: tensor.cpu() for name, tensor in tensors.items()}))
        else:
            self._pieces.clear()
        self._spent += time.monotonic() - started

    def write(self, end: int, done: int, asked: int, skipped: Sequence[Skipped], answers: Sequence[Answer]) -> None:
        """Put the block that ends before example number `end` on the disk, if none is missing before it. Of what was
        `skipped` and of the `answers` it takes what is new. Raises `DiskFull`."""
        if not self.whole:
            return
        started = time.monotonic()
        tensors = {
            f"{number}.{name}": tensor
            for number, (_, piece) in enumerate(self._pieces)
            for name, tensor in piece.items()
        }
        old_skipped, old_answers = self._known
        head = {
            "end": end,
            "done": done,
            "asked": asked,
            "pieces": [piece for piece, _ in self._pieces],
            "skipped": [asdict(each) for each in skipped[old_skipped:]],
            "answers": [asdict(each) for each in answers[old_answers:]],
            "optional": installed(),
        }
        parts = parts_of(tensors, {"block": json.dumps(head)})
        try:
            self._store.put_blob(self._name(self.end, end), parts)
        except DiskFull:
            raise
        except StoreFull:  # other jobs use the room: a kill costs what was measured since the last block
            self.whole = False
            self._pieces.clear()
            return
        size = sum(part.nbytes for part in parts)
        self._pieces, self.end, self._known = [], end, (len(skipped), len(answers))
        self.nbytes += size
        self._written += size
        self._spent += time.monotonic() - started

    def begin(self, end: int, skipped: int, answers: int) -> None:
        """Sums of the first `end` examples are committed: blocks before it are needed no more. So many examples were
        skipped then, and so many answers known."""
        self._pieces, self.end, self._known, self.whole, self.nbytes = [], end, (skipped, answers), True, 0
        for start, name in self._names().items():
            if start < end:
                self._store.remove_blob(name)

    def reach(self, start: int) -> int:
        """Behind which example the blocks lead on from sums of the first `start` ones."""
        names = self._names()
        while start in names:
            start = _end_of(names[start])
        return start

    def blocks(self, start: int) -> Iterator[Block]:
        """The blocks that follow on sums of the first `start` examples, as far as they can be read."""
        names = self._names()
        while start in names:
            file = self._store.blob_file(names[start])
            if file is None:
                return
            try:
                block = _read(file)
                self.nbytes += file.stat().st_size
            except FileNotFoundError:
                return  # removed by another process since
            if block is None or (block.skipped and learned(block.optional)):
                return  # of a GPU that is not here now; or skipped for want of what is
            yield block
            start = self.end = block.end
            self._known = (self._known[0] + len(block.skipped), self._known[1] + len(block.answers))

    def _names(self) -> dict[int, str]:
        """The names of the blocks of these examples that are on the disk, by where they begin."""
        found = {}
        for entry in self._store.entries():
            name = entry.key.partition("/")[2]
            if name.startswith(f"rows-{self._base}-"):
                start, end = int(name.split("-")[2]), _end_of(name)
                if end in self._digests and name == self._name(start, end):
                    found[start] = name
        return found

    def _name(self, start: int, end: int) -> str:
        return f"rows-{self._base}-{start}-{end}-{self._digests[end]}"

    @cached_property
    def _digests(self) -> dict[int, str]:
        """A digest of the examples before the end of each batch."""
        digests, digest = {}, ""
        for start in range(0, len(self._keys), self._batch):
            keys = self._keys[start : start + self._batch]
            digest = digests[start + len(keys)] = content_key(before=digest, keys=list(keys))[:16]
        return digests


def _end_of(name: str) -> int:
    return int(name.split("-")[3])


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


def _head(captured: Captured, tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """How the tensors are put together again, and where they were: sums round otherwise on another device."""
    return {
        "rows": {str(stream): len(layers) for stream, layers in captured.rows.items()},
        "before": {name: len(stage.rows) for name, stage in captured.before.items()},
        "devices": {name: str(tensor.device) for name, tensor in tensors.items() if tensor.device.type != "cpu"},
    }


def _captured(head: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Captured:
    there = {name: tensor.to(head["devices"].get(name, "cpu")) for name, tensor in tensors.items()}

    def numbered(prefix: str, count: int) -> list[Tensor]:
        return [there[f"{prefix}.{number}"] for number in range(count)]

    return Captured(
        example=there["example"],
        position=there["position"],
        modality=there["modality"],
        group=there["group"],
        ids=there["ids"],
        rows={Stream(stream): numbered(f"rows.{stream}", count) for stream, count in head["rows"].items()},
        last_logits=None,
        before={
            name: Stage(
                numbered(f"before.{name}", count), there[f"before.{name}.example"], there[f"before.{name}.position"]
            )
            for name, count in head["before"].items()
        },
    )


def _is_here(device: str) -> bool:
    return (torch.device(device).index or 0) < torch.cuda.device_count()


def _read(file: Path) -> Block | None:
    """The block in a file of the journal; None when its rows were on a device that is not here."""
    head = json.loads(metadata_of(file)["block"])
    if not all(_is_here(device) for piece in head["pieces"] for device in piece["devices"].values()):
        return None
    tensors = tensors_of(file)
    return Block(
        head["end"],
        head["done"],
        head["asked"],
        tuple(
            Piece(_captured(piece, below(tensors, f"{number}.")), tuple(piece["places"]))
            for number, piece in enumerate(head["pieces"])
        ),
        tuple(Skipped(**each) for each in head["skipped"]),
        tuple(Answer(**each) for each in head["answers"]),
        tuple(head["optional"]),
    )
