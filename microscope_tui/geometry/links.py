"""Intervals of what is made of neighbour-distance ratios: by example, and wider for links between examples.

Ratios r₂/r₁ of rows of different examples are not independent when one row is the other's nearest neighbour: in
a pair of mutual neighbours r₁ is the same number. An error from sums by example alone is some 20 % too short
(coverage 87 to 92 % instead of 95). The covariance of linked rows is added, as in network-robust variances
(Kojevnikov, Marmer & Song 2021): Σ_g u_g² + 2 Σ_links u_i u_j, u = log μ less its mean.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from microscope_tui.geometry.intervals import influences, jackknife_interval, shares
from microscope_tui.geometry.rows import FOLDS

PILES = 100
"""Examples left out one by one; more than this share piles. A multiple of `FOLDS`."""


def usable(value: float) -> bool:
    """Whether a dimension is a positive finite number."""
    return 0 < value < float("inf")


class Bounds(NamedTuple):
    """The interval of a dimension, what each fold of examples adds to its error (see `intervals.influences`), and the
    folds' shares of the ratios."""

    low: float | None = None
    high: float | None = None
    influence: tuple[float, ...] = ()
    shares: tuple[float, ...] = ()


def ratio_interval(
    value: float, without: Callable[[Tensor, int], Sequence[float]], piles: Tensor | None, inflation: float
) -> Bounds:
    """The interval from leaving out the ratios of one pile of examples at a time; `piles` (m,): that of each ratio.

    `without` gives the dimension without each of so many piles, from the pile of each row (m,). Made on the scale of
    1/dimension, which is a mean of log ratios. No bounds without piles, or where the upper one would be infinite.
    """
    if piles is None:
        return Bounds()
    used = torch.unique(piles, return_inverse=True)[1]
    sizes = torch.bincount(used).tolist()
    left = without(used, len(sizes))
    if not all(usable(each) for each in left):
        return Bounds()
    low, high = jackknife_interval(
        value, left, sizes, forward=lambda v: 1 / v, back=lambda v: 1 / v if v > 0 else -1.0, inflation=inflation
    )
    if low is None or low < 0:
        return Bounds()
    # Fewer and larger piles, as many as there are folds of everything else.
    folds = piles % FOLDS
    counts = torch.bincount(folds, minlength=FOLDS).tolist()
    moved = tuple(inflation * each for each in influences(value, without(folds, FOLDS), counts))
    return Bounds(low, high, moved, shares(counts) if moved else ())


def link_inflation(log_mu: Tensor, codes: Tensor, nearest: Tensor) -> float:
    """The factor, 1 or more, by which links lengthen the standard error of a mean of log μ.

    `log_mu`, `codes` (m,): each row's log ratio and example; `nearest` (m,) its nearest row among these, −1 if
    that is not one of them. Infinite ratios are left out.
    """
    known = log_mu.isfinite()
    u = torch.where(known, log_mu - log_mu[known].mean(), 0.0)
    sums = torch.zeros(int(codes.max()) + 1, dtype=u.dtype, device=u.device).index_add_(0, codes, u)
    alone = float(sums.square().sum())
    row = (nearest >= 0).nonzero()[:, 0]
    other = nearest[row]
    low, high = torch.minimum(row, other), torch.maximum(row, other)
    pair = (low * len(u) + high)[codes[low] != codes[high]]
    pair = torch.unique(pair)
    linked = float(2 * (u[pair // len(u)] * u[pair % len(u)]).sum())
    return max(1.0, 1 + linked / alone) ** 0.5 if alone > 0 else 1.0


def positions_of(index: Tensor, rows: Tensor, n: int) -> Tensor:
    """Where each row index (m,) stands among `rows` (q,), −1 where it is not there; `n` rows in all."""
    place = torch.full((n,), -1, dtype=torch.int64, device=index.device)
    place[rows] = torch.arange(len(rows), device=index.device)
    return place[index]
