"""The examples of the slice: picture, question, choices and answer, and what each model answers."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal
from textual.strip import Strip

from microscope_tui.inspection import ExampleCard, Preview
from microscope_tui.results import Answer
from microscope_tui.terms import JobKind, Request
from microscope_tui.tui.data.looks import Look
from microscope_tui.tui.deeds import EXAMPLES, bindings
from microscope_tui.tui.output.records import Record, example_records
from microscope_tui.tui.screens.closer import Closer, scrolled
from microscope_tui.tui.widgets.bar import Span
from microscope_tui.tui.widgets.canvas import Canvas, Part, row
from microscope_tui.tui.widgets.picture import picture_rows

if TYPE_CHECKING:
    from microscope_tui.tui.screens.explorer import Explorer

ALL, RIGHT, WRONG, DIFFER, SKIPPED = "all", "right", "wrong", "differ", "skipped"
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
FEW_COLOURS = "No picture: this terminal shows too few colours for it."
THIN = "No picture: little is drawn, for a slow line (b in the explorer)."
PICTURE = 0.5
"""Share of the card's height that the pictures may take."""


class Examples(Closer):
    """A list on the left, the example under the cursor on the right."""

    BINDINGS: ClassVar[list[BindingType]] = [*bindings(EXAMPLES)]
    TABLE = EXAMPLES
    NAME = "examples"
    DEFAULT_CSS = """
    Examples #list { width: 1fr; min-width: 34; }
    Examples #card { width: 2fr; }
    """

    def __init__(self, explorer: Explorer) -> None:
        super().__init__(explorer)
        self.filter = ALL
        self._top = 0

    def body(self) -> ComposeResult:
        with Horizontal(id="body"):
            yield Canvas(id="list")
            yield Canvas(id="card")

    @property
    def asked(self) -> Sequence[Look]:
        return [Look(self.requests[0], JobKind.PREVIEW)]

    @property
    def preview(self) -> Preview | None:
        value = self.see(self.asked[0]).value
        return value if isinstance(value, Preview) else None

    @property
    def answers(self) -> list[tuple[Request, Mapping[str, Answer]]]:
        """What each model answered, by example."""
        measured = ((request, self.explorer.desk.of(request).measurement) for request in self.requests)
        return [(request, {a.example: a for a in m.answers} if m else {}) for request, m in measured]

    @property
    def reasons(self) -> dict[str, str]:
        """Why examples were skipped, as far as the measurements say."""
        measured = [self.explorer.desk.of(request).measurement for request in self.requests]
        return {skipped.example: skipped.reason for m in measured if m for skipped in m.skipped}

    @property
    def listed(self) -> tuple[ExampleCard, ...]:
        """The examples that the filter leaves."""
        cards = self.preview.examples if self.preview else ()
        answers, reasons = self.answers, self.reasons
        return tuple(card for card in cards if self.filter == ALL or self.filter in kinds(card, answers, reasons))

    @property
    def at(self) -> int:
        """The place in the list of the example that is looked at, the nearest one where the filter leaves it out."""
        wanted = self.explorer.example
        return min(range(len(self.listed)), key=lambda i: abs(self.listed[i].index - wanted), default=0)

    # Showing it

    def title_line(self) -> tuple[list[Span], list[Span]]:
        colours, preview = self.palette, self.preview
        left = [Span(" Examples ", colours.text, True)]
        if preview:
            shown = len(self.listed)
            count = len(preview.examples)
            only = f", the first {count:,} listed" if count < preview.total else ""
            left.append(Span(f" {shown:,} of {preview.total:,}{only} ", colours.faint))
        right = [Span(" f ", colours.key, False, "filter")]
        names = (ALL, RIGHT, WRONG, *((DIFFER,) if len(self.requests) > 1 else ()), SKIPPED)
        right += [
            Span(f"{name} ", colours.cursor_line if name == self.filter else colours.faint, name == self.filter)
            for name in names
        ]
        return left, right

    def show_body(self) -> None:
        self.query_one("#list", Canvas).show(self._list, self.palette.background)
        self.query_one("#card", Canvas).show(self._card, self.palette.background)

    def _list(self, width: int, height: int) -> list[Strip]:
        seen = self.see(self.asked[0])
        if self.preview is None:
            return self.message(*self.standing(seen), width, height)
        cards, at = self.listed, self.at
        if not cards:
            return self.message(f"No example is {self.filter} here: f shows others.", False, width, height)
        self._top = scrolled(self._top, at, height, len(cards))
        answers, reasons = self.answers, self.reasons
        shown = cards[self._top : self._top + height]
        return [self._entry(card, answers, reasons, i == at, width) for i, card in enumerate(shown, start=self._top)]

    def _entry(
        self,
        card: ExampleCard,
        answers: Sequence[tuple[Request, Mapping[str, Answer]]],
        reasons: Mapping[str, str],
        here: bool,
        width: int,
    ) -> Strip:
        palette = self.palette
        digits = len(str(self.preview.total - 1)) if self.preview else 4
        parts: list[Part] = [
            (f"{'▌' if here else ' '}{card.index:>{digits}} ", palette.cursor_line if here else palette.faint, here)
        ]
        if card.key in reasons or unusable(card):
            parts.append((f"– {reasons.get(card.key) or card.hint}", palette.warn, False))
        else:
            for request, given in answers:
                answer = given.get(card.key)
                sign = "·" if answer is None else "✓" if answer.right else "✗"
                shade = palette.faint if answer is None else palette.good if answer.right else palette.error
                parts.append((self.sign(request), palette.of(self.slot(request)), False))
                parts.append((f"{sign} ", shade, True))
            if first := answers[0][1].get(card.key):
                parts.append((f"{first.margin:+5.1f} ", palette.faint, False))
            parts.append((flat(card.question), palette.text, here))
        return row(parts, width, palette.cursor if here else palette.background)

    def _card(self, width: int, height: int) -> list[Strip]:
        if not self.listed:
            return []
        card = self.listed[self.at]
        palette = self.palette
        words = [row(parts, width, palette.background) for parts in self._words(card, width - 2)]
        room = max(height - len(words) - 1, int(PICTURE * height)) if card.pictures else 0
        return [*self._pictures(card, width, room), *words][:height]

    def _pictures(self, card: ExampleCard, width: int, height: int) -> list[Strip]:
        """The pictures side by side."""
        palette = self.palette
        if not card.pictures or height < 2:
            return []
        if not self.coloured or self.thin:
            lines = [*textwrap.wrap(THIN if self.coloured else FEW_COLOURS, max(width - 2, 8)), ""]
            return [row([(f" {line}", palette.faint, False)], width, palette.background) for line in lines]
        each = width // len(card.pictures)
        drawn = [picture_rows(p, each, height, palette.background, ascii=self.ascii) for p in card.pictures]
        high = max(len(rows) for rows in drawn)
        blank = row([], each, palette.background)
        return [
            Strip.join([rows[y] if y < len(rows) else blank for rows in drawn]).adjust_cell_length(width)
            for y in range(high)
        ]

    def _words(self, card: ExampleCard, width: int) -> list[list[Part]]:
        """Question, choices with who chose them, and what else is known of an example."""
        palette = self.palette
        reason = self.reasons.get(card.key) or (card.hint if unusable(card) else "")
        said: list[list[Part]] = [[(f" example {card.index} · {card.key}", palette.faint, False)]]
        if reason:
            said += [[(f" {line}", palette.warn, False)] for line in textwrap.wrap(f"skipped: {reason}", width)]
        said += [[(f" {line}", palette.text, True)] for line in textwrap.wrap(card.question, width)]
        answers = [(request, given[card.key]) for request, given in self.answers if card.key in given]
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
            said.append(self._verdict(request, card))
        if card.hint and not unusable(card):
            said += [[("", palette.text, False)]]
            said += [[(f" {line}", palette.faint, False)] for line in textwrap.wrap(f"hint: {card.hint}", width)]
        return said

    def _verdict(self, request: Request, card: ExampleCard) -> list[Part]:
        """Whether a model is right, or why that is not known."""
        palette = self.palette
        name: Part = (f" {self.sign(request)} {request.model}  ", palette.of(self.slot(request)), True)
        answer = next((given.get(card.key) for r, given in self.answers if r == request), None)
        if answer:
            text = f"{'right' if answer.right else 'wrong'}: {letter(answer.chosen)}, margin {answer.margin:+.2f}"
            return [name, (text, palette.good if answer.right else palette.error, False)]
        measurement = self.explorer.desk.of(request).measurement
        why = "answers nothing: the example has no choices, or was skipped"
        if measurement is None or not measurement.complete:
            why = "has not answered yet: it is being measured"
        return [name, (why, palette.faint, False)]

    def records(self, *, everything: bool) -> Iterable[Record]:
        cards = self.preview.examples if everything and self.preview else self.listed
        answers = [(request.model, given) for request, given in self.answers]
        skipped = {card.key: card.hint for card in cards if unusable(card)}
        return example_records(cards, answers, skipped | self.reasons)

    def at_cursor(self) -> str:
        words = self._words(self.listed[self.at], 10_000) if self.listed else []
        return "\n".join("".join(text for text, _, _ in parts).strip() for parts in words)

    # What the user does

    def action_move(self, by: int) -> None:
        cards = self.listed
        if cards:
            self.explorer.example = cards[max(0, min(self.at + by, len(cards) - 1))].index
            self.show()

    def action_example(self, by: int) -> None:
        self.action_move(by)

    def action_page(self, by: int) -> None:
        self.action_move(by * max(self.query_one("#list", Canvas).size.height - 1, 1))

    def action_filter(self) -> None:
        names = (ALL, RIGHT, WRONG, *((DIFFER,) if len(self.requests) > 1 else ()), SKIPPED)
        self.filter = names[(names.index(self.filter) + 1) % len(names)] if self.filter in names else ALL
        self._top = 0
        self.show()

    def action_open(self) -> None:
        if self.listed:
            from microscope_tui.tui.screens.tokens import TokenScreen

            self.explorer.example = self.listed[self.at].index
            self.app.push_screen(TokenScreen(self.explorer), self.returned)

    def on_canvas_clicked(self, message: Canvas.Clicked) -> None:
        if message.canvas.id == "list" and self._top + message.y < len(self.listed):
            self.action_move(self._top + message.y - self.at)

    def on_canvas_wheeled(self, message: Canvas.Wheeled) -> None:
        self.action_move(message.by)


def kinds(
    card: ExampleCard, answers: Sequence[tuple[Request, Mapping[str, Answer]]], reasons: Mapping[str, str]
) -> frozenset[str]:
    """Which filters an example passes. `right` and `wrong` are those of the first model."""
    given = [by_example[card.key] for _, by_example in answers if card.key in by_example]
    found = set()
    if card.key in reasons or unusable(card):
        found.add(SKIPPED)
    if answers and (first := answers[0][1].get(card.key)):
        found.add(RIGHT if first.right else WRONG)
    if len({answer.chosen for answer in given}) > 1:
        found.add(DIFFER)
    return frozenset(found)


def unusable(card: ExampleCard) -> bool:
    """Whether it could not be read: then its hint says why."""
    return not card.question and not card.choices and bool(card.hint)


def letter(choice: int) -> str:
    return LETTERS[choice] if choice < len(LETTERS) else str(choice)


def flat(text: str) -> str:
    """A text in one line."""
    return " ".join(text.split())
