"""Choose from a list that is searched as you type; what is typed counts too."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Input, Label, OptionList
from textual.widgets.option_list import Option

from microscope_tui.catalogue import Entry, size_text
from microscope_tui.tui.content.offers import FAVOURITE, RECENT, Offer, Shop, search
from microscope_tui.tui.data.peek import Peek
from microscope_tui.tui.errands import Returned, errand
from microscope_tui.tui.keys import bindings, hint
from microscope_tui.tui.screens.leaving import Leaving

PAUSE = 0.15
"""Seconds without a key until what is typed is looked at on the disk."""

USE = "\0"
"""Before the id of the line that stands for what is typed."""

TAGS = {FAVOURITE: "★ ", RECENT: "◦ "}


class Picker(ModalScreen[str | None], Leaving[str | None]):
    """Returns the name chosen, None when it was left.

    What is typed is looked at as it is typed: at once for what cannot be, on the disk after a pause. A choice that is
    doubtful says why, and must be made twice.
    """

    BINDINGS: ClassVar[list[BindingType]] = [*bindings("picker")]
    KEYS: ClassVar[str] = "picker"

    def __init__(
        self, title: str, hint: str, current: str, shop: Shop, recent: Sequence[str] = (), peek: Peek | None = None
    ) -> None:
        """`peek` shows what is in the line under the cursor."""
        super().__init__()
        self._peek = peek
        self._title, self._hint, self._current = title, hint, current
        self._shop, self._recent = shop, recent
        self._offers: dict[str, Offer] = {}
        self._loading = True
        self._entered = False
        """Enter was pressed on what is typed before there was a list to find it in."""
        self._typed: Offer | None = None
        """What is typed, when the disk was asked about it."""
        self._refusal = ""
        self._more: Sequence[str] = ()
        self._asked = 0
        self._doubted = ""

    def compose(self) -> ComposeResult:
        with Vertical(id="dialog"):
            yield Label(self._title, id="title", markup=False)
            typed = Input(placeholder=self._hint, id="typed")
            typed.cursor_blink = False  # each blink would go over the line
            yield typed
            yield OptionList(id="list", markup=False)
            yield Label("looking what is here …", id="plan", markup=False)
            yield Label("", id="peek", markup=False)
            yield Label("", id="said", markup=False)

    def on_mount(self) -> None:
        self.query_one("#peek").display = self._peek is not None
        if self._peek:
            self._peek.watch(self._show_peek)
        self.query_one(OptionList).can_focus = False
        self.query_one(Input).focus()
        errand(self, lambda: self._shop.offers(self._recent), self._loaded, self._not_loaded)
        self._say("")

    def on_unmount(self) -> None:
        if self._peek:
            self._peek.leave()

    def on_returned(self, message: Returned) -> None:
        message.tell()

    # Typing

    def on_input_changed(self, event: Input.Changed) -> None:
        self._typed, self._refusal, self._more, self._doubted = None, "", (), ""
        self._entered = False
        self._asked += 1
        self._fill()
        name = event.value.strip()
        if self._is_name(name):
            self._refusal = self._shop.wrong(name)
            asked = self._asked
            self.set_timer(PAUSE, lambda: self._look(name, asked))
        self._refuse(self._refusal)

    def _is_name(self, typed: str) -> bool:
        """Whether what is typed looks like a name of its own, rather than like words to search for."""
        return typed not in self._offers and any(sign in typed for sign in "/:?~")

    def _look(self, name: str, asked: int) -> None:
        """Ask the disk about what is typed, unless typing went on."""

        def still(then: Callable[[], None]) -> None:
            if asked == self._asked and self.is_attached:
                then()

        def examined(offer: Offer) -> None:
            self._typed = offer
            self._fill()

        def refused(sentence: str) -> None:
            self._refusal = sentence
            self._refuse(sentence)

        def completed(names: Sequence[str]) -> None:
            self._more = names
            self._fill()

        if asked == self._asked:
            shop = self._shop
            errand(self, partial(shop.complete, name), lambda names: still(partial(completed, names)), lambda _: None)
            if not self._refusal:
                errand(
                    self,
                    partial(shop.examine, name),
                    lambda offer: still(partial(examined, offer)),
                    lambda sentence: still(partial(refused, sentence)),
                )

    def action_back(self) -> None:
        self.dismiss(None)

    def action_take_over(self) -> None:
        """Take the line over into what is typed, to go on from there."""
        if name := self._highlighted():
            typed = self.query_one(Input)
            typed.value = name
            typed.cursor_position = len(name)

    def action_step(self, by: int) -> None:
        options = self.query_one(OptionList)
        if options.option_count:
            options.highlighted = max(0, min((options.highlighted or 0) + by, options.option_count - 1))

    # The list

    def _loaded(self, offers: Sequence[Offer]) -> None:
        self._offers = {offer.name: offer for offer in offers}
        self._loading = False
        self._fill()
        if self._entered:
            self.on_input_submitted()

    def _not_loaded(self, sentence: str) -> None:
        self._loaded(())
        self._refuse(sentence)

    def _fill(self) -> None:
        """What is typed itself where it is a name, then the offers that it finds, the best first."""
        typed = self.query_one(Input).value.strip()
        found = search(list(self._offers.values()), typed)
        options = self.query_one(OptionList)
        kept = self._highlighted()
        options.clear_options()
        if self._is_name(typed):
            options.add_option(Option(Text.assemble("  ", ("use ", "dim"), typed, no_wrap=True), id=USE + typed))
        names = [name for name in self._more if name != typed]
        options.add_options([Option(Text.assemble("  ", ("… ", "dim"), name, no_wrap=True), id=name) for name in names])
        lines = [(offer, places) for offer, places in found if offer.name not in names]
        options.add_options([Option(self._prompt(offer, places), id=offer.name) for offer, places in lines])
        if typed and not options.option_count:
            options.add_option(Option(Text.assemble("  ", ("use ", "dim"), typed, no_wrap=True), id=USE + typed))
        if options.option_count:
            wanted = (kept, self._current) if not typed else (kept if kept in names else "",)
            shown = [str(options.get_option_at_index(i).id).removeprefix(USE) for i in range(options.option_count)]
            options.highlighted = next((shown.index(name) for name in wanted if name in shown), 0)
        self._plan()

    def _highlighted(self) -> str:
        options = self.query_one(OptionList)
        if options.highlighted is None:
            return ""
        return str(options.get_option_at_index(options.highlighted).id).removeprefix(USE)

    def _prompt(self, offer: Offer, places: Sequence[int]) -> Text:
        entry = offer.entry
        name = Text(entry.name, style="bold")
        for place in places:
            name.stylize("underline", place, place + 1)
        said = [entry.title, size_text(entry.size) if entry.size else "", "" if offer.fit == "fits" else offer.fit]
        said.append(_lack(entry))
        mark = "● " if entry.name == self._current else TAGS.get(offer.tag, "  ")
        done = "✓ " if offer.measured else "  "
        return Text.assemble(mark, done, name, "  ", (" · ".join(part for part in said if part), "dim"), no_wrap=True)

    def on_option_list_option_highlighted(self) -> None:
        self._plan()

    def _plan(self) -> None:
        """What is known of the line under the cursor, before it is loaded."""
        offer = self._offer(self._highlighted())
        self.query_one("#plan", Label).update(offer.plan if offer else "")
        if self._peek:
            self.set_timer(PAUSE, partial(self._look_into, self._highlighted()))

    def _look_into(self, name: str) -> None:
        """Have the worker open the slice under the cursor when it stays there, if it is on this machine."""
        offer = self._offer(name)
        if self._peek and self.is_attached and name == self._highlighted():
            self._peek.at(name if offer and offer.entry.here and not offer.entry.refused else "")

    def _show_peek(self) -> None:
        if self._peek and self.is_attached:
            self.query_one("#peek", Label).update("\n".join(self._peek.lines))

    def _offer(self, name: str) -> Offer | None:
        return self._typed if self._typed and self._typed.name == name else self._offers.get(name)

    # The choice

    def on_input_submitted(self) -> None:
        typed = self.query_one(Input).value.strip()
        if self._loading and not self._is_name(typed):  # words to search for, typed faster than the disk was read
            self._entered = True
            self._say("…")
        elif name := self._highlighted():
            self._choose(name)

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        self._choose(str(event.option.id).removeprefix(USE))

    def _choose(self, name: str) -> None:
        """Take it when it can be, and is not doubtful or was doubted once already."""
        if refusal := self._shop.wrong(name):
            self._refuse(refusal)
            return

        def examined(offer: Offer) -> None:
            if offer.doubt and self._doubted != name:
                self._doubted = name
                self._refuse(f"{offer.doubt} Enter once more takes it all the same.")
            elif self.is_current:
                self.dismiss(name)

        self._say("…")
        known = self._offer(name)
        errand(self, lambda: known or self._shop.examine(name), examined, self._refuse)

    def _say(self, sentence: str) -> None:
        said = self.query_one("#said", Label)
        said.set_class(False, "-error")
        said.update(sentence or f"enter choose · ↑ ↓ move · {hint('picker', ('take_over', 'back'))}")

    def _refuse(self, sentence: str) -> None:
        self._say(sentence)
        self.query_one("#said", Label).set_class(bool(sentence), "-error")


def _lack(entry: Entry) -> str:
    """What is against an entry, in few words."""
    if entry.refused:
        return "cannot be measured"
    if entry.missing:
        return f"{len(entry.missing)} files missing"
    return "" if entry.here else "not here yet"
