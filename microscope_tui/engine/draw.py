"""The examples of a walk in their order, and which of what is kept is of them.

Whatever is kept is named by a digest of all examples up to its end, and by one of all examples of the draw that it was
made for. By the first, any draw finds what fits it: a larger one begins with what a smaller one drew. By the second, a
walk knows what is its own: it never removes anything else, which the limit of the cache is for.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property

from microscope_tui.store import Store, content_key
from microscope_tui.store.names import Name, RowsName, StateName, parsed

FORMAT = 3
"""Goes up whenever sums or rows are written otherwise: part of every digest, and so of every name."""


class Draw:
    """The examples with these `keys`, in batches that end at multiples of `batch` and at the end of all."""

    def __init__(self, keys: Sequence[str], batch: int) -> None:
        self._keys, self._batch = list(keys), batch

    def __len__(self) -> int:
        return len(self._keys)

    @cached_property
    def digests(self) -> Mapping[int, str]:
        """For the end of each batch a digest of all examples up to it."""
        digest, digests = str(FORMAT), {}
        for start in range(0, len(self), self._batch):
            keys = self._keys[start : start + self._batch]
            digest = digests[start + len(keys)] = content_key(before=digest, keys=keys)[:16]
        return digests

    @property
    def digest(self) -> str:
        """That of all examples."""
        return self.digests[len(self)]

    def end(self, start: int) -> int:
        """Where the batch ends that begins at `start`."""
        return min(start + self._batch, len(self))

    @property
    def last_whole(self) -> int:
        """The end of the last batch that a larger draw has too."""
        return len(self) - len(self) % self._batch

    def state(self, base: str, end: int) -> StateName:
        """The name of the sums of the examples up to `end`."""
        return StateName(base, end, self.digests[end], self.digest)

    def rows(self, base: str, start: int) -> RowsName:
        """The name of the rows of the batch that begins at `start`."""
        end = self.end(start)
        return RowsName(base, start, end, self.digests[end], self.digest)

    def states(self, kept: Iterable[Name], bases: Sequence[str]) -> list[StateName]:
        """The sums of these bases that are of the first of these examples, the best first: those of the most examples;
        among these the ones of the base that comes first, and of this very draw."""
        found = [name for name in kept if isinstance(name, StateName) and name.base in bases and self._fits(name)]
        return sorted(found, key=lambda name: (-name.end, bases.index(name.base), name.draw != self.digest))

    def batches(self, kept: Iterable[Name], base: str) -> list[RowsName]:
        """The rows of batches of these examples."""
        found = [name for name in kept if isinstance(name, RowsName) and name.base == base and self._fits(name)]
        return [name for name in found if self.end(name.start) == name.end]

    def own(self, kept: Iterable[Name], base: str) -> list[Name]:
        """All that was kept for this very draw."""
        return [name for name in kept if name.base == base and name.draw == self.digest]

    def _fits(self, name: Name) -> bool:
        return self.digests.get(name.end) == name.done


def names_in(store: Store) -> list[Name]:
    """What sums and rows are kept now."""
    blobs = (entry.key.partition("/")[2] for entry in store.entries() if entry.kind == "blob")
    return [name for blob in blobs if (name := parsed(blob)) is not None]
