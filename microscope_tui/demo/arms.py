"""The matched arms: one vision encoder, one decoder, three ways to join picture and text.

`llava-next`       any-resolution tiles, a two-layer projector, a learned vector at the end of each row of patches.
`llava-next-base`  the same projector over the whole picture in one tile: as many image tokens as OmniFusion.
`omnifusion`       one transformer encoder layer and a linear map over that one tile, learned vectors SOI and EOI
                   around the picture, USER and BOT around the words (OmniFusion's `VisualToGPTMapping`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar

import torch
from torch import Tensor, nn
from transformers import CLIPVisionConfig, CLIPVisionModel, MistralConfig, MistralForCausalLM

from microscope_tui.demo import words
from microscope_tui.demo.drawing import TILE

M = TypeVar("M", bound=nn.Module)

PATCHES = 16
"""Patches of one tile: 4×4 of 12 pixels."""
SIDE = 4
VISION_WIDTH, WIDTH = 64, 96
VISION_LAYER = -2
"""The vision encoder's hidden state that is projected: the last but one, as in both published models."""
HEADS = 4
SPREAD = 0.06
"""Standard deviation of the initial weights; larger than usual because the models are narrow."""
PINPOINTS = [[48, 96], [96, 48], [96, 96]]
"""(height, width) of the pictures that LLaVA-NeXT's processor cuts into tiles."""

IMAGE, SOI, EOI, USER, BOT = -1, -2, -3, -4, -5
"""Codes in a layout for what is no token: a row of the picture, and OmniFusion's four vectors."""
VECTORS = ("SOI", "EOI", "USER", "BOT")


class Arm(StrEnum):
    LLAVA_NEXT = "llava-next"
    OMNIFUSION = "omnifusion"
    LLAVA_NEXT_BASE = "llava-next-base"


@dataclass(frozen=True)
class Grid:
    """The tiles of a picture: rows × columns of 48 pixels."""

    rows: int
    columns: int

    @property
    def tiles(self) -> int:
        """With the one that holds the whole picture."""
        return 1 + self.rows * self.columns


def vision_config() -> CLIPVisionConfig:
    return CLIPVisionConfig(
        hidden_size=VISION_WIDTH,
        intermediate_size=256,
        num_hidden_layers=5,
        num_attention_heads=HEADS,
        image_size=TILE,
        patch_size=TILE // SIDE,
        projection_dim=VISION_WIDTH,
        initializer_range=SPREAD,
    )


