"""The examples of the slice: picture, question, choices and answer, and what each model answers."""

from __future__ import annotations

import textwrap
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal
from textual.strip import Strip

from microscope_tui.inspection import PAGE, ExampleCard, Preview
from microscope_tui.results import Answer
from microscope_tui.terms import LETTERS, JobKind, Request
from microscope_tui.tui.content.browse import ALL, Listing, pages_wanted, says, unusable
from microscope_tui.tui.content.cards import Section
from microscope_tui.tui.content.closer_cards import examples_card
from microscope_tui.tui.content.readout import shorten
from microscope_tui.tui.content.spans import Ends, Part, Span
from microscope_tui.tui.data.looks import Look
from microscope_tui.tui.keys import bindings, key_of
from microscope_tui.tui.output.records import Record, example_records
from microscope_tui.tui.screens.closer import WHOLE, Closer
from microscope_tui.tui.screens.find import Find
from microscope_tui.tui.screens.place import Place
from microscope_tui.tui.widgets.canvas import Canvas, row, scrolled
from microscope_tui.tui.widgets.picture import picture_rows

FEW_COLOURS = "No picture: this terminal shows too few colours for it."
THIN = "No picture: little is drawn, for a slow line ({key} in the explorer)."
BARS = 3
"""Lines above and below the list and the example."""
WIDE = 100
"""Columns from which the list and the example stand side by side."""
PICTURE = 0.5
"""Share of the card's height that the pictures may take."""


