"""The database of the store: rows and files through diskcache, with quota, leases and set-aside of our own.

diskcache keeps the schema, the connections (one for each thread and process) and the transactions. Its
eviction is off (policy `none`, nothing expires): it throws out ten entries at a time, cannot spare what is in
use, and deletes whatever path a row names. Every setting is passed, since what stands in its Settings table
would override the defaults.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import sqlite3
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import diskcache

from microscope_tui.errors import Fault, MicroscopeError
from microscope_tui.store.database import (
    BUSY_SECONDS,
    SETTING_WRITES,
    SETTINGS,
    refuse_foreign,
    sentence,
)
from microscope_tui.store.disk import Damage, Disk
from microscope_tui.store.folder import private_file, private_folder, refuse_links
from microscope_tui.store.rows import (
    ENTRIES,
    EVICTABLE,
    Damaged,
    Entry,
    Row,
    StoreFull,
    entry_of,
    kept_name,
    query_rows,
)
from microscope_tui.store.seals import Value, seal, size_of
from microscope_tui.tables import size_text

RESERVE: Final = "store.reserve"
RESERVE_BYTES: Final = 256 * 1024
"""A file that is given up when the disk is full, so that the store can still be opened and made smaller."""

Sql = Callable[..., sqlite3.Cursor]


class Shelf(diskcache.Cache):  # type: ignore[misc]  # diskcache ships no types
    """Values under keys, on disk, for several threads and processes at once. Errors are `MicroscopeError`."""

    _sql: Sql

    def __init__(self, folder: Path) -> None:
        """Opens, and at first use makes, the database in `folder`/store."""
        self.root = folder
        try:
            self._open(folder)
        except StoreFull:
            self._give_up_reserve()
            self._open(folder)
        with contextlib.suppress(OSError):  # there already, or no room for it now
            write_private(folder / RESERVE, bytes(RESERVE_BYTES))

    def _open(self, folder: Path) -> None:
        with self._sentences():
            self._values = private_folder(folder / "store")
            database = private_file(self._values / diskcache.core.DBNAME)
            refuse_links(*(Path(f"{database}{suffix}") for suffix in ("-wal", "-shm", "-journal")))
            refuse_foreign(database)
            super().__init__(str(self._values), timeout=BUSY_SECONDS, disk=Disk, **SETTINGS)
            self._sql_retry(
                "CREATE TABLE IF NOT EXISTS Lease (owner TEXT, key TEXT, PRIMARY KEY (owner, key)) WITHOUT ROWID"
            )

    @property
    def _sql_retry(self) -> Sql:
        """What diskcache sets itself up with, except that a setting which stands there already is not written.

        It would write all of them at every opening, and so wait for other writers and need room on the disk.
        """
        execute: Sql = super()._sql_retry

        def thrifty(statement: str, values: tuple[Any, ...] = ()) -> sqlite3.Cursor:
            if statement in SETTING_WRITES:
                key, value = (values[i] for i in SETTING_WRITES[statement])
                found = execute("SELECT value FROM Settings WHERE key = ?", (key,)).fetchone()
                if found is not None and (value == found[0] or "IGNORE" in statement):
                    return execute("SELECT 1")
            return execute(statement, values)

        return thrifty

    @property
    def values(self) -> Disk:
        """The files of the store."""
        return self._disk  # type: ignore[no-any-return]  # diskcache ships no types

    def find(self, key: str, owner: str | None = None, *, touch: bool = False) -> Row | None:
        """The row of `key`; with `touch` it counts as used now, with `owner` it is kept for that job."""
        with self._sentences():
            if touch and self._known(key):
                self._touch(key, owner)
            rows = query_rows(self._sql, "WHERE key = ? AND raw = 1", (key,))
            return rows[0] if rows else None

    def rows(self, prefix: str) -> list[Row]:
        """The rows whose key begins with `prefix`, in the order they were made."""
        with self._sentences():
            bounds = (prefix, prefix[:-1] + chr(ord(prefix[-1]) + 1))
            return query_rows(self._sql, "WHERE raw = 1 AND key >= ? AND key < ? ORDER BY rowid", bounds)

    def entries(self) -> list[Entry]:
        """All entries, the least recently used first."""
        with self._sentences():
            return [entry_of(row) for row in self._sql(ENTRIES)]

    def save(
        self,
        items: Mapping[str, Value],
        *,
        limit: int,
        instead_of: Collection[str] = (),
        owner: str | None = None,
        release: str | None = None,
        durable: bool = True,
    ) -> None:
        """Stores all `items` or none of them, and makes room for them by removing the least recently used.

        The entries `instead_of` which they come are removed in the same step. `durable` waits until they are on the
        disk, so that they outlive a power cut; without it they outlive the end of any process. `owner` is a job that
        goes on using them, `release` one that has ended, so that what it used may be removed. Raises `StoreFull`.
        """
        written: list[str] = []
        total = sum(map(size_of, items.values()))
        bounded = any(key.startswith(tuple(EVICTABLE)) for key in items)
        if bounded and total > limit:
            raise StoreFull(
                f"A result of {size_text(total)} is larger than the whole cache may be ({size_text(limit)}): "
                "raise the setting cache_limit_gb."
            )
        try:
            with self._sentences(), self.writing():
                columns = {key: self._write(key, value, written) for key, value in items.items()}
                with self._durably() if durable else contextlib.nullcontext(), self._transact() as (sql, cleanup):
                    _delete(sql, cleanup, instead_of)
                    for key, row in columns.items():
                        self._put(sql, cleanup, key, row)
                        if owner is not None:
                            sql("INSERT OR IGNORE INTO Lease VALUES (?, ?)", (owner, key))
                    if release is not None:
                        sql("DELETE FROM Lease WHERE owner = ?", (release,))
                    if bounded:
                        self._make_room(sql, cleanup, limit, items)
        except BaseException:
            for name in written:
                self.values.remove(name)
            raise

    def _write(self, key: str, value: Value, written: list[str]) -> tuple[Any, ...]:
        """The columns of a new row; a large value is in its file then, whose name is added to `written`."""
        size, mode, filename, inline = self.values.store(value, False, key=key)
        if filename is not None:
            written.append(filename)
        return None, seal(key, value), size, mode, filename, inline

    def drop(self, keys: Collection[str], *, release: str | None = None) -> None:
        """Removes entries; with `release`, what that job used may be removed from now on."""
        try:
            self._drop(keys, release)
        except StoreFull:  # removing writes to the log first
            self._give_up_reserve()
            self._drop(keys, release)

    def _drop(self, keys: Collection[str], release: str | None) -> None:
        # After a power cut no row may come back whose file is gone.
        with self._sentences(), self._durably(), self._transact() as (sql, cleanup):
            _delete(sql, cleanup, keys)
            if release is not None:
                sql("DELETE FROM Lease WHERE owner = ?", (release,))

    def leased(self, key: str) -> bool:
        """Whether a waiting or running job uses `key`."""
        with self._sentences():
            return self._sql("SELECT 1 FROM Lease WHERE key = ?", (key,)).fetchone() is not None

    def used(self) -> int:
        """Bytes of the values and of the database."""
        with self._sentences():
            return self._volume(self._sql)

    def numbers(self) -> list[int]:
        """The numbers of all rows: for walking over the store without holding it in memory."""
        with self._sentences():
            return [number for (number,) in self._sql("SELECT rowid FROM Cache ORDER BY rowid")]

    def numbered(self, number: int) -> Row | None:
        """The row with this number, None if it is gone."""
        with self._sentences():
            rows = query_rows(self._sql, "WHERE rowid = ?", (number,))
            return rows[0] if rows else None

    def named_files(self) -> set[object]:
        """The file names that rows hold."""
        with self._sentences():
            return {name for (name,) in self._sql("SELECT filename FROM Cache WHERE filename IS NOT NULL")}

    def still(self, row: Row) -> bool:
        """Whether the row is as it was when it was read."""
        return self.numbered(row.rowid) == row

    def recount(self) -> None:
        """Sets the counters that the quota goes by to what the rows say."""
        with self._sentences(), self._transact() as (sql, _):
            sql("UPDATE Settings SET value = (SELECT COUNT(*) FROM Cache) WHERE key = 'count'")
            sql("UPDATE Settings SET value = (SELECT COALESCE(SUM(size), 0) FROM Cache) WHERE key = 'size'")

    def compact(self) -> None:
        """Writes the log back into the database, and gives its room back to the disk, if there is room to do it."""
        with contextlib.suppress(StoreFull), self._sentences():
            self._sql("PRAGMA wal_checkpoint(TRUNCATE)")

    def set_aside(self, row: Row, reason: str) -> Damaged | None:
        """Takes a damaged row out of the store and keeps its bytes beside it; None if another process was first."""
        name = row.key if isinstance(row.key, str) else f"row {row.rowid}"
        damaged = Damaged(name, reason, time.time())
        with self._sentences():
            folder = private_folder(self.root / "damaged")
            with self._durably(), self._transact() as (sql, _):
                if query_rows(sql, "WHERE rowid = ?", (row.rowid,)) != [row]:
                    return None
                sql("DELETE FROM Cache WHERE rowid = ?", (row.rowid,))
            target = folder / kept_name(name, damaged.found)
            kept = self._keep(row, target.with_suffix(".val"))
            damaged = Damaged(name, reason, damaged.found, str(kept) if kept else None)
            write_private(target.with_suffix(".json"), json.dumps(asdict(damaged)).encode())
        return damaged

    @contextlib.contextmanager
    def writing(self, *, alone: bool = False) -> Iterator[None]:
        """While a file may exist whose row is not committed yet; `alone` waits until nobody else is at it."""
        descriptor = os.open(private_file(self.root / "store.lock"), os.O_RDWR | os.O_CLOEXEC)
        deadline = time.monotonic() + BUSY_SECONDS
        try:
            while True:
                try:
                    fcntl.flock(descriptor, (fcntl.LOCK_EX if alone else fcntl.LOCK_SH) | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > deadline:
                        raise diskcache.Timeout from None
                    time.sleep(0.002)
            yield
        finally:
            os.close(descriptor)

    @contextlib.contextmanager
    def _durably(self) -> Iterator[None]:
        """Commits wait until they are on the disk. Others do not: when a value was used may be lost with the power."""
        self._sql("PRAGMA synchronous = FULL")
        try:
            yield
        finally:
            self._sql("PRAGMA synchronous = NORMAL")

    def _touch(self, key: str, owner: str | None) -> None:
        try:
            with self._transact() as (sql, _):
                sql("UPDATE Cache SET access_time = ? WHERE key = ? AND raw = 1", (time.time(), key))
                if owner is not None:
                    sql("INSERT OR IGNORE INTO Lease VALUES (?, ?)", (owner, key))
        except (sqlite3.Error, diskcache.Timeout):
            # On a full disk or beside a busy writer: what is there can be read all the same.
            self._roll_back()

    def _roll_back(self) -> None:
        """After a commit that failed, the connection can still be inside its transaction."""
        connection = getattr(self._local, "con", None) if hasattr(self, "_local") else None
        if connection is not None and connection.in_transaction:
            with contextlib.suppress(sqlite3.Error):
                connection.execute("ROLLBACK")

    def _give_up_reserve(self) -> None:
        with contextlib.suppress(OSError):
            (self.root / RESERVE).unlink()

    def _known(self, key: str) -> bool:
        # Asked first because it takes no lock: a miss, by far the commonest answer, then never waits for a writer.
        return self._sql("SELECT 1 FROM Cache WHERE key = ? AND raw = 1", (key,)).fetchone() is not None

    def _put(self, sql: Sql, cleanup: Callable[[Any], None], key: str, columns: tuple[Any, ...]) -> None:
        now = time.time()
        found = sql("SELECT rowid, filename FROM Cache WHERE key = ? AND raw = 1", (key,)).fetchone()
        if found is None:
            self._row_insert(key, True, now, columns)
        else:
            cleanup(found[1])
            self._row_update(found[0], now, columns)

    def _make_room(self, sql: Sql, cleanup: Callable[[Any], None], limit: int, fresh: Collection[str]) -> None:
        over = self._volume(sql) - limit
        if over <= 0:
            return
        for rowid, key, size, filename in sql(
            "SELECT rowid, key, size, filename FROM Cache WHERE raw = 1"
            " AND key NOT IN (SELECT key FROM Lease) ORDER BY access_time, rowid"
        ).fetchall():
            if key in fresh or not str(key).startswith(tuple(EVICTABLE)):
                continue
            sql("DELETE FROM Cache WHERE rowid = ?", (rowid,))
            cleanup(filename)
            over -= size
            if over <= 0 and (over := self._volume(sql) - limit) <= 0:
                return
        if self._volume(sql) > limit:
            raise StoreFull(
                f"The cache may take {size_text(limit)} and all of it is in use by waiting and running jobs: "
                "raise the setting cache_limit_gb or cancel a job."
            )

    def _volume(self, sql: Sql) -> int:
        """Bytes in use. Freed pages go back to the file system at the commit, so they no longer count."""
        ((pages,),) = sql("PRAGMA page_count").fetchall()
        ((free,),) = sql("PRAGMA freelist_count").fetchall()
        ((size,),) = sql("SELECT value FROM Settings WHERE key = 'size'").fetchall()
        return int((pages - free) * self._page_size + size)

    def _keep(self, row: Row, target: Path) -> Path | None:
        if row.filename is None:
            if not isinstance(row.value, bytes):
                return None
            write_private(target, row.value)
            return target
        try:
            self.values.move(row.filename, target)
        except (Damage, OSError):
            self.values.remove(row.filename)
            return None
        return target

    @contextlib.contextmanager
    def _sentences(self) -> Iterator[None]:
        """Turns what the disk and the database complain of into a sentence, and starts afresh after it."""
        try:
            yield
        except diskcache.Timeout as error:
            cause = error.__context__  # diskcache calls every failure to begin a time-out
            if isinstance(cause, sqlite3.Error) and "locked" not in str(cause):
                raise sentence(self.root, cause) from error
            raise MicroscopeError(
                f"The store in {self.root} was kept busy by other processes for {BUSY_SECONDS:.0f} s: try again.",
                fault=Fault.CACHE,
            ) from error
        except sqlite3.Error as error:
            self._roll_back()
            raise sentence(self.root, error) from error
        except (Damage, OSError) as error:
            raise sentence(self.root, error) from error


def _delete(sql: Sql, cleanup: Callable[[Any], None], keys: Collection[str]) -> None:
    """Deletes the rows of these keys within a transaction; `cleanup` removes a file after it."""
    for key in keys:
        for (name,) in sql("SELECT filename FROM Cache WHERE key = ? AND raw = 1", (key,)).fetchall():
            cleanup(name)
        sql("DELETE FROM Cache WHERE key = ? AND raw = 1", (key,))
        sql("DELETE FROM Lease WHERE key = ?", (key,))


def write_private(path: Path, data: bytes) -> None:
    """A new file with mode 0600, whole or not at all."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        with open(descriptor, "wb") as file:
            file.write(data)
    except OSError:
        path.unlink()
        raise
