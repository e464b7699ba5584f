"""Two profiles of the same examples: the error of their difference, and one test over all layers.

What two models make of the same questions goes up and down together, so a difference is surer than two intervals laid
side by side. Each value comes with its influences: what each group of examples adds to its error (see
`results.Estimate`). Those of a difference are the differences, group by group. Needs the standard library only.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence

from microscope_tui.student import t_quantile

LEVEL = 0.95

FEWEST = 6
"""With fewer groups no pattern of signs is rarer than 5 %: 2/2⁵ = 6 %."""

MOST = 10
"""More groups than this are put together, so that all patterns of signs can be tried."""


def influences_of_difference(a: Sequence[float], b: Sequence[float]) -> tuple[float, ...]:
    """The influences of B − A, empty where the two are not of the same groups."""
    return tuple(v - u for u, v in zip(a, b, strict=True)) if a and len(a) == len(b) else ()


def groups_in(influences: Sequence[Sequence[float]]) -> list[int]:
    """The groups that have rows: some influence at some layer."""
    return [k for k in range(len(influences[0])) if any(layer[k] for layer in influences)] if influences else []


def reach(influence: Sequence[float], groups: int) -> float:
    """How far the 95 % interval reaches to either side: a t-interval on groups − 1 degrees."""
    return t_quantile((1 + LEVEL) / 2, max(groups - 1, 1)) * math.hypot(*influence)


def mean_shares(a: Sequence[float], b: Sequence[float]) -> tuple[float, ...]:
    """The groups' shares of the rows of both models, empty where the two are not of the same groups."""
    return tuple((u + v) / 2 for u, v in zip(a, b, strict=True)) if a and len(a) == len(b) else ()


@functools.lru_cache(maxsize=256)
def adjusted_p(
    differences: tuple[float, ...],
    influences: tuple[tuple[float, ...], ...],
    shares: tuple[tuple[float, ...], ...] = (),
) -> tuple[float, ...] | None:
    """The p of each layer's difference, two-sided, adjusted for all layers (max-T: Westfall & Young 1993).

    A group's part in the difference D of all is sD + √(gs(1 − s)) u, s its share of the rows and u its influence (s
    times its pseudo-value, see `geometry.intervals`; the g parts add up to D). Were the models alike, its sign would be
    arbitrary: so signs are flipped, whole groups at a time and all layers together, and a layer is compared with the
    largest |t| of any layer. The data are one of the patterns, so that no p is 0. None where there are fewer than
    `FEWEST` groups. `shares` are those at each layer; where they are not known, equal.
    """
    groups = groups_in(influences)
    g = len(groups)
    if g < FEWEST:
        return None
    count = 2 ** (min(g, MOST) - 1)
    equal = (1 / g,) * len(influences[0])
    observed: list[float] = []
    largest = [0.0] * count
    for difference, moved, known in zip(differences, influences, shares or ((),) * len(influences), strict=True):
        s = known or equal
        each = [s[k] * difference + math.sqrt(g * s[k] * (1 - s[k])) * moved[k] for k in groups]
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
