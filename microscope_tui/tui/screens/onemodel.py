"""Screens that look closer at one model at a time: which of them, and the way to the next."""

from __future__ import annotations

from collections.abc import Sequence

from microscope_tui.terms import Request
from microscope_tui.tui.content.spans import Span
from microscope_tui.tui.keys import key_of
from microscope_tui.tui.screens.closer import Closer


class OneModel(Closer):
    """Shows what `request` gives, of one of the models on the slice, or that before others."""

    @property
    def request(self) -> Request:
        return self.requests[min(self.model, len(self.requests) - 1)]

    def model_spans(self) -> Sequence[Span]:
        """The sign of the model, for the title."""
        return [Span(f" {self.sign(self.request)} ", self.palette.of(self.slot(self.request)), True, "model")]

    def action_model(self) -> None:
        if len(self.requests) < 2:
            self.notify(f"Only one model is looked at: {key_of('compare')} in the explorer lays another one over it.")
        self.model = (self.model + 1) % len(self.requests)
        self.show()
