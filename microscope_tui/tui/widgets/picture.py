"""A picture in character cells, two pixels in each: the upper half block in the colour of one on that of the other."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from functools import lru_cache
from itertools import groupby

from rich.segment import Segment
from textual.strip import Strip

from microscope_tui.inspection import Thumbnail
from microscope_tui.tui.widgets.chart import style

Pixel = tuple[int, int, int]
HALF = "▀"
COARSE = 8
"""Colours are rounded to multiples of it: no eye sees the difference at this size, and fewer bytes are sent."""


def fitted(width: int, height: int, columns: int, rows: int) -> tuple[int, int]:
    """The pixels (across, down) of a picture of a shape that fills as many cells as it can of `columns` × `rows`.

    A cell is as high as two of its widths, so half of one is a square.
    """
    if min(width, height, columns, rows) < 1:
        return 0, 0
    scale = min(columns / width, 2 * rows / height)
    return max(1, min(columns, round(width * scale))), max(1, min(2 * rows, round(height * scale)))


@lru_cache(maxsize=32)
def pixels(picture: Thumbnail, across: int, down: int) -> tuple[tuple[Pixel, ...], ...]:
    """`down` rows of `across` pixels, each the mean of the part of the picture that it stands for."""
    data = base64.b64decode(picture.rgb)
    width, height = picture.width, picture.height
    if len(data) != 3 * width * height:
        raise ValueError(f"a picture of {width}x{height} has {len(data)} bytes")

    def mean(x0: int, x1: int, y0: int, y1: int) -> Pixel:
        area = [data[3 * (y * width + x) :][:3] for y in range(y0, y1) for x in range(x0, x1)]
        red, green, blue = (sum(part) // len(area) for part in zip(*area, strict=True))
        return red, green, blue

    xs = [(i * width // across, max((i + 1) * width // across, i * width // across + 1)) for i in range(across)]
    ys = [(i * height // down, max((i + 1) * height // down, i * height // down + 1)) for i in range(down)]
    return tuple(tuple(mean(*x, *y) for x in xs) for y in ys)


@lru_cache(maxsize=32)
def picture_rows(
    picture: Thumbnail, columns: int, rows: int, background: str, *, ascii: bool = False
) -> Sequence[Strip]:
    """The picture as large as it fits, as lines of `columns` cells."""
    across, down = fitted(picture.width, picture.height, columns, rows)
    grid = [[_hex(pixel) for pixel in line] for line in pixels(picture, across, down)]
    return half_blocks(grid, columns, background, ascii=ascii)


def half_blocks(grid: Sequence[Sequence[str]], columns: int, background: str, *, ascii: bool = False) -> list[Strip]:
    """Lines of `columns` cells that show a grid of pixels, given by their colours, in the middle.

    In ASCII a cell has one colour, that of its upper pixel.
    """
    across = len(grid[0]) if grid else 0
    left = (columns - across) // 2
    blank = style(background, background)
    strips = []
    for y in range(0, len(grid), 2):
        upper, lower = grid[y], grid[y + 1] if y + 1 < len(grid) else [background] * across
        if ascii:
            lower = upper
        segments = [Segment(" " * left, blank)]
        for (above, below), cells in groupby(zip(upper, lower, strict=True)):
            number = len(list(cells))
            segments.append(
                Segment(" " * number, style(above, above))
                if above == below
                else Segment(HALF * number, style(above, below))
            )
        strips.append(Strip(segments).adjust_cell_length(columns, blank))
    return strips


def _hex(pixel: Pixel) -> str:
    """A colour, coarsely."""
    return "#" + "".join(f"{min(255, (part + COARSE // 2) // COARSE * COARSE):02x}" for part in pixel)
