"""What plotext draws, as rows of characters: the dots of a line, and axes with their ticks.

Only plotext's monitor is loaded, which does the drawing. The front of the package makes figures for the terminal that
it finds and colours its whole manual whenever it is imported, which takes three times as long as four charts.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from functools import cache
from importlib import import_module
from importlib.util import find_spec, module_from_spec
from typing import Any

Span = tuple[float, float]
"""The least and the greatest value of an axis."""


def dots(runs: Iterable[Sequence[Span]], x: Span, y: Span, width: int, height: int) -> list[str]:
    """Braille dots along the points (x, y) of each run, on a bare canvas whose axes span `x` and `y`."""
    monitor = _monitor(x, y, width, height)
    monitor.set_yaxes(False, False)
    monitor.set_xticks([], [])
    monitor.set_yticks([], [])
    for run in runs:
        monitor.draw([place for place, _ in run], [value for _, value in run], lines=True, marker="braille")
    return _rows(monitor)


def axes(
    x: Span,
    y: Span,
    x_ticks: Sequence[tuple[float, str]],
    y_ticks: Sequence[tuple[float, str]],
    width: int,
    height: int,
) -> list[str]:
    """The axis on the left with its ticks, and the ticks below the plot, of which there may be none."""
    monitor = _monitor(x, y, width, height)
    monitor.set_yaxes(True, False)
    monitor.set_xticks([place for place, _ in x_ticks], [label for _, label in x_ticks])
    monitor.set_yticks([place for place, _ in y_ticks], [label for _, label in y_ticks])
    monitor.draw([x[0]], [y[0] - 2 * (y[1] - y[0])], marker=" ")  # without a point there are no ticks either
    return _rows(monitor)


def _monitor(x: Span, y: Span, width: int, height: int) -> Any:
    monitor = _kind()()
    monitor.set_size([width, height])
    monitor.set_xaxes(False, False)
    monitor.set_xlim(*x)
    monitor.set_ylim(*y)
    return monitor


def _rows(monitor: Any) -> list[str]:
    monitor.build_plot()
    return ["".join(row) for row in reversed(monitor.matrix.marker)]


@cache
def _kind() -> Any:
    """The class of plotext's monitors. While it is loaded, the package stands there without its front; whoever imports
    plotext later gets it whole."""
    if "plotext" in sys.modules:
        return import_module("plotext._monitor").monitor_class
    spec = find_spec("plotext")
    assert spec is not None, "plotext is among the dependencies"
    sys.modules["plotext"] = module_from_spec(spec)
    try:
        return import_module("plotext._monitor").monitor_class
    finally:
        del sys.modules["plotext"]
