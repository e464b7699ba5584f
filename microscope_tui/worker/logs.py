"""Reading the worker's log: its end, or what was written while a job was done."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import unicodedata
from pathlib import Path

from microscope_tui.store.folder import private_file
from microscope_tui.worker.place import log_file


def log_tail(cache: Path, after: int = 0, *, size: int = 2000) -> str:
    """The last `size` bytes of the worker's log, as whole lines, from byte `after` on; empty when there are none.

    What was put aside stands before the log, unless only what came `after` is asked for."""
    log = log_file(cache)
    text, whole = _end_of(log, after, size)
    if whole and not after:
        before, whole = _end_of(_aside(log), 0, size - len(text))
        # A line that was cut when the log was emptied must not swallow the one after it.
        text = b"\n".join((before.removesuffix(b"\n"), text))
    said = text.decode(errors="replace")
    return _printable(said if whole else said.partition("\n")[2]).strip()


def job_log(cache: Path, job_id: str) -> str:
    """What the worker wrote from the first line that names a job to the last one; empty when none does."""
    log = log_file(cache)
    lines: list[str] = []
    for file in (_aside(log), log):
        with contextlib.suppress(OSError):
            lines += file.read_text(errors="replace").splitlines()
    name = re.compile(rf"\bjob {re.escape(job_id)}(?![\w-])")
    named = [number for number, line in enumerate(lines) if name.search(line)]
    return _printable("\n".join(lines[named[0] : named[-1] + 1])) if named else ""


def put_aside(log: Path) -> None:
    """Empties a log into the file beside it, in place of what was put aside before. Raises `MicroscopeError`.

    The file stays the same one: all processes that append to it go on in it, also those that know nothing of this.
    What one of them writes in the moment between is lost.
    """
    copy = private_file(log.with_suffix(".log.part"))
    try:
        shutil.copyfile(log, copy)
        copy.replace(_aside(log))
    except OSError:  # no room for it: the more reason to empty the log
        copy.unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        os.truncate(log, 0)


def _aside(log: Path) -> Path:
    return log.with_suffix(".log.1")


def _end_of(file: Path, after: int, size: int) -> tuple[bytes, bool]:
    """The last `size` bytes of a file from byte `after` on, and whether that is all; nothing of one that is missing."""
    try:
        with open(file, "rb") as opened:
            end = opened.seek(0, os.SEEK_END)
            after = after if after <= end else 0  # it was put aside meanwhile
            begin = max(after, end - size)
            opened.seek(begin)
            return opened.read(), begin == after
    except OSError:
        return b"", True


def _printable(text: str) -> str:
    """Without what a terminal would obey: a checkpoint's names and a library's complaints end up in a log."""
    return "".join(letter for letter in text if letter in "\n\t" or unicodedata.category(letter) != "Cc")
