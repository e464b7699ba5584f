"""The geometry beside its peers: time, peak memory, and the ratio to the bare matrix products of the same shapes.

    python -m benchmarks geometry -- --install  the peers (groups of pyproject.toml) into .bench-venv, about 300 MB
    python -m benchmarks geometry               every contestant that is installed
    python -m benchmarks geometry -- --write    … and write the table under benchmarks/results/

Every contestant is a process of its own with one thread; they take turns, and the median of the rounds counts.
Seconds on the CPU are the processor's, which other work on the machine changes little; still, read the ratios.
Shapes beyond the first run once. llm-microscope's dimension takes minutes: it runs once, and beyond the first shape
only with --slow. With --device cuda only ours and the bare products run.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import numpy as np

from benchmarks._rows import residual_rows

ROOT = Path(__file__).parents[1]
ENVIRONMENT = ROOT / ".bench-venv"
PEERS = ENVIRONMENT / "peers"
DADAPY = ENVIRONMENT / "dadapy"
RESULTS = ROOT / "benchmarks" / "results"

SHAPES = ((4000, 1024), (8192, 2048), (4000, 4096), (20000, 96))

TABLES: dict[str, tuple[str, tuple[str, ...]]] = {
    "linearity": (
        "bare: products float64",
        ("ours: linearity float64", "ours: linearity float32", "llm-microscope: linearity", "bare: products float32"),
    ),
    "anisotropy": ("bare: products float64", ("ours: anisotropy", "llm-microscope: anisotropy")),
    "dimension": (
        "bare: neighbour products float32",
        (
            "ours: dimension facco",
            "ours: dimension llm-microscope",
            "DADApy: dimension",
            "scikit-dimension: dimension",
            "llm-microscope: dimension",
        ),
    ),
    "all three of a layer": ("bare: products together", ("ours: together",)),
}
"""For each quantity the products it is compared with, then the contestants, ours first."""

FASTER = (
    ("ours: linearity float64", "llm-microscope: linearity", 2),
    ("ours: linearity float32", "llm-microscope: linearity", 4),
    ("ours: anisotropy", "llm-microscope: anisotropy", 8),
    ("ours: dimension facco", "DADApy: dimension", 3),
    ("ours: dimension facco", "scikit-dimension: dimension", 2),
    ("ours: dimension llm-microscope", "llm-microscope: dimension", 500),
    ("ours: together", "bare: products together", 1 / 1.5),
)
"""Who is to be how many times as fast as whom, at the first shape."""
TILE = 1024 * 1024 * 8
"""Bytes of the largest tile of distances or products."""


@dataclass
class Runs:
    seconds: list[float] = field(default_factory=list)
    megabytes: list[float] = field(default_factory=list)
    value: list[float | None] = field(default_factory=list)
    failure: str = ""


def install() -> int:
    """Peers beside the project's own torch and numpy; DADApy needs an older numpy, so an environment of its own."""
    pip = [sys.executable, "-m", "pip", "--quiet"]
    packages = ["install", "--no-deps", "--upgrade", "--group"]
    commands = [
        [*pip, *packages, "peers", "--target", str(PEERS)],
        [sys.executable, "-m", "venv", str(DADAPY)],
        [*pip, "--python", str(DADAPY), *packages, "dadapy"],
    ]
    return max(subprocess.run(command, cwd=ROOT).returncode for command in commands)


def available(contestant: str, device: str) -> bool:
    who = contestant.partition(": ")[0]
    if who in ("ours", "bare"):
        return True
    return device == "cpu" and (DADAPY if who == "DADApy" else PEERS).exists()


def run(contestant: str, folder: Path, device: str, into: Runs) -> None:
    alone = contestant.startswith("DADApy")
    python = str(DADAPY / "bin" / "python") if alone else sys.executable
    path = [] if alone else [str(ROOT), *([] if contestant.startswith(("ours", "bare")) else [str(PEERS)])]
    threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")
    if contestant == "llm-microscope: dimension":
        # Its loop leaves small tensors between large ones; without this the heap fragments until memory runs out.
        threads["MALLOC_MMAP_THRESHOLD_"] = "1000000"
    done = subprocess.run(
        [python, "-P", str(ROOT / "benchmarks" / "_contestant.py"), contestant, str(folder), device],
        env={**os.environ, **threads, "PYTHONPATH": os.pathsep.join(path), "PYTHONWARNINGS": "ignore"},
        capture_output=True,
        text=True,
    )
    if done.returncode:
        into.failure = (done.stderr.strip().splitlines() or [f"ended with {done.returncode}"])[-1]
        return
    result = json.loads(done.stdout.strip().splitlines()[-1])
    into.seconds.append(result["seconds"])
    into.megabytes.append(result["megabytes"])
    into.value = result["value"]


