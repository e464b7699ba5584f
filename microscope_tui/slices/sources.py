"""From a slice's source to its rows: what lies there, and who reads it."""

from __future__ import annotations

from pathlib import Path

from microscope_tui.catalogue import locate_slice
from microscope_tui.errors import MicroscopeError
from microscope_tui.slices.hub import HubId, download
from microscope_tui.slices.imagefolder import METADATA, metadata_folders, open_folder
from microscope_tui.slices.layout import MissingSplit, parquet_files
from microscope_tui.slices.parquet import ParquetRows
from microscope_tui.slices.rows import Rows
from microscope_tui.slices.saved import is_saved, open_saved

PATTERNS = ("*.parquet", "*/*.parquet", "*/*/*.parquet")
"""Where parquet files are looked for in a folder: not deeper, for a folder may be a whole home."""


def open_rows(source: str, split: str) -> Rows:
    """The rows of one split of a source. Raises `MicroscopeError` for one that is missing or no data set.

    A single parquet file, and a folder that knows no splits, is taken whole whichever split is asked for.
    What the local hub cache holds of a hub id is used as it is, without a look at the hub.
    """
    hub = HubId.parse(source)
    if hub is None:
        return _open_here(source, split)
    snapshot = locate_slice(hub.located)
    rows = _open_cached(snapshot / hub.configuration, split, source) if snapshot else None
    rows = rows or _open(download(hub, split, source) / hub.configuration, split, source)
    if reference := hub.reference:
        rows.watched += (reference,)
    return rows


def _open_here(source: str, split: str) -> Rows:
    place = locate_slice(source)
    if place is None:
        raise MicroscopeError(f"{source!r} is not the name of a data set: give OWNER/NAME, a folder or demo:NAME.")
    return _open(place, split, source)


def _open_cached(folder: Path, split: str, source: str) -> Rows | None:
    """The rows of a snapshot in the hub cache, None if it lacks the split or a part of it."""
    try:
        there = _parquet_files(folder, split, source) or is_saved(folder) or metadata_folders(folder)
        return _open(folder, split, source) if there else None
    except MissingSplit:
        return None


def _open(place: Path, split: str, source: str) -> Rows:
    if place.is_file():
        if place.suffix != ".parquet":
            raise MicroscopeError(f"The file {place} is not a data set: give a .parquet file or a folder.")
        return ParquetRows([place], source)
    if is_saved(place):
        return open_saved(place, split, source)
    if files := _parquet_files(place, split, source):
        rows = ParquetRows(files, source)
        rows.watched = (place,)
        return rows
    if metadata_folders(place):
        return open_folder(place, split, source)
    raise MicroscopeError(
        f"The folder {place} holds no data set: there are no parquet files, no data set saved by save_to_disk, "
        f"and no pictures with a {METADATA}."
    )


def _parquet_files(folder: Path, split: str, source: str) -> list[Path] | None:
    names = [path.relative_to(folder).as_posix() for pattern in PATTERNS for path in folder.glob(pattern)]
    files = parquet_files(names, split, source)
    return None if files is None else [folder / file for file in files]
