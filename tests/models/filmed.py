"""Tiny checkpoints of families whose processors have a part for video, or need torchvision in another way.

Saved as on the hub, file by file, for their processors cannot be made whole where torchvision is missing.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import (
    Glm4vConfig,
    Glm4vForConditionalGeneration,
    Glm46VImageProcessorPil,
    GotOcr2ImageProcessorPil,
    InternVLConfig,
    InternVLForConditionalGeneration,
    LlavaNextImageProcessorPil,
    LlavaNextVideoConfig,
    LlavaNextVideoForConditionalGeneration,
    LlavaOnevisionConfig,
    LlavaOnevisionForConditionalGeneration,
    LlavaOnevisionImageProcessorPil,
    Mistral3Config,
    Mistral3ForConditionalGeneration,
    PixtralImageProcessorPil,
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2VLConfig,
    Qwen2VLForConditionalGeneration,
    Qwen2VLImageProcessorPil,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
    SmolVLMConfig,
    SmolVLMForConditionalGeneration,
    SmolVLMImageProcessorPil,
)

from microscope_tui.terms import Stream
from tests.models.builders import IMAGE, PINPOINTS, SPECIAL, TEMPLATE, text_config, tokenizer, vision_config
from tests.models.families import TILE, decoder, siglip
from tests.sure import sure

VIDEO = "<video>"
FILMED = TEMPLATE.replace("{% else %}", "{% elif part['type'] == 'video' %}{{ '<video>' }}{% else %}")
"""A chat template that also takes videos."""

MROPE = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 2, 2]}


def save(
    folder: Path,
    processor_class: str,
    pictures: Any,
    words: PreTrainedTokenizerFast,
    *,
    template: str = FILMED,
    video: Mapping[str, Any] | None = None,
    **options: Any,
) -> Path:
    """The files of a processor in the layout of the hub; `options` are the processor's own."""
    words.save_pretrained(folder)
    pictures.save_pretrained(folder)
    (folder / "processor_config.json").write_text(json.dumps({"processor_class": processor_class, **options}))
    (folder / "chat_template.jinja").write_text(template)
    if video is not None:
        (folder / "video_preprocessor_config.json").write_text(json.dumps(video))
    return folder


def build_llava_onevision(folder: Path) -> Path:
    """LLaVA-OneVision: the whole picture, then its tiles with a newline a row, as LLaVA-NeXT."""
    special = (*SPECIAL, VIDEO)
    config = LlavaOnevisionConfig(
        vision_config={"model_type": "siglip_vision_model", **siglip(vision_use_head=False)},
        text_config=decoder("qwen2"),
        image_token_index=SPECIAL.index(IMAGE),
        video_token_index=special.index(VIDEO),
        image_grid_pinpoints=[[24, 24], [24, 48], [48, 24], [48, 48]],
    )
    LlavaOnevisionForConditionalGeneration(config).save_pretrained(folder)
    return save(
        folder,
        "LlavaOnevisionProcessor",
        LlavaOnevisionImageProcessorPil(size=TILE, image_grid_pinpoints=sure(config.image_grid_pinpoints)),
        tokenizer(special),
        video={"video_processor_type": "LlavaOnevisionVideoProcessor", "size": TILE, "do_sample_frames": False},
        num_image_tokens=16,
        vision_feature_select_strategy="full",
    )


def build_llava_next_video(folder: Path) -> Path:
    """LLaVA-NeXT-Video: pictures as in LLaVA-NeXT, frames pooled to a quarter of their patches."""
    special = (*SPECIAL, VIDEO)
    config = LlavaNextVideoConfig(
        vision_config=vision_config(),
        text_config=text_config(),
        image_token_index=SPECIAL.index(IMAGE),
        video_token_index=special.index(VIDEO),
        image_grid_pinpoints=PINPOINTS,
        image_seq_length=16,
        video_seq_length=4,
    )
    LlavaNextVideoForConditionalGeneration(config).save_pretrained(folder)
    sizes: dict[str, Any] = {"size": {"shortest_edge": 24}, "crop_size": TILE}
    return save(
        folder,
        "LlavaNextVideoProcessor",
        LlavaNextImageProcessorPil(**sizes, image_grid_pinpoints=PINPOINTS),
        tokenizer(special),
        video={"video_processor_type": "LlavaNextVideoVideoProcessor", "do_sample_frames": False, **sizes},
        patch_size=6,
        num_additional_image_tokens=1,
        vision_feature_select_strategy="default",
    )


