"""The main screen: it holds the session and the desk, and shows them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Container
from textual.geometry import Size
from textual.widgets import Static

from microscope_tui.results import Measurement
from microscope_tui.settings import Settings
from microscope_tui.tables import unlike
from microscope_tui.terms import Job, JobKind, JobState, Request
from microscope_tui.tui import session as moves
from microscope_tui.tui.content.lines import footer_line, header_line, inspector_lines, metric_line
from microscope_tui.tui.content.measured import (
    first_layer,
    last_layer,
    methods_measured,
    modalities_measured,
    shown,
)
from microscope_tui.tui.content.status import LEAST, LEAST_ALONE, is_small, is_tiny, told_from, too_small
from microscope_tui.tui.content.view import pane_views
from microscope_tui.tui.data.clerk import Clerk
from microscope_tui.tui.data.desk import Desk, Known
from microscope_tui.tui.data.inbox import Arrived, Post
from microscope_tui.tui.data.source import Source
from microscope_tui.tui.errands import Returned
from microscope_tui.tui.keys import EXPLORER, bindings, key_of
from microscope_tui.tui.screens.choosing import Choosing
from microscope_tui.tui.session import Session
from microscope_tui.tui.state import Remembered
from microscope_tui.tui.themes import Palette, in_colours, palettes
from microscope_tui.tui.widgets.bar import Bar
from microscope_tui.tui.widgets.pane import Pane

if TYPE_CHECKING:
    from microscope_tui.tui.data.looks import Looks
    from microscope_tui.tui.screens.closer import Closer
    from microscope_tui.tui.screens.jobs import Jobs

ROOMY = (100, 30)
"""Columns and rows from which the panes get a frame."""
LEAST_INSPECTED = 14
"""Rows from which there is room for a line below a pane alone."""


INSPECTORS = ("inspector", "inspector-2", "inspector-3", "inspector-4")
"""The lines below the panes, one for each curve where there is room."""


class Explorer(Choosing):
    """Panes of profiles. Keys change the session; what it needs is asked of the source in threads."""

    BINDINGS: ClassVar[list[BindingType]] = [*bindings()]

    def __init__(
        self,
        settings: Settings,
        session: Session,
        source: Source,
        known: Mapping[Request, Measurement],
        remembered: Remembered | None = None,
    ) -> None:
        """`known` are results that are at hand already, `remembered` names of other times."""
        super().__init__()
        self.settings, self.source = settings, source
        self.session = replace(session, thin=session.thin or settings.thin_line)
        self.remembered = remembered or Remembered()
        self.desk = Desk({request: Known(result) for request, result in known.items()}, read_only=source.read_only)
        self.clerk = Clerk(source, self.desk, self, self._changed)
        self.watchers: list[Callable[[], None]] = []
        self.example = 0
        self._composed = False
        self._grid = (0, 0)
        self._asked: tuple[Session, tuple[Request, ...]] | None = None
        self._back: Session | None = None
        """Where a variant was toggled that may not be there, and nothing is measured."""
        self._board: Jobs | None = None
        self._palettes: dict[str, Palette] = {}

    @cached_property
    def looks(self) -> Looks:
        """What was asked of single examples and rows: there from the first question, or the first news, on."""
        from microscope_tui.tui.data.looks import Looks  # a start looks at none

        return Looks(self.source, self, self._told, self._worker_asked)

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
        """Ask for what is not at hand yet, after the first paint, and for news when it is painted: the threads that
        ask would hold up either."""
        self.clerk.ask(self.requests, then=lambda: self.call_after_refresh(self.clerk.inbox.follow))

    def on_resize(self, event: events.Resize) -> None:
        self._suit(event.size)
        self.call_after_refresh(self.show)

    def _suit(self, size: Size) -> None:
        width, height = size
        alone = is_small(width, height)
        self.set_class(alone, "-alone")
        self.set_class(is_tiny(width, height) or (alone and self._covered), "-small")
        self.set_class(width >= ROOMY[0] and height >= ROOMY[1], "-roomy")

    @property
    def _covered(self) -> bool:
        """Whether another screen lies over this one."""
        return self._composed and self.app.screen is not self

    @property
    def _zoomed(self) -> bool:
        """Whether one pane has all the room: as the user wishes, or because there is none for another."""
        return self.session.zoomed or self.has_class("-alone")

    @property
    def _inspected(self) -> int:
        """How many lines there are below the panes."""
        if self.has_class("-small") or (self.has_class("-alone") and self.size.height < LEAST_INSPECTED):
            return 0
        curves = len(self.session.slots) - self.session.differing
        return curves if self.has_class("-roomy") else 1

    @property
    def read_below(self) -> int:
        """How many lines below the panes are not to be covered: those of the values at the cursor, and the keys."""
        return self._inspected + 1

    @property
    def requests(self) -> tuple[Request, ...]:
        if self._asked is None or self._asked[0] is not self.session:  # every line of a list asks for them
            self._asked = self.session, self.session.requests(self.settings)
        return self._asked[1]

    @property
    def measurements(self) -> tuple[Measurement | None, ...]:
        """What is shown of each curve."""
        return tuple(each.measurement for each in shown(self.desk, self.requests))

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
            left = self.clerk.left()
            toggled, measures = session.curves == before.curves, not self.source.read_only
            self._back = None if measures or not toggled else self._back or before
            self.clerk.ask(self.requests, settle=toggled and measures)
            self._turn_back()
            if (job := self.clerk.left()) and job != left:
                cancel = f"{key_of('jobs')}, then {key_of('cancel', 'jobs')}"
                still = "Still measuring" if job.state is JobState.RUNNING else "Paused half-way:"
                said = f"{still} {told_from(job, self.requests)}: {cancel} cancels it."
                self.notify(said, severity="warning", markup=False)
        self.show()

    def _turn_back(self) -> None:
        """Where nothing is measured, a variant that is not there is not stayed at."""
        known = [self.desk.of(request) for request in self.requests]
        error = next((each.error for each in known if each.error), None)
        if self._back and error:
            self.session = moves.with_variant_of(self.session, self._back)
            self.notify(error, severity="warning", markup=False)
        if error or all(each.complete for each in known):
            self._back = None

    def show(self) -> None:
        """Show the session and the desk; every widget draws again only what changed."""
        if not self._composed or not self.app.is_running:
            return
        measurements = self.measurements
        self.session = moves.appear(self.session, modalities_measured(measurements))
        if any(measurements):
            self.session = moves.to_layer(self.session, self.session.layer, self.last, self.first)
        if self.has_class("-small"):
            self._say_small()
        session, colours, width = self.session, self.palette, self.size.width
        methods = methods_measured(session, measurements)
        requests, method = self.requests, session.method(methods)
        views = pane_views(session, self.desk, requests)
        self._fit_panes()
        roomy = self.has_class("-roomy")
        columns = self._grid[0]
        least = (width - (0 if roomy else columns - 1)) // columns - 2 * roomy
        for pane in self.query(Pane):
            visible = pane.number < len(views) and (not self._zoomed or pane.number == session.pane)
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
        lines = inspector_lines(views[session.pane], session.layer, colours, width)
        for number, name in enumerate(INSPECTORS):
            bar = self.query_one(f"#{name}", Bar)
            visible = number < self._inspected
            if bar.display != visible:
                bar.display = visible
            if visible:
                bar.show(lines[number], (), colours.background)
        footer = footer_line(session, colours, width, alone=self.has_class("-alone"))
        self.query_one("#footer", Bar).show(*footer, colours.bar)

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
        size = (1, 1) if self._zoomed else (len(self.session.streams), len(self.session.modalities))
        if size != self._grid:
            self._grid = size
            grid.styles.grid_size_columns, grid.styles.grid_size_rows = size

    def on_screen_suspend(self) -> None:
        """What lies over it now may need more room than there is: this screen says so."""
        self._suit(self.app.size)
        self.show()

    def on_screen_resume(self) -> None:
        """What lay over it has gone, and may have moved the cursor."""
        self._suit(self.app.size)
        self.show()

    def _say_small(self) -> None:
        """Say in a window that is too small what is needed."""
        what, least = ("What is open", LEAST) if self._covered else ("The explorer", LEAST_ALONE)
        leaves = f"{key_of('back', 'help')} goes back" if self._covered else f"{key_of('leave')} leaves"
        self.query_one("#small", Static).update(too_small(self.app.size, what, least, leaves))

    def on_returned(self, message: Returned) -> None:
        message.tell()

    def on_arrived(self, message: Arrived) -> None:
        if self.app.is_running:
            self.clerk.arrived()

    def _changed(self, post: Post | None = None) -> None:
        """The clerk knows more: show it, on the list of jobs too where that is open."""
        if not self.app.is_running:
            return  # while the program leaves, widgets go before their screen, one by one
        if post and (board := self._board) and board.is_current and board.is_mounted:
            board.show(list(self.desk.jobs.values()))
            if post.ended is not None:
                board.worker_gone()
            elif post.logged or post.jobs:
                board.read_log()
        if post:
            self.looks.arrived(list(post.jobs.values()), post.partials)
            if post.ended is not None:
                self.looks.worker_gone(post.ended)
        self._turn_back()
        self.show()
        self._told()

    def _worker_asked(self) -> None:
        """The worker was asked for something by another screen: it is there again if it was not."""
        self.clerk.worker_asked()
        self.show()

    def _told(self) -> None:
        """There is more to see for the screens that look closer."""
        for watcher in list(self.watchers):
            watcher()

    # What the user does

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

    def action_jobs(self) -> None:
        from microscope_tui.tui.screens.jobs import Jobs

        def chosen(job: Job | None) -> None:
            if job:
                self._look_at(job)

        self._board = Jobs(self.source, list(self.desk.jobs.values()), self.desk.list_jobs, self._worker_asked)
        self.app.push_screen(self._board, chosen)

    def _look_at(self, job: Job) -> None:
        """Show what a job is for, of the rows that it counts: its curve on top where that is shown, else it alone,
        which is said."""
        now, left = self.requests, len(self.session.curves)
        asked = job.request
        if job.kind is not JobKind.MEASURE:  # a look is of rows, whatever is computed from them
            asked = replace(asked, matched=now[0].matched, reference=now[0].reference)
        for curve, request in zip(self.session.curves, now, strict=True):
            same = (request.model, request.slice) == (asked.model, asked.slice)
            if same and not unlike(request, asked):
                self.change(replace(self.session, top=curve.slot))
                return
        session = moves.choose_slice(moves.choose_model(moves.alone(self.session), asked.model), asked.slice)
        self.change(moves.take_variant(session, asked, now[0].reference))
        if left > 1:
            again = f"{key_of('compare')} lays others over it"
            self.notify(f"It takes the place of the {left} curves that were compared: {again}.", markup=False)

    def action_examples(self) -> None:
        self.app.push_screen(self.closer("examples"))

    def action_tokens(self) -> None:
        self.app.push_screen(self.closer("tokens"))

    def action_worst(self) -> None:
        self.app.push_screen(self.closer("worst"))

    def action_map(self) -> None:
        self.app.push_screen(self.closer("map"))

    def closer(self, screen: str, model: int | None = None, token: int | None = None) -> Closer:
        """A screen that looks closer, by the name of its keys, at one of the models, the one pinned on top for None;
        the tokens with the cursor on one of them."""
        if model is None:
            model = moves.model_on_top(self.session)
        if screen == "examples":
            from microscope_tui.tui.screens.examples import Examples

            return Examples(self, model)
        if screen == "worst":
            from microscope_tui.tui.screens.worst import Worst

            return Worst(self, model)
        if screen == "map":
            from microscope_tui.tui.screens.map import Map

            return Map(self, model)
        from microscope_tui.tui.screens.tokens import TokenScreen

        return TokenScreen(self, model, token)

    def action_again(self) -> None:
        """Ask again for everything that is shown; what is measured already is only read."""
        known = [self.desk.of(request) for request in self.requests]
        if not self.desk.worker and all(each.complete and not each.error for each in known):
            self.notify("All that is shown is measured to its end.")
        self.clerk.ask_again(self.requests)
        self.show()

    async def action_help(self) -> None:
        await self.run_action(f"app.help_on('{EXPLORER}')")

    def action_leave(self) -> None:
        self.app.exit(0)

    def action_cache(self) -> None:
        from microscope_tui.tui.screens.cache import Cache

        self.app.push_screen(Cache(self.source))
