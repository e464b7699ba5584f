"""Do the 95 % intervals cover? Simulated data in examples, every quantity, nominal 95 % (wanted: 92 to 98 %).

Tokens of an example share a random shift and a random map, so that they are far from independent. The target
of `long run` is the mean of the statistic itself over the simulations: what the interval is about. The target
`population` is its value on unlimited data, from which it differs by its bias with few examples. Last column: the
same intervals had tokens been taken for independent, which is what leaving out examples avoids.

The second table is of two models on the same examples. Of their difference: the interval from leaving out the same
examples of both, that from taking the two as independent, and how much shorter the first is. Of two models that do not
differ: how often any of 8 layers is called different by max-T (wanted: 5 %), or by uncorrected intervals.

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
from microscope_tui.pairing import adjusted_p, difference_by_group, parts, reach
from microscope_tui.results import Estimate

EXPLAINED = """\
`long run`: how often the interval holds the mean of the statistic over all simulations with as many examples. This is
what the 95 % are of: how far the number would move with other examples, as many of them. `population`: how often it
holds the value on unlimited data (4,000 examples). The statistic is biased with few examples, an interval by leaving
out examples does not see that, and so it holds this value less often: read that column before a number from few
examples is taken for a property of the model. The dimension depends on n and has none. `were tokens independent`: the
first column, had every token been an example of its own.
"""
"""What the columns of the table mean, above it."""

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
    return rows_of(questions(examples, generator), generator)


def draw(generator: torch.Generator, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def questions(examples: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """What is peculiar to each example, whatever the model: a shift (G, D) and a map (G, D, D)."""
    return 0.7 * draw(generator, examples, D), 0.15 * draw(generator, examples, D, D)


def rows_of(
    asked: tuple[Tensor, Tensor], generator: torch.Generator, *, louder: float = 1.0
) -> tuple[Tensor, Tensor, Tensor]:
    """What one model makes of the examples: its own tokens and noise, `louder` in one direction and in the update."""
    shifts, own_maps = asked
    groups = torch.arange(len(shifts)).repeat_interleave(TOKENS)
    scale = torch.arange(1, D + 1, dtype=torch.float64) ** -0.5
    scale[0] *= louder
    centre = torch.tensor([2.0] + [0.0] * (D - 1))
    x = (draw(generator, len(groups), D) + shifts[groups]) * scale + centre
    shared = torch.linspace(-1, 1, D * D, dtype=torch.float64).reshape(D, D) / D**0.5
    maps = 0.4 * shared + own_maps
    update = torch.einsum("nd,nde->ne", x, maps[groups]) + 0.3 * louder * draw(generator, len(x), D)
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


PAIRED = ("linearity in-sample", "linearity held-out", "dimension mle", "anisotropy top-eigenvalue")
LAYERS = 8


@dataclass(frozen=True)
class Pairs:
    quantity: str
    examples: int
    paired: float
    independent: float
    shorter: float
    alarms: float
    uncorrected: float


def compare(name: str, examples: int, rounds: int) -> Pairs:
    """The intervals of a difference that there is, and false alarms where there is none (in a fifth as many rounds)."""
    generator = torch.Generator().manual_seed(examples)
    measure = MEASURES[name]
    differences, paired, independent = [], [], []
    for _ in range(rounds):
        asked = questions(examples, generator)
        a, b = (measure(*rows_of(asked, generator, louder=louder)) for louder in (1.0, 1.3))
        difference, moved = _difference(a, b)
        differences.append(difference)
        paired.append(reach(moved, len(moved)))
        independent.append(reach((*a.influence, *b.influence), len(moved)))
    value, near, far = (torch.tensor(each, dtype=torch.float64) for each in (differences, paired, independent))
    off = (value - value.mean()).abs()
    alarms = [_alarms(measure, examples, generator) for _ in range(rounds // 5)]
    return Pairs(
        name,
        examples,
        float((off <= near).double().mean()),
        float((off <= far).double().mean()),
        float((near / far).mean()),
        sum(by_max for by_max, _ in alarms) / len(alarms),
        sum(alone for _, alone in alarms) / len(alarms),
    )


def _alarms(measure: Measure, examples: int, generator: torch.Generator) -> tuple[bool, bool]:
    """Whether max-T, and whether any interval by itself, calls two like models different at some layer."""
    asked = questions(examples, generator)
    layers = [[measure(*rows_of(asked, generator)) for _ in range(2)] for _ in range(LAYERS)]
    p = adjusted_p(tuple(difference_by_group(*map(_parts, pair)) for pair in layers))
    assert p is not None
    alone = [_difference(a, b) for a, b in layers]
    return min(p) <= 0.05, any(abs(d) > reach(moved, len(moved)) for d, moved in alone)


def _parts(estimate: Estimate) -> tuple[float, ...]:
    assert estimate.value is not None
    return parts(estimate.value, estimate.influence, estimate.shares)


def _difference(a: Estimate, b: Estimate) -> tuple[float, tuple[float, ...]]:
    assert a.value is not None
    assert b.value is not None
    return b.value - a.value, difference_by_group(a.influence, b.influence)


def paired_table(rows: list[Pairs], rounds: int) -> str:
    lines = [
        f"Two models on the same examples, {rounds} simulations with a difference and {rounds // 5} without one.",
        "",
        f"| quantity | examples | paired | as if independent | length | alarms in {LAYERS} layers | uncorrected |",
        "|---|---|---|---|---|---|---|",
    ]
    for r in rows:
        shares = f"{r.paired:.1%} | {r.independent:.1%} | {r.shorter:.0%} | {r.alarms:.1%} | {r.uncorrected:.0%}"
        lines.append(f"| {r.quantity} | {r.examples} | {shares} |")
    return "\n".join(lines) + "\n"


def table(rows: list[Row], rounds: int, seconds: float) -> str:
    lines = [
        f"Coverage of the 95 % intervals, {rounds} simulations each, {TOKENS} tokens an example, d = {D} "
        f"({seconds:.0f} s; standard error {100 * (0.95 * 0.05 / rounds) ** 0.5:.1f} points).",
        "",
        EXPLAINED,
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
    pairs = []
    for name in (n for n in PAIRED if args.only in n):
        for examples in args.examples:
            pairs.append(compare(name, examples, args.rounds))
            print(pairs[-1], flush=True)
    text = table(rows, args.rounds, time.perf_counter() - started)
    text += "\n" + paired_table(pairs, args.rounds)
    print(text)
    if args.write:
        RESULTS.write_text(text)


if __name__ == "__main__":
    main()
