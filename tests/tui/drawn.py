"""Lines to draw, and ways to look at what was drawn of them."""

import math

from rich.style import Style
from textual.strip import Strip

from microscope_tui.tui.content.curves import Line
from microscope_tui.tui.session import DARK
from microscope_tui.tui.themes import PALETTES
from microscope_tui.tui.widgets.chart import BRAILLE, Drawing

PALETTE = PALETTES[DARK]


def wave(count: int, colour: int = 0, gap: tuple[int, ...] = (), half: float | None = 0.1, shift: float = 0.0) -> Line:
    values = tuple(None if i in gap else 0.5 + 0.3 * math.sin(i / 3) + shift for i in range(count))
    low = tuple(None if v is None or half is None else v - half for v in values)
    high = tuple(None if v is None or half is None else v + half for v in values)
    return Line(tuple(range(count)), values, low, high, colour)


def styles_of(strip: Strip) -> list[tuple[str, Style]]:
    return [(char, segment.style or Style()) for segment in strip for char in segment.text]


def background_of(style: Style) -> str:
    return style.bgcolor.get_truecolor().hex if style.bgcolor else ""


def colour_of(style: Style) -> str:
    return style.color.get_truecolor().hex if style.color else ""


def plot_of(d: Drawing) -> list[list[tuple[str, Style]]]:
    return [styles_of(d.line(y))[d.left :] for y in range(d.rows)]


def dots_of(d: Drawing, column: int) -> list[int]:
    """Rows of a column (of the plot area) that hold braille dots."""
    return [y for y, row in enumerate(plot_of(d)) if ord(row[column][0]) > BRAILLE]
