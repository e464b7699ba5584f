"""Fewer rows than dimensions: all that the metrics need is in one n × n matrix, K = X̃X̃ᵀ.

Its eigenvalues are those of the scatter, and its eigenvectors give the rows' coordinates in the span of the
rows themselves. Linearity with a ridge penalty, distances and anisotropy do not change under rotation, so they
may be computed there.
"""

from __future__ import annotations

import torch
from torch import Tensor

from microscope_tui.geometry.products import CHUNK
from microscope_tui.geometry.rows import chunks
from microscope_tui.geometry.spectrum import SMALL, largest_eigenvalue, top_eigenvalue

PATIENCE = 32
"""Products with all the rows before a largest eigenvalue is sought in a Gram matrix instead."""


def centred_rows(x: Tensor) -> tuple[Tensor, Tensor]:
    """x (n, d) less its column means, and those means (d,), float64."""
    exact = x.to(torch.float64, copy=True)
    mean = exact.mean(0)
    return exact.sub_(mean), mean


def smaller_gram(centred: Tensor) -> Tensor:
    """X̃ᵀX̃ (d, d) or X̃X̃ᵀ (n, n), whichever is smaller: their eigenvalues differ only by zeros."""
    n, d = centred.shape
    return centred @ centred.T if n < d else centred.T @ centred


def compact(x: Tensor) -> Tensor:
    """The rows of x (n, d), n < d, in an orthonormal basis of the span of the centred rows: (n, r), r < n, centred.

    From the rows themselves, not from K: squared, a massive row would bury the others.
    """
    centred, _ = centred_rows(x)
    vectors, lengths, _ = torch.linalg.svd(torch.linalg.qr(centred.T, mode="r").R.T)
    held = lengths > len(x) * torch.finfo(torch.float64).eps * lengths[:1]
    turned: Tensor = vectors[:, held] * lengths[held]
    return turned


def top_eigenvalue_of_rows(centred: Tensor) -> float:
    """The largest eigenvalue of X̃ᵀX̃ for float64 rows (n, d), without making that matrix where it can.

    Lanczos on v ↦ X̃ᵀ(X̃v); in the smaller Gram matrix where that is small, or where the largest eigenvalues are so
    close that Lanczos needs many steps.
    """
    if min(centred.shape) <= SMALL:
        return top_eigenvalue(smaller_gram(centred))
    parts = chunks(centred, CHUNK // 8)

    def apply(v: Tensor) -> Tensor:
        return torch.stack([part.T @ (part @ v) for part in parts]).sum(0)

    found = largest_eigenvalue(apply, centred.shape[1], device=centred.device, steps=PATIENCE)
    return top_eigenvalue(smaller_gram(centred)) if found is None else found
