"""What tells a file that was changed: its size and its time of change, as they were when somebody began to read it.

They are taken when a model or a slice is opened and not when the numbers are there: what was written in between would
else be taken for what was measured.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from microscope_tui.errors import MicroscopeError

Stamps = Mapping[Path, tuple[int, int]]
"""Of each file, or folder, its bytes and its time of change in nanoseconds."""


def stamps_of(files: Iterable[Path]) -> Stamps:
    """The stamps of these files as they are now. Raises `MicroscopeError` for one that is not there."""
    try:
        return {file.absolute(): _stamp(file) for file in files}
    except OSError as error:
        raise MicroscopeError(f"{error.filename} cannot be read ({error.strerror}): put it back.") from error


def changed(stamps: Stamps) -> Path | None:
    """The first file that is not as it was, or gone; None when all hold."""
    return next((file for file, stamp in stamps.items() if not _holds(file, stamp)), None)


def refuse_changed(stamps: Stamps) -> None:
    """Raises `MicroscopeError` when a file is not as it was: nothing that is made of it can be trusted."""
    if (file := changed(stamps)) is not None:
        raise MicroscopeError(f"{file} was changed while it was in use: ask once more, and leave it alone meanwhile.")


def _holds(file: Path, stamp: tuple[int, int]) -> bool:
    try:
        return _stamp(file) == stamp
    except OSError:
        return False


def _stamp(file: Path) -> tuple[int, int]:
    found = os.stat(file)
    return found.st_size, found.st_mtime_ns
