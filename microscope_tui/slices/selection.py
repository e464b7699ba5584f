"""Which rows a slice takes: filters first, then a draw that only grows with the count."""

from __future__ import annotations

import hashlib
import heapq
import re
from collections.abc import Sequence

from microscope_tui.errors import MicroscopeError
from microscope_tui.slices.columns import MEDIA
from microscope_tui.slices.rows import SourceRows
from microscope_tui.terms import FILTER_KINDS, SliceSpec, filter_terms

TEXT_ONLY = "text-only"
SHOWN = 12
"""How many of a column's values a sentence lists."""


def choose_rows(rows: SourceRows, spec: SliceSpec) -> tuple[int, ...]:
    """The indices of the chosen rows. Raises `MicroscopeError` if there are none.

    Without a count all that pass the filter, in the source's order; with one the first of them in an order
    that the seed decides. So a smaller slice is the beginning of a larger one with the same seed. The rows of a
    stream have been chosen as they came.
    """
    if not len(rows):
        raise MicroscopeError(
            f"The split {spec.split!r} of the data set {spec.source} is empty: choose another split=."
        )
    passed = filtered(rows, spec)
    if spec.stream:
        return tuple(range(len(rows)))
    if spec.count is None:
        return tuple(passed)
    return tuple(heapq.nsmallest(spec.count, passed, key=lambda row: rank(row, spec.seed)))


def rank(row: int, seed: int) -> bytes:
    """A row's place in the draw: a hash, hence the same on every machine, and independent of the other rows."""
    return hashlib.blake2b(f"{seed}:{row}".encode(), digest_size=16).digest()


def filtered(rows: SourceRows, spec: SliceSpec) -> Sequence[int]:
    """The rows that pass every term of the filter; of several terms for one column, one is enough."""
    passed: Sequence[int] = range(len(rows))
    for name, wanted in terms(spec).items():
        before = passed
        passed = passing(rows, name, wanted, before, spec)
        if not passed:
            raise MicroscopeError(_nothing_left(rows, spec, name, before))
    return passed


def passing(rows: SourceRows, name: str, wanted: set[str], before: Sequence[int], spec: SliceSpec) -> Sequence[int]:
    """Those of some rows that pass one term of the filter. Raises `MicroscopeError` for a column that is missing."""
    if name in FILTER_KINDS:
        found = [rows.holding(role) for role in (MEDIA if name == TEXT_ONLY else (name,))]
        return [row for row in before if any(held[row] for held in found) == (name != TEXT_ONLY)]
    values = rows.column(name)
    if values is None:
        raise MicroscopeError(f"The data set {spec.source} has no column {name} to filter by.")
    return [row for row in before if _plain(values[row], name) in wanted]


def terms(spec: SliceSpec) -> dict[str, set[str]]:
    """The filter by name: one of `FILTER_KINDS`, or a column with the values that pass."""
    found: dict[str, set[str]] = {}
    for name, value in filter_terms(spec.filter):
        found.setdefault(name, set()).add(_plain(value, name))
    return found


def _plain(value: str | None, name: str) -> str:
    """A value as people type it: case, hyphens and the word grade in front of a grade do not matter."""
    plain = re.sub(r"[\s_-]+", " ", (value or "").strip().casefold())
    return plain.removeprefix("grade").strip() if name == "grade" else plain


def _nothing_left(rows: SourceRows, spec: SliceSpec, name: str, before: Sequence[int]) -> str:
    """The sentence for a term that no row passes: what there would have been to choose from."""
    start = f"No example of the data set {spec.source} passes the filter {spec.filter!r}"
    if name == TEXT_ONLY:
        return f"{start}: all that are left have a picture, video or sound."
    if name in FILTER_KINDS:
        return f"{start}: none that is left has {'a picture' if name == 'image' else name}."
    values = rows.column(name) or ()
    there = sorted({value for row in before if (value := values[row])}, key=_natural)
    more = f" and {len(there) - SHOWN} more" if len(there) > SHOWN else ""
    return f"{start}: of {name} there is {', '.join(there[:SHOWN]) or 'nothing'}{more}."


def _natural(text: str) -> list[tuple[int, str]]:
    """Sorts grade2 before grade10."""
    return [(int(part), "") if part.isdigit() else (0, part) for part in re.split(r"(\d+)", text)]
