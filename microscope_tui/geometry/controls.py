"""Controls: what a number would be if the structure it is read as were not there.

The ladder says how much of a linearity is already explained by simpler maps; surrogates say what dimension,
linearity or anisotropy rows have that share only their covariance, or only their values, with the real ones.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from microscope_tui.geometry.heldout import Rest, elsewhere, heldout_of
from microscope_tui.geometry.intervals import from_log_unexplained, jackknife_interval, log_unexplained
from microscope_tui.geometry.linearity import linearity_of, undefined
from microscope_tui.geometry.moments import Moments
from microscope_tui.geometry.rows import (
    ArrayLike,
    as_pair,
    as_rows,
    fold_members,
    group_codes,
    in_reach,
    lengths_of,
    levelled,
)
from microscope_tui.results import Estimate

RANK = 1e-14
"""Singular values under d times this share of the largest are rounding."""


@dataclass(frozen=True)
class Ladder:
    """R² of ever freer maps from x to y, means removed: y = x, y = c x, y = c x Q with Q orthogonal, y = x A.

    Each map contains the one before it, so in-sample the scores rise; held-out they may fall, where freedom
    only fits noise, or where the rows of the other folds leave some of Q open, which a note says. `identity` is
    1 − ρ and may be negative, as may every held-out score.
    """

    identity: Estimate
    scalar: Estimate
    orthogonal: Estimate
    linear: Estimate


@dataclass(frozen=True)
class Error:
    """Squared error of a map, and the squares there were: sums over rows. `open`: directions that the rows it was
    fitted on leave open."""

    error: float
    total: float
    open: int = 0


MapError = Callable[[Moments | Rest, Moments], Error]
"""A kind of map: fitted on the first moments, its error on the second, which are taken about the first's means."""


def identity_error(_: Moments | Rest, test: Moments) -> Error:
    """y = x: ‖y − x‖²."""
    x, cross, total = _traces(test)
    return Error(total - 2 * cross + x, total)


def scalar_error(train: Moments | Rest, test: Moments) -> Error:
    """y = c x with c = tr C_xy/tr C_xx on the training rows."""
    x, cross, total = _traces(test)
    train_x, train_cross, _ = _traces(train)
    c = train_cross / train_x
    return Error(total - 2 * c * cross + c**2 * x, total)


def orthogonal_error(train: Moments | Rest, test: Moments) -> Error:
    """y = c x Q, orthogonal Procrustes with a scale: C_xy = UΣVᵀ, Q = UVᵀ, c = tr Σ/tr C_xx (Schönemann 1966).

    Where C_xy has less than full rank, as of n ≤ d rows, all Q = U₁V₁ᵀ + U₀WV₀ᵀ with W orthogonal fit alike, and W is
    whatever rounding makes of it. The error is the mean over all W: of W and −W the part of ⟨Q, xᵀy⟩ cancels, and the
    length of x Q is that of x.
    """
    x, _, total = _traces(test)
    u, sigma, vt = torch.linalg.svd(train.xy, full_matrices=False)
    c = float(sigma.sum() / train.xx.trace())
    known = min(int((sigma > RANK * len(sigma) * sigma[0]).sum()), train.n - 1)
    fit = float(((u[:, :known] @ vt[:known]) * test.xy).sum())
    return Error(total - 2 * c * fit + c**2 * x, total, open=len(sigma) - known)


def ladder_of(moments: Moments, folds: Sequence[Moments] | None = None) -> Ladder:
    """The ladder from moments of x and y of the same width: held out over `folds` if there are any, else in-sample.

    `folds` are moments of disjoint groups of examples that add up to `moments`; intervals are by fold.
    """
    used = [f for f in folds or () if f.n]
    d = len(moments.mean_x)
    reason = undefined(moments)
    if reason is None and folds is not None and (len(used) < 2 or any(moments.n - f.n < 3 for f in used)):
        reason = "held-out needs rows of at least 2 examples, and 3 rows outside every fold"
    if reason is not None:
        missing = Estimate(None, n=moments.n, d=d, reason=reason)
        return Ladder(missing, missing, missing, missing)

    def rung(error: MapError) -> Estimate:
        return _in_sample(moments, error) if folds is None else _held_out(moments, used, error)

    linear = linearity_of(moments) if folds is None else heldout_of(moments, folds)
    return Ladder(rung(identity_error), rung(scalar_error), rung(orthogonal_error), linear)


