"""Intervals by example, never by token: delete-a-group jackknife.

Tokens of one example are not independent, so the unit left out is the example, or a fold of examples.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

LEVEL = 0.95
"""Nominal coverage of every interval."""

MIN_GROUPS = 3
"""With fewer groups there is no interval."""


def t_quantile(p: float, degrees: int) -> float:
    """The p-quantile of Student's t with a whole number of degrees of freedom.

    By bisection on the closed form of the distribution for whole degrees (Abramowitz & Stegun 26.7.3–4).
    """
    if not 0.5 <= p < 1:
        return -t_quantile(1 - p, degrees)
    low, high = 0.0, 1.0
    while _t_cdf(high, degrees) < p:
        high *= 2
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if _t_cdf(middle, degrees) < p else (low, middle)
    return (low + high) / 2


def _t_cdf(t: float, degrees: int) -> float:
    """P(T ≤ t) for t ≥ 0: a finite sum over powers of cos²θ, tan θ = t/√ν."""
    theta = math.atan(t / math.sqrt(degrees))
    cos2 = math.cos(theta) ** 2
    if degrees % 2:
        term, total = math.cos(theta), 0.0
        for k in range(1, degrees - 1, 2):
            total += term
            term *= cos2 * (k + 1) / (k + 2)
        inside = (2 / math.pi) * (theta + math.sin(theta) * total)
    else:
        term, total = 1.0, 0.0
        for k in range(0, degrees - 1, 2):
            total += term
            term *= cos2 * (k + 1) / (k + 2)
        inside = math.sin(theta) * total
    return 0.5 + inside / 2


def jackknife_error(value: float, without: Sequence[float], sizes: Sequence[int]) -> float | None:
    """Standard error of `value` from its values without each group, for groups of unequal size.

    Delete-m_j jackknife (Busing, Meijer & van der Leeden 1999): with h_j = n/m_j and pseudo-values
    h_j θ − (h_j − 1) θ_(j), the variance is the mean of (pseudo − θ_J)²/(h_j − 1). None with fewer than
    `MIN_GROUPS` groups that hold rows.
    """
    pairs = [(w, n) for w, n in zip(without, sizes, strict=True) if n]
    if len(pairs) < MIN_GROUPS or not all(math.isfinite(w) for w, _ in pairs) or not math.isfinite(value):
        return None
    total = sum(n for _, n in pairs)
    centre = len(pairs) * value - sum((1 - n / total) * w for w, n in pairs)
    variance = 0.0
    for w, n in pairs:
        h = total / n
        variance += (h * value - (h - 1) * w - centre) ** 2 / (h - 1)
    return math.sqrt(variance / len(pairs))


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

    The scale keeps the interval inside the quantity's range (log for what is positive, and so on) and makes
    the error more nearly normal. `inflation` multiplies the standard error. (None, None) where there is no
    interval: too few groups, or a value at the edge.
    """
    try:
        centre = forward(value)
        error = jackknife_error(centre, [forward(w) for w in without], sizes)
    except (ValueError, ZeroDivisionError, OverflowError):
        return None, None
    if error is None:
        return None, None
    reach = t_quantile((1 + LEVEL) / 2, sum(n > 0 for n in sizes) - 1) * error * inflation
    try:
        ends = sorted((back(centre - reach), back(centre + reach)))
    except OverflowError:  # so wide that it says nothing
        return None, None
    return ends[0], ends[1]


def log_unexplained(score: float) -> float:
    """log(1 − R²): the scale on which the error of an R² is nearly normal, and which never passes 1."""
    return math.log(1 - score)


def from_log_unexplained(value: float) -> float:
    return 1 - math.exp(value)


def logit(share: float) -> float:
    return math.log(share / (1 - share))


def from_logit(value: float) -> float:
    return 1 / (1 + math.exp(-value))
