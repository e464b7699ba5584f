"""Products of tall matrices: Gram and cross products that fill float64 sums.

In float32 the product of at most `CHUNK` rows is rounded, and the partial sums are added in float64, so the
error does not grow with the number of rows. TF32 and bf16 short cuts are switched off around them.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

import torch
from torch import Tensor

from microscope_tui.errors import MicroscopeError
from microscope_tui.geometry.rows import chunks, lengths_of, levelled

CHUNK = 1024
"""Rows multiplied at once."""

BLOCKS = 8
"""Column blocks of a symmetric product: 8 make it cost (1 + 1/8)/2 of the full one."""

MASSIVE = 16.0
"""Rows this many times longer than the median are multiplied in float64 even where float32 is asked for."""

ASKED = 128
"""Rows by which it is told whether y is a small update of x."""

LOST = 100.0
"""Sums this many times what a subtraction leaves of them are not subtracted: two digits fewer are known of it."""

WIDE = 512
"""Below this width a symmetric product is made whole: the blocks would be too small to be fast."""

STRIP = 256
"""Rows of a product in less than float64 that are added to its sum at once: a processor's cache holds them."""


@contextmanager
def full_precision(dtype: torch.dtype) -> Iterator[None]:
    """float32 products in float32, whatever the process has allowed (TF32 on a GPU, bf16 on some CPUs); products in
    another `dtype` are what they are.

    The switches are the process's: where several threads are inside, the first sets them and the last sets them back.
    """
    if dtype != torch.float32:
        yield
        return
    _switches.enter()
    try:
        yield
    finally:
        _switches.leave()


class _Switch(Protocol):
    fp32_precision: str


