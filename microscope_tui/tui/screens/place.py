"""What the screens over the explorer know of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from textual.screen import Screen

from microscope_tui.settings import Settings
from microscope_tui.terms import Request
from microscope_tui.tui.data.desk import Desk
from microscope_tui.tui.data.looks import Looks
from microscope_tui.tui.errands import Pump
from microscope_tui.tui.session import Session
from microscope_tui.tui.themes import Palette


class Place(Pump, Protocol):
    """Where the user is, what is known there, and what the explorer does for the screens that lie over it."""

    settings: Settings
    session: Session
    """What is chosen; the cursor of layers is the same on all screens."""
    example: int
    """The number of the example that is looked at."""
    desk: Desk
    watchers: list[Callable[[], None]]
    """They are called when there is more to see."""

    @property
    def looks(self) -> Looks:
        """What was asked of single examples and rows."""

    @property
    def requests(self) -> tuple[Request, ...]:
        """What is asked for, one request a curve."""

    @property
    def methods(self) -> Sequence[str]:
        """The variants of the metric that were measured."""

    @property
    def palette(self) -> Palette:
        """The colours on this terminal."""

    @property
    def saves_to(self) -> Path:
        """Where files go."""

    def closer(self, screen: str, model: int | None = None, token: int | None = None) -> Screen[None]:
        """A screen that looks closer, by the name of its keys."""

    def copy(self, text: str, what: str) -> None:
        """Put a text on the clipboard; `what` it is, for people."""

    def action_layer(self, by: int) -> None:
        """Move the cursor of layers."""

    def action_theme(self) -> None:
        """Go on to the next theme."""

    def action_picture(self, what: str = "") -> None:
        """Save the screen as it is; `what` it shows if it is not the explorer."""
