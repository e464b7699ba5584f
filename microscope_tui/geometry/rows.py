"""Plain arrays in: what the three metrics accept, and how it is checked.

Rows are token vectors, one a row, in a matrix of shape (n, d). Groups say which example each row came from;
folds are groups dealt into a small number of piles.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from microscope_tui.errors import MicroscopeError
from microscope_tui.terms import Request

FOLDS = Request.folds
"""Piles of examples for held-out scores and intervals when none are given."""


class SupportsArray(Protocol):
    """Anything numpy can read: an `ndarray`, a list of rows wrapped by one, an array of another library."""

    def __array__(self) -> object: ...


ArrayLike: TypeAlias = Tensor | SupportsArray | Sequence[object]
"""A tensor, what numpy can read, or nested lists."""


def as_tensor(x: ArrayLike, name: str = "x") -> Tensor:
    """`x` as a detached dense tensor of numbers. It shares memory where torch can look at it as it lies; read-only,
    reversed and byte-swapped arrays, long doubles (as float64), sparse and float8 tensors (as float32) are copied.

    Values that a mask hides are refused: whose rows to leave out, of groups and of a second matrix too, is not known
    here. `name` is for the error.
    """
    parts: Sequence[object] = x if isinstance(x, Sequence) else (x,)
    if any(np.ma.is_masked(part) for part in parts):
        raise MicroscopeError(f"{name} has masked values: leave the rows that hold them out of all that is given.")
    try:
        if isinstance(x, Tensor):
            return _plain(x.detach())
        if any(isinstance(part, Tensor) for part in parts):
            return torch.stack([_plain(torch.as_tensor(part).detach()) for part in parts])
        return _shared(np.asarray(x))
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        what = "numbers or names" if name == "groups" else "numbers"
        raise MicroscopeError(
            f"{name} cannot be read ({type(x).__name__}): give {what}, in a tensor, an array or lists of equal length."
        ) from error


def _plain(x: Tensor) -> Tensor:
    """A tensor of any layout or type as one that arithmetic is made for."""
    if x.is_meta or x.is_nested:
        raise TypeError("holds no matrix of numbers")
    x = x if x.layout == torch.strided else x.to_dense()
    return x.float() if x.is_floating_point() and x.itemsize == 1 else x


def _shared(array: npt.NDArray[np.generic]) -> Tensor:
    """A tensor on the memory of the array, or on that of a copy where torch cannot take it as it is."""
    kind = array.dtype.newbyteorder("=")
    if kind.kind not in "biufc":
        raise TypeError(f"holds {kind}")
    if kind in (np.dtype(np.longdouble), np.dtype(np.clongdouble)):
        kind = np.dtype(np.complex128 if kind.kind == "c" else np.float64)
    lies = array.flags.writeable and all(step >= 0 and step % array.itemsize == 0 for step in array.strides)
    if not lies or kind != array.dtype:
        array = array.astype(kind, order="C")
    found: Tensor = torch.from_numpy(array)
    return found


def as_rows(x: ArrayLike, name: str = "x") -> Tensor:
    """`x` as a floating tensor of shape (n, d); integers become float64."""
    rows = as_tensor(x, name)
    if rows.ndim != 2 or rows.shape[1] == 0:
        raise MicroscopeError(f"{name} has shape {tuple(rows.shape)}: rows need the shape (n, d) with d of 1 or more.")
    if rows.is_complex() or rows.dtype == torch.bool:
        raise MicroscopeError(f"{name} holds {rows.dtype}: rows need real numbers.")
    return rows if rows.is_floating_point() else rows.double()


def as_pair(x: ArrayLike, y: ArrayLike) -> tuple[Tensor, Tensor]:
    """Paired rows: as many in `y` as in `x`, on the device of `x`."""
    rows_x, rows_y = as_rows(x, "x"), as_rows(y, "y")
    if len(rows_x) != len(rows_y):
        raise MicroscopeError(f"x has {len(rows_x)} rows and y has {len(rows_y)}: linearity needs them paired.")
    return rows_x, rows_y.to(rows_x.device)


def group_ids(groups: ArrayLike, n: int) -> Tensor:
    """The example of each row as a number, (n,): the ids as they are, or of names their places in sorted order."""
    ids = as_tensor(_numbered(groups), "groups")
    if ids.shape != (n,):
        raise MicroscopeError(
            f"groups has shape {tuple(ids.shape)} for {n} rows: give the example of each row, shape ({n},)."
        )
    if ids.is_complex() or bool(ids.isnan().any()):
        raise MicroscopeError("groups hold complex numbers or NaN: give each row the id of its example.")
    return ids


def _numbered(groups: ArrayLike) -> ArrayLike:
    """Names (strings, or what an array of objects holds) as their places in sorted order; anything else as it is."""
    if isinstance(groups, Tensor) or np.ma.is_masked(groups):
        return groups
    try:
        names = np.asarray(groups)
        if names.ndim == 1 and names.dtype.kind in "USTO":
            return np.unique(names, return_inverse=True)[1]
    except (TypeError, ValueError, RuntimeError):  # names that have no order, or nothing to make an array of
        pass
    return groups


def group_codes(groups: ArrayLike | None, n: int) -> Tensor | None:
    """The groups as codes 0 … G−1, int64 (n,), in the order of the sorted group ids."""
    if groups is None:
        return None
    codes: Tensor = torch.unique(group_ids(groups, n).cpu(), return_inverse=True)[1]
    return codes


def fold_members(codes: Tensor, folds: int = FOLDS) -> list[Tensor]:
    """The row indices of each fold: groups dealt round-robin into at most `folds` piles, none ever split."""
    groups = int(codes.max()) + 1 if len(codes) else 0
    return [(codes % folds == k).nonzero()[:, 0] for k in range(min(folds, groups))]


def consecutive_blocks(n: int, blocks: int = FOLDS) -> Tensor:
    """Codes that cut n rows into consecutive blocks of nearly equal size, int64 (n,)."""
    return torch.arange(n) * min(blocks, n) // max(n, 1)


def finite_rows(x: Tensor) -> Tensor:
    """Which rows of x (…, n, d) hold only finite numbers, bool (…, n)."""
    finite = lengths_of(x).isfinite()
    if not bool(finite.all()):  # squares may overflow where the numbers do not
        doubtful = x[~finite]
        finite[~finite] = doubtful.amax(-1).isfinite() & doubtful.amin(-1).isfinite()
    return finite


def lengths_of(x: Tensor) -> Tensor:
    """The norm of each row of x (…, n, d), (…, n), in float32 or better."""
    lengths: Tensor = torch.linalg.vector_norm(x, dim=-1, dtype=torch.promote_types(x.dtype, torch.float32))
    return lengths


SUMS, DISTANCES = 200, 480
"""Rows of up to 2 to this have squares of their sums of squares, and squared distances, in float64."""

LEAST = 1e-140
"""A float64 norm below this may have lost digits: squares under 1e-292 or so are rounded coarsely, then to nothing."""


def levelled(x: Tensor, lengths: Tensor) -> Tensor:
    """Float64 rows (…, n, d) of those lengths (…, n), divided by their largest entry where squares over- or underflow;
    zeros stay. The very rows where there are none of these."""
    odd = ~(lengths.isfinite() & (lengths >= LEAST))
    if not bool(odd.any()):
        return x
    largest = x[odd].abs().amax(-1, keepdim=True)
    level = x.clone()
    level[odd] /= torch.where(largest > 0, largest, 1.0)
    return level


def in_reach(*matrices: Tensor, most: int = SUMS) -> tuple[tuple[Tensor, ...], float]:
    """Paired rows (n, d) of float64 times one power of two, and that power, where their squares, or the squares of
    those, would over- or underflow: the largest entry is then at 2^`most` at most, and about 1 at least. Others, and
    what is not finite, as they are. What does not depend on the unit of the rows stays the same.
    """
    if all(x.dtype != torch.float64 or not x.numel() for x in matrices):
        return matrices, 1.0
    largest = max(abs(float(end)) for x in matrices if x.numel() for end in x.aminmax())
    if not math.isfinite(largest) or largest == 0:
        return matrices, 1.0
    exponent = math.frexp(largest)[1]
    if -SUMS < exponent <= most:
        return matrices, 1.0
    scale = 2.0 ** min(most - exponent if exponent > most else -exponent, 1000)
    return tuple(x.double() * scale for x in matrices), scale


def nonfinite_reason(bad: int, n: int) -> str:
    """The reason that makes a number undefined when rows overflowed."""
    return f"{bad} of {n} rows hold NaN or infinity"


def chunks(x: Tensor, size: int) -> list[Tensor]:
    """`x` cut along its first axis into pieces of at most `size`; none for an empty tensor."""
    return [x[start : start + size] for start in range(0, len(x), size)]
