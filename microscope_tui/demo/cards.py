"""The cards beside the shipped artefacts: what they are, how they were made, what they can and cannot do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from microscope_tui.demo.arms import Arm
from microscope_tui.demo.evaluate import Scores, table
from microscope_tui.demo.export import new_parts
from microscope_tui.demo.families import FAMILIES
from microscope_tui.demo.questions import Question, unlike
from microscope_tui.demo.train import Recipe

TITLES = {
    Arm.LLAVA_NEXT: "LLaVA-NeXT in small: picture tiles and a projector",
    Arm.LLAVA_NEXT_BASE: "LLaVA-NeXT in small: one tile and a projector",
    Arm.OMNIFUSION: "OmniFusion in small: one tile and a transformer layer",
}
"""What the model picker shows."""
JOINS = {
    Arm.LLAVA_NEXT: (
        "LLaVA-NeXT's way, in the real class `LlavaNextForConditionalGeneration`: the whole picture and its tiles of "
        "48 pixels, a two-layer projector, a learned vector at the end of each row of patches; 52 to 88 image tokens"
    ),
    Arm.LLAVA_NEXT_BASE: (
        "LLaVA's way, in the real class `LlavaForConditionalGeneration`: the whole picture in one tile and the same "
        "two-layer projector as the arm `llava-next`; 16 image tokens"
    ),
    Arm.OMNIFUSION: (
        "OmniFusion's way, in its own folder layout: the whole picture in one tile, one `TransformerEncoderLayer` and "
        "a linear map, learned vectors SOI, EOI, USER and BOT around picture and words; 16 image tokens"
    ),
}


def model_card(arm: Arm, seed: int, recipe: Recipe, scores: Scores) -> str:
    return f"""---
license: apache-2.0
---
# {TITLES[arm]}

One of the demo models of microscope_tui: {_parameters(arm)} parameters, made to be looked into without a download.
It joins picture and text {JOINS[arm]}.

The arms share one frozen vision encoder (CLIP's architecture, 5 layers of width 64, the last layer but one is read),
and with an equal seed the decoder they begin with (Mistral's architecture, 8 layers of width 96), the questions and
their order. They differ in nothing but the fusion and the sequence that belongs to it.

## Data
Made by `microscope_tui.demo.questions`: {len(FAMILIES)} families of questions in ScienceQA's form. A hash of what a
question says and shows puts it into the training, validation or test split; no description is in two of them.
What some hints say is the same for every picture, so a picture may have been in training under the other hint, in
other shades: the line "of fresh content" counts the picture questions for which that is not so.
Training: {recipe.rows:,} rows (data seed {recipe.data_seed}). Validation: {recipe.validation_rows} rows; rates and
lengths were chosen by it. The scores below are on the shipped slice `demo:scienceqa`, which no choice was made by.

## Training
`python -m microscope_tui.demo.train`, seed {seed}, float32 weights with bfloat16 autocast, AdamW. Vision encoder:
{recipe.vision.steps:,} steps on attributes of the pictures, then frozen. Decoder: {recipe.decoder.steps:,} steps of
{recipe.decoder_batch} questions in words alone. Decoder and fusion: {recipe.arms.steps:,} steps of
{recipe.arm_batch}.
The weights are rounded to bfloat16.

## Right answers (%), by the choice's word unless it says letter
```
{table({arm.value: scores})}
```

## Limits
It knows the {len(FAMILIES)} families and nothing else: other text is mostly `<unk>`, other pictures are noise to it.
Its geometry is that of a model of width 96; take from it how the tools work, and no claim about large models.
"""


def slice_card(questions: Sequence[Question], training: Iterable[Question]) -> str:
    counts = Counter(q.family for q in questions)
    apart = [q.family for q, is_fresh in zip(questions, unlike(questions, training), strict=True) if is_fresh]
    fresh = sum(FAMILIES[family].painter is not None for family in apart)
    pictured = sum(q.has_picture for q in questions)
    different = len({q.description for q in questions})
    families = "\n".join(f"| {name} | {counts[name]} | {_yes(name)} | {apart.count(name)} |" for name in FAMILIES)
    return f"""---
license: apache-2.0
---
# Generated science questions with drawn pictures

{len(questions)} held-out questions with ScienceQA's columns, generated and drawn by `microscope_tui.demo.questions`:
no row is taken from ScienceQA. Their descriptions occur in neither training nor validation. Answers are spread evenly
over the letters of each family.

Of the {pictured} questions with a picture {fresh} have a content (picture apart from shades, question, choices) that no
training row has under any hint. Some families hold few different pictures (magnets, maps, matter, animals,
thermometers): there a held-out picture differs from one in training by a shift of a few pixels. Texts repeat too, in
another order of the choices: {different} of the questions differ by more than that.

| family | rows | picture | of fresh content |
|---|---|---|---|
{families}
"""


def _yes(family: str) -> str:
    return "yes" if FAMILIES[family].painter else "no"


def _parameters(arm: Arm) -> str:
    parts = new_parts(arm, 0)
    total = sum(p.numel() for module in (parts.vision, parts.decoder, parts.fusion) for p in module.parameters())
    return f"{total / 1e6:.2f} million"
