"""The largest eigenvalue of a symmetric matrix that is only multiplied by."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

SMALL = 128
"""Up to this size all eigenvalues are computed: cheaper than iterating."""


def top_eigenvalue(matrix: Tensor, *, tolerance: float = 1e-10) -> float:
    """The largest eigenvalue of a symmetric positive semi-definite matrix (d, d); see `largest_eigenvalue`."""
    d = len(matrix)
    if d <= SMALL:
        return float(torch.linalg.eigvalsh(matrix)[-1])
    found = largest_eigenvalue(lambda v: matrix @ v, d, device=matrix.device, tolerance=tolerance, steps=d)
    return float(torch.linalg.eigvalsh(matrix)[-1]) if found is None else found


def largest_eigenvalue(
    apply: Callable[[Tensor], Tensor], d: int, *, device: torch.device, tolerance: float = 1e-10, steps: int
) -> float | None:
    """The largest eigenvalue of v ↦ apply(v), symmetric positive semi-definite on R^d, by Lanczos.

    Full re-orthogonalisation, a fixed start vector. The Ritz value's error is at most the residual, and
    residual²/gap where the eigenvalues are apart (Parlett 1998, theorem 11.7.1): it stops when the first is
    below 100 times `tolerance` of the value and the second below `tolerance`, or when the space is exhausted.
    None if that takes more than `steps` products.
    Power steps would need far longer where the two largest eigenvalues are close.
    """
    start = torch.randn(d, generator=torch.Generator().manual_seed(0), dtype=torch.float64).to(device)
    basis = torch.empty(0, d, dtype=torch.float64, device=device)
    vector = start / start.norm()
    diagonal: list[float] = []
    off: list[float] = []
    while True:
        basis = torch.cat([basis, vector[None]])
        image = apply(vector)
        diagonal.append(float(vector @ image))
        for _ in range(2):
            image = image - (basis @ image) @ basis
        length = float(image.norm())
        ritz, vectors = torch.linalg.eigh(_tridiagonal(diagonal, off))
        top = float(ritz[-1])
        residual = length * abs(float(vectors[-1, -1]))
        gap = top - float(ritz[-2]) if len(ritz) > 1 else 0.0
        exhausted = len(diagonal) == d or length <= 1e-14 * max(top, 1e-300)
        if exhausted or residual <= tolerance * top * min(100.0, gap / (4 * residual) if residual else 100.0):
            return max(top, 0.0)
        if len(diagonal) >= steps:
            return None
        off.append(length)
        vector = image / length


def _tridiagonal(diagonal: list[float], off: list[float]) -> Tensor:
    main = torch.diag(torch.tensor(diagonal, dtype=torch.float64))
    side = torch.tensor(off, dtype=torch.float64)
    return main + torch.diag(side, 1) + torch.diag(side, -1) if off else main
