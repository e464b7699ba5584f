"""Tiny multimodal checkpoints with random weights, saved in the layout of the hub.

Every builder writes into `folder` and returns it. Vocabularies are word level; tiles are 24 × 24 pixels in patches of
6, so a tile is 16 patches.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from PIL import Image
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from torch import Tensor, nn
from transformers import (
    CLIPImageProcessorPil,
    CLIPVisionConfig,
    CLIPVisionModel,
    LlavaNextConfig,
    LlavaNextForConditionalGeneration,
    LlavaNextImageProcessorPil,
    LlavaNextProcessor,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedTokenizerFast,
)

from microscope_tui.slices.examples import Example

PATCHES = 16
PINPOINTS = [[24, 48], [48, 24], [48, 48]]
WIDTH = 48
LAYERS = 4
CONTEXT = 256
IMAGE = "<image>"
SPECIAL = ("<pad>", "<s>", "</s>", "<unk>", IMAGE)
SPOKEN = """
    what is in the middle of this picture a line dot cat dog red blue one two three Answer with option s letter from
    given choices directly Context image placeholder many words here USER ASSISTANT This dialog AI assistant user : ? .
    , ' < > / A B C D INST [ ] Which most
"""
WORDS = SPOKEN.split()
TEMPLATE = (
    "{% for message in messages %}{{ 'USER : ' }}{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}{{ '<image>' }}{% else %}{{ ' ' + part['text'] }}{% endif %}{% endfor %}"
    "{% endfor %}{% if add_generation_prompt %}{{ ' ASSISTANT :' }}{% endif %}"
)


def example(key: str = "row 0", *, words: int = 3, size: tuple[int, int] | None = (48, 24), **changes: Any) -> Example:
    """An example with `words` words of text and a picture of noise of `size` (None: no picture)."""
    values: dict[str, Any] = {
        "key": key,
        "images": () if size is None else (picture(size, seed=len(key) + words),),
        "question": " ".join(WORDS[i % 20] for i in range(words)),
        "choices": ("cat", "dog"),
        "answer": 1,
        "hint": "",
        "meta": {},
    }
    return Example(**{**values, **changes})


def picture(size: tuple[int, int] = (48, 24), seed: int = 0) -> Image.Image:
    """Noise, (width, height) pixels."""
    pixels = torch.randint(
        0, 256, (size[1], size[0], 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed)
    )
    return Image.fromarray(pixels.numpy())


def tokenizer(special: Sequence[str] = SPECIAL, **named: str) -> PreTrainedTokenizerFast:
    """A word-level tokenizer that puts `<s>` in front. `named` gives names to some of the `special` tokens."""
    vocabulary = {word: i for i, word in enumerate(dict.fromkeys([*special, *WORDS]))}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Punctuation()])
    backend.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", vocabulary["<s>"])])
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        pad_token="<pad>",
        extra_special_tokens=named or [word for word in special if word not in SPECIAL[:4]],
        padding_side="left",
    )


def vision_config(**changes: Any) -> CLIPVisionConfig:
    """A CLIP tower of two layers for pictures of 24 × 24 pixels."""
    values = {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "image_size": 24,
        "patch_size": 6,
        "projection_dim": 16,
    }
    return CLIPVisionConfig(**{**values, **changes})


def text_config(vocabulary: int = 128, **changes: Any) -> MistralConfig:
    """A Mistral of four layers of width 48."""
    values = {
        "vocab_size": vocabulary,
        "hidden_size": WIDTH,
        "intermediate_size": 96,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 12,
        "max_position_embeddings": CONTEXT,
        "initializer_range": 0.1,
        "sliding_window": None,
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 2,
    }
    return MistralConfig(**{**values, **changes})


def build_llava_next(
    folder: Path, *, chat_template: str | None = TEMPLATE, max_shard_size: str = "50GB", **text: Any
) -> Path:
    """LLaVA-NeXT: Mistral, CLIP, tiles of 24 pixels in grids of 1×2, 2×1 and 2×2. `text` changes the language model."""
    torch.manual_seed(0)
    words = tokenizer()
    config = LlavaNextConfig(
        vision_config=vision_config(),
        text_config=text_config(**text),
        image_token_index=SPECIAL.index(IMAGE),
        vision_feature_layer=-2,
        vision_feature_select_strategy="default",
        image_grid_pinpoints=PINPOINTS,
        image_seq_length=PATCHES,
    )
    LlavaNextForConditionalGeneration(config).save_pretrained(folder, max_shard_size=max_shard_size)
    LlavaNextProcessor(
        image_processor=LlavaNextImageProcessorPil(
            size={"shortest_edge": 24},
            crop_size={"height": 24, "width": 24},
            image_grid_pinpoints=PINPOINTS,
        ),
        tokenizer=words,
        patch_size=6,
        num_additional_image_tokens=1,
        vision_feature_select_strategy="default",
        chat_template=chat_template,
    ).save_pretrained(folder)
    return folder


class VisualToGPTMapping(nn.Module):
    """The projection as OmniFusion's public code has it; pickled under the name `models.VisualToGPTMapping`."""

    def __init__(self, visual_emb_dim: int, gpt_emb_dim: int, num_gpt_embs: int, num_heads: int) -> None:
        super().__init__()
        self.transformer_layer = nn.TransformerEncoderLayer(
            d_model=visual_emb_dim, nhead=num_heads, batch_first=True, norm_first=False
        )
        self.linear = nn.Linear(visual_emb_dim, gpt_emb_dim)
        self.n_embeddings = num_gpt_embs
        self.embedding_dim = gpt_emb_dim

    def forward(self, visual_embs: Tensor) -> Tensor:
        out: Tensor = self.linear(self.transformer_layer(visual_embs))
        return out.view(-1, self.n_embeddings, self.embedding_dim)


