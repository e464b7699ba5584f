"""Profiles to character cells: plotext draws the braille lines and the axes, the rest is laid over them.

A drawing is made once for (lines, size, palette) and kept; moving the cursor restyles its cells. Each
line is drawn on a canvas of its own with the same axes, and the dots are joined afterwards, because in
one plotext canvas the later line erases the earlier one's dots where they cross.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

from rich.segment import Segment
from rich.style import Style
from textual.strip import Strip

from microscope_tui.tui.curves import Line, limits
from microscope_tui.tui.themes import MARKERS, Palette

BRAILLE = 0x2800
SGR = re.compile(r"\x1b\[[\d;]*m")
STEPS = (1, 2, 4, 5, 8, 10, 16, 20, 25, 40, 50, 100, 200, 500, 1000)


@dataclass(frozen=True)
class Scale:
    """Where values fall on `cells` character cells of `dots` dots each: plotext's own rounding."""

    low: float
    high: float
    cells: int
    dots: int

    def dot(self, value: float) -> int:
        return math.floor(round(0.5 + (self.cells * self.dots - 1) * (value - self.low) / (self.high - self.low), 8))

    def cell(self, value: float) -> int:
        return self.dot(value) // self.dots

    def place(self, value: float) -> float:
        """The value that plotext, which puts ticks on whole cells, puts on the cell where the dots of `value` are."""
        return self.low + self.cell(value) / max(self.cells - 1, 1) * (self.high - self.low)

    def value(self, cell: int) -> float:
        """The value at the middle of a cell."""
        middle = cell * self.dots + (self.dots - 1) / 2
        return self.low + middle / max(self.cells * self.dots - 1, 1) * (self.high - self.low)


class Cell(NamedTuple):
    """One character with its colours."""

    char: str
    colour: str
    background: str
    bold: bool = False


@lru_cache(maxsize=512)
def style(colour: str, background: str, bold: bool = False) -> Style:
    """The style of these colours, one object each: comparing lines then costs next to nothing."""
    return Style(color=colour, bgcolor=background, bold=bold)


def _between(bounds: dict[int, tuple[float, float]], place: float) -> tuple[float, float] | None:
    """The interval at a place between two layers, None where either of them has none."""
    before, after = math.floor(place + 1e-9), math.ceil(place - 1e-9)
    if before not in bounds or after not in bounds:
        return None
    share = place - before if after > before else 0.0
    (low0, high0), (low1, high1) = bounds[before], bounds[after]
    return low0 + share * (low1 - low0), high0 + share * (high1 - high0)


