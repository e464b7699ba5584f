"""The examples of a slice as the browser lists them: what is known of each, and which a filter leaves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from microscope_tui.inspection import PAGE, ExampleCard, Preview
from microscope_tui.results import Answer, Measurement
from microscope_tui.terms import Request

ALL, RIGHT, WRONG, DIFFER, SKIPPED = "all", "right", "wrong", "differ", "skipped"

AROUND = 60
"""Examples before and behind the one that is looked at whose page is wanted."""
GLIMPSED = 3
"""Examples of a slice that a picker shows."""
MOST = 3
"""Pages besides the first that are held at once."""


@dataclass(frozen=True, eq=False)
class Listing:
    """All examples of a slice. `pages` are those that are here, the first one among them; `measured` is what is known
    of each model."""

    pages: tuple[Preview, ...]
    measured: tuple[tuple[Request, Measurement | None], ...]

    @property
    def total(self) -> int:
        return self.pages[0].total

    @cached_property
    def cards(self) -> Mapping[int, ExampleCard]:
        """Those of the pages, by their number in the slice."""
        return {card.index: card for page in self.pages for card in page.examples}

    def card(self, index: int) -> ExampleCard:
        """An example, with its key alone while its page is not here."""
        return self.cards.get(index) or ExampleCard(self.pages[0].keys[index], index, "")

    @cached_property
    def answers(self) -> tuple[tuple[Request, Mapping[str, Answer]], ...]:
        """What each model answered, by example."""
        return tuple((request, {a.example: a for a in m.answers} if m else {}) for request, m in self.measured)

    @cached_property
    def reasons(self) -> Mapping[str, str]:
        """Why examples were skipped, as far as the measurements say, or cannot be read."""
        said = {card.key: card.hint for card in self.cards.values() if unusable(card)}
        return said | {skipped.example: skipped.reason for _, m in self.measured if m for skipped in m.skipped}

    @property
    def filters(self) -> tuple[str, ...]:
        """What can be filtered by; models differ where there are several."""
        return (ALL, RIGHT, WRONG, *((DIFFER,) if len(self.measured) > 1 else ()), SKIPPED)

    def listed(self, filter: str) -> Sequence[int]:
        """The numbers of the examples that a filter leaves, in their order."""
        if filter == ALL:
            return range(self.total)
        return [i for i, key in enumerate(self.pages[0].keys) if filter in self._kinds(key)]

    def _kinds(self, key: str) -> Iterator[str]:
        """Which filters an example passes. `right` and `wrong` are those of the first model."""
        if key in self.reasons:
            yield SKIPPED
        if self.answers and (first := self.answers[0][1].get(key)):
            yield RIGHT if first.right else WRONG
        if len({given[key].chosen for _, given in self.answers if key in given}) > 1:
            yield DIFFER


def says(card: ExampleCard, words: Sequence[str]) -> bool:
    """Whether all the words stand in the question or the choices, in whatever case, or as parts of others."""
    text = " ".join((card.question, *card.choices)).casefold()
    return all(word.casefold() in text for word in words)


def pages_wanted(listed: Sequence[int], at: int) -> list[int]:
    """The first examples of the pages around the place `at` in a list, the nearest first; 0 is always there."""
    near = sorted(range(max(at - AROUND, 0), min(at + AROUND, len(listed))), key=lambda i: abs(i - at))
    pages = dict.fromkeys(listed[i] // PAGE * PAGE for i in near)
    return [page for page in pages if page][:MOST]


def glimpse(preview: Preview) -> list[str]:
    """The size of a slice and its first examples, each in a line."""
    lines = [f"{preview.total:,} examples, the first:"]
    for card in preview.examples[:GLIMPSED]:
        question = " ".join(card.question.split()) or f"cannot be used: {card.hint}"
        parts = ("▣ " if card.pictures else "", question, "  ", " · ".join(" ".join(c.split()) for c in card.choices))
        lines.append("".join(parts).rstrip())
    return lines


def unusable(card: ExampleCard) -> bool:
    """Whether it could not be read: then its hint says why."""
    return not card.question and not card.choices and bool(card.hint)