def omnifusion_projection() -> VisualToGPTMapping:
    """The projection of `build_omnifusion`, always the same."""
    torch.manual_seed(3)
    return VisualToGPTMapping(32, WIDTH, PATCHES, 4).eval()


def omnifusion_special() -> Mapping[str, Tensor]:
    """The special embeddings of `build_omnifusion`, in the published shape (1, 1, d)."""
    torch.manual_seed(4)
    return {name: torch.randn(1, 1, WIDTH) * 0.1 for name in ("SOI", "EOI", "USER", "BOT")}


def build_omnifusion(folder: Path, *, pickled: bool = True, **text: Any) -> Path:
    """OmniFusion in its published layout, its projection and special embeddings as `.pt` or as safetensors."""
    torch.manual_seed(0)
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer(special=SPECIAL[:4]).save_pretrained(folder / "tokenizer")
    MistralForCausalLM(text_config(**text)).save_pretrained(folder / "tuned-model")
    CLIPVisionModel(vision_config()).save_pretrained(folder / "vision-tower")
    size = {"height": 24, "width": 24}
    CLIPImageProcessorPil(size={"shortest_edge": 24}, crop_size=size).save_pretrained(folder / "vision-tower")
    (folder / "omnifusion.json").write_text('{"vision_tower": "vision-tower"}')
    if pickled:
        save_as_published(omnifusion_projection(), folder / "projection.pt")
        torch.save(dict(omnifusion_special()), folder / "special_embeddings.pt")
    else:
        save_file(omnifusion_projection().state_dict(), folder / "projection.safetensors")
        save_file(dict(omnifusion_special()), folder / "special_embeddings.safetensors")
    return folder


def save_as_published(projection: nn.Module, file: Path, **options: Any) -> None:
    """Pickle a whole module whose class is found under `models.VisualToGPTMapping`, a module that exists only here."""
    throwaway = ModuleType("models")
    throwaway.VisualToGPTMapping = VisualToGPTMapping  # type: ignore[attr-defined]  # made on the spot
    home = VisualToGPTMapping.__module__
    VisualToGPTMapping.__module__ = "models"
    sys.modules["models"] = throwaway
    try:
        torch.save(projection, file, **options)
    finally:
        del sys.modules["models"]
        VisualToGPTMapping.__module__ = home
