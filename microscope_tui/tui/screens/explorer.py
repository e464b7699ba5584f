"""The main screen: it holds the session and the desk, and shows them."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Container
from textual.geometry import Size
from textual.screen import Screen
from textual.widgets import Static

from microscope_tui.catalogue import Entry
from microscope_tui.errors import MicroscopeError
from microscope_tui.settings import Settings
from microscope_tui.terms import Job, Measurement, Metric, Request, SliceSpec
from microscope_tui.tui import export
from microscope_tui.tui import session as moves
from microscope_tui.tui.clerk import Clerk
from microscope_tui.tui.desk import Desk
from microscope_tui.tui.errands import Returned
from microscope_tui.tui.inbox import Arrived, Post
from microscope_tui.tui.keys import bindings
from microscope_tui.tui.lines import footer_line, header_line, inspector_lines, metric_line
from microscope_tui.tui.session import Session
from microscope_tui.tui.source import Source
from microscope_tui.tui.themes import Palette, palette
from microscope_tui.tui.view import last_layer, methods_measured, pane_views
from microscope_tui.tui.widgets.bar import Bar
from microscope_tui.tui.widgets.pane import Pane

if TYPE_CHECKING:
    from microscope_tui.tui.screens.jobs import Jobs

LEAST = (60, 20)
"""Columns and rows below which the panes cannot be read."""
ROOMY = (100, 30)
"""Columns and rows from which the panes get a frame."""


class Explorer(Screen[int]):
    """Panes of profiles. Keys change the session; what it needs is asked of the source in threads."""

    BINDINGS: ClassVar[list[BindingType]] = [*bindings()]

    def __init__(self, settings: Settings, session: Session, source: Source) -> None:
        super().__init__()
        self.settings, self.session, self.source = settings, session, source
        self.desk = Desk()
        self.clerk = Clerk(source, self.desk, self, self._changed)
        self._composed = False
        self._grid = (0, 0)
        self._board: Jobs | None = None
        self._palettes: dict[str, Palette] = {}

    # What there is

    def compose(self) -> ComposeResult:
        self._suit(self.app.size)
        yield Bar(id="header")
        yield Bar(id="metric")
        with Container(id="panes"):
            for number in range(len(self.session.panes)):
                yield Pane(number)
        yield Bar(id="inspector")
        yield Bar(id="inspector-2")
        yield Bar(id="footer")
        yield Static(id="small")

    def on_mount(self) -> None:
        self._composed = True
        self.show()
        self.call_after_refresh(self._begin)

    def _begin(self) -> None:
        """Ask for the first results: after the first paint, which their threads would hold up."""
        self.clerk.ask(self.requests)
        self.clerk.inbox.follow()

    def on_resize(self, event: events.Resize) -> None:
        self._suit(event.size)
        if self.has_class("-small"):
            width, height = event.size
            self.query_one("#small", Static).update(
                f"This window is {width}x{height}.\nThe explorer needs\n{LEAST[0]}x{LEAST[1]} or more.\n\nq leaves"
            )
        self.call_after_refresh(self.show)

    def _suit(self, size: Size) -> None:
        width, height = size
        self.set_class(width < LEAST[0] or height < LEAST[1], "-small")
        self.set_class(width >= ROOMY[0] and height >= ROOMY[1], "-roomy")

    @property
    def requests(self) -> tuple[Request, ...]:
        return self.session.requests(self.settings)

    @property
    def measurements(self) -> tuple[Measurement | None, ...]:
        return tuple(self.desk.of(request).measurement for request in self.requests)

    @property
    def methods(self) -> tuple[str, ...]:
        return methods_measured(self.session, self.measurements)

    @property
    def last(self) -> int:
        return last_layer(self.measurements)

    @property
    def palette(self) -> Palette:
        theme = self.session.theme
        if theme not in self._palettes:
            self._palettes[theme] = palette(theme, None if self.app.no_color else self.app.console.color_system)
        return self._palettes[theme]

    # Showing it

    def change(self, session: Session) -> None:
        """Go on with another session: ask for what it needs, show it."""
        before, self.session = self.session, session
        if session.theme != before.theme:
            self.app.theme = session.theme
        if (session.models, session.slice) != (before.models, before.slice):
            self.clerk.ask(self.requests)
        self.show()

    def show(self) -> None:
        """Show the session and the desk; every widget draws again only what changed."""
        if not self._composed:
            return
        session, colours, width = self.session, self.palette, self.size.width
        requests, method = self.requests, session.method(self.methods)
        views = pane_views(session, self.desk, requests)
        self._fit_panes()
        roomy = self.has_class("-roomy")
        for pane in self.query(Pane):
            shown = pane.number < len(views) and (not session.zoomed or pane.number == session.pane)
            if pane.display != shown:
                pane.display = shown
            if shown:
                focused = pane.number == session.pane
                pane.show(views[pane.number], session.layer, colours, focused=focused, titled=not roomy)
        self.query_one("#header", Bar).show(*header_line(session, self.desk, requests, colours, width), colours.bar)
        self.query_one("#metric", Bar).show(
            *metric_line(session, method, self.methods, colours, width), colours.background
        )
        lines = inspector_lines(views[session.pane], session.layer, colours)
        self.query_one("#inspector", Bar).show(lines[0], (), colours.background)
        second = self.query_one("#inspector-2", Bar)
        if second.display != (roomy and len(lines) > 1):
            second.display = not second.display
        if second.display:
            second.show(lines[1], (), colours.background)
        self.query_one("#footer", Bar).show(*footer_line(session, colours, width), colours.bar)

    def _fit_panes(self) -> None:
        """As many panes in the grid as the session has, in its columns."""
        grid = self.query_one("#panes", Container)
        have = len(grid.children)
        if have < len(self.session.panes):
            grid.mount_all([Pane(number) for number in range(have, len(self.session.panes))])
            self.call_after_refresh(self.show)
        zoomed = self.session.zoomed
        size = (1, 1) if zoomed else (len(self.session.streams), len(self.session.modalities))
        if size != self._grid:  # setting a style lays the screen out again, changed or not
            self._grid = size
            grid.styles.grid_size_columns, grid.styles.grid_size_rows = size

    def on_returned(self, message: Returned) -> None:
        message.tell()

    def on_arrived(self, message: Arrived) -> None:
        self.clerk.arrived()

    def _changed(self, post: Post | None = None) -> None:
        """The clerk knows more: show it, on the list of jobs too where that is open."""
        if post and (board := self._board) and board.is_current and board.is_mounted:
            board.show(list(self.desk.jobs.values()))
            if post.logged or post.jobs:
                board.read_log()
        self.show()

    # What the user does

    def action_metric(self, name: str) -> None:
        self.change(moves.choose_metric(self.session, Metric(name)))

    def action_variant(self) -> None:
        if len(self.methods) < 2:
            self.notify(f"Only one variant of {self.session.metric} was measured.")
        self.change(moves.next_method(self.session, self.methods))

    def action_layer(self, by: int) -> None:
        self.change(moves.move_layer(self.session, by, self.last))

    def action_pane(self, by: int) -> None:
        self.change(moves.move_pane(self.session, by))

    def action_zoom(self) -> None:
        self.change(moves.toggle_zoom(self.session))

    def action_streams(self) -> None:
        self.change(moves.next_streams(self.session))

    def action_same_y(self) -> None:
        self.change(moves.toggle_same_y(self.session))

    def action_theme(self) -> None:
        self.change(moves.toggle_theme(self.session))

    def on_pane_picked(self, message: Pane.Picked) -> None:
        session = moves.to_pane(self.session, message.number)
        self.change(session if message.layer is None else moves.to_layer(session, message.layer, self.last))

    def on_pane_wheeled(self, message: Pane.Wheeled) -> None:
        self.action_layer(message.by)

    def action_pick_model(self) -> None:
        self._pick_model("Model to look at", self.session.models[0], moves.choose_model)

    def action_compare(self) -> None:
        """Lay a second model over the first, or take it off again."""
        if self.session.comparing:
            self.change(moves.take_off(self.session))
        else:
            self._pick_model(f"Model to lay over {self.session.models[0]}", "", self._lay_over)

    def _lay_over(self, session: Session, name: str) -> Session:
        if name == session.models[0]:
            self.notify("That is the model already shown: choose another one to compare it with.", severity="warning")
        return moves.lay_over(session, name)

    def _pick_model(self, title: str, current: str, move: Callable[[Session, str], Session]) -> None:
        def check(name: str) -> None:
            self.source.check(Request(name, self.session.slice))

        def chosen(name: str | None) -> None:
            if name:
                self.change(move(self.session, name))

        hint = "type to filter, or a hub id, or a folder"
        self._pick(title, hint, current, self.source.models, check, chosen)

    def action_pick_slice(self) -> None:
        def check(text: str) -> None:
            self.source.check(Request(self.session.models[0], SliceSpec.parse(text)))

        def chosen(text: str | None) -> None:
            if text:
                self.change(moves.choose_slice(self.session, SliceSpec.parse(text)))

        hint = "type to filter, or SOURCE?split=test&filter=image&count=200&seed=1"
        self._pick("Slice of a data set", hint, str(self.session.slice), self.source.slices, check, chosen)

    def _pick(
        self,
        title: str,
        hint: str,
        current: str,
        load: Callable[[], Sequence[Entry]],
        check: Callable[[str], None],
        chosen: Callable[[str | None], None],
    ) -> None:
        from microscope_tui.tui.screens.picker import Picker  # the screens that wait are imported when they come

        self.app.push_screen(Picker(title, hint, current, load, check), chosen)

    def action_jobs(self) -> None:
        from microscope_tui.tui.screens.jobs import Jobs

        def chosen(job: Job | None) -> None:
            if job:
                session = moves.choose_model(moves.take_off(self.session), job.request.model)
                self.change(moves.choose_slice(session, job.request.slice))

        self._board = Jobs(self.source, list(self.desk.jobs.values()), self.desk.list_jobs)
        self.app.push_screen(self._board, chosen)

    def action_again(self) -> None:
        """Ask again for everything that is shown; what is measured already is only read."""
        self.clerk.ask_again(self.requests)
        self.show()

    def action_help(self) -> None:
        from microscope_tui.tui.screens.help import Help

        self.app.push_screen(Help())

    def action_leave(self) -> None:
        self.app.exit(0)

    def action_picture(self) -> None:
        folder = Path("screenshots")
        name = f"{export.file_stem(self.session, datetime.now())}.svg"
        self._write(
            folder if folder.is_dir() and os.access(folder, os.W_OK) else Path(), {name: self.app.export_screenshot()}
        )

    def action_export(self) -> None:
        measured = [m for m in self.measurements if m]
        if not measured:
            self.notify("There is nothing to export yet.", severity="warning")
            return
        method, stem = self.session.method(self.methods), export.file_stem(self.session, datetime.now())
        files = {
            f"{stem}.csv": export.to_csv(self.session, measured, method),
            f"{stem}.json": export.to_json(self.session, measured, method),
        }
        self._write(Path(), files)

    def _write(self, folder: Path, files: dict[str, str]) -> None:
        try:
            written = export.write(folder, files)
        except MicroscopeError as error:
            self.notify(str(error), severity="error", markup=False)
            return
        self.notify("\n".join(str(path) for path in written), title="saved", markup=False)
