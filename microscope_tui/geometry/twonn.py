"""The TwoNN formulas, one a convention: distances to the two nearest neighbours in, a dimension out.

See `microscope_tui.geometry.dimension` for what sets them apart. Ratios come in ascending order: a jackknife leaves
some out many times over, and what is left is still in order.
"""

from __future__ import annotations

import torch
from torch import Tensor


def mle(log_mu: Tensor) -> float:
    """(N − 1)/Σ log μ: the unbiased maximum-likelihood exponent of N ratios (DADApy's `ml`)."""
    return float((len(log_mu) - 1) / log_mu.sum())


def slope(log_mu: Tensor, cumulative: Tensor) -> float:
    """Least-squares slope through the origin of −log(1 − F) on log μ."""
    return float(-((1 - cumulative).log() * log_mu).sum() / log_mu.square().sum())


def facco(log_mu: Tensor) -> float:
    """Facco et al. 2017, and DADApy's `base`: F = i/N, the highest 10 % of the ascending ratios left out."""
    kept = int(0.9 * len(log_mu))
    ranks = torch.arange(1, kept + 1, dtype=torch.float64, device=log_mu.device)
    return slope(log_mu[:kept], ranks / len(log_mu))


def scikit_dimension(log_mu: Tensor) -> float:
    """scikit-dimension 0.5.0 `TwoNN()`: as `facco`, on the finite ratios."""
    return facco(log_mu[log_mu.isfinite()])


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
