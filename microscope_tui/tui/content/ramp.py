"""From a number to a colour or, where colours are few, to a character; and the range of numbers that is shown."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from microscope_tui.tui.themes import Palette

RAMPS = {
    True: "#262626 #5f0087 #870087 #af0087 #d7005f #ff5f5f #ff8700 #ffaf00 #ffd75f #ffffaf".split(),
    False: "#eeeeee #ffd787 #ffaf5f #ff875f #d75f5f #d7005f #af005f #87005f #5f005f #00005f".split(),
}
"""Ten of a terminal's 256 colours for a dark (True) and a light theme: the farther from the background, the larger.
Their lightness grows step by step, also as the colour-blind see it."""

SHADES = " .:-=+*#%@"
"""As many characters, by the ink that they hold."""

RANK = 0.01
"""Share of the values at each end that may lie beyond the range: a few sinks must not make all else look alike."""


def colours(palette: Palette) -> tuple[str, ...]:
    """The steps of the scale in a theme, the smallest value first."""
    return tuple(RAMPS[palette.dark])


@dataclass(frozen=True)
class Range:
    """The values that the steps of a scale go over, evenly or (`log`) by equal factors."""

    low: float
    high: float
    log: bool = False

    def step(self, value: float | None, steps: int = len(SHADES)) -> int | None:
        """Which of so many steps a value falls on, the nearest one outside of the range; None for no value."""
        if value is None or math.isnan(value):
            return None
        low, high, at = self.low, self.high, value
        if self.log:
            if value <= 0:
                return 0
            low, high, at = math.log(low), math.log(high), math.log(value)
        if high <= low:
            return steps // 2
        return max(0, min(steps - 1, math.floor(steps * (at - low) / (high - low))))


def range_of(values: Iterable[float | None], *, log: bool = False) -> Range:
    """The range of the values but for the most extreme ones, of those above 0 if `log`."""
    known = sorted(v for v in values if v is not None and math.isfinite(v) and (v > 0 or not log))
    if not known:
        return Range(1.0, 1.0, log)
    cut = int(RANK * len(known))
    return Range(known[cut], known[-1 - cut], log)
