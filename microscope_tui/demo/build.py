"""`python -m microscope_tui.demo.build`: packs the trained checkpoints and the held-out slice into the package.

The slice is written first, then each model, then its score on the slice into its card (`README.md`).
"""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from datasets import Dataset, Features, Image, List, Value

from microscope_tui.demo import evaluate
from microscope_tui.demo.answering import Answerer
from microscope_tui.demo.arms import Arm
from microscope_tui.demo.cards import model_card, slice_card
from microscope_tui.demo.decoder import new_joint
from microscope_tui.demo.evaluate import MODELS, SLICES, Scores
from microscope_tui.demo.export import Parts, remove_model, write_model
from microscope_tui.demo.loop import load_weights
from microscope_tui.demo.questions import Question, held_out_questions, row
from microscope_tui.demo.train import Recipe, Workshop, default_work
from microscope_tui.demo.vision import Lesson
from microscope_tui.errors import MicroscopeError

TEXTS = ("hint", "task", "grade", "subject", "topic", "category", "skill", "lecture", "solution")
FEATURES = Features(
    {"image": Image(), "question": Value("string"), "choices": List(Value("string")), "answer": Value("int8")}
    | {name: Value("string") for name in TEXTS}
)
"""The columns of ScienceQA on the hub."""


def write_slice(folder: Path, questions: Sequence[Question], training: Iterable[Question]) -> None:
    """One parquet file in the hub's layout, pictures as PNG, and a card that holds it against the training rows."""
    rows = []
    for number, q in enumerate(questions):
        values = row(q)
        if values["image"] is not None:
            buffer = io.BytesIO()
            values["image"].save(buffer, "PNG", optimize=True)
            values["image"] = {"bytes": buffer.getvalue(), "path": f"{number}.png"}
        rows.append({name: values[name] for name in FEATURES})
    folder.mkdir(parents=True, exist_ok=True)
    Dataset.from_list(rows, features=FEATURES).to_parquet(folder / "test-00000-of-00001.parquet")
    (folder / "README.md").write_text(slice_card(questions, training))


def load_parts(workshop: Workshop, arm: Arm, seed: int) -> Parts:
    """The trained weights of an arm, from its checkpoint and that of the shared vision encoder."""
    for path in (workshop.vision, workshop.decoder(seed), workshop.arm(arm, seed)):
        if not path.exists():
            raise MicroscopeError(f"{path} is missing: train it first (python -m microscope_tui.demo.train).")
    lesson = Lesson()
    load_weights(workshop.vision, lesson)
    joint = new_joint(arm, workshop.decoder(seed), seed)
    load_weights(workshop.arm(arm, seed), joint)
    return Parts(lesson.vision, joint.decoder, joint.fusion)


def build_model(workshop: Workshop, arm: Arm, seed: int, folder: Path) -> Scores:
    """Writes the model in place of what is in `folder`, scores it on the shipped slice, and writes its card."""
    parts = load_parts(workshop, arm, seed)
    remove_model(folder)
    write_model(arm, parts, folder)
    scores = evaluate.evaluate(Answerer.load(folder), evaluate.shipped_examples(), evaluate.fresh_rows())
    (folder / "README.md").write_text(model_card(arm, seed, workshop.recipe, scores))
    return scores


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m microscope_tui.demo.build", description=__doc__)
    parser.add_argument("--work", type=Path, default=default_work(), help="folder of the checkpoints")
    parser.add_argument("--arms", nargs="*", choices=list(Arm), default=list(evaluate.SHIPPED), help="models to pack")
    parser.add_argument("--seed", type=int, default=0, help="which seed's checkpoints")
    parser.add_argument("--into", type=Path, default=MODELS, help="folder of the models (default: the package)")
    parser.add_argument("--slice", action="store_true", help="write the slice too")
    arguments = parser.parse_args(argv)
    torch.set_num_threads(1)
    workshop = Workshop(arguments.work, Recipe(), torch.device("cpu"))
    try:
        if arguments.slice:
            write_slice(SLICES / "scienceqa", held_out_questions(), workshop.training(workshop.recipe.rows))
        scores = {
            name: build_model(workshop, Arm(name), arguments.seed, arguments.into / name) for name in arguments.arms
        }
    except MicroscopeError as error:
        print(error, file=sys.stderr)
        return 2
    if scores:
        print(evaluate.table(scores))
    return 0


if __name__ == "__main__":
    sys.exit(main())
