"""Models in the folders that the loaders of the explorer expect: the hub's layout, and OmniFusion's own."""

from __future__ import annotations

import json
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import (
    CLIPImageProcessorPil,
    CLIPVisionModel,
    GenerationConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaNextConfig,
    LlavaNextForConditionalGeneration,
    LlavaNextImageProcessorPil,
    LlavaNextProcessor,
    LlavaProcessor,
    MistralForCausalLM,
)

from microscope_tui.demo import words
from microscope_tui.demo.arms import (
    HEADS,
    PATCHES,
    PINPOINTS,
    SIDE,
    VISION_LAYER,
    Adapter,
    Arm,
    Projector,
    new_decoder,
    new_fusion,
    new_vision,
    text_config,
    vision_config,
)  # fmt: skip
from microscope_tui.demo.drawing import TILE
from microscope_tui.errors import MicroscopeError

PATCH = TILE // SIDE


@dataclass(frozen=True)
class Parts:
    """What a model is made of, whichever way it joins picture and text."""

    vision: CLIPVisionModel
    decoder: MistralForCausalLM
    fusion: Projector | Adapter


def write_model(arm: Arm, parts: Parts, folder: Path) -> None:
    """Writes the model as bfloat16 into a folder that does not exist yet; complete or not at all."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as scratch:
        fresh = Path(scratch) / folder.name
        fresh.mkdir()
        if isinstance(parts.fusion, Adapter):
            _write_omnifusion(parts, parts.fusion, fresh)
        else:
            _write_llava(arm, parts, parts.fusion, fresh)
        for path in fresh.rglob("*"):
            path.chmod(0o755 if path.is_dir() else 0o644)
        fresh.replace(folder)


def init_twin(name: str, seed: int, folder: Path) -> None:
    """Makes the untrained twin of a demo model in `folder`, unless it is there: the random-initialisation baseline.

    Twins of one seed share their vision encoder and decoder, as the trained arms share theirs at the start.
    Raises `MicroscopeError` for a name that is no arm.
    """
    if name not in [arm.value for arm in Arm]:
        raise MicroscopeError(f"There is no demo model {name!r} to make an untrained twin of: use {', '.join(Arm)}.")
    if not folder.exists():
        write_model(Arm(name), new_parts(Arm(name), seed), folder)


def new_parts(arm: Arm, seed: int) -> Parts:
    """Random weights of this seed; the caller's random state is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Parts(new_vision(), new_decoder(), new_fusion(arm))


def _write_llava(arm: Arm, parts: Parts, fusion: Projector, folder: Path) -> None:
    tokenizer = words.hub_tokenizer()
    shared: dict[str, Any] = {
        "patch_size": PATCH,
        "vision_feature_select_strategy": "default",
        "num_additional_image_tokens": 1,
        "chat_template": words.CHAT_TEMPLATE,
    }
    settings: dict[str, Any] = {
        "vision_config": vision_config(),
        "text_config": text_config(),
        "image_token_index": words.IMAGE,
        "vision_feature_layer": VISION_LAYER,
        "image_seq_length": PATCHES,
        "tie_word_embeddings": True,
        "pad_token_id": words.PAD,
    }
    model: LlavaNextForConditionalGeneration | LlavaForConditionalGeneration
    if arm is Arm.LLAVA_NEXT:
        images = LlavaNextImageProcessorPil(
            size={"shortest_edge": TILE}, crop_size={"height": TILE, "width": TILE}, image_grid_pinpoints=PINPOINTS
        )
        processor: Any = LlavaNextProcessor
        processor(images, tokenizer, **shared).save_pretrained(folder)
        model = LlavaNextForConditionalGeneration(LlavaNextConfig(image_grid_pinpoints=PINPOINTS, **settings))
    else:
        processor = LlavaProcessor
        processor(_whole_picture(), tokenizer, **shared).save_pretrained(folder)
        model = LlavaForConditionalGeneration(LlavaConfig(**settings))
    inner = model.model
    inner.vision_tower.load_state_dict(parts.vision.state_dict())
    inner.language_model.load_state_dict(parts.decoder.model.state_dict())
    state = fusion.state_dict()
    newline = state.pop("image_newline", None)
    if newline is not None:
        inner.image_newline.data.copy_(newline)
    inner.multi_modal_projector.load_state_dict(state)
    _save(model, folder)


def _write_omnifusion(parts: Parts, fusion: Adapter, folder: Path) -> None:
    words.hub_tokenizer().save_pretrained(folder / "tokenizer")
    _save(parts.decoder, folder / "tuned-model")
    _save(parts.vision, folder / "vision-tower", generates=False)
    _whole_picture().save_pretrained(folder / "vision-tower")
    state = fusion.state_dict()
    special = {name.removeprefix("vectors."): state.pop(name) for name in list(state) if name.startswith("vectors.")}
    _save_tensors(state, folder / "projection.safetensors")
    _save_tensors(special, folder / "special_embeddings.safetensors")
    settings = {
        "prompt": words.SYSTEM,
        "vision_tower": "vision-tower",
        "vision_feature_layer": VISION_LAYER,
        "nhead": HEADS,
        "activation": "relu",
    }
    (folder / "omnifusion.json").write_text(json.dumps(settings, indent=2) + "\n")


def _save(model: Any, folder: Path, *, generates: bool = True) -> None:
    """As bfloat16, on a copy: the caller's weights keep their precision."""
    copied = type(model)(model.config)
    copied.load_state_dict(model.state_dict())
    copied.to(torch.bfloat16)
    if generates:
        settings: Any = GenerationConfig
        copied.generation_config = settings(
            bos_token_id=words.BOS, eos_token_id=words.EOS, pad_token_id=words.PAD, max_new_tokens=40
        )
    copied.save_pretrained(folder)


def _save_tensors(tensors: dict[str, Tensor], path: Path) -> None:
    rounded = {name: tensor.detach().to(torch.bfloat16).contiguous() for name, tensor in tensors.items()}
    save_file(rounded, path, metadata={"format": "pt"})


def _whole_picture() -> CLIPImageProcessorPil:
    """The picture squeezed into one tile, nothing cut off; as the first tile of LLaVA-NeXT."""
    return CLIPImageProcessorPil(size={"height": TILE, "width": TILE}, do_center_crop=False)


def remove_model(folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)
