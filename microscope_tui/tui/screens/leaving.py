"""Screens that are left once, however fast the keys come that leave them."""

from __future__ import annotations

from typing import TypeVar

from textual.await_complete import AwaitComplete
from textual.screen import Screen

R = TypeVar("R")


class Leaving(Screen[R]):
    """A screen over another one. Named behind `ModalScreen` where it is that too: styles follow the first base.

    A second key that leaves it, pressed before it has gone, would take the screen below along, and give a result where
    there is one already, which ends the app.
    """

    _left = False
    """Whether it is going: its widgets go before it does, so that nothing can be shown on it any more."""

    def dismiss(self, result: R | None = None) -> AwaitComplete:
        """Go, and hand over a result; nothing when it is going already or something is on top of it."""
        if self._left or self.app.screen is not self:
            return AwaitComplete()
        self._left = True
        return super().dismiss(result)
