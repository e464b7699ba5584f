"""Exact nearest neighbours of every row.

Distances from matrix products cancel: with a common offset or one massive row, ‖a‖² + ‖b‖² − 2a·b loses the
small ones. So products only *screen* (`screening`): centred rows, float32, a few candidates a row; the
candidates' distances are then summed from direct float64 differences, and a bound on the screen's rounding
certifies that no other row can be nearer. Rows without the certificate are screened again in float64 with more
candidates, massive ones only among each other, and at last compared directly. Rows whose squares are too large for
float32 begin in float64.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from microscope_tui.errors import MicroscopeError
from microscope_tui.geometry.rows import chunks
from microscope_tui.geometry.screening import screen_all, screen_some

SPARE = 2
"""Candidates beyond k that the screen keeps: the next proves that the k are the nearest, or, where it is too near to
tell, the one after it."""

SPARE_AGAIN = 16
"""The same when it is repeated in float64."""

_LENGTH_ERROR = 1e-6
"""The error of a norm of centred float32 rows, relative to the longest."""

_HELD = 150_000
"""Numbers held at once while candidates are compared directly: about a processor's cache."""


@dataclass(frozen=True)
class Neighbours:
    """The k nearest other rows of each query, nearest first: `distance` (q, k) float64, `index` (q, k) int64.

    Where fewer than k rows are allowed, `distance` is infinite.
    """

    distance: Tensor
    index: Tensor


def nearest(x: Tensor, k: int, *, queries: Tensor | None = None, apart: Tensor | None = None) -> Neighbours:
    """The k nearest other rows of x (n, d), for all rows or for the row indices `queries` (q,).

    `apart` (n,) codes: rows with the query's own code are not neighbours (tokens of the same example, say).
    Euclidean, exact in float64; time O(q n d), memory O(n d + q k) and one tile. x must be finite.
    """
    n = len(x)
    if not 1 <= k < n:
        raise MicroscopeError(f"{k} neighbours need more than {k} rows, and there are {n}.")
    codes = None if apart is None else apart.to(x.device)
    everyone = torch.arange(n, device=x.device)
    rows = everyone if queries is None else queries.to(x.device)
    if _overflows(x):
        found = _screened(x, k, rows, codes, torch.float64, SPARE_AGAIN)
    else:
        found = _screened(x, k, None if queries is None else rows, codes, torch.float32, SPARE)
    doubtful = (~found.sure).nonzero()[:, 0]
    if len(doubtful):
        among = None if queries is not None else _within_reach(found, doubtful)
        if among is None:
            again = _screened(x, k, rows[doubtful], codes, torch.float64, SPARE_AGAIN)
        else:
            where = torch.searchsorted(among, doubtful)
            near = None if codes is None else codes[among]
            again = _screened(x[among], k, where, near, torch.float64, SPARE_AGAIN)
            again.index.copy_(among[again.index])
        found.distance[doubtful], found.index[doubtful] = again.distance, again.index
        for i in doubtful[~again.sure].tolist():
            found.distance[i], found.index[i] = _direct(x, k, rows[i], codes)
    return Neighbours(found.distance, found.index)


def _overflows(x: Tensor) -> bool:
    """Whether squared distances of rows x (n, d) may be beyond float32."""
    least, most = x.aminmax()
    across = most.double() - least.double()
    return not bool(4 * x.shape[1] * across.square() < torch.finfo(torch.float32).max)


@dataclass(frozen=True)
class _Screened:
    """Neighbours of each query as in `Neighbours`, which of them are certified, and ‖a‖² of each centred query."""

    distance: Tensor
    index: Tensor
    sure: Tensor
    square: Tensor


def _within_reach(found: _Screened, doubtful: Tensor) -> Tensor | None:
    """The rows that may be nearer to a doubtful one than those found, in ascending order; None if they are most rows.

    ‖x_i − x_j‖ ≥ |‖a_i‖ − ‖a_j‖|: of a massive row only other massive rows can be neighbours. `found` is of all rows.
    """
    lengths = found.square.sqrt()
    ordered, order = lengths.sort()
    reach = found.distance[doubtful, -1] + _LENGTH_ERROR * ordered[-1]
    ends = lengths.new_zeros(len(lengths) + 1)
    ends.index_add_(0, torch.searchsorted(ordered, lengths[doubtful] - reach), torch.ones_like(reach))
    ends.index_add_(0, torch.searchsorted(ordered, lengths[doubtful] + reach, right=True), -torch.ones_like(reach))
    among = order[ends[:-1].cumsum(0) > 0]
    return among.sort().values if 2 * len(among) < len(lengths) else None


