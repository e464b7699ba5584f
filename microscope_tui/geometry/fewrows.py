"""The held-out linearity of fewer rows than dimensions: every ridge regression and every fold from one n × n matrix.

With X̃X̃ᵀ = V Λ Vᵀ, the errors of the ridge regression with penalty μ on all rows are E = V μ/(Λ + μ) Vᵀ Ỹ, and those
without fold g need no second fit: E₍₋g₎ = (I − H_gg)⁻¹ E_g, I − H_gg = V_g μ/(Λ + μ) V_gᵀ − 1/n (the leave-group-out
identity, see `residuals`; a ridge is least squares with rows added, so it holds for one too). The numbers are those of
`heldout`, from one eigendecomposition instead of a factorisation for each fold and penalty.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from microscope_tui.geometry.heldout import HeldOut, Scored
from microscope_tui.geometry.kernel import centred_rows
from microscope_tui.results import Estimate

EQUAL = 1e-13
"""Rows outside a fold with less than this share of all variance are equal up to rounding."""


def heldout_of_few(x: Tensor, y: Tensor, members: Sequence[Tensor]) -> Estimate | None:
    """The held-out score of finite rows x (n, d), y (n, e), n < d, over folds of the rows `members`; see `heldout`.

    None where all rows of x or of y are equal.
    """
    n, d = x.shape
    rows, _ = centred_rows(x)
    values, basis = torch.linalg.eigh(rows @ rows.T)
    del rows
    values = torch.where(values > n * torch.finfo(torch.float64).eps * values[-1], values, 0.0)
    target, _ = centred_rows(y)
    if float(values[-1]) <= 0 or float(target.square().sum()) <= 0:
        return None
    turned = basis.T @ target

    def scored(where: Tensor, penalty: float, *, held_out: bool) -> Scored:
        own, about = basis[where], target[where]
        kept = own * (penalty / (values + penalty))
        error = kept @ turned
        if held_out:
            error = torch.linalg.solve(kept @ own.T - 1 / n, error)
            about = about + about.sum(0) / (n - len(where))
        predicted = about - error
        return Scored(float(about.square().sum()), float((predicted * about).sum()), float(predicted.square().sum()))

    plan = HeldOut.of(n, d, [len(where) for where in members])
    total = float(values.sum())
    table: list[list[Scored] | None] = []
    for where in members if not plan.reason else ():
        # The scatter of the rest about its own mean: S − S_g − n_g²‖δ‖²/(n − n_g), all about the mean of all rows.
        gram = (basis[where] * values) @ basis[where].T
        rest = total - float(gram.trace()) - float(gram.sum()) / (n - len(where))
        units = [penalty * rest / d for penalty in plan.penalties]
        enough = rest > EQUAL * total
        table.append([scored(where, penalty, held_out=True) for penalty in units] if enough else None)
    return plan.pooled(n, d, table, lambda k, penalty: scored(members[k], penalty * total / d, held_out=False))
