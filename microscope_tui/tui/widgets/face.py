"""The lines of a pane, as a value: title and legend, the values at the cursor, and the chart or what stands for it."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from functools import cached_property

from rich.cells import cell_len, set_cell_size
from rich.segment import Segment
from textual.strip import Strip

from microscope_tui.tui.readout import choose, fit, pieces, shorten, shorten_end
from microscope_tui.tui.themes import MARKERS, Palette
from microscope_tui.tui.view import PaneView, Series
from microscope_tui.tui.widgets.chart import Drawing, drawing, style

HINTS = ((0, "r tries again"), (1, "m other model"), (3, "d other slice"), (2, "j log"))
"""What can be done where something is wrong, with their ranks."""

Part = tuple[str, str, bool]
"""Text, colour, bold."""


@dataclass(frozen=True)
class Face:
    """How a view looks with the cursor on `layer`.

    `titled`: title and legend are in the first line, because there is no border to hold the title.
    """

    view: PaneView
    layer: int
    palette: Palette
    focused: bool
    titled: bool
    width: int
    height: int

    @property
    def top(self) -> int:
        """The line where the chart starts."""
        return int(self.titled) + (len(self.view.series) if self.view.drawn else 0)

    @cached_property
    def drawing(self) -> Drawing | None:
        """The chart, None where there is nothing to draw yet."""
        if not self.view.drawn:
            return None
        view, height = self.view, max(self.height - self.top, 0)
        return drawing(view.lines, view.last, self.width, height, self.palette, view.ys)

    def rows(self) -> list[Strip]:
        """All lines, each of the full width."""
        rows = [self._heading()] if self.titled else []
        if chart := self.drawing:
            rows += [self._values(series) for series in self.view.series]
            rows += [chart.line(y, self.layer) for y in range(chart.height)]
        else:
            rows += self._message(self.height - len(rows))
        return rows[: self.height]

    def layer_at(self, x: int, y: int) -> int | None:
        """The layer at a place in the pane, None outside the chart."""
        return self.drawing.layer_at(x) if self.drawing and y >= self.top else None

    def _heading(self) -> Strip:
        """Title on the left, legend on the right; what does not fit is left out, the signs last of all."""
        view, palette = self.view, self.palette
        colour = palette.cursor_line if self.focused else palette.text
        title: Part = (("▌" if self.focused else " ") + view.title, colour, True)
        meaning: Part = (f" {view.meaning}", palette.faint, False)
        partial: Part = (f" · {view.partial}" if view.partial else "", palette.warn, False)
        room = max((self.width - _length(title, partial)) // len(view.series) - 4, 5)
        signs = [(f" {_sign(series)} ", palette.of(series.number), False) for series in view.series]
        legend = [
            (f" {_sign(series)} {shorten(series.label, room)} ", palette.of(series.number), False)
            for series in view.series
        ]
        for left, right in (
            ([title, meaning, partial], legend),
            ([title, partial], legend),
            ([title, partial], signs),
            ([title], []),
        ):
            spare = self.width - _length(*left, *right)
            if spare >= 0:
                break
        return self._row([*left, (" " * max(spare, 0), palette.text, False), *right])

    def _values(self, series: Series) -> Strip:
        """The line of a series: its sign (and name, where the title does not hold it), and the values at the cursor."""
        palette, colour = self.palette, self.palette.of(series.number)
        parts: list[Part] = [(f" {_sign(series)} ", colour, True)]
        if not self.titled:
            length = min(max(len(s.label) for s in self.view.series), max(self.width // 4, 8))
            parts.append((f"{shorten(series.label, length):<{length}}  ", colour, False))
        room = self.width - _length(*parts)
        if series.profile is None or series.severe:
            shade = palette.error if series.severe else palette.faint
            return self._row([*parts, (shorten_end(series.status, room), shade, False)])
        gap = 1 if self.titled else 2
        for i, (rank, text) in enumerate(choose(pieces(series.profile, self.layer), room, gap)):
            shade = palette.text if rank == 0 else palette.warn if rank in (1, 6) else palette.faint
            parts.append((" " * (gap if i else 0) + text, shade, rank == 0))
        return self._row(parts)

    def _message(self, height: int) -> list[Strip]:
        """What is said where there is nothing to draw yet, in the middle."""
        series, palette = self.view.series, self.palette
        said: list[Part] = []
        for status, severe in dict.fromkeys((s.status, s.severe) for s in series):
            of = [s for s in series if (s.status, s.severe) == (status, severe)]
            name = "" if len(of) == len(series) else f"{of[0].label}: "
            colour = palette.error if severe else palette.faint
            said += [(line, colour, False) for line in textwrap.wrap(name + status, max(self.width - 4, 8))]
        if any(s.severe for s in series):
            hint = fit(HINTS, self.width - 4, " · ")
            said += [("", palette.faint, False), (hint, palette.faint, False)]
        above = max((height - len(said)) // 2, 0)
        rows = [self._row([(" " * max((self.width - cell_len(t)) // 2, 0) + t, c, b)]) for t, c, b in said]
        empty = self._row([])
        return [*[empty] * above, *rows, *[empty] * max(height - above - len(rows), 0)]

    def _row(self, parts: list[Part]) -> Strip:
        background, room, segments = self.palette.background, self.width, []
        for text, colour, bold in parts:
            text = text if cell_len(text) <= room else set_cell_size(text, room)
            room -= cell_len(text)
            segments.append(Segment(text, style(colour, background, bold)))
        return Strip(segments).adjust_cell_length(self.width, style(self.palette.text, background))


def _sign(series: Series) -> str:
    return MARKERS[series.number % len(MARKERS)]


def _length(*parts: Part) -> int:
    return sum(cell_len(text) for text, _, _ in parts)