def _screened(
    x: Tensor, k: int, queries: Tensor | None, codes: Tensor | None, dtype: torch.dtype, spare: int
) -> _Screened:
    """The k nearest among screened candidates; `queries` None are all rows."""
    n = len(x)
    keep = min(k + spare, n - 1)
    found = screen_all(x, keep, codes) if queries is None else screen_some(x, queries, keep, codes, dtype)
    rows = torch.arange(n, device=x.device) if queries is None else queries
    value, order = found.value.sort(1)
    candidates = found.index.gather(1, order)
    # Most often the k candidates of the smallest values are the nearest, and the next one proves it.
    squared, index = _compared(x, rows, candidates[:, :k], value[:, :k])
    sure = torch.zeros_like(rows, dtype=torch.bool)
    if keep > k:
        sure = _certified(squared[:, -1], value[:, k], found.square, x.shape[1], dtype)
    rest = (~sure).nonzero()[:, 0]
    if len(rest):
        further, where = _compared(x, rows[rest], candidates[rest], value[rest])
        squared[rest], index[rest] = further[:, :k], where[:, :k]
        if keep == n - 1:
            sure[rest] = True
        else:
            sure[rest] = _certified(further[:, k - 1], value[rest, -1], found.square[rest], x.shape[1], dtype)
    return _Screened(squared.sqrt(), index, sure, found.square)


def _compared(x: Tensor, rows: Tensor, candidates: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
    """Squared distances (q, m) to the candidates, nearest first, and the candidates; infinite where there is none."""
    missing = value.isinf()
    squared = squared_distances(x, rows, candidates.masked_fill(missing, 0)).masked_fill_(missing, float("inf"))
    squared, order = squared.sort(1)
    return squared, candidates.gather(1, order)


def _certified(reach: Tensor, next_value: Tensor, squares: Tensor, d: int, dtype: torch.dtype) -> Tensor:
    """Which queries have no row nearer than √reach but those compared, bool (q,).

    `next_value`: a value that no other row is under; infinite where all that are allowed were compared. A row nearer
    than √reach has a norm of at most ‖a‖ + √reach, so its value is off by at most γ(‖a‖² + (‖a‖ + √reach)²),
    γ = 6√d·u (Higham & Mary 2019, probabilistic): it would be under `reach` plus that.
    """
    gamma = 6 * d**0.5 * torch.finfo(dtype).eps
    slack = gamma * (squares + (squares.sqrt() + reach.sqrt()).square())
    sure: Tensor = (reach <= next_value.double() - slack) | (reach == 0) | next_value.isinf()
    return sure


def squared_distances(x: Tensor, rows: Tensor, candidates: Tensor) -> Tensor:
    """‖x_i − x_j‖² (q, m) for each row index i of `rows` (q,) and its candidates (q, m), by float64 differences."""
    q, m = candidates.shape
    d = x.shape[1]
    out = torch.empty(q, m, dtype=torch.float64, device=x.device)
    step = max(1, _HELD // (m * d))
    for start in range(0, q, step):
        here = slice(start, start + step)
        gap = x.index_select(0, candidates[here].reshape(-1)).double().view(-1, m, d)
        gap -= x.index_select(0, rows[here]).double()[:, None]
        torch.sum(gap.square_(), -1, out=out[here])
    return out


def _direct(x: Tensor, k: int, row: Tensor, codes: Tensor | None) -> tuple[Tensor, Tensor]:
    """The k nearest by direct differences with every row: for the few rows that no screen can certify."""
    everyone = torch.arange(len(x), device=x.device)
    step = max(1, _HELD // x.shape[1])
    squared = torch.cat([squared_distances(x, row[None], part[None])[0] for part in chunks(everyone, step)])
    squared[row] = float("inf")
    if codes is not None:
        squared[codes == codes[row]] = float("inf")
    best = squared.topk(k, largest=False, sorted=True)
    return best.values.sqrt(), best.indices
