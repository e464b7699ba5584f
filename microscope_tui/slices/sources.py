"""From a slice's source to its rows: what lies there, and who reads it."""

from __future__ import annotations

from pathlib import Path

from microscope_tui.catalogue.locate import locate_slice
from microscope_tui.errors import MicroscopeError
from microscope_tui.slices.hub import HubId, download
from microscope_tui.slices.imagefolder import METADATA, metadata_folders, open_folder
from microscope_tui.slices.jsonl import open_json
from microscope_tui.slices.layout import MissingSplit, parquet_files
from microscope_tui.slices.parquet import ParquetRows
from microscope_tui.slices.picturefolder import open_pictures, picture_names
from microscope_tui.slices.rows import SourceRows
from microscope_tui.slices.saved import is_saved, open_saved
from microscope_tui.slices.streaming import Origin, open_stream, origin_here, origin_on_the_hub
from microscope_tui.stamps import Stamps, stamps_of
from microscope_tui.terms import SliceSpec

PATTERNS = ("*.parquet", "*/*.parquet", "*/*/*.parquet")
"""Where parquet files are looked for in a folder: not deeper, for a folder may be a whole home."""


def open_rows(spec: SliceSpec) -> SourceRows:
    """The rows of one split of a source. Raises `MicroscopeError` for one that is missing or no data set.

    A single parquet file, and a folder that knows no splits, is taken whole whichever split is asked for.
    What the local hub cache holds of a hub id is used as it is, without a look at the hub.
    """
    hub = HubId.parse(spec.source)
    if spec.stream:
        return open_stream(origin_on_the_hub(hub, spec) if hub else _origin_here(spec), spec)
    if hub is None:
        return _open(_place(spec), spec)
    before = _noted(hub)
    snapshot = locate_slice(hub.located)
    rows = _open_cached(snapshot / hub.configuration, spec) if snapshot else None
    downloaded = None
    if rows is None:
        folder = download(hub, spec.split, spec.source)
        downloaded = _noted(hub)
        rows = _open(folder / hub.configuration, spec)
    # A download may have moved it itself, or written it for the first time.
    rows.watched = {**rows.watched, **(before if downloaded is None else downloaded)}
    return rows


def _noted(hub: HubId) -> Stamps:
    return stamps_of([hub.reference] if hub.reference else [])


def _place(spec: SliceSpec) -> Path:
    place = locate_slice(spec.source)
    if place is None:
        raise MicroscopeError(f"{spec.source!r} is not the name of a data set: give OWNER/NAME, a folder or demo:NAME.")
    return place


def _origin_here(spec: SliceSpec) -> Origin:
    """The parquet files of a source that is here, to be read as a stream."""
    place = _place(spec)
    if place.suffix == ".parquet" and place.is_file():
        return origin_here([place], place.parent)
    if place.is_dir() and (files := _parquet_files(place, spec)):
        return origin_here(files, place)
    raise MicroscopeError(f"{place} holds no parquet files, and only those are streamed: leave out stream=1.")


def _open_cached(folder: Path, spec: SliceSpec) -> SourceRows | None:
    """The rows of a snapshot in the hub cache, None if it lacks the split or a part of it."""
    try:
        there = _parquet_files(folder, spec) or is_saved(folder) or metadata_folders(folder)
        return _open(folder, spec) if there else None
    except MissingSplit:
        return None


def _open(place: Path, spec: SliceSpec) -> SourceRows:
    if place.is_file():
        if place.suffix in (".jsonl", ".json"):
            return open_json(place, spec)
        if place.suffix != ".parquet":
            raise MicroscopeError(
                f"The file {place} is not a data set: give a .parquet, .jsonl or .json file, or a folder."
            )
        return ParquetRows([place], place.parent, spec)
    if is_saved(place):
        return open_saved(place, spec)
    listed = stamps_of([place])
    if files := _parquet_files(place, spec):
        rows = ParquetRows(files, place, spec)
        rows.watched = {**rows.watched, **listed}
        return rows
    if metadata_folders(place):
        return open_folder(place, spec)
    if picture_names(place):
        return open_pictures(place, spec)
    raise MicroscopeError(
        f"The folder {place} holds no data set: there are no parquet files, no data set saved by save_to_disk, "
        f"and no pictures, with a {METADATA} or for one prompt."
    )


def _parquet_files(folder: Path, spec: SliceSpec) -> list[Path] | None:
    names = [path.relative_to(folder).as_posix() for pattern in PATTERNS for path in folder.glob(pattern)]
    files = parquet_files(names, spec.split, spec.source)
    return None if files is None else [folder / file for file in files]
