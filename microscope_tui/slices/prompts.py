"""The words put to a model: the customary form of ScienceQA's multiple-choice questions.

The chat around them is the model's own (`models`), and so is the place of the picture, first as is customary. A change
of a character of them needs another name for them (`versions.PROMPT`).
"""

from __future__ import annotations

from microscope_tui.slices.examples import Example
from microscope_tui.terms import LETTERS

INSTRUCTION = "Answer with the option's letter from the given choices directly."


def question_text(example: Example) -> str:
    """The question as LLaVA's evaluation and lmms-eval put it; without choices, the question alone.

        Context: {hint}          (only if there is a hint)
        {question}
        A. {first choice}
        B. {second choice}
        Answer with the option's letter from the given choices directly.

    The row's own text is taken as it is: braces and placeholders in it mean nothing here.
    """
    if not example.choices:
        return example.question
    context = (f"Context: {example.hint}",) if example.hint else ()
    choices = (f"{letter}. {choice}" for letter, choice in zip(LETTERS, example.choices, strict=False))
    return "\n".join((*context, example.question, *choices, INSTRUCTION))
