"""`python -m microscope_tui.demo.evaluate`: how many of the held-out questions the demo models answer right.

Answers are scored by the choices' words (the first token after the prompt) and by their letters, on the questions
with a picture as they are, with the picture removed, and with another picture of the same family in its place.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path

import torch
from PIL.Image import Image

from microscope_tui.demo.answering import Answerer, Prompt
from microscope_tui.demo.families import FAMILIES
from microscope_tui.demo.questions import Split, held_out_questions, questions, unlike
from microscope_tui.demo.train import Recipe
from microscope_tui.errors import MicroscopeError
from microscope_tui.slices import Example, open_slice, question_text
from microscope_tui.slices.examples import key_of
from microscope_tui.terms import LETTERS, SliceSpec

MODELS = Path(__file__).parent / "models"
SLICES = Path(__file__).parent / "slices"
SHIPPED = ("llava-next", "llava-next-base", "omnifusion")
BATCH = 16


@dataclass(frozen=True)
class Scores:
    """Shares of right answers, 0 to 1. By word, where a name does not say `letter`.

    `picture`, `text`: questions with and without one. `fresh`: those with a picture whose content no training row has
    under any hint (`demo.questions`), not a number if there are none. `removed`, `swapped`: those with a picture
    without it, and with that of the family's next question. `chance`: what guessing gets on `picture`. `families`:
    each family.
    """

    picture: float
    text: float
    fresh: float
    removed: float
    swapped: float
    chance: float
    letter_picture: float
    letter_text: float
    families: Mapping[str, float]


def evaluate(answerer: Answerer, examples: Sequence[Example], fresh: Collection[str]) -> Scores:
    """Scores a model on the demo slice's examples; `fresh`: the keys of those of fresh content."""
    pictured = [e for e in examples if e.images]
    plain = [e for e in examples if not e.images]
    by_word, by_letter = _right(answerer, pictured, [e.images[0] for e in pictured])
    text_word, text_letter = _right(answerer, plain, [None] * len(plain))
    removed, _ = _right(answerer, pictured, [None] * len(pictured))
    swapped, _ = _right(answerer, pictured, _swapped(pictured))
    right: dict[str, list[bool]] = {}
    for e, good in zip([*pictured, *plain], [*by_word, *text_word], strict=True):
        right.setdefault(family_of(e), []).append(good)
    return Scores(
        picture=_share(by_word),
        text=_share(text_word),
        fresh=_share([good for e, good in zip(pictured, by_word, strict=True) if e.key in fresh]),
        removed=_share(removed),
        swapped=_share(swapped),
        chance=_share([1 / len(e.choices) for e in pictured]),
        letter_picture=_share(by_letter),
        letter_text=_share(text_letter),
        families={name: _share(values) for name, values in sorted(right.items(), key=lambda kv: _place(kv[0]))},
    )


def family_of(example: Example) -> str:
    """The family of a row, by its skill; the skill itself where it is no generated question."""
    skill = example.meta["skill"]
    return _FAMILY_OF_SKILL.get(skill, skill)


def table(scores: Mapping[str, Scores]) -> str:
    """The scores in per cent, one column an arm."""
    width = max(15, *map(len, scores)) + 2
    lines = [" " * 24 + "".join(f"{arm:>{width}}" for arm in scores)]
    rows: list[tuple[str, list[float]]] = [
        ("picture questions", [s.picture for s in scores.values()]),
        ("  by letter", [s.letter_picture for s in scores.values()]),
        ("  of fresh content", [s.fresh for s in scores.values()]),
        ("  picture removed", [s.removed for s in scores.values()]),
        ("  picture swapped", [s.swapped for s in scores.values()]),
        ("  chance", [s.chance for s in scores.values()]),
        ("text questions", [s.text for s in scores.values()]),
        ("  by letter", [s.letter_text for s in scores.values()]),
    ]
    for name in next(iter(scores.values())).families:
        rows.append((name, [s.families[name] for s in scores.values()]))
    lines += [f"{name:<24}" + "".join(f"{100 * value:>{width}.1f}" for value in values) for name, values in rows]
    return "\n".join(lines)


def shipped_examples(count: int | None = None) -> list[Example]:
    """The examples of the shipped slice."""
    opened = open_slice(SliceSpec(str(SLICES / "scienceqa"), count=count))
    return [opened.example(i) for i in range(len(opened))]


def fresh_rows() -> frozenset[str]:
    """The keys of the shipped slice's rows of which no training row has the content."""
    recipe = Recipe()
    training = islice(questions(Split.TRAIN, recipe.data_seed), recipe.rows)
    found = unlike(held_out_questions(), training)
    return frozenset(key_of(at) for at, is_fresh in enumerate(found) if is_fresh)


def main(argv: Sequence[str] | None = None) -> int:
    arguments = _parser().parse_args(argv)
    torch.set_num_threads(arguments.threads)
    try:
        folders = dict(_named(text) for text in arguments.model) or {name: MODELS / name for name in SHIPPED}
        examples = shipped_examples(arguments.count)
        rows = fresh_rows()
        scores = {name: evaluate(Answerer.load(folder), examples, rows) for name, folder in folders.items()}
    except MicroscopeError as error:
        print(error, file=sys.stderr)
        return 2
    print(json.dumps({name: asdict(s) for name, s in scores.items()}, indent=2) if arguments.json else table(scores))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m microscope_tui.demo.evaluate", description=__doc__)
    parser.add_argument(
        "--model",
        action="append",
        default=[],
        metavar="NAME=FOLDER",
        help="another model (repeatable; default: shipped)",
    )
    parser.add_argument("--count", type=int, help="only so many of the slice's examples")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="one JSON object, shares from 0 to 1")
    return parser


def _named(text: str) -> tuple[str, Path]:
    name, sign, folder = text.partition("=")
    if not sign:
        raise MicroscopeError(f"--model {text} has no folder: write NAME=FOLDER.")
    return name, Path(folder)


def _right(
    answerer: Answerer, examples: Sequence[Example], pictures: Sequence[Image | None]
) -> tuple[list[bool], list[bool]]:
    """Whether each example is answered right by word, and by letter."""
    letters = answerer.first_ids(list(LETTERS[:5]))
    by_word, by_letter = [], []
    for start in range(0, len(examples), BATCH):
        batch = examples[start : start + BATCH]
        prompts: list[Prompt] = [
            (question_text(e), picture) for e, picture in zip(batch, pictures[start : start + BATCH], strict=True)
        ]
        for e, logits in zip(batch, answerer.scores(prompts), strict=True):
            by_word.append(int(logits[answerer.first_ids(e.choices)].argmax()) == e.answer)
            by_letter.append(int(logits[letters[: len(e.choices)]].argmax()) == e.answer)
    return by_word, by_letter


def _swapped(examples: Sequence[Example]) -> list[Image]:
    """For each example the picture of the next one of its family, round in a ring."""
    members: dict[str, list[int]] = {}
    for at, e in enumerate(examples):
        members.setdefault(family_of(e), []).append(at)
    source = {at: ring[(k + 1) % len(ring)] for ring in members.values() for k, at in enumerate(ring)}
    return [examples[source[at]].images[0] for at in range(len(examples))]


def _place(family: str) -> int:
    return list(FAMILIES).index(family) if family in FAMILIES else len(FAMILIES)


def _share(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else float("nan")


_FAMILY_OF_SKILL = {family.skill: name for name, family in FAMILIES.items()}


if __name__ == "__main__":
    sys.exit(main())
