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
from typing import NamedTuple

from rich.segment import Segment
from rich.style import Style
from textual.strip import Strip

from microscope_tui.tui.content.curves import Axes, Line, limits, nearest
from microscope_tui.tui.themes import MARKERS, Palette

BRAILLE = 0x2800
SGR = re.compile(r"\x1b\[[\d;]*m")
HOLLOW = ("○", "◇", "△", "□")
"""The signs of the series where there is nothing to mark."""
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


class Mark(NamedTuple):
    """Where the cursor finds the value of a line: its colour, the row, and the sign drawn there."""

    colour: int
    row: int
    sign: str


@lru_cache(maxsize=512)
def style(colour: str, background: str, bold: bool = False) -> Style:
    """The style of these colours, one object each: comparing lines then costs next to nothing. Blanks need no colour
    of their own, and without one they take fewer bytes."""
    return Style(color=colour or None, bgcolor=background, bold=bold)


class Drawing:
    """A chart as cells, and the way to look at it with the cursor on a layer.

    `width` x `height` cells; the plot area starts at column `left` and has `rows` rows, the row below it
    holds the layer numbers. The first of the lines is drawn over the others.
    """

    def __init__(self, lines: Sequence[Line], axes: Axes, width: int, height: int, palette: Palette) -> None:
        self.width, self.height, self.palette, self.axes = width, height, palette, axes
        self.rows = max(height - 1, 1) if height > 2 else height
        ys = axes.ys or limits(lines, zero=axes.zero)
        most = max(2, min(self.rows // 2, 8))
        ticks, labels = ([], []) if self.rows <= 1 else (_log_ticks if axes.log else _ticks)(*ys, most)
        # As wide as `0.75` at least: else the plot would jump aside whenever a partial result changes the ticks.
        gutter = max((max(len(label), min(4, width // 8)) for label in labels), default=0)
        if width - gutter - 1 < 4:
            ticks, labels, gutter = [], [], 0
        self.left = gutter + 1
        span = (float(axes.first), float(axes.last))
        xs = span if span[1] > span[0] else (span[0] - 0.5, span[0] + 0.5)
        self.x = Scale(*xs, max(width - self.left, 1), 2)
        self.y = Scale(*ys, max(self.rows, 1), 4)
        self._marks: dict[int, list[Mark]] = {}
        self._base = _blank(width, height, palette)
        if width - self.left >= 2 and self.rows >= 1:
            self._draw(lines, ticks, [f"{label:>{gutter}}" for label in labels])
        self._strips = [_strip(row) for row in self._base]

    def column(self, place: float) -> int:
        """The column of a layer."""
        return self.left + max(0, min(self.x.cell(place), self.x.cells - 1))

    def layer_at(self, column: int) -> int:
        """The layer nearest to a column."""
        return max(self.axes.first, min(self.axes.last, round(self.x.value(column - self.left))))

    def tick_span(self, layer: int) -> tuple[int, int]:
        """First column and width of the cursor's number below the plot: with a blank on both sides where there is room
        for it, and the number where it stands without the cursor."""
        label = self.axes.label(layer)
        length = min(len(label), self.width)
        start = min(max(self.column(layer) - length // 2, 0), self.width - length)
        drawn = "".join(cell.char for cell in self._base[-1])
        near = (match.start() for match in re.finditer(rf"(?<!\S){re.escape(label)}(?!\S)", drawn))
        start = next((place for place in near if abs(place - start) <= length), start)
        end = min(start + length + 1, self.width)
        start = max(start - 1, 0)
        return start, end - start

    def line(self, y: int, layer: int | None = None) -> Strip:
        """Row `y`, with the cursor on `layer`."""
        if not 0 <= y < len(self._strips):
            return Strip([], 0)
        if layer is None or not self.axes.first <= layer <= self.axes.last or self.width - self.left < 2:
            return self._strips[y]
        if y >= self.rows:
            return self._number(y, layer)
        column = self.column(layer)
        cell = self._cursor_cell(y, column, layer)
        return self._strips[y] if cell == self._base[y][column] else self._patched(y, column, [cell])

    def _patched(self, y: int, start: int, cells: list[Cell]) -> Strip:
        strip = self._strips[y]
        patch = _strip(cells)
        return Strip.join([strip.crop(0, start), patch, strip.crop(start + len(cells), self.width)])

    def _cursor_cell(self, y: int, column: int, layer: int) -> Cell:
        palette = self.palette
        for mark in self._marks.get(layer, ()):
            if mark.row == y:
                return Cell(mark.sign, palette.of(mark.colour), palette.cursor, bold=True)
        cell = self._base[y][column]
        if self.axes.plain:  # a line that moves costs two cells of every row
            return cell
        if cell.char in " ·─":
            return Cell("│", palette.cursor_line, palette.cursor)
        return cell._replace(background=palette.cursor)

    def _number(self, y: int, layer: int) -> Strip:
        start, length = self.tick_span(layer)
        back, front = self.palette.background, self.palette.cursor_line
        text = f" {self.axes.label(layer)} "[:length] if start else f"{self.axes.label(layer)} "[:length]
        cells = [Cell(char, back, front, bold=True) for char in text]
        if layer < 0:  # it stands for all names of stages, of which it would leave bits
            begin, blank = min(start, self.left), Cell(" ", front, back)
            cells = [blank] * (start - begin) + cells + [blank] * (self.column(0) - 1 - start - length)
            start = begin
        return self._patched(y, start, cells)

    def _draw(self, lines: Sequence[Line], ticks: list[float], labels: list[str]) -> None:
        palette, base = self.palette, self._base
        for y, row in enumerate(self._canvas(None, ticks, labels)[: self.height]):
            for x, char in enumerate(row[: self.width]):
                if char != " ":
                    base[y][x] = Cell(char, palette.faint, palette.background)
        if not self.axes.plain:
            self._dot_grid(ticks)
            for (x, y), slots in self._tints(lines).items():
                tint = palette.tint(slots[0]) if len(slots) == 1 else palette.overlap
                base[y][x] = base[y][x]._replace(background=tint)
        self._name_stages()
        # The first line comes last: where two share a cell, the dots are joined and the first gives the colour.
        for line in reversed(lines):
            self._lay(line, signs=self.palette.marked and len(lines) > 1)

    def _dot_grid(self, ticks: list[float]) -> None:
        """Dots at the ticks, a line at 0 where that means something, and one before the decoder's first layer."""
        palette, base = self.palette, self._base
        for tick in ticks:
            y = self.rows - 1 - self.y.cell(tick)
            for x in range(self.left + 3, self.width, 4):
                base[y][x] = Cell("·", palette.grid, palette.background)
        if self.axes.zero and self.y.low < 0 < self.y.high:
            y = self.rows - 1 - self.y.cell(0.0)
            base[y][self.left :] = [Cell("─", palette.faint, palette.background)] * (self.width - self.left)
        if self.axes.first < 0 and (x := self.column(-0.5)) not in (self.column(-1), self.column(0)):
            for y in range(self.rows):
                base[y][x] = Cell("┊", palette.faint, palette.background)

    def _name_stages(self) -> None:
        """The stages before the decoder below the plot, each where it begins, or before that where it is too short."""
        if self.height == self.rows or not self.axes.stages:
            return
        end = self.column(0) - 1
        for position, name in reversed(self.axes.stages):
            start = max(min(self.column(position), end - len(name)), self.left)
            text = name if len(name) <= end - start else name[: max(end - start - 1, 0)] + "…" * (end - start > 1)
            for x, char in enumerate(text, start=start):
                self._base[self.rows][x] = Cell(char, self.palette.faint, self.palette.background)
            end = start - 1

    def _lay(self, line: Line, signs: bool) -> None:
        """Draw a line, with its sign at every fourth of its points where it needs `signs` to be told from others."""
        colour, base = self.palette.of(line.colour), self._base
        for y, row in enumerate(self._canvas(line, [], [])[: self.rows]):
            for x, char in enumerate(row[: self.x.cells], start=self.left):
                if char != " ":
                    below = base[y][x]
                    dots = ord(below.char) - BRAILLE if ord(below.char) >= BRAILLE else 0
                    base[y][x] = Cell(chr(ord(char) | dots), colour, below.background)
        sign = MARKERS[line.colour % len(MARKERS)]
        hollow = HOLLOW[line.colour % len(HOLLOW)]
        found: dict[int, Mark] = {}
        for number, (i, place, value) in enumerate(point for run in line.runs() for point in run):
            at = self.rows - 1 - self.y.cell(value)
            if 0 <= at < self.rows:
                found[i] = Mark(line.colour, at, hollow if line.marks and not line.marks[i] else sign)
                signed = line.marks[i] if line.marks else signs and number % 4 == 2 * (line.colour % 2)
                if signed:
                    column = self.column(place)
                    base[at][column] = base[at][column]._replace(char=sign, colour=colour)
        for position in range(self.axes.first, self.axes.last + 1):
            index = nearest(line.places, position)
            if index is not None and index in found:
                self._marks.setdefault(position, []).insert(0, found[index])

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
            numbers = _x_ticks(self.axes, self.x.cells) if self.height > self.rows else []
            figure.xticks([self.x.place(place) for place, _ in numbers], [label for _, label in numbers])
            figure.yticks([self.y.place(tick) for tick in ticks], labels)
            figure.plot([self.x.low], [self.y.low - 2 * (self.y.high - self.y.low)], marker=" ")
        else:
            figure.plot_size(self.x.cells, self.rows)
            figure.yaxes(False, False)
            figure.xticks([], [])
            figure.yticks([], [])
            for run in line.runs():
                figure.plot([place for _, place, _ in run], [value for _, _, value in run], marker="braille")
        figure.clear_color()
        return SGR.sub("", figure.build()).split("\n")  # the colours are laid over it, so none are read back

    def _tints(self, lines: Sequence[Line]) -> dict[tuple[int, int], list[int]]:
        """The cells of the intervals. One thinner than half a cell is left out: a tint would overstate it.

        Of three lines and more only the first has tints: nobody could tell them apart.
        """
        cells: dict[tuple[int, int], list[int]] = {}
        thinnest = 0.5 * (self.y.high - self.y.low) / self.y.cells
        for line in lines if len(lines) < 3 else lines[:1]:
            for x in range(self.x.cells if line.bands else 0):
                band = line.band(max(self.x.low, min(self.x.high, self.x.value(x))))
                if band is None or band[1] < self.y.low or band[0] > self.y.high or band[1] - band[0] < thinnest:
                    continue
                low, high = (self.y.cell(max(self.y.low, min(self.y.high, bound))) for bound in band)
                for row in range(low, high + 1):
                    if 0 <= row < self.rows:
                        cells.setdefault((self.left + x, self.rows - 1 - row), []).append(line.colour)
        return cells


@lru_cache(maxsize=64)
def drawing(lines: tuple[Line, ...], axes: Axes, width: int, height: int, palette: Palette) -> Drawing:
    """The drawing of these lines, made once."""
    return Drawing(lines, axes, width, height, palette)


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


def _log_ticks(low: float, high: float, most: int) -> tuple[list[float], list[str]]:
    """Ticks for an axis that holds log₁₀: 1, 2 and 5 times the powers of ten, or fewer, or round numbers between."""
    for factors in ((1, 2, 5), (1, 3), (1,)):
        powers = range(math.floor(low), math.ceil(high) + 1)
        numbers = [factor * 10.0**power for power in powers for factor in factors]
        shown = [number for number in numbers if low <= math.log10(number) <= high]
        if len(shown) <= most:
            break
    if len(shown) >= 2:
        shown = shown[:: math.ceil(len(shown) / most)]
        return [math.log10(number) for number in shown], [f"{number:g}" for number in shown]
    ticks, labels = _ticks(10**low, 10**high, most)
    above = [(math.log10(tick), label) for tick, label in zip(ticks, labels, strict=True) if tick > 0]
    return [tick for tick, _ in above], [label for _, label in above]


def _x_ticks(axes: Axes, cells: int) -> list[tuple[float, str]]:
    """What is numbered below the plot from layer 0 on: the last one always, the others as far as they fit."""
    cells = round(cells * axes.last / max(axes.last - axes.first, 1)) if axes.first < 0 else cells
    if axes.depth:
        parts = next((n for n in (10, 5, 4, 2) if n * 6 <= cells), 1)
        return [(axes.last * k / parts, f"{k / parts:g}") for k in range(parts + 1)]
    last = axes.last
    room = len(str(last)) + 3
    step = next((s for s in STEPS if last / s * room <= cells), last or 1)
    numbers = [number for number in range(0, last, step) if (last - number) * cells >= room * max(last, 1)]
    return [(float(number), str(number)) for number in (*numbers, last)]


def _blank(width: int, height: int, palette: Palette) -> list[list[Cell]]:
    cell = Cell(" ", palette.grid, palette.background)  # as the grid's dots, so that both are one run of bytes
    return [[cell] * width for _ in range(height)]


def _strip(cells: Sequence[Cell]) -> Strip:
    """Cells as a strip, neighbours of one style joined; a blank takes the colour of its neighbour."""
    segments: list[Segment] = []
    text, colour, background, bold = "", "", "", False
    for cell in cells:
        blank = cell.char == " "
        here = ("", False) if blank else (cell.colour, cell.bold)
        if not text or cell.background != background or not (blank or not colour or here == (colour, bold)):
            if text:
                segments.append(Segment(text, style(colour, background, bold)))
            text, (colour, bold), background = cell.char, here, cell.background
        else:
            text += cell.char
            if not blank:
                colour, bold = here
    if text:
        segments.append(Segment(text, style(colour, background, bold)))
    return Strip(segments, len(cells))
