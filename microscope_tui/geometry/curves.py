"""The dimension against the number of rows: two sets are compared at matched n, or not at all."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from microscope_tui.errors import MicroscopeError
from microscope_tui.geometry.dimension import dimension
from microscope_tui.geometry.rows import ArrayLike, as_rows
from microscope_tui.results import Estimate

SMALLEST = 64
"""The curve is halved down to about this many rows."""

SUBSETS = 8
"""Disjoint subsets of each size that are averaged, at most."""


def dimension_against_size(
    x: ArrayLike, *, method: str = "mle", sizes: Sequence[int] | None = None, seed: int = 0
) -> tuple[Estimate, ...]:
    """The dimension of random subsets of the rows x (n, d), smallest first; `sizes` by default n, n/2, n/4, …

    Each value is the mean over up to 8 disjoint subsets of that many rows (`n`); the notes give their range. A
    curve that still rises at n has not seen the set's full dimension; one that rises without end sees noise.
    """
    rows = as_rows(x)
    total = len(rows)
    if sizes is None:
        sizes = [total >> k for k in range(32) if k == 0 or total >> k >= SMALLEST]
    if not total:
        return (dimension(rows, method=method),)
    if any(not 0 < size <= total for size in sizes):
        raise MicroscopeError(f"subsets of {', '.join(map(str, sizes))} rows cannot be drawn from {total}.")
    order = torch.randperm(total, generator=torch.Generator().manual_seed(seed)).to(rows.device)
    points = []
    for size in sorted(sizes):
        parts = [order[k * size : (k + 1) * size] for k in range(min(SUBSETS, total // size))]
        found = [dimension(rows[part], method=method) for part in parts]
        values = [f.value for f in found if f.value is not None]
        if not values:
            points.append(found[0])
            continue
        note = f"mean of {len(values)} disjoint subsets, {min(values):.3g} to {max(values):.3g}"
        mean = sum(values) / len(values)
        points.append(Estimate(mean, n=size, d=rows.shape[1], notes=(note,) if len(values) > 1 else ()))
    return tuple(points)
