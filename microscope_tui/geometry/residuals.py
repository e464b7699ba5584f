"""What the pooled linear map leaves unexplained, token by token and example by example.

A map fitted on one example alone has nothing to say when the example has fewer tokens than dimensions. Here
one map is fitted on all examples; leaving an example out of it needs no second fit:

    E₍₋g₎ = (I − H_gg)⁻¹ E_g,   H_gg = 1/n + x̃_g C_xx⁺ x̃_gᵀ

(the leave-group-out identity of least squares; Cook & Weisberg 1982). Exact, not an approximation.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from microscope_tui.errors import MicroscopeError
from microscope_tui.geometry.linearity import undefined
from microscope_tui.geometry.moments import Moments
from microscope_tui.geometry.rows import ArrayLike, as_pair, group_codes, group_ids, in_reach
from microscope_tui.geometry.solve import factor

SINGULAR = 1e-10
"""A pivot of I − H below this: the example holds a direction that no other example has."""


@dataclass(frozen=True)
class Residuals:
    """Squared errors of the pooled map, in units of y².

    `token` (n,): squared error of each row, `token_total` (n,): its squared distance from the mean of y.
    `group` (G,): the sorted group ids, of names their places in sorted order; `error`, `total` (G,): the same two
    sums over each example.
    `held_out_error`, `held_out_total` (G,): with the map and the mean fitted on all other examples; infinite
    for an example without which the fit would lose a direction.
    """

    token: Tensor
    token_total: Tensor
    group: Tensor
    error: Tensor
    total: Tensor
    held_out_error: Tensor
    held_out_total: Tensor

    @property
    def score(self) -> Tensor:
        """R² of each example under the pooled map, (G,)."""
        return 1 - self.error / self.total

    @property
    def held_out_score(self) -> Tensor:
        """R² of each example under the map of all the others, (G,)."""
        return 1 - self.held_out_error / self.held_out_total

    @property
    def pooled_held_out_score(self) -> float:
        """1 − Σ errors/Σ totals with every example left out once."""
        return float(1 - self.held_out_error.sum() / self.held_out_total.sum())


def residuals(x: ArrayLike, y: ArrayLike, groups: ArrayLike) -> Residuals:
    """Residuals of paired rows x (n, d), y (n, e) under the pooled least-squares map; `groups` (n,): examples.

    Needs n > d + 1 and finite rows: with fewer the pooled map leaves nothing and leaving out is impossible.
    """
    (rows_x, rows_y), scale = in_reach(*as_pair(x, y))
    if scale != 1:
        raise MicroscopeError("Squared errors of rows so large or small are beyond float64: give them in another unit.")
    n, d = rows_x.shape
    codes = group_codes(groups, n)
    assert codes is not None
    moments = Moments.of(rows_x, rows_y, squares_only=True)
    reason = undefined(moments)
    if reason is None and n <= d + 1:
        reason = f"n = {n} ≤ d + 1 = {d + 1}, so it fits them whatever they are"
    if reason is not None:
        raise MicroscopeError(f"These rows have no residuals under a pooled map: {reason}.")
    solved = factor(n, moments.mean_x, moments.xx)
    a = solved.solve(moments.xy)
    names = torch.unique(group_ids(groups, n).cpu())
    if len(names) < 2:
        raise MicroscopeError("Leaving an example out needs rows of at least 2 examples.")
    token, token_total = (torch.empty(n, dtype=torch.float64, device=rows_x.device) for _ in range(2))
    sums = torch.empty(4, len(names), dtype=torch.float64)
    for g in range(len(names)):
        where = (codes == g).nonzero()[:, 0].to(rows_x.device)
        cx = rows_x[where].double() - moments.mean_x
        cy = rows_y[where].double() - moments.mean_y
        error = cy - cx @ a
        token[where], token_total[where] = error.square().sum(1), cy.square().sum(1)
        white = solved.whiten(cx.T)
        left = _left_out(white.T @ white + 1 / n, error)
        # Without the example the mean of y moves too: y_g − ȳ₍₋g₎ = ỹ_g + Σỹ_g/(n − n_g).
        moved = cy + cy.sum(0) / (n - len(where))
        sums[:, g] = torch.stack([error.square().sum(), cy.square().sum(), left, moved.square().sum()])
    return Residuals(token, token_total, names, *sums)


def _left_out(leverage: Tensor, error: Tensor) -> Tensor:
    """‖(I − H)⁻¹E‖², infinite where I − H is singular."""
    rest = torch.eye(len(leverage), dtype=leverage.dtype, device=leverage.device) - leverage
    lower, failed = torch.linalg.cholesky_ex(rest)
    if failed or float(lower.diagonal().min()) ** 2 < SINGULAR:
        return torch.tensor(float("inf"), dtype=torch.float64, device=leverage.device)
    turned: Tensor = torch.cholesky_solve(error, lower)
    return turned.square().sum()
