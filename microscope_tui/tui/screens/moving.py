"""What the keys make of the session: the part of the explorer that only goes from one session to the next."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

from textual.screen import Screen

from microscope_tui.methods import REFERENCE
from microscope_tui.results import Measurement
from microscope_tui.settings import Settings
from microscope_tui.terms import Metric, Request
from microscope_tui.tui import session as moves
from microscope_tui.tui.content.measured import different_rows, modalities_measured
from microscope_tui.tui.keys import key_of
from microscope_tui.tui.session import Session
from microscope_tui.tui.widgets.pane import Pane


class Moving(Screen[int]):
    """A screen that shows a session, and its moves."""

    session: Session
    settings: Settings

    @abstractmethod
    def change(self, session: Session) -> None:
        """Go on with another session."""

    @property
    @abstractmethod
    def requests(self) -> tuple[Request, ...]:
        """What is asked for, one request a curve."""

    @property
    @abstractmethod
    def measurements(self) -> tuple[Measurement | None, ...]:
        """What is shown of each curve."""

    @property
    @abstractmethod
    def methods(self) -> Sequence[str]:
        """The variants of the metric that were measured."""

    @property
    @abstractmethod
    def last(self) -> int:
        """The last position of the cursor."""

    @property
    @abstractmethod
    def first(self) -> int:
        """The first position of the cursor."""

    def action_metric(self, name: str) -> None:
        self.change(moves.choose_metric(self.session, Metric(name)))

    def action_variant(self) -> None:
        if len(self.methods) < 2:
            self.notify(f"Only one variant of {self.session.metric} was measured.")
        self.change(moves.next_method(self.session, self.methods))

    def action_layer(self, by: int) -> None:
        self.change(moves.move_layer(self.session, by, self.last, self.first))

    def action_pane(self, by: int) -> None:
        self.change(moves.move_pane(self.session, by))

    def action_zoom(self) -> None:
        self.change(moves.toggle_zoom(self.session))

    def action_streams(self) -> None:
        self.change(moves.next_streams(self.session))

    def action_same_y(self) -> None:
        self.change(moves.toggle_same_y(self.session))

    def action_theme(self) -> None:
        self.change(moves.next_theme(self.session, self.settings.theme_names))

    def on_pane_picked(self, message: Pane.Picked) -> None:
        session = moves.to_pane(self.session, message.number)
        self.change(session if message.layer is None else moves.to_layer(session, message.layer, self.last, self.first))

    def on_pane_wheeled(self, message: Pane.Wheeled) -> None:
        self.action_layer(message.by)

    def action_take_off(self) -> None:
        self.change(moves.take_off(self.session))

    def action_pin(self) -> None:
        if len(self.session.slots) < 2:
            self.notify(f"There is one curve alone: {key_of('compare')} lays a second model over it.")
            return
        self.change(moves.pin_next(self.session))

    def action_difference(self) -> None:
        if not self.session.comparing:
            self.notify(f"There is nothing to subtract: {key_of('compare')} lays a second model over the first.")
            return
        self.change(moves.toggle_difference(self.session))

    def action_log(self) -> None:
        self.change(moves.toggle_log(self.session))

    def action_depth(self) -> None:
        self.change(moves.toggle_depth(self.session))

    def action_thin(self) -> None:
        self.change(moves.toggle_thin(self.session))

    def action_hide_row(self) -> None:
        self.change(moves.hide_row(self.session))

    def action_hide_column(self) -> None:
        self.change(moves.hide_column(self.session))

    def action_show_all(self) -> None:
        self.change(moves.show_all(self.session, modalities_measured(self.measurements)))

    def action_without(self, rows: str) -> None:
        """Leave rows out, or count them again: measured anew, and meanwhile what there is stays on the screen."""
        self.change(moves.toggle_without(self.session, rows, self.requests[0].without))

    def action_reference(self) -> None:
        """Show what the reference's functions give in the place of the variant that is shown, which is said, and that
        one again."""
        before = self.session.method(self.methods)
        self.change(moves.toggle_reference(self.session, self.requests[0].reference))
        if (now := self.session.method()) == before:
            return
        if now == REFERENCE:
            back = f"{key_of('reference')} goes back to {before}"
            self.notify(f"{now}: its own functions on the same rows; {back}", markup=False)
        else:
            self.notify(f"{self.session.metric}: {now} again.", markup=False)

    def action_before(self) -> None:
        self.change(moves.toggle_before(self.session, self.requests[0].before))

    def action_matched(self) -> None:
        """As many different rows of every curve, modality and stream, where the number depends on it."""
        fewest, most = different_rows(self.measurements) or (0, 0)
        if self.session.rows is not None:
            self.change(moves.toggle_rows(self.session, self.session.rows))
        elif not fewest:
            self.notify("How many different rows all of them have is known when dimension is measured to the end.")
        elif fewest == most:
            self.notify(f"Dimension has {fewest:,} different rows of each already.")
        else:
            self.change(moves.toggle_rows(self.session, fewest))

    def action_one_tile(self) -> None:
        self.change(moves.toggle_one_tile(self.session))
