"""Gride: the dimension at a chosen scale, from the ratio of the 2k-th to the k-th neighbour distance.

For n₁ = k, n₂ = 2k the ratio μ has density d (μ^d − 1)^(k−1) / (B(k, k) μ^((2k−1)d + 1)) (Denti, Doimo, Laio &
Mira 2022, Scientific Reports 12:20005); k = 1 is TwoNN. Larger k looks at larger scales, is less swayed by
noise and needs more rows. The error is from the Fisher information, or by example where groups are given.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from microscope_tui.geometry.intervals import jackknife_interval
from microscope_tui.geometry.masks import duplicates
from microscope_tui.geometry.neighbours import nearest
from microscope_tui.geometry.rows import ArrayLike, as_rows, finite_rows, group_codes, nonfinite_reason
from microscope_tui.terms import Estimate

SINGLE_SCALE = 8
"""The k of the single number that `dimension(method="gride")` gives."""

SCALES = (1, 2, 4, 8, 16, 32, 64)
"""The k of the scale curve."""

_PILES = 20


@dataclass(frozen=True)
class ScalePoint:
    """One point of the scale curve: neighbours k and 2k, their mean distances as `radius`, the estimate."""

    k: int
    radius: float
    estimate: Estimate


def gride_mle(log_mu: Tensor, k: int) -> float | None:
    """The dimension that maximises the likelihood of log ratios (n,); None if they are all zero.

    The score  n/d + (k − 1) Σ log μ/(1 − μ^−d) − (2k − 1) Σ log μ  falls in d: bisection, then Newton is not needed.
    """
    total = float(log_mu.sum())
    if not total > 0:
        return None
    count = len(log_mu)

    def slope(d: float) -> float:
        held = torch.where(log_mu > 0, log_mu / -torch.expm1(-d * log_mu), 1 / d)
        return count / d + (k - 1) * float(held.sum()) - (2 * k - 1) * total

    low, high = 1e-6, 1.0
    while slope(high) > 0:
        high *= 2
        if high > 1e9:
            return None
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if slope(middle) > 0 else (low, middle)
        if high - low < 1e-13 * high:
            break
    return (low + high) / 2


def gride_error(log_mu: Tensor, k: int, d: float) -> float:
    """Standard error of the estimate from the observed Fisher information, for independent ratios."""
    grown = d * log_mu
    curve = torch.where(grown > 0, (log_mu / (2 * torch.sinh(grown / 2))).square(), 1 / d**2)
    return float(1 / (len(log_mu) / d**2 + (k - 1) * curve.sum()).sqrt())


def gride_estimate(
    inner: Tensor, outer: Tensor, k: int, *, n: int, d: int, codes: Tensor | None, notes: Sequence[str] = ()
) -> Estimate:
    """The estimate from the distances to the k-th (`inner`) and 2k-th (`outer`) neighbour of each row."""
    if bool((inner == 0).any()):
        zero = int((inner == 0).sum())
        return Estimate(None, n=n, d=d, reason=f"{zero} rows have {k} exact duplicates", notes=tuple(notes))
    log_mu = (outer / inner).log()
    value = gride_mle(log_mu, k)
    if value is None:
        return Estimate(None, n=n, d=d, reason=f"neighbours {k} and {2 * k} are equally far", notes=tuple(notes))
    error = gride_error(log_mu, k, value)
    told = (*notes, f"scale k = {k}: r_{2 * k}/r_{k}", f"Fisher standard error {error:.2g}")
    low: float | None = None
    high: float | None = None
    if codes is not None:
        piles = torch.unique(codes, return_inverse=True)[1] % _PILES
        without, sizes = [], []
        for pile in range(int(piles.max()) + 1):
            left = (piles != pile).to(log_mu.device)
            rest = gride_mle(log_mu[left], k)
            if rest is None:
                return Estimate(value, None, None, n, d, notes=told)
            without.append(rest)
            sizes.append(int((~left).sum()))
        low, high = jackknife_interval(value, without, sizes)
    return Estimate(value, low, high, n, d, notes=told)


def gride_curve(
    x: ArrayLike, *, scales: Sequence[int] = SCALES, groups: ArrayLike | None = None
) -> tuple[ScalePoint, ...]:
    """The dimension of rows x (n, d) at each scale k for which there are more than 2k different rows.

    A plateau is a dimension; a curve that falls with k shows noise at small scales or curvature at large ones.
    """
    rows = as_rows(x)
    codes = group_codes(groups, len(rows))
    n, d = rows.shape
    bad = int((~finite_rows(rows)).sum())
    if bad:
        missing = Estimate(None, n=n - bad, d=d, reason=nonfinite_reason(bad, n))
        return tuple(ScalePoint(k, float("nan"), missing) for k in scales)
    keep = ~duplicates(rows)
    rows = rows[keep]
    codes = None if codes is None else codes[keep.cpu()]
    used = [k for k in scales if 2 * k < len(rows)]
    if not used:
        return ()
    radii = nearest(rows, 2 * max(used)).distance
    points = []
    for k in used:
        inner, outer = radii[:, k - 1], radii[:, 2 * k - 1]
        estimate = gride_estimate(inner, outer, k, n=len(rows), d=d, codes=codes)
        points.append(ScalePoint(k, float((inner + outer).mean() / 2), estimate))
    return tuple(points)
