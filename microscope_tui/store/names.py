"""How blobs of work in the middle are called: `state-SUMS-END-DONE-DRAW` are the sums of the first END examples of a
draw, `rows-SUMS-START-END-DONE-DRAW` the rows of its batch from START up to END. What is made of SUMS names it as its
`state`; DRAW is a digest of all examples of the draw, DONE one of those up to END.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

STATE: Final = re.compile(r"state-([0-9A-Za-z]+)-([0-9]{1,18})-([0-9A-Za-z]+)-([0-9A-Za-z]+)")
ROWS: Final = re.compile(r"rows-([0-9A-Za-z]+)-([0-9]{1,18})-([0-9]{1,18})-([0-9A-Za-z]+)-([0-9A-Za-z]+)")
OLDER: Final = re.compile(r"(state-[0-9A-Za-z]+|rows-[0-9A-Za-z]+-[0-9]{1,18})-[0-9]{1,18}-[0-9A-Za-z]+")
"""The same of versions whose draws shared their sums: with one digest only."""


@dataclass(frozen=True)
class StateName:
    """Sums of the first examples of a draw, as many as `end` says; `str` gives the name."""

    base: str
    end: int
    done: str
    draw: str

    def __str__(self) -> str:
        return f"state-{self.base}-{self.end}-{self.done}-{self.draw}"


@dataclass(frozen=True)
class RowsName:
    """Rows of the examples of a draw from number `start` up to `end`, at least one; `str` gives the name."""

    base: str
    start: int
    end: int
    done: str
    draw: str

    def __str__(self) -> str:
        return f"rows-{self.base}-{self.start}-{self.end}-{self.done}-{self.draw}"


Name = StateName | RowsName


def parsed(name: str) -> Name | None:
    """What a blob of this name is; None for another one."""
    if found := STATE.fullmatch(name):
        return StateName(found[1], int(found[2]), found[3], found[4])
    if (found := ROWS.fullmatch(name)) and int(found[2]) < int(found[3]):
        return RowsName(found[1], int(found[2]), int(found[3]), found[4], found[5])
    return None


def is_older(name: str) -> bool:
    """Whether a blob is sums or rows of an older version, which no walk reads any more."""
    return OLDER.fullmatch(name) is not None


def held_by_sums(names: Iterable[str]) -> Iterator[str]:
    """Those of rows that sums of the same draw hold: nobody needs them any more."""
    known = [(name, found) for name in names if (found := parsed(name))]
    summed: dict[tuple[str, str], int] = {}
    for _, found in known:
        if isinstance(found, StateName):
            of = found.base, found.draw
            summed[of] = max(found.end, summed.get(of, 0))
    for name, found in known:
        if isinstance(found, RowsName) and found.end <= summed.get((found.base, found.draw), 0):
            yield name
