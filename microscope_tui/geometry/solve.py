"""Least squares from scatter matrices, without ever trusting a nearly singular one.

The scatter G of the inputs is equilibrated (divided by its diagonal, so that columns of very different size
do not count as ill-conditioned), factored by Cholesky, and, where the smallest pivot is lost in rounding,
by an eigendecomposition with a rank cut instead.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from microscope_tui.geometry.spectrum import SMALL, largest_eigenvalue

TOLERANCE = 1e-12
"""Directions with less than d·1e-12 of the largest variance (after equilibration) count as absent.

Scatter entries carry relative rounding near 1e-16·d, and rows that were float32 noise near 1e-14: what lies
below this cut is rounding, not data.
"""

CONSTANT = 1e-12
"""A column whose standard deviation is below this share of its mean is constant up to rounding."""


NO_CHANGE = 1e-12
"""An update with less than this share of the stream's variance is rounding."""


BLOCK = 96
"""Columns that are factored at once on a CPU."""


@dataclass(frozen=True)
class Factor(ABC):
    """A factored scatter matrix: G⁺ on the `rank` of `d` directions that hold data.

    `active`: the columns that vary; `scale`: the square roots of their diagonal in G.
    """

    d: int
    rank: int
    active: Tensor
    scale: Tensor

    def whiten(self, c: Tensor, *, overwrite: bool = False) -> Tensor:
        """W (rank, e) with WᵀW = cᵀ G⁺ c, for c (d, e), whose memory may be used for it with `overwrite`."""
        whole = len(self.active) == self.d
        held = c if whole else c[self.active]
        return self._forward(torch.div(held, self.scale[:, None], out=held if overwrite or not whole else None))

    def solve(self, c: Tensor) -> Tensor:
        """The map A = G⁺ c (d, e), zero on constant columns."""
        return self.unwhiten(self.whiten(c))

    def own(self, rows: slice) -> Tensor:
        """Some rows of `whiten` of G itself, W (rank, d) with WᵀW = G, without solving for it."""
        root = self._root(rows)
        out = torch.zeros(len(root), self.d, dtype=root.dtype, device=root.device)
        out[:, self.active] = root * self.scale
        return out

    def unwhiten(self, white: Tensor) -> Tensor:
        """The map A = G⁺ c (d, e) from W = `whiten`(c), zero on constant columns."""
        out = torch.zeros(self.d, white.shape[1], dtype=white.dtype, device=white.device)
        out[self.active] = self._back(white) / self.scale[:, None]
        return out

    @property
    @abstractmethod
    def condition(self) -> float:
        """Condition number of the equilibrated rows on the directions kept: the square root of G's."""

    @abstractmethod
    def _root(self, rows: slice) -> Tensor: ...

    @abstractmethod
    def _forward(self, scaled: Tensor) -> Tensor:
        """May overwrite `scaled`."""

    @abstractmethod
    def _back(self, white: Tensor) -> Tensor: ...


@dataclass(frozen=True)
class CholeskyFactor(Factor):
    """Full rank: `lower` (r, r), the Cholesky factor of the equilibrated G."""

    lower: Tensor

    @property
    def condition(self) -> float:
        if self.rank <= SMALL:
            spread = torch.linalg.svdvals(self.lower)
            return float(spread[0] / spread[-1])

        def forward(v: Tensor) -> Tensor:
            return self.lower @ (self.lower.T @ v)

        def inverse(v: Tensor) -> Tensor:
            return self._back(self._forward(v[:, None].clone()))[:, 0]

        product = 1.0
        for apply in (forward, inverse):
            end = largest_eigenvalue(apply, self.rank, device=self.lower.device, tolerance=1e-3, steps=self.rank)
            product *= math.nan if end is None else end
        return math.sqrt(product)

    def _root(self, rows: slice) -> Tensor:
        return self.lower.T[rows]

    def _forward(self, scaled: Tensor) -> Tensor:
        out: Tensor = torch.linalg.solve_triangular(self.lower, scaled, upper=False, out=scaled)
        return out

    def _back(self, white: Tensor) -> Tensor:
        out: Tensor = torch.linalg.solve_triangular(self.lower.T, white, upper=True)
        return out


