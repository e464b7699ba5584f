"""The held-out linearity of fewer rows than dimensions: every ridge regression and every fold from one n × n matrix.

With X̃X̃ᵀ = V Λ Vᵀ, the errors of the ridge regression with penalty μ on all rows are E = V μ/(Λ + μ) Vᵀ Ỹ, and those
without fold g need no second fit: E₍₋g₎ = (I − H_gg)⁻¹ E_g, I − H_gg = V_g μ/(Λ + μ) V_gᵀ (the leave-group-out
identity, see `residuals`; a ridge is least squares with rows added, so it holds for one too). V (n, n − 1) is of
what is orthogonal to the constant vector. The numbers are those of `heldout`, from one decomposition instead of a
factorisation for each fold and penalty.

A massive row fits itself: its μ/(Λ + μ) may be 1e-9 and less, and that is what its error is divided by. So nothing
is subtracted here that could cancel, and V is of the rows themselves, not of their squares.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from microscope_tui.geometry.heldout import HeldOut, Scored, Tried
from microscope_tui.geometry.kernel import centred_rows
from microscope_tui.geometry.solve import varying
from microscope_tui.results import Estimate


def heldout_of_few(x: Tensor, y: Tensor, members: Sequence[Tensor]) -> Estimate:
    """The held-out score of finite rows x (n, d), y (n, e), n < d, over folds of the rows `members`; see `heldout`.

    Neither all rows of x nor all of y may be equal.
    """
    n, d = x.shape
    rows, mean = centred_rows(x)
    values, basis = _spectrum(rows)
    target, mean_y = centred_rows(y)
    turned = basis.T @ target

    def scored(where: Tensor, penalty: float, *, held_out: bool) -> Scored:
        own, about = basis[where], target[where]
        kept = own * (penalty / (values + penalty))
        error = kept @ turned
        if held_out:
            error = torch.linalg.solve(kept @ own.T, error)
            about = about + about.sum(0) / (n - len(where))
        predicted = about - error
        return Scored(float(about.square().sum()), float((predicted * about).sum()), float(predicted.square().sum()))

    plan = HeldOut.of(n, d, [len(where) for where in members])
    total = float(values.sum())
    table: list[Tried | None] = []
    for where in members if not plan.reason else ():
        total_x, enough = _outside(rows, mean, where)
        units = [penalty * total_x / d for penalty in plan.penalties]
        tried = tuple(scored(where, penalty, held_out=True) for penalty in units) if enough else ()
        table.append(Tried(tried, _outside(target, mean_y, where)[1]) if enough else None)
    return plan.pooled(n, d, table, lambda k, penalty: scored(members[k], penalty * total / d, held_out=False))


def _spectrum(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Λ (n − 1,) and V (n, n − 1) of centred rows (n, d), n < d: the eigenvectors that are orthogonal to the constant.

    A reflection takes the constant vector to the first axis, so that what is left of the rows are n − 1 of them.
    """
    n = len(rows)
    u = rows.new_full((n,), n**-0.5)
    u[0] += 1
    u /= u.norm()
    left = (rows - 2 * torch.outer(u, u @ rows))[1:]
    turned, lengths, _ = torch.linalg.svd(torch.linalg.qr(left.T, mode="r").R.T)
    basis = torch.cat([rows.new_zeros(1, n - 1), turned])
    return lengths.square(), basis - 2 * torch.outer(u, u @ basis)


def _outside(centred: Tensor, mean: Tensor, where: Tensor) -> tuple[float, bool]:
    """Of rows less their `mean` those that are not at `where`: the trace of their scatter, and whether they vary."""
    others = torch.ones(len(centred), dtype=torch.bool, device=where.device).index_fill_(0, where, False)
    outside = centred[others]
    about = outside.mean(0)
    squares = outside.sub_(about).square_().sum(0)
    return float(squares.sum()), bool(varying(len(outside), mean + about, squares).any())
