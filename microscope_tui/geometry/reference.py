"""The reference's own linearity, value for value: LLM-Microscope 0.0.7 and the code of MLLM-Microscope.

Its faults are kept: no rank cut (singular x gives noise), a score of 1 whatever the data when n ≤ d + 1.
Only where it fails outright does this return an undefined value with the reason. Its dimension is
`dimension(method="llm-microscope")`, its anisotropy is the top-eigenvalue share.
"""

from __future__ import annotations

import torch
from torch import Tensor

from microscope_tui.geometry.rows import finite_rows, nonfinite_reason
from microscope_tui.results import Estimate


def procrustes_similarity(x: Tensor, y: Tensor) -> float:
    """LLM-Microscope: 1 − ‖X̃A − Ỹ‖² with A from the SVD of X̃ and bare 1/S. x, y: (n, d)."""
    x, y = _normalised(x), _normalised(y)
    u, s, vh = torch.linalg.svd(x, full_matrices=False)
    a = vh.T * (1 / s) @ u.T @ y
    return float(1 - (x @ a - y).square().sum())


def procrustes_similarity_centered(x: Tensor, y: Tensor) -> float:
    """LLM-Microscope 0.0.2 (later versions return nothing): the same for x and y − x."""
    return procrustes_similarity(x, y - x)


def linearity(x: Tensor, y: Tensor) -> Estimate:
    """`procrustes_similarity` in float64 as an estimate, undefined with a reason where it has no value."""
    n, d = x.shape
    finite = finite_rows(x) & finite_rows(y)
    if not bool(finite.all()):
        bad = int((~finite).sum())
        return Estimate(None, n=n - bad, d=d, reason=nonfinite_reason(bad, n))
    if n == 0:
        return Estimate(None, n=n, d=d, reason="there are no rows")
    exact_x, exact_y = x.double(), y.double()
    for name, rows in (("x", exact_x), ("y", exact_y)):
        if bool((rows == rows[0]).all()):
            return Estimate(None, n=n, d=d, reason=f"all rows of {name} are equal")
    try:
        value = procrustes_similarity(exact_x, exact_y)
    except RuntimeError:  # LinAlgError is one
        return Estimate(None, n=n, d=d, reason="the reference's decomposition fails on these rows")
    if value != value:
        return Estimate(None, n=n, d=d, reason="the reference divides by zero on these rows")
    few = (f"n = {n} ≤ d + 1 = {d + 1}: this score says nothing about the data",) if n <= d + 1 else ()
    return Estimate(value, n=n, d=d, notes=few)


def _normalised(rows: Tensor) -> Tensor:
    centred = rows - rows.mean(0, keepdim=True)
    scaled: Tensor = centred / centred.norm()
    return scaled
