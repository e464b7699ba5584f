"""The held-out linearity: a map fitted on some examples, scored on the others, pooled over folds.

Plain least squares is a poor predictor when n is not much larger than d: independent x and y would score
about −d/(n − d) instead of 0. So the map is a ridge regression, shrunk towards the mean by a factor s, and
the penalty and s used for a fold are those with the least error on the *other* folds.
With many rows a dimension the penalty is 0 and s ≈ 1: least squares.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from microscope_tui.geometry.intervals import from_log_unexplained, jackknife_interval, log_unexplained
from microscope_tui.geometry.moments import Moments
from microscope_tui.geometry.products import combination
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
class Rest:
    """The rows outside one fold: what `Moments` holds of them, but of y with itself only the diagonal, `squares`."""

    n: int
    mean_x: Tensor
    mean_y: Tensor
    xx: Tensor
    xy: Tensor
    squares: Tensor

    @classmethod
    def of(cls, moments: Moments, fold: Moments) -> Rest:
        """Without `fold`, whose rows must be among those of `moments`. For the formula see `moments`."""
        n, shift, weight = combination(moments.n, fold.n, -1)
        dx, dy = fold.mean_x - moments.mean_x, fold.mean_y - moments.mean_y
        return cls(
            n,
            moments.mean_x + shift * dx,
            moments.mean_y + shift * dy,
            (moments.xx - fold.xx).addr_(dx, dx, alpha=weight),
            (moments.xy - fold.xy).addr_(dx, dy, alpha=weight),
            moments.squares - fold.squares + weight * dy.square(),
        )

    @functools.cached_property
    def fitted(self) -> Factor:
        """xx, factored."""
        return factor(self.n, self.mean_x, self.xx)

    @functools.cached_property
    def white(self) -> Tensor:
        """`fitted.whiten` of xy: its squares add up to what the least-squares map explains."""
        return self.fitted.whiten(self.xy)

    def varies(self) -> bool:
        """Whether there is an x to fit on."""
        return bool(varying(self.n, self.mean_x, self.xx.diagonal()).any())


@dataclass(frozen=True)
class HeldOut:
    """How the held-out score is made of these folds: the `penalties` to try, or the `reason` why it is undefined."""

    penalties: tuple[float, ...]
    reason: str | None = None

    @classmethod
    def of(cls, n: int, d: int, folds: Sequence[Moments]) -> HeldOut:
        """For `n` rows of width `d` in folds that hold rows."""
        if len(folds) < 2:
            return cls((), "held-out needs rows of at least 2 examples, in folds")
        fewest = min(n - f.n for f in folds)
        if fewest < 3:
            return cls((), "held-out needs at least 3 rows outside every fold")
        return cls(((0.0,) if fewest > d + 1 else ()) + (() if fewest >= PLENTY * d else PENALTIES))

    def score(self, rest: Rest, fold: Moments, d: int) -> list[Scored] | None:
        """The fold under the map of each penalty, fitted on the rest; None where all rows of x are equal there."""
        if not rest.varies():
            return None
        dx, dy = fold.mean_x - rest.mean_x, fold.mean_y - rest.mean_y
        total = float(fold.squares.sum() + fold.n * dy.square().sum())
        unit = float(rest.xx.trace()) / d
        scored = []
        for penalty in self.penalties:
            a = (
                factor(rest.n, rest.mean_x, rest.xx, ridge=penalty * unit).solve(rest.xy)
                if penalty
                else rest.fitted.unwhiten(rest.white)
            )
            # The fold's sums are about its own means: what the shift of the means adds is a product of rank one.
            moved = dx @ a
            fit = (a * fold.xy).sum() + fold.n * (moved @ dy)
            size = (a * (fold.xx @ a)).sum() + fold.n * moved.square().sum()
            scored.append(Scored(total, float(fit), float(size)))
        return scored

    def pooled(
        self, moments: Moments, folds: Sequence[Moments], table: Sequence[list[Scored] | None], d: int
    ) -> Estimate:
        """The estimate from what `score` gave for each fold."""
        blank = Estimate(None, n=moments.n, d=d, reason=self.reason)
        if self.reason:
            return blank
        rows = [row for row in table if row is not None]
        if len(rows) < len(table):
            return replace(blank, reason="outside one fold all rows of x are equal")
        errors, totals, chosen = [], [], []
        for k, row in enumerate(rows):
            column, shrink = _choose(rows[:k] + rows[k + 1 :])
            errors.append(row[column].error(shrink))
            totals.append(row[column].total)
            chosen.append((self.penalties[column], shrink))
        if sum(totals) <= 0:
            return replace(blank, reason="all rows of y are equal")
        value = 1 - sum(errors) / sum(totals)
        without = [1 - (sum(errors) - e) / (sum(totals) - t) for e, t in zip(errors, totals, strict=True)]
        low, high = jackknife_interval(
            value, without, [f.n for f in folds], forward=log_unexplained, back=from_log_unexplained
        )
        facts = [f"{len(folds)} folds of examples"]
        if any(p for p, _ in chosen):
            facts.append(f"ridge penalty {min(p for p, _ in chosen):g} to {max(p for p, _ in chosen):g}")
        if min(s for _, s in chosen) < 0.99:
            facts.append(f"shrunk by {min(s for _, s in chosen):.2g} to {max(s for _, s in chosen):.2g}")
        notes = (f"{moments.left_out} rows left out: not finite at another layer",) if moments.left_out else ()
        return replace(blank, value=value, low=low, high=high, notes=notes, facts=tuple(facts))


def heldout_of(moments: Moments, folds: Sequence[Moments] | None, *, width: int | None = None) -> Estimate:
    """1 − Σ_k‖error on fold k‖²/Σ_k‖fold k about the training mean‖²: 0 is no better than the mean.

    `folds` are moments of disjoint groups of examples that add up to `moments`. The interval is a
    delete-a-fold jackknife of that ratio. `width`: the number of columns that the rows had before they were
    turned into fewer coordinates (see `kernel.compact`).
    """
    d = width or len(moments.mean_x)
    used = [f for f in folds or () if f.n]
    plan = HeldOut.of(moments.n, d, used)
    table = [] if plan.reason else [plan.score(Rest.of(moments, fold), fold, d) for fold in used]
    return plan.pooled(moments, used, table, d)


def _choose(rows: Sequence[Sequence[Scored]]) -> tuple[int, float]:
    """The column (penalty) and the shrinkage in [0, 1] with the least error over these folds."""
    best = (float("inf"), 0, 0.0)
    for column in range(len(rows[0])):
        fit = sum(row[column].fit for row in rows)
        size = sum(row[column].size for row in rows)
        shrink = min(max(fit / size, 0.0), 1.0) if size > 0 else 0.0
        best = min(best, (sum(row[column].error(shrink) for row in rows), column, shrink))
    return best[1], best[2]
