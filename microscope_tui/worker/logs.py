"""Reading the worker's log: its end, or what was written while a job was done."""

from __future__ import annotations

import contextlib
import os
import unicodedata
from pathlib import Path

from microscope_tui.worker.place import log_file


def log_tail(cache: Path, after: int = 0, *, size: int = 2000) -> str:
    """The last `size` bytes of the worker's log, as whole lines, from byte `after` on; empty when there are none."""
    try:
        with open(log_file(cache), "rb") as file:
            end = file.seek(0, os.SEEK_END)
            begin = max(after, end - size)
            file.seek(begin)
            text = file.read().decode(errors="replace")
    except OSError:
        return ""
    return _printable(text.partition("\n")[2] if begin > after else text).strip()


def job_log(cache: Path, job_id: str) -> str:
    """What the worker wrote from the first line that names a job to the last one; empty when none does."""
    log = log_file(cache)
    lines: list[str] = []
    for file in (log.with_suffix(".log.1"), log):
        with contextlib.suppress(OSError):
            lines += file.read_text(errors="replace").splitlines()
    named = [number for number, line in enumerate(lines) if f"job {job_id}" in line]
    return _printable("\n".join(lines[named[0] : named[-1] + 1])) if named else ""


def _printable(text: str) -> str:
    """Without what a terminal would obey: a checkpoint's names and a library's complaints end up in a log."""
    return "".join(letter for letter in text if letter in "\n\t" or unicodedata.category(letter) != "Cc")
