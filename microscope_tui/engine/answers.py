"""Multiple choice scored by the forward pass that is captured anyway: the logits at the last position.

The prompt asks for the option's letter; some models answer with the option's words. An option's score is the
largest of the logits of its letter and of its first word, so the form that the model itself prefers decides.
A token that begins both a letter and the words of another option is the letter, for that is what was asked for.
Tokens that could begin several options all the same (a lone space, `the` before two of them) count for none, nor does
the unknown token; a question with an option that no token tells apart is not scored, but counted. Another rule needs
other words for it (`versions.SCORING`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import isfinite

from torch import Tensor

from microscope_tui.results import Answer
from microscope_tui.slices import Example
from microscope_tui.terms import LETTERS


class Answers:
    """What the model answers to the questions that can be scored, in their order (`given`), of all that have an
    answer (`asked`).

    The margin of an answer is the score of the chosen option less that of the next best one, in logits. `unknown` is
    the id that the tokenizer gives to what it does not know.
    """

    def __init__(self, token_ids: Callable[[str], Sequence[int]], unknown: int | None = None) -> None:
        self._token_ids = token_ids
        self._unknown = {unknown}
        self._known: dict[str, frozenset[int]] = {}
        self.given: list[Answer] = []
        self.asked = 0

    @property
    def accuracy(self) -> float | None:
        """The share of answers that are right, None without any."""
        return sum(answer.right for answer in self.given) / len(self.given) if self.given else None

    def add(self, examples: Sequence[Example], logits: Tensor | None) -> None:
        """Add a batch: `logits` (B, V) at the last position of each example, None for a model without a head."""
        if logits is None:
            return
        for example, scores in zip(examples, logits, strict=True):
            if example.answer is None or len(example.choices) < 2:
                continue
            self.asked += 1
            if (choice := self.choice(example, scores)) is not None:
                chosen, margin = choice
                self.given.append(Answer(example.key, chosen, chosen == example.answer, margin))

    def choice(self, example: Example, scores: Tensor) -> tuple[int, float] | None:
        """The option that the model takes by its logits (V,), and how far it is before the next best one.

        None for a question that is not scored: its options cannot be told apart, or their logits are not finite.
        """
        if not 2 <= len(example.choices) <= len(LETTERS):
            return None
        letters = [self._forms(letter) for letter in LETTERS[: len(example.choices)]]
        words = [self._forms(choice).difference(*letters) for choice in example.choices]
        options = [own | said for own, said in zip(unshared(letters), unshared(words), strict=True)]
        if not all(options):
            return None
        best = [max(float(scores[i]) for i in option) for option in options]
        if not all(map(isfinite, best)):
            return None
        first, second = sorted(best, reverse=True)[:2]
        return best.index(first), first - second

    def _forms(self, text: str) -> frozenset[int]:
        """First ids of a text as it may begin an answer: with and without a space before it."""
        if text not in self._known:
            firsts = (self._token_ids(form)[:1] for form in (text, f" {text}"))
            self._known[text] = frozenset(i for ids in firsts for i in ids) - self._unknown
        return self._known[text]


def unshared(forms: Sequence[frozenset[int]]) -> list[frozenset[int]]:
    """Of each set the ids that are in no other."""
    return [own - frozenset().union(*forms[:i], *forms[i + 1 :]) for i, own in enumerate(forms)]
