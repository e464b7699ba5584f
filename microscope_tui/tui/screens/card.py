"""A card: sections of plain text over the explorer, which the cursor keys keep up to date."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

from rich.cells import cell_len
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import VerticalScroll
from textual.widgets import Static

from microscope_tui.tui.content.cards import Row, Section, metric_card
from microscope_tui.tui.content.contrast import contrast_card
from microscope_tui.tui.content.measured import shown
from microscope_tui.tui.content.names import labels_of
from microscope_tui.tui.content.view import pane_views
from microscope_tui.tui.keys import bindings
from microscope_tui.tui.screens.dialog import Dialog
from microscope_tui.tui.screens.place import Place
from microscope_tui.tui.themes import MARKERS, Palette

WIDEST_NAME = 26
"""Columns of what a line is about, at most."""


class Card(Dialog[None]):
    """Shows what `make` gives; left and right move the layer cursor by `move`, if there is one, and show it again."""

    BINDINGS: ClassVar[list[BindingType]] = [*bindings("card")]
    KEYS: ClassVar[str] = "card"
    OF_WIDGETS: ClassVar[tuple[str, ...]] = ("↑ ↓ scroll",)

    def __init__(
        self, title: str, make: Callable[[], Sequence[Section]], move: Callable[[int], None] | None, palette: Palette
    ) -> None:
        super().__init__(title)
        self._make, self._move, self._palette = make, move, palette

    def body(self) -> ComposeResult:
        with VerticalScroll(id="page"):
            yield Static(id="card")

    def on_mount(self) -> None:
        self._show()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """What is the same at every layer has no cursor of layers."""
        return (self._move is not None or action != "layer") and super().check_action(action, parameters)

    def action_layer(self, by: int) -> None:
        if self._move:
            self._move(by)
            self._show()

    @property
    def text(self) -> str:
        """What stands there now, line by line."""
        return "\n".join(
            line
            for section in self._make()
            for line in (section.heading, *(f"{row.name}: {row.text}" for row in section.rows))
        )

    def _show(self) -> None:
        palette = self._palette
        shown: list[RenderableType] = []
        for section in self._make():
            table = Table.grid(padding=(0, 2))
            table.add_column(width=min(max((cell_len(row.name) for row in section.rows), default=1), WIDEST_NAME))
            table.add_column()
            for row in section.rows:
                table.add_row(*self._cells(row))
            shown += [Text(f"\n{section.heading}", style=f"bold {palette.key}"), table]
        self.query_one("#card", Static).update(Group(*shown))

    def _cells(self, row: Row) -> tuple[Text, Text]:
        palette = self._palette
        colour = palette.faint if row.slot is None else palette.of(row.slot)
        text = Text()
        if row.signed and row.slot is not None:
            text.append(f"{MARKERS[row.slot % len(MARKERS)]} ", style=colour)
        text.append(f"{'* ' * row.severe}{row.text}", style=palette.warn if row.severe else palette.text)
        return Text(row.name, style=palette.faint if row.signed else colour), text


def card_of_metric(place: Place) -> Card:
    """The card of the metric in the pane in focus, with the explorer's cursor."""

    def make() -> Sequence[Section]:
        session, desk, requests = place.session, place.desk, place.requests
        view = pane_views(session, desk, requests)[session.pane]
        curves = {curve.slot: each for curve, each in zip(session.curves, shown(desk, requests), strict=True)}
        return metric_card(view, session.layer, session.metric, session.method(place.methods), curves)

    modality, stream = place.session.focus
    title = f"{place.session.metric} of {modality} · {stream}"
    return Card(title, make, place.action_layer, place.palette)


def card_of_differences(place: Place) -> Card:
    """All in which the explorer's curves differ."""
    curves = place.session.curves
    labels = labels_of(curves)

    def make() -> Sequence[Section]:
        each = shown(place.desk, place.requests)
        return contrast_card(each, labels, [curve.slot for curve in curves])

    return Card(" against ".join(labels), make, place.action_layer, place.palette)
