"""Science questions in ScienceQA's form, most with pictures that must be looked at.

`question(family, seed)` is deterministic. A question's `description` is everything it says and shows apart from
shades; its hash decides whether it belongs to the training, validation or test split, so no two splits share a
description. Some hints say the same whatever the picture, so a question may have a training row of the same `content`
all the same: which held-out rows have none is told by `unlike`. The answer is drawn first and the choices are shuffled:
no letter is favoured.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from random import Random
from typing import Any

from PIL.Image import Image

from microscope_tui.demo.families import FAMILIES
from microscope_tui.slices.examples import Example
from microscope_tui.slices.prompts import question_text
from microscope_tui.terms import LETTERS

ROWS = 700
"""Of the shipped slice: 50 of each of the fourteen families."""
TEST_SEED = 0


class Split(StrEnum):
    TRAIN = "train"
    VALIDATION = "validation"
    TEST = "test"


@dataclass(frozen=True)
class Question:
    """One question. `facts` is what the picture shows (empty without one), `attributes` the same as class numbers."""

    family: str
    seed: int
    question: str
    choices: tuple[str, ...]
    answer: int
    solution: str
    hint: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)
    attributes: Mapping[str, int] = field(default_factory=dict)

    @property
    def has_picture(self) -> bool:
        return FAMILIES[self.family].painter is not None

    def picture(self) -> Image | None:
        painter = FAMILIES[self.family].painter
        return painter(self.facts, Random(f"picture {self.family} {self.seed}")) if painter else None

    @property
    def description(self) -> str:
        """What the question says and shows, the order of its choices left out."""
        parts = [self.family, self.facts, self.hint, self.question, sorted(self.choices)]
        return json.dumps(parts, sort_keys=True)

    @property
    def content(self) -> str:
        """What its picture shows and what is asked of it; of a question without a picture the whole description."""
        return replace(self, hint="").description if self.has_picture else self.description

    @property
    def split(self) -> Split:
        """Eight in ten descriptions are for training, one for validation, one for the test."""
        bucket = int.from_bytes(hashlib.blake2b(self.description.encode(), digest_size=4).digest(), "big") % 10
        return Split.TEST if bucket == 9 else Split.VALIDATION if bucket == 8 else Split.TRAIN

    def prompt(self, hint: str | None = None) -> str:
        """The customary text form, as the explorer puts it to a model. `hint` replaces the question's own."""
        example = Example("", (), self.question, self.choices, self.answer, self.hint if hint is None else hint)
        return question_text(example)

    @property
    def letter(self) -> str:
        return LETTERS[self.answer]

    @property
    def word(self) -> str:
        return self.choices[self.answer]


def question(family: str, seed: int) -> Question:
    """The question of a family with this seed."""
    rng = Random(f"question {family} {seed}")
    made = FAMILIES[family].make(rng)
    choices = list(made.pop("choices"))
    word = made.pop("word")
    rng.shuffle(choices)
    return Question(family, seed, choices=tuple(choices), answer=choices.index(word), **made)


def questions(split: Split, seed: int) -> Iterator[Question]:
    """An endless stream of questions of one split, families mixed by weight."""
    rng = Random(f"questions {split} {seed}")
    weights = [family.weight for family in FAMILIES.values()]
    while True:
        drawn = question(rng.choices(list(FAMILIES), weights)[0], rng.getrandbits(48))
        if drawn.split is split:
            yield drawn


def balanced(split: Split, count: int, seed: int) -> list[Question]:
    """`count` different questions, as many of each family, whose answers are spread evenly over the letters."""
    families = list(FAMILIES)
    rng = Random(f"balanced {split} {seed}")
    rows: list[Question] = []
    seen: set[str] = set()
    answers: dict[str, Counter[tuple[int, int]]] = {family: Counter() for family in families}
    while len(rows) < count:
        family = families[len(rows) % len(families)]
        drawn = question(family, rng.getrandbits(48))
        had, options = answers[family], len(drawn.choices)
        least = min(had[options, letter] for letter in range(options))
        # Texts repeat in the small families: a picture differs by its description, a text by its choices' order too.
        identity = drawn.description + (str(drawn.choices) if not drawn.has_picture else "")
        if drawn.split is not split or had[options, drawn.answer] > least or identity in seen:
            continue
        seen.add(identity)
        had[options, drawn.answer] += 1
        rows.append(drawn)
    return rows


def held_out_questions(count: int = ROWS) -> list[Question]:
    """The rows of the shipped slice: of the split that no training and no tuning has seen."""
    return balanced(Split.TEST, count, TEST_SEED)


def unlike(held_out: Iterable[Question], training: Iterable[Question]) -> list[bool]:
    """Of each held-out question whether no training question has its content."""
    known = {q.content for q in training}
    return [q.content not in known for q in held_out]


def row(q: Question) -> dict[str, Any]:
    """The question as a row with ScienceQA's columns; `image` is a PIL picture or None."""
    family = FAMILIES[q.family]
    return {
        "image": q.picture(),
        "question": q.question,
        "choices": list(q.choices),
        "answer": q.answer,
        "hint": q.hint,
        "task": "closed choice",
        "grade": family.grade,
        "subject": family.subject,
        "topic": family.topic,
        "category": family.category,
        "skill": family.skill,
        "lecture": family.lecture,
        "solution": q.solution,
    }
