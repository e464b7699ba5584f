"""Products of tall matrices: Gram and cross products that fill float64 sums.

In float32 the product of at most `CHUNK` rows is rounded, and the partial sums are added in float64, so the
error does not grow with the number of rows. TF32 and bf16 short cuts are switched off around them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from microscope_tui.errors import MicroscopeError
from microscope_tui.geometry.rows import lengths_of

CHUNK = 1024
"""Rows multiplied at once."""

BLOCKS = 8
"""Column blocks of a symmetric product: 8 make it cost (1 + 1/8)/2 of the full one."""

MASSIVE = 16.0
"""Rows this many times longer than the median are multiplied in float64 even where float32 is asked for."""

WIDE = 512
"""Below this width a symmetric product is made whole: the blocks would be too small to be fast."""


@contextmanager
def full_precision() -> Iterator[None]:
    """float32 products in float32, whatever the process has allowed (TF32 on a GPU, bf16 on some CPUs)."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def add_cross(out: Tensor, a: Tensor, b: Tensor, dtype: torch.dtype) -> None:
    """out += aᵀ b for float64 `a` (m, d), `b` (m, e), the product made in `dtype`; or for a batch of them."""
    if dtype != torch.float64:
        with full_precision():
            out += a.to(dtype).mT @ b.to(dtype)
    elif out.ndim == 3:
        out.baddbmm_(a.mT, b)
    else:
        out.addmm_(a.T, b)


def add_gram(out: Tensor, a: Tensor, dtype: torch.dtype) -> None:
    """out += aᵀ a for float64 `a` (m, d), the product made in `dtype`; `out` stays symmetric. Or for a batch."""
    d = a.shape[-1]
    if d < WIDE:
        add_cross(out, a, a, dtype)
        return
    if a.ndim == 3:
        for one, rows in zip(out, a, strict=True):
            add_gram(one, rows, dtype)
        return
    step = -(-d // BLOCKS)
    with full_precision():
        narrow = a.to(dtype)
        for i in range(0, d, step):
            j = i + step
            upper = narrow[:, i:j].T @ narrow[:, i:]
            out[i:j, i:] += upper
            if j < d:
                out[j:, i:j] += upper[:, step:].T


def combination(n: int, other: int, sign: int) -> tuple[int, float, float]:
    """The count after adding (sign 1) or removing (−1) `other` rows, and the weights of δ = m_other − m.

    The mean moves by `shift`·δ; the scatter changes by ±S_other + `weight`·δδᵀ.
    """
    total = n + sign * other
    if total < 0:
        raise MicroscopeError(f"{other} rows cannot be taken out of {n}.")
    if total == 0:
        return 0, (1.0 if sign > 0 else 0.0), 0.0
    return total, sign * other / total, sign * n * other / total


def parts_of(rows: Sequence[Tensor], keep: Tensor, dtype: torch.dtype) -> list[tuple[list[Tensor], torch.dtype]]:
    """The kept rows of each (…, n, d) in parts small enough to centre in float64, each with the type of its products.

    For float32 products, tokens with a massive norm at any layer make a float64 part of their own: squared,
    they would bury the rest under float32 rounding.
    """
    if not bool(keep.all()):
        rows = [r[..., keep, :] for r in rows]
    if dtype == torch.float64:
        return [(part, dtype) for part in _paired_chunks(rows)]
    n = rows[0].shape[-2]
    lengths = torch.cat([lengths_of(r).reshape(-1, n) for r in rows])
    massive = (lengths > MASSIVE * lengths.median(dim=1, keepdim=True).values).any(0) if n else keep[:0]
    parts = [(part, dtype) for part in _paired_chunks([r[..., ~massive, :] for r in rows])]
    return parts + [(part, torch.float64) for part in _paired_chunks([r[..., massive, :] for r in rows])]


def _paired_chunks(rows: Sequence[Tensor]) -> list[list[Tensor]]:
    n = rows[0].shape[-2]
    return [[r[..., start : start + CHUNK, :] for r in rows] for start in range(0, n, CHUNK)]


def centred(rows: Tensor, mean: Tensor, delta: Tensor, weight: float) -> Tensor:
    """The rows (…, n, d) less their mean (…, d), and one row more, √weight·δ: its products correct for the merge."""
    *batch, n, d = rows.shape
    out = torch.empty(*batch, n + 1, d, dtype=torch.float64, device=rows.device)
    torch.sub(rows, mean[..., None, :], out=out[..., :-1, :])
    out[..., -1, :] = delta * weight**0.5
    return out


def sum_of_directions(rows: Tensor) -> tuple[Tensor, Tensor]:
    """The sum (…, d) of the rows (…, n, d) scaled to length 1, and how many rows are not zero, int64 (…)."""
    length = torch.linalg.vector_norm(rows, dim=-1, keepdim=True)
    known = length > 0
    return (torch.where(known, 1 / length, 0.0).mT @ rows).squeeze(-2), known.sum((-2, -1))


def gram_of(a: Tensor, dtype: torch.dtype) -> Tensor:
    """aᵀ a (d, d) for float64 `a` (m, d), the product made in `dtype`."""
    out = torch.zeros(a.shape[1], a.shape[1], dtype=torch.float64, device=a.device)
    add_gram(out, a, dtype)
    return out


def rounded_pair(
    x: Tensor, y: Tensor, xx: Tensor, dtype: torch.dtype, *, squares_only: bool = False
) -> tuple[Tensor, Tensor]:
    """xᵀy and yᵀy from products in less than float64, for centred x, y (m, d) with xᵀx already made as `xx`.

    Where y is x plus an update u that is smaller than y in every column, they are put together from xᵀu and
    uᵀu: xᵀy = xx + xᵀu, yᵀy = xx + xᵀu + uᵀx + uᵀu. The rounding is then relative to u, and xx cancels exactly
    from the moments of the update. `squares_only`: of yᵀy only the diagonal (d,), in float64.
    """
    cross = torch.zeros(x.shape[1], y.shape[1], dtype=torch.float64, device=x.device)
    squares = y.square().sum(0)
    update = y - x if x.shape == y.shape else None
    if update is None or not bool((update.square().sum(0) <= squares).all()):
        add_cross(cross, x, y, dtype)
        return cross, squares if squares_only else gram_of(y, dtype)
    add_cross(cross, x, update, dtype)
    if squares_only:
        return cross.add_(xx), squares
    whole = cross + cross.T + gram_of(update, dtype)
    return cross.add_(xx), whole.add_(xx)
