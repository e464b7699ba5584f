"""What the package ships: small enough, in the layouts that the loaders expect, and with the answers it claims."""

import io
import json
from collections import Counter
from pathlib import Path

import datasets
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from transformers import AutoModelForCausalLM, AutoModelForImageTextToText, AutoProcessor, CLIPVisionModel

from microscope_tui.demo.answering import Answerer
from microscope_tui.demo.evaluate import MODELS, SHIPPED, SLICES, evaluate, fresh_rows, shipped_examples

SLICE = SLICES / "scienceqa" / "test-00000-of-00001.parquet"
FOUR_MB = 4 * 2**20
COLUMNS = [
    "image", "question", "choices", "answer", "hint", "task", "grade", "subject", "topic", "category", "skill",
    "lecture", "solution",
]  # fmt: skip


def size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


@pytest.fixture(scope="module")
def rows():
    return pq.read_table(SLICE).to_pylist()


def test_the_slice_opens_with_datasets_and_decodes_its_pictures(tmp_path):
    opened = datasets.load_dataset("parquet", data_files=str(SLICE), split="train", cache_dir=str(tmp_path))
    assert opened.column_names == COLUMNS
    assert isinstance(opened.features["image"], datasets.Image)
    assert len(opened) >= 500
    assert sorted({row["image"].size for row in opened.select(range(60)) if row["image"]})[-1] == (96, 96)


def test_nothing_shipped_is_larger_than_four_megabytes():
    assert SLICE.stat().st_size <= FOUR_MB
    for name in SHIPPED:
        assert size(MODELS / name) <= FOUR_MB


def test_the_slices_answers_are_spread_evenly_over_the_letters(rows):
    for options in (2, 3, 4):
        held = Counter(row["answer"] for row in rows if len(row["choices"]) == options)
        for letter in range(options):
            assert held[letter] / held.total() == pytest.approx(1 / options, abs=0.08)


def test_there_are_pictures_as_png_and_rows_without_one(rows):
    pictures = [row["image"]["bytes"] for row in rows if row["image"]]
    assert 0.6 < len(pictures) / len(rows) < 0.9
    assert {Image.open(io.BytesIO(data)).format for data in pictures} == {"PNG"}


def test_llava_next_loads_with_the_auto_classes_and_reads_a_picture():
    folder = MODELS / "llava-next"
    processor = AutoProcessor.from_pretrained(folder, backend="pil")
    model = AutoModelForImageTextToText.from_pretrained(folder)
    assert type(model).__name__ == "LlavaNextForConditionalGeneration"
    assert model.dtype == torch.bfloat16
    text = model.config.text_config
    assert (text.num_hidden_layers, text.hidden_size) == (8, 96)
    message = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "Which color is it?"}]}
    chat = processor.apply_chat_template([message], add_generation_prompt=True)
    inputs = processor(text=chat, images=Image.new("RGB", (96, 96), "red"), return_tensors="pt")
    assert int((inputs["input_ids"] == model.config.image_token_id).sum()) == 16 + 8 * 9
    assert torch.isfinite(model(**inputs).logits).all()


def test_omnifusion_has_its_published_layout():
    folder = MODELS / "omnifusion"
    settings = json.loads((folder / "omnifusion.json").read_text())
    assert set(settings) == {"prompt", "vision_tower", "vision_feature_layer", "nhead", "activation"}
    assert (folder / settings["vision_tower"] / "preprocessor_config.json").exists()
    decoder = AutoModelForCausalLM.from_pretrained(folder / "tuned-model")
    assert type(decoder).__name__ == "MistralForCausalLM"
    with safe_open(folder / "special_embeddings.safetensors", framework="pt") as file:
        assert {name: file.get_tensor(name).shape for name in file.keys()} == dict.fromkeys(  # noqa: SIM118
            ("SOI", "EOI", "USER", "BOT"), torch.Size([96])
        )
    layer = torch.nn.TransformerEncoderLayer(64, 4, 256, batch_first=True)
    expected = {f"transformer_layer.{name}" for name in layer.state_dict()} | {"linear.weight", "linear.bias"}
    with safe_open(folder / "projection.safetensors", framework="pt") as file:
        assert set(file.keys()) == expected


@pytest.mark.parametrize("name", ["llava-next", "llava-next-base"])
def test_the_models_have_the_same_vision_encoder(name):
    alone = CLIPVisionModel.from_pretrained(MODELS / "omnifusion" / "vision-tower")
    inside = AutoModelForImageTextToText.from_pretrained(MODELS / name).model.vision_tower
    for part, weight in alone.named_parameters():
        assert torch.equal(weight, inside.get_parameter(part)), part


@pytest.mark.parametrize("name", SHIPPED)
def test_a_model_answers_what_its_card_claims(name):
    scores = evaluate(Answerer.load(MODELS / name), shipped_examples(), fresh_rows())
    assert scores.picture >= 0.8
    assert scores.letter_picture >= 0.8
    assert scores.chance <= 1 / 3
    assert scores.removed == pytest.approx(scores.chance, abs=0.05)
    assert scores.swapped == pytest.approx(scores.chance, abs=0.05)
    card = (MODELS / name / "README.md").read_text()
    claimed = {line[:24].strip(): float(line[24:]) for line in card.split("```")[1].strip("\n").splitlines()[1:]}
    # Another processor's sums may turn a close answer: a fifth of a point is one question.
    assert claimed["picture questions"] == pytest.approx(100 * scores.picture, abs=0.5)
    assert claimed["of fresh content"] == pytest.approx(100 * scores.fresh, abs=0.5)
    assert scores.fresh >= 0.8  # the answers are not known by heart
    assert claimed["picture removed"] == pytest.approx(100 * scores.removed, abs=0.5)
    assert {family: claimed[family] for family in scores.families} == pytest.approx(
        {family: 100 * share for family, share in scores.families.items()}, abs=4
    )
