"""In what a measurement is not what was asked for: of a cache that is only looked at the nearest one is shown."""

from __future__ import annotations

from typing import Any, Final

from microscope_tui.results import Measurement
from microscope_tui.terms import Request
from microscope_tui.versions import methods

ROWS: Final = ("without", "one_tile", "matched")
"""Which rows count: numbers of other ones are no answer."""

MADE: Final = ("before", "reference", "dtype", "device", "attention", "folds", "sample_tokens", "max_batch")
"""How they are measured."""


def apart(request: Request, measurement: Measurement) -> dict[str, Any]:
    """What a measurement was made with that is not what a request asks for, or not what this program has, by the names
    of its provenance. What that does not tell could not be asked when it was made, and what is left to the machine
    (`auto`) is as asked."""
    asked: dict[str, Any] = {name: getattr(request, name) for name in (*ROWS, *MADE)}
    asked |= {"without": list(request.without), "device": device_of(request), **methods()}
    made = {"matched": None, **measurement.provenance}
    if made.get("tiles") is False:  # a model that does not cut pictures has one tile of each anyway
        made["one_tile"] = request.one_tile
    return {name: made[name] for name, of in asked.items() if of != "auto" and made.get(name, of) != of}


def device_of(request: Request) -> str:
    """The kind of device that a request names, as a provenance does: without its number."""
    return "cuda" if request.device == "balanced" else request.device.partition(":")[0]