def build_internvl(folder: Path) -> Path:
    """InternVL: 4 tokens a tile after pixel shuffle, between marks."""
    names = {
        "start_image_token": "<img>",
        "end_image_token": "</img>",
        "context_image_token": "<IMG_CONTEXT>",
        "video_token": VIDEO,
    }
    special = (*SPECIAL[:4], *names.values())
    config = InternVLConfig(
        vision_config={**siglip(), "image_size": [24, 24], "patch_size": [6, 6]},
        text_config=decoder("qwen2"),
        image_token_id=special.index("<IMG_CONTEXT>"),
        image_seq_length=4,
    )
    InternVLForConditionalGeneration(config).save_pretrained(folder)
    return save(
        folder,
        "InternVLProcessor",
        GotOcr2ImageProcessorPil(size=TILE),
        tokenizer(special, **names),
        template=FILMED.replace("<image>", "<IMG_CONTEXT>"),
        video={"video_processor_type": "InternVLVideoProcessor", "size": TILE, "do_sample_frames": False},
        image_seq_length=4,
    )


def build_smolvlm(folder: Path) -> Path:
    """SmolVLM: as Idefics3, 4 tokens a picture."""
    tiles = tuple(f"<row_{row}_col_{column}>" for row in range(1, 5) for column in range(1, 5))
    special = (*SPECIAL, "<fake_token_around_image>", "<end_of_utterance>", "<global-img>", *tiles)
    config = SmolVLMConfig(
        vision_config=siglip(), text_config=decoder("llama"), image_token_id=SPECIAL.index(IMAGE), scale_factor=2
    )
    SmolVLMForConditionalGeneration(config).save_pretrained(folder)
    edges: dict[str, Any] = {"size": {"longest_edge": 48}, "max_image_size": {"longest_edge": 24}}
    return save(
        folder,
        "SmolVLMProcessor",
        SmolVLMImageProcessorPil(**edges, do_image_splitting=False),
        tokenizer(special),
        template=TEMPLATE,
        video={"video_processor_type": "SmolVLMVideoProcessor", **edges},
        image_seq_len=4,
    )


def build_mistral3(folder: Path) -> Path:
    """Mistral 3: a Pixtral tower of rotary patches, 2 × 2 of them merged, a break after each row."""
    special = (*SPECIAL[:4], "[IMG]", "[IMG_BREAK]", "[IMG_END]")
    config = Mistral3Config(
        vision_config={**siglip(), "model_type": "pixtral", "patch_size": 4},
        text_config=decoder("mistral"),
        image_token_index=special.index("[IMG]"),
        spatial_merge_size=2,
    )
    Mistral3ForConditionalGeneration(config).save_pretrained(folder)
    return save(
        folder,
        "PixtralProcessor",
        PixtralImageProcessorPil(size={"longest_edge": 24}, patch_size={"height": 4, "width": 4}),
        tokenizer(special),
        template=TEMPLATE.replace("<image>", "[IMG]"),
        patch_size=4,
        spatial_merge_size=2,
    )


QWEN = (*SPECIAL[:4], "<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>")
QWEN_TEMPLATE = FILMED.replace("<image>", "<|vision_start|><|image_pad|><|vision_end|>").replace(
    "<video>", "<|vision_start|><|video_pad|><|vision_end|>"
)
QWEN_IDS: dict[str, Any] = {
    "image_token_id": QWEN.index("<|image_pad|>"),
    "video_token_id": QWEN.index("<|video_pad|>"),
    "vision_start_token_id": QWEN.index("<|vision_start|>"),
    "vision_end_token_id": QWEN.index("<|vision_end|>"),
}
QWEN_VISION = {
    "depth": 2,
    "hidden_size": 32,
    "num_heads": 4,
    "patch_size": 4,
    "spatial_merge_size": 2,
    "temporal_patch_size": 2,
}
PIXELS = {"shortest_edge": 64, "longest_edge": 4096}
QWEN_SIZES: dict[str, Any] = {"size": PIXELS, "patch_size": 4, "merge_size": 2, "temporal_patch_size": 2}


def _qwen(folder: Path, processor_class: str) -> Path:
    return save(
        folder,
        processor_class,
        Qwen2VLImageProcessorPil(**QWEN_SIZES),
        tokenizer(QWEN),
        template=QWEN_TEMPLATE,
        video={
            "video_processor_type": processor_class.replace("_5_", "").replace("Processor", "VideoProcessor"),
            "do_sample_frames": False,
            **QWEN_SIZES,
        },
    )


def build_qwen2_vl(folder: Path) -> Path:
    """Qwen2-VL: 2 × 2 patches of 4 pixels a token at the picture's own size, positions in three axes."""
    config = Qwen2VLConfig(
        vision_config={**QWEN_VISION, "embed_dim": 32, "hidden_size": 48, "mlp_ratio": 2},
        text_config=decoder("qwen2_vl_text", rope_parameters=MROPE),
        **QWEN_IDS,
    )
    Qwen2VLForConditionalGeneration(config).save_pretrained(folder)
    return _qwen(folder, "Qwen2VLProcessor")


