"""One contestant, one process: `python _contestant.py NAME FOLDER DEVICE` prints seconds, memory and value as JSON.

Reads x.npy and y.npy (float32) from the folder. Runs in the project's environment or, for DADApy, in one of its
own, so nothing of ours is imported at the top. Seconds are the processor's, which a busy machine changes little (on
a GPU those on the clock), of the faster of two calls where a call is short, after one on few rows.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import json
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import numpy as np

SHORT = 10.0
"""Calls shorter than this many seconds are repeated, to leave out what only a first call does."""

WARM = 64
"""Rows of a call that does not count."""


def ours(name: str, x: Any, y: Any) -> Callable[[], Any]:
    import torch

    from microscope_tui.geometry import anisotropy, dimension, linearity
    from microscope_tui.geometry.anisotropy import spread_anisotropy
    from microscope_tui.geometry.linearity import linearity_of
    from microscope_tui.geometry.moments import Moments, Spread

    def together() -> Any:
        if len(x) <= x.shape[1] + 1:  # no product is shared: linearity is refused, and anisotropy needs none
            return (linearity(x, y).value, dimension(x).value, anisotropy(x).value)
        moments = Moments.of(x, y, squares_only=True)
        linear = linearity_of(moments, method="adjusted")
        spread = spread_anisotropy(Spread(moments.n, moments.mean_x, moments.xx, torch.zeros(0), None))
        return (linear.value, dimension(x).value, spread.value)

    calls: dict[str, Callable[[], Any]] = {
        "linearity float64": lambda: linearity(x, y).value,
        "linearity float32": lambda: linearity(x, y, dtype=torch.float32).value,
        "held-out": lambda: linearity(x, y, method="held-out").value,
        "anisotropy": lambda: anisotropy(x).value,
        "dimension facco": lambda: dimension(x, method="facco").value,
        "dimension llm-microscope": lambda: dimension(x, method="llm-microscope").value,
        "together": together,
    }
    return calls[name]


def bare(name: str, x: Any, y: Any) -> Callable[[], Any]:
    """Only the matrix products of the same shapes: nothing can be faster that makes them in full."""

    def gram(a: Any, b: Any) -> None:
        a.T @ a
        a.T @ b

    def neighbours() -> None:
        for part in x.split(512):
            part @ x.T

    def together() -> None:
        gram(x.double(), y.double())
        neighbours()

    exact = (x.double(), y.double()) if name == "products float64" else (x, y)
    return {
        "products float64": lambda: gram(*exact),
        "products float32": lambda: gram(x, y),
        "neighbour products float32": neighbours,
        "products together": together,
    }[name]


def llm_microscope(name: str, x: Any, y: Any) -> Callable[[], Any]:
    spec = importlib.util.find_spec("llm_microscope")
    if spec is None or spec.origin is None:
        raise ImportError("llm_microscope is not installed")
    # Its own __init__ imports more than these functions need.
    source = importlib.util.spec_from_file_location("llm_functions", Path(spec.origin).with_name("functions.py"))
    assert source is not None
    assert source.loader is not None
    module = importlib.util.module_from_spec(source)
    source.loader.exec_module(module)
    return {
        "linearity": lambda: module.procrustes_similarity(x, y),
        "anisotropy": lambda: module.calculate_anisotropy_torch(x),
        "dimension": lambda: module.intrinsic_dimension(x, "cpu"),
    }[name]


def dadapy(x: Any) -> Callable[[], Any]:
    # DADApy imports these for functions that are not called here.
    for absent in ("jax", "jax.numpy", "jax.random", "flax", "flax.linen", "flax.training", "optax"):
        sys.modules[absent] = MagicMock()
    from dadapy import Data  # type: ignore[import-not-found]  # lives in an environment of its own

    return lambda: Data(x, verbose=False, n_jobs=1).compute_id_2NN()[0]


def scikit_dimension(x: Any) -> Callable[[], Any]:
    from skdim.id import TwoNN  # type: ignore[import-not-found]  # only in the benchmark's environment

    return lambda: TwoNN().fit(x).dimension_


def prepare(contestant: str, x: Any, y: Any, device: str) -> Callable[[], Any]:
    """The contestant's call on rows x, y (n, d)."""
    who, _, name = contestant.partition(": ")
    if who == "DADApy":
        return dadapy(x)
    if who == "scikit-dimension":
        return scikit_dimension(x)
    import torch

    torch.set_num_threads(1)
    tensors = [torch.from_numpy(a).to(device) for a in (x, y)]
    call = {"ours": ours, "bare": bare, "llm-microscope": llm_microscope}[who](name, *tensors)
    if device == "cpu":
        return call

    def synchronised() -> Any:
        value = call()
        torch.cuda.synchronize()
        return value

    return synchronised


def high_water(reset: bool = False) -> float:
    """Peak resident memory of this process in MB, since the last reset where the system can reset it."""
    if reset:
        with contextlib.suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")
    found = re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())
    return int(found[1]) / 1024 if found else float("nan")


def main() -> None:
    contestant, folder, device = sys.argv[1:4]
    x, y = (np.load(Path(folder) / f"{name}.npy") for name in "xy")
    call = prepare(contestant, x, y, device)
    with contextlib.redirect_stdout(io.StringIO()):
        # Libraries load and compile what they need at their first call.
        prepare(contestant, x[:WARM], y[:WARM], device)()
    clock = time.process_time if device == "cpu" else time.perf_counter
    before = high_water(reset=True)
    seconds = float("inf")
    with contextlib.redirect_stdout(io.StringIO()):
        for _ in range(2):
            started = clock()
            value = call()
            seconds = min(seconds, clock() - started)
            if seconds > SHORT:
                break
    numbers = value if isinstance(value, tuple) else (value,)
    known = [None if v is None else float(v) for v in numbers]
    print(json.dumps({"seconds": seconds, "megabytes": high_water() - before, "value": known}))


if __name__ == "__main__":
    main()
