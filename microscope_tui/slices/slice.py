"""A slice that is open: its examples one by one, and what its numbers depend on."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from microscope_tui.errors import BadExample
from microscope_tui.slices.examples import Example, Preview, choices_of, example_of, key_of, meta_of
from microscope_tui.slices.pictures import BadPicture, decode
from microscope_tui.slices.rows import Rows
from microscope_tui.slices.selection import choose_rows
from microscope_tui.slices.sources import open_rows
from microscope_tui.terms import SliceSpec

READER = "1"
"""Version of what becomes of a row (decoding, RGB, orientation). A change that can change a pixel needs a new one."""


@dataclass(frozen=True)
class Slice:
    """The chosen rows of a data set; `open_slice` makes it. Its methods may be called from several threads."""

    spec: SliceSpec
    rows: Rows
    chosen: tuple[int, ...]
    """Indices of the chosen rows in the source's split, in the order of the examples."""

    def __len__(self) -> int:
        return len(self.chosen)

    @cached_property
    def keys(self) -> tuple[str, ...]:
        """The keys of the examples in their order, by the index of the row in the split: "row 7"."""
        return tuple(key_of(row) for row in self.chosen)

    @cached_property
    def content(self) -> str:
        """Digest of the data alone: equal for two slices of the same rows of the same split, however chosen."""
        return f"{READER}-{self.rows.content()}"

    @cached_property
    def digest(self) -> str:
        """Digest of the data and of the choice. Reads the files once in a process (1 GB/s), the hub cache's not."""
        choice = hashlib.blake2b(self.content.encode(), digest_size=16)
        choice.update(",".join(map(str, self.chosen)).encode())
        return choice.hexdigest()

    @property
    def files(self) -> tuple[Path, ...]:
        """Files and folders that decide what the slice holds: while they are unchanged, so is `digest`."""
        return (*self.rows.files, *self.rows.watched)

    def example(self, i: int) -> Example:
        """The i-th example with its pictures, decoded now. Raises `BadExample` for a row that cannot be used."""
        row = self.chosen[i]
        try:
            images = tuple(decode(data) for data in self.rows.encoded(row))
        except BadPicture as error:
            raise BadExample(key_of(row), f"its picture {error}") from error
        return example_of(row, self.rows.values(row), images)

    def preview(self, n: int) -> tuple[Preview, ...]:
        """The first n examples without their pictures; bad rows are shown as they are."""
        return tuple(self._preview(row) for row in self.chosen[:n])

    def _preview(self, row: int) -> Preview:
        values = self.rows.values(row)
        picture = self.rows.pictured[row]
        return Preview(key_of(row), values.get("question") or "", choices_of(values), picture, meta_of(values))


def open_slice(spec: SliceSpec) -> Slice:
    """Finds the data and draws the examples; no picture is decoded yet.

    Raises `MicroscopeError`: the source is missing, not to be had or no data set; it lacks the split, the
    questions or the pictures' column; the filter is unknown or leaves nothing.
    """
    rows = open_rows(spec.source, spec.split)
    return Slice(spec, rows, choose_rows(rows, spec))
