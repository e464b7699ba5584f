"""The golden cases, read once."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

FOLDER = Path(__file__).parents[1] / "golden"


@cache
def expected() -> dict[str, Any]:
    cases: dict[str, Any] = json.loads((FOLDER / "expected.json").read_text())["cases"]
    return cases


@cache
def inputs() -> dict[str, Any]:
    with np.load(FOLDER / "inputs.npz") as arrays:
        return {name: arrays[name] for name in arrays}


CASES = tuple(expected())
TOLERANCE = 1e-6


def number(value: Any) -> float | None:
    """A peer's value, None where it failed or is not finite."""
    return float(value) if isinstance(value, int | float) and np.isfinite(value) else None