class Drawing:
    """A chart as cells, and the way to look at it with the cursor on a layer.

    `width` x `height` cells; the plot area starts at column `left` and has `rows` rows, the row below it
    holds the layer numbers.
    """

    def __init__(
        self,
        lines: Sequence[Line],
        last: int,
        width: int,
        height: int,
        palette: Palette,
        ys: tuple[float, float] | None = None,
    ) -> None:
        self.width, self.height, self.palette = width, height, palette
        self.last = last
        self.rows = max(height - 1, 1) if height > 2 else height
        ys = ys or limits(lines)
        ticks, labels = _ticks(*ys, max(2, min(self.rows // 2, 8))) if self.rows > 1 else ([], [])
        gutter = max((len(label) for label in labels), default=0)
        if width - gutter - 1 < 4:
            ticks, labels, gutter = [], [], 0
        self.left = gutter + 1
        xs = (0.0, float(last)) if last > 0 else (-0.5, 0.5)
        self.x = Scale(*xs, max(width - self.left, 1), 2)
        self.y = Scale(*ys, max(self.rows, 1), 4)
        self._marks: dict[int, list[tuple[int, int]]] = {}
        self._base = _blank(width, height, palette)
        if width - self.left >= 2 and self.rows >= 1:
            self._draw(lines, ticks, [f"{label:>{gutter}}" for label in labels])
        self._strips = [_strip(row) for row in self._base]

    def column(self, layer: int) -> int:
        """The column of a layer."""
        return self.left + max(0, min(self.x.cell(layer), self.x.cells - 1))

    def layer_at(self, column: int) -> int:
        """The layer nearest to a column."""
        return max(0, min(self.last, round(self.x.value(column - self.left))))

    def tick_span(self, layer: int) -> tuple[int, int]:
        """First column and text width of the cursor's number below the plot."""
        length = len(str(layer)) + 2
        start = min(max(self.column(layer) - length // 2, 0), max(self.width - length, 0))
        return start, length

    def line(self, y: int, layer: int | None = None) -> Strip:
        """Row `y`, with the cursor on `layer`."""
        if not 0 <= y < len(self._strips):
            return Strip([], 0)
        if layer is None or not 0 <= layer <= self.last or self.width - self.left < 2:
            return self._strips[y]
        if y >= self.rows:
            return self._number(y, layer)
        column = self.column(layer)
        return self._patched(y, column, [self._cursor_cell(y, column, layer)])

    def _patched(self, y: int, start: int, cells: list[Cell]) -> Strip:
        strip = self._strips[y]
        patch = _strip(cells)
        return Strip.join([strip.crop(0, start), patch, strip.crop(start + len(cells), self.width)])

    def _cursor_cell(self, y: int, column: int, layer: int) -> Cell:
        palette = self.palette
        for series, row in self._marks.get(layer, ()):
            if row == y:
                return Cell(MARKERS[series % len(MARKERS)], palette.of(series), palette.cursor, bold=True)
        cell = self._base[y][column]
        if cell.char in " ·":
            return Cell("│", palette.cursor_line, palette.cursor)
        return cell._replace(background=palette.cursor)

    def _number(self, y: int, layer: int) -> Strip:
        start, _ = self.tick_span(layer)
        back, front = self.palette.background, self.palette.cursor_line
        return self._patched(y, start, [Cell(char, back, front, bold=True) for char in f" {layer} "[: self.width]])

    def _draw(self, lines: Sequence[Line], ticks: list[float], labels: list[str]) -> None:
        palette, base = self.palette, self._base
        for y, row in enumerate(self._canvas(None, ticks, labels)[: self.height]):
            for x, char in enumerate(row[: self.width]):
                if char != " ":
                    base[y][x] = Cell(char, palette.faint, palette.background)
        for tick in ticks:
            y = self.rows - 1 - self.y.cell(tick)
            for x in range(self.left + 3, self.width, 4):
                base[y][x] = Cell("·", palette.grid, palette.background)
        for (x, y), series in self._tints(lines).items():
            tint = palette.tint(series[0]) if len(series) == 1 else palette.overlap
            base[y][x] = base[y][x]._replace(background=tint)
        # The first line comes last: where two share a cell, the dots are joined and the first gives the colour.
        for line in reversed(lines):
            self._lay(line)

    def _lay(self, line: Line) -> None:
        colour, base = self.palette.of(line.colour), self._base
        for y, row in enumerate(self._canvas(line, [], [])[: self.rows]):
            for x, char in enumerate(row[: self.x.cells], start=self.left):
                if char != " ":
                    below = base[y][x]
                    dots = ord(below.char) - BRAILLE if ord(below.char) >= BRAILLE else 0
                    base[y][x] = Cell(chr(ord(char) | dots), colour, below.background)
        sign = MARKERS[line.colour % len(MARKERS)]
        for number, (layer, value) in enumerate(point for run in line.runs() for point in run):
            row_of, column = self.rows - 1 - self.y.cell(value), self.column(layer)
            if 0 <= row_of < self.rows:
                self._marks.setdefault(layer, []).insert(0, (line.colour, row_of))
                if self.palette.marked and number % 4 == 2 * (line.colour % 2):
                    base[row_of][column] = base[row_of][column]._replace(char=sign, colour=colour)

    def _canvas(self, line: Line | None, ticks: list[float], labels: list[str]) -> list[str]:
        """What plotext draws: the axes with their labels when `line` is None, else the bare dots of the line."""
        from plotext._figure import _figure_class  # here, because it is slow to import

        figure = _figure_class()  # a figure of our own: the module's one is global state
        figure._limit_size(False, False)
        figure.xaxes(False, False)
        figure.xlim(self.x.low, self.x.high)
        figure.ylim(self.y.low, self.y.high)
        if line is None:
            figure.plot_size(self.width, self.height)
            figure.yaxes(True, False)
            numbers = _layer_ticks(self.last, self.x.cells) if self.height > self.rows else []
            figure.xticks([self.x.place(number) for number in numbers], [str(number) for number in numbers])
            figure.yticks([self.y.place(tick) for tick in ticks], labels)
            figure.plot([self.x.low], [self.y.low - 2 * (self.y.high - self.y.low)], marker=" ")
        else:
            figure.plot_size(self.x.cells, self.rows)
            figure.yaxes(False, False)
            figure.xticks([], [])
            figure.yticks([], [])
            for run in line.runs():
                figure.plot([layer for layer, _ in run], [value for _, value in run], marker="braille")
        figure.clear_color()
        return SGR.sub("", figure.build()).split("\n")  # the colours are laid over it, so none are read back

    def _tints(self, lines: Sequence[Line]) -> dict[tuple[int, int], list[int]]:
        """The cells of the intervals. One thinner than half a cell is left out: a tint would overstate it."""
        cells: dict[tuple[int, int], list[int]] = {}
        for line in lines:
            bounds = line.bounds()
            for x in range(self.x.cells if bounds else 0):
                band = _between(bounds, max(0.0, min(float(self.last), self.x.value(x))))
                if band is None or band[1] < self.y.low or band[0] > self.y.high:
                    continue
                low, high = (self.y.dot(max(self.y.low, min(self.y.high, bound))) for bound in band)
                if high - low < 2:
                    continue
                for row in range(low // 4, high // 4 + 1):
                    if 0 <= row < self.rows:
                        cells.setdefault((self.left + x, self.rows - 1 - row), []).append(line.colour)
        return cells


@lru_cache(maxsize=64)
def drawing(
    lines: tuple[Line, ...],
    last: int,
    width: int,
    height: int,
    palette: Palette,
    ys: tuple[float, float] | None = None,
) -> Drawing:
    """The drawing of these lines over layers 0 … `last` and over the values `ys` (None: their own), made once."""
    return Drawing(lines, last, width, height, palette, ys)


def _ticks(low: float, high: float, most: int) -> tuple[list[float], list[str]]:
    """At most `most` round numbers between the limits (at least two), and how they are written."""
    span = high - low
    power = 10.0 ** math.floor(math.log10(span))
    for step in (power * factor for factor in (0.1, 0.2, 0.25, 0.5, 1, 2, 2.5, 5)):
        first, after = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
        if after - first + 1 <= most:
            break
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    if not math.isclose(step * 10**decimals, round(step * 10**decimals)):
        decimals += 1
    ticks = [number * step for number in range(first, after + 1)]
    return ticks, [f"{tick:.{decimals}f}" if abs(tick) > step / 2 else "0" for tick in ticks]


def _layer_ticks(last: int, cells: int) -> list[int]:
    """Layers to number below the plot: the last one always, the others as far as they fit."""
    room = len(str(last)) + 3
    step = next((s for s in STEPS if last / s * room <= cells), last or 1)
    numbers = [number for number in range(0, last, step) if (last - number) * cells >= room * max(last, 1)]
    return [*numbers, last]


def _blank(width: int, height: int, palette: Palette) -> list[list[Cell]]:
    cell = Cell(" ", palette.grid, palette.background)  # as the grid's dots, so that both are one run of bytes
    return [[cell] * width for _ in range(height)]


def _strip(cells: Sequence[Cell]) -> Strip:
    """Cells as a strip, neighbours of one style joined."""
    if not cells:
        return Strip([], 0)
    starts = [0, *(i + 1 for i, (a, b) in enumerate(pairwise(cells)) if a[1:] != b[1:]), len(cells)]
    segments = [Segment("".join(c.char for c in cells[a:b]), style(*cells[a][1:])) for a, b in pairwise(starts)]
    return Strip(segments, len(cells))
