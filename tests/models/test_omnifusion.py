"""OmniFusion: its sequence against one put together by hand, and hostile files that must execute nothing."""

from __future__ import annotations

import io
import json
import os
import pickle
import re
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from transformers import CLIPConfig, CLIPModel, CLIPTextConfig

from microscope_tui.errors import MicroscopeError
from microscope_tui.models.capture import capture
from microscope_tui.models.load import open_model
from microscope_tui.models.projection import STAND_INS, Inert
from microscope_tui.models.unpickle import read_restricted
from microscope_tui.slices.prompts import question_text
from microscope_tui.terms import Modality, Stream
from tests.models.builders import (
    PATCHES,
    WIDTH,
    VisualToGPTMapping,
    build_omnifusion,
    example,
    omnifusion_projection,
    omnifusion_special,
    save_as_published,
    vision_config,
)

PROMPT = "This is a dialog with AI assistant.\n"


@pytest.fixture
def folder(tmp_path, omnifusion_folder) -> Path:
    """A copy to damage."""
    return Path(shutil.copytree(omnifusion_folder, tmp_path / "omnifusion"))


def refusal(folder: Path) -> str:
    with pytest.raises(MicroscopeError) as caught:
        open_model(str(folder))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def by_hand(model, one) -> torch.Tensor:
    """The sequence of embeddings as the published code builds it, (T, d), with the published module."""
    special = {name: vector[0] for name, vector in omnifusion_special().items()}

    def words(text):
        return model.network.get_input_embeddings()(
            model.tokenizer(text, add_special_tokens=False, return_tensors="pt")["input_ids"][0]
        )

    with torch.no_grad():
        sequence = [words(PROMPT)]
        for image in one.images:
            pixels = model.vision.processor(image, return_tensors="pt")["pixel_values"]
            features = model.vision.tower(pixels, output_hidden_states=True).hidden_states[-2][:, 1:]
            sequence += [special["SOI"], omnifusion_projection()(features)[0], special["EOI"]]
        return torch.cat([*sequence, special["USER"], words(question_text(one)), special["BOT"]])


@pytest.mark.parametrize("pickled", [True, False])
@pytest.mark.parametrize("size", [(40, 24), None])
def test_what_enters_is_the_published_sequence(tmp_path, pickled, size):
    model = open_model(str(build_omnifusion(tmp_path / "o", pickled=pickled)))
    one = example(words=6, size=size)
    captured = capture(model, model.prepare([one]), [Stream.RESIDUAL])
    expected = by_hand(model, one)
    assert torch.equal(captured.rows[Stream.RESIDUAL][0], expected)
    image = captured.mask(Modality.IMAGE)
    start = len(model.token_ids(PROMPT)) + 1
    assert image.nonzero().flatten().tolist() == ([] if size is None else list(range(start, start + PATCHES)))
    assert torch.equal(image | captured.mask(Modality.TEXT), torch.ones(len(captured), dtype=torch.bool))


def test_the_logits_are_those_of_the_language_model_alone(omnifusion):
    one = example(words=6)
    captured = capture(omnifusion, omnifusion.prepare([one]), [Stream.RESIDUAL])
    with torch.no_grad():
        plain = omnifusion.network(inputs_embeds=by_hand(omnifusion, one)[None]).logits[:, -1]
    torch.testing.assert_close(captured.last_logits, plain, rtol=1e-5, atol=1e-5)


def test_the_demo_layout_with_other_settings(folder):
    (folder / "omnifusion.json").write_text(
        json.dumps({"vision_tower": "vision-tower", "vision_feature_layer": -1, "activation": "gelu", "prompt": "A"})
    )
    model: Any = open_model(str(folder))
    assert model.projection.transformer_layer.activation is nn.functional.gelu
    batch = model.prepare([example(size=None, words=1)])
    assert batch.parts[0].ids[0, 0] == model.token_ids("A")[0]
    (folder / "omnifusion.json").write_text(json.dumps({"vision_tower": "vision-tower", "prompt": "B"}))
    assert open_model(str(folder)).template != model.template