@dataclass(frozen=True)
class EigenFactor(Factor):
    """Rank-deficient: the `eigenvalues` (rank,) kept of the equilibrated G, ascending, and their `vectors`."""

    eigenvalues: Tensor
    vectors: Tensor

    @property
    def condition(self) -> float:
        return float((self.eigenvalues[-1] / self.eigenvalues[0]).sqrt()) if self.rank else 1.0

    def _root(self, rows: slice) -> Tensor:
        return self.eigenvalues.sqrt()[rows, None] * self.vectors.T[rows]

    def _forward(self, scaled: Tensor) -> Tensor:
        return (self.vectors.T @ scaled) / self.eigenvalues.sqrt()[:, None]

    def _back(self, white: Tensor) -> Tensor:
        return self.vectors @ (white / self.eigenvalues.sqrt()[:, None])


def overflow(*sums: Tensor) -> str | None:
    """Why sums of squares, of any shape, are no numbers to go on with, None if they are."""
    fine = all(math.isfinite(4 * float(each.sum())) for each in sums)
    return None if fine else "the squares of the rows overflow: scale them down, or make the products in float64"


def varying(n: int | Tensor, mean: Tensor, squares: Tensor) -> Tensor:
    """Which columns vary at all, bool (d,): the others are constant up to rounding.

    `squares` (d,): the sum of squares of each centred column, the diagonal of the scatter. Or of several matrices.
    """
    moves: Tensor = squares > n * (CONSTANT * mean).square()
    return moves


def factor(n: int, mean: Tensor, scatter: Tensor, *, ridge: float = 0.0, overwrite: bool = False) -> Factor:
    """Factors the centred scatter (d, d) of `n` rows with that `mean`.

    `ridge` is added to the diagonal first. With `overwrite` the memory of the scatter may be used for it.
    """
    d = len(mean)
    active = varying(n, mean, scatter.diagonal()).nonzero()[:, 0]
    width = len(active)
    g = scatter[active][:, active] if width < d else scatter
    scale = (g.diagonal() + ridge).sqrt()
    g = torch.div(g, scale[:, None], out=g if overwrite or width < d else None).div_(scale)
    g.diagonal().fill_(1)
    if width == 0:
        return EigenFactor(d, 0, active, scale, scale, g)
    if ridge or n > width:
        # In place, for these matrices are most of what linearity needs memory for.
        if _cholesky(g) and float(g.diagonal().min()) ** 2 > TOLERANCE * d:
            return CholeskyFactor(d, width, active, scale, g.tril_())
        upper = g.triu(1)
        torch.add(upper, upper.T, out=g).diagonal().fill_(1)
    values, vectors = torch.linalg.eigh(g)
    keep = values > TOLERANCE * d * values[-1]
    return EigenFactor(d, int(keep.sum()), active, scale, values[keep], vectors[:, keep])


def _cholesky(g: Tensor) -> bool:
    """Puts the lower factor of a symmetric matrix into its lower triangle, as far as it is positive definite, and tells
    whether it is; what is above the diagonal stays.

    Left-looking, by blocks: nearly all of it is products, which on a CPU take two thirds of the time of LAPACK's potrf.
    """
    size = BLOCK if g.device.type == "cpu" else len(g)
    for i in range(0, len(g), size):
        j = min(i + size, len(g))
        panel = g[i:, i:j]
        above = g[i:j, i:j].triu(1)
        if i:
            panel.addmm_(g[i:, :i], g[i:j, :i].T, alpha=-1)
        corner, failed = torch.linalg.cholesky_ex(g[i:j, i:j])
        g[i:j, i:j] = above if failed else above.add_(corner)
        if failed:
            return False
        if j < len(g):
            g[j:, i:j] = torch.linalg.solve_triangular(corner.T, g[j:, i:j], upper=True, left=False)
    return True
