"""Points of a plane in braille, coloured by what they are; the limits of the plane stand below."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from rich.segment import Segment
from textual.strip import Strip

from microscope_tui.terms import Modality
from microscope_tui.tui.content.ramp import Range, range_of
from microscope_tui.tui.themes import KINDS, MARKERS, Palette
from microscope_tui.tui.widgets.canvas import row
from microscope_tui.tui.widgets.chart import BRAILLE, style

DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
"""The bit of each of the 4 × 2 dots of a braille cell."""
MARGIN = 0.04
"""Empty part of the plane beyond the outermost points."""

Point = tuple[float, float]


@dataclass(frozen=True, eq=False)
class Scatter:
    """What is drawn: `points`, each of a series in `series`, which gives its colour and its sign.

    Without `whole` the most extreme points lie outside, so that a few rows of massive norm do not press all the others
    into one dot; how many is said.
    """

    points: Sequence[Point]
    series: Sequence[int]
    palette: Palette
    whole: bool = False
    kinds: bool = False
    """Whether the series are modalities, by their places among them."""
    limited: bool = True
    """Whether the limits of the plane are said: of one whose distances mean nothing they mean nothing either."""

    @property
    def limits(self) -> tuple[Range, Range]:
        """The values across and up that are shown."""
        across, up = zip(*self.points, strict=True) if self.points else ((), ())
        ranges = (Range(min(v), max(v)) if self.whole and v else range_of(v) for v in (across, up))
        across_, up_ = (self._widened(each) for each in ranges)
        return across_, up_

    @staticmethod
    def _widened(found: Range) -> Range:
        edge = MARGIN * (found.high - found.low) or 0.5
        return Range(found.low - edge, found.high + edge)

    def rows(self, width: int, height: int) -> list[Strip]:
        palette, body = self.palette, max(height - 1, 0)
        across, up = self.limits
        cells: dict[tuple[int, int], Counter[int]] = {}
        dots: dict[tuple[int, int], int] = {}
        outside = 0
        for (x, y), series in zip(self.points, self.series, strict=True):
            if not (across.low <= x <= across.high and up.low <= y <= up.high):
                outside += 1
                continue
            column, line = across.step(x, 2 * width) or 0, 4 * body - 1 - (up.step(y, 4 * body) or 0)
            cell = line // 4, column // 2
            cells.setdefault(cell, Counter())[series] += 1
            dots[cell] = dots.get(cell, 0) | DOTS[line % 4][column % 2]
        most = {cell: min(count, key=lambda s: (-count[s], s)) for cell, count in cells.items()}
        lines = []
        for y in range(body):
            segments = []
            for series_, columns in groupby(range(width), key=lambda x, y=y: most.get((y, x))):  # type: ignore[misc]
                segments.append(self._piece(series_, [dots.get((y, x), 0) for x in columns]))
            lines.append(Strip(segments).adjust_cell_length(width, style(palette.text, palette.background)))
        places = (f"x {across.low:.3g} … {across.high:.3g}", f"y {up.low:.3g} … {up.high:.3g}") if self.limited else ()
        beyond = (f"{outside:,} of {len(self.points):,} outside",) if outside else ()
        said = " " + "   ".join((*beyond, *places))
        if len(said) > width:  # on a narrow map with fewer words
            beyond = (f"{outside:,} outside",) if outside else ()
            said = " " + "  ".join((*beyond, *places)).replace(" … ", "…")
        return [*lines, row([(said, palette.faint, False)], width, palette.background)]

    def _piece(self, series: int | None, dots: Sequence[int]) -> Segment:
        """Cells side by side of one series."""
        palette = self.palette
        if series is None:
            return Segment(" " * len(dots), style(palette.text, palette.background))
        modality = tuple(Modality)[series] if self.kinds else None
        sign = KINDS[modality] if modality else MARKERS[series % len(MARKERS)]
        colour = palette.kind(modality) if modality else palette.of(series)
        text = sign * len(dots) if palette.marked else "".join(chr(BRAILLE + each) for each in dots)
        return Segment(text, style(colour, palette.background))