def text_config() -> MistralConfig:
    rounded = -(-len(words.vocabulary()) // 64) * 64
    return MistralConfig(
        vocab_size=rounded,
        hidden_size=WIDTH,
        intermediate_size=256,
        num_hidden_layers=8,
        num_attention_heads=HEADS,
        num_key_value_heads=HEADS,
        head_dim=WIDTH // HEADS,
        sliding_window=None,
        max_position_embeddings=words.CONTEXT_LENGTH,
        tie_word_embeddings=True,
        initializer_range=SPREAD,
        pad_token_id=words.PAD,
        bos_token_id=words.BOS,
        eos_token_id=words.EOS,
    )


def new_vision() -> CLIPVisionModel:
    return _eager(CLIPVisionModel, vision_config())


def new_decoder() -> MistralForCausalLM:
    return _eager(MistralForCausalLM, text_config())


def rounded(module: M) -> M:
    """The module with the weights that it is shipped with: float32 numbers that bfloat16 can hold."""
    nn.Module.to(module, torch.bfloat16)
    nn.Module.to(module, torch.float32)
    return module.eval()


def patches_of(vision: CLIPVisionModel, pixels: Tensor) -> Tensor:
    """(n, 16, 64): the patches' hidden state that both fusions read, of (n, 3, 48, 48) pixels."""
    states = vision(pixels, output_hidden_states=True).hidden_states
    chosen: Tensor = states[VISION_LAYER][:, 1:]
    return chosen


class Projector(nn.Module):
    """LLaVA's two-layer projector; with `newline` also LLaVA-NeXT's vector at the end of each row of patches."""

    def __init__(self, *, newline: bool) -> None:
        super().__init__()
        self.linear_1 = nn.Linear(VISION_WIDTH, WIDTH)
        self.linear_2 = nn.Linear(WIDTH, WIDTH)
        self.image_newline = nn.Parameter(SPREAD * torch.randn(WIDTH)) if newline else None
        for layer in (self.linear_1, self.linear_2):
            nn.init.normal_(layer.weight, std=SPREAD)
            nn.init.zeros_(layer.bias)
        _quiet(self.linear_2)

    def forward(self, features: Tensor, grid: Grid) -> Tensor:
        """(n, tokens, 96) of the features (n, tiles, 16, 64) of pictures with this grid."""
        if self.image_newline is None:
            features = features[:, :1]
        flat = features.flatten(1, 2)
        projected: Tensor = self.linear_2(nn.functional.gelu(self.linear_1(flat)))
        if self.image_newline is None:
            return projected
        order = torch.tensor(packed(grid), device=flat.device)
        ends = (order < 0)[None, :, None]
        return torch.where(ends, self.image_newline, projected[:, order.clamp(min=0)])


class Adapter(nn.Module):
    """OmniFusion's adapter, and its four learned vectors."""

    def __init__(self, activation: str = "relu") -> None:
        super().__init__()
        # As published: four heads, ReLU, norms after. Narrower, and without dropout.
        self.transformer_layer = nn.TransformerEncoderLayer(
            VISION_WIDTH, HEADS, dim_feedforward=256, dropout=0.0, activation=activation, batch_first=True
        )
        self.linear = nn.Linear(VISION_WIDTH, WIDTH)
        nn.init.zeros_(self.linear.bias)
        _quiet(self.linear)
        self.vectors = nn.ParameterDict({name: nn.Parameter(SPREAD * torch.randn(WIDTH)) for name in VECTORS})

    def forward(self, features: Tensor, grid: Grid) -> Tensor:
        """(n, 16, 96) of the features (n, tiles, 16, 64); only the whole picture's tile is read."""
        projected: Tensor = self.linear(self.transformer_layer(features[:, 0]))
        return projected


def new_fusion(arm: Arm) -> Projector | Adapter:
    return Adapter() if arm is Arm.OMNIFUSION else Projector(newline=arm is Arm.LLAVA_NEXT)


def packed(grid: Grid) -> list[int]:
    """Which patch each image token is, in LLaVA-NeXT's order: the whole picture, then row after row of all tiles.

    Patches count through the tiles, 16 each; −1 is the newline vector (`LlavaNextModel.pack_image_features`).
    """
    order = list(range(PATCHES))
    for y in range(grid.rows * SIDE):
        for x in range(grid.columns * SIDE):
            tile = 1 + (y // SIDE) * grid.columns + x // SIDE
            order.append(tile * PATCHES + (y % SIDE) * SIDE + x % SIDE)
        order.append(-1)
    return order


def image_tokens(arm: Arm, grid: Grid) -> int:
    return len(packed(grid)) if arm is Arm.LLAVA_NEXT else PATCHES


def layout(arm: Arm, prompt: Sequence[int], grid: Grid | None) -> list[int]:
    """Token ids and codes of everything before the answer; `grid` None for a question without a picture."""
    pictured = [IMAGE] * image_tokens(arm, grid) if grid else []
    if arm is Arm.OMNIFUSION:
        around = [SOI, *pictured, EOI] if pictured else []
        return [*words.ids(words.SYSTEM), *around, USER, *prompt, BOT]
    picture = [*pictured, *words.ids("\n")] if pictured else []
    return [words.BOS, *words.ids(words.SYSTEM + "USER:"), *picture, *prompt, *words.ids("\nASSISTANT:")]


def _eager(kind: type[M], config: object) -> M:
    config._attn_implementation = "eager"  # type: ignore[attr-defined]  # twice as fast as sdpa at this size on a CPU
    return kind(config)


def _quiet(layer: nn.Linear) -> None:
    """A picture begins as a whisper (std 0.02), so that it does not drown what the decoder has learned from text."""
    nn.init.normal_(layer.weight, std=0.02)
