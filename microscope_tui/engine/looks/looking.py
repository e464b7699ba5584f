"""What all looks share: who hears of them, and numbers as JSON holds them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

from microscope_tui.terms import Progress

Tell = Callable[[Progress], None]
"""Who hears how far a look is, and raises `Cancelled` when it shall stop."""

DIGITS = 6


def rounded(values: Iterable[float]) -> tuple[float, ...]:
    """Finite numbers to `DIGITS` digits: a table of tokens is large, and is read by people."""
    return tuple(float(f"{value:.{DIGITS}g}") for value in values)


def known(values: Iterable[float]) -> tuple[float | None, ...]:
    """As `rounded`, with None for what is not finite."""
    return tuple(rounded([value])[0] if math.isfinite(value) else None for value in values)
