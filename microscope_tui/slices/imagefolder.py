"""Rows in a folder of pictures with a `metadata.jsonl`: one JSON object a line, its picture under `file_name`."""

from __future__ import annotations

from pathlib import Path

from microscope_tui.slices.jsonl import JsonRows, json_lines
from microscope_tui.slices.layout import choose_split
from microscope_tui.stamps import stamps_of
from microscope_tui.terms import SliceSpec

METADATA = "metadata.jsonl"


def metadata_folders(folder: Path) -> list[Path]:
    """The folder itself if it has a metadata file, else those of its subfolders that have one: its splits."""
    if (folder / METADATA).is_file():
        return [folder]
    return sorted(path.parent for path in folder.glob(f"*/{METADATA}"))


def open_folder(folder: Path, spec: SliceSpec) -> JsonRows:
    """The rows of a split; a folder that has the metadata file itself is taken whole. Raises `MicroscopeError`."""
    if not (folder / METADATA).is_file():
        folder /= choose_split([path.name for path in metadata_folders(folder)], spec.split, spec.source)
    read = stamps_of([folder / METADATA])
    return JsonRows(json_lines(folder / METADATA), read, folder, spec)
