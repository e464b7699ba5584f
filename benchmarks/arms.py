"""How far apart the demo's arms are, and how far apart two seeds of one arm: mean distance of their profiles.

`python -m benchmarks arms -- llava-next=demo:llava-next again=/folder/of/another/seed …`; without names the shipped
models. One row for each pair: |A − B| averaged over the layers of the residual stream. A difference between arms that
is no larger than that between seeds of one arm says nothing about the fusion.
"""

from __future__ import annotations

import argparse
from itertools import combinations
from statistics import fmean

from microscope_tui import measure
from microscope_tui.results import Measurement, Profile
from microscope_tui.terms import Metric, Modality, Stream

SHIPPED = {name: f"demo:{name}" for name in ("llava-next", "llava-next-base", "omnifusion")}
SHOWN = ((Metric.LINEARITY, "held-out"), (Metric.DIMENSION, "mle"), (Metric.ANISOTROPY, "top-eigenvalue"))
MODALITIES = (Modality.IMAGE, Modality.TEXT)


def named(text: str) -> tuple[str, str]:
    name, sign, model = text.partition("=")
    if not sign:
        raise argparse.ArgumentTypeError(f"{text} names no model: write NAME=MODEL")
    return name, model


def distance(one: Profile | None, other: Profile | None) -> float | None:
    """Mean absolute difference over the layers that both have a value for.

    None where there is none: one of them lacks the profile or every value of it, or they differ in depth.
    """
    if one is None or other is None or len(one.value) != len(other.value):
        return None
    both = [(a, b) for a, b in zip(one.value, other.value, strict=True) if a is not None and b is not None]
    return fmean(abs(a - b) for a, b in both) if both else None


def told(apart: float | None) -> str:
    return "–" if apart is None else f"{apart:.3f}"


def row(one: Measurement, other: Measurement) -> list[str]:
    return [
        told(distance(*(m.profile(metric, modality, Stream.RESIDUAL, method) for m in (one, other))))
        for metric, method in SHOWN
        for modality in MODALITIES
    ]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.arms", description=__doc__)
    parser.add_argument("models", nargs="*", type=named, metavar="NAME=MODEL")
    parser.add_argument("--slice", default="demo:scienceqa")
    arguments = parser.parse_args()
    models = dict(arguments.models) or SHIPPED
    measured = {name: measure(model, arguments.slice, streams=[Stream.RESIDUAL]) for name, model in models.items()}
    heads = [f"{metric} {method}, {modality}" for metric, method in SHOWN for modality in MODALITIES]
    print(f"| pair | {' | '.join(heads)} |")
    print(f"|---|{'---|' * len(heads)}")
    for one, other in combinations(measured, 2):
        print(f"| {one} – {other} | {' | '.join(row(measured[one], measured[other]))} |", flush=True)


if __name__ == "__main__":
    main()
