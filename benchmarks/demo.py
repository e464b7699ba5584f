"""The whole demo: both models, the whole slice, every metric and stream, in fresh processes with an empty cache.

Printed beside the bare forward passes of the same models on the same examples (no hooks, one pass, batch 8), so
that the ratio says what the measuring costs on whatever machine this runs on.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time

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
    subprocess.run([sys.executable, "-m", "benchmarks.demo", model], check=True)
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


def main() -> None:
    print(f"{'model':<18} {'measured':>10} {'forward only':>14} {'ratio':>7}")
    total = 0.0
    for model in MODELS:
        whole, plain = measured(model), bare(model)
        total += whole
        print(f"{model:<18} {whole:>8.1f} s {plain:>12.1f} s {whole / plain:>7.2f}")
    print(f"{'both':<18} {total:>8.1f} s   ({os.cpu_count()} CPU cores; imports and loading included)")


if __name__ == "__main__":
    if sys.argv[1:]:
        forward_only(sys.argv[1])
    else:
        main()