class _Switches:
    """The process's switches for products of float32, those of each library where torch (2.9) has them: once they were
    used, it refuses to tell the setting they have in common."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._before: list[str] = []
        self._each: tuple[_Switch, ...] = ()
        if hasattr(torch.backends, "fp32_precision"):
            of_cpu: _Switch = torch.backends.mkldnn.matmul  # type: ignore[attr-defined]  # set where it is imported
            self._each = (torch.backends.cuda.matmul, of_cpu)

    def enter(self) -> None:
        with self._lock:
            self._inside += 1
            if self._inside > 1:
                return
            if not self._each:
                self._before = [torch.get_float32_matmul_precision()]
                torch.set_float32_matmul_precision("highest")
                return
            self._before = [library.fp32_precision for library in self._each]
            for library in self._each:
                library.fp32_precision = "ieee"

    def leave(self) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside:
                return
            if not self._each:
                torch.set_float32_matmul_precision(self._before[0])
            for library, before in zip(self._each, self._before, strict=False):
                library.fp32_precision = "none"  # which stands for that of all libraries
                if library.fp32_precision != before:
                    library.fp32_precision = before


_switches = _Switches()


def add_product(out: Tensor, a: Tensor, b: Tensor) -> None:
    """out += aᵀ b for `a` (m, d), `b` (m, e), made in their type."""
    if a.dtype == out.dtype:
        out.addmm_(a.T, b)
        return
    with full_precision(a.dtype):
        for i, j in _blocks(len(out), max(STRIP, -(-len(out) // BLOCKS))):
            out[i:j] += a[:, i:j].T @ b


def add_cross(out: Tensor, a: Tensor, b: Tensor, dtype: torch.dtype) -> None:
    """out += aᵀ b for `a` (m, d), `b` (m, e), the product made in `dtype`; or for a batch of them."""
    a, b = a.to(dtype), b.to(dtype)
    if out.ndim == 2:
        add_product(out, a, b)
    elif dtype == torch.float64:
        out.baddbmm_(a.mT, b)
    else:
        with full_precision(dtype):
            out += a.mT @ b


def add_gram(out: Tensor, a: Tensor, dtype: torch.dtype) -> None:
    """out += aᵀ a for float64 `a` (m, d), the product made in `dtype`; `out` stays symmetric. Or for a batch."""
    if a.shape[-1] < WIDE:
        add_cross(out, a, a, dtype)
    elif a.ndim == 3:
        for one, rows in zip(out, a, strict=True):
            add_gram(one, rows, dtype)
    else:
        add_upper(out, a.to(dtype))
        mirror(out)


def add_upper(out: Tensor, a: Tensor) -> None:
    """out += aᵀ a in the blocks that hold the upper triangle, for `a` (m, d) of the type the product is made in."""
    with full_precision(a.dtype):
        for i, j in _blocks(len(out)):
            if a.dtype == out.dtype:
                out[i:j, i:].addmm_(a[:, i:j].T, a[:, i:])
            else:
                out[i:j, i:] += a[:, i:j].T @ a[:, i:]


def mirror(out: Tensor) -> None:
    """Copies what `add_upper` has filled to the other side of the diagonal."""
    for i, j in _blocks(len(out)):
        out[j:, i:j] = out[i:j, j:].T


def _blocks(d: int, size: int | None = None) -> list[tuple[int, int]]:
    """Strips of `size` of a matrix with `d` rows, or those that make a symmetric product cheap."""
    step = size or (-(-d // BLOCKS) if d >= WIDE else d)
    return [(i, min(i + step, d)) for i in range(0, d, step)]


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


def cancels(whole: Tensor, rest: Tensor) -> bool:
    """Whether subtracting has lost digits: the sums of squares of some column were over `LOST` times what is left."""
    return bool((whole > LOST * rest).any())


def massive_rows(lengths: Tensor, keep: Tensor) -> Tensor:
    """Which of the kept tokens have a massive norm in any of the (…, n) `lengths`, bool (n,).

    For float32 products they make a float64 part of their own: squared, they would bury the rest under rounding.
    """
    if not bool(keep.any()):
        return torch.zeros_like(keep)
    known = lengths if bool(keep.all()) else lengths[:, keep]
    return (lengths > MASSIVE * known.median(dim=1, keepdim=True).values).any(0) & keep


def parts_of(rows: Sequence[Tensor], keep: Tensor, dtype: torch.dtype) -> Iterator[tuple[list[Tensor], torch.dtype]]:
    """The kept rows of each (…, n, d) in parts small enough to centre in float64, with the types of their products."""
    some = None if bool(keep.all()) else keep
    if dtype == torch.float64:
        yield from ((part, dtype) for part in _paired_chunks(rows, some))
        return
    massive = massive_rows(torch.cat([lengths_of(r).reshape(-1, r.shape[-2]) for r in rows]), keep)
    if not bool(massive.any()):
        yield from ((part, dtype) for part in _paired_chunks(rows, some, CHUNK))
        return
    yield from ((part, dtype) for part in _paired_chunks(rows, keep & ~massive, CHUNK))
    yield from ((part, torch.float64) for part in _paired_chunks([r[..., massive, :] for r in rows]))


def _paired_chunks(
    rows: Sequence[Tensor], keep: Tensor | None = None, size: int = CHUNK // 2
) -> Iterator[list[Tensor]]:
    """Chunks of the rows, of all or of those to keep: only one chunk of them is ever copied."""
    for start in range(0, rows[0].shape[-2], size):
        here = slice(start, start + size)
        part = [r[..., here, :] for r in rows]
        if keep is not None:
            part = [r[..., keep[here], :] for r in part]
        if part[0].shape[-2]:
            yield part


def centred(rows: Tensor, mean: Tensor, delta: Tensor, weight: float) -> Tensor:
    """The rows (…, n, d) less their mean (…, d), and one row more, √weight·δ: its products correct for the merge."""
    *batch, n, d = rows.shape
    out = torch.empty(*batch, n + 1, d, dtype=torch.float64, device=rows.device)
    torch.sub(rows, mean[..., None, :], out=out[..., :-1, :])
    out[..., -1, :] = delta * weight**0.5
    return out


def column_squares(rows: Tensor) -> Tensor:
    """The sum of squares of each column of rows (m, d), (d,), float64; as with products, few rows in the rows' type."""
    total = torch.zeros(rows.shape[1], dtype=torch.float64, device=rows.device)
    room = torch.empty_like(rows[: CHUNK // 8])  # new memory for each part would pile up between what is kept
    for part in chunks(rows, CHUNK // 8):
        total += torch.mul(part, part, out=room[: len(part)]).sum(0)
    return total


def sum_of_directions(rows: Tensor) -> tuple[Tensor, Tensor]:
    """The sum (…, d) of the float64 rows (…, n, d) scaled to length 1, and how many rows are not zero, int64 (…)."""
    length = torch.linalg.vector_norm(rows, dim=-1, keepdim=True)
    level = levelled(rows, length[..., 0])
    if level is not rows:
        rows, length = level, torch.linalg.vector_norm(level, dim=-1, keepdim=True)
    known = length > 0
    return (torch.where(known, 1 / length, 0.0).mT @ rows).squeeze(-2), known.sum((-2, -1))


def gram_of(a: Tensor, dtype: torch.dtype) -> Tensor:
    """aᵀ a (d, d) for float64 `a` (m, d), the product made in `dtype`."""
    out = torch.zeros(a.shape[1], a.shape[1], dtype=torch.float64, device=a.device)
    add_gram(out, a, dtype)
    return out


def is_small_update(x: Tensor, y: Tensor, among: Tensor | None = None) -> bool:
    """Whether y is x plus something that varies no more than y in any column, as far as some of the rows show.

    The rows are drawn at random, of all or of those `among` them: those at even distances may all be the first of their
    example, and alike.
    """
    if x.shape != y.shape:
        return False
    count = len(x if among is None else among)
    few = torch.randperm(count, generator=torch.Generator().manual_seed(count))[:ASKED].to(x.device)
    few = few if among is None else among[few]
    few_x, few_y = x[few].double(), y[few].double()
    update = few_y - few_x
    spread = few_y.sub_(few_y.mean(0)).square_().sum(0)
    left = update.sub_(update.mean(0)).square_().sum(0)
    return bool((left <= spread).all() & (spread > 0).any())


def add_of_update(xy: Tensor, yy: Tensor, x: Tensor, u: Tensor) -> None:
    """Adds to xᵀy and yᵀy of y = x + u all but xᵀx, which they share: xᵀu, and xᵀu + uᵀx + uᵀu.

    x, u (m, d): centred, in the type the products are made in. In less than float64 the rounding is then relative to u,
    and xᵀx cancels exactly from the moments of the update. Of `yy` (d, d) the upper triangle is filled, see `mirror`;
    or it is the diagonal (d,).
    """
    if yy.ndim == 1:
        add_product(xy, x, u)
        for here, more in zip(chunks(x, CHUNK // 8), chunks(u, CHUNK // 8), strict=True):
            yy += torch.add(more, here, alpha=2).mul_(more).sum(0)
        return
    for i, j in _blocks(len(xy), STRIP):
        with full_precision(x.dtype):
            product = x[:, i:j].T @ u
        xy[i:j] += product
        yy[i:j] += product
        yy[:, i:j] += product.T
    add_upper(yy, u)


def rounded_pair(x: Tensor, y: Tensor, xx: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """xᵀy and yᵀy from products in less than float64, for centred x, y (m, d) with xᵀx already made as `xx`; see
    `add_of_update`."""
    cross = torch.zeros(x.shape[1], y.shape[1], dtype=torch.float64, device=x.device)
    if not is_small_update(x, y):
        add_cross(cross, x, y, dtype)
        return cross, gram_of(y, dtype)
    whole = torch.zeros_like(cross)
    add_of_update(cross, whole, x.to(dtype), (y - x).to(dtype))
    mirror(whole)
    return cross.add_(xx), whole.add_(xx)
