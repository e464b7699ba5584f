"""How the database of the store is set up, what may stand in it, and what its complaints mean."""

from __future__ import annotations

import contextlib
import errno
import sqlite3
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final

import diskcache

from microscope_tui.errors import Fault, MicroscopeError
from microscope_tui.store.disk import INLINE
from microscope_tui.store.folder import LOOK, OTHER
from microscope_tui.store.rows import DiskFull

SETTINGS: Final[Mapping[str, Any]] = {
    "statistics": 0,
    "tag_index": 0,
    "eviction_policy": "none",
    "size_limit": 2**62,
    "cull_limit": 0,
    "sqlite_auto_vacuum": 1,
    "sqlite_cache_size": 2**11,
    "sqlite_journal_mode": "wal",
    "sqlite_mmap_size": 0,  # an I/O error in a mapped database would kill the process
    "sqlite_synchronous": 1,
    "disk_min_file_size": INLINE,
    "disk_pickle_protocol": 0,
}

BUSY_SECONDS: Final = 30.0
"""How long a write waits for other processes before it gives up."""

OBJECTS: Final = frozenset(
    {"Settings", "Cache", "Lease", "Cache_key_raw", "Cache_expire_time"}
    | {f"Settings_{name}" for name in ("count_insert", "count_delete", "size_insert", "size_update", "size_delete")}
)
"""Every table, index and trigger that belongs into the database."""

SETTING_WRITES: Final[Mapping[str, tuple[int, int]]] = {
    "INSERT OR REPLACE INTO Settings VALUES (?, ?)": (0, 1),
    "INSERT OR IGNORE INTO Settings VALUES (?, ?)": (0, 1),
    "UPDATE Settings SET value = ? WHERE key = ?": (1, 0),
}
"""diskcache's statements that write a setting, and where name and value stand among their arguments."""


def refuse_foreign(database: Path) -> None:
    """Raises if the database holds a setting or an object that we never make: diskcache would act on it."""
    if database.stat().st_size == 0:
        return
    with contextlib.closing(sqlite3.connect(database, timeout=BUSY_SECONDS)) as connection:
        found = {str(name) for (name,) in connection.execute("SELECT name FROM sqlite_master")}
        foreign = {name for name in found - OBJECTS if not name.startswith("sqlite_")}
        if "Settings" in found:
            names = {str(name) for (name,) in connection.execute("SELECT key FROM Settings")}
            foreign |= names - set(SETTINGS) - set(diskcache.core.METADATA)
    if foreign:
        raise MicroscopeError(
            f"The store {database} holds what this program never puts there ({', '.join(sorted(foreign))}): "
            "move the cache folder away, or name another with --cache.",
            fault=Fault.CACHE,
        )


def sentence(folder: Path, error: Exception) -> MicroscopeError:
    """What went wrong in the store of `folder`, in words for its user."""
    with_fault = partial(MicroscopeError, fault=Fault.CACHE)
    number = error.errno if isinstance(error, OSError) else None
    if number in (errno.ENOSPC, errno.EDQUOT) or "disk is full" in str(error):
        return DiskFull(f"The disk that holds {folder} is full: make room on it, or name another cache with --cache.")
    if number in (errno.EROFS, errno.EACCES, errno.EPERM) or "readonly database" in str(error):
        return with_fault(f"The cache folder {folder} is read-only: {LOOK}, make it writable or {OTHER}.")
    if isinstance(error, sqlite3.DatabaseError) and ("malformed" in str(error) or "not a database" in str(error)):
        return with_fault(
            f"The database of the store in {folder} is damaged ({error}): move the folder {folder / 'store'} away."
        )
    return with_fault(f"The store in {folder} cannot be used ({error}): name another cache with --cache.")
