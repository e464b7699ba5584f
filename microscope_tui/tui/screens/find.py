"""What to look for among the examples: words, or a number."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.widgets import Input

from microscope_tui.tui.keys import bindings
from microscope_tui.tui.screens.dialog import Dialog


class Find(Dialog[str]):
    """Gives what was typed; what was looked for `before` is offered, so that enter alone looks on."""

    BINDINGS: ClassVar[list[BindingType]] = [*bindings("find")]
    KEYS: ClassVar[str] = "find"
    OF_WIDGETS: ClassVar[tuple[str, ...]] = ("enter finds the next one, or goes to the number",)

    def __init__(self, before: str) -> None:
        super().__init__("Find an example: words of its question and choices, or its number")
        self._before = before

    def body(self) -> ComposeResult:
        field = Input(self._before, select_on_focus=True, id="words")
        field.cursor_blink = False  # each blink would go over the line
        yield field

    def on_input_submitted(self, event: Input.Submitted) -> None:
        self.dismiss(event.value.strip())
