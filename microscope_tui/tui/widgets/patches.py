"""Image tokens where they come from: the picture in half blocks, tinted by the value of each patch at a layer."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from rich.segment import Segment
from rich.style import Style
from textual.strip import Strip

from microscope_tui.inspection import Thumbnail
from microscope_tui.tui.content.ramp import SHADES, Range, colours
from microscope_tui.tui.content.tokens import Quantity, Tokens
from microscope_tui.tui.themes import Palette
from microscope_tui.tui.widgets.canvas import row
from microscope_tui.tui.widgets.chart import style
from microscope_tui.tui.widgets.picture import fitted, half_blocks, pixels

LEVELS = 4
"""Levels of the picture's own light behind the tint: enough to see what it shows, few enough to be sent quickly."""
DARKEST = 0.7
"""What is left of a tint's light where the picture is black: more would let a value pass for a neighbouring one."""


@lru_cache(maxsize=512)
def tinted(colour: str, light: int) -> str:
    """A colour in the light of one of the `LEVELS` of the picture below it."""
    share = DARKEST + (1 - DARKEST) * light / (LEVELS - 1)
    return "#" + "".join(f"{round(int(colour[i : i + 2], 16) * share):02x}" for i in (1, 3, 5))


@dataclass(frozen=True, eq=False)
class Patches:
    """What is drawn: the view `view` of `tokens.views` at a layer, with the patch of token `cursor` standing out.

    `plain`: one colour a cell, and nothing of the picture below it, for a slow line.
    """

    tokens: Tokens
    view: int
    quantity: Quantity
    range: Range
    layer: int
    cursor: int | None
    palette: Palette
    coloured: bool
    ascii: bool = False
    plain: bool = False

    @property
    def picture(self) -> Thumbnail | None:
        number, _ = self.tokens.views[self.view]
        pictures = self.tokens.table.card.pictures
        return pictures[number] if number < len(pictures) else None

    def size(self, width: int, height: int) -> tuple[int, int]:
        """The pixels across and down: two lines of them in a cell where there are colours, else one."""
        shape = (self.picture.width, self.picture.height) if self.picture else (1, 1)
        across, down = fitted(*shape, width, height)
        return across, down if self._halved else (down + 1) // 2

    @property
    def _halved(self) -> bool:
        """Whether a cell shows two pixels."""
        return self.coloured and not self.ascii and not self.plain

    def rows(self, width: int, height: int) -> list[Strip]:
        """The lines of the map, in the middle of the width."""
        across, down = self.size(width, height)
        if not across or not down:
            return []
        owned = self.tokens.owners(self.view, across, down)
        if not self.coloured:
            return [self._shades(line, width) for line in owned]
        light = self._light(across, down)
        grid = [[self._colour(tokens, light[y][x]) for x, tokens in enumerate(line)] for y, line in enumerate(owned)]
        if not self._halved:
            grid = [line for line in grid for _ in range(2)]
        return half_blocks(grid, width, self.palette.background, ascii=self.ascii)

    def token_at(self, x: int, y: int, width: int, height: int) -> int | None:
        """The token shown in a cell, None where there is none."""
        across, down = self.size(width, height)
        column, line = x - (width - across) // 2, 2 * y if self._halved else y
        if not (0 <= column < across and 0 <= line < down):
            return None
        return next(iter(self.tokens.owners(self.view, across, down)[line][column]), None)

    def _step(self, tokens: tuple[int, ...]) -> int | None:
        """The step of the mean of the values of some tokens."""
        values = [self.tokens.value(self.quantity, self.layer, token) for token in tokens]
        known = [value for value in values if value is not None]
        return self.range.step(sum(known) / len(known)) if known else None

    def _colour(self, tokens: tuple[int, ...], light: int) -> str:
        if self.cursor is not None and self.cursor in tokens:
            return self.palette.good
        step = self._step(tokens)
        return tinted(self.palette.faint if step is None else colours(self.palette)[step], light)

    def _light(self, across: int, down: int) -> list[list[int]]:
        """The light of each pixel of the picture, in `LEVELS` levels; all of it where there is no picture."""
        if self.picture is None or self.plain:
            return [[LEVELS - 1] * across for _ in range(down)]
        return [
            [min(LEVELS - 1, (299 * r + 587 * g + 114 * b) * LEVELS // 255_001) for r, g, b in line]
            for line in pixels(self.picture, across, down)
        ]

    def _shades(self, line: tuple[tuple[int, ...], ...], width: int) -> Strip:
        """A line of characters, for a terminal with few colours."""
        palette = self.palette
        segments = [
            *row([(" " * ((width - len(line)) // 2), palette.text, False)], (width - len(line)) // 2, "default")
        ]
        for tokens in line:
            step = self._step(tokens)
            marked = self.cursor is not None and self.cursor in tokens
            char = "?" if step is None else SHADES[step]
            front = Style(reverse=True, bold=True) if marked else style(palette.text, palette.background)
            segments.append(Segment(char, front))
        return Strip(segments).adjust_cell_length(width, style(palette.text, palette.background))
