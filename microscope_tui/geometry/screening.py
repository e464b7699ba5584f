"""Candidates for nearest neighbours from tiles of matrix products, with a running top-k.

Values are ‖b‖² − 2a·b: the squared distance less ‖a‖², which is the same for all candidates of a row. They are
rounded: `neighbours` compares the candidates again and certifies the result.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from microscope_tui.geometry.products import full_precision
from microscope_tui.geometry.rows import chunks

TILE_ROWS = 512
TILE_COLUMNS = 4096
"""A tile of products: its memory is what the search needs beyond the rows in the type of the products."""

FAN = 16
"""Rows and columns come in multiples of this, so that minima of groups can be taken first."""


@dataclass(frozen=True)
class Candidates:
    """For each query the `keep` rows of the smallest value: `value` (q, keep), infinite where there is none,
    `index` (q, keep); `square` (q,) float64 is ‖a‖² of the centred query, rounded as in the products."""

    value: Tensor
    index: Tensor
    square: Tensor


def screen_all(x: Tensor, keep: int, codes: Tensor | None) -> Candidates:
    """Candidates for every row of x (n, d), in float32. Each tile of the upper triangle serves both its sides.

    `codes` (n,): rows of the same code are apart.
    """
    n, d = x.shape
    padded = _padded(n)
    rows = torch.zeros(padded, d, dtype=torch.float32, device=x.device)
    torch.sub(x, x.mean(0, dtype=torch.float64), out=rows[:n])
    squares = torch.cat([part.double().square().sum(1) for part in chunks(rows, TILE_ROWS)])
    offset = _offset(squares.float(), n)
    apart = _padded_codes(codes, padded)
    best = _nothing(padded, keep, torch.float32, x.device)
    for top in range(0, padded, TILE_ROWS):
        bottom = min(top + TILE_ROWS, padded)
        query = rows[top:bottom] * -2
        mine = torch.arange(top, bottom, device=x.device)
        for left in range(top, padded, TILE_COLUMNS):
            right = min(left + TILE_COLUMNS, padded)
            tile = _tile(query, rows[left:right], mine, left, apart)
            _merge(best, slice(top, bottom), least(tile + offset[left:right], keep), left)
            beyond = max(bottom, left)
            if beyond < right:
                below = tile[:, beyond - left :] + offset[top:bottom, None]
                _merge(best, slice(beyond, right), least_of_columns(below, keep), top)
    return Candidates(best[0][:n], best[1][:n], squares[:n])


def screen_some(x: Tensor, queries: Tensor, keep: int, codes: Tensor | None, dtype: torch.dtype) -> Candidates:
    """Candidates for the row indices `queries` (q,) of x (n, d), by products in `dtype`; x is centred tile by tile."""
    n = len(x)
    mean = x.mean(0, dtype=torch.float64)
    apart = _padded_codes(codes, _padded(n))
    best = _nothing(len(queries), keep, dtype, x.device)
    squares = torch.empty(len(queries), dtype=torch.float64, device=x.device)
    for top in range(0, len(queries), TILE_ROWS):
        mine = queries[top : top + TILE_ROWS]
        here = slice(top, top + len(mine))
        query = (x[mine] - mean).to(dtype)
        squares[here] = query.double().square().sum(1)
        for left in range(0, n, 2 * TILE_ROWS):
            block = torch.zeros(min(2 * TILE_ROWS, _padded(n) - left), x.shape[1], dtype=dtype, device=x.device)
            real = min(len(block), n - left)
            torch.sub(x[left : left + real], mean, out=block[:real])
            offset = _offset(block.square().sum(1), real)
            tile = _tile(query * -2, block, mine, left, apart).add_(offset)
            _merge(best, here, least(tile, keep), left)
    return Candidates(*best, squares)


def _padded(n: int) -> int:
    return -(-n // FAN) * FAN


def _padded_codes(codes: Tensor | None, padded: int) -> Tensor | None:
    return None if codes is None else torch.nn.functional.pad(codes, (0, padded - len(codes)), value=-1)


def _offset(squares: Tensor, real: int) -> Tensor:
    """‖b‖² for each column of a tile, infinite for the padding."""
    offset = squares.clone()
    offset[real:] = float("inf")
    return offset


def _nothing(q: int, keep: int, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
    values = torch.full((q, keep), float("inf"), dtype=dtype, device=device)
    return values, torch.zeros(q, keep, dtype=torch.int64, device=device)


def _tile(query: Tensor, block: Tensor, mine: Tensor, left: int, apart: Tensor | None) -> Tensor:
    """The products of queries (rows `mine`) with the rows from `left` on; infinite for a row itself and its code."""
    with full_precision():
        tile = query @ block.T
    right = left + len(block)
    inside = ((mine >= left) & (mine < right)).nonzero()[:, 0]
    tile[inside, mine[inside] - left] = float("inf")
    if apart is not None:
        tile[apart[mine][:, None] == apart[left:right]] = float("inf")
    return tile


def _merge(best: tuple[Tensor, Tensor], here: slice, found: tuple[Tensor, Tensor], first: int) -> None:
    """Keeps the smallest of the candidates so far and those found, whose indices count from `first`."""
    values = torch.cat([best[0][here], found[0]], 1)
    indices = torch.cat([best[1][here], found[1] + first], 1)
    least_values, order = values.topk(best[0].shape[1], 1, largest=False, sorted=False)
    best[0][here], best[1][here] = least_values, indices.gather(1, order)


def least(tile: Tensor, keep: int) -> tuple[Tensor, Tensor]:
    """The `keep` smallest values of each row of a tile (a, b) and their columns, in no order.

    They lie in the `keep` groups of columns with the smallest minima: a quarter of the work of a full search.
    """
    a, b = tile.shape
    width = b // FAN
    if width <= 2 * keep:
        found = tile.topk(min(keep, b), 1, largest=False, sorted=False)
        return found.values, found.indices
    groups = tile.reshape(a, FAN, width)
    best = groups.amin(1).topk(keep, 1, largest=False, sorted=False).indices
    inside = groups.gather(2, best[:, None].expand(a, FAN, keep)).reshape(a, FAN * keep)
    values, place = inside.topk(keep, 1, largest=False, sorted=False)
    return values, place // keep * width + best.gather(1, place % keep)


def least_of_columns(tile: Tensor, keep: int) -> tuple[Tensor, Tensor]:
    """The `keep` smallest values of each column of a tile (a, b) and their rows: (b, keep) each, in no order.

    As `least`, with only the minima and the chosen groups turned, not the tile.
    """
    a, b = tile.shape
    height = a // FAN
    if height <= 2 * keep:
        found = tile.topk(min(keep, a), 0, largest=False, sorted=False)
        return found.values.T, found.indices.T
    groups = tile.reshape(FAN, height, b)
    minima = groups.amin(0).T.contiguous()
    best = minima.topk(keep, 1, largest=False, sorted=False).indices
    inside = groups.gather(1, best.T[None].expand(FAN, keep, b)).reshape(FAN * keep, b).T.contiguous()
    values, place = inside.topk(keep, 1, largest=False, sorted=False)
    return values, place // keep * height + best.gather(1, place % keep)
