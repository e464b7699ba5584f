"""The main screen: it holds the session and the desk, and shows them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Container
from textual.geometry import Size
from textual.screen import Screen
from textual.widgets import Static

from microscope_tui.catalogue import full_name
from microscope_tui.results import Measurement
from microscope_tui.settings import Settings
from microscope_tui.terms import Job, Request, SliceSpec
from microscope_tui.tui import session as moves
from microscope_tui.tui.content.lines import footer_line, header_line, inspector_lines, metric_line
from microscope_tui.tui.content.measured import first_layer, last_layer, methods_measured, modalities_measured, shown
from microscope_tui.tui.content.view import pane_views
from microscope_tui.tui.data.clerk import Clerk
from microscope_tui.tui.data.desk import Desk
from microscope_tui.tui.data.inbox import Arrived, Post
from microscope_tui.tui.data.looks import Looks
from microscope_tui.tui.data.source import Source
from microscope_tui.tui.errands import Returned
from microscope_tui.tui.keys import bindings, key_of
from microscope_tui.tui.screens.taking import Taking
from microscope_tui.tui.session import Session
from microscope_tui.tui.state import Recent
from microscope_tui.tui.themes import Palette, in_colours, palettes
from microscope_tui.tui.widgets.bar import Bar
from microscope_tui.tui.widgets.pane import Pane

if TYPE_CHECKING:
    from microscope_tui.tui.screens.jobs import Jobs

LEAST = (60, 20)
"""Columns and rows below which the panes cannot be read."""
ROOMY = (100, 30)
"""Columns and rows from which the panes get a frame."""


INSPECTORS = ("inspector", "inspector-2", "inspector-3", "inspector-4")
"""The lines below the panes, one for each curve where there is room."""


class Explorer(Taking):
    """Panes of profiles. Keys change the session; what it needs is asked of the source in threads."""

    BINDINGS: ClassVar[list[BindingType]] = [*bindings()]

    def __init__(self, settings: Settings, session: Session, source: Source, recent: Recent | None = None) -> None:
        """`recent` is what was looked at before."""
        super().__init__()
        self.settings, self.source = settings, source
        self.session = replace(session, thin=session.thin or settings.thin_line)
        self.recent = recent or Recent()
        self.desk = Desk(read_only=source.read_only)
        self.clerk = Clerk(source, self.desk, self, self._changed)
        self.looks = Looks(source, self, self._told, self.clerk.inbox.follow)
        self.watchers: list[Callable[[], None]] = []
        self.example = 0
        self._composed = False
        self._grid = (0, 0)
        self._asked: tuple[Session, tuple[Request, ...]] | None = None
        self._board: Jobs | None = None
        self._palettes: dict[str, Palette] = {}

    # What there is

    def compose(self) -> ComposeResult:
        self._suit(self.app.size)
        yield Bar(id="header")
        yield Bar(id="metric")
        panes = Container(*(Pane(number) for number in range(len(self.session.panes))), id="panes")
        self._fit(panes)
        yield panes
        for number, name in enumerate(INSPECTORS):
            bar = Bar(id=name)
            bar.display = number < self._inspected
            yield bar
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
                f"This window is {width}x{height}.\nThe explorer needs\n{LEAST[0]}x{LEAST[1]} or more.\n\n"
                f"{key_of('leave')} leaves"
            )
        self.call_after_refresh(self.show)

    def _suit(self, size: Size) -> None:
        width, height = size
        self.set_class(width < LEAST[0] or height < LEAST[1], "-small")
        self.set_class(width >= ROOMY[0] and height >= ROOMY[1], "-roomy")

    @property
    def _inspected(self) -> int:
        """How many lines there are below the panes."""
        if self.has_class("-small"):
            return 0
        curves = len(self.session.slots) - self.session.differing
        return curves if self.has_class("-roomy") else 1

    @property
    def requests(self) -> tuple[Request, ...]:
        if self._asked is None or self._asked[0] is not self.session:  # every line of a list asks for them
            self._asked = self.session, self.session.requests(self.settings)
        return self._asked[1]

    @property
    def measurements(self) -> tuple[Measurement | None, ...]:
        """What is shown of each curve."""
        return tuple(shown(self.desk, request).measurement for request in self.requests)

    @property
    def methods(self) -> tuple[str, ...]:
        return methods_measured(self.session, self.measurements)

    @property
    def last(self) -> int:
        return last_layer(self.measurements)

    @property
    def first(self) -> int:
        return first_layer(self.measurements)

    @property
    def palette(self) -> Palette:
        theme = self.session.theme
        if theme not in self._palettes:
            colours = None if self.app.no_color else self.app.console.color_system
            shown = in_colours(palettes(self.settings.themes)[theme], colours)
            self._palettes[theme] = replace(shown, marked=shown.marked or self.settings.ascii)
        return self._palettes[theme]

    # Showing it

    def change(self, session: Session) -> None:
        """Go on with another session: ask for what it needs, show it."""
        before, self.session = self.session, session
        wanted = before.requests(self.settings)
        if session.theme != before.theme:
            self.app.theme = session.theme
        if self.requests != wanted:
            self.clerk.ask(self.requests)
        self.show()

    def show(self) -> None:
        """Show the session and the desk; every widget draws again only what changed."""
        if not self._composed:
            return
        measurements = self.measurements
        self.session = moves.appear(self.session, modalities_measured(measurements))
        if any(measurements):
            self.session = moves.to_layer(self.session, self.session.layer, self.last, self.first)
        session, colours, width = self.session, self.palette, self.size.width
        methods = methods_measured(session, measurements)
        requests, method = self.requests, session.method(methods)
        views = pane_views(session, self.desk, requests)
        self._fit_panes()
        roomy = self.has_class("-roomy")
        columns = self._grid[0]
        least = (width - (0 if roomy else columns - 1)) // columns - 2 * roomy
        for pane in self.query(Pane):
            visible = pane.number < len(views) and (not session.zoomed or pane.number == session.pane)
            if pane.display != visible:
                pane.display = visible
            if visible:
                focused = pane.number == session.pane
                view = views[pane.number]
                pane.show(view, session.layer, colours, focused=focused, titled=not roomy, least=least)
        self.query_one("#header", Bar).show(*header_line(session, self.desk, requests, colours, width), colours.bar)
        self.query_one("#metric", Bar).show(
            *metric_line(session, views, method, methods, requests, colours, width), colours.background
        )
        lines = inspector_lines(views[session.pane], session.layer, colours)
        for number, name in enumerate(INSPECTORS):
            bar = self.query_one(f"#{name}", Bar)
            visible = number < self._inspected
            if bar.display != visible:
                bar.display = visible
            if visible:
                bar.show(lines[number], (), colours.background)
        self.query_one("#footer", Bar).show(*footer_line(session, colours, width), colours.bar)

    def _fit_panes(self) -> None:
        """As many panes in the grid as the session has, in its columns."""
        grid = self.query_one("#panes", Container)
        have = len(grid.children)
        if have < len(self.session.panes):
            grid.mount_all([Pane(number) for number in range(have, len(self.session.panes))])
            self.call_after_refresh(self.show)
        self._fit(grid)

    def _fit(self, grid: Container) -> None:
        """Rows and columns of the grid: set only where they change, for a style lays the screen out again."""
        zoomed = self.session.zoomed
        size = (1, 1) if zoomed else (len(self.session.streams), len(self.session.modalities))
        if size != self._grid:
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
        if post:
            self.looks.arrived(list(post.jobs.values()))
            if post.ended is not None:
                self.looks.worker_gone(post.ended)
        self.show()
        self._told()

    def _told(self) -> None:
        """There is more to see for the screens that look closer."""
        for watcher in list(self.watchers):
            watcher()

    # What the user does

    def action_pick_model(self) -> None:
        self._pick_model("Model to look at", self.session.models[0], moves.choose_model)

    def action_compare(self) -> None:
        """Lay another model over the first."""
        if self._room():
            self._pick_model(f"Model to lay over {self.session.models[0]}", "", moves.lay_over)

    def action_compare_slice(self) -> None:
        """Lay the first model on another slice over the others."""
        if self._room():
            title = f"Slice to lay over {self.session.slice}"
            self._pick_slice(title, "", moves.lay_slice_over)

    def _room(self) -> bool:
        if len(self.session.slots) < moves.MOST:
            return True
        self.notify(
            f"{moves.MOST} curves are as many as can be told apart: {key_of('take_off')} takes one off.",
            severity="warning",
        )
        return False

    def action_card(self) -> None:
        """What the metric is, and what can go wrong with it under the cursor."""
        from microscope_tui.tui.screens.card import card_of_metric

        self.app.push_screen(card_of_metric(self))

    def action_contrast(self) -> None:
        """All in which the curves differ."""
        from microscope_tui.tui.screens.card import card_of_differences

        if self.session.comparing:
            self.app.push_screen(card_of_differences(self))
        else:
            self.notify(f"There is nothing to compare: {key_of('compare')} lays a second model over the first.")

    def _pick_model(self, title: str, current: str, move: Callable[[Session, str], Session]) -> None:
        hint = "type to search, or a hub id, or a folder"
        self._pick(title, hint, current, move, self.recent.after(self.session).models, slices=False)

    def action_pick_slice(self) -> None:
        self._pick_slice("Slice of a data set", str(self.session.slice), moves.choose_slice)

    def _pick_slice(self, title: str, current: str, move: Callable[[Session, SliceSpec], Session]) -> None:
        def moved(session: Session, text: str) -> Session:
            return move(session, SliceSpec.parse(text))

        hint = "type to search, or SOURCE?filter=image&count=200"
        self._pick(title, hint, current, moved, self.recent.after(self.session).slices, slices=True)

    def _pick(
        self,
        title: str,
        hint: str,
        current: str,
        move: Callable[[Session, str], Session],
        recent: Sequence[str],
        *,
        slices: bool,
    ) -> None:
        """Have a name chosen, and go where `move` leads from here with it."""
        from microscope_tui.tui.content.offers import Shop
        from microscope_tui.tui.data.peek import Peek
        from microscope_tui.tui.screens.picker import Picker  # the screens that wait are imported when they come

        session = self.session

        def meant(name: str) -> list[Request]:
            """The requests of the session that would come which are of this name."""
            requests = move(session, name).requests(self.settings)
            spec = moves.choose_slice(session, SliceSpec.parse(name)).slice if slices else None
            return [r for r in requests if (r.slice == spec if slices else r.model == full_name(name))]

        def chosen(name: str | None) -> None:
            if name is None:
                return
            moved = move(self.session, name)
            if not current and moved == self.session:
                self.notify("That is shown already: choose another one to compare it with.", severity="warning")
            self.change(moved)

        shop = Shop(self.source, self.settings, meant, slices=slices)
        peek = Peek(self.looks, self.watchers, meant) if slices else None
        self.app.push_screen(Picker(title, hint, current, shop, recent, peek), chosen)

    def action_jobs(self) -> None:
        from microscope_tui.tui.screens.jobs import Jobs

        def chosen(job: Job | None) -> None:
            if job:
                session = moves.choose_model(moves.alone(self.session), job.request.model)
                self.change(moves.choose_slice(session, job.request.slice))

        self._board = Jobs(self.source, list(self.desk.jobs.values()), self.desk.list_jobs)
        self.app.push_screen(self._board, chosen)

    def action_examples(self) -> None:
        from microscope_tui.tui.screens.examples import Examples

        self._look_closer(Examples(self))

    def action_tokens(self) -> None:
        from microscope_tui.tui.screens.tokens import TokenScreen

        self._look_closer(TokenScreen(self))

    def action_worst(self) -> None:
        from microscope_tui.tui.screens.worst import Worst

        self._look_closer(Worst(self))

    def action_map(self) -> None:
        from microscope_tui.tui.screens.map import Map

        self._look_closer(Map(self))

    def _look_closer(self, screen: Screen[None]) -> None:
        """Open a screen that shares the cursor of layers."""
        self.app.push_screen(screen, lambda _: self.show())

    def action_again(self) -> None:
        """Ask again for everything that is shown; what is measured already is only read."""
        self.clerk.ask_again(self.requests)
        self.show()

    def action_help(self) -> None:
        from microscope_tui.tui.screens.help import Help

        self.app.push_screen(Help())

    def action_leave(self) -> None:
        self.app.exit(0)

    def action_cache(self) -> None:
        from microscope_tui.tui.screens.cache import Cache

        self.app.push_screen(Cache(self.source))
