"""The whole demo: both models, the whole slice, every metric and stream, in fresh processes with an empty cache.

Printed beside the bare forward passes of the same models on the same examples (no hooks, one pass, batch 8), so
that the ratio says what the measuring costs on whatever machine this runs on. On two cores both models together are
to take at most a minute.

    python -m benchmarks demo [-- --write]
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

RESULT = Path(__file__).parent / "results" / "demo.md"
GOAL_SECONDS = 60
SLICE = "demo:scienceqa"
MODELS = ("demo:llava-next", "demo:omnifusion")


def measured(model: str) -> float:
    """Seconds of `microscope-tui measure` as a process."""
    with tempfile.TemporaryDirectory() as cache:
        command = [sys.executable, "-m", "microscope_tui", "measure", model, SLICE, "--metric", "all", "--json"]
        started = time.perf_counter()
        subprocess.run([*command, "--cache", cache], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return time.perf_counter() - started


def bare(model: str) -> float:
    """Seconds of a process that opens the same model and only runs it forward on the same examples."""
    started = time.perf_counter()
    subprocess.run([sys.executable, "-m", "benchmarks.demo", "--forward", model], check=True)
    return time.perf_counter() - started


def forward_only(model: str) -> None:
    import torch

    from microscope_tui.models.load import open_model
    from microscope_tui.slices import open_slice
    from microscope_tui.terms import SliceSpec

    opened, slice_ = open_model(model), open_slice(SliceSpec.parse(SLICE))
    examples = [slice_.example(i) for i in range(len(slice_))]
    with torch.no_grad():
        for i in range(0, len(examples), 8):
            for part in opened.prepare(examples[i : i + 8]).parts:
                opened.forward(part)


def row(name: str, whole: float, plain: float, goal: str = "") -> str:
    return f"| {name} | {whole:.1f} s | {plain:.1f} s | {whole / plain:.2f} | {goal} |"


def main() -> int:
    """0 where the goal is kept, else 1."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks demo --", description=__doc__)
    parser.add_argument("--write", action="store_true", help=f"write the table to {RESULT.name} in results/ as well")
    options = parser.parse_args()
    lines = ["| | measured | forward passes alone | ratio | goal |", "|---|--:|--:|--:|--:|"]
    print(*lines, sep="\n", flush=True)
    seen: list[tuple[float, float]] = []
    for model in MODELS:
        seen.append((measured(model), bare(model)))
        lines.append(row(model, *seen[-1]))
        print(lines[-1], flush=True)
    whole, plain = (sum(part) for part in zip(*seen, strict=True))
    lines.append(row("both", whole, plain, f"≤ {GOAL_SECONDS} s"))
    print(lines[-1])
    if options.write:
        heading = (
            f"`{SLICE}`, every metric, method and stream, empty cache, imports and loading included: PyTorch "
            f"{version('torch')}, Python {platform.python_version()}, {os.cpu_count()} cores."
        )
        RESULT.write_text("\n".join(["# The whole demo", "", heading, "", *lines, ""]))
    return 1 if whole > GOAL_SECONDS else 0


if __name__ == "__main__":
    if sys.argv[1:2] == ["--forward"]:
        forward_only(sys.argv[2])
    else:
        sys.exit(main())
