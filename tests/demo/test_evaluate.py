"""The evaluation: what it counts, with a model that is known beforehand."""

import json
import math
from itertools import islice

import pytest
import torch

from microscope_tui.demo import evaluate
from microscope_tui.demo.answering import Answerer
from microscope_tui.demo.build import write_slice
from microscope_tui.demo.families import FAMILIES, PICTURE_FAMILIES
from microscope_tui.demo.questions import Split, held_out_questions, questions
from microscope_tui.slices import open_slice, question_text
from microscope_tui.terms import SliceSpec


class Oracle(Answerer):
    """Knows the answer of each picture and each text; without the right picture it says the first choice."""

    def __init__(self, examples):
        self.ids: dict[str, int] = {}
        self.known = {self.key(question_text(e), e.images[0] if e.images else None): e for e in examples}

    @staticmethod
    def key(text, picture):
        return text, picture.tobytes() if picture else None

    def scores(self, prompts):
        rows = torch.zeros(len(prompts), 1000)
        for row, (text, picture) in zip(rows, prompts, strict=True):
            found = self.known.get(self.key(text, picture))
            if found:
                row[self.first_ids([found.choices[found.answer]])] = 1.0
        return rows

    def first_ids(self, texts):
        return [self.ids.setdefault(text, len(self.ids)) for text in texts]


@pytest.fixture(scope="module")
def examples(tmp_path_factory):
    folder = tmp_path_factory.mktemp("slice")
    write_slice(folder, held_out_questions(84), ())
    opened = open_slice(SliceSpec(str(folder)))
    return [opened.example(i) for i in range(len(opened))]


def test_an_oracle_is_right_on_whole_questions_and_lost_without_their_pictures(examples):
    known = {e.key for e in examples if evaluate.family_of(e) in ("maps", "moon")}
    scores = evaluate.evaluate(Oracle([e for e in examples if e.key not in known]), examples, known)
    assert scores.fresh < 0.6 < scores.picture < 1
    scores = evaluate.evaluate(Oracle(examples), examples, set())
    assert math.isnan(scores.fresh)
    assert scores.picture == 1
    assert scores.text == 1
    assert scores.removed < 0.6
    assert scores.swapped < 0.6
    assert 0.25 < scores.chance <= 1 / 3
    assert list(scores.families) == list(FAMILIES)
    letters = sum(e.answer == 0 for e in examples if e.images) / sum(bool(e.images) for e in examples)
    assert scores.letter_picture == pytest.approx(letters)  # it never names a letter, so the first one is taken


def test_swapped_pictures_come_from_the_same_family(examples):
    pictured = [e for e in examples if e.images]
    swapped = evaluate._swapped(pictured)
    owner = {e.images[0].tobytes(): evaluate.family_of(e) for e in pictured}
    for e, picture in zip(pictured, swapped, strict=True):
        assert owner[picture.tobytes()] == evaluate.family_of(e)
        assert picture.tobytes() != e.images[0].tobytes()
    assert {evaluate.family_of(e) for e in pictured} == set(PICTURE_FAMILIES)


def test_held_out_questions_are_of_the_test_split():
    assert {q.split for q in held_out_questions(28)} == {Split.TEST}


def test_a_hint_makes_no_content_fresh():
    """An independent look at what training has seen: the words and the picture's facts, one by one."""
    seen = {(str(q.facts), q.question, *sorted(q.choices)) for q in islice(questions(Split.TRAIN, 0), 48_000)}
    fresh = evaluate.fresh_rows()
    rows = held_out_questions()
    for at, q in enumerate(rows):
        assert (f"row {at}" in fresh) == (
            not q.has_picture or (str(q.facts), q.question, *sorted(q.choices)) not in seen
        )
    assert 350 < sum(f"row {at}" in fresh for at, q in enumerate(rows) if q.has_picture) < 500


def test_the_command_prints_one_object_with_every_arm(capsys):
    assert evaluate.main(["--json", "--count", "30"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert list(told) == ["llava-next", "llava-next-base", "omnifusion"]
    for scores in told.values():
        assert {"picture", "text", "fresh", "removed", "swapped", "chance", "families"} <= set(scores)


def test_a_model_that_is_not_there_is_named(capsys):
    assert evaluate.main(["--model", "other=/nowhere"]) == 2
    assert "There is no model in /nowhere" in capsys.readouterr().err
    assert evaluate.main(["--model", "other"]) == 2
    assert "write NAME=FOLDER" in capsys.readouterr().err
