"""Rows in a folder written by `Dataset.save_to_disk` or `DatasetDict.save_to_disk`: memory-mapped arrow files."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa

from microscope_tui.errors import MicroscopeError, one_line
from microscope_tui.slices.layout import choose_split
from microscope_tui.slices.quiet import quiet
from microscope_tui.slices.table import TableRows
from microscope_tui.stamps import stamps_of
from microscope_tui.terms import SliceSpec

ONE, SEVERAL = "state.json", "dataset_dict.json"
"""The files by which a saved data set, and a saved dictionary of splits, are known."""


def is_saved(folder: Path) -> bool:
    return (folder / ONE).is_file() or (folder / SEVERAL).is_file()


def open_saved(folder: Path, spec: SliceSpec) -> TableRows:
    """The rows of a split; a data set saved without splits is taken whole. Raises `MicroscopeError`."""
    place = folder
    try:
        if (place / SEVERAL).is_file():
            splits = json.loads((place / SEVERAL).read_text())["splits"]
            place /= choose_split(splits, spec.split, spec.source)
        read = stamps_of([place / ONE, *sorted(place.glob("*.arrow"))])
        table, files = _load(place)
    except (OSError, ValueError, KeyError, TypeError, pa.ArrowException) as error:
        raise MicroscopeError(f"The data set {place} cannot be read ({one_line(error)}): save it again.") from error
    # In the table's order; what lies elsewhere became known only by reading.
    late = stamps_of(file for file in files if file not in read)
    known = {**late, **read}
    return TableRows(table, {file: known[file] for file in (place / ONE, *files)}, folder, spec)


def _load(folder: Path) -> tuple[pa.Table, list[Path]]:
    import datasets  # half a second, and only this format needs it

    with quiet(datasets):
        saved = datasets.load_from_disk(str(folder), keep_in_memory=False)
    return saved.data.table, [Path(file["filename"]).absolute() for file in saved.cache_files]
