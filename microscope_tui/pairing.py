"""Two profiles of the same examples: the error of their difference, and one test over all layers.

What two models make of the same questions goes up and down together, so a difference is surer than two intervals laid
side by side. Each value comes with its influences: what each group of examples adds to its error (see
`results.Estimate`). Those of a difference are the differences, group by group. Needs the standard library only.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence

from microscope_tui.student import LEVEL, t_quantile

FEWEST = 6
"""With fewer groups no pattern of signs is rarer than 5 %: 2/2⁵ = 6 %."""

MOST = 10
"""More groups than this are put together, so that all patterns of signs can be tried."""


def difference_by_group(a: Sequence[float], b: Sequence[float]) -> tuple[float, ...]:
    """B − A of influences or of parts, empty where the two are not of the same groups."""
    return tuple(v - u for u, v in zip(a, b, strict=True)) if a and len(a) == len(b) else ()


def groups_in(influences: Sequence[Sequence[float]], shares: Sequence[Sequence[float]] = ()) -> list[int]:
    """The groups that have rows at some layer: a share of them, or where the shares are not known, some influence."""
    known = shares or ((),) * len(influences)
    held = (s or moved for moved, s in zip(influences, known, strict=True))
    return sorted({k for layer in held for k, each in enumerate(layer) if each})


def parts(value: float, influence: Sequence[float], shares: Sequence[float] = ()) -> tuple[float, ...]:
    """What of a value D is each group's: sD + √(gs(1 − s)) u, s its share of the rows, u its influence, g groups that
    have rows. The parts add up to D.

    It is s (pseudo-value + D − θ_J), θ_J the jackknife's value (see `geometry.intervals`): of a mean of rows, the
    group's own rows over all n. A group without rows has none. Where the `shares` are not known, equal ones.
    """
    held = shares or [float(u != 0) for u in influence]
    g, whole = sum(s > 0 for s in held), sum(held)
    each = [s / whole if s else 0.0 for s in held]
    return tuple(s * value + math.sqrt(g * s * (1 - s)) * u for s, u in zip(each, influence, strict=True))


def reach(influence: Sequence[float], groups: int) -> float:
    """How far the 95 % interval reaches to either side: a t-interval on groups − 1 degrees."""
    return t_quantile((1 + LEVEL) / 2, max(groups - 1, 1)) * math.hypot(*influence)


@functools.lru_cache(maxsize=256)
def adjusted_p(differences: tuple[tuple[float, ...], ...]) -> tuple[float, ...] | None:
    """The p of each layer's difference, two-sided, adjusted for all layers (max-T: Westfall & Young 1993).

    `differences` (layers, groups) are what is left of each group's part in B without that in A (see `parts`), of the
    groups that have rows; each model's part is made with the group's share of its own rows. Were the models alike, its
    sign would be arbitrary: so signs are flipped, whole groups at a time and all layers together, and a layer is
    compared with the largest |t| of any layer. The data are one of the patterns, so that no p is 0. None where there
    are fewer than `FEWEST` groups.
    """
    g = len(differences[0]) if differences else 0
    if g < FEWEST:
        return None
    count = 2 ** (min(g, MOST) - 1)
    observed: list[float] = []
    largest = [0.0] * count
    for each in differences:
        own = [sum(each[k::MOST]) for k in range(min(g, MOST))]
        # The sum of squares is the same under every pattern, so that |Σ| orders them as |t| does.
        scale = math.hypot(*own)
        found = [abs(total) / scale for total in _flipped(own)] if scale else [0.0] * count
        observed.append(found[0])
        largest = list(map(max, largest, found))
    # Rounding must not decide whether a pattern ties with the data.
    return tuple(sum(other >= t * (1 - 1e-9) for other in largest) / count for t in observed)


def _flipped(own: Sequence[float]) -> list[float]:
    """Σ ± own for every pattern of signs, that of the data first; of a pattern and its opposite only one."""
    sums = [own[0]]
    for value in own[1:]:
        sums = [total + value for total in sums] + [total - value for total in sums]
    return sums
