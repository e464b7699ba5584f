"""The difference of two models on the same questions, layer by layer, with the layers' multiplicity accounted for.

Every question gives both models a numerator and a denominator at each layer (a per-example sum: errors and
totals, Σ log μ and its count; or a value and 1). The statistic is the difference of the two ratios of sums.
Under the hypothesis that the models do not differ, which of a question's two values belongs to which model is
arbitrary: so questions are swapped at random, whole questions at a time, all layers together.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from microscope_tui.errors import MicroscopeError

ROUNDS = 10_000
_HELD = 4_000_000
"""Random swaps held at once."""


@dataclass(frozen=True)
class PairedTest:
    """One number a layer, (L,), but for `examples` and `rounds`.

    `difference`: ratio of the first model less that of the second. `p`: two-sided, of this layer alone.
    `adjusted`: two-sided, of the largest difference of any layer (max-T, Westfall & Young 1993): the chance
    that noise anywhere along the profile looks as large. `exact`: every swap was tried, not a random choice.
    """

    difference: Tensor
    p: Tensor
    adjusted: Tensor
    examples: int
    rounds: int
    exact: bool


def paired_test(
    first: Tensor,
    second: Tensor,
    *,
    first_weight: Tensor | None = None,
    second_weight: Tensor | None = None,
    rounds: int = ROUNDS,
    seed: int = 0,
) -> PairedTest:
    """Compares per-example sums `first` and `second` (G, L) of two models on the same G questions at L layers.

    The weights (G, L) are the denominators, 1 by default: then plain means are compared. Questions with a value
    that is not finite are left out. With up to log2(rounds) questions every swap is tried. A p is never 0: the
    data themselves count as one of the rounds.
    """
    ones = torch.ones_like(first)
    parts = [
        first,
        second,
        ones if first_weight is None else first_weight,
        ones if second_weight is None else second_weight,
    ]
    if any(p.ndim != 2 or p.shape != first.shape for p in parts):
        raise MicroscopeError(
            f"a paired test needs the same questions and layers for both models, not {[tuple(p.shape) for p in parts]}."
        )
    whole = torch.stack([p.isfinite().all(1) for p in parts]).all(0)
    a, b, weight_a, weight_b = (p[whole].double() for p in parts)
    examples = len(a)
    if examples < 2:
        raise MicroscopeError(f"a paired test needs 2 shared questions or more, and {examples} can be used.")
    exact = 2**examples <= rounds
    swaps = _every_swap(examples) if exact else None
    count = 2**examples if exact else rounds
    generator = torch.Generator().manual_seed(seed)
    found = []
    step = max(1, _HELD // examples)
    for start in range(0, count, step):
        size = min(step, count - start)
        swap = (
            swaps[start : start + size]
            if swaps is not None
            else torch.randint(0, 2, (size, examples), generator=generator, dtype=torch.int8)
        ).double()
        found.append(_difference(swap, a, b, weight_a, weight_b))
    null = torch.cat(found)
    difference = _difference(torch.zeros(1, examples, dtype=torch.float64), a, b, weight_a, weight_b)[0]
    size = null.square().mean(0).sqrt()
    scale = torch.where(size > 0, size, 1.0)
    observed = difference.abs() / scale
    drawn = null.abs() / scale
    # Rounding must not decide whether a swap ties with the data.
    floor = observed * (1 - 1e-9)
    extra = 0 if exact else 1
    p = ((drawn >= floor).sum(0) + extra) / (count + extra)
    adjusted = ((drawn.max(1).values[:, None] >= floor).sum(0) + extra) / (count + extra)
    return PairedTest(difference, p, adjusted, examples, count, exact)


def _difference(swap: Tensor, a: Tensor, b: Tensor, weight_a: Tensor, weight_b: Tensor) -> Tensor:
    """The difference of the ratios of sums (R, L) after each swap (R, G) of 0 and 1."""
    moved, moved_weight = swap @ (b - a), swap @ (weight_b - weight_a)
    first = (a.sum(0) + moved) / (weight_a.sum(0) + moved_weight)
    second = (b.sum(0) - moved) / (weight_b.sum(0) - moved_weight)
    return first - second


def _every_swap(examples: int) -> Tensor:
    numbers = torch.arange(2**examples)
    return (numbers[:, None] >> torch.arange(examples)) & 1
