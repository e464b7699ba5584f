"""Candidates for nearest neighbours from tiles of matrix products, with a running top-k.

Values are ‖a‖² + ‖b‖² − 2a·b of the centred rows, the squared distance but for rounding: `neighbours` compares the
candidates again and certifies the result.
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

FAN = 4
"""Values in a group whose minimum stands for them while the smallest are sought."""

STEP = FAN**3
"""Rows and columns come in multiples of this, so that groups can be made of groups."""

TURNED = 24
"""From this many columns for each candidate kept, products cost more than to search tiles from both sides."""

_ONEDNN: bool = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]  # torch leaves it untyped
"""Whether products of float32 on a CPU may be oneDNN's: of wide rows, where the processor is not Intel's, they take a
sixth less time than those of the BLAS that torch comes with."""

_ONEDNN_FROM = 512
"""Width of the rows from which oneDNN's products are the faster ones; of rows of 64 they take three times as long."""

_SQUARED = 100_000
"""Numbers turned to float64 at once for their norms."""


@dataclass(frozen=True)
class Candidates:
    """For each query the `keep` rows of the smallest value, in no order: `value` (q, keep), infinite where there is
    none, `index` (q, keep); `square` (q,) float64 is ‖a‖² of the centred query, rounded as in the products."""

    value: Tensor
    index: Tensor
    square: Tensor


def screen_all(x: Tensor, keep: int, codes: Tensor | None) -> Candidates:
    """Candidates for every row of x (n, d), in float32. Of wide rows each tile of the upper triangle serves both sides.

    `codes` (n,): rows of the same code are apart.
    """
    n, d = x.shape
    block = Block.of(x, _centre(x, torch.float32), torch.float32)
    padded = len(block.rows)
    apart = _padded_codes(codes, padded)
    best = _nothing(padded, keep, torch.float32, x.device)
    turned = d >= TURNED * keep
    for top in range(0, padded, TILE_ROWS):
        bottom = min(top + TILE_ROWS, padded)
        mine = torch.arange(top, bottom, device=x.device)
        query = _query(block.rows[top:bottom])
        for left in range(top if turned else 0, padded, TILE_COLUMNS):
            right = min(left + TILE_COLUMNS, padded)
            tile = _products(query, block.rows[left:right])
            _forbid(tile, mine, left, apart)
            _merge(best, slice(top, bottom), least(tile, keep), left)
            beyond = max(bottom, left)
            if turned and beyond < right:
                _merge(best, slice(beyond, right), least_of_columns(tile[:, beyond - left :], keep), top)
            del tile  # before there is the next
    return Candidates(best[0][:n], best[1][:n], block.squares)


def screen_some(x: Tensor, queries: Tensor, keep: int, codes: Tensor | None, dtype: torch.dtype) -> Candidates:
    """Candidates for the row indices `queries` (q,) of x (n, d), by products in `dtype`; x is centred tile by tile."""
    n = len(x)
    centre = _centre(x, dtype)
    apart = _padded_codes(codes, _padded(n))
    best = _nothing(len(queries), keep, dtype, x.device)
    squares = torch.empty(len(queries), dtype=torch.float64, device=x.device)
    for left in range(0, n, TILE_ROWS):
        block = Block.of(x[left : left + TILE_ROWS], centre, dtype).rows
        for top in range(0, len(queries), TILE_ROWS):
            mine = queries[top : top + TILE_ROWS]
            here = slice(top, top + len(mine))
            asked = Block.of(x[mine], centre, dtype)
            squares[here] = asked.squares
            tile = _products(_query(asked.rows[: len(mine)]), block)
            _forbid(tile, mine, left, apart)
            _merge(best, here, least(tile, keep), left)
            del tile
    return Candidates(*best, squares)


