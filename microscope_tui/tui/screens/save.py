"""Save what is on the screen: the formats, what each needs, and the folder it goes to."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Input, Label, OptionList
from textual.widgets.option_list import Option

from microscope_tui.tui.errands import Returned, errand
from microscope_tui.tui.keys import bindings, hint
from microscope_tui.tui.output.export import FORMATS, Format, Seen, save
from microscope_tui.tui.screens.leaving import Leaving


class Save(ModalScreen[None], Leaving[None]):
    """Stays open, so that one view can be saved in several formats."""

    BINDINGS: ClassVar[list[BindingType]] = [*bindings("save")]
    KEYS: ClassVar[str] = "save"

    def __init__(self, seen: Seen, screen: str, stem: str) -> None:
        """`screen` is the SVG of the screen as it was before this one opened, `stem` the start of the files' names."""
        super().__init__()
        self._seen, self._picture, self._stem = seen, screen, stem

    def compose(self) -> ComposeResult:
        with Vertical(id="dialog"):
            yield Label("Save what is on the screen", id="title")
            folder = Input(str(Path.cwd()), id="folder")
            folder.cursor_blink = False  # each blink would go over the line
            yield folder
            yield OptionList(*(Option(_line(each), id=each.ending) for each in FORMATS), id="list", markup=False)
            yield Label(id="said", markup=False)

    def on_mount(self) -> None:
        self.query_one(OptionList).focus()
        self._say("")

    def on_returned(self, message: Returned) -> None:
        message.tell()

    def action_back(self) -> None:
        self.dismiss(None)

    def action_folder(self) -> None:
        """Between the formats and the name of the folder."""
        typing = self.focused is self.query_one(Input)
        self.query_one(OptionList if typing else Input).focus()

    def on_input_submitted(self) -> None:
        self.query_one(OptionList).focus()

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        format = FORMATS[event.option_index]
        folder = Path(self.query_one(Input).value.strip() or ".").expanduser()
        self._say(f"writing {format.ending} …")

        def written(file: Path) -> None:
            self._say(f"saved {file}")

        errand(self, lambda: save(format, self._seen, self._picture, folder, self._stem), written, self._refuse)

    def _say(self, sentence: str) -> None:
        said = self.query_one("#said", Label)
        said.set_class(False, "-error")
        said.update(sentence or f"enter save · {hint('save', ('folder', 'back'))}")

    def _refuse(self, sentence: str) -> None:
        self._say(sentence)
        self.query_one("#said", Label).set_class(True, "-error")


def _line(format: Format) -> Text:
    missing = format.missing
    need = f"   needs {missing}" if missing else ""
    return Text.assemble(
        (f"{format.ending:<14}", "dim" if missing else "bold"), format.what, (need, "dim"), no_wrap=True
    )
