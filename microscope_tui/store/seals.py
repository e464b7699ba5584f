"""The seal of a value: its length and a digest of its key and its bytes.

It finds what a disk, a broken program or a mixed-up row did to a value, at the speed of memory (XXH3, 128 bits), so
that every value is checked whenever it is read. It is no signature: whoever may write into the cache folder can
write a seal as well, under any digest without a secret. That nobody else may is the matter of `folder`.
"""

from __future__ import annotations

from collections.abc import Iterable

from xxhash import xxh3_128

Value = bytes | tuple[memoryview, ...]
"""A value in one piece, or the pieces of one that is too large to be put together in memory."""


def pieces_of(value: Value) -> tuple[memoryview, ...]:
    """The pieces of a value, in their order."""
    return (memoryview(value),) if isinstance(value, bytes) else value


def size_of(value: Value) -> int:
    """The bytes of a value."""
    return sum(piece.nbytes for piece in pieces_of(value))


def seal(key: str, value: Value) -> str:
    """`LENGTH:HEX`; a value that is moved to another key no longer fits its seal."""
    return seal_of(key, pieces_of(value))


def seal_of(key: str, pieces: Iterable[bytes | memoryview]) -> str:
    """The seal of a value that comes in pieces."""
    digest, length = xxh3_128(f"{key}\0".encode()), 0
    for piece in pieces:
        digest.update(piece)
        length += memoryview(piece).nbytes
    return f"{length}:{digest.hexdigest()}"


def misfit(now: str, then: object) -> str:
    """In what a value differs from what it was, by its seals, for people; empty when it does not."""
    if now == then:
        return ""
    length, before = now.partition(":")[0], str(then).partition(":")[0]
    if before.isdigit() and length != before:
        return f"it has {length} bytes instead of {before}"
    return "its digest does not match"
