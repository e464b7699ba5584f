"""From rows to values that can be trusted: what is handed out is what was sealed under its key.

Hashing costs several times as much as reading from memory, so a file that was checked, or written, by this
store is not hashed again while it is the same file with the same times. Each store that is opened starts with
no such knowledge.
"""

from __future__ import annotations

import mmap
import os
from pathlib import Path
from typing import Final

from microscope_tui.store.disk import FILE, Damage, Disk
from microscope_tui.store.rows import Row
from microscope_tui.store.seals import fits, misfit

KNOWN: Final = 10_000
"""Files remembered as checked, at most."""

Stamp = tuple[int, int, int, int, int]


class Checks:
    """Reads the values of one store. Its methods raise `Damage` for a value that is not what was stored."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        self._known: dict[str, tuple[object, object, Stamp]] = {}

    def value(self, row: Row) -> bytes:
        """The bytes of a row."""
        if row.filename is None:
            value = self._disk.inline(row.mode, row.value)
            _demand(row, value)
            return value
        with self._disk.opened(row.mode, row.filename, row.value) as descriptor:
            before = _stamp(descriptor)
            with open(descriptor, "rb", buffering=0, closefd=False) as file:
                value = file.read()
            self._check(row, value, before, descriptor)
        return value

    def file(self, row: Row) -> Path:
        """The file that holds a row's value, checked without reading it into memory as a whole."""
        with self._disk.opened(row.mode, row.filename, row.value) as descriptor:
            before = _stamp(descriptor)
            if before[2] == 0:
                self._check(row, b"", before, descriptor)
            elif not self._knows(row, before):
                with mmap.mmap(descriptor, 0, prot=mmap.PROT_READ) as mapped, memoryview(mapped) as view:
                    self._check(row, view, before, descriptor)
            return self._disk.path(row.filename)

    def written(self, key: str, tag: str, filename: str) -> None:
        """Notes that this store has just written this file, and what it sealed it with."""
        with self._disk.opened(FILE, filename) as descriptor:
            self._note(filename, (key, tag, _stamp(descriptor)))

    def forget(self) -> None:
        """Everything is checked again from now on."""
        self._known.clear()

    def _check(self, row: Row, value: bytes | memoryview, before: Stamp, descriptor: int) -> None:
        after = _stamp(descriptor)
        if before == after and self._knows(row, after):
            return
        _demand(row, value)
        if before == after:
            self._note(str(row.filename), (row.key, row.tag, after))

    def _knows(self, row: Row, stamp: Stamp) -> bool:
        return self._known.get(str(row.filename)) == (row.key, row.tag, stamp)

    def _note(self, filename: str, known: tuple[object, object, Stamp]) -> None:
        if len(self._known) >= KNOWN:
            self.forget()
        self._known[filename] = known


def _demand(row: Row, value: bytes | memoryview) -> None:
    if not fits(row.key, value, row.tag):
        raise Damage(misfit(value, row.tag))


def _stamp(descriptor: int) -> Stamp:
    """What changes when a file changes. Its time of writing was set to a random moment, see `Disk`."""
    found = os.fstat(descriptor)
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