def test_the_vision_tower_of_a_whole_clip_checkpoint_is_taken(folder, omnifusion):
    tower = folder / "vision-tower"
    text = CLIPTextConfig(vocab_size=50, hidden_size=16, intermediate_size=16, num_hidden_layers=1, bos_token_id=0)
    config = CLIPConfig(vision_config=vision_config().to_dict(), text_config=text.to_dict(), projection_dim=16)
    whole = CLIPModel(config)
    whole.vision_model.load_state_dict(omnifusion.vision.tower.state_dict())
    whole.save_pretrained(tower)
    one = [example()]
    ours, theirs = (capture(m, m.prepare(one), [Stream.RESIDUAL]) for m in (open_model(str(folder)), omnifusion))
    assert torch.equal(ours.rows[Stream.RESIDUAL][0], theirs.rows[Stream.RESIDUAL][0])


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"nhead": 5}, "is not OmniFusion's projection"),
        ({"activation": "tanh"}, "has no activation 'tanh'"),
        ({"vision_feature_layer": -9}, "its vision tower has 3 hidden states"),
        ({"vision_tower": "nowhere"}, "is not the name of a model"),
    ],
)
def test_settings_that_do_not_fit(folder, settings, sentence):
    (folder / "omnifusion.json").write_text(json.dumps({"vision_tower": "vision-tower", **settings}))
    assert sentence in refusal(folder)


@pytest.mark.parametrize(
    "part", ["projection.pt", "special_embeddings.pt", "tuned-model/config.json", "tokenizer/tokenizer.json"]
)
def test_a_missing_part(folder, part):
    (folder / part).unlink()
    assert refusal(folder)


@pytest.mark.parametrize("part", ["tuned-model", "tokenizer"])
def test_a_missing_folder(folder, part):
    shutil.rmtree(folder / part)
    assert refusal(folder).endswith(f"has no folder {part}: it is not all of an OmniFusion model.")


def test_marks_that_are_not_finite(folder):
    marks = {**omnifusion_special(), "USER": torch.full((1, 1, WIDTH), float("nan"))}
    torch.save(marks, folder / "special_embeddings.pt")
    assert re.search(r"The embedding USER in .*special_embeddings\.pt is not finite: download", refusal(folder))


def test_parts_that_do_not_belong_together(folder):
    torch.save({name: torch.zeros(1, 1, 7) for name in omnifusion_special()}, folder / "special_embeddings.pt")
    assert f"no embedding SOI of width {WIDTH}" in refusal(folder)
    torch.save([1, 2], folder / "special_embeddings.pt")
    assert f"no embedding SOI of width {WIDTH}" in refusal(folder)
    torch.save({name: torch.zeros(1, 1, 40) for name in omnifusion_special()}, folder / "special_embeddings.pt")
    save_as_published(VisualToGPTMapping(32, 40, PATCHES, 4), folder / "projection.pt")
    assert "makes rows of width 40 and its language model takes 48" in refusal(folder)
    torch.save(dict(omnifusion_special()), folder / "special_embeddings.pt")
    save_as_published(VisualToGPTMapping(16, WIDTH, PATCHES, 4), folder / "projection.pt")
    assert "takes vision features of width 16 and its vision tower makes 32" in refusal(folder)


class Trap:
    """Calls something when it is unpickled."""

    def __init__(self, called: Callable[..., object], *args: object) -> None:
        self.called, self.args = called, args

    def __reduce__(self):
        return self.called, self.args


def archive(file: Path, data: bytes) -> None:
    """A file in the form of torch.save whose pickle is `data`, with the tensors of the file that is there, if any."""
    records = {f"{file.stem}/version": b"3\n", f"{file.stem}/byteorder": b"little"}
    if file.exists():
        with zipfile.ZipFile(file) as zipped:
            records = {name: zipped.read(name) for name in zipped.namelist()}
    with zipfile.ZipFile(file, "w") as zipped:
        for name, content in {**records, f"{file.stem}/data.pkl": data}.items():
            zipped.writestr(name, content)


