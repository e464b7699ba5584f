"""Save what is on the screen: the formats, what each needs, and the folder it goes to."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.widgets import Input, OptionList
from textual.widgets.option_list import Option

from microscope_tui.errors import MicroscopeError
from microscope_tui.tui.errands import errand
from microscope_tui.tui.keys import bindings
from microscope_tui.tui.output.export import FORMATS, Format, Seen, save
from microscope_tui.tui.screens.dialog import Dialog


class Save(Dialog[None]):
    """Stays open, so that one view can be saved in several formats."""

    BINDINGS: ClassVar[list[BindingType]] = [*bindings("save")]
    KEYS: ClassVar[str] = "save"
    OF_WIDGETS: ClassVar[tuple[str, ...]] = ("enter save",)

    def __init__(self, seen: Seen, screen: str, stem: str, folder: Path, saved_to: Callable[[Path], None]) -> None:
        """`screen` is the SVG of the screen as it was before this one opened, `stem` the start of the files' names;
        `folder` is offered, and `saved_to` called with the one that something was saved to."""
        super().__init__("Save what is on the screen")
        self._seen, self._picture, self._stem = seen, screen, stem
        self._folder, self._saved_to = folder, saved_to

    def body(self) -> ComposeResult:
        folder = Input(str(self._folder), id="folder")
        folder.cursor_blink = False  # each blink would go over the line
        yield folder
        yield OptionList(*(Option(_line(each), id=each.ending) for each in FORMATS), id="list", markup=False)

    def on_mount(self) -> None:
        self.set_focus(self.query_one(OptionList))

    def action_folder(self) -> None:
        """Between the formats and the name of the folder."""
        typing = self.focused is self.query_one(Input)
        self.set_focus(self.query_one(OptionList if typing else Input))  # at once: the next key may be there already

    def on_input_submitted(self) -> None:
        self.set_focus(self.query_one(OptionList))

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        format = FORMATS[event.option_index]
        typed = self.query_one(Input).value.strip() or str(self._folder)
        self.say(f"writing {format.ending} …")

        def write() -> Path:
            return save(format, self._seen, self._picture, folder_of(typed), self._stem)

        def written(file: Path) -> None:
            self._saved_to(file.parent)
            self.say(f"saved {file}")

        errand(self, write, written, self.refuse)


def folder_of(typed: str) -> Path:
    """The folder that was typed. Raises `MicroscopeError` for the home of somebody who is not here."""
    try:
        return Path(typed).expanduser()
    except RuntimeError as error:
        raise MicroscopeError(f"{typed} is no folder ({error}): name another one.") from error


def _line(format: Format) -> Text:
    missing = format.missing
    need = f"   needs {missing}" if missing else ""
    return Text.assemble(
        (f"{format.ending:<14}", "dim" if missing else "bold"), format.what, (need, "dim"), no_wrap=True
    )
