"""A pane of the explorer: shows a face, and sends to the terminal only what has changed of it."""

from __future__ import annotations

from textual import events
from textual.geometry import Region
from textual.message import Message
from textual.strip import Strip
from textual.widget import Widget

from microscope_tui.tui.content.view import PaneView
from microscope_tui.tui.themes import Palette
from microscope_tui.tui.widgets.canvas import last_change, row
from microscope_tui.tui.widgets.face import Face


class Pane(Widget):
    """Shows a `PaneView` with the cursor on a layer. A click or the wheel asks for another layer."""

    class Picked(Message):
        """The user pointed at a pane; `layer` is None where it was not the chart that was hit."""

        def __init__(self, number: int, layer: int | None) -> None:
            super().__init__()
            self.number, self.layer = number, layer

    class Wheeled(Message):
        """The user turned the wheel over a pane: `by` layers."""

        def __init__(self, by: int) -> None:
            super().__init__()
            self.by = by

    def __init__(self, number: int) -> None:
        super().__init__(id=f"pane-{number}")
        self.number = number
        self._shown: tuple[PaneView, int, Palette, bool, bool, int] | None = None
        self._title = ""
        self._face: Face | None = None
        self._rows: list[Strip] = []

    def show(self, view: PaneView, layer: int, palette: Palette, *, focused: bool, titled: bool, least: int) -> None:
        """Show a view. `titled`: draw the title in the first line, because there is no border to hold it; `least` is
        the width of the narrowest pane."""
        self.set_class(focused, "-focused")
        title = "" if titled else f"{view.title} [dim]· {view.warning or view.meaning}[/]"
        if title != self._title:
            self._title = self.border_title = title
        shown = (view, layer, palette, focused and titled, titled, least)
        if shown == self._shown:
            return
        self._shown = shown
        before, self._face = self._rows, None
        after = self.rows()
        if len(before) == len(after) and after and before[0].cell_length == after[0].cell_length:
            edges = map(last_change, before, after)
            if changed := [Region(0, y, edge, 1) for y, edge in enumerate(edges) if edge]:
                self.refresh(*changed)
        # else the pane has another size, and Textual paints all of it by itself

    @property
    def face(self) -> Face | None:
        """What is shown, at the present size."""
        width, height = self.size
        face = self._face
        if self._shown and width and height and (face is None or (face.width, face.height) != (width, height)):
            face = self._face = Face(*self._shown, width, height)
            self._rows = self._drawn(face)
        return face

    def rows(self) -> list[Strip]:
        """The lines of the pane at its present size."""
        return self._rows if self.face else []

    def render_line(self, y: int) -> Strip:
        rows = self.rows()
        return rows[y] if y < len(rows) else Strip.blank(self.size.width)

    @property
    def text(self) -> str:
        """What stands in the pane now, line by line."""
        return "\n".join(row.text for row in self.rows())

    def _drawn(self, face: Face) -> list[Strip]:
        try:
            return face.rows()
        except Exception as error:  # an exception while drawing would end the whole app
            self.log.error(f"pane {self.number}: {error!r}")
            ground = face.palette.background  # without any colour, the filter of NO_COLOR would end the app
            said = row([(f"cannot be drawn: {error!r}", face.palette.error, False)], face.width, ground)
            return [row([], face.width, ground) if y else said for y in range(face.height)]

    def on_click(self, event: events.Click) -> None:
        inside = self.content_region
        face = self.face
        layer = face.layer_at(event.screen_x - inside.x, event.screen_y - inside.y) if face else None
        self.post_message(self.Picked(self.number, layer))

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        event.stop()
        self.post_message(self.Wheeled(-1))

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        event.stop()
        self.post_message(self.Wheeled(1))
