"""One row of a data set as a question with its pictures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from PIL.Image import Image

from microscope_tui.errors import BadExample
from microscope_tui.slices.prompts import LETTERS

META = ("task", "grade", "subject", "topic", "category", "skill")
"""ScienceQA's columns that describe a question. One can filter by them."""

TEXTS = ("question", "choices", "answer", "hint", *META)
"""The columns that are read beside the pictures."""


@dataclass(frozen=True)
class Example:
    """One row: its pictures, question, choices and answer.

    `key` names the row by its index in the source's split ("row 7") and never changes with the selection.
    `images` are RGB and upright, () in a text-only row. `answer` is an index into `choices`, None where the
    data has none. `meta` holds those of `META` that the row has.
    """

    key: str
    images: tuple[Image, ...]
    question: str
    choices: tuple[str, ...] = ()
    answer: int | None = None
    hint: str = ""
    meta: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Preview:
    """What a picker shows of an example: all but its pictures, of which it only says whether there is one."""

    key: str
    question: str
    choices: tuple[str, ...]
    picture: bool
    meta: Mapping[str, str]


def key_of(row: int) -> str:
    return f"row {row}"


def example_of(row: int, values: Mapping[str, Any], images: tuple[Image, ...]) -> Example:
    """The example of one row's raw values (those of `TEXTS` that the data has). Raises `BadExample`."""
    key = key_of(row)
    question = values.get("question")
    if not question or not question.strip():
        raise BadExample(key, "it has no question")
    choices = choices_of(values)
    if len(choices) > len(LETTERS):
        raise BadExample(key, f"it has {len(choices)} choices, and there are letters for {len(LETTERS)}")
    answer = _answer_of(values)
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
    )


def choices_of(values: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple("" if choice is None else choice for choice in values.get("choices") or ())


def meta_of(values: Mapping[str, Any]) -> Mapping[str, str]:
    return {name: str(values[name]) for name in META if values.get(name) is not None}


def _answer_of(values: Mapping[str, Any]) -> int | None:
    """The index of the right choice. Only whole numbers count: 2.0 is what pandas makes of 2 beside a null."""
    answer = values.get("answer")
    if isinstance(answer, float) and answer.is_integer():
        return int(answer)
    return answer if isinstance(answer, int) else None
