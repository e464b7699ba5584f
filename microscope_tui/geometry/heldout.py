"""The held-out linearity: a map fitted on some examples, scored on the others, pooled over folds.

Plain least squares is a poor predictor when n is not much larger than d: independent x and y would score
about −d/(n − d) instead of 0. So the map is a ridge regression, shrunk towards the mean by a factor s, and
the penalty and s used for a fold are those with the least error on the *other* folds.
With many rows a dimension the penalty is 0 and s ≈ 1: least squares.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from microscope_tui.geometry.intervals import from_log_unexplained, jackknife_interval, log_unexplained
from microscope_tui.geometry.moments import Moments
from microscope_tui.geometry.solve import factor, varying
from microscope_tui.terms import Estimate

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


def heldout_of(moments: Moments, folds: Sequence[Moments] | None, *, width: int | None = None) -> Estimate:
    """1 − Σ_k‖error on fold k‖²/Σ_k‖fold k about the training mean‖²: 0 is no better than the mean.

    `folds` are moments of disjoint groups of examples that add up to `moments`. The interval is a
    delete-a-fold jackknife of that ratio. `width`: the number of columns that the rows had before they were
    turned into fewer coordinates (see `kernel.compact`).
    """
    n, d = moments.n, width or len(moments.mean_x)
    used = [f for f in folds or () if f.n]
    if len(used) < 2:
        return Estimate(None, n=n, d=d, reason="held-out needs rows of at least 2 examples, in folds")
    if any(n - f.n < 3 for f in used):
        return Estimate(None, n=n, d=d, reason="held-out needs at least 3 rows outside every fold")
    fewest = min(n - f.n for f in used)
    penalties = ([0.0] if fewest > d + 1 else []) + ([] if fewest >= PLENTY * d else list(PENALTIES))
    table: list[list[Scored]] = []
    for fold in used:
        rest = moments - fold
        if not bool(varying(rest.n, rest.mean_x, rest.xx.diagonal()).any()):
            return Estimate(None, n=n, d=d, reason="outside one fold all rows of x are equal")
        table.append(_score_fold(rest, fold.about(rest.mean_x, rest.mean_y), penalties, d))
    errors, totals, chosen = [], [], []
    for k, row in enumerate(table):
        others = table[:k] + table[k + 1 :]
        column, shrink = _choose(others)
        errors.append(row[column].error(shrink))
        totals.append(row[column].total)
        chosen.append((penalties[column], shrink))
    if sum(totals) <= 0:
        return Estimate(None, n=n, d=d, reason="all rows of y are equal")
    value = 1 - sum(errors) / sum(totals)
    without = [1 - (sum(errors) - e) / (sum(totals) - t) for e, t in zip(errors, totals, strict=True)]
    low, high = jackknife_interval(
        value, without, [f.n for f in used], forward=log_unexplained, back=from_log_unexplained
    )
    facts = [f"{len(used)} folds of examples"]
    if any(p for p, _ in chosen):
        facts.append(f"ridge penalty {min(p for p, _ in chosen):g} to {max(p for p, _ in chosen):g}")
    if min(s for _, s in chosen) < 0.99:
        facts.append(f"shrunk by {min(s for _, s in chosen):.2g} to {max(s for _, s in chosen):.2g}")
    left_out = (f"{moments.left_out} rows left out: not finite at another layer",) if moments.left_out else ()
    return Estimate(value, low, high, n, d, notes=left_out, facts=tuple(facts))


def _score_fold(rest: Moments, fold: Moments, penalties: Sequence[float], d: int) -> list[Scored]:
    """The fold under the map of each penalty, fitted on the rest."""
    total, unit = float(fold.yy.trace()), float(rest.xx.trace()) / d
    scored = []
    for penalty in penalties:
        a = factor(rest.n, rest.mean_x, rest.xx, ridge=penalty * unit).solve(rest.xy)
        scored.append(Scored(total, float((a * fold.xy).sum()), float((a * (fold.xx @ a)).sum())))
    return scored


def _choose(rows: Sequence[Sequence[Scored]]) -> tuple[int, float]:
    """The column (penalty) and the shrinkage in [0, 1] with the least error over these folds."""
    best = (float("inf"), 0, 0.0)
    for column in range(len(rows[0])):
        fit = sum(row[column].fit for row in rows)
        size = sum(row[column].size for row in rows)
        shrink = min(max(fit / size, 0.0), 1.0) if size > 0 else 0.0
        best = min(best, (sum(row[column].error(shrink) for row in rows), column, shrink))
    return best[1], best[2]
