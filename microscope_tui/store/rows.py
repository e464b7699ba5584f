"""One stored value: its kind, its row in the database, and what may go wrong with it."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from hashlib import blake2b
from typing import Any, Final, Self

from microscope_tui.errors import Fault, MicroscopeError
from microscope_tui.tables import size_text
from microscope_tui.terms import JobKind, Request


class Kind(StrEnum):
    """What a key holds; a full key is `KIND/NAME`."""

    MEASUREMENT = "measurement"
    PARTIAL = "partial"
    BLOB = "blob"
    ALIAS = "alias"
    LOOK = "look"
    JOB = "job"
    ORDER = "order"
    DEATHS = "deaths"

    def key(self, name: str) -> str:
        return f"{self}/{name}"


EVICTABLE: Final = (Kind.MEASUREMENT, Kind.PARTIAL, Kind.BLOB, Kind.ALIAS, Kind.LOOK)
"""What can be measured again, and so makes room when the quota is reached. Jobs cannot."""


class StoreFull(MicroscopeError):
    """There is no room: the disk is full, or all that the quota allows is in use by jobs."""

    fault = Fault.CACHE


class DiskFull(StoreFull):
    """The disk is full. Work can go on as soon as somebody has made room."""


@dataclass(frozen=True)
class Entry:
    """One stored value as listed. Times are seconds since the epoch; `in_use`: a waiting or running job needs it."""

    key: str
    size: int
    stored: float
    used: float
    in_use: bool

    @property
    def kind(self) -> str:
        return self.key.partition("/")[0]


@dataclass(frozen=True)
class Asked:
    """What a look is an answer to: what a job of `kind` made of a request, and of one example of its slice."""

    request: Request
    kind: JobKind
    example: int | None = None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        return cls(Request.from_json(data["request"]), JobKind(data["kind"]), data["example"])


@dataclass(frozen=True)
class Damaged:
    """A value that was found damaged. `kept` is where its bytes were set aside, None where there were none."""

    key: str
    reason: str
    found: float
    kept: str | None = None


@dataclass(frozen=True)
class Deaths:
    """How many workers in succession died at the same place of a job, and how many of its examples were done when a
    GPU failed at it, None if none has."""

    place: str = ""
    count: int = 0
    gpu_failed: int | None = None


@dataclass(frozen=True)
class Collected:
    """What a collection removed: value files that no entry named, left by processes that were killed, the rows of
    batches that sums hold, and what older versions kept of work in the middle."""

    files: int
    size: int

    def __str__(self) -> str:
        return f"Removed {self.files} leftover{'' if self.files == 1 else 's'}, {size_text(self.size)}."


@dataclass(frozen=True)
class Row:
    """A row of the database as it stands there: nothing in it is trusted yet."""

    rowid: int
    key: Any
    raw: Any
    mode: Any
    filename: Any
    value: Any
    tag: Any


ENTRIES: Final = (
    "SELECT key, CASE WHEN filename IS NULL THEN length(value) ELSE size END, store_time, access_time,"
    " key IN (SELECT key FROM Lease) FROM Cache WHERE raw = 1 AND typeof(key) = 'text' ORDER BY access_time, rowid"
)


def query_rows(sql: Callable[..., sqlite3.Cursor], where: str, values: tuple[object, ...]) -> list[Row]:
    """The rows that a WHERE/ORDER clause selects; `values` are bound to its question marks."""
    found = sql(f"SELECT rowid, key, raw, mode, filename, value, tag FROM Cache {where}", values)
    return [Row(*columns) for columns in found.fetchall()]


def entry_of(columns: tuple[Any, ...]) -> Entry:
    """An entry of one line of `ENTRIES`."""
    key, size, stored, used, in_use = columns
    return Entry(str(key), int(size or 0), float(stored or 0), float(used or 0), bool(in_use))


def kept_name(key: str, found: float) -> str:
    """The name, without suffix, under which a damaged value is set aside; names sort by time."""
    return f"{int(found * 1000):013d}-{blake2b(key.encode(), digest_size=6).hexdigest()}"
