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
from microscope_tui.geometry.rows import chunks

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
    """out += aᵀ b for float64 `a` (m, d), `b` (m, e), the product made in `dtype`."""
    if dtype == torch.float64:
        out.addmm_(a.T, b)
        return
    with full_precision():
        out += a.to(dtype).T @ b.to(dtype)


def add_gram(out: Tensor, a: Tensor, dtype: torch.dtype) -> None:
    """out += aᵀ a for float64 `a` (m, d), the product made in `dtype`; `out` stays symmetric."""
    d = a.shape[1]
    if d < WIDE:
        add_cross(out, a, a, dtype)
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
    """The kept rows in parts small enough to centre in float64, each with the type of its products.

    For float32 products, tokens with a massive norm at any layer make a float64 part of their own: squared,
    they would bury the rest under float32 rounding.
    """
    if not bool(keep.all()):
        rows = [r[keep] for r in rows]
    if dtype == torch.float64:
        return [(part, dtype) for part in _paired_chunks(rows)]
    lengths = torch.stack([torch.linalg.vector_norm(r, dim=1, dtype=torch.float64) for r in rows])
    massive = (lengths > MASSIVE * lengths.median(dim=1, keepdim=True).values).any(0) if len(rows[0]) else keep
    parts = [(part, dtype) for part in _paired_chunks([r[~massive] for r in rows])]
    return parts + [(part, torch.float64) for part in _paired_chunks([r[massive] for r in rows])]


def _paired_chunks(rows: Sequence[Tensor]) -> list[list[Tensor]]:
    return [list(part) for part in zip(*(chunks(r, CHUNK) for r in rows), strict=True)]


def centred(rows: Tensor, mean: Tensor, delta: Tensor, weight: float) -> Tensor:
    """The rows less their mean, and one row more, √weight·δ, whose products are the merge's correction."""
    out = torch.empty(len(rows) + 1, rows.shape[1], dtype=torch.float64, device=rows.device)
    torch.sub(rows, mean, out=out[:-1])
    out[-1] = delta * weight**0.5
    return out


def sum_of_directions(rows: Tensor) -> tuple[Tensor, int]:
    """The sum (d,) of the rows scaled to length 1, and how many rows are not zero."""
    length = torch.linalg.vector_norm(rows, dim=1)
    known = length > 0
    return torch.where(known, 1 / length, 0.0) @ rows, int(known.sum())


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
    from the moments of the update. `squares_only`: only the diagonal of yᵀy, in float64.
    """
    cross = torch.zeros(x.shape[1], y.shape[1], dtype=torch.float64, device=x.device)
    if x.shape == y.shape and bool(((y - x).square().sum(0) <= y.square().sum(0)).all()):
        update = y - x
        add_cross(cross, x, update, dtype)
        if squares_only:
            return xx + cross, y.square().sum(0).diag()
        return xx + cross, xx + cross + cross.T + gram_of(update, dtype)
    add_cross(cross, x, y, dtype)
    return cross, y.square().sum(0).diag() if squares_only else gram_of(y, dtype)
