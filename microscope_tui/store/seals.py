"""The seal of a value: its length and its digest under its key.

Values above one piece are hashed piece by piece in a few threads (blake2b releases the interpreter), and the
digests of the pieces are hashed again: on a machine with cores to spare the check costs less than the reading.
"""

from __future__ import annotations

import hmac
import os
from concurrent.futures import Future, ThreadPoolExecutor
from hashlib import blake2b
from types import TracebackType
from typing import Final, Self

PIECE: Final = 4 * 1024 * 1024
"""Bytes that are hashed, and written, at once."""

THREADS: Final = min(4, os.cpu_count() or 1)

DIGEST_SIZE: Final = 32


def seal(key: str, value: bytes | memoryview) -> str:
    """`LENGTH:HEX`; a value that is moved to another key no longer fits its seal."""
    with Sealing(key, value) as sealing:
        return sealing.result()


def fits(key: str, value: bytes | memoryview, found: object) -> bool:
    """Whether `value` is what was sealed under `key` as `found`."""
    return isinstance(found, str) and hmac.compare_digest(seal(key, value).encode(), found.encode())


def misfit(value: bytes | memoryview, found: object) -> str:
    """In what a value differs from its seal, for people."""
    length = str(found).partition(":")[0]
    if length.isdigit() and int(length) != len(value):
        return f"it has {len(value)} bytes instead of {length}"
    return "its digest does not match"


class Sealing:
    """The seal of a value being worked out beside something else, such as writing the value."""

    def __init__(self, key: str, value: bytes | memoryview) -> None:
        self._length, self._person = len(value), blake2b(key.encode(), digest_size=16).digest()
        view = memoryview(value)
        pieces = [view[start : start + PIECE] for start in range(0, len(view), PIECE)] or [view]
        # Its own pool for each large value: a pool that is kept would be dead in a forked child.
        self._pool = ThreadPoolExecutor(THREADS) if len(pieces) > 1 else None
        self._digests: list[Future[bytes] | bytes] = [
            self._pool.submit(self._digest, piece) if self._pool else self._digest(piece) for piece in pieces
        ]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def result(self) -> str:
        """The seal, when it is ready."""
        digests = [each if isinstance(each, bytes) else each.result() for each in self._digests]
        return f"{self._length}:{self._digest(b''.join(digests)).hex()}"

    def _digest(self, data: bytes | memoryview) -> bytes:
        return blake2b(data, digest_size=DIGEST_SIZE, person=self._person).digest()
