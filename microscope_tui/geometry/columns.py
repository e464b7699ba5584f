"""Paired rows on their way into sums: centred, a part at a time, in memory that is used again for the next part.

New memory for every part would cost as much time as a tenth of the products.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from microscope_tui.geometry.products import CHUNK


@dataclass(frozen=True)
class Part:
    """Some of the paired rows, x (m, d) and y (m, e), less their means (d,), (e,), which are float64.

    `n` of the m count; the others are 0.
    """

    n: int
    x: Tensor
    y: Tensor
    mean_x: Tensor
    mean_y: Tensor


def parts(x: Tensor, y: Tensor, keep: Tensor, dtype: torch.dtype, *, less: bool) -> Iterator[Part]:
    """The rows to `keep` (n,) of x (n, d), y (n, e), in `dtype`. Each part is overwritten by the next.

    `less`: y − x instead of y.
    """
    whole = bool(keep.all())
    size = max(1, min(CHUNK // 2 if dtype == torch.float64 else CHUNK, len(x)))
    room = [torch.empty(size, rows.shape[1], dtype=dtype, device=rows.device) for rows in (x, y)]
    for start in range(0, len(x), size):
        here = slice(start, start + size)
        without = None if whole else (~keep[here]).nonzero()[:, 0]
        count = len(x[here]) - (0 if without is None else len(without))
        if count:
            yield _part(x[here], y[here], room, count, without, less=less)


def _part(x: Tensor, y: Tensor, room: list[Tensor], count: int, without: Tensor | None, *, less: bool) -> Part:
    """Centred in the type of the `room` where the rows are no finer, so that a large mean takes no digits."""
    dtype = room[0].dtype
    wide = torch.promote_types(torch.promote_types(x.dtype, y.dtype), dtype)
    own = [held[: len(x)] for held in room]
    rows = own if wide == dtype else [torch.empty_like(held, dtype=wide) for held in own]
    rows[0].copy_(x)
    if less:
        torch.sub(y, rows[0], out=rows[1])
    else:
        rows[1].copy_(y)
    means = [_centre(each, count, without) for each in rows]
    if dtype != torch.float64:
        if wide != dtype:
            rows = [held.copy_(each) for held, each in zip(own, rows, strict=True)]
        # Once more, for what rounding has left of the mean.
        means = [mean + _centre(each, count, without) for mean, each in zip(means, rows, strict=True)]
    return Part(count, *rows, *means)


def _centre(rows: Tensor, count: int, without: Tensor | None) -> Tensor:
    """Takes the mean (d,) of the `count` that are not `without` off the rows (m, d), in place, and returns it."""
    if without is not None:
        rows.index_fill_(0, without, 0)
    mean = rows.sum(0) / count
    rows.sub_(mean)
    if without is not None:
        rows.index_fill_(0, without, 0)
    return mean.double()