@dataclass(frozen=True)
class Block:
    """Centred rows b (m, d) made ready for products: `rows` hold (b, ‖b‖², 1), `squares` (m,) float64 ‖b‖².

    `rows` are filled up to a multiple of `STEP` with rows at an infinite distance.
    """

    rows: Tensor
    squares: Tensor

    @classmethod
    def of(cls, x: Tensor, centre: Tensor, dtype: torch.dtype) -> Block:
        n, d = x.shape
        rows = torch.empty(_padded(n), d + 2, dtype=dtype, device=x.device)
        real = rows[:n, :d]
        if dtype == x.dtype or dtype != torch.float64:
            torch.sub(x, centre, out=real)
        else:  # the same in two steps: types that differ would be made equal in copies
            real.copy_(x).sub_(centre)
        squares = torch.empty(n, dtype=torch.float64, device=x.device)
        step = max(1, _SQUARED // d)
        for part, out in zip(chunks(real, step), chunks(squares, step), strict=True):
            torch.linalg.vector_norm(part, dim=1, dtype=torch.float64, out=out)
        squares.square_()
        rows[:n, d] = squares
        rows[n:, :d] = 0
        rows[n:, d] = float("inf")
        rows[:, d + 1] = 1
        return cls(rows, squares)


def _query(rows: Tensor) -> Tensor:
    """(−2a, 1, ‖a‖²) of rows (a, ‖a‖², 1): the product with (b, ‖b‖², 1) is ‖a‖² + ‖b‖² − 2a·b."""
    d = rows.shape[1] - 2
    query = torch.empty_like(rows)
    torch.mul(rows[:, :d], -2, out=query[:, :d])
    query[:, d] = 1
    query[:, d + 1] = rows[:, d]
    return query


def _centre(x: Tensor, dtype: torch.dtype) -> Tensor:
    """What rows are shifted by for products in `dtype`: their mean, or nearly. In float32 where rows and products are
    no wider: the differences are then rounded once, as they would be on their way from float64."""
    mean = x.mean(0, dtype=torch.promote_types(x.dtype, torch.float32))
    return mean.double() if dtype == torch.float64 else mean


def _padded(n: int) -> int:
    return -(-n // STEP) * STEP


def _padded_codes(codes: Tensor | None, padded: int) -> Tensor | None:
    return None if codes is None else torch.nn.functional.pad(codes, (0, padded - len(codes)), value=-1)


def _nothing(q: int, keep: int, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
    values = torch.full((q, keep), float("inf"), dtype=dtype, device=device)
    return values, torch.zeros(q, keep, dtype=torch.int64, device=device)


def _products(query: Tensor, block: Tensor) -> Tensor:
    """Of each query (a, d) with each row of a block (b, d): (a, b)."""
    wide = query.shape[1] >= _ONEDNN_FROM and query.dtype == torch.float32 and query.device.type == "cpu"
    with full_precision(query.dtype):
        if _ONEDNN and wide:
            return torch.nn.functional.linear(query.to_mkldnn(), block).to_dense()
        return query @ block.T


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

    They lie in the `keep` groups of columns with the smallest minima, which are found in the same way: a quarter of the
    work of a full search.
    """
    a, b = tile.shape
    width = b // FAN
    if b % FAN or width <= keep:
        found = tile.topk(min(keep, b), 1, largest=False, sorted=False)
        return found.values, found.indices
    groups = tile.reshape(a, FAN, width)
    best = least(groups.amin(1), keep)[1]
    inside = groups.gather(2, best[:, None].expand(a, FAN, keep)).reshape(a, FAN * keep)
    values, place = inside.topk(keep, 1, largest=False, sorted=False)
    return values, place // keep * width + best.gather(1, place % keep)


def least_of_columns(tile: Tensor, keep: int) -> tuple[Tensor, Tensor]:
    """The `keep` smallest values of each column of a tile (a, b) and their rows: (b, keep) each, in no order.

    As `least`, with only the minima and the chosen groups turned, not the tile.
    """
    a, b = tile.shape
    height = a // FAN
    if a % FAN or height <= keep:
        return least(tile.T.contiguous(), keep)
    groups = tile.reshape(FAN, height, b)
    best = least(groups.amin(0).T.contiguous(), keep)[1]
    inside = groups.gather(1, best.T[None].expand(FAN, keep, b)).reshape(FAN * keep, b).T.contiguous()
    values, place = inside.topk(keep, 1, largest=False, sorted=False)
    return values, place // keep * height + best.gather(1, place % keep)