def traps(marker: Path) -> dict[str, bytes]:
    touch = f"touch {marker}".encode()
    through_setstate = b"\x80\x02cmodels\nVisualToGPTMapping\n)\x81}(X\x08\x00\x00\x00__reduce__cos\nsystem\nub."
    return {
        "os.system": pickle.dumps(Trap(os.system, f"touch {marker}"), protocol=2),
        "eval": pickle.dumps(Trap(eval, f"open({str(marker)!r}, 'w')"), protocol=2),
        "an object inside a module": through_setstate,
        # GLOBAL of an allowed name, then a stack global of a function found through it.
        "a gadget through an allowed name": b"\x80\x04\x8c\x19torch.nn.functional.relu\x8c\x0b__globals__\x93.",
        "an attribute of an allowed name": b"\x80\x02ctorch.nn.functional\nrelu.__globals__\n.",
        "getattr": b"\x80\x02cbuiltins\ngetattr\n(ctorch.nn.functional\nrelu\nX\x0b\x00\x00\x00__globals__tR.",
        "an instruction that is not known": b"\x80\x02(S'" + touch + b"'\nios\nsystem\n.",
        "not a pickle": b"hello",
        "nothing": b"",
    }


@pytest.mark.parametrize("name", list(traps(Path("x"))))
@pytest.mark.parametrize("file", ["projection.pt", "special_embeddings.pt"])
def test_a_hostile_file_executes_nothing_and_is_refused(folder, tmp_path, name, file):
    marker = tmp_path / "executed"
    archive(folder / file, traps(marker)[name])
    text = refusal(folder)
    assert not marker.exists()
    assert "nothing in it was run" in text
    if name == "os.system":
        assert "asks for posix.system" in text


def test_the_trap_is_real(tmp_path):
    """Plain unpickling does run it: without that, the test above would prove nothing."""
    marker = tmp_path / "executed"
    pickle.loads(traps(marker)["os.system"])
    assert marker.exists()


def test_allowed_names_called_with_anything_do_nothing(tmp_path):
    class Linear:
        def __reduce__(self):
            return nn.Linear, (10**9, 10**9)

    data = io.BytesIO()
    pickle.dump({"huge": Linear()}, data, protocol=2)
    archive(tmp_path / "projection.pt", data.getvalue())
    loaded = read_restricted(tmp_path / "projection.pt", STAND_INS)
    assert type(loaded["huge"]) is Inert


def test_a_module_that_contains_itself_has_an_end(folder):
    # {"_modules": {"linear": <itself>}} as the state of a models.VisualToGPTMapping
    state = b"}(X\x08\x00\x00\x00_modules}(X\x06\x00\x00\x00linearh\x00uu"
    archive(folder / "projection.pt", b"\x80\x02cmodels\nVisualToGPTMapping\n)\x81q\x00" + state + b"b.")
    assert "is not OmniFusion's projection" in refusal(folder)


def test_damaged_bytes_are_loaded_or_refused(folder):
    """No byte of the pickle can be changed into anything but a value or a sentence."""
    with zipfile.ZipFile(folder / "projection.pt") as zipped:
        pickled = zipped.read("projection/data.pkl")
    generator = torch.Generator().manual_seed(0)
    refused = 0
    for at, value in zip(
        torch.randint(len(pickled), (300,), generator=generator).tolist(),
        torch.randint(256, (300,), generator=generator).tolist(),
        strict=True,
    ):
        archive(folder / "projection.pt", pickled[:at] + bytes([value]) + pickled[at + 1 :])
        try:
            read_restricted(folder / "projection.pt", STAND_INS)
        except MicroscopeError:
            refused += 1
    assert 100 < refused < 300


@pytest.mark.filterwarnings("ignore:Couldn't retrieve source code")
def test_files_of_torch_before_1_6_are_refused(folder):
    save_as_published(omnifusion_projection(), folder / "projection.pt", _use_new_zipfile_serialization=False)
    assert "saved by PyTorch before 1.6" in refusal(folder)
    (folder / "projection.pt").write_bytes(b"")
    assert "is damaged or was saved by PyTorch before 1.6" in refusal(folder)


def test_a_truncated_projection(folder):
    data = (folder / "projection.pt").read_bytes()
    (folder / "projection.pt").write_bytes(data[: len(data) // 2])
    assert "projection.pt is damaged" in refusal(folder)
    build_omnifusion(folder, pickled=False)
    (folder / "projection.safetensors").write_bytes(b"\x00" * 20)
    assert "is not a readable safetensors file" in refusal(folder)
