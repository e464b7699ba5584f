"""One row of a data set as a question with its pictures."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from PIL.Image import Image

from microscope_tui.errors import BadExample
from microscope_tui.slices.sound import Audio
from microscope_tui.terms import FILTER_COLUMNS, LETTERS

LETTER = re.compile(r"\(?([A-Za-z])[).:]?")
"""A choice's letter as an answer gives it: B, (B), B., b)."""


@dataclass(frozen=True)
class Example:
    """One row: its pictures, question, choices and answer.

    `key` names the row by its index in the source's split ("row 7") and never changes with the selection.
    `images` are RGB and upright, () in a row without; a video is a tuple of such pictures, its frames. `answer` is an
    index into `choices`, None where the data has none that is one of them. `meta` holds those of `FILTER_COLUMNS` that
    the row has, and under `answer` the answer as the data words it, where that is a text.
    """

    key: str
    images: tuple[Image, ...]
    question: str
    choices: tuple[str, ...] = ()
    answer: int | None = None
    hint: str = ""
    meta: Mapping[str, str] = field(default_factory=dict)
    videos: tuple[tuple[Image, ...], ...] = ()
    audios: tuple[Audio, ...] = ()


def key_of(row: int) -> str:
    return f"row {row}"


def example_of(
    key: str,
    values: Mapping[str, Any],
    images: tuple[Image, ...],
    videos: tuple[tuple[Image, ...], ...] = (),
    audios: tuple[Audio, ...] = (),
) -> Example:
    """The example of one row's values by their part, as far as the data has them. Raises `BadExample`."""
    question = values.get("question")
    if not question or not question.strip():
        raise BadExample(key, "it has no question")
    choices = choices_of(values)
    if choices is None:
        raise BadExample(key, f"its choices are no list: {values['choices']!r:.80}")
    if len(choices) > len(LETTERS):
        raise BadExample(key, f"it has {len(choices)} choices, and there are letters for {len(LETTERS)}")
    answer = answer_of(values.get("answer"), choices)
    if answer is not None and choices and not 0 <= answer < len(choices):
        raise BadExample(key, f"its answer is choice number {answer}, counted from 0, and it has {len(choices)}")
    return Example(
        key,
        images,
        question,
        choices,
        answer if choices else None,
        hint=values.get("hint") or "",
        meta=meta_of(values),
        videos=videos,
        audios=audios,
    )


def choices_of(values: Mapping[str, Any]) -> tuple[str, ...] | None:
    """The choices as texts, from a list or from a text that spells one; None for a text that does not."""
    choices = values.get("choices") or ()
    if isinstance(choices, str):
        try:
            choices = ast.literal_eval(choices)
        # Besides SyntaxError, deep or odd texts raise ValueError, TypeError, MemoryError and RecursionError.
        except Exception:
            return None
        if not isinstance(choices, list | tuple):
            return None
    return tuple("" if choice is None else str(choice) for choice in choices)


def meta_of(values: Mapping[str, Any]) -> Mapping[str, str]:
    meta = {name: str(values[name]) for name in FILTER_COLUMNS if values.get(name) is not None}
    answer = values.get("answer")
    # Beside choices a number is an index, and without them it is the answer itself.
    number = isinstance(answer, int | float) and answer == answer and not values.get("choices")
    if gold := str(answer) if number else gold_text(answer):
        meta["answer"] = gold
    return meta


def gold_text(answer: Any) -> str:
    """The answer in words, empty if there is none; of several people's answers the most frequent, or first."""
    if isinstance(answer, list):
        counts = Counter(filter(None, map(gold_text, answer)))
        return counts.most_common(1)[0][0] if counts else ""
    return answer.strip() if isinstance(answer, str) else ""


def answer_of(answer: Any, choices: Sequence[str]) -> int | None:
    """The index of the right choice: given as such, as the choice's text, or as its letter; None for anything else.

    A text that is one choice's words and another one's letter could mean either, so it means neither.
    """
    if isinstance(answer, int) and not isinstance(answer, bool):
        return answer
    # What pandas makes of 2 beside a null is 2.0.
    if isinstance(answer, float) and answer.is_integer():
        return int(answer)
    gold = str(answer) if isinstance(answer, bool) else gold_text(answer)
    if not gold:
        return None
    by_text = {i for i, choice in enumerate(choices) if choice.strip().casefold() == gold.casefold()}
    by_letter = {LETTERS.index(match[1].upper())} if (match := LETTER.fullmatch(gold)) else set()
    found = by_text | {i for i in by_letter if i < len(choices)}
    if not found and gold.isdecimal() and int(gold) < len(choices):
        return int(gold)
    return found.pop() if len(found) == 1 else None
