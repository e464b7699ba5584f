"""Rows in a folder of pictures and nothing else: one example a picture, and one prompt for all."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from microscope_tui.errors import MicroscopeError
from microscope_tui.slices.jsonl import JsonRows
from microscope_tui.slices.layout import ALIASES, choose_split
from microscope_tui.slices.pictures import SUFFIXES
from microscope_tui.stamps import stamps_of
from microscope_tui.terms import SliceSpec


class PictureRows(JsonRows):
    """The pictures of a folder, by name; the name is a row's key, since a number would say nothing."""

    def __init__(self, folder: Path, names: Sequence[str], spec: SliceSpec) -> None:
        super().__init__([{"file_name": name} for name in names], {}, folder, spec)
        self._names = names
        self.watched = stamps_of(sorted({folder, *((folder / name).parent for name in names)}))

    def key(self, row: int) -> str:
        return self._names[row]

    def content(self) -> str:
        """Digest of the pictures and of their names, which are the examples' names."""
        digest = hashlib.blake2b(super().content().encode(), digest_size=16)
        digest.update("\n".join(self._names).encode())
        return digest.hexdigest()


def picture_names(folder: Path) -> list[str]:
    """The pictures in a folder and in the folders in it, by their names from there, sorted."""
    files = (file for pattern in ("*", "*/*") for file in folder.glob(pattern) if file.suffix.lower() in SUFFIXES)
    names = (file.relative_to(folder) for file in files if file.is_file())
    return sorted(name.as_posix() for name in names if not any(part.startswith(".") for part in name.parts))


def open_pictures(folder: Path, spec: SliceSpec) -> PictureRows:
    """The pictures of a folder that has some. Raises `MicroscopeError` without a prompt.

    Where all of them lie in folders that are named as splits are, they are those of the split.
    """
    if not spec.prompt:
        raise MicroscopeError(
            f"The folder {folder} holds pictures and no questions: give one for all of them, like "
            f"{spec.source}?prompt=Describe the picture."
        )
    names = picture_names(folder)
    tops = {name.split("/")[0] for name in names}
    if all(top.lower() in ALIASES and top not in names for top in tops):
        folder /= choose_split(tops, spec.split, spec.source)
        names = picture_names(folder)
    return PictureRows(folder, names, spec)
