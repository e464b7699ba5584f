"""Multiple choice scored by the forward pass that is captured anyway: the logits at the last position.

The prompt asks for the option's letter; some models answer with the option's words. An option's score is the
largest of the logits of its letter and of its first word, so the form that the model itself prefers decides.
Tokens that could begin several options (a lone space, `the` before two of them) count for none; a question with
an option that no token tells apart is not scored.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from string import ascii_uppercase

from torch import Tensor

from microscope_tui.slices import Example

SCORING = "largest logit of letter or first word, unshared tokens, last position"


class Answers:
    """Counts the questions with a known answer, and those that the model answers right."""

    def __init__(self, token_ids: Callable[[str], Sequence[int]]) -> None:
        self._token_ids = token_ids
        self._known: dict[str, frozenset[int]] = {}
        self.asked = 0
        self.right = 0

    @property
    def accuracy(self) -> float | None:
        return self.right / self.asked if self.asked else None

    def add(self, examples: Sequence[Example], logits: Tensor | None) -> None:
        """Add a batch: `logits` (B, V) at the last position of each example, None for a model without a head."""
        if logits is None:
            return
        for example, scores in zip(examples, logits, strict=True):
            if example.answer is None or len(example.choices) < 2:
                continue
            forms = [
                self._forms(letter) | self._forms(choice)
                for letter, choice in zip(ascii_uppercase, example.choices, strict=False)
            ]
            options = [own - frozenset().union(*forms[:i], *forms[i + 1 :]) for i, own in enumerate(forms)]
            if not all(options):
                continue
            best = [max(float(scores[i]) for i in option) for option in options]
            self.asked += 1
            self.right += best.index(max(best)) == example.answer

    def _forms(self, text: str) -> frozenset[int]:
        """First ids of a text as it may begin an answer: with and without a space before it."""
        if text not in self._known:
            firsts = (self._token_ids(form)[:1] for form in (text, f" {text}"))
            self._known[text] = frozenset(i for ids in firsts for i in ids)
        return self._known[text]
