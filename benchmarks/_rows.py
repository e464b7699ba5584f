"""Rows like those of a residual stream, for benchmarks: what makes real activations hard is in them.

A power-law spectrum, tokens drawn by Zipf's law (so some rows share most of their content), slow context, a few
rogue coordinates with a large mean, and a massive first row in every example. The next layer is the same rows
plus a small non-linear update.
"""

from __future__ import annotations

import torch
from torch import Tensor


def residual_rows(n: int, d: int, *, seed: int = 0, example: int = 128) -> tuple[Tensor, Tensor]:
    """x and y (n, d) float32: two consecutive layers. The first row of each `example` rows is a sink."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    scale = torch.arange(1, d + 1) ** -0.5
    vocabulary = 3000
    chance = 1 / torch.arange(1, vocabulary + 1, dtype=torch.float64)
    token = torch.multinomial(chance, n, replacement=True, generator=generator)
    context = draw(n, d)
    for i in range(n):
        if i % example:
            context[i] = 0.8 * context[i - 1] + 0.6 * context[i]
    turn = torch.linalg.qr(draw(d, d))[0]
    x = (0.8 * draw(vocabulary, d)[token] + 0.6 * context) * scale @ turn.T
    x *= (d / scale.square().sum()).sqrt()
    rogue = torch.randperm(d, generator=generator)[:4]
    x[:, rogue] = 3 * x[:, rogue] + torch.tensor([40.0, -25.0, 12.0, 60.0])
    x[::example] *= 0.02
    x[::example, rogue[0]] += 900.0
    x[::example, rogue[1]] -= 300.0
    hidden = min(d, 1024)
    normed = x / x.square().mean(1, keepdim=True).sqrt()
    inner = torch.nn.functional.gelu(normed @ draw(d, hidden) * (3 / d**0.5))
    y = x + 0.15 * x.std(0).median() * (inner @ draw(hidden, d)) / hidden**0.5
    return x, y
