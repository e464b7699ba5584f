"""Quantiles of Student's t, for intervals from few groups of examples. Needs the standard library only."""

from __future__ import annotations

import math

LEVEL = 0.95
"""Nominal coverage of every interval, and 1 less the level of every test."""


def t_quantile(p: float, degrees: int) -> float:
    """The p-quantile of Student's t with a whole number of degrees of freedom.

    By bisection on the closed form of the distribution for whole degrees (Abramowitz & Stegun 26.7.3–4).
    Raises `ValueError` where there is none: p of 0, of 1 or outside them, or no degree of freedom.
    """
    if not 0 < p < 1 or degrees < 1:
        raise ValueError(f"Student's t with {degrees} degrees of freedom has no {p}-quantile.")
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
