"""The generator: deterministic, without leaks between the splits, fair to every letter, and readable."""

from collections import Counter
from itertools import islice

import numpy as np
import pytest

from microscope_tui.demo import words
from microscope_tui.demo.drawing import TILE, tiles_of
from microscope_tui.demo.families import ATTRIBUTES, FAMILIES, PICTURE_FAMILIES, TEXT_FAMILIES
from microscope_tui.demo.questions import Split, balanced, question, questions, row
from microscope_tui.demo.vision import grids
from tests.sure import sure


def test_the_same_seed_gives_the_same_question_and_picture():
    for family in FAMILIES:
        first, again = question(family, 7), question(family, 7)
        assert first == again
        if first.has_picture:
            assert np.array_equal(np.asarray(first.picture()), np.asarray(again.picture()))
        assert question(family, 8) != first


def test_there_are_at_least_twelve_families_some_without_a_picture():
    assert len(FAMILIES) >= 12
    assert len(TEXT_FAMILIES) >= 3
    assert len({family.skill for family in FAMILIES.values()}) == len(FAMILIES)


def test_no_description_is_in_two_splits():
    seen = {split: {q.description for q in islice(questions(split, 0), 1500)} for split in Split}
    for split in Split:
        assert len(seen[split]) > 700
        for other in Split:
            if other is not split:
                assert not seen[split] & seen[other]


def test_the_order_of_choices_does_not_move_a_question_to_another_split():
    by_description: dict[str, set[Split]] = {}
    for seed in range(3000):
        q = question("units", seed)
        by_description.setdefault(q.description, set()).add(q.split)
    assert max(map(len, by_description.values())) == 1
    assert len(by_description) < 1000  # so the same choices did come in several orders


def test_the_test_rows_spread_their_answers_evenly_over_the_letters():
    rows = balanced(Split.TEST, 252, 3)
    assert all(q.split is Split.TEST for q in rows)
    assert set(Counter(q.family for q in rows).values()) == {18}
    for family in FAMILIES:
        for options in (2, 3, 4):
            answers = Counter(q.answer for q in rows if q.family == family and len(q.choices) == options)
            counts = [answers[letter] for letter in range(options)]
            assert max(counts) - min(counts) <= 1


def test_training_answers_favour_no_letter():
    answers = Counter(q.answer for q in islice(questions(Split.TRAIN, 0), 4000) if len(q.choices) == 4)
    total = sum(answers.values())
    for letter in range(4):
        assert answers[letter] / total == pytest.approx(0.25, abs=0.04)


@pytest.mark.parametrize("family", list(FAMILIES))
def test_a_question_is_whole(family):
    for seed in range(60):
        q = question(family, seed)
        assert 2 <= len(q.choices) <= 4
        assert len(set(q.choices)) == len(q.choices)
        assert q.word in q.solution.lower().split() or q.word in q.solution or q.family in ("counting", "magnets")
        assert words.UNK not in words.ids(q.prompt() + " " + q.solution)
        assert all(len(words.ids(choice)) == 1 for choice in q.choices)
        assert all(0 <= value < ATTRIBUTES[name] for name, value in q.attributes.items())


def test_pictures_fall_into_the_tiles_that_the_layout_counts_on():
    for family in PICTURE_FAMILIES:
        q = question(family, 1)
        picture, grid = sure(q.picture()), sure(grids([q])[0])
        assert (picture.height, picture.width) == (grid.rows * TILE, grid.columns * TILE)
        assert len(tiles_of(picture)) == grid.tiles


def test_counting_pictures_show_what_the_answer_says():
    """An independent count: the connected patches of the asked colour in the picture."""
    from scipy import ndimage

    from microscope_tui.demo.drawing import COLOURS

    checked = 0
    for seed in range(40):
        q = question("counting", seed)
        asked = q.question.split()[2]
        pixels = np.asarray(q.picture()).astype(int)
        nearest = np.argmin([np.abs(pixels - np.array(c)).sum(-1) for c in (*COLOURS.values(), (250, 250, 250))], 0)
        found = ndimage.label(nearest == list(COLOURS).index(asked))[0]
        sizes = np.bincount(found.ravel())[1:]
        assert (sizes > 60).sum() == int(q.word)
        checked += 1
    assert checked == 40


def test_a_row_has_scienceqas_columns():
    made = row(question("maps", 0))
    assert list(made) == [
        "image", "question", "choices", "answer", "hint", "task", "grade", "subject", "topic", "category", "skill",
        "lecture", "solution",
    ]  # fmt: skip
    assert made["choices"][made["answer"]] in made["solution"]
    assert row(question("kinds", 0))["image"] is None
