"""What is written is what was trained: the real classes give the trainer's own scores."""

import pytest
import torch
from transformers import AutoModelForImageTextToText, AutoProcessor, MistralForCausalLM

from microscope_tui.demo import decoder, words
from microscope_tui.demo.answering import Answerer
from microscope_tui.demo.arms import IMAGE, Arm, Grid, layout, packed, patches_of, rounded
from microscope_tui.demo.export import init_twin, new_parts, write_model
from microscope_tui.demo.families import PICTURE_FAMILIES
from microscope_tui.demo.questions import question
from microscope_tui.demo.vision import Tiles, grids, normalised
from microscope_tui.errors import MicroscopeError

ROWS = [question(family, 3) for family in (*PICTURE_FAMILIES, "masses")]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    made = {arm: tmp_path_factory.mktemp("models") / arm.value for arm in Arm}
    for arm, folder in made.items():
        write_model(arm, new_parts(arm, 3), folder)
    return made


@pytest.mark.parametrize("arm", list(Arm))
@torch.inference_mode()
def test_the_written_model_scores_as_the_trainer_does(folders, monkeypatch, arm):
    monkeypatch.setattr(decoder, "mixed", lambda device: torch.autocast("cpu", enabled=False))
    parts = new_parts(arm, 3)
    for module in (parts.vision, parts.decoder, parts.fusion):
        rounded(module)
    tiles, held = Tiles([q for q in ROWS if q.has_picture]), grids(ROWS)
    features = patches_of(parts.vision, normalised(tiles.pixels, torch.device("cpu")))
    first = torch.tensor([0, *(grid.tiles if grid else 0 for grid in held)]).cumsum(0)
    model = decoder.Joint(arm, parts.decoder)
    model.fusion = parts.fusion
    items = [decoder.item(q, i, grid, arm) for i, (q, grid) in enumerate(zip(ROWS, held, strict=True))]
    states = model.eval().states([it.before for it in items], decoder.pictures_of(items, (features, first)))
    trained = model.logits(states[range(len(items)), [len(it.before) - 1 for it in items]])
    written = Answerer.load(folders[arm]).scores([(q.prompt(), q.picture()) for q in ROWS])
    assert torch.allclose(trained, written, atol=0.02)
    assert trained.std(0).mean() > 0.1  # it does depend on the question


@pytest.mark.parametrize("arm", [Arm.LLAVA_NEXT, Arm.LLAVA_NEXT_BASE])
def test_the_processor_makes_the_trainers_sequence(folders, arm):
    processor = AutoProcessor.from_pretrained(folders[arm], backend="pil")
    for q, grid in zip(ROWS, grids(ROWS), strict=True):
        picture = [{"type": "image"}] if grid else []
        message = {"role": "user", "content": [*picture, {"type": "text", "text": q.prompt()}]}
        chat = processor.apply_chat_template([message], add_generation_prompt=True)
        made = processor(text=chat, images=q.picture(), return_tensors="pt")["input_ids"][0].tolist()
        image = processor.tokenizer.convert_tokens_to_ids("<image>")
        expected = [image if code == IMAGE else code for code in layout(arm, words.ids(q.prompt()), grid)]
        assert made == expected


@torch.inference_mode()
def test_the_order_of_image_tokens_is_that_of_the_real_class(folders):
    model = AutoModelForImageTextToText.from_pretrained(folders[Arm.LLAVA_NEXT], dtype=torch.float32)
    for rows, columns in ((2, 2), (1, 2), (2, 1)):
        grid = Grid(rows, columns)
        numbered = torch.arange(grid.tiles * 16.0).reshape(grid.tiles, 16, 1).expand(-1, -1, 96)
        sizes = torch.tensor([[48 * rows, 48 * columns]])
        newline = torch.full((96,), -1.0)
        out, _ = model.model.pack_image_features([numbered], sizes, "default", newline)
        assert out[0][:, 0].int().tolist() == packed(grid)


def test_twins_of_one_seed_share_encoder_and_decoder_and_nothing_is_trained(tmp_path):
    init_twin("llava-next", 0, tmp_path / "a")
    init_twin("omnifusion", 0, tmp_path / "b")
    llava = AutoModelForImageTextToText.from_pretrained(tmp_path / "a", dtype=torch.float32)
    other = MistralForCausalLM.from_pretrained(tmp_path / "b" / "tuned-model", dtype=torch.float32)
    for name, weight in other.model.named_parameters():
        assert torch.equal(weight, llava.model.language_model.get_parameter(name)), name
    stamp = (tmp_path / "a" / "model.safetensors").stat().st_mtime_ns
    init_twin("llava-next", 0, tmp_path / "a")
    assert (tmp_path / "a" / "model.safetensors").stat().st_mtime_ns == stamp
    init_twin("llava-next", 1, tmp_path / "c")
    assert (tmp_path / "a" / "model.safetensors").read_bytes() != (tmp_path / "c" / "model.safetensors").read_bytes()


def test_the_same_weights_are_written_as_the_same_bytes(folders, tmp_path):
    for arm in (Arm.LLAVA_NEXT, Arm.OMNIFUSION):
        write_model(arm, new_parts(arm, 3), tmp_path / arm)
        for path in (tmp_path / arm).rglob("*"):
            if path.is_file():
                assert path.read_bytes() == (folders[arm] / path.relative_to(tmp_path / arm)).read_bytes(), path.name


def test_a_twin_of_no_arm_is_refused(tmp_path):
    with pytest.raises(MicroscopeError, match="no demo model 'other'"):
        init_twin("other", 0, tmp_path / "x")


def test_a_missing_model_folder_is_named(tmp_path):
    with pytest.raises(MicroscopeError, match="There is no model"):
        Answerer.load(tmp_path / "nothing")
