"""From rows to values that can be trusted: what is handed out is what was sealed under its key."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from microscope_tui.store.disk import Damage, Disk
from microscope_tui.store.rows import Row
from microscope_tui.store.seals import misfit, seal, seal_of

PIECE: Final = 4 * 1024 * 1024
"""Bytes that are read at once where a value is only looked at."""


def checked_value(disk: Disk, row: Row) -> bytes:
    """The bytes of a row; raises `Damage` when they are not what was stored, `FileNotFoundError` for a lost file."""
    value = disk.fetch(row.mode, row.filename, row.value)
    _demand(seal(row.key, value), row)
    return value


def checked_file(disk: Disk, row: Row) -> Path:
    """The file that holds a row's value, checked without taking it into memory as a whole; raises as above."""
    with disk.opened(row.mode, row.filename, row.value) as descriptor:
        _demand(seal_of(row.key, _pieces(descriptor)), row)
        return disk.path(row.filename)


def _demand(found: str, row: Row) -> None:
    if reason := misfit(found, row.tag):
        raise Damage(reason)


def _pieces(descriptor: int) -> Iterator[memoryview]:
    buffer = memoryview(bytearray(PIECE))
    with open(descriptor, "rb", buffering=0, closefd=False) as file:
        while count := file.readinto(buffer):
            yield buffer[:count]
