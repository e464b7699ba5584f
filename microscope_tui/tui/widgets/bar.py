"""One line of the screen: spans with colours, some of which do something when they are clicked."""

from __future__ import annotations

from collections.abc import Sequence

from rich.cells import cell_len, set_cell_size
from rich.segment import Segment
from textual import events
from textual.strip import Strip
from textual.widget import Widget

from microscope_tui.tui.content.spans import Span
from microscope_tui.tui.widgets.chart import style


class Bar(Widget):
    """Spans from the left and spans from the right; where they meet, the left ones give way."""

    DEFAULT_CSS = "Bar { height: 1; }"

    def __init__(self, *, id: str) -> None:
        super().__init__(id=id)
        self._left: tuple[Span, ...] = ()
        self._right: tuple[Span, ...] = ()
        self._background = "#000000"

    def show(self, left: Sequence[Span], right: Sequence[Span] = (), background: str = "#000000") -> None:
        shown = (tuple(left), tuple(right), background)
        if shown != (self._left, self._right, self._background):
            self._left, self._right, self._background = shown
            self.refresh()

    @property
    def text(self) -> str:
        """What stands there now."""
        return "".join(span.text for span in self._laid_out())

    def render_line(self, y: int) -> Strip:
        segments = [
            Segment(span.text, style("" if span.text.isspace() else span.colour, self._background, span.bold))
            for span in self._laid_out()
        ]
        return Strip(segments).adjust_cell_length(self.size.width, style("", self._background))

    def on_click(self, event: events.Click) -> None:
        edge = 0
        for span in self._laid_out():
            edge += cell_len(span.text)
            if event.x < edge:
                if span.action:
                    self.call_later(self.screen.run_action, span.action)
                return

    def _laid_out(self) -> list[Span]:
        """The spans, cut and filled to the width."""
        width = self.size.width
        right = _cut(self._right, width)
        room = width - sum(cell_len(span.text) for span in right)
        left = _cut(self._left, room)
        gap = room - sum(cell_len(span.text) for span in left)
        return [*left, Span(" " * gap, "#000000"), *right]


def _cut(spans: Sequence[Span], width: int) -> list[Span]:
    """As much of the spans as fits, an ellipsis where they are cut."""
    kept: list[Span] = []
    for span in spans:
        length = cell_len(span.text)
        if length > width:
            if width > 1:
                text = set_cell_size(span.text, width - 1) + "…"
                kept.append(Span(text, span.colour, span.bold, span.action))
            break
        kept.append(span)
        width -= length
    return kept
