"""Reading a store without writing a byte: also on a read-only folder or disk.

SQLite's write-ahead log wants a shared-memory file next to the database even to read. So a database whose log
is empty is opened as immutable, and every answer is taken again when the files changed meanwhile; one whose
log is not empty (a worker is writing) is opened through the log, which is there already.
"""

from __future__ import annotations

import contextlib
import sqlite3
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import quote

from microscope_tui.store.database import sentence
from microscope_tui.store.disk import INLINE, Disk
from microscope_tui.store.rows import ENTRIES, Entry, Row, entry_of, query_rows

ATTEMPTS: Final = 50
BUSY_SECONDS: Final = 5.0

T = TypeVar("T")


class Reader:
    """The reading half of `Shelf`. A folder without a store is an empty one. Errors are `MicroscopeError`."""

    def __init__(self, folder: Path) -> None:
        self.root = folder
        self._database = folder / "store" / "cache.db"
        self.values = Disk(str(self._database.parent), min_file_size=INLINE)

    def find(self, key: str) -> Row | None:
        """The row of `key`."""
        rows = self._rows("WHERE key = ? AND raw = 1", (key,))
        return rows[0] if rows else None

    def rows(self, prefix: str) -> list[Row]:
        """The rows whose key begins with `prefix`, in the order they were made."""
        bounds = (prefix, prefix[:-1] + chr(ord(prefix[-1]) + 1))
        return self._rows("WHERE raw = 1 AND key >= ? AND key < ? ORDER BY rowid", bounds)

    def entries(self) -> list[Entry]:
        """All entries, the least recently used first."""
        return [entry_of(row) for row in self._ask(ENTRIES)]

    def used(self) -> int:
        """Bytes of the values and of the database."""
        # By its pages: what still lies in the log beside the file is among them.
        taken = self._ask(
            "SELECT value + (page_count - freelist_count) * page_size"
            " FROM Settings, pragma_page_count, pragma_freelist_count, pragma_page_size WHERE key = 'size'"
        )
        return int(taken[0][0]) if taken else 0

    def close(self) -> None:
        """Nothing is kept open."""

    def _rows(self, where: str, values: tuple[object, ...]) -> list[Row]:
        return self._read(lambda connection: query_rows(connection.execute, where, values))

    def _ask(self, statement: str) -> list[tuple[Any, ...]]:
        return self._read(lambda connection: connection.execute(statement).fetchall())

    def _read(self, question: Callable[[sqlite3.Connection], list[T]]) -> list[T]:
        problem: Exception | None = None
        immutable = False
        for _ in range(ATTEMPTS):
            before = self._signature()
            if before is None:
                return []
            logged = before[1] > 0 and not immutable
            try:
                with contextlib.closing(self._connect("mode=ro" if logged else "mode=ro&immutable=1")) as connection:
                    answer = question(connection)
            except sqlite3.DatabaseError as error:
                if "no such table" in str(error):
                    return []  # the database is just being made
                # A log without its shared memory, in a folder where none can be made: read what is without it.
                immutable = immutable or "unable to open" in str(error) or "readonly" in str(error)
                problem = error
            else:
                if logged or self._signature() == before:
                    return answer
        raise sentence(self.root, problem or OSError("it changes all the time"))

    def _connect(self, mode: str) -> sqlite3.Connection:
        return sqlite3.connect(f"file:{quote(str(self._database))}?{mode}", uri=True, timeout=BUSY_SECONDS)

    def _signature(self) -> tuple[tuple[int, int, int], int] | None:
        """What tells whether the database changed: its identity, size and time, and the size of its log."""
        try:
            found = self._database.lstat()
        except (FileNotFoundError, NotADirectoryError):
            return None
        if not stat.S_ISREG(found.st_mode) or found.st_size == 0:
            return None
        try:
            log = Path(f"{self._database}-wal").stat().st_size
        except FileNotFoundError:
            log = 0
        return (found.st_ino, found.st_size, found.st_mtime_ns), log
