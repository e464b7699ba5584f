"""The versions of all that turns a model and a slice into numbers: raise one with the change that calls for it.

Every name under which a result or a look is stored is made of them, and the provenance of a result tells them. What was
made by other ones is not found: it is measured anew.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from microscope_tui.terms import JobKind

READER: Final = "2"
"""What becomes of a row of a data set. Raise it when a pixel, a sample of sound or a word of it could change: decoding,
colours, orientation, frames of a film."""

PROMPT: Final = "scienceqa-multiple-choice-1"
"""The words put to a model, by name. Give them another name when a character of them changes."""

CAPTURE: Final = 1
"""From examples to rows. Raise it when the same examples would give other rows, or rows another modality or group."""

ESTIMATORS: Final = 7
"""From rows to profiles. Raise it when the same rows would give another value, interval or note, or when a profile has
more to tell."""

SCORING: Final = "largest logit of letter or first word, a shared token is the letter's, last position"
"""How an answer is told from logits, in words. Change them with the rule."""

LOOKS: Final[Mapping[JobKind, int]] = {
    JobKind.TOKENS: 1,
    JobKind.PREVIEW: 1,
    JobKind.MAP: 1,
    JobKind.TSNE: 1,
    JobKind.WORST: 1,
}
"""Each kind of look. Raise it when the same rows would give another table or map, or when it has more to tell."""


def methods() -> Mapping[str, int | str]:
    """What every number depends on, by the names that the provenance of a result has for them."""
    return {
        "reader": READER,
        "prompt": PROMPT,
        "capture": CAPTURE,
        "estimators": ESTIMATORS,
        "scoring": SCORING,
    }
