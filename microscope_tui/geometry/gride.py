"""Gride: the dimension at a chosen scale, from the ratio of the 2k-th to the k-th neighbour distance.

For n₁ = k, n₂ = 2k the ratio μ has density d (μ^d − 1)^(k−1) / (B(k, k) μ^((2k−1)d + 1)) (Denti, Doimo, Laio &
Mira 2022, Scientific Reports 12:20005); k = 1 is TwoNN. Larger k looks at larger scales, is less swayed by
noise and needs more rows. The error is from the Fisher information, or by example where groups are given.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from microscope_tui.geometry.links import PILES, link_inflation, ratio_interval
from microscope_tui.geometry.masks import duplicates
from microscope_tui.geometry.neighbours import nearest
from microscope_tui.geometry.rows import (
    DISTANCES,
    ArrayLike,
    as_rows,
    finite_rows,
    group_codes,
    in_reach,
    nonfinite_reason,
)
from microscope_tui.results import Estimate

SINGLE_SCALE = 8
"""The k of the single number that `dimension(method="gride")` gives."""

SCALES = (1, 2, 4, 8, 16, 32, 64)
"""The k of the scale curve."""

STEPS = 100
"""Newton steps at most; five or so are usual."""

LARGEST = 1e9
"""A larger dimension means that the neighbours are equally far but for rounding."""


@dataclass(frozen=True)
class ScalePoint:
    """One point of the scale curve: neighbours k and 2k, their mean distances as `radius`, the estimate."""

    k: int
    radius: float
    estimate: Estimate


def gride_mle(log_mu: Tensor, k: int) -> float | None:
    """The dimension that maximises the likelihood of log ratios (n,); None if they are all zero.

    The score  n/d + (k − 1) Σ log μ/(1 − μ^−d) − (2k − 1) Σ log μ  falls in d and is convex: from anywhere Newton's
    steps end on the left of its zero and then only rise.
    """
    total = float(log_mu.sum())
    if not total > 0:
        return None
    count = len(log_mu)
    d = count / total
    for _ in range(STEPS):
        score = count / d + (k - 1) * float(_held(log_mu, d).sum()) - (2 * k - 1) * total
        before, d = d, max(d + score * gride_error(log_mu, k, d) ** 2, d / 10)
        if d > LARGEST:
            return None
        if abs(d - before) <= 1e-13 * d:
            break
    return d


def gride_error(log_mu: Tensor, k: int, d: float) -> float:
    """Standard error of the estimate from the observed Fisher information, for independent ratios."""
    return float(1 / _information(log_mu, k, d).sum().sqrt())


def gride_without(log_mu: Tensor, k: int, d: float, piles: Tensor, count: int) -> list[float]:
    """The estimate without each of `count` piles, one Newton step from the estimate d of all; `piles` (n,) each row's.

    The score of all ratios is zero at d, so what is left without a pile has minus that pile's. One step differs from
    the end of all steps by the square of what a pile moves the estimate.
    """
    zeros = torch.zeros(count, dtype=log_mu.dtype, device=log_mu.device)
    score = zeros.index_add(0, piles, 1 / d + (k - 1) * _held(log_mu, d) - (2 * k - 1) * log_mu)
    information = zeros.index_add(0, piles, _information(log_mu, k, d))
    moved: list[float] = (d - score / (information.sum() - information)).tolist()
    return moved


def _held(log_mu: Tensor, d: float) -> Tensor:
    """log μ/(1 − μ^−d), and its limit 1/d at μ = 1."""
    return torch.where(log_mu > 0, log_mu / -torch.expm1(-d * log_mu), 1 / d)


def _information(log_mu: Tensor, k: int, d: float) -> Tensor:
    """What each ratio adds to the observed Fisher information: minus the slope of its score."""
    grown = d * log_mu
    curve = torch.where(grown > 0, (log_mu / (2 * torch.sinh(grown / 2))).square(), 1 / d**2)
    return 1 / d**2 + (k - 1) * curve


def gride_estimate(radii: Tensor, k: int, blank: Estimate, *, piles: Tensor | None, inflation: float = 1.0) -> Estimate:
    """The estimate from the distances to the 2k or more nearest neighbours of each row (m, 2k …).

    `piles` (m,) give an interval by pile of examples, its error multiplied by `inflation` (see `links`); `blank`
    carries n, d and notes.
    """
    inner, outer = radii[:, k - 1], radii[:, 2 * k - 1]
    if bool((inner == 0).any()):
        close = int((inner == 0).sum())
        return replace(blank, reason=f"{close} rows differ from {k} others by too little: squares underflow")
    log_mu = (outer / inner).log()
    value = gride_mle(log_mu, k)
    if value is None:
        return replace(blank, reason=f"neighbours {k} and {2 * k} are equally far")
    error = gride_error(log_mu, k, value)
    notes = (*blank.notes, f"scale k = {k}: r_{2 * k}/r_{k}", f"Fisher standard error {error:.2g}")
    bounds = ratio_interval(value, partial(gride_without, log_mu, k, value), piles, inflation)
    return replace(blank, value=value, notes=notes, **bounds._asdict())


def gride_curve(
    x: ArrayLike, *, scales: Sequence[int] = SCALES, groups: ArrayLike | None = None
) -> tuple[ScalePoint, ...]:
    """The dimension of rows x (n, d) at each scale k for which there are more than 2k different rows; undefined at all
    scales where there is none.

    A plateau is a dimension; a curve that falls with k shows noise at small scales or curvature at large ones.
    `groups` (n,), the example of each row, give intervals.
    """
    (rows,), scale = in_reach(as_rows(x), most=DISTANCES)
    codes = group_codes(groups, len(rows))
    n, d = rows.shape
    bad = int((~finite_rows(rows)).sum())
    if bad:
        missing = Estimate(None, n=n - bad, d=d, reason=nonfinite_reason(bad, n))
        return tuple(ScalePoint(k, float("nan"), missing) for k in scales)
    keep = ~duplicates(rows)
    rows = rows[keep]
    used = [k for k in scales if 2 * k < len(rows)]
    if not used:
        few = (
            "there are no rows"
            if not len(rows)
            else f"{len(rows)} different {'row' if len(rows) == 1 else 'rows'}: scale k needs more than 2k"
        )
        missing = Estimate(None, n=len(rows), d=d, reason=few)
        return tuple(ScalePoint(k, float("nan"), missing) for k in scales)
    found = nearest(rows, 2 * max(used))
    radii = found.distance
    inflation = 1.0
    piles: Tensor | None = None
    if codes is not None:
        codes = codes.to(rows.device)[keep]
        inflation = link_inflation((radii[:, 1] / radii[:, 0]).log(), codes, found.index[:, 0])
        piles = codes % PILES
    blank = Estimate(None, n=len(rows), d=d)
    points = []
    for k in used:
        radius = float((radii[:, k - 1] + radii[:, 2 * k - 1]).mean() / 2) / scale
        points.append(ScalePoint(k, radius, gride_estimate(radii, k, blank, piles=piles, inflation=inflation)))
    return tuple(points)
