"""Intervals by example, never by token: delete-a-group jackknife.

Tokens of one example are not independent, so the unit left out is the example, or a fold of examples.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence

from microscope_tui.student import LEVEL, t_quantile

MIN_GROUPS = 3
"""With fewer groups there is no interval."""


def influences(value: float, without: Sequence[float], sizes: Sequence[int]) -> tuple[float, ...]:
    """What each group adds to the error of `value`: the squares add up to the squared standard error.

    Delete-m_j jackknife (Busing, Meijer & van der Leeden 1999) for g groups of unequal size: with h_j = n/m_j and
    pseudo-values h_j θ − (h_j − 1) θ_(j), the variance is the mean of (pseudo − θ_J)²/(h_j − 1); this is the root of
    each term of it, with its sign. The error of a difference of two values of which the same groups are left out has
    the differences of their influences. 0 for a group without rows; empty with fewer than `MIN_GROUPS` that have some.
    """
    pairs = [(w, n) for w, n in zip(without, sizes, strict=True) if n]
    if len(pairs) < MIN_GROUPS or not all(math.isfinite(w) for w, _ in pairs) or not math.isfinite(value):
        return ()
    total = sum(n for _, n in pairs)
    centre = len(pairs) * value - sum((1 - n / total) * w for w, n in pairs)

    def of(w: float, n: int) -> float:
        h = total / n
        return (h * value - (h - 1) * w - centre) / math.sqrt((h - 1) * len(pairs))

    return tuple(of(w, n) if n else 0.0 for w, n in zip(without, sizes, strict=True))


def shares(sizes: Sequence[int]) -> tuple[float, ...]:
    """Each group's share of all rows: with its influence it tells what the group's own value is."""
    return tuple(n / sum(sizes) for n in sizes)


def jackknife_error(value: float, without: Sequence[float], sizes: Sequence[int]) -> float | None:
    """Standard error of `value` from its values without each group (see `influences`), None with too few groups."""
    found = influences(value, without, sizes)
    return math.hypot(*found) if found else None


def jackknife_interval(
    value: float,
    without: Sequence[float],
    sizes: Sequence[int],
    *,
    forward: Callable[[float], float] = lambda v: v,
    back: Callable[[float], float] = lambda v: v,
    inflation: float = 1.0,
) -> tuple[float | None, float | None]:
    """The 95 % interval of `value`, t-quantile on groups − 1 degrees, made on the scale of `forward`.

    The scale keeps the interval inside the quantity's range (log for what is positive, and so on) and makes the error
    more nearly normal. Of an R² it holds the upper end only: a lower end under 0, where an in-sample score cannot be,
    says that the score is not told from 0, and is not cut off. `inflation` multiplies the standard error. (None, None)
    where there is no interval: too few groups, or a value at the edge.
    """
    try:
        centre = forward(value)
        error = jackknife_error(centre, [forward(w) for w in without], sizes)
    except (ValueError, ZeroDivisionError, OverflowError):
        return None, None
    if error is None:
        return None, None
    reach = _quantile(sum(n > 0 for n in sizes) - 1) * error * inflation
    try:
        ends = sorted((back(centre - reach), back(centre + reach)))
    except OverflowError:  # so wide that it says nothing
        return None, None
    return ends[0], ends[1]


@functools.cache
def _quantile(degrees: int) -> float:
    """How many standard errors the interval reaches to either side."""
    return t_quantile((1 + LEVEL) / 2, degrees)


def log_unexplained(score: float) -> float:
    """log(1 − R²): the scale on which the error of an R² is nearly normal, and which never passes 1."""
    return math.log(1 - score)


def from_log_unexplained(value: float) -> float:
    return 1 - math.exp(value)


def logit(share: float) -> float:
    return math.log(share / (1 - share))


def from_logit(value: float) -> float:
    return 1 / (1 + math.exp(-value))
