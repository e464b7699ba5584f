"""Profiles to character cells: plotext draws the braille lines and the axes, the rest is laid over them.

A drawing is made once for (lines, size, palette) and kept; moving the cursor restyles its cells. Each
line is drawn on a canvas of its own with the same axes, and the dots are joined afterwards, because in
one plotext canvas the later line erases the earlier one's dots where they cross.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import groupby
from typing import NamedTuple

from rich.segment import Segment
from rich.style import Style
from textual.strip import Strip

from microscope_tui.tui.content.curves import Axes, Line, limits, nearest
from microscope_tui.tui.themes import MARKERS, Palette
from microscope_tui.tui.widgets import plot
from microscope_tui.tui.widgets.ticks import Scale, x_ticks, y_axis

BRAILLE = 0x2800
HOLLOW = ("○", "◇", "△", "□")
"""The signs of the series where there is nothing to mark."""
APART = 3
"""Columns between signs, of whatever lines, that tell lines apart where colours do not."""

TURN, SHORT_TURN = 4, 2
"""Columns of the first line, and of each other one, where lines share their cells and take turns to colour them."""


class Cell(NamedTuple):
    """One character with its colours."""

    char: str
    colour: str
    background: str
    bold: bool = False


class Point(NamedTuple):
    """Where a value of a line stands: the line, at which of its values, column and row."""

    line: Line
    at: int
    column: int
    row: int

    @property
    def sign(self) -> str:
        signs = HOLLOW if self.line.marks and not self.line.marks[self.at] else MARKERS
        return signs[self.line.colour % len(signs)]


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
        low, high = axes.ys or limits(lines, zero=axes.zero)
        # Limits that were given are those of other panes too, of which some may have a row more.
        fixed = axes.ys is not None
        self.y, (ticks, labels) = y_axis(low, high, self.rows, log=axes.log, fixed=fixed, zero=axes.zero)
        # As wide as `0.75` at least: else the plot would jump aside whenever a partial result changes the ticks.
        gutter = max((max(len(label), min(4, width // 8)) for label in labels), default=0)
        if width - gutter - 1 < 4:
            ticks, labels, gutter = [], [], 0
        self.left = gutter + 1
        span = (float(axes.first), float(axes.last))
        xs = span if span[1] > span[0] else (span[0] - 0.5, span[0] + 0.5)
        self.x = Scale(*xs, max(width - self.left, 1), 2)
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
        below = x_ticks(self.axes, self.x.cells) if self.height > self.rows else []
        across = [(self.x.place(place), label) for place, label in below]
        up = [(self.y.place(tick), label) for tick, label in zip(ticks, labels, strict=True)]
        drawn = plot.axes((self.x.low, self.x.high), (self.y.low, self.y.high), across, up, self.width, self.height)
        for y, row in enumerate(drawn):
            for x, char in enumerate(row[: self.width]):
                if char != " ":
                    base[y][x] = Cell(char, palette.faint, palette.background)
        if not self.axes.plain:
            self._dot_grid(ticks)
            for (x, y), slots in self._tints(lines).items():
                tint = palette.tint(slots[0]) if len(slots) == 1 else palette.overlap
                base[y][x] = base[y][x]._replace(background=tint)
        self._name_stages()
        # Where lines share a cell, the dots are joined.
        shared: dict[tuple[int, int], list[int]] = {}
        for line in reversed(lines):
            for cell in self._lay(line):
                shared.setdefault(cell, []).insert(0, line.colour)
        for (y, x), colours in shared.items():
            base[y][x] = base[y][x]._replace(colour=palette.of(self._turn(x, colours)))
        self._sign(lines)

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

    def _turn(self, column: int, colours: Sequence[int]) -> int:
        """The line that colours a cell of several, the first of them most often: else one would hide all the others.
        Each change of a colour takes some bytes, so where few are wanted the turns are longer."""
        first, other = (2 * TURN, 2 * SHORT_TURN) if self.axes.plain else (TURN, SHORT_TURN)
        place = (column - self.left) % (first + other * (len(colours) - 1))
        return colours[0 if place < first else 1 + (place - first) // other]

    def _lay(self, line: Line) -> Iterator[tuple[int, int]]:
        """Draw the dots of a line, and remember where the cursor finds its values; the row and column of each cell that
        it goes through."""
        colour, base = self.palette.of(line.colour), self._base
        runs = [[(place, value) for _, place, value in run] for run in line.runs()]
        drawn = plot.dots(runs, (self.x.low, self.x.high), (self.y.low, self.y.high), self.x.cells, self.rows)
        for y, row in enumerate(drawn):
            for x, char in enumerate(row, start=self.left):
                if char != " ":
                    below = base[y][x]
                    dots = ord(below.char) - BRAILLE if ord(below.char) >= BRAILLE else 0
                    base[y][x] = Cell(chr(ord(char) | dots), colour, below.background)
                    yield y, x
        found = {point.at: Mark(line.colour, point.row, point.sign) for point in self._points(line)}
        for position in range(self.axes.first, self.axes.last + 1):
            index = nearest(line.places, position)
            if index is not None and index in found:
                self._marks.setdefault(position, []).insert(0, found[index])

    def _points(self, line: Line) -> Iterator[Point]:
        """The values of a line that stand on the plot."""
        for i, place, value in (point for run in line.runs() for point in run):
            row = self.rows - 1 - self.y.cell(value)
            if 0 <= row < self.rows:
                yield Point(line, i, self.column(place), row)

    def _sign(self, lines: Sequence[Line]) -> None:
        """Put signs on the points that carry one and, where colours do not tell lines apart, on some of each line.
        Where there are no tints, some points get bars for their intervals.

        The lines take turns from column to column, the one with the fewest signs first: where they lie on each other,
        each is still seen.
        """
        palette, base = self.palette, self._base
        told = palette.marked and len(lines) > 1
        barred = self._with_intervals(lines) if palette.marked and not palette.tinted and not self.axes.plain else []
        apart = APART if len(lines) > 1 else 2 * APART
        points = sorted((point for line in lines for point in self._points(line)), key=lambda point: point.column)
        given = dict.fromkeys((line.colour for line in lines), 0)
        last = -apart
        for column, here in groupby(points, lambda point: point.column):
            group = sorted(here, key=lambda point: (given[point.line.colour], point.line.colour))
            signed = [point for point in group if point.line.marks and point.line.marks[point.at]]
            if palette.marked and column - last >= apart:
                last = column
                if group[0].line in barred:
                    self._bar(group[0])
                if told and group[0] not in signed:
                    signed.insert(0, group[0])
            for point in {point.row: point for point in reversed(signed)}.values():
                cell = base[point.row][column]
                base[point.row][column] = cell._replace(char=point.sign, colour=palette.of(point.line.colour))
                given[point.line.colour] += 1

    def _bar(self, point: Point) -> None:
        """Draw the interval of a point above and below the lines."""
        low, high = point.line.low[point.at], point.line.high[point.at]
        if low is None or high is None:
            return
        for row in self._rows_of((low, high)):
            if (cell := self._base[row][point.column]).char in " ·─":
                self._base[row][point.column] = cell._replace(char="┆", colour=self.palette.of(point.line.colour))

    def _tints(self, lines: Sequence[Line]) -> dict[tuple[int, int], list[int]]:
        """The cells of the intervals, and the lines that have them there."""
        cells: dict[tuple[int, int], list[int]] = {}
        for line in self._with_intervals(lines):
            for x in range(self.x.cells if line.bands else 0):
                band = line.band(max(self.x.low, min(self.x.high, self.x.value(x))))
                for row in self._rows_of(band) if band else ():
                    cells.setdefault((self.left + x, row), []).append(line.colour)
        return cells

    @staticmethod
    def _with_intervals(lines: Sequence[Line]) -> Sequence[Line]:
        """The lines whose intervals are drawn. Of three and more only the first: nobody could tell them apart."""
        return lines if len(lines) < 3 else lines[:1]

    def _rows_of(self, band: tuple[float, float]) -> Sequence[int]:
        """The rows of an interval. One thinner than half a row has none: they would overstate it."""
        low, high = band
        thinnest = 0.5 * (self.y.high - self.y.low) / self.y.cells
        if math.isnan(low) or math.isnan(high) or high < self.y.low or low > self.y.high or high - low < thinnest:
            return ()
        bottom, top = (self.y.cell(max(self.y.low, min(self.y.high, bound))) for bound in band)
        return [self.rows - 1 - row for row in range(bottom, top + 1) if 0 <= row < self.rows]


@lru_cache(maxsize=64)
def drawing(lines: tuple[Line, ...], axes: Axes, width: int, height: int, palette: Palette) -> Drawing:
    """The drawing of these lines, made once."""
    return Drawing(lines, axes, width, height, palette)


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
