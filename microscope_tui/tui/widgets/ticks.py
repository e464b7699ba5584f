"""Where values fall on character cells, and which numbers stand beside them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

from microscope_tui.tui.content.curves import Axes

ROUND = (0.1, 0.2, 0.25, 0.5, 1, 2, 2.5, 5)
"""Steps between ticks, in powers of ten."""
STRETCHES = tuple(1 + 0.03 * i for i in range(9))
"""By how much a y axis may be longer than what it must show, so that its ticks fall on rows evenly."""
FEWER, UNEVEN, LONE = 0.4, 1.0, 2.0
"""What speaks against ticks as much as an axis longer by this share does: that most of them are missing, that the
shortest distance between them is nothing against the longest, and that there is but one."""
STEPS = (1, 2, 4, 5, 8, 10, 16, 20, 25, 40, 50, 100, 200, 500, 1000)
"""Steps between numbered layers."""
LEAST_TICKS = 3
"""Numbers from which powers of ten and their parts tell more than round numbers do."""

Ticks = tuple[list[float], list[str]]
"""Places on an axis, and what is written there."""


class Scale(NamedTuple):
    """Where values fall on `cells` character cells of `dots` dots each: plotext's own rounding."""

    low: float
    high: float
    cells: int
    dots: int

    def dot(self, value: float) -> int:
        return math.floor(round(0.5 + (self.cells * self.dots - 1) * (value - self.low) / (self.high - self.low), 8))

    def cell(self, value: float) -> int:
        return self.dot(value) // self.dots

    def place(self, value: float) -> float:
        """The value that plotext, which puts ticks on whole cells, puts on the cell where the dots of `value` are."""
        return self.low + self.cell(value) / max(self.cells - 1, 1) * (self.high - self.low)

    def value(self, cell: int) -> float:
        """The value at the middle of a cell."""
        middle = cell * self.dots + (self.dots - 1) / 2
        return self.low + middle / max(self.cells * self.dots - 1, 1) * (self.high - self.low)

    def parted(self) -> Scale:
        """A scale that shows no less, on which 0 lies in the middle of a cell: a line there has dots of what is above 0
        above it, and those of what is below 0 below it. This one where it does not go from below 0 to above."""
        if not self.low < 0 < self.high:
            return self
        places = self.cells * self.dots - 1
        middle = (self.dots - 1) / 2
        now = (-self.low / (self.high - self.low) * places - middle) / self.dots
        shares = ((cell * self.dots + middle) / places for cell in (math.floor(now), math.ceil(now)))
        longer = (
            (min(self.low, -self.high * share / (1 - share)), max(self.high, -self.low * (1 - share) / share))
            for share in shares
            if 0 < share < 1
        )
        low, high = min(longer, key=lambda ends: ends[1] - ends[0])
        return self._replace(low=low, high=high)


def y_axis(
    low: float, high: float, rows: int, *, log: bool = False, fixed: bool = False, zero: bool = False
) -> tuple[Scale, Ticks]:
    """A y axis of so many rows that shows `low` to `high`, at least or (`fixed`) just that, with its ticks. With `zero`
    it is a little longer, so that 0 parts what is above from what is below: see `Scale.parted`.

    The ticks fall on rows evenly, for which the axis may be longer than it must be. Those of a `log` axis, which holds
    log₁₀ of its numbers, need not: its numbers tell where they stand.
    """
    scale = Scale(low, high, max(rows, 1), 4)
    scale = scale.parted() if zero else scale
    if rows <= 1:
        return scale, ([], [])
    most = max(2, min(rows // 2, 8))
    if log:
        return scale, _log_ticks(low, high, most)
    best, step = math.inf, high - low
    for stretch in STRETCHES[:1] if fixed else STRETCHES:
        if stretch - 1 >= best:
            break
        more = (stretch - 1) * (high - low)
        for below in (0.5, 0.0, 1.0) if more else (0.0,):
            tried = Scale(low - below * more, high + (1 - below) * more, rows, 4)
            tried = tried.parted() if zero else tried
            for each in _steps(tried.low, tried.high, most):
                cells = [tried.cell(number * each) for number in _multiples(tried.low, tried.high, each)]
                cost = stretch - 1 + _against(cells, most)
                if cost < best - 1e-9:
                    best, scale, step = cost, tried, each
    return scale, _ticks(scale.low, scale.high, step)


def x_ticks(axes: Axes, cells: int) -> list[tuple[float, str]]:
    """What is numbered below the plot from layer 0 on: the last one always, the others as far as they fit."""
    cells = round(cells * axes.last / max(axes.last - axes.first, 1)) if axes.first < 0 else cells
    if axes.depth:
        parts = next((n for n in (10, 5, 4, 2) if n * 6 <= cells), 1)
        return [(axes.last * k / parts, f"{k / parts:g}") for k in range(parts + 1)]
    last = axes.last
    room = len(str(last)) + 3
    step = next((s for s in STEPS if last / s * room <= cells), last or 1)
    numbers = [number for number in range(0, last, step) if (last - number) * cells >= room * max(last, 1)]
    return [(float(number), str(number)) for number in (*numbers, last)]


def _steps(low: float, high: float, most: int) -> Iterator[float]:
    """The round steps that make at most so many ticks, and at least one, the shortest first."""
    power = 10.0 ** math.floor(math.log10(high - low))
    for step in (power * factor for factor in ROUND):
        if 1 <= len(_multiples(low, high, step)) <= most:
            yield step


def _multiples(low: float, high: float, step: float) -> range:
    """The multiples of a step between two numbers, in steps."""
    return range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)


def _against(cells: Sequence[int], most: int) -> float:
    """What speaks against ticks on these cells where there could be so many."""
    gaps = [after - before for before, after in pairwise(cells)]
    uneven = (max(gaps) - min(gaps)) / max(gaps) if gaps else 0
    return FEWER * (1 - len(cells) / most) + UNEVEN * uneven + LONE * (len(cells) < 2)


def _ticks(low: float, high: float, step: float) -> Ticks:
    """The multiples of a round step between the limits, and how they are written."""
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    if not math.isclose(step * 10**decimals, round(step * 10**decimals)):
        decimals += 1
    ticks = [number * step for number in _multiples(low, high, step)]
    return ticks, [f"{tick:.{decimals}f}" if abs(tick) > step / 2 else "0" for tick in ticks]


def _log_ticks(low: float, high: float, most: int) -> Ticks:
    """Ticks for an axis that holds log₁₀: 1, 2 and 5 times the powers of ten, or fewer, or round numbers between."""
    for factors in ((1, 2, 5), (1, 3), (1,)):
        powers = range(math.floor(low), math.ceil(high) + 1)
        numbers = [factor * 10.0**power for power in powers for factor in factors]
        shown = [number for number in numbers if low <= math.log10(number) <= high]
        if len(shown) <= most:
            break
    if len(shown) >= min(LEAST_TICKS, most):
        shown = shown[:: math.ceil(len(shown) / most)]
        return [math.log10(number) for number in shown], [f"{number:g}" for number in shown]
    low, high = 10**low, 10**high
    ticks, labels = _ticks(low, high, next(_steps(low, high, most)))
    above = [(math.log10(tick), label) for tick, label in zip(ticks, labels, strict=True) if tick > 0]
    return [tick for tick, _ in above], [label for _, label in above]