def build_qwen2_5_vl(folder: Path) -> Path:
    """Qwen2.5-VL: as Qwen2-VL, with windows in the tower."""
    config = Qwen2_5_VLConfig(
        vision_config={
            **QWEN_VISION,
            "intermediate_size": 64,
            "out_hidden_size": 48,
            "window_size": 16,
            "fullatt_block_indexes": [1],
        },
        text_config=decoder("qwen2_5_vl_text", rope_parameters=MROPE),
        **QWEN_IDS,
    )
    Qwen2_5_VLForConditionalGeneration(config).save_pretrained(folder)
    return _qwen(folder, "Qwen2_5_VLProcessor")


def build_qwen3_vl(folder: Path) -> Path:
    """Qwen3-VL: states of the tower are added to the pictures' rows after the first blocks (deepstack)."""
    config = Qwen3VLConfig(
        vision_config={
            **QWEN_VISION,
            "intermediate_size": 64,
            "out_hidden_size": 48,
            "num_position_embeddings": 64,
            "deepstack_visual_indexes": [0, 1],
        },
        text_config=decoder("qwen3_vl_text", rope_parameters={**MROPE, "mrope_interleaved": True}),
        **QWEN_IDS,
    )
    Qwen3VLForConditionalGeneration(config).save_pretrained(folder)
    return _qwen(folder, "Qwen3VLProcessor")


def build_glm4v(folder: Path) -> Path:
    """GLM-4V: as Qwen2-VL, with sandwich norms in the decoder."""
    names = (
        "<|begin_of_image|>",
        "<|end_of_image|>",
        "<|image|>",
        "<|begin_of_video|>",
        "<|end_of_video|>",
        "<|video|>",
    )
    special = (*SPECIAL[:4], *names)
    config = Glm4vConfig(
        vision_config={**QWEN_VISION, "image_size": 24, "out_hidden_size": 48, "intermediate_size": 64},
        text_config=decoder("glm4v_text", rope_parameters={**MROPE, "partial_rotary_factor": 1.0}),
        image_token_id=special.index("<|image|>"),
        video_token_id=special.index("<|video|>"),
        image_start_token_id=special.index("<|begin_of_image|>"),
        image_end_token_id=special.index("<|end_of_image|>"),
        video_start_token_id=special.index("<|begin_of_video|>"),
        video_end_token_id=special.index("<|end_of_video|>"),
    )
    Glm4vForConditionalGeneration(config).save_pretrained(folder)
    return save(
        folder,
        "Glm4vProcessor",
        Glm46VImageProcessorPil(**QWEN_SIZES),
        tokenizer(special),
        template=FILMED.replace("<image>", "<|begin_of_image|><|image|><|end_of_image|>").replace(
            "<video>", "<|begin_of_video|><|video|><|end_of_video|>"
        ),
        video={"video_processor_type": "Glm4vVideoProcessor", "do_sample_frames": False, **QWEN_SIZES},
    )


ALL = tuple(Stream)


@dataclass(frozen=True)
class Filmed:
    """A family: its builder, the positions of a picture of 24 × 24 and of 48 × 24 pixels and of a video of four frames
    of 24 × 24 pixels (0: its videos are no modality of their own), and the streams that pass the self-check."""

    build: Callable[[Path], Path]
    square: int
    wide: int
    video: int = 0
    streams: tuple[Stream, ...] = ALL


FAMILIES: Mapping[str, Filmed] = {
    "llava_onevision": Filmed(build_llava_onevision, 16 + 4 * 5, 16 + 4 * 9, 4 * 4 + 1),
    "llava_next_video": Filmed(build_llava_next_video, 16 + 4 * 5, 16 + 4 * 9, 4 * 4),
    "internvl": Filmed(build_internvl, 4, 4 * 3),
    "smolvlm": Filmed(build_smolvlm, 4, 4),
    "mistral3": Filmed(build_mistral3, 9, 6),
    "qwen2_vl": Filmed(build_qwen2_vl, 9, 18, 2 * 9),
    "qwen2_5_vl": Filmed(build_qwen2_5_vl, 9, 18, 2 * 9),
    "qwen3_vl": Filmed(build_qwen3_vl, 9, 18, 2 * 9, (Stream.RESIDUAL,)),
    "glm4v": Filmed(build_glm4v, 9, 18, 0, (Stream.RESIDUAL, Stream.UPDATE)),
}


def build(family: str, folder: Path) -> Path:
    """A checkpoint of one of `FAMILIES`, always with the same weights."""
    torch.manual_seed(0)
    return FAMILIES[family].build(folder)
