"""Choose from a list that is searched as you type; what is typed counts too."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence
from functools import partial
from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.widgets import Input, Label, OptionList
from textual.widgets.option_list import Option

from microscope_tui.catalogue.listing import Entry
from microscope_tui.tables import size_text
from microscope_tui.tui.content.offers import FAVOURITE, RECENT, Offer, Shop, search
from microscope_tui.tui.content.peek import Peek
from microscope_tui.tui.errands import errand
from microscope_tui.tui.keys import bindings
from microscope_tui.tui.screens.dialog import Dialog

PAUSE = 0.15
"""Seconds without a key until what is typed is looked at on the disk."""

LEAST_LINES, ABOUT = 8, 17
"""Lines of the list, however short it is, and all those of the dialog beside it."""

USE = "\0"
"""Before the id of the line that stands for what is typed."""


class Picker(Dialog[str]):
    """Returns the name chosen, None when it was left.

    What is typed is looked at as it is typed: at once for what cannot be, on the disk after a pause. A choice that is
    doubtful says why, and must be made twice.
    """

    BINDINGS: ClassVar[list[BindingType]] = [*bindings("picker")]
    KEYS: ClassVar[str] = "picker"
    OF_WIDGETS: ClassVar[tuple[str, ...]] = ("enter choose", "↑ ↓ move")

    def __init__(
        self,
        title: str,
        hint: str,
        current: str,
        shop: Shop,
        favour: Callable[[str], bool],
        peek: Peek | None = None,
    ) -> None:
        """`favour` makes a name a favourite or no longer, and says whether it is one now; `peek` shows what is in the
        line under the cursor."""
        super().__init__(title)
        self._peek = peek
        self._hint, self._current = hint, current
        self._shop, self._favour = shop, favour
        self._favourites: set[str] = set()
        self._offers: dict[str, Offer] = {}
        self._loading = True
        self._entered, self._steps = False, 0
        """Enter was pressed on what is typed before there was a list to find it in, after so many steps in that."""
        self._typed: Offer | None = None
        """What is typed, when the disk was asked about it."""
        self._refusal = ""
        self._more: Sequence[str] = ()
        self._asked = 0
        self._doubted = ""
        self._lit: tuple[Option, Text] | None = None
        """The line that was under the cursor, and how it looks elsewhere."""
        self._asked_hub: set[str] = set()
        """The names whose size the hub was asked for."""

    def body(self) -> ComposeResult:
        typed = Input(placeholder=self._hint, id="typed")
        typed.cursor_blink = False  # each blink would go over the line
        yield typed
        yield OptionList(id="list", markup=False)
        yield Label("looking what is here …", id="plan", markup=False)
        yield Label("", id="peek", markup=False)

    def on_mount(self) -> None:
        self.query_one("#peek").display = self._peek is not None
        if self._peek:
            self._peek.watch(self._show_peek)
        self.query_one(OptionList).can_focus = False
        self.set_focus(self.query_one(Input))
        errand(self, self._shop.offers, self._loaded, self._not_loaded)

    def on_unmount(self) -> None:
        if self._peek:
            self._peek.leave()

    # Typing

    def on_input_changed(self, event: Input.Changed) -> None:
        self._typed, self._refusal, self._more, self._doubted = None, "", (), ""
        self._entered, self._steps = False, 0
        self._asked += 1
        name = event.value.strip()
        if self._is_name(name):
            self._refusal = self._shop.wrong(name)
            asked = self._asked
            self.set_timer(PAUSE, lambda: self._look(name, asked))
        self._fill()
        self.refuse(self._refusal)

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
            self._fill(stay=self._highlighted() != name)
            self.refuse(sentence)

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

    def action_take_over(self) -> None:
        """Take the line over into what is typed, to go on from there."""
        if name := self._highlighted():
            typed = self.query_one(Input)
            typed.value = name
            typed.cursor_position = len(name)

    def action_favourite(self) -> None:
        """Make the line under the cursor a favourite, or no longer. It stays where it is while the list is open."""
        name = self._highlighted()
        if not name or (refusal := self._shop.wrong(name) or self._shop.kept(name)):
            self.refuse(refusal if name else "There is no line to make a favourite.")
        elif self._favour(name):
            self._favourites.add(name)
            self.say(f"★ {name}: a favourite from now on")
        else:
            self._favourites.discard(name)
            self.say(f"{name}: no favourite any more")
        self._fill(stay=True)

    def action_step(self, by: int) -> None:
        options = self.query_one(OptionList)
        if self._loading:
            self._steps += by
        elif options.option_count:
            options.highlighted = max(0, min((options.highlighted or 0) + by, options.option_count - 1))

    # The list

    def _loaded(self, offers: Sequence[Offer]) -> None:
        self._offers = {offer.name: offer for offer in offers}
        self._favourites |= {offer.name for offer in offers if offer.tag == FAVOURITE}
        self._loading = False
        self.query_one("#dialog").styles.max_height = max(len(offers), LEAST_LINES) + ABOUT
        self._fill()
        self.action_step(self._steps)
        if self._entered:
            self.on_input_submitted()

    def _not_loaded(self, sentence: str) -> None:
        self._loaded(())
        self.refuse(sentence)

    def _fill(self, *, stay: bool = False) -> None:
        """What is typed itself where it is a name, then the offers that it finds, the best first; the cursor on the
        first of them, or where it was if it shall `stay`. What is known to be no name stands last."""
        typed = self.query_one(Input).value.strip()
        found = search(list(self._offers.values()), typed)
        options = self.query_one(OptionList)
        kept = self._highlighted()
        options.clear_options()
        if self._is_name(typed) and not self._refusal:
            options.add_option(self._use(typed))
        names = [name for name in self._more if name != typed]
        options.add_options([Option(Text.assemble("  ", ("… ", "dim"), name, no_wrap=True), id=name) for name in names])
        lines = [(offer, places) for offer, places in found if offer.name not in names]
        options.add_options([Option(self._prompt(offer, places), id=offer.name) for offer, places in lines])
        if typed and (self._refusal or not options.option_count):
            options.add_option(self._use(typed))
        if options.option_count:
            wanted = (kept, self._current) if stay or not typed else (kept if kept in names else "",)
            shown = [str(options.get_option_at_index(i).id).removeprefix(USE) for i in range(options.option_count)]
            options.highlighted = next((shown.index(name) for name in wanted if name in shown), 0)
        self._plan()

    def _use(self, typed: str) -> Option:
        """The line for what is typed itself."""
        mark = "★ " if typed in self._favourites else "  "
        return Option(Text.assemble(mark, ("use ", "dim"), typed, no_wrap=True), id=USE + typed)

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
        star = "★" if entry.name in self._favourites else ""
        mark = f"●{star}" if entry.name == self._current else star or ("◦" if offer.tag == RECENT else "")
        done = "✓ " if offer.measured else "  "
        return Text.assemble(
            f"{mark:<2}", done, name, "  ", (" · ".join(part for part in said if part), "dim"), no_wrap=True
        )

    def on_option_list_option_highlighted(self) -> None:
        self._light()
        self._plan()

    def _light(self) -> None:
        """Nothing is faint in the line under the cursor: on its ground it could hardly be read."""
        options = self.query_one(OptionList)
        if self._lit and self._lit[0] in options.options:
            options.replace_option_prompt(str(self._lit[0].id), self._lit[1])
        self._lit = None
        if (at := options.highlighted) is not None:
            option = options.get_option_at_index(at)
            if isinstance(faint := option.prompt, Text):
                clear = faint.copy()
                clear.spans = [span for span in faint.spans if span.style != "dim"]
                options.replace_option_prompt_at_index(at, clear)
                self._lit = option, faint

    def _plan(self) -> None:
        """What is known of the line under the cursor, before it is loaded."""
        name = self._highlighted()
        offer = self._offer(name)
        unknown = name and not offer and not self._loading and not self._is_name(name)
        self.query_one("#plan", Label).update(offer.plan if offer else self._shop.forms if unknown else "")
        self.set_timer(PAUSE, partial(self._look_into, name))

    def _look_into(self, name: str) -> None:
        """Have the worker open the slice under the cursor when it stays there, if it is on this machine; of what is not
        here, ask the hub."""
        offer = self._offer(name)
        if not self.is_attached or name != self._highlighted():
            return
        if offer and offer.askable and name not in self._asked_hub:
            self._asked_hub.add(name)
            errand(self, partial(self._shop.sized, offer), self._sized, lambda _: None)
        if self._peek:
            self._peek.at(name if offer and offer.entry.here and not offer.entry.refused else "")

    def _sized(self, offer: Offer) -> None:
        """The hub has told how large something is."""
        if self._typed and self._typed.name == offer.name:
            self._typed = offer
        if offer.name in self._offers:
            self._offers[offer.name] = offer
        if self.is_attached:
            self._fill(stay=True)

    def _show_peek(self) -> None:
        if self._peek and self.is_attached and not self._left:
            peek, lines = self.query_one("#peek", Label), self._peek.lines
            if len(lines) == 1:  # a sentence, where examples have a line each
                lines = textwrap.wrap(lines[0], max(peek.size.width, 20))
            peek.update("\n".join(lines))

    def _offer(self, name: str) -> Offer | None:
        return self._typed if self._typed and self._typed.name == name else self._offers.get(name)

    # The choice

    def on_input_submitted(self) -> None:
        typed = self.query_one(Input).value.strip()
        if self._loading and not self._is_name(typed):  # words to search for, typed faster than the disk was read
            self._entered = True
            self.say("…")
        elif name := self._highlighted():
            self._choose(name)

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        self._choose(str(event.option.id).removeprefix(USE))

    def _choose(self, name: str) -> None:
        """Take it when it can be, and is not doubtful or was doubted once already."""
        if refusal := self._shop.wrong(name):
            self.refuse(refusal)
            return

        known = self._offer(name)

        def examined(offer: Offer) -> None:
            if known and offer is not known:
                self._sized(offer)
            if offer.doubt and self._doubted != name:
                self._doubted = name
                self.refuse(f"{offer.doubt} Enter once more takes it all the same.")
            elif self.is_current:
                self.dismiss(name)

        self.say("…")

        def examine() -> Offer:
            offer = known or self._shop.examine(name)
            return self._shop.sized(offer) if offer.askable and self._doubted != name else offer

        errand(self, examine, examined, self.refuse)


def _lack(entry: Entry) -> str:
    """What is against an entry, in few words."""
    if entry.refused:
        return "cannot be measured"
    if entry.missing:
        return f"{len(entry.missing)} files missing"
    return "" if entry.here else "not here yet"
