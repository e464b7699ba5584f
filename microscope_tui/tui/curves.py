"""What a chart is made from: curves with intervals and gaps, and the range of values that shows them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Line:
    """One profile to draw; lists of equal length. `colour` is the number of its series."""

    layers: tuple[int, ...]
    value: tuple[float | None, ...]
    low: tuple[float | None, ...]
    high: tuple[float | None, ...]
    colour: int = 0

    def runs(self) -> Iterator[list[tuple[int, float]]]:
        """The stretches without a gap, each a list of (layer, value)."""
        run: list[tuple[int, float]] = []
        for layer, value in zip(self.layers, self.value, strict=True):
            if value is not None and math.isfinite(value):
                run.append((layer, value))
            elif run:
                yield run
                run = []
        if run:
            yield run

    def bounds(self) -> dict[int, tuple[float, float]]:
        """The interval of each layer that has one."""
        return {
            layer: (low, high)
            for layer, low, high in zip(self.layers, self.low, self.high, strict=True)
            if low is not None and high is not None and math.isfinite(low) and math.isfinite(high)
        }


def limits(lines: Sequence[Line]) -> tuple[float, float]:
    """The range of the values and, up to twice that range, of their intervals; never empty."""
    values = [value for line in lines for run in line.runs() for _, value in run]
    if not values:
        return 0.0, 1.0
    low, high = min(values), max(values)
    reach = max(high - low, 0.02 * abs(high), 1e-6)
    lows = [b for line in lines for b in line.low if b is not None and math.isfinite(b)]
    highs = [b for line in lines for b in line.high if b is not None and math.isfinite(b)]
    low = max(min([low, *lows]), low - reach)
    high = min(max([high, *highs]), high + reach)
    pad = max(0.04 * (high - low), 0.002 * max(abs(low), abs(high)), 1e-9)
    return low - pad, high + pad
