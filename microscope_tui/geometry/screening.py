"""Candidates for nearest neighbours from tiles of matrix products, with a running top-k.

Values are ‖a‖² + ‖b‖² − 2a·b of the centred rows, the squared distance but for rounding: `neighbours` compares the
candidates again and certifies the result.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from microscope_tui.geometry.products import full_precision

TILE_ROWS = 512
TILE_COLUMNS = 4096
"""A tile of products: its memory is what the search needs beyond the rows in the type of the products."""

FAN = 16
"""Rows and columns come in multiples of this, so that minima of groups can be taken first."""


@dataclass(frozen=True)
class Candidates:
    """For each query the `keep` rows of the smallest value, in no order: `value` (q, keep), infinite where there is
    none, `index` (q, keep); `square` (q,) float64 is ‖a‖² of the centred query, rounded as in the products."""

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
    torch.sub(x, _centre(x, torch.float32), out=rows[:n])
    squares = _squares(rows)
    apart = _padded_codes(codes, padded)
    offset = _offset(squares, n, torch.float32)
    best = _nothing(padded, keep, torch.float32, x.device)
    buffer = torch.empty(TILE_ROWS * min(TILE_COLUMNS, padded), dtype=torch.float32, device=x.device)
    for top in range(0, padded, TILE_ROWS):
        bottom = min(top + TILE_ROWS, padded)
        mine = torch.arange(top, bottom, device=x.device)
        for left in range(top, padded, TILE_COLUMNS):
            right = min(left + TILE_COLUMNS, padded)
            tile = buffer[: (bottom - top) * (right - left)].view(bottom - top, right - left)
            _fill(tile, rows[top:bottom], rows[left:right], offset[top:bottom], offset[left:right])
            _forbid(tile, mine, left, apart)
            _merge(best, slice(top, bottom), least(tile, keep), left)
            beyond = max(bottom, left)
            if beyond < right:
                _merge(best, slice(beyond, right), least_of_columns(tile[:, beyond - left :], keep), top)
    return Candidates(best[0][:n], best[1][:n], squares[:n])


def screen_some(x: Tensor, queries: Tensor, keep: int, codes: Tensor | None, dtype: torch.dtype) -> Candidates:
    """Candidates for the row indices `queries` (q,) of x (n, d), by products in `dtype`; x is centred tile by tile."""
    n = len(x)
    centre = _centre(x, dtype)
    apart = _padded_codes(codes, _padded(n))
    best = _nothing(len(queries), keep, dtype, x.device)
    squares = torch.empty(len(queries), dtype=torch.float64, device=x.device)
    for left in range(0, n, 2 * TILE_ROWS):
        block = torch.zeros(min(2 * TILE_ROWS, _padded(n) - left), x.shape[1], dtype=dtype, device=x.device)
        real = min(len(block), n - left)
        torch.sub(x[left : left + real], centre, out=block[:real])
        offset = _offset(_squares(block), real, dtype)
        for top in range(0, len(queries), TILE_ROWS):
            mine = queries[top : top + TILE_ROWS]
            here = slice(top, top + len(mine))
            query = (x[mine] - centre).to(dtype)
            squares[here] = _squares(query)
            tile = torch.empty(len(mine), len(block), dtype=dtype, device=x.device)
            _fill(tile, query, block, squares[here].to(dtype), offset)
            _forbid(tile, mine, left, apart)
            _merge(best, here, least(tile, keep), left)
    return Candidates(*best, squares)


def _centre(x: Tensor, dtype: torch.dtype) -> Tensor:
    """What rows are shifted by for products in `dtype`: their mean, or nearly. In float32 where rows and products are
    no wider: the differences are then rounded once, as they would be on their way from float64."""
    mean = x.mean(0, dtype=torch.promote_types(x.dtype, torch.float32))
    return mean.double() if dtype == torch.float64 else mean


def _squares(rows: Tensor) -> Tensor:
    """‖a‖² of each row, float64."""
    squares: Tensor = torch.linalg.vector_norm(rows, dim=1, dtype=torch.float64).square()
    return squares


def _padded(n: int) -> int:
    return -(-n // FAN) * FAN


def _padded_codes(codes: Tensor | None, padded: int) -> Tensor | None:
    return None if codes is None else torch.nn.functional.pad(codes, (0, padded - len(codes)), value=-1)


def _offset(squares: Tensor, real: int, dtype: torch.dtype) -> Tensor:
    """‖b‖² for each row of a block, infinite for the padding."""
    offset = squares.to(dtype)
    offset[real:] = float("inf")
    return offset


def _nothing(q: int, keep: int, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
    values = torch.full((q, keep), float("inf"), dtype=dtype, device=device)
    return values, torch.zeros(q, keep, dtype=torch.int64, device=device)


def _fill(tile: Tensor, query: Tensor, block: Tensor, query_squares: Tensor, block_squares: Tensor) -> None:
    """tile = ‖a‖² + ‖b‖² − 2a·b for the rows a of `query` and b of `block`."""
    with full_precision():
        torch.addmm(block_squares, query, block.T, alpha=-2, out=tile)
    tile += query_squares[:, None]


def _forbid(tile: Tensor, mine: Tensor, left: int, apart: Tensor | None) -> None:
    """Infinite values for a query (rows `mine`) with itself, and with its code, among the rows from `left` on."""
    right = left + tile.shape[1]
    inside = ((mine >= left) & (mine < right)).nonzero()[:, 0]
    tile[inside, mine[inside] - left] = float("inf")
    if apart is not None:
        tile.masked_fill_(apart[mine][:, None] == apart[left:right], float("inf"))


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
