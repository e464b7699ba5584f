"""Rows in a folder of pictures with a `metadata.jsonl`: one JSON object a line, its picture under `file_name`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa

from microscope_tui.errors import BadExample, MicroscopeError
from microscope_tui.slices.examples import key_of
from microscope_tui.slices.layout import choose_split
from microscope_tui.slices.rows import Rows, check_texts, one_line, text_columns

METADATA = "metadata.jsonl"
PICTURE = "file_name"


class FolderRows(Rows):
    """The lines of a metadata file. A line whose `file_name` is null or missing is a text-only row."""

    def __init__(self, lines: Sequence[dict[str, Any]], folder: Path, source: str) -> None:
        names = list(dict.fromkeys(name for line in lines for name in line))
        if PICTURE not in names:
            raise MicroscopeError(
                f"The data set {source} has no image column ({PICTURE} in {METADATA}): its columns are "
                f"{', '.join(names)}."
            )
        self._folder = folder
        self._names = [line.get(PICTURE) for line in lines]
        table = _table(lines, [name for name in names if name != PICTURE], folder)
        check_texts(table.schema, source)
        pictures = (folder / str(name) for name in self._names if name and _inside(name))
        there = dict.fromkeys(picture for picture in pictures if picture.is_file())
        super().__init__(table.select(text_columns(table.schema)), (folder / METADATA, *there))

    @cached_property
    def pictured(self) -> Sequence[bool]:
        return [bool(name) for name in self._names]

    def encoded(self, row: int) -> tuple[bytes, ...]:
        name = self._names[row]
        if not name:
            return ()
        if not _inside(name):
            raise BadExample(key_of(row), f"its picture {name!r} is outside the data set's folder")
        try:
            return ((self._folder / name).read_bytes(),)
        except OSError as error:
            raise BadExample(key_of(row), f"its picture {name} cannot be read ({error.strerror})") from error


def metadata_folders(folder: Path) -> list[Path]:
    """The folder itself if it has a metadata file, else those of its subfolders that have one: its splits."""
    if (folder / METADATA).is_file():
        return [folder]
    return sorted(path.parent for path in folder.glob(f"*/{METADATA}"))


def open_folder(folder: Path, split: str, source: str) -> FolderRows:
    """The rows of a split; a folder that has the metadata file itself is taken whole. Raises `MicroscopeError`."""
    if not (folder / METADATA).is_file():
        folder /= choose_split([path.name for path in metadata_folders(folder)], split, source)
    return FolderRows(_lines(folder / METADATA), folder, source)


def _lines(file: Path) -> list[dict[str, Any]]:
    lines = []
    try:
        for number, text in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
            if text.strip():
                line = json.loads(text)
                if not isinstance(line, dict):
                    raise MicroscopeError(f"Line {number} of {file} is not a JSON object.")
                lines.append(line)
    except json.JSONDecodeError as error:
        raise MicroscopeError(f"Line {number} of {file} is not JSON ({error}).") from error
    except (OSError, UnicodeDecodeError) as error:
        raise MicroscopeError(f"The file {file} cannot be read ({one_line(error)}).") from error
    return lines


def _table(lines: Sequence[dict[str, Any]], names: Sequence[str], folder: Path) -> pa.Table:
    columns = {}
    for name in names:
        try:
            columns[name] = pa.array([line.get(name) for line in lines])
        except pa.ArrowException as error:
            raise MicroscopeError(
                f"The values of {name} in {folder / METADATA} are of several kinds ({one_line(error)})."
            ) from error
    return pa.table(columns)


def _inside(name: object) -> bool:
    """Whether a picture's name stays in the folder: a data set is no licence to read other files."""
    if not isinstance(name, str):
        return False
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts
