"""Rows in a folder written by `Dataset.save_to_disk` or `DatasetDict.save_to_disk`: memory-mapped arrow files."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import pyarrow as pa

from microscope_tui.errors import MicroscopeError
from microscope_tui.slices.layout import choose_split
from microscope_tui.slices.quiet import quiet
from microscope_tui.slices.rows import Rows, encoded_of, has_pictures, image_column, one_line, text_columns

ONE, SEVERAL = "state.json", "dataset_dict.json"
"""The files by which a saved data set, and a saved dictionary of splits, are known."""


class SavedRows(Rows):
    """The rows of one saved data set. Its table stays on disk, and the operating system pages it in."""

    def __init__(self, table: pa.Table, files: Sequence[Path], source: str) -> None:
        self._pictures = table.column(image_column(table.schema, source))
        super().__init__(table.select(text_columns(table.schema)), files)

    @cached_property
    def pictured(self) -> Sequence[bool]:
        return has_pictures(self._pictures)

    def encoded(self, row: int) -> tuple[bytes, ...]:
        return encoded_of(self._pictures[row].as_py(), row)


def is_saved(folder: Path) -> bool:
    return (folder / ONE).is_file() or (folder / SEVERAL).is_file()


def open_saved(folder: Path, split: str, source: str) -> SavedRows:
    """The rows of a split; a data set saved without splits is taken whole. Raises `MicroscopeError`."""
    try:
        if (folder / SEVERAL).is_file():
            folder /= choose_split(json.loads((folder / SEVERAL).read_text())["splits"], split, source)
        table, files = _load(folder)
    except (OSError, ValueError, KeyError, TypeError, pa.ArrowException) as error:
        raise MicroscopeError(f"The data set {folder} cannot be read ({one_line(error)}): save it again.") from error
    return SavedRows(table, [folder / ONE, *files], source)


def _load(folder: Path) -> tuple[pa.Table, list[Path]]:
    import datasets  # half a second, and only this format needs it

    with quiet(datasets):
        saved = datasets.load_from_disk(str(folder), keep_in_memory=False)
    return saved.data.table, [Path(file["filename"]) for file in saved.cache_files]
