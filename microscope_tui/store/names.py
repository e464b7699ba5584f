"""How blobs of work in the middle are called: `state-SUMS-COUNT-DRAW` are the sums of the first COUNT examples of a
draw, `rows-SUMS-START-END-DRAW` the rows of the batch from START up to END. What is made of SUMS names it as its
`state`; DRAW is a digest of the examples.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

STATE: Final = re.compile(r"state-([0-9A-Za-z]+)-([0-9]{1,18})-[0-9A-Za-z]+")
ROWS: Final = re.compile(r"rows-([0-9A-Za-z]+)-([0-9]{1,18})-([0-9]{1,18})-[0-9A-Za-z]+")


@dataclass(frozen=True)
class StateName:
    """Sums of the first `count` examples."""

    base: str
    count: int


@dataclass(frozen=True)
class RowsName:
    """Rows of the examples from number `start` up to `end`, at least one."""

    base: str
    start: int
    end: int


def state_name(base: str, count: int, draw: str) -> str:
    """The name of sums."""
    return f"state-{base}-{count}-{draw}"


def rows_name(base: str, start: int, end: int, draw: str) -> str:
    """The name of a batch."""
    return f"rows-{base}-{start}-{end}-{draw}"


def parsed(name: str) -> StateName | RowsName | None:
    """What a blob of this name is; None for another one."""
    if found := STATE.fullmatch(name):
        return StateName(found[1], int(found[2]))
    if (found := ROWS.fullmatch(name)) and int(found[2]) < int(found[3]):
        return RowsName(found[1], int(found[2]), int(found[3]))
    return None


def dead(names: Iterable[str]) -> Iterator[str]:
    """Those of rows to which neither sums nor the beginning lead: nobody can ever go on from them."""
    known = [(name, found) for name in names if (found := parsed(name))]
    reached = {(found.base, found.count) for _, found in known if isinstance(found, StateName)}
    rows = [(name, found) for name, found in known if isinstance(found, RowsName)]
    for name, found in sorted(rows, key=lambda each: each[1].start):
        if found.start == 0 or (found.base, found.start) in reached:
            reached.add((found.base, found.end))
        else:
            yield name
