"""The TwoNN formulas, one a convention: distances to the two nearest neighbours in, a dimension out.

See `microscope_tui.geometry.dimension` for what sets them apart. Ratios come in ascending order. Beside each formula
stands what it gives without each pile of ratios, for a jackknife: all piles at once, by the ranks that are left.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

_HELD = 60_000
"""Ranks held at once, of so many piles: about a processor's cache."""


@dataclass(frozen=True)
class Formula:
    """A dimension `of` ascending ratios (n,), and `without` each of so many piles, from each ratio's pile (n,)."""

    of: Callable[[Tensor], float]
    without: Callable[[Tensor, Tensor, int], list[float]]


def mle(log_mu: Tensor) -> float:
    """(N − 1)/Σ log μ: the unbiased maximum-likelihood exponent of N ratios (DADApy's `ml`)."""
    return float((len(log_mu) - 1) / log_mu.sum())


def mle_without(log_mu: Tensor, piles: Tensor, count: int) -> list[float]:
    sums = log_mu.new_zeros(count).index_add_(0, piles, log_mu)
    left = len(log_mu) - torch.bincount(piles, minlength=count)
    rest = torch.where(left > 0, log_mu.sum() - sums, float("nan"))
    without: list[float] = ((left - 1) / rest).tolist()
    return without


def slope(log_mu: Tensor, cumulative: Tensor) -> float:
    """Least-squares slope through the origin of −log(1 − F) on log μ."""
    return float(-((1 - cumulative).log() * log_mu).sum() / log_mu.square().sum())


def slopes_without(
    log_mu: Tensor, piles: Tensor, left: Tensor, first: Tensor, last: Tensor, dtype: torch.dtype
) -> list[float]:
    """`slope` without each pile, of the ratios whose ranks among those left are in (first, last].

    F is rank/left, rounded to `dtype`; `left`, `first`, `last` int64 (piles,). Ratios outside may be infinite.
    """
    reach = int((last + len(log_mu) - left).max())
    log_mu, piles = log_mu[:reach], piles[:reach]
    slopes = []
    step = max(1, _HELD // max(1, reach))
    for start in range(0, len(left), step):
        here = torch.arange(start, min(start + step, len(left)), device=log_mu.device)
        kept = piles != here[:, None]
        rank = kept.cumsum(1)
        used = kept & (rank > first[here, None]) & (rank <= last[here, None])
        cumulative = rank.to(dtype) / left[here, None].to(dtype)
        x = torch.where(used, log_mu, 0.0)
        y = torch.where(used, 1 - cumulative, 1.0).log()
        slopes.append(-torch.linalg.vecdot(y.to(x.dtype), x) / x.square().sum(1))
    without: list[float] = torch.cat(slopes).tolist()
    return without


FACCO_SHARE = 0.9
"""The share of the ascending ratios that `facco` uses."""


def facco(log_mu: Tensor) -> float:
    """Facco et al. 2017, and DADApy's `base`: F = i/N, the highest 10 % of the ascending ratios left out."""
    kept = int(FACCO_SHARE * len(log_mu))
    ranks = torch.arange(1, kept + 1, dtype=torch.float64, device=log_mu.device)
    return slope(log_mu[:kept], ranks / len(log_mu))


def facco_without(log_mu: Tensor, piles: Tensor, count: int) -> list[float]:
    left = len(log_mu) - torch.bincount(piles, minlength=count)
    last = (FACCO_SHARE * left.double()).long()
    return slopes_without(log_mu, piles, left, torch.zeros_like(left), last, torch.float64)


def scikit_dimension(log_mu: Tensor) -> float:
    """scikit-dimension 0.5.0 `TwoNN()`: as `facco`, on the finite ratios."""
    return facco(log_mu[log_mu.isfinite()])


def scikit_dimension_without(log_mu: Tensor, piles: Tensor, count: int) -> list[float]:
    finite = log_mu.isfinite()
    return facco_without(log_mu[finite], piles[finite], count)


TINY = 1e-8


def marked_ratios(r1: Tensor, r2: Tensor, scale: float) -> Tensor:
    """μ = r₂/r₁ as `llm_microscope` takes them: −1 where r₁ < 1e-8·scale, the mean norm of the centred rows."""
    return torch.where(r1 / scale < TINY, -1.0, r2 / r1)


def llm_microscope(mu: Tensor) -> float:
    """LLM-Microscope 0.0.7 and the paper's code: only the lowest 20 % of the ascending `marked_ratios`.

    Points with a mark or μ ≤ 1 + 1e-8 are left out, yet keep the lowest ranks: F of the i-th other is
    (i + u)/(N + u), in float32 as there.
    """
    dropped = int((mu <= 1 + TINY).sum())
    mu = mu[dropped:]
    used = min(len(mu) // 5, len(mu) - 1)
    ranks = torch.arange(1 + dropped, len(mu) + 1 + dropped, device=mu.device) / (len(mu) + dropped)
    return slope(mu[:used].log(), ranks[:used]) if used > 0 else float("nan")


def llm_microscope_without(mu: Tensor, piles: Tensor, count: int) -> list[float]:
    left = len(mu) - torch.bincount(piles, minlength=count)
    out = mu <= 1 + TINY
    dropped = int(out.sum()) - torch.bincount(piles[out], minlength=count)
    used = torch.minimum((left - dropped) // 5, left - dropped - 1)
    return slopes_without(mu.log(), piles, left, dropped, dropped + used, torch.float32)


FORMULAS = {
    "mle": Formula(mle, mle_without),
    "facco": Formula(facco, facco_without),
    "dadapy": Formula(facco, facco_without),
    "scikit-dimension": Formula(scikit_dimension, scikit_dimension_without),
    "llm-microscope": Formula(llm_microscope, llm_microscope_without),
}
"""Of log r₂/r₁ alone, but for `llm-microscope`: of `marked_ratios`."""
