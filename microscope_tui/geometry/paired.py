"""Moments of one set of rows, and of paired rows: sums that combine exactly.

See `microscope_tui.geometry.moments` for the formulas and for what happens to rows that are not finite.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, Self, TypeVar

import torch
from torch import Tensor

from microscope_tui.errors import MicroscopeError
from microscope_tui.geometry.columns import Part, parts
from microscope_tui.geometry.products import (
    CHUNK,
    add_gram,
    add_of_update,
    add_product,
    add_upper,
    centred,
    column_squares,
    combination,
    is_small_update,
    massive_rows,
    mirror,
    parts_of,
    sum_of_directions,
)
from microscope_tui.geometry.rows import as_pair, as_rows, finite_rows, lengths_of
from microscope_tui.geometry.solve import NO_CHANGE


@dataclass(frozen=True)
class Spread:
    """Moments of one set of rows: `n` rows, `mean` (d,), centred `scatter` (d, d) = Σ (x − m)(x − m)ᵀ.

    `unit_sum` (d,) is the sum of the rows scaled to length 1, over the `units` rows that are not zero: all
    that the mean pairwise cosine needs; `units` is None where it was not accumulated. `nonfinite`, `left_out`:
    see the module.
    """

    n: int
    mean: Tensor
    scatter: Tensor
    unit_sum: Tensor
    units: int | None
    nonfinite: int = 0
    left_out: int = 0

    @classmethod
    def of(cls, x: Tensor, *, dtype: torch.dtype = torch.float64) -> Self:
        """The moments of rows (n, d); `dtype` is the type the products are made in."""
        x = as_rows(x)
        finite = finite_rows(x)
        bad = int((~finite).sum())
        d = x.shape[1]
        n, units = 0, 0
        mean, unit_sum = (torch.zeros(d, dtype=torch.float64, device=x.device) for _ in range(2))
        scatter = torch.zeros(d, d, dtype=torch.float64, device=x.device)
        for (part,), kind in parts_of([x], finite, dtype):
            exact = part.double()
            total, shift, weight = combination(n, len(exact), 1)
            here = exact.mean(0)
            delta = here - mean
            add_gram(scatter, centred(exact, here, delta, weight), kind)
            mean = mean + shift * delta
            n = total
            directions, known = sum_of_directions(exact)
            unit_sum += directions
            units += int(known)
        return cls(n, mean, scatter, unit_sum, units, bad, bad)

    def __add__(self, other: Spread) -> Spread:
        return self._combine(other, 1)

    def __sub__(self, other: Spread) -> Spread:
        return self._combine(other, -1)

    def _combine(self, other: Spread, sign: int) -> Spread:
        n, shift, weight = combination(self.n, other.n, sign)
        delta = other.mean - self.mean
        return Spread(
            n,
            self.mean + shift * delta,
            torch.add(self.scatter, other.scatter, alpha=sign).addr_(delta, delta, alpha=weight),
            self.unit_sum + sign * other.unit_sum,
            None if self.units is None or other.units is None else self.units + sign * other.units,
            self.nonfinite + sign * other.nonfinite,
            self.left_out + sign * other.left_out,
        )


@dataclass(eq=False)
class Moments:
    """Moments of paired rows x (n, d) and y (n, e): means, and centred scatter sums xx, xy, yy, float64.

    xy[i, j] = Σ (x_i − m_i)(y_j − m_j). Divide by n − 1 for covariances. yy is (e, e), or only its diagonal (e,).
    `is_update`: y is the update that is added to x, not the next state. Its squares up to a sum of `noise` may be
    rounding.
    """

    n: int
    mean_x: Tensor
    mean_y: Tensor
    xx: Tensor
    xy: Tensor
    yy: Tensor
    nonfinite: int = 0
    left_out: int = 0
    is_update: bool = False
    noise: float = 0.0

    @classmethod
    def empty(
        cls, d: int, e: int | None = None, *, device: torch.device | str = "cpu", squares_only: bool = False
    ) -> Self:
        """Moments of no rows of widths `d` and `e` (as wide as x by default).

        `squares_only`: of yy only the diagonal is kept, which is all that linearity needs.
        """
        e = d if e is None else e

        def zeros(*shape: int) -> Tensor:
            return torch.zeros(shape, dtype=torch.float64, device=device)

        return cls(0, zeros(d), zeros(e), zeros(d, d), zeros(d, e), zeros(e) if squares_only else zeros(e, e))

    @classmethod
    def of(cls, x: Tensor, y: Tensor, *, dtype: torch.dtype = torch.float64, squares_only: bool = False) -> Self:
        """Moments of paired rows x (n, d), y (n, e); for the options see `empty` and `update`."""
        x, y = as_pair(x, y)
        start = cls.empty(x.shape[1], y.shape[1], device=x.device, squares_only=squares_only)
        return start.update(x, y, dtype=dtype)

    @classmethod
    def of_update(cls, x: Tensor, y: Tensor, *, dtype: torch.dtype = torch.float64, squares_only: bool = False) -> Self:
        """Moments of rows x (n, d) and their update y − x, as `of(x, y).difference()`, but as exact as the rows: what x
        carries into y, a massive row say, takes no digits from the update."""
        x, y = as_pair(x, y)
        both = cls.empty(x.shape[1], y.shape[1], device=x.device, squares_only=squares_only)
        both._check_difference()
        both._take(x, y, dtype, less=True)
        both.is_update = True
        size = sum(
            float(c.sum() + both.n * m.square().sum())
            for m, c in ((both.mean_x, both.xx.diagonal()), (both.mean_y, both.squares))
        )
        both.noise = rounding(x.dtype, y.dtype) * size
        return both

    @property
    def squares(self) -> Tensor:
        """The diagonal of yy (e,)."""
        return self.yy if self.yy.ndim == 1 else self.yy.diagonal()

    def update(self, x: Tensor, y: Tensor, *, dtype: torch.dtype = torch.float64) -> Self:
        """Adds paired rows, in place. `dtype` is the type the products are made in (see `ChainMoments`)."""
        x, y = as_pair(x, y)
        if (x.shape[1], y.shape[1]) != tuple(self.xy.shape):
            raise MicroscopeError(
                f"rows of widths {x.shape[1]} and {y.shape[1]} cannot be added to moments of widths "
                f"{self.xy.shape[0]} and {self.xy.shape[1]}."
            )
        self._take(x, y, dtype, less=False)
        return self

    def _take(self, x: Tensor, y: Tensor, dtype: torch.dtype, *, less: bool) -> None:
        """Adds paired rows, `less`: of x and y − x."""
        keep = finite_rows(x) & finite_rows(y)
        bad = int((~keep).sum())
        self.nonfinite += bad
        self.left_out += bad
        of_update = False
        few: Iterable[Part] = ()
        if dtype != torch.float64:
            massive = massive_rows(torch.stack([lengths_of(x), lengths_of(y)]), keep)
            keep &= ~massive
            of_update = not less and is_small_update(x, y, keep.nonzero()[:CHUNK, 0])
            few = parts(x[massive], y[massive], massive[massive], torch.float64, less=less or of_update)
        before = self.xx.clone() if of_update and self.n else None
        merges: list[tuple[Tensor, Tensor]] = []
        for part in itertools.chain(parts(x, y, keep, dtype, less=less or of_update), few):
            self._add(part.x, part.y, of_update)
            n, shift, weight = combination(self.n, part.n, 1)
            dx = part.mean_x - self.mean_x
            dy = part.mean_y + part.mean_x - self.mean_y if of_update else part.mean_y - self.mean_y
            merges.append((weight**0.5 * dx, weight**0.5 * (dy - dx if of_update else dy)))
            self.mean_x = self.mean_x + shift * dx
            self.mean_y = self.mean_y + shift * dy
            self.n = n
        for some in (merges[start : start + CHUNK] for start in range(0, len(merges), CHUNK)):
            # The weighted δ of each part is as good as a row more, in float64: means may be far apart.
            self._add(torch.stack([dx for dx, _ in some]), torch.stack([dy for _, dy in some]), of_update)
        mirror(self.xx)
        if of_update:
            grown = self.xx if before is None else self.xx - before
            self.xy += grown
            self.yy += grown if self.yy.ndim == 2 else grown.diagonal()
        if self.yy.ndim == 2:
            mirror(self.yy)

    def _add(self, x: Tensor, y: Tensor, of_update: bool) -> None:
        """Adds the products of centred rows, made in the rows' type; of what is symmetric the upper triangle. With
        `of_update`, `y` is the update, and xᵀx is left for the caller to add (see `add_of_update`)."""
        add_upper(self.xx, x)
        if of_update:
            add_of_update(self.xy, self.yy, x, y)
            return
        add_product(self.xy, x, y)
        if self.yy.ndim == 2:
            add_upper(self.yy, y)
        else:
            self.yy += column_squares(y)

    def __add__(self, other: Moments) -> Moments:
        return self._combine(other, 1)

    def __sub__(self, other: Moments) -> Moments:
        """The moments without the rows of `other`, which must be among these."""
        return self._combine(other, -1)

    def merge(self, other: Moments) -> Moments:
        """The moments of both sets of rows together; the same as `self + other`."""
        return self + other

    def _combine(self, other: Moments, sign: int) -> Moments:
        if self.xy.shape != other.xy.shape:
            raise MicroscopeError(
                f"moments of widths {tuple(self.xy.shape)} and {tuple(other.xy.shape)} cannot be combined."
            )
        if self.yy.ndim != other.yy.ndim:
            raise MicroscopeError("moments with squares only and whole ones cannot be combined: make both alike.")
        if self.is_update != other.is_update:
            raise MicroscopeError("moments of a state and of an update cannot be combined: make both alike.")
        n, shift, weight = combination(self.n, other.n, sign)
        dx, dy = other.mean_x - self.mean_x, other.mean_y - self.mean_y
        return Moments(
            n,
            self.mean_x + shift * dx,
            self.mean_y + shift * dy,
            torch.add(self.xx, other.xx, alpha=sign).addr_(dx, dx, alpha=weight),
            torch.add(self.xy, other.xy, alpha=sign).addr_(dx, dy, alpha=weight),
            _with_product(torch.add(self.yy, other.yy, alpha=sign), dy, weight),
            self.nonfinite + sign * other.nonfinite,
            self.left_out + sign * other.left_out,
            self.is_update,
            self.noise + sign * other.noise,
        )

    def about(self, mean_x: Tensor, mean_y: Tensor) -> Moments:
        """The same sums taken about other centres: S + n (m − c)(m − c)ᵀ. `mean_x`, `mean_y` become the centres."""
        dx, dy = self.mean_x - mean_x, self.mean_y - mean_y
        return Moments(
            self.n,
            mean_x,
            mean_y,
            self.xx + self.n * torch.outer(dx, dx),
            self.xy + self.n * torch.outer(dx, dy),
            _with_product(self.yy.clone(), dy, self.n),
            self.nonfinite,
            self.left_out,
            self.is_update,
            self.noise,
        )

    def difference(self) -> Moments:
        """Moments of (x, y − x), without a second pass: C_xΔ = C_xy − C_xx, C_ΔΔ = C_yy − C_xy − C_xyᵀ + C_xx."""
        mean, squares = self.change()
        return Moments(
            self.n,
            self.mean_x,
            mean,
            self.xx,
            self.xy - self.xx,
            squares if self.yy.ndim == 1 else self.yy - self.xy - self.xy.T + self.xx,
            self.nonfinite,
            self.left_out,
            is_update=True,
            noise=NO_CHANGE * float(self.xx.trace()),
        )

    def change(self) -> tuple[Tensor, Tensor]:
        """Of the update y − x the mean (d,) and the sums of squares of its centred columns (d,)."""
        self._check_difference()
        return self.mean_y - self.mean_x, self.squares - 2 * self.xy.diagonal() + self.xx.diagonal()

    def _check_difference(self) -> None:
        if self.is_update:
            raise MicroscopeError("these are moments of an update already.")
        if self.xy.shape[0] != self.xy.shape[1]:
            raise MicroscopeError("the update y − x needs x and y of the same width.")


class _Addable(Protocol):
    def __add__(self, other: Self, /) -> Self: ...


Sums = TypeVar("Sums", bound=_Addable)


def without_each(each: Sequence[Sums], wanted: Sequence[int]) -> Iterator[Sums]:
    """The sum of all but one, for each one that is `wanted`, in ascending order.

    By halves: what is outside a half is added up once for all that are in it, so that n of n take n log n additions.
    """
    return _inside(each, wanted, 0, len(each), ())


def _inside(
    each: Sequence[Sums], wanted: Sequence[int], first: int, end: int, outside: tuple[Sums, ...]
) -> Iterator[Sums]:
    """The same for those from `first` to `end`; `outside`: the sum of the others, if there are any."""
    if end - first == 1:
        yield from outside
        return
    left, right = range(first, (first + end) // 2), range((first + end) // 2, end)
    for here, there in ((left, right), (right, left)):
        if any(k in here for k in wanted):
            added = (*outside, *each[there.start : there.stop])
            total = added[0]
            for one in added[1:]:
                total = total + one
            yield from _inside(each, wanted, here.start, here.stop, (total,))


def rounding(*types: torch.dtype) -> float:
    """The share of the squares of rows of these types that differences of such rows may have by rounding alone."""
    return min(NO_CHANGE, max(torch.finfo(each).eps for each in types) ** 2)


def _with_product(yy: Tensor, delta: Tensor, weight: float) -> Tensor:
    """yy + weight δδᵀ in place, or of that the diagonal where yy is one."""
    return yy.addr_(delta, delta, alpha=weight) if yy.ndim == 2 else yy.add_(delta.square(), alpha=weight)
