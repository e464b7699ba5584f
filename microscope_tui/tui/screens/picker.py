"""Choose from a list that is filtered as you type; what is typed counts too."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Input, Label, OptionList
from textual.widgets.option_list import Option

from microscope_tui.catalogue import Entry
from microscope_tui.tui.errands import Returned, errand


class Picker(ModalScreen[str | None]):
    """Returns the name chosen, None when it was left. A choice that `check` refuses is explained in place."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "dismiss(None)", "Leave"),
        Binding("down", "step(1)", "Next", show=False),
        Binding("up", "step(-1)", "Back", show=False),
        Binding("pagedown", "step(8)", "Page on", show=False),
        Binding("pageup", "step(-8)", "Page back", show=False),
    ]

    def __init__(
        self,
        title: str,
        hint: str,
        current: str,
        load: Callable[[], Sequence[Entry]],
        check: Callable[[str], None],
    ) -> None:
        super().__init__()
        self._title, self._hint, self._current = title, hint, current
        self._load, self._check = load, check
        self._entries: Sequence[Entry] = ()

    def compose(self) -> ComposeResult:
        with Vertical(id="dialog"):
            yield Label(self._title, id="title", markup=False)
            yield Input(placeholder=self._hint, id="typed")
            yield OptionList(id="list", markup=False)
            yield Label("looking what is here …", id="said", markup=False)

    def on_mount(self) -> None:
        self.query_one(OptionList).can_focus = False
        self.query_one(Input).focus()
        errand(self, self._load, self._loaded, self._say)

    def on_returned(self, message: Returned) -> None:
        message.tell()

    def on_input_changed(self, event: Input.Changed) -> None:
        self._say("")
        self._fill(event.value)

    def on_input_submitted(self) -> None:
        options = self.query_one(OptionList)
        if options.highlighted is not None:
            self._choose(options.get_option_at_index(options.highlighted).id or "")

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        self._choose(event.option.id or "")

    def action_step(self, by: int) -> None:
        options = self.query_one(OptionList)
        if options.option_count:
            options.highlighted = max(0, min((options.highlighted or 0) + by, options.option_count - 1))

    def _loaded(self, entries: Sequence[Entry]) -> None:
        self._entries = list({entry.name: entry for entry in entries}.values())
        self._say("")
        self._fill(self.query_one(Input).value)

    def _fill(self, typed: str) -> None:
        """The entries that hold every word typed, and what is typed itself where it is no entry."""
        words = typed.lower().split()
        fits = [e for e in self._entries if all(w in f"{e.name} {e.title} {e.detail}".lower() for w in words)]
        options = self.query_one(OptionList)
        options.clear_options()
        options.add_options([Option(self._prompt(entry), id=entry.name) for entry in fits])
        name = typed.strip()
        if name and all(name != entry.name for entry in fits):
            options.add_option(Option(Text.assemble("  ", ("use ", "dim"), name), id=name))
        names = [entry.name for entry in fits]
        if options.option_count:
            looks_typed = name.startswith(("/", "./", "../", "~")) or "/" in name
            start = options.option_count - 1 if looks_typed and name not in names else 0
            options.highlighted = names.index(self._current) if not typed and self._current in names else start

    def _prompt(self, entry: Entry) -> Text:
        mark = "● " if entry.name == self._current else "  "
        detail = entry.detail if entry.here else f"{entry.detail} · not here yet" if entry.detail else "not here yet"
        return Text.assemble(mark, (entry.name, "bold"), "  ", entry.title, (f"  {detail}", "dim"), no_wrap=True)

    def _choose(self, name: str) -> None:
        self._say("…")
        errand(self, lambda: self._check(name), lambda _: self._dismiss_with(name), self._say)

    def _dismiss_with(self, name: str) -> None:
        if self.is_current:
            self.dismiss(name)

    def _say(self, sentence: str) -> None:
        said = self.query_one("#said", Label)
        said.update(sentence or "enter chooses · ↑ ↓ move · esc leaves")
        said.set_class(bool(sentence) and sentence != "…", "-error")