class Examples(Closer):
    """A list on the left, the example under the cursor on the right."""

    BINDINGS: ClassVar[list[BindingType]] = [*bindings("examples")]
    KEYS = "examples"
    LAYERED = False
    NAME = "examples"
    DEFAULT_CSS = """
    Examples #list { width: 1fr; min-width: 34; margin-right: 1; }
    Examples #card { width: 2fr; }
    Examples.-narrow #body { layout: vertical; }
    Examples.-narrow #list { width: 1fr; height: 1fr; margin-right: 0; }
    Examples.-narrow #card { width: 1fr; height: 2fr; }
    """

    def __init__(self, place: Place, model: int = 0) -> None:
        super().__init__(place, model)
        self.filter = ALL
        self._top = 0
        self._pages: list[int] = []
        self._sought = ""
        """What was looked for last."""
        self._ahead: list[int] = []
        """The examples that are still to be looked through, the next one last."""
        self._listing: Listing | None = None
        self._listed: dict[str, Sequence[int]] = {}
        self._tallest = 0
        """Lines of the longest example without a picture that was looked at."""
        self._made_of: tuple[object, ...] = ()

    def body(self) -> ComposeResult:
        with Horizontal(id="body"):
            yield Canvas(id="list")
            yield Canvas(id="card")

    @property
    def asked(self) -> Sequence[Look]:
        first = Look(self.requests[0], JobKind.PREVIEW)
        return [first, *(replace(first, example=page) for page in self._pages)]

    @property
    def listing(self) -> Listing | None:
        """What is known of the slice, None while its first page is not there."""
        values = [self.see(look).value for look in self.asked]
        pages = tuple(value for value in values if isinstance(value, Preview))
        if not pages or pages[0].start:
            return None
        measured = tuple((request, self.place.desk.of(request).measurement) for request in self.requests)
        made_of = (*map(id, pages), *((request, id(m)) for request, m in measured))  # the listing keeps them alive
        if self._listing is None or made_of != self._made_of:
            self._listing, self._listed, self._made_of = Listing(pages, measured), {}, made_of
        return self._listing

    @property
    def listed(self) -> Sequence[int]:
        """The numbers of the examples that the filter leaves."""
        if (listing := self.listing) is None:
            return ()
        if self.filter not in self._listed:
            self._listed[self.filter] = listing.listed(self.filter)
        return self._listed[self.filter]

    @property
    def at(self) -> int:
        """The place in the list of the example that is looked at, the nearest one where the filter leaves it out."""
        listed, wanted = self.listed, self.place.example
        after = bisect_left(listed, wanted)
        near = [i for i in (after - 1, after) if 0 <= i < len(listed)]
        return min(near, key=lambda i: abs(listed[i] - wanted), default=0)

    # Showing it

    def title_line(self) -> Ends:
        colours, listing = self.palette, self.listing
        left = [Span(" Examples ", colours.text, True)]
        if listing is None:
            return left, []
        left.append(Span(f" {len(self.listed):,} of {listing.total:,} ", colours.faint))
        if self._ahead:
            said = f" looking for “{shorten(self._sought, 20)}” from example {self._ahead[-1]:,} on "
            left.append(Span(said, colours.cursor_line))
        right = [Span(f" {self.key('filter')} ", colours.key, False, "filter")]
        right += [
            Span(f"{name} ", colours.cursor_line if name == self.filter else colours.faint, name == self.filter)
            for name in listing.filters
        ]
        return left, right

    def show_body(self) -> None:
        self._look_through()
        self._pages = pages_wanted(self.listed, self.at)
        if self._ahead:  # no more are held at once
            self._pages = [*self._pages[:1], self._ahead[-1] // PAGE * PAGE]
        self.query_one("#list", Canvas).show(self._list, self.palette.background)
        card = self.query_one("#card", Canvas)
        card.show(self._card, self.palette.background)
        card.styles.height = self._height()

    def on_resize(self, event: events.Resize) -> None:
        """Side by side only a few words of a question have room."""
        self.set_class(event.size.width < WIDE, "-narrow")
        self._tallest = 0

    def _height(self) -> int | None:
        """The lines of the example below the list, where it has no picture: the list has the others. It has not fewer
        for a shorter one, so that the list does not move from example to example. None is for its share of the room."""
        listing, (width, height) = self.listing, self.size
        if listing is None or self._draws or width >= WIDE:
            return None
        if self.listed and (card := listing.cards.get(self.listed[self.at])):
            self._tallest = max(self._tallest, len(self._lines(listing, card, width, height)))
        return min(self._tallest, 2 * (height - BARS) // 3) or None

    def _look_through(self) -> None:
        """Look for the words as far as pages are here; what comes after is asked for, page by page."""
        words, cards = self._sought.split(), dict[int, ExampleCard]()
        while self._ahead:
            index = self._ahead[-1]
            if index not in cards:
                seen = self.see(replace(self.asked[0], example=index // PAGE * PAGE or None))
                if seen.error:
                    self._ahead = []
                    self.notify(f"Example {index:,} cannot be looked at: {seen.error}", severity="error", markup=False)
                if not isinstance(seen.value, Preview):
                    return
                cards = {card.index: card for card in seen.value.examples}
            self._ahead.pop()
            if index in cards and says(cards[index], words):
                self._ahead = []
                self.place.example = index
                return
            if not self._ahead:
                self.notify(f"No example of these has the words “{self._sought}”.", markup=False)

    def _list(self, width: int, height: int) -> list[Strip]:
        if (listing := self.listing) is None:
            return self.waiting_for(self.asked[0], width, height)
        listed, at = self.listed, self.at
        if not listed:
            return self.message(
                f"No example is {self.filter}: {self.key('filter')} shows others.", False, width, height
            )
        self._top = scrolled(self._top, at, height, len(listed))
        shown = listed[self._top : self._top + height]
        return [self._entry(listing, index, i == at, width) for i, index in enumerate(shown, start=self._top)]

    def _entry(self, listing: Listing, index: int, here: bool, width: int) -> Strip:
        palette, card = self.palette, listing.card(index)
        digits = len(str(listing.total - 1))
        parts: list[Part] = [
            (f"{'▌' if here else ' '}{index:>{digits}} ", palette.cursor_line if here else palette.faint, here)
        ]
        if card.key in listing.reasons:
            parts.append((f"– {listing.reasons[card.key]}", palette.warn, False))
        else:
            for request, given in listing.answers:
                answer = given.get(card.key)
                sign = "·" if answer is None else "✓" if answer.right else "✗"
                shade = palette.faint if answer is None else palette.good if answer.right else palette.error
                parts.append((self.sign(request), palette.of(self.slot(request)), False))
                parts.append((f"{sign} ", shade, True))
            if first := listing.answers[0][1].get(card.key):
                parts.append((f"{first.margin:+5.1f} ", palette.faint, False))
            parts.append((flat(card.question) if index in listing.cards else "…", palette.text, here))
        return row(parts, width, palette.cursor if here else palette.background)

    def _card(self, width: int, height: int) -> list[Strip]:
        listing = self.listing
        if listing is None or not self.listed:
            return []
        index = self.listed[self.at]
        if index not in listing.cards:
            page = replace(self.asked[0], example=index // PAGE * PAGE)
            return self.waiting_for(page, width, height)
        return self._lines(listing, listing.cards[index], width, height)[:height]

    def _lines(self, listing: Listing, card: ExampleCard, width: int, height: int) -> list[Strip]:
        """An example, its pictures as large as `height` lines leave room for."""
        words = [row(parts, width, self.palette.background) for parts in self._words(listing, card, width - 2)]
        room = max(height - len(words) - 1, int(PICTURE * height)) if card.pictures else 0
        return [*self._pictures(card, width, room), *words]

    @property
    def _draws(self) -> bool:
        """Whether there are pictures, and they are drawn."""
        cards = self.listing.cards.values() if self.listing else ()
        return self.coloured and not self.thin and any(card.pictures for card in cards)

    def _pictures(self, card: ExampleCard, width: int, height: int) -> list[Strip]:
        """The pictures side by side."""
        palette = self.palette
        if not card.pictures or height < 2:
            return []
        if not self.coloured or self.thin:
            why = THIN.format(key=key_of("thin")) if self.coloured else FEW_COLOURS
            lines = [*textwrap.wrap(why, max(width - 2, 8)), ""]
            return [row([(f" {line}", palette.faint, False)], width, palette.background) for line in lines]
        each = width // len(card.pictures)
        drawn = [picture_rows(p, each, height, palette.background, ascii=self.ascii) for p in card.pictures]
        high = max(len(rows) for rows in drawn)
        blank = row([], each, palette.background)
        return [
            Strip.join([rows[y] if y < len(rows) else blank for rows in drawn]).adjust_cell_length(width)
            for y in range(high)
        ]

    def _words(self, listing: Listing, card: ExampleCard, width: int) -> list[list[Part]]:
        """Question, choices with who chose them, and what else is known of an example."""
        palette = self.palette
        reason = listing.reasons.get(card.key)
        said: list[list[Part]] = [[(f" example {card.index} · {card.key}", palette.faint, False)]]
        if reason:
            said += [[(f" {line}", palette.warn, False)] for line in textwrap.wrap(f"skipped: {reason}", width)]
        said += [[(f" {line}", palette.text, True)] for line in textwrap.wrap(card.question, width)]
        answers = [(request, given[card.key]) for request, given in listing.answers if card.key in given]
        for number, choice in enumerate(card.choices):
            right = number == card.answer
            parts: list[Part] = [(" ✓ " if right else "   ", palette.good, True)]
            parts.append((f"{letter(number)}  {flat(choice)}", palette.text, right))
            for request, answer in answers:
                if answer.chosen == number:
                    mark = f"   {self.sign(request)} {answer.margin:+.2f}"
                    parts.append((mark, palette.of(self.slot(request)), True))
            said.append(parts)
        for request in self.requests:
            said.append(self._verdict(request, card, dict(answers).get(request), width))
        if card.hint and not unusable(card):
            said.append([])
            said += [[(f" {line}", palette.faint, False)] for line in textwrap.wrap(f"hint: {card.hint}", width)]
        return said

    def _verdict(self, request: Request, card: ExampleCard, answer: Answer | None, width: int) -> list[Part]:
        """Whether a model is right, or why that is not known."""
        palette = self.palette
        model = shorten(request.model, max(width // 2, 8))
        name: Part = (f" {self.sign(request)} {model}  ", palette.of(self.slot(request)), True)
        if answer:
            text = f"{'right' if answer.right else 'wrong'}: {letter(answer.chosen)}, margin {answer.margin:+.2f}"
            return [name, (text, palette.good if answer.right else palette.error, False)]
        measurement = self.place.desk.of(request).measurement
        skipped = measurement and card.key in {each.example for each in measurement.skipped}
        why = "has skipped it" if skipped else "answers nothing" + (": there are no choices" * (not card.choices))
        if measurement is None or not measurement.complete:
            why = "has not answered yet: it is being measured"
        return [name, (why, palette.faint, False)]

    def card(self) -> Sequence[Section]:
        if (listing := self.listing) is None:
            return self.no_card(self.asked[0])
        return examples_card(listing, [self.slot(request) for request in self.requests])

    def records(self, *, everything: bool) -> Iterable[Record]:
        """The examples, those of pages that are not here without their questions."""
        if (listing := self.listing) is None:
            return ()
        cards = [listing.card(index) for index in (range(listing.total) if everything else self.listed)]
        return example_records(cards, [(request.model, given) for request, given in listing.answers], listing.reasons)

    def at_cursor(self) -> str:
        listing = self.listing
        if listing is None or not self.listed:
            return ""
        words = self._words(listing, listing.card(self.listed[self.at]), WHOLE)
        return "\n".join("".join(text for text, _, _ in parts).strip() for parts in words)

    # What the user does

    def action_find(self) -> None:
        if self.listing:
            self.app.push_screen(Find(self._sought), self._find)

    def _find(self, typed: str | None) -> None:
        """Go to a number, or to the next example of the list that has the words."""
        listing = self.listing
        if not typed or listing is None:
            return
        if typed.isdecimal():
            self._go_to(int(typed), listing)
        else:
            self._sought = typed
            after = bisect_right(self.listed, self.place.example)
            self._ahead = [*self.listed[after:], *self.listed[:after]][::-1]
        self.show()

    def _go_to(self, number: int, listing: Listing) -> None:
        if number >= listing.total:
            self.notify(f"There is no example {number:,}: the last one is {listing.total - 1:,}.", severity="warning")
            return
        self._ahead = []
        self.place.example = number
        if number not in self.listed:
            self.notify(f"Example {number:,} is not {self.filter}: all are shown.")
            self.filter, self._top = ALL, 0

    def action_back(self) -> None:
        """Leave off looking for words, if that goes on."""
        if self._ahead:
            self._ahead = []
            self.show()
        else:
            super().action_back()

    def action_move(self, by: int) -> None:
        listed = self.listed
        self._ahead = []
        if listed:
            self.place.example = listed[max(0, min(self.at + by, len(listed) - 1))]
            self.show()

    def action_example(self, by: int) -> None:
        self.action_move(by)

    def action_page(self, by: int) -> None:
        self.action_move(by * max(self.query_one("#list", Canvas).size.height - 1, 1))

    def action_filter(self) -> None:
        if listing := self.listing:
            names = listing.filters
            self.filter = names[(names.index(self.filter) + 1) % len(names)] if self.filter in names else ALL
            self._top = 0
            self.show()

    def action_open(self) -> None:
        if self.listed:
            self.place.example = self.listed[self.at]
            self.app.push_screen(self.place.closer("tokens", self.model))

    def on_canvas_clicked(self, message: Canvas.Clicked) -> None:
        if message.canvas.id == "list" and self._top + message.y < len(self.listed):
            self.action_move(self._top + message.y - self.at)

    def on_canvas_wheeled(self, message: Canvas.Wheeled) -> None:
        self.action_move(message.by)


def letter(choice: int) -> str:
    return LETTERS[choice] if choice < len(LETTERS) else str(choice)


def flat(text: str) -> str:
    """A text in one line."""
    return " ".join(text.split())
