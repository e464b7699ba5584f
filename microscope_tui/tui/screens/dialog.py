"""A dialog: a frame over the screen below, with a title, and a last line that says what went on or which keys there
are."""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path
from typing import ClassVar, TypeVar

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.message import Message
from textual.screen import ModalScreen
from textual.widgets import Label

from microscope_tui.tui.content.readout import fit
from microscope_tui.tui.errands import Returned
from microscope_tui.tui.keys import deeds, hint, short_keys, short_label
from microscope_tui.tui.screens.leaving import Leaving

R = TypeVar("R")

STYLES = Path(__file__).parents[1] / "dialogs.tcss"
"""Of all that opens over a screen; a start reads none of them."""


class Dialog(ModalScreen[R], Leaving[R]):
    """Gives an `R` when something was chosen, None when it was left. Its bindings are those of the table `KEYS`."""

    CSS_PATH = STYLES
    KEYS: ClassVar[str]
    """The name of its table of keys."""
    opening = True
    """Whether it has no widgets yet that could take a key."""
    OF_WIDGETS: ClassVar[tuple[str, ...]] = ()
    """Keys with what they do that its widgets have of their own, for the last line."""

    def __init__(self, title: str) -> None:
        super().__init__()
        self._title = title
        self._sentence = ""

    class Opened(Message):
        """A dialog has its widgets, and the one in focus."""

    @abstractmethod
    def body(self) -> ComposeResult:
        """The widgets between the title and the last line."""

    def compose(self) -> ComposeResult:
        with Vertical(id="dialog"):
            yield Label(self._title, id="title", markup=False)
            yield from self.body()
            yield Label(id="said", markup=False)

    def on_mount(self) -> None:
        self.opening = False
        self.post_message(self.Opened())

    def on_resize(self) -> None:
        self.call_after_refresh(self._fit)

    def on_returned(self, message: Returned) -> None:
        message.tell()

    def say(self, sentence: str) -> None:
        """Put a sentence into the last line, with the key that goes back, or all keys for an empty one."""
        self._tell(sentence, wrong=False)

    def refuse(self, sentence: str) -> None:
        """Put what is wrong into the last line; as `say` for an empty sentence."""
        self._tell(sentence, wrong=bool(sentence))

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """In a window that is too small for it nobody sees what a key would do here, but that it goes back."""
        return action == "back" or not self.app.has_class("-tiny")

    def action_back(self) -> None:
        self.dismiss(None)

    async def action_help(self) -> None:
        await self.run_action(f"app.help_on('{self.KEYS}')")

    def _fit(self) -> None:
        """Other keys may fit into the last line than before."""
        if not self._sentence:
            self.say("")

    def _tell(self, sentence: str, *, wrong: bool) -> None:
        self._sentence = sentence
        said = self.query_one("#said", Label)
        said.set_class(wrong, "-error")
        said.update(f"{sentence} · {hint(self.KEYS, ('back',))}" if sentence else self._keys(said.size.width))

    def _keys(self, width: int) -> str:
        """The keys most used, as many as fit into a line."""
        shown = [d for d in deeds(self.KEYS) if d.footer and self.check_action(d.action.partition("(")[0], ())]
        own = [(deed.footer, f"{short_keys(deed, self.KEYS)} {short_label(deed).lower()}") for deed in shown]
        return fit([*((0, each) for each in self.OF_WIDGETS), *own], width, " · ")
