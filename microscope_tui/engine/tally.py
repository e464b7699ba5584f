"""What a walk knows besides its sums: how far it is, what it skipped, what the model answered."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

from microscope_tui.results import Answer, Skipped


@dataclass(frozen=True)
class Tally:
    """Of `consumed` examples some were `skipped` and all others counted; `answers` to some of the `asked` questions.

    `optional` are the libraries for some examples that were there whenever one was skipped. `batch_size` is how many
    examples are put into memory at once.
    """

    consumed: int = 0
    asked: int = 0
    skipped: tuple[Skipped, ...] = ()
    answers: tuple[Answer, ...] = ()
    optional: tuple[str, ...] = ()
    batch_size: int = 0

    def since(self, before: Tally) -> Tally:
        """What came after `before`."""
        return Tally(
            self.consumed - before.consumed,
            self.asked - before.asked,
            self.skipped[len(before.skipped) :],
            self.answers[len(before.answers) :],
            self.optional,
            self.batch_size,
        )

    def __add__(self, after: Tally) -> Tally:
        """This one and what came `after` it."""
        return Tally(
            self.consumed + after.consumed,
            self.asked + after.asked,
            self.skipped + after.skipped,
            self.answers + after.answers,
            both(self, after),
            after.batch_size,
        )

    def to_json(self) -> dict[str, Any]:
        """For `from_json`."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Raises `LookupError`, `TypeError` or `ValueError` for what `to_json` did not give."""
        return cls(
            int(data["consumed"]),
            int(data["asked"]),
            tuple(Skipped(**each) for each in data["skipped"]),
            tuple(Answer(**each) for each in data["answers"]),
            tuple(map(str, data["optional"])),
            int(data["batch_size"]),
        )


def both(one: Tally, other: Tally) -> tuple[str, ...]:
    """The libraries that were there whenever one of two tallies skipped an example."""
    if not (one.skipped and other.skipped):
        return one.optional if one.skipped else other.optional
    return tuple(name for name in one.optional if name in other.optional)
