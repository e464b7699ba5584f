"""Plain arrays in: what the three metrics accept, and how it is checked.

Rows are token vectors, one a row, in a matrix of shape (n, d). Groups say which example each row came from;
folds are groups dealt into a small number of piles.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeAlias

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


def as_tensor(x: ArrayLike) -> Tensor:
    """`x` as a detached tensor, sharing memory where it can (a read-only array is copied)."""
    if isinstance(x, Tensor):
        return x.detach()
    flags = getattr(x, "flags", None)
    if flags is not None and not getattr(flags, "writeable", True):
        return torch.tensor(x)
    try:
        return torch.as_tensor(x)
    except (TypeError, ValueError, RuntimeError):
        raise MicroscopeError(
            f"A {type(x).__name__} cannot be read as rows: give a tensor or array of shape (n, d)."
        ) from None


def as_rows(x: ArrayLike, name: str = "x") -> Tensor:
    """`x` as a floating tensor of shape (n, d); integers become float64."""
    rows = as_tensor(x)
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


def group_codes(groups: ArrayLike | None, n: int) -> Tensor | None:
    """The groups as codes 0 … G−1, int64 (n,), in the order of the sorted group ids."""
    if groups is None:
        return None
    ids = as_tensor(groups)
    if ids.shape != (n,):
        raise MicroscopeError(
            f"groups has shape {tuple(ids.shape)} for {n} rows: give the example of each row, shape ({n},)."
        )
    codes: Tensor = torch.unique(ids.cpu(), return_inverse=True)[1]
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


def nonfinite_reason(bad: int, n: int) -> str:
    """The reason that makes a number undefined when rows overflowed."""
    return f"{bad} of {n} rows hold NaN or infinity"


def chunks(x: Tensor, size: int) -> list[Tensor]:
    """`x` cut along its first axis into pieces of at most `size`; none for an empty tensor."""
    return [x[start : start + size] for start in range(0, len(x), size)]