def ladder(x: ArrayLike, y: ArrayLike, *, groups: ArrayLike | None = None) -> Ladder:
    """The ladder of paired rows x, y (n, d); held out by example where `groups` (n,) are given."""
    (rows_x, rows_y), _ = in_reach(*as_pair(x, y))
    codes = group_codes(groups, len(rows_x))
    if codes is None:
        return ladder_of(Moments.of(rows_x, rows_y, squares_only=True))
    members = fold_members(codes.to(rows_x.device))
    folds = [Moments.of(rows_x[where], rows_y[where], squares_only=True) for where in members]
    start = Moments.empty(rows_x.shape[1], rows_y.shape[1], device=rows_x.device, squares_only=True)
    return ladder_of(sum(folds, start=start), folds)


def gaussian_surrogate(x: ArrayLike, *, seed: int = 0) -> Tensor:
    """Gaussian rows (n, d) with the mean and, in expectation, the covariance of x: float64.

    Each row is a random combination of all centred rows, g X̃/√(n − 1). What dimension or anisotropy these have
    comes from the covariance alone. Memory n² numbers.
    """
    rows = as_rows(x)
    n = len(rows)
    mean = rows.mean(0, dtype=torch.float64)
    mix = torch.randn(n, n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(rows.device)
    surrogate: Tensor = mean + mix @ (rows.double() - mean) / max(n - 1, 1) ** 0.5
    return surrogate


def shuffle_tokens(x: ArrayLike, groups: ArrayLike | None = None, *, seed: int = 0) -> Tensor:
    """The rows of x in random order, within each group where `groups` (n,) are given.

    linearity(x, shuffle_tokens(y)) is the score that unrelated tokens of the same layers would have.
    """
    rows = as_rows(x)
    codes = group_codes(groups, len(rows))
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed))
    if codes is not None:
        within = torch.empty_like(order)
        # Both orders list the groups one after the other: positions of a group are handed its rows, shuffled.
        within[torch.argsort(codes, stable=True)] = order[torch.argsort(codes[order], stable=True)]
        order = within
    return rows[order.to(rows.device)]


def shuffle_coordinates(x: ArrayLike, *, seed: int = 0) -> Tensor:
    """Each column of x (n, d) in a random order of its own: the same values, no joint structure."""
    rows = as_rows(x)
    generator = torch.Generator().manual_seed(seed)
    order = torch.rand(rows.shape, generator=generator).argsort(0)
    return rows.gather(0, order.to(rows.device))


def rms_normalise(x: ArrayLike) -> Tensor:
    """Each row divided by its root mean square, float64: what an RMS norm without weights hands on. Zeros stay."""
    rows = as_rows(x).double()
    exact = levelled(rows, lengths_of(rows))
    size = exact.square().mean(1, keepdim=True).sqrt()
    return torch.where(size > 0, exact / size, exact)


def _traces(moments: Moments | Rest) -> tuple[float, float, float]:
    """tr C_xx, tr C_xy, tr C_yy."""
    return float(moments.xx.trace()), float(moments.xy.trace()), float(moments.squares.sum())


def _in_sample(moments: Moments, error: MapError) -> Estimate:
    found = error(moments, moments)
    return Estimate(1 - found.error / found.total, n=moments.n, d=len(moments.mean_x))


def _held_out(moments: Moments, folds: Sequence[Moments], error: MapError) -> Estimate:
    wrong, total, n, d = [], [], moments.n, len(moments.mean_x)
    most = 0
    varies = True
    for fold, rest in zip(folds, Rest.each(moments, folds), strict=True):
        if not rest.varies():
            return Estimate(None, n=n, d=d, reason="outside one fold all rows of x are equal")
        varies = varies and rest.has_target()
        found = error(rest, fold.about(rest.mean_x, rest.mean_y))
        wrong.append(found.error)
        total.append(found.total)
        most = max(most, found.open)
    notes = (_open(most, d),) if most else ()
    value = 1 - sum(wrong) / sum(total)
    if not varies:
        why = "no interval: without one fold of examples all rows of y are equal"
        return Estimate(value, n=n, d=d, notes=(*notes, why))
    without = [1 - left / there for left, there in zip(elsewhere(wrong), elsewhere(total), strict=True)]
    low, high = jackknife_interval(
        value, without, [f.n for f in folds], forward=log_unexplained, back=from_log_unexplained
    )
    return Estimate(value, low, high, n, d, notes=notes)


def _open(most: int, d: int) -> str:
    return f"the rows outside a fold leave up to {most} of {d} directions open: mean over all Q that fit them alike"
