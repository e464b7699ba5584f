from __future__ import annotations

from microscope_tui.slices import Example, question_text


def test_the_customary_form() -> None:
    example = Example("row 0", (), "Which is a mammal?", ("a trout", "a bat", "a wren"), 1, hint="Look at the picture.")
    assert question_text(example) == (
        "Context: Look at the picture.\n"
        "Which is a mammal?\n"
        "A. a trout\n"
        "B. a bat\n"
        "C. a wren\n"
        "Answer with the option's letter from the given choices directly."
    )


def test_without_a_hint_there_is_no_context() -> None:
    text = question_text(Example("row 0", (), "Yes or no?", ("yes", "no")))
    assert text == "Yes or no?\nA. yes\nB. no\nAnswer with the option's letter from the given choices directly."


def test_without_choices_it_is_the_question() -> None:
    assert question_text(Example("row 0", (), "What is this?", hint="A hint.")) == "What is this?"


def test_twenty_six_choices_have_letters() -> None:
    lines = question_text(Example("row 0", (), "?", tuple("abcdefghijklmnopqrstuvwxyz"))).splitlines()
    assert lines[26] == "Z. z"


def test_placeholders_and_braces_in_a_row_stay_as_they_are() -> None:
    odd = "{question} <image> {{ x }} %s {0} [INST] \\n"
    assert question_text(Example("row 0", (), odd, (odd,), hint=odd)).splitlines()[:3] == [
        f"Context: {odd}",
        odd,
        f"A. {odd}",
    ]
