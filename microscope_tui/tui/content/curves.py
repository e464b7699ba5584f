"""What a chart is made from: curves with intervals and gaps, and the axes that show them."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

from microscope_tui.results import unbroken

FLOOR = -99.0
"""The logarithm of a bound that is not above 0: below every axis."""


@dataclass(frozen=True)
class Line:
    """One profile to draw; lists of equal length. `places` are where its layers stand on the x axis, rising.

    `colour` is the slot of its series. `stages` are the names of stages before the decoder, empty inside: the line
    is interrupted between two stages, whose rows have nothing to do with each other. `marks`, where there are any,
    say which points carry the sign of the series.
    """

    places: tuple[float, ...]
    value: tuple[float | None, ...]
    low: tuple[float | None, ...]
    high: tuple[float | None, ...]
    colour: int = 0
    stages: tuple[str, ...] = ()
    marks: tuple[bool, ...] = ()

    def runs(self) -> Iterator[list[tuple[int, float, float]]]:
        """The stretches without a gap, each a list of (index, place, value)."""
        for run in unbroken((value is not None and math.isfinite(value) for value in self.value), self.stages):
            yield [(i, self.places[i], value) for i in run if (value := self.value[i]) is not None]

    @cached_property
    def bands(self) -> tuple[tuple[tuple[float, ...], tuple[tuple[float, float], ...]], ...]:
        """The stretches that have intervals: places, and low and high at each."""
        found = []
        for run in self.runs():
            stretch: list[tuple[float, tuple[float, float]]] = []
            for i, place, _ in [*run, (-1, math.inf, math.nan)]:
                low, high = (self.low[i], self.high[i]) if i >= 0 else (None, None)
                if low is not None and high is not None and math.isfinite(low) and math.isfinite(high):
                    stretch.append((place, (low, high)))
                elif stretch:
                    found.append((tuple(p for p, _ in stretch), tuple(bounds for _, bounds in stretch)))
                    stretch = []
        return tuple(found)

    def band(self, place: float) -> tuple[float, float] | None:
        """The interval at a place, interpolated between its neighbours; None where either of them has none."""
        for places, bounds in self.bands:
            if places[0] - 1e-9 <= place <= places[-1] + 1e-9:
                after = min(bisect_left(places, place - 1e-9), len(places) - 1)
                before = max(after - 1, 0)
                reach = places[after] - places[before]
                share = (place - places[before]) / reach if reach else 0.0
                (low0, high0), (low1, high1) = bounds[before], bounds[after]
                return low0 + share * (low1 - low0), high0 + share * (high1 - high0)
        return None

    def logarithmic(self) -> Line:
        """The same on a scale of log₁₀: values that are not above 0 become gaps."""

        def log(value: float | None) -> float | None:
            return math.log10(value) if value is not None and value > 0 else None

        def bound(value: float | None) -> float | None:
            return None if value is None else FLOOR if value <= 0 else math.log10(value)

        return replace(
            self,
            value=tuple(log(v) for v in self.value),
            low=tuple(bound(v) for v in self.low),
            high=tuple(bound(v) for v in self.high),
        )


class Axes(NamedTuple):
    """Cursor positions `first` … `last` on x, and the range `ys` on y (None: that of the lines).

    The cursor goes by layers, stages before the decoder being below 0. With `depth` the layers are numbered by
    their share of the depth. With `log` the lines hold log₁₀ of what the y axis is labelled with; `zero` draws a line
    at y = 0. `stages` are first position and name of each stage. `plain`: without anything but axes and lines.
    """

    last: int
    first: int = 0
    ys: tuple[float, float] | None = None
    depth: bool = False
    log: bool = False
    zero: bool = False
    stages: tuple[tuple[int, str], ...] = ()
    plain: bool = False

    def label(self, position: int) -> str:
        """What the cursor's position is called."""
        if position < 0:
            return next((name for start, name in reversed(self.stages) if start <= position), str(position))
        return f"{position / max(self.last, 1):.2f}" if self.depth else str(position)


def nearest(places: Sequence[float], position: float) -> int | None:
    """The index of the place that a cursor position means, None where there is none near enough."""
    if not places:
        return None
    after = min(bisect_left(places, position), len(places) - 1)
    index = min((max(after - 1, 0), after), key=lambda i: abs(places[i] - position))
    spacing = places[-1] - places[-2] if len(places) > 1 and places[-2] >= 0 else 1.0
    return index if abs(places[index] - position) <= max(spacing, 1.0) / 2 + 1e-9 else None


def limits(lines: Sequence[Line], *, zero: bool = False) -> tuple[float, float]:
    """The range of the values (and of 0) and, up to twice that range, of their intervals; never empty."""
    values = [value for line in lines for run in line.runs() for _, _, value in run]
    if not values:
        return 0.0, 1.0
    values += [0.0] * zero
    low, high = min(values), max(values)
    reach = max(high - low, 0.02 * abs(high), 1e-6)
    lows = [b for line in lines for b in line.low if b is not None and math.isfinite(b)]
    highs = [b for line in lines for b in line.high if b is not None and math.isfinite(b)]
    low = max(min([low, *lows]), low - reach)
    high = min(max([high, *highs]), high + reach)
    pad = max(0.04 * (high - low), 0.002 * max(abs(low), abs(high)), 1e-9)
    return low - pad, high + pad
