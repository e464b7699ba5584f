"""What is drawn without plotext's front is what plotext draws."""

import math
import subprocess
import sys
from collections.abc import Iterator

import plotext
import pytest

from microscope_tui.tui.widgets import plot

POINTS = [(float(i), 0.5 + 0.7 * math.sin(i / 3)) for i in range(25)]
X, Y = (0.0, 24.0), (-0.1, 1.1)


@pytest.fixture
def front() -> Iterator[None]:
    """plotext as its manual says, with a figure of its own size."""
    plotext.clear_figure()
    plotext.limit_size(False, False)
    plotext.xaxes(False, False)
    plotext.xlim(*X)
    plotext.ylim(*Y)
    yield
    plotext.clear_figure()


def _built() -> list[str]:
    return str(plotext.uncolorize(plotext.build())).removesuffix("\n").split("\n")


@pytest.mark.usefixtures("front")
@pytest.mark.parametrize(("width", "height"), [(50, 13), (12, 3), (2, 1), (120, 40)])
def test_dots_are_those_of_plotext(width: int, height: int):
    runs = [POINTS[:7], POINTS[9:10], POINTS[11:]]
    plotext.plot_size(width, height)
    plotext.yaxes(False, False)
    plotext.xticks([], [])
    plotext.yticks([], [])
    for run in runs:
        plotext.plot([x for x, _ in run], [y for _, y in run], marker="braille")
    found = plot.dots(runs, X, Y, width, height)
    assert found == _built()
    assert any(ord(char) > 0x2800 for row in found for char in row)


@pytest.mark.usefixtures("front")
@pytest.mark.parametrize("below", [[(0.0, "0"), (12.0, "12"), (24.0, "24")], []], ids=["layers", "none"])
def test_axes_are_those_of_plotext(below: list[tuple[float, str]]):
    up = [(0.0, "  0"), (0.5, "0.5"), (1.0, "  1")]
    plotext.plot_size(50, 14)
    plotext.yaxes(True, False)
    plotext.xticks([x for x, _ in below], [label for _, label in below])
    plotext.yticks([y for y, _ in up], [label for _, label in up])
    plotext.plot([0.0], [-9.0], marker=" ")
    found = plot.axes(X, Y, below, up, 50, 14)
    assert found == _built()
    assert any(row.startswith("0.5┤") for row in found)
    assert (found[-1].split() == ["0", "12", "24"]) == bool(below)


@pytest.mark.parametrize("before", [True, False], ids=["imported before", "imported after"])
def test_the_front_of_plotext_is_not_run_and_stays_whole_for_others(before: bool):
    whole = "import plotext; plotext.plot([1, 2, 3]); assert '┤' in plotext.build()"
    drawn = "plot.dots([[(0.0, 0.0), (1.0, 1.0)]], (0, 1), (0, 1), 9, 4)"
    ours = f"from microscope_tui.tui.widgets import plot; assert {drawn}"
    alone = "import sys; assert not {'plotext', 'plotext._core', 'plotext._doc'} & set(sys.modules)"
    code = "\n".join([whole, ours, whole] if before else [ours, alone, ours, whole, ours])
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=240, check=False)
    assert (done.returncode, done.stderr) == (0, "")
