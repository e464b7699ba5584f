"""The held-out linearity: a map fitted on some examples, scored on the others, pooled over folds.

Plain least squares is a poor predictor when n is not much larger than d: independent x and y would score
about −d/(n − d) instead of 0. So the map is a ridge regression, shrunk towards the mean by a factor s, and
the penalty and s used for a fold are those with the least error on the *other* folds.
With many rows a dimension the penalty is 0 and s ≈ 1: least squares.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from microscope_tui.geometry.intervals import (
    MIN_GROUPS,
    from_log_unexplained,
    influences,
    jackknife_interval,
    log_unexplained,
    shares,
)
from microscope_tui.geometry.moments import Moments
from microscope_tui.geometry.paired import without_each
from microscope_tui.geometry.products import cancels, combination
from microscope_tui.geometry.solve import Factor, factor, varying
from microscope_tui.results import Estimate

PENALTIES = (1e-8, 1e-6, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)
"""Ridge penalties tried, in units of the mean column variance, where rows are not plenty."""

PLENTY = 10
"""From this many training rows a dimension on, least squares is not improved by a penalty: it is not tried."""


@dataclass(frozen=True)
class Scored:
    """One fold under one map A, centred on the training means: the error of sA is total − 2s·fit + s²·size.

    total = ‖y‖², fit = ⟨A, xᵀy⟩, size = ‖xA‖², sums over the fold's rows.
    """

    total: float
    fit: float
    size: float

    def error(self, shrink: float) -> float:
        return self.total - 2 * shrink * self.fit + shrink**2 * self.size


@dataclass(frozen=True)
class Tried:
    """One fold under the map of each penalty, fitted on the rest. `varies`: whether there is a y to explain there."""

    scored: tuple[Scored, ...]
    varies: bool = True


@dataclass(frozen=True)
class Rest:
    """The rows outside one fold, or all of them: what `Moments` holds, but of yy only the diagonal, `squares`.

    `spent`: xx and xy are not needed any more once there is what is made of them, which may take their memory.
    """

    n: int
    mean_x: Tensor
    mean_y: Tensor
    xx: Tensor
    xy: Tensor
    squares: Tensor
    noise: float = 0.0
    spent: bool = False

    @classmethod
    def of(cls, moments: Moments, fold: Moments) -> Rest:
        """By subtraction: without `fold`, whose rows must be among those of `moments`. The formula is that of `Moments`
        (see `geometry.moments`)."""
        n, shift, weight = combination(moments.n, fold.n, -1)
        dx, dy = fold.mean_x - moments.mean_x, fold.mean_y - moments.mean_y
        return cls(
            n,
            moments.mean_x + shift * dx,
            moments.mean_y + shift * dy,
            (moments.xx - fold.xx).addr_(dx, dx, alpha=weight),
            (moments.xy - fold.xy).addr_(dx, dy, alpha=weight),
            moments.squares - fold.squares + weight * dy.square(),
            moments.noise - fold.noise,
        )

    @classmethod
    def whole(cls, moments: Moments, *, spent: bool = False) -> Rest:
        """Without nothing."""
        means, squares = (moments.mean_x, moments.mean_y), moments.squares
        return cls(moments.n, *means, moments.xx, moments.xy, squares, moments.noise, spent)

    @classmethod
    def each(cls, moments: Moments, folds: Sequence[Moments]) -> Iterator[Rest]:
        """Without each of the `folds`, which add up to `moments`. Where one holds nearly all of a column's scatter,
        that of a massive row say, the others are added up instead."""
        lost = [k for k, fold in enumerate(folds) if cls._loses(moments, fold)]
        others = without_each([replace(fold, yy=fold.squares) for fold in folds], lost)
        for k, fold in enumerate(folds):
            yield cls.whole(next(others)) if k in lost else cls.of(moments, fold)

    @staticmethod
    def _loses(moments: Moments, fold: Moments) -> bool:
        """Whether too few digits are left when `fold` is subtracted: told from the diagonals."""
        weight = combination(moments.n, fold.n, -1)[2]
        dx, dy = fold.mean_x - moments.mean_x, fold.mean_y - moments.mean_y
        xx, own = moments.xx.diagonal(), fold.xx.diagonal()
        return cancels(xx, xx - own + weight * dx.square()) or cancels(
            moments.squares, moments.squares - fold.squares + weight * dy.square()
        )

    @functools.cached_property
    def fitted(self) -> Factor:
        """xx, factored."""
        return factor(self.n, self.mean_x, self.xx, overwrite=self.spent)

    @functools.cached_property
    def white(self) -> Tensor:
        """`fitted.whiten` of xy: its squares add up to what the least-squares map explains."""
        return self.fitted.whiten(self.xy, overwrite=self.spent)

    def varies(self) -> bool:
        """Whether there is an x to fit on."""
        return bool(varying(self.n, self.mean_x, self.xx.diagonal()).any())

    def has_target(self) -> bool:
        """Whether there is a y to explain: it varies, and as an update of x by more than rounding."""
        return float(self.squares.sum()) > self.noise and bool(varying(self.n, self.mean_y, self.squares).any())


UnderAll = Callable[[int, float], Scored]
"""A fold, by number, under the map of all rows with a penalty."""


@dataclass(frozen=True)
class HeldOut:
    """How the held-out score is made of folds of these `sizes`: the `penalties` to try, or the `reason` why it is
    undefined."""

    sizes: tuple[int, ...]
    penalties: tuple[float, ...] = ()
    reason: str | None = None

    @classmethod
    def of(cls, n: int, d: int, sizes: Sequence[int]) -> HeldOut:
        """For `n` rows of width `d` in folds that hold rows."""
        if len(sizes) < 2:
            return cls(tuple(sizes), reason="held-out needs rows of at least 2 examples, in folds")
        fewest = n - max(sizes)
        if fewest < 3:
            return cls(tuple(sizes), reason="held-out needs at least 3 rows outside every fold")
        tried = ((0.0,) if fewest > d + 1 else ()) + (() if fewest >= PLENTY * d else PENALTIES)
        return cls(tuple(sizes), tried)

    def score(self, rest: Rest, fold: Moments, d: int) -> Tried | None:
        """The fold under the map of each penalty, fitted on the rest; None where all rows of x are equal there."""
        if not rest.varies():
            return None
        scored = tuple(_scored(rest, _map(rest, penalty, d), fold) for penalty in self.penalties)
        return Tried(scored, rest.has_target())

    def pooled(self, n: int, d: int, table: Sequence[Tried | None], under_all: UnderAll, left_out: int = 0) -> Estimate:
        """The estimate from what `score` gave for each fold; `left_out` rows were not finite.

        What a fold adds to the sum of errors is more than its own e_k: it has also drawn the maps of the other folds
        away from what is best for them. To second order that has cost them (e_k − f_k)/2, f_k being the fold's error
        under the map of all rows, but never more than Σ_{j≠k} (e_j − f_j): where one fold holds a massive row, second
        order goes far beyond all the error there is. Left out of account, intervals from few examples are too short.
        """
        blank = Estimate(None, n=n, d=d, reason=self.reason)
        if self.reason:
            return blank
        known = [tried for tried in table if tried is not None]
        rows = [tried.scored for tried in known]
        if len(rows) < len(table):
            return replace(blank, reason="outside one fold all rows of x are equal")
        errors, totals, chosen, excess = [], [], [], []
        for k, row in enumerate(rows):
            column, shrink = _choose(rows[:k] + rows[k + 1 :])
            errors.append(row[column].error(shrink))
            totals.append(row[column].total)
            chosen.append((self.penalties[column], shrink))
            excess.append(errors[-1] - under_all(k, self.penalties[column]).error(shrink))
        if sum(totals) <= 0:
            return replace(blank, reason="all rows of y are equal")
        value = 1 - sum(errors) / sum(totals)
        cost = [min(own / 2, max(rest, 0.0)) for own, rest in zip(excess, elsewhere(excess), strict=True)]
        left = zip(elsewhere(errors), cost, elsewhere(totals), strict=True)
        low: float | None = None
        high: float | None = None
        moved: tuple[float, ...] = ()
        without: list[float] = []
        if all(tried.varies for tried in known):
            without = [1 - (error - more) / total for error, more, total in left]
            low, high = jackknife_interval(
                value, without, self.sizes, forward=log_unexplained, back=from_log_unexplained
            )
            moved = influences(value, without, self.sizes)
        facts = [f"{len(self.sizes)} folds of examples"]
        if any(p for p, _ in chosen):
            facts.append(f"ridge penalty {_range([f'{p:g}' for p, _ in sorted(chosen)])}")
        if min(s for _, s in chosen) < 0.99:
            facts.append(f"shrunk by {_range([f'{s:.2g}' for s in sorted(s for _, s in chosen)])}")
        notes = [f"{left_out} rows left out: not finite at another layer"] if left_out else []
        if not without:
            notes.append("no interval: without one fold of examples all rows of y are equal")
        elif low is None and len(without) >= MIN_GROUPS:
            why = "it would pass every number" if max(value, *without) < 1 else "nothing is left unexplained"
            notes.append(f"no interval: {why}")
        found = replace(blank, value=value, low=low, high=high, notes=tuple(notes), facts=tuple(facts))
        return replace(found, influence=moved, shares=shares(self.sizes)) if moved else found


def elsewhere(values: Sequence[float]) -> list[float]:
    """For each fold the sum over the others. Not a difference: one fold may hold nearly all there is."""
    return [sum(values[:k]) + sum(values[k + 1 :]) for k in range(len(values))]


def heldout_of(moments: Moments, folds: Sequence[Moments] | None) -> Estimate:
    """1 − Σ_k‖error on fold k‖²/Σ_k‖fold k about the training mean‖²: 0 is no better than the mean.

    `folds` are moments of disjoint groups of examples that add up to `moments`. The interval is a
    delete-a-fold jackknife of that ratio.
    """
    d = len(moments.mean_x)
    used = [f for f in folds or () if f.n]
    plan = HeldOut.of(moments.n, d, [f.n for f in used])
    table: list[Tried | None] = []
    if not plan.reason:
        table = [plan.score(rest, fold, d) for rest, fold in zip(Rest.each(moments, used), used, strict=True)]
    return plan.pooled(moments.n, d, table, under_all(Rest.whole(moments), used, d), moments.left_out)


def under_all(whole: Rest, folds: Sequence[Moments], d: int) -> UnderAll:
    """Each fold under the maps of all rows."""

    @functools.cache
    def fitted(penalty: float) -> Tensor:
        return _map(whole, penalty, d)

    return lambda k, penalty: _scored(whole, fitted(penalty), folds[k])


def _map(rest: Rest, penalty: float, d: int) -> Tensor:
    """The ridge regression of y on x of width `d`, (d, e)."""
    if not penalty:
        return rest.fitted.unwhiten(rest.white)
    unit = float(rest.xx.trace()) / d
    return factor(rest.n, rest.mean_x, rest.xx, ridge=penalty * unit).solve(rest.xy)


def _scored(rest: Rest, a: Tensor, fold: Moments) -> Scored:
    """A fold under the map of the rest."""
    dx, dy = fold.mean_x - rest.mean_x, fold.mean_y - rest.mean_y
    total = float(fold.squares.sum() + fold.n * dy.square().sum())
    # The fold's sums are about its own means: what the shift of the means adds is a product of rank one.
    moved = dx @ a
    fit = (a * fold.xy).sum() + fold.n * (moved @ dy)
    size = (a * (fold.xx @ a)).sum() + fold.n * moved.square().sum()
    return Scored(total, float(fit), float(size))


def _choose(rows: Sequence[Sequence[Scored]]) -> tuple[int, float]:
    """The column (penalty) and the shrinkage in [0, 1] with the least error over these folds."""
    best = (float("inf"), 0, 0.0)
    for column in range(len(rows[0])):
        fit = sum(row[column].fit for row in rows)
        size = sum(row[column].size for row in rows)
        shrink = min(max(fit / size, 0.0), 1.0) if size > 0 else 0.0
        best = min(best, (sum(row[column].error(shrink) for row in rows), column, shrink))
    return best[1], best[2]


def _range(ascending: Sequence[str]) -> str:
    """Numbers as text from the least to the greatest; one of them where all look alike."""
    least, most = ascending[0], ascending[-1]
    return least if least == most else f"{least} to {most}"
