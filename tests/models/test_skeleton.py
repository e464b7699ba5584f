"""What a model needs, told before it is loaded: against loaded models, and against published sizes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import MistralForCausalLM

from microscope_tui.errors import MicroscopeError
from microscope_tui.models.load import open_model
from microscope_tui.models.skeleton import skeleton
from microscope_tui.terms import NUMBER_BYTES
from tests.models.builders import CONTEXT, LAYERS, WIDTH, build_llava_next, text_config
from tests.models.families import FAMILIES, build
from tests.models.hub import put_in_hub
from tests.sure import sure

# The configuration of llava-hf/llava-v1.6-mistral-7b-hf as published, but for what changes no shape.
LLAVA_NEXT_7B: dict[str, Any] = {
    "architectures": ["LlavaNextForConditionalGeneration"],
    "model_type": "llava_next",
    "image_token_index": 32000,
    "projector_hidden_act": "gelu",
    "vision_feature_layer": -2,
    "vision_feature_select_strategy": "default",
    "image_grid_pinpoints": [[336, 672], [672, 336], [672, 672], [1008, 336], [336, 1008]],
    "tie_word_embeddings": False,
    "torch_dtype": "float16",
    "text_config": {
        "model_type": "mistral",
        "vocab_size": 32064,
        "hidden_size": 4096,
        "intermediate_size": 14336,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "max_position_embeddings": 32768,
        "rope_theta": 1000000.0,
        "rms_norm_eps": 1e-05,
        "sliding_window": None,
    },
    "vision_config": {
        "model_type": "clip_vision_model",
        "hidden_size": 1024,
        "intermediate_size": 4096,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        "image_size": 336,
        "patch_size": 14,
        "projection_dim": 768,
        "vocab_size": 32000,
    },
}


@pytest.fixture
def hub(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def test_a_7b_model_from_its_configuration_alone(tmp_path, hub):
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "config.json").write_text(json.dumps(LLAVA_NEXT_7B))
    put_in_hub(hub, "llava-hf/llava-v1.6-mistral-7b-hf", tmp_path / "config", "e5" * 20)
    bones = skeleton("llava-hf/llava-v1.6-mistral-7b-hf")
    assert (bones.architecture, bones.layers, bones.width, bones.context) == (
        "LlavaNextForConditionalGeneration",
        32,
        4096,
        32768,
    )
    assert (bones.dtype, bones.weights) == ("float16", None)
    # 7.57 billion in all, as its page says; CLIP ViT-L/14 at 336 pixels has 303.5 million; a block of Mistral 7B
    # has 218.1 million; the connector is two linear maps and the newline.
    published = {
        "embeddings": 32064 * 4096,
        "output head": 32064 * 4096,
        "decoder": 32 * 218_112_000 + 4096,
        "vision tower": 303_507_456,
        "connector": 1024 * 4096 + 4096 + 4096 * 4096 + 4096 + 4096,
    }
    assert bones.parameters == pytest.approx(7.57e9, rel=0.01)
    assert dict(bones.parts) == pytest.approx(published, rel=0.01)
    assert bones.parts["decoder"] == published["decoder"]
    assert sum(bones.bytes().values()) == pytest.approx(15.1e9, rel=0.01)
    assert sum(bones.bytes("float32").values()) == 2 * sum(bones.bytes("float16").values())
    # 33 layers of 2,400 rows in half precision take 619 MiB.
    assert bones.state_bytes(2400) == pytest.approx(619 * 2**20, rel=0.01)
    assert bones.state_bytes(2400, streams=2, dtype="float32") == 4 * bones.state_bytes(2400)


@pytest.mark.parametrize("family", ["llava_next", *FAMILIES])
def test_parts_add_up_to_what_is_loaded(tmp_path, family):
    folder = build_llava_next(tmp_path) if family == "llava_next" else build(family, tmp_path)
    bones, model = skeleton(str(folder)), open_model(str(folder))
    loaded = list(model.network.parameters())
    assert bones.parameters == sum(parameter.numel() for parameter in loaded)
    assert bones.parts["decoder"] == sum(parameter.numel() for parameter in model.decoder.module.parameters()) - (
        bones.parts["embeddings"] if hasattr(model.decoder.module, "embed_tokens") else 0
    )
    assert {"embeddings", "decoder", "connector", "vision tower"} <= set(bones.parts)
    assert sum(bones.bytes("float32").values()) == sum(parameter.nbytes for parameter in loaded)
    assert (bones.layers, bones.width, bones.context) == (model.layers, model.width, model.context)
    assert bones.architecture == model.architecture
    assert bones.weights is not None
    assert (bones.weights.dtype, bones.weights.missing) == ("float32", ())
    assert bones.weights.parameters * 4 == bones.weights.size


def test_the_vision_tower_is_counted_apart(llava_next, llava_next_folder):
    model: Any = llava_next
    parts = skeleton(str(llava_next_folder)).parts
    inner = model.network.model
    count = {name: sum(p.numel() for p in getattr(inner, name).parameters()) for name in ("vision_tower",)}
    assert parts["vision tower"] == count["vision_tower"]
    assert parts["connector"] == sum(p.numel() for p in inner.multi_modal_projector.parameters()) + WIDTH


def test_omnifusion(omnifusion, omnifusion_folder):
    model: Any = omnifusion
    bones = skeleton(str(omnifusion_folder))
    assert bones.parameters == sum(
        sum(p.numel() for p in module.parameters()) for module in (model.network, model.vision.tower, model.projection)
    ) + sum(mark.numel() for mark in model.special.values())
    assert bones.parts["vision tower"] == sum(p.numel() for p in model.vision.tower.parameters())
    assert (bones.architecture, bones.layers, bones.width, bones.context) == ("OmniFusion", LAYERS, WIDTH, CONTEXT)


def test_nothing_is_loaded(llava_next_folder, monkeypatch):
    """Shapes only: no tensor of a weight file is read, and no parameter has memory."""
    monkeypatch.setattr("transformers.AutoModelForMultimodalLM.from_pretrained", None)
    monkeypatch.setattr("safetensors.safe_open", None)
    monkeypatch.setattr("safetensors.torch.load_file", None)
    assert skeleton(str(llava_next_folder)).layers == LAYERS


def test_missing_shards_and_their_precision(tmp_path):
    folder = build_llava_next(tmp_path, max_shard_size="100KB")
    whole = sure(skeleton(str(folder)).weights)
    shards = sorted(folder.glob("model-*.safetensors"))
    for shard in shards:
        half = {name: tensor.to(torch.bfloat16) for name, tensor in load_file(shard).items()}
        save_file(half, shard, metadata={"format": "pt"})
    halved = skeleton(str(folder))
    assert (halved.dtype, sure(halved.weights).dtype) == ("bfloat16", "bfloat16")
    assert (sure(halved.weights).parameters, sure(halved.weights).size * 2) == (whole.parameters, whole.size)
    shards[1].unlink()
    bones = skeleton(str(folder))
    assert sure(bones.weights).missing == (shards[1].name,)
    assert bones.parameters == halved.parameters
    assert 0 < sure(bones.weights).parameters < whole.parameters


def test_what_cannot_be_told(tmp_path, hub, llava_next_folder, omnifusion_folder):
    def sentence(name: Any) -> str:
        with pytest.raises(MicroscopeError) as caught:
            skeleton(str(name))
        assert "\n" not in str(caught.value)
        return str(caught.value)

    assert "someone/model is not in the local hub cache" in sentence("someone/model")
    assert "There is no folder" in sentence(tmp_path / "nowhere")
    MistralForCausalLM(text_config()).save_pretrained(tmp_path / "text")
    assert "takes text only" in sentence(tmp_path / "text")
    folder = Path(shutil.copytree(llava_next_folder, tmp_path / "odd"))
    config = json.loads((folder / "config.json").read_text())
    config["text_config"]["hidden_act"] = "nonesuch"
    (folder / "config.json").write_text(json.dumps(config))
    assert "cannot be built from its configuration" in sentence(folder)
    folder = Path(shutil.copytree(omnifusion_folder, tmp_path / "omnifusion"))
    (folder / "omnifusion.json").unlink()
    assert "openai/clip-vit-large-patch14-336, the vision tower of" in sentence(folder)
    with pytest.raises(MicroscopeError, match="no precision 'int3'"):
        skeleton(str(llava_next_folder)).bytes("int3")


def test_sizes_are_those_of_torch():
    assert {name: getattr(torch, name).itemsize for name in NUMBER_BYTES} == NUMBER_BYTES
