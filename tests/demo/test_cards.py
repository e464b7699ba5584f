"""The cards say what was measured, and begin with the title that the pickers show."""

from dataclasses import replace

from microscope_tui.demo.arms import Arm
from microscope_tui.demo.cards import TITLES, model_card, slice_card
from microscope_tui.demo.evaluate import Scores
from microscope_tui.demo.questions import held_out_questions
from microscope_tui.demo.train import Recipe

SCORES = Scores(0.876, 0.9, 0.867, 0.31, 0.32, 0.311, 0.8, 0.7, {"maps": 0.654, "kinds": 1.0})


def test_a_model_card_has_title_recipe_and_scores():
    for arm in Arm:
        card = model_card(arm, 1, Recipe(), SCORES)
        assert f"\n# {TITLES[arm]}\n" in card
        for part in ("48,000 rows", "seed 1", "4,000 steps", "87.6", "86.7", "65.4", "Limits", "1.2"):
            assert part in card


def test_the_slices_card_counts_its_families():
    rows = held_out_questions(28)
    known = next(replace(q, hint="Look.") for q in rows if q.family == "maps")
    card = slice_card(rows, [known])
    assert "| maps | 2 | yes | 1 |" in card
    assert "| kinds | 2 | no | 2 |" in card
    assert "Of the 20 questions with a picture 19 have a content" in card
