"""Do the 95 % intervals cover? Simulated data in examples, every quantity, nominal 95 % (wanted: 92 to 98 %).

Tokens of an example share a random shift and a random map, so that they are far from independent. The target
of `long run` is the mean of the statistic itself over the simulations: what the interval is about. The target
`population` is its value on unlimited data: in-sample linearity and shares of the top eigenvalue are biased at
finite n, adjusted linearity corrects for that. Last column: the same intervals had tokens been taken for
independent, which is what leaving out examples avoids.

    python -m benchmarks coverage [-- --rounds 600 --write]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from microscope_tui.geometry import anisotropy, dimension, linearity
from microscope_tui.results import Estimate

RESULTS = Path(__file__).parent / "results" / "coverage.md"
D = 6
TOKENS = 12
POPULATION = 4000
"""Examples that stand for unlimited data."""

Measure = Callable[[Tensor, Tensor, Tensor | None], Estimate]

MEASURES: dict[str, Measure] = {
    "linearity in-sample": lambda x, y, g: linearity(x, y, groups=g),
    "linearity adjusted": lambda x, y, g: linearity(x, y, method="adjusted", groups=g),
    "linearity update": lambda x, y, g: linearity(x, y, method="update", groups=g),
    "linearity held-out": lambda x, y, g: linearity(x, y, method="held-out", groups=g),
    "dimension mle": lambda x, y, g: dimension(x, groups=g),
    "dimension facco": lambda x, y, g: dimension(x, method="facco", groups=g),
    "dimension gride": lambda x, y, g: dimension(x, method="gride", groups=g),
    "anisotropy top-eigenvalue": lambda x, y, g: anisotropy(x, groups=g),
    "anisotropy mean-cosine": lambda x, y, g: anisotropy(x, method="mean-cosine", groups=g),
    "anisotropy participation-ratio": lambda x, y, g: anisotropy(x, method="participation-ratio", groups=g),
    "anisotropy effective-rank": lambda x, y, g: anisotropy(x, method="effective-rank", groups=g),
    "anisotropy isoscore": lambda x, y, g: anisotropy(x, method="isoscore", groups=g),
}


@dataclass(frozen=True)
class Row:
    quantity: str
    examples: int
    long_run: float
    population: float | None
    width: float
    by_token: float | None


def simulate(examples: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Rows x, y (n, D) and their examples: shared shifts, example-specific maps, noise."""

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    groups = torch.arange(examples).repeat_interleave(TOKENS)
    scale = torch.arange(1, D + 1, dtype=torch.float64) ** -0.5
    x = (draw(examples * TOKENS, D) + 0.7 * draw(examples, D)[groups]) * scale + torch.tensor([2.0] + [0.0] * (D - 1))
    shared = torch.linspace(-1, 1, D * D, dtype=torch.float64).reshape(D, D) / D**0.5
    maps = 0.4 * shared + 0.15 * draw(examples, D, D)
    update = torch.einsum("nd,nde->ne", x, maps[groups]) + 0.3 * draw(len(x), D)
    return x, x + update, groups


def cover(name: str, examples: int, rounds: int, population: float | None) -> Row:
    generator = torch.Generator().manual_seed(examples)
    measure = MEASURES[name]
    values, lows, highs, token_hits = [], [], [], []
    for i in range(rounds):
        x, y, groups = simulate(examples, generator)
        got = measure(x, y, groups)
        assert got.value is not None
        assert got.low is not None
        assert got.high is not None
        values.append(got.value)
        lows.append(got.low)
        highs.append(got.high)
        if i < rounds // 4 and name != "linearity held-out":
            token = measure(x, y, torch.arange(len(x)))
            token_hits.append((token.low, token.high))
    value, low, high = (torch.tensor(v, dtype=torch.float64) for v in (values, lows, highs))
    centre = float(value.mean())
    tokens = [a <= centre <= b for a, b in token_hits if a is not None and b is not None]
    return Row(
        name,
        examples,
        float(((low <= centre) & (centre <= high)).double().mean()),
        None if population is None else float(((low <= population) & (population <= high)).double().mean()),
        float((high - low).mean()),
        sum(tokens) / len(tokens) if tokens else None,
    )


def table(rows: list[Row], rounds: int, seconds: float) -> str:
    lines = [
        f"Coverage of the 95 % intervals, {rounds} simulations each, {TOKENS} tokens an example, d = {D} "
        f"({seconds:.0f} s; standard error {100 * (0.95 * 0.05 / rounds) ** 0.5:.1f} points).",
        "",
        "| quantity | examples | long run | population | mean width | were tokens independent |",
        "|---|---|---|---|---|---|",
    ]
    for r in rows:
        by_token = "–" if r.by_token is None else f"{r.by_token:.0%}"
        population = "–" if r.population is None else f"{r.population:.1%}"
        lines.append(f"| {r.quantity} | {r.examples} | {r.long_run:.1%} | {population} | {r.width:.3g} | {by_token} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=600)
    parser.add_argument("--examples", type=int, nargs="+", default=[20, 50, 150])
    parser.add_argument("--only", default="", help="quantities whose name holds this")
    parser.add_argument("--write", action="store_true", help=f"write the table to {RESULTS}")
    args = parser.parse_args()
    torch.set_num_threads(1)
    started = time.perf_counter()
    rows = []
    whole = simulate(POPULATION, torch.Generator().manual_seed(1))
    for name in (n for n in MEASURES if args.only in n):
        # The dimension depends on n, so it has no value on unlimited data but the one its set has.
        population = None if "dimension" in name else MEASURES[name](whole[0], whole[1], None).value
        for examples in args.examples:
            rows.append(cover(name, examples, args.rounds, population))
            print(rows[-1], flush=True)
    text = table(rows, args.rounds, time.perf_counter() - started)
    print(text)
    if args.write:
        RESULTS.write_text(text)


if __name__ == "__main__":
    main()
