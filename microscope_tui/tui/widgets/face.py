"""The lines of a pane, as a value: title and legend, the values at the cursor, and the chart or what stands for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from rich.cells import cell_len, set_cell_size
from textual.strip import Strip

from microscope_tui.tui.content.names import told_apart
from microscope_tui.tui.content.readout import WARNING, choose, fit, shorten, shorten_end, wrapped
from microscope_tui.tui.content.spans import Part
from microscope_tui.tui.content.status import REMEDIES
from microscope_tui.tui.content.view import PaneView, Series, said_of
from microscope_tui.tui.keys import key_of
from microscope_tui.tui.themes import MARKERS, Palette
from microscope_tui.tui.widgets.canvas import row
from microscope_tui.tui.widgets.chart import Drawing, drawing

VALUES, SIGNS, RATIO = 33, 3, 10
"""Cells that a line of values needs beside the name: the sign of its curve, a value, a star and an interval; those that
the signs of differences need; and those of n/d, which there is to be room for where names are cut anyway."""
LEAST_CHART = 6
"""Rows that a chart needs: so many are kept from the lines of values where there are several."""


@dataclass(frozen=True)
class Face:
    """How a view looks with the cursor on `layer`.

    `titled`: title and legend are in the first line, because there is no border to hold the title. `least` is the
    width of the narrowest pane beside it: names are shortened alike in all of them.
    """

    view: PaneView
    layer: int
    palette: Palette
    focused: bool
    titled: bool
    least: int
    width: int
    height: int

    @property
    def top(self) -> int:
        """The line where the chart starts."""
        return int(self.titled) + (len(self.read_out) if self.view.drawn else 0)

    @cached_property
    def read_out(self) -> tuple[Series, ...]:
        """The series with a line of values: as many as leave the chart enough room, the one pinned on top first."""
        series = self.view.series
        room = max(self.height - int(self.titled) - LEAST_CHART, 2 if self.height > LEAST_CHART else 1)
        if len(series) <= room:
            return series
        kept = sorted(series, key=lambda s: not s.pinned)[:room]
        return tuple(s for s in series if s in kept)

    @cached_property
    def drawing(self) -> Drawing | None:
        """The chart, None where there is nothing to draw yet."""
        if not self.view.drawn:
            return None
        height = max(self.height - self.top, 0)
        return drawing(self.view.lines, self.view.axes, self.width, height, self.palette)

    def rows(self) -> list[Strip]:
        """All lines, each of the full width."""
        rows = [self._heading()] if self.titled else []
        if chart := self.drawing:
            hidden = len(self.view.series) - len(self.read_out)
            rows += [self._values(series) for series in self.read_out[:-1]]
            rows += [self._values(series, f" +{hidden} more" if hidden else "") for series in self.read_out[-1:]]
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
        partial: Part = (f" · {view.warning}" if view.warning else "", palette.warn, False)
        brief = partial if view.stand_in or view.otherwise or not view.partial else (" · partial", palette.warn, False)
        widest = max(view.widest + 1, _length(title))
        room = max((min(self.width, self.least) - widest - _length(brief)) // len(view.series) - 4, 5)
        signs = [(f" {_sign(series)} ", palette.of(series.number), series.pinned) for series in view.series]
        close = [(f"{' ' * (not i)}{_sign(s)}", palette.of(s.number), s.pinned) for i, s in enumerate(view.series)]
        legend = [
            (f" {_sign(series)} {label} ", palette.of(series.number), series.pinned)
            for series, label in zip(view.series, told_apart([s.label for s in view.series], room), strict=True)
        ]
        for left, right in (
            ([title, meaning, partial], legend),
            ([title, partial], legend),
            ([title, brief], legend),
            ([title, brief], signs),
            ([title, brief], close),
            ([title, _cut(brief, self.width - _length(title))], []),
        ):
            spare = self.width - _length(*left, *right)
            if spare >= 0:
                break
        return self._row([*left, (" " * max(spare, 0), palette.text, False), *right])

    def _values(self, series: Series, end: str = "") -> Strip:
        """The line of a series: its sign (and name, where the title does not hold it), and the values at the cursor;
        `end` is what stands on its right."""
        palette, colour = self.palette, self.palette.of(series.number)
        parts: list[Part] = [(f" {_sign(series)} ", colour, True)]
        if not self.titled:
            narrowest = min(self.width, self.least)
            labels = [s.label for s in self.view.series]
            room = narrowest - VALUES - SIGNS * bool(self.view.less)
            whole = max(map(cell_len, labels)) <= room
            names = told_apart(labels, room if whole else max(room - RATIO, narrowest // 4, 8))
            name = names[self.view.series.index(series)]
            parts.append((set_cell_size(name, max(map(cell_len, names))) + "  ", colour, series.pinned))
        edge = self.width - (not self.titled) - len(end)  # nothing is written up to the line of a frame
        room = edge - _length(*parts)
        if series.profile is None:
            shade = palette.error if series.severe else palette.faint
            parts.append((shorten_end(series.status, room), shade, False))
        else:
            gap = 1 if self.titled else 2
            said = said_of(self.view, series, self.layer)
            for i, (rank, text) in enumerate(choose(said[:1] if series.severe else said, room, gap)):
                shade = palette.text if rank == 0 else palette.warn if rank in WARNING else palette.faint
                parts.append((" " * (gap if i else 0) + text, shade, rank == 0))
            if series.severe:
                status = shorten_end(series.status, edge - _length(*parts) - gap)
                parts.append((" " * gap + status, palette.error, False))
        if end:
            parts.append((f"{'':{max(edge - _length(*parts), 0)}}{end}", palette.faint, False))
        return self._row(parts)

    def _message(self, height: int) -> list[Strip]:
        """What is said where there is nothing to draw yet, in the middle."""
        series, palette = self.view.series, self.palette
        said: list[Part] = []
        for status, severe in dict.fromkeys((s.status, s.severe) for s in series):
            of = [s for s in series if (s.status, s.severe) == (status, severe)]
            name = "" if len(of) == len(series) else f"{shorten(of[0].label, max(self.width // 2, 8))}: "
            colour = palette.error if severe else palette.faint
            said += [(line, colour, False) for line in wrapped(name + status, self.width - 4)]
        if wrong := [s for s in series if s.severe]:
            deeds = (
                {"again": "tries again"} | {s.remedy: REMEDIES[s.remedy] for s in wrong if s.remedy} | {"jobs": "log"}
            )
            ranked = [(rank, f"{key_of(deed)} {does}") for rank, (deed, does) in enumerate(deeds.items())]
            hint = fit(ranked, self.width - 4, " · ")
            said += [("", palette.faint, False), (hint, palette.faint, False)]
        above = max((height - len(said)) // 2, 0)
        rows = [self._row([(" " * max((self.width - cell_len(t)) // 2, 0) + t, c, b)]) for t, c, b in said]
        empty = self._row([])
        return [*[empty] * above, *rows, *[empty] * max(height - above - len(rows), 0)]

    def _row(self, parts: Sequence[Part]) -> Strip:
        return row(parts, self.width, self.palette.background)


def _sign(series: Series) -> str:
    return MARKERS[series.number % len(MARKERS)]


def _cut(part: Part, width: int) -> Part:
    text, colour, bold = part
    return shorten_end(text, width), colour, bold


def _length(*parts: Part) -> int:
    return sum(cell_len(text) for text, _, _ in parts)
