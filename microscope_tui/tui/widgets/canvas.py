"""A widget that shows lines made elsewhere, and sends to the terminal only those that have changed."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rich.cells import cell_len, set_cell_size
from rich.segment import Segment
from textual import events
from textual.geometry import Region
from textual.message import Message
from textual.strip import Strip
from textual.widget import Widget

from microscope_tui.tui.content.spans import Part
from microscope_tui.tui.widgets.chart import style

Draw = Callable[[int, int], Sequence[Strip]]
"""From a width and a height to that many lines at most."""


def row(parts: Sequence[Part], width: int, background: str) -> Strip:
    """One line of the full width. What no terminal can print, or could take for a command, is blank: the text may come
    from somebody else's cache."""
    room, segments = width, []
    for text, colour, bold in parts:
        if not text.isprintable():
            text = "".join(char if char.isprintable() else " " for char in text)
        if room <= 0:
            break
        if (length := cell_len(text)) > room:
            text, length = (set_cell_size(text, room - 1) + "…", room)
        segments.append(Segment(text, style(colour, background, bold)))
        room -= length
    return Strip(segments).adjust_cell_length(width, style("", background))


class Canvas(Widget):
    """Shows what a function draws for its size."""

    DEFAULT_CSS = "Canvas { width: 1fr; height: 1fr; }"

    class Clicked(Message):
        """The user pointed at a cell."""

        def __init__(self, canvas: Canvas, x: int, y: int) -> None:
            super().__init__()
            self.canvas, self.x, self.y = canvas, x, y

    class Wheeled(Message):
        """The user turned the wheel: `by` lines."""

        def __init__(self, canvas: Canvas, by: int) -> None:
            super().__init__()
            self.canvas, self.by = canvas, by

    def __init__(self, *, id: str) -> None:
        super().__init__(id=id)
        self._draw: Draw = lambda width, height: []
        self._background = "default"
        self._rows: list[Strip] = []
        self._drawn: tuple[int, int] | None = None

    def show(self, draw: Draw, background: str) -> None:
        """Draw by this function from now on; lines that stay as they are are not painted again."""
        self._draw, self._background = draw, background
        before, size = self._rows, self._drawn
        self._make()
        if size != self._drawn:
            self.refresh()
            return
        changed = [(y, edge) for y, edge in enumerate(map(last_change, before, self._rows)) if edge]
        if changed:
            self.refresh(*(Region(0, y, edge, 1) for y, edge in changed))

    @property
    def text(self) -> str:
        """What stands there now, line by line."""
        self._fit()
        return "\n".join(line.text for line in self._rows)

    def render_line(self, y: int) -> Strip:
        self._fit()
        return self._rows[y] if y < len(self._rows) else Strip.blank(self.size.width)

    def _fit(self) -> None:
        if self._drawn != (self.size.width, self.size.height):
            self._make()

    def _make(self) -> None:
        width, height = self.size
        try:
            rows = [*self._draw(width, height)][:height]
        except Exception as error:  # an exception while drawing would end the whole app
            self.log.error(f"{self.id}: {error!r}")
            rows = [row([(f"cannot be drawn: {error!r}", "", False)], width, self._background)]
        blank = row([], width, self._background)
        self._rows = rows + [blank] * (height - len(rows))
        self._drawn = (width, height)

    def on_click(self, event: events.Click) -> None:
        self.post_message(self.Clicked(self, event.x, event.y))

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        event.stop()
        self.post_message(self.Wheeled(self, -1))

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        event.stop()
        self.post_message(self.Wheeled(self, 1))


def last_change(old: Strip, new: Strip) -> int:
    """The column after the last one in which two lines of one width differ, 0 where they are the same.

    Textual repaints a line of a widget from its left edge, so where the first difference is does not matter.
    """
    if old is new or old == new:
        return 0
    before, after = ([(char, s.style) for s in line for char in s.text] for line in (old, new))
    if len(before) != len(after) or len(after) != new.cell_length:
        return new.cell_length  # a character that is two columns wide: not worth the trouble
    return max((x for x, pair in enumerate(zip(before, after, strict=True), 1) if pair[0] != pair[1]), default=0)


def scrolled(top: int, at: int, height: int, count: int) -> int:
    """The first line to show so that line `at` is seen: as it was, else half a page on, so that few moves scroll."""
    if height < 1:
        return 0
    if not top <= at < top + height:
        top = at - height // 2
    return max(0, min(top, count - height))


def centred(lines: Sequence[Part], width: int, height: int, background: str) -> list[Strip]:
    """Texts in the middle of a field."""
    rows = [
        row([(" " * max((width - cell_len(text)) // 2, 0) + text, colour, bold)], width, background)
        for text, colour, bold in lines
    ]
    return [*[row([], width, background)] * max((height - len(rows)) // 2, 0), *rows][:height]
