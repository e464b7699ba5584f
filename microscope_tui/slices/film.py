"""Videos: as frames that are pictures, or as a video file if its decoder is installed."""

from __future__ import annotations

import io
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from PIL.Image import Image

from microscope_tui.errors import BadExample
from microscope_tui.settings import how_to_install
from microscope_tui.slices.cells import encoded_of, frames_in, inside
from microscope_tui.slices.pictures import SUFFIXES, BadPicture, decode

Film = tuple[Image, ...]

FRAMES = 32
"""A longer video is thinned to so many frames, evenly spaced, before a picture of it is decoded."""


class BadFilm(Exception):
    """The bytes are no video that can be used; its text is the reason, to follow "its video …"."""


def films_of(cell: Any, folder: Path, key: str) -> tuple[Film, ...]:
    """The videos in one cell. Raises `BadExample` for the example `key`.

    A list of pictures is one video. So is a file, by its bytes or its name in `folder`, and a folder of frames in
    `folder`, by its name. Lists of these are several videos.
    """
    if not cell:
        return ()
    if isinstance(cell, str) and (place := inside(folder, cell)) and place.is_dir():
        names = [frame.relative_to(folder).as_posix() for frame in frames_in(place)]
        return films_of(names, folder, key)
    if not isinstance(cell, list):
        return tuple(_of_file(data, key) for data in encoded_of(cell, folder, key, "video"))
    if not all(map(_is_frame, cell)):
        return tuple(film for item in cell for film in films_of(item, folder, key))
    frames = [data for item in thinned(cell) for data in encoded_of(item, folder, key, "frame")]
    try:
        film = tuple(map(decode, frames))
    except BadPicture as error:
        raise BadExample(key, f"a frame of its video {error}") from error
    return (film,) if film else ()


def thinned(items: Sequence[Any]) -> list[Any]:
    """At most `FRAMES` of the items, evenly spaced, each from the middle of its share."""
    count = len(items)
    if count <= FRAMES:
        return list(items)
    return [items[(2 * i + 1) * count // (2 * FRAMES)] for i in range(FRAMES)]


def decode_film(data: bytes) -> Film:
    """The frames of a video file (MP4, WebM, AVI), upright as stored. Raises `BadFilm`."""
    kind = container_of(data)
    if kind is None:
        raise BadFilm("is empty (0 bytes)" if not data else "is in no known format (MP4, WebM or AVI)")
    try:
        av = import_module("av")
    except ImportError:
        raise BadFilm(f"is a video file, and its decoder is not installed: {how_to_install('media')}") from None
    try:
        # Twice through the file: how many frames there are is only known for sure when they are decoded.
        with av.open(io.BytesIO(data), format=kind) as opened:
            chosen = set(thinned(range(sum(1 for _ in opened.decode(video=0)))))
        with av.open(io.BytesIO(data), format=kind) as opened:
            frames = (frame for i, frame in enumerate(opened.decode(video=0)) if i in chosen)
            film = tuple(frame.to_image().convert("RGB") for frame in frames)
    # FFmpeg's errors derive from those of Python that fit them best: OSError, ValueError, EOFError, IndexError, …
    except Exception as error:
        raise BadFilm(f"is corrupt ({type(error).__name__})") from error
    if not film:
        raise BadFilm("has no frames")
    return film


def container_of(data: bytes) -> str | None:
    """FFmpeg's name of a file's format, by its first bytes; None for one that is not let through.

    Not left to FFmpeg, which follows a playlist to other files and into the web.
    """
    if data[4:8] == b"ftyp":
        return "mov"
    if data[:4] == b"\x1aE\xdf\xa3":
        return "matroska"
    return "avi" if data[:4] == b"RIFF" and data[8:12] == b"AVI " else None


def _of_file(data: bytes, key: str) -> Film:
    try:
        return decode_film(data)
    except BadFilm as error:
        raise BadExample(key, f"its video {error}") from error


def _is_frame(item: Any) -> bool:
    """Whether an item of a list is a picture rather than a video of its own."""
    if isinstance(item, dict):
        item = item.get("bytes") or item.get("path")
    if isinstance(item, str):
        return Path(item).suffix.lower() in SUFFIXES or item[:11].lower() == "data:image/"
    return isinstance(item, bytes) and container_of(item) is None
