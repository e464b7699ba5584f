"""A slice that is open: its examples one by one, and what its numbers depend on."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from microscope_tui import versions
from microscope_tui.errors import BadExample, Fault, blaming
from microscope_tui.slices.cells import encoded_of
from microscope_tui.slices.examples import Example, example_of
from microscope_tui.slices.film import films_of
from microscope_tui.slices.pictures import BadPicture, decode
from microscope_tui.slices.rows import SourceRows
from microscope_tui.slices.selection import choose_rows
from microscope_tui.slices.sound import BadSound, decode_sound
from microscope_tui.slices.sources import open_rows
from microscope_tui.stamps import Stamps
from microscope_tui.terms import SliceSpec


@dataclass(frozen=True)
class Slice:
    """The chosen rows of a data set; `open_slice` makes it. Its methods may be called from several threads."""

    spec: SliceSpec
    rows: SourceRows
    chosen: tuple[int, ...]
    """Indices of the chosen rows in the source's split, in the order of the examples."""

    def __len__(self) -> int:
        return len(self.chosen)

    @cached_property
    def keys(self) -> tuple[str, ...]:
        """The keys of the examples in their order, by the index of the row in the split: "row 7"."""
        return tuple(self.rows.key(row) for row in self.chosen)

    @cached_property
    def content(self) -> str:
        """Digest of the data alone: equal for two slices of the same rows of the same split, however chosen."""
        mapping = str(SliceSpec("-", prompt=self.spec.prompt, columns=self.spec.columns)).removeprefix("-")
        return f"{versions.READER}-{self.rows.content()}{mapping}"

    @cached_property
    def digest(self) -> str:
        """Digest of the data and of the choice. Reads the files once in a process (1 GB/s), the hub cache's not."""
        choice = hashlib.blake2b(self.content.encode(), digest_size=16)
        choice.update(",".join(map(str, self.chosen)).encode())
        return choice.hexdigest()

    @property
    def files(self) -> tuple[Path, ...]:
        """Files and folders that decide what the slice holds: while they are unchanged, so is `digest`."""
        return tuple(self.stamps)

    @property
    def stamps(self) -> Stamps:
        """Those of `files`, as they were before they were read."""
        return {**self.rows.stamps, **self.rows.watched}

    def example(self, i: int) -> Example:
        """The i-th example with all it shows, decoded now. Raises `BadExample` for a row that cannot be used."""
        row = self.chosen[i]
        key, folder = self.rows.key(row), self.rows.folder
        try:
            images = tuple(map(decode, encoded_of(self.rows.cells(row, "image"), folder, key)))
            audios = tuple(map(decode_sound, encoded_of(self.rows.cells(row, "audio"), folder, key, "sound")))
        except BadPicture as error:
            raise BadExample(key, f"its picture {error}") from error
        except BadSound as error:
            raise BadExample(key, f"its sound {error}") from error
        videos = tuple(film for cell in self.rows.cells(row, "video") for film in films_of(cell, folder, key))
        return example_of(key, self.rows.values(row), images, videos, audios)


@blaming(Fault.SLICE)
def open_slice(spec: SliceSpec) -> Slice:
    """Finds the data and draws the examples; no picture is decoded yet.

    Raises `MicroscopeError`: the source is missing, not to be had or no data set; it lacks the split, the
    questions or the pictures' column; the filter is unknown or leaves nothing.
    """
    rows = open_rows(spec)
    return Slice(spec, rows, choose_rows(rows, spec))
