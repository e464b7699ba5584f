"""Tokens × layers as a heat map: a line for each token or folded block, a column for each layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count, groupby

from rich.segment import Segment
from rich.style import Style
from textual.strip import Strip

from microscope_tui.tui.content.ramp import SHADES, colours
from microscope_tui.tui.content.spans import Part
from microscope_tui.tui.content.tokens import Line, Quantity, Scale, Tokens
from microscope_tui.tui.themes import KINDS, Palette
from microscope_tui.tui.widgets.canvas import row
from microscope_tui.tui.widgets.chart import style

LABEL = 19, 28, 44
"""Columns for the text of a token: the least, those that go before wider layers, and the most."""
WIDEST = 8
"""Most columns of a layer."""
HEAD = 1
"""Lines above the first token: the numbers of the layers."""
GAP = "·"
"""Stands where there is no value."""


@dataclass(frozen=True)
class Columns:
    """How the layers are laid out: `count` of them from `first` on, each `each` columns wide, right of the label."""

    label: int
    first: int
    count: int
    each: int

    @classmethod
    def of(cls, width: int, layers: int, layer: int) -> Columns:
        """As wide as there is room; where not all fit, those around the cursor, which moves on by half of them."""
        least, good, most = LABEL
        room = max(width - least, 1)
        each = max(1, min(WIDEST, (width - good) // max(layers, 1)))
        count = min(layers, room // each)
        label = max(min(width - count * each, most), 0)
        first = 0
        if count < layers:
            half = max(count // 2, 1)
            first = max(0, min(layer // half * half - half // 2, layers - count))
        return cls(label, first, count, each)

    def layer_at(self, x: int) -> int | None:
        """The layer at a column of the screen, None outside of them."""
        number = (x - self.label) // self.each
        return self.first + number if 0 <= number < self.count else None


@dataclass(frozen=True, eq=False)
class Heat:
    """What is drawn: the lines from number `top` on, with the cursor on line `at` and on `layer`.

    `coloured`: the steps of the scale are colours; else they are characters.
    """

    tokens: Tokens
    quantity: Quantity
    scale: Scale
    lines: Sequence[Line]
    top: int
    at: int
    layer: int
    palette: Palette
    coloured: bool

    def columns(self, width: int) -> Columns:
        return Columns.of(width, len(self.tokens.values(self.quantity)), self.layer)

    def rows(self, width: int, height: int) -> list[Strip]:
        layout = self.columns(width)
        shown = range(self.top, min(self.top + height - HEAD, len(self.lines)))
        return [self._ruler(layout, width), *(self._line(number, layout, width) for number in shown)]

    def _ruler(self, layout: Columns, width: int) -> Strip:
        """The numbers of the layers, that of the cursor standing out."""
        palette, room = self.palette, layout.count * layout.each
        text = [" "] * room
        spacing = next(s for s in (1, 2, 4, 5, 8, 10, 16, 20, 50, 100, 1000) if s * layout.each >= 4)
        for layer in range(layout.first, layout.first + layout.count):
            place, number = (layer - layout.first) * layout.each, str(layer)
            if layer % spacing == 0 and place + len(number) <= room:
                text[place : place + len(number)] = number
        label: Part = (f"{'layer':>{layout.label - 1}} " if layout.label else "", palette.faint, False)
        if not layout.first <= self.layer < layout.first + layout.count:
            return row([label, ("".join(text), palette.faint, False)], width, palette.background)
        number = str(self.layer)
        place = min((self.layer - layout.first) * layout.each, max(room - len(number), 0))
        for x in range(max(place - 1, 0), min(place + len(number) + 1, room)):
            clear(text, x)
        base, front = style(palette.faint, palette.background), style(palette.background, palette.cursor_line, True)
        if palette.ansi or not self.coloured:
            front = Style(reverse=True, bold=True)
        segments = [
            *row([label], layout.label, palette.background),
            Segment("".join(text[:place]), base),
            Segment(number, front),
            Segment("".join(text[place + len(number) :]), base),
        ]
        return Strip(segments).adjust_cell_length(width, base)

    def _line(self, number: int, layout: Columns, width: int) -> Strip:
        line, here = self.lines[number], number == self.at
        values = self.tokens.shown(self.quantity, line)[layout.first : layout.first + layout.count]
        ranges = (self.tokens.range(self.quantity, self.scale, layer) for layer in count(layout.first))
        steps = [found.step(value) for found, value in zip(ranges, values, strict=False)]
        segments = [*self._label(line, layout.label, here)]
        for (step, cursor), cells in groupby(
            (step, here and layer == self.layer) for layer, step in enumerate(steps, layout.first)
        ):
            segments.append(self._cell(step, cursor, len(list(cells)) * layout.each))
        return Strip(segments).adjust_cell_length(width, style(self.palette.text, self.palette.background))

    def _cell(self, step: int | None, cursor: bool, length: int) -> Segment:
        palette = self.palette
        if step is None:
            char = "x" if cursor else GAP
            colour = palette.cursor_line if cursor else palette.faint
            return Segment(char.center(length) if cursor else char * length, style(colour, palette.background, cursor))
        if not self.coloured:
            if cursor:
                return Segment(SHADES[step] * length, Style(reverse=True, bold=True))
            return Segment(SHADES[step] * length, style(palette.text, palette.background))
        ramp = colours(palette)
        front = ramp[0] if step >= len(ramp) // 2 else ramp[-1]
        return Segment("◆".center(length) if cursor else " " * length, style(front, ramp[step], cursor))

    def _label(self, line: Line, width: int, here: bool) -> Strip:
        """Number, modality and text of a token, or the name of a block."""
        palette, digits = self.palette, len(str(self.tokens.count - 1))
        modality = self.tokens.table.modality[line.start]
        background = palette.cursor if here else palette.background
        sign: Part = (f" {KINDS[modality]} ", palette.kind(modality), True)
        index: Part = (
            f"{'▌' if here else ' '}{line.start:>{digits}}",
            palette.cursor_line if here else palette.faint,
            here,
        )
        if line.block is not None:
            folded = "▼" if line.open else "▶"
            name = f"{line.block.name} ×{line.block.length}"
            return row([index, sign, (f"{folded} {name}", palette.text, here)], width, background)
        text = self.tokens.table.tokens[line.start]
        text = text if text.strip() else f"“{text}”"
        return row([index, sign, (text, palette.text, here)], width, background)


def clear(text: list[str], x: int) -> None:
    """Blank the number that stands at a place."""
    start = end = x
    while start > 0 and text[start - 1] != " " and text[x] != " ":
        start -= 1
    while end < len(text) and text[end] != " ":
        end += 1
    text[start:end] = " " * (end - start)