def contest(shape: tuple[int, int], rounds: int, device: str, only: str, slow: bool) -> dict[str, Runs]:
    tables = [table for quantity, table in TABLES.items() if only in quantity]
    names = list(dict.fromkeys(name for bare, others in tables for name in (bare, *others)))
    runs = {name: Runs() for name in names if available(name, device)}
    with tempfile.TemporaryDirectory() as folder:
        for name, rows in zip("xy", residual_rows(*shape), strict=True):
            np.save(Path(folder) / f"{name}.npy", rows.numpy())
        for turn in range(rounds if shape == SHAPES[0] else 1):
            for name, into in runs.items():
                if name == "llm-microscope: dimension" and (turn or (shape != SHAPES[0] and not slow)):
                    continue
                print(f"\r{shape} round {turn + 1}: {name:<40}", end="", file=sys.stderr, flush=True)
                run(name, Path(folder), device, into)
    print("\r" + " " * 80 + "\r", end="", file=sys.stderr)
    return runs


def report(shape: tuple[int, int], runs: dict[str, Runs]) -> str:
    n, d = shape
    lines = [f"### n = {n}, d = {d}{' (n < d: in-sample linearity is refused)' if n <= d + 1 else ''}", ""]
    lines += ["| quantity | who | seconds | ours is | of bare products | extra peak MB | value |", "|" + "---|" * 7]
    for quantity, (bare, others) in TABLES.items():
        if bare not in runs or others[0] not in runs:
            continue
        base = runs[bare].seconds
        ours = runs[others[0]].seconds
        for name in (*others, bare):
            got = runs.get(name)
            if got is None or (not got.seconds and not got.failure):
                continue
            if got.failure:
                lines.append(f"| {quantity} | {name} | {got.failure} | | | | |")
                continue
            seconds = median(got.seconds)
            faster = f"{seconds / median(ours):.3g}× as fast" if ours and not name.startswith(("ours", "bare")) else ""
            share = f"{seconds / median(base):.2f}" if base else ""
            value = ", ".join("undefined" if v is None else f"{v:.7g}" for v in got.value)
            value = "" if name.startswith("bare") else value
            memory = f"{max(got.megabytes):.0f}"
            lines.append(f"| {quantity} | {name} | {seconds:.3f} | {faster} | {share} | {memory} | {value} |")
    return "\n".join(lines) + "\n"


def goals(shape: tuple[int, int], runs: dict[str, Runs]) -> str:
    """The goals at the first shape, what was seen, and whether they are kept."""
    d = shape[1]
    lines = ["| goal | seen | kept |", "|---|--:|---|"]
    for ours, other, factor in FASTER:
        if ours in runs and other in runs and runs[ours].seconds and runs[other].seconds:
            seen = median(runs[other].seconds) / median(runs[ours].seconds)
            lines.append(f"| {ours}: {factor:g}× as fast as {other} | {seen:.3g}× | {yes(seen >= factor)} |")
    most = (4 * d * d * 8 + TILE) / 1e6
    for name, got in runs.items():
        if name.startswith("ours") and got.megabytes:
            seen = max(got.megabytes)
            goal = f"{name}: at most 4 d² doubles and a tile, {most:.1f} MB"
            lines.append(f"| {goal} | {seen:.1f} MB | {yes(seen <= most)} |")
    return "\n".join(lines) + "\n"


def yes(kept: bool) -> str:
    return "yes" if kept else "NO"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--install", action="store_true", help="install the peers into .bench-venv and stop")
    parser.add_argument("--rounds", type=int, default=3, help="turns at the first shape")
    shapes = [f"{n}x{d}" for n, d in SHAPES]
    parser.add_argument("--shape", choices=shapes, nargs="+", default=shapes)
    parser.add_argument("--only", default="", help="quantities whose name holds this")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--slow", action="store_true", help="llm-microscope's dimension at every shape")
    parser.add_argument("--write", action="store_true", help=f"write the table to {RESULTS}")
    args = parser.parse_args()
    if args.install:
        return install()
    if not PEERS.exists() and args.device == "cpu":
        print("No peers: `make bench` installs them, or `python -m benchmarks geometry -- --install`.", file=sys.stderr)
    clock = "processor time" if args.device == "cpu" else "time on the clock"
    text = f"One thread, {args.device}, {clock}; median of {args.rounds} rounds in turn at {shapes[0]}, else one.\n\n"
    for name, shape in zip(shapes, SHAPES, strict=True):
        if name in args.shape:
            runs = contest(shape, args.rounds, args.device, args.only, args.slow)
            part = report(shape, runs)
            if shape == SHAPES[0] and args.device == "cpu":
                part += "\n" + goals(shape, runs)
            print(part, flush=True)
            text += part + "\n"
    if args.write:
        (RESULTS / f"geometry-{args.device}.md").write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
