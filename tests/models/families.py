"""Tiny checkpoints of other families of transformers, for the rule that serves them all. As in `builders`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AyaVisionConfig,
    AyaVisionForConditionalGeneration,
    AyaVisionProcessor,
    Blip2Config,
    Blip2ForConditionalGeneration,
    Blip2Processor,
    BlipImageProcessorPil,
    CLIPImageProcessorPil,
    Gemma3Config,
    Gemma3ForConditionalGeneration,
    Gemma3ImageProcessorPil,
    Gemma3Processor,
    GotOcr2ImageProcessorPil,
    Idefics2Config,
    Idefics2ForConditionalGeneration,
    Idefics2ImageProcessorPil,
    Idefics2Processor,
    Idefics3Config,
    Idefics3ForConditionalGeneration,
    Idefics3ImageProcessorPil,
    Idefics3Processor,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    MllamaConfig,
    MllamaForConditionalGeneration,
    MllamaImageProcessorPil,
    MllamaProcessor,
    PaliGemmaConfig,
    PaliGemmaForConditionalGeneration,
    PaliGemmaProcessor,
    Qwen2AudioConfig,
    Qwen2AudioForConditionalGeneration,
    Qwen2AudioProcessor,
    SiglipImageProcessorPil,
    VipLlavaConfig,
    VipLlavaForConditionalGeneration,
    WhisperFeatureExtractor,
)

from tests.models.builders import CONTEXT, IMAGE, SPECIAL, TEMPLATE, WIDTH, text_config, tokenizer, vision_config

TILE = {"height": 24, "width": 24}


def decoder(kind: str, **changes: Any) -> dict[str, Any]:
    """Configuration of a decoder of four layers of width 48."""
    values = {
        "model_type": kind,
        "vocab_size": 160,
        "hidden_size": WIDTH,
        "intermediate_size": 96,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 12,
        "max_position_embeddings": CONTEXT,
        "initializer_range": 0.1,
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 2,
    }
    return {**values, **changes}


def siglip(**changes: Any) -> dict[str, Any]:
    """Configuration of a SigLIP tower for pictures of 24 × 24 pixels in 16 patches."""
    values = {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "image_size": 24,
        "patch_size": 6,
    }
    return {**values, **changes}


def build_llava(folder: Path) -> Path:
    """LLaVA: 16 patches a picture."""
    words = tokenizer()
    config = LlavaConfig(
        vision_config=vision_config(),
        text_config=text_config(),
        image_token_index=SPECIAL.index(IMAGE),
        image_seq_length=16,
    )
    LlavaForConditionalGeneration(config).save_pretrained(folder)
    pictures = CLIPImageProcessorPil(size={"shortest_edge": 24}, crop_size=TILE)
    LlavaProcessor(
        image_processor=pictures,
        tokenizer=words,
        patch_size=6,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=TEMPLATE,
    ).save_pretrained(folder)
    return folder


def build_vipllava(folder: Path) -> Path:
    """VipLLaVA: 16 patches a picture, from several layers of the tower."""
    config = VipLlavaConfig(
        vision_config=vision_config(),
        text_config=text_config(),
        image_token_index=SPECIAL.index(IMAGE),
        vision_feature_layer=[-3, -2],
        image_seq_length=16,
    )
    VipLlavaForConditionalGeneration(config).save_pretrained(folder)
    pictures = CLIPImageProcessorPil(size={"shortest_edge": 24}, crop_size=TILE)
    LlavaProcessor(
        image_processor=pictures,
        tokenizer=tokenizer(),
        patch_size=6,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=TEMPLATE,
    ).save_pretrained(folder)
    return folder


def build_blip2(folder: Path) -> Path:
    """BLIP-2 with OPT: 4 queries a picture, put in front of the text by the processor; no chat template."""
    config = Blip2Config(
        vision_config=siglip(initializer_range=0.1),
        qformer_config={
            "initializer_range": 0.1,
            "vocab_size": 160,
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "encoder_hidden_size": 32,
        },
        text_config=decoder("opt", ffn_dim=96, word_embed_proj_dim=WIDTH, init_std=0.1),
        num_query_tokens=4,
        image_token_index=SPECIAL.index(IMAGE),
    )
    Blip2ForConditionalGeneration(config).save_pretrained(folder)
    Blip2Processor(BlipImageProcessorPil(size=TILE), tokenizer(), num_query_tokens=4).save_pretrained(folder)
    return folder


def build_idefics2(folder: Path) -> Path:
    """Idefics2: a resampler makes 4 tokens of every picture."""
    special = (*SPECIAL, "<fake_token_around_image>", "<end_of_utterance>")
    resampler = {"resampler_depth": 1, "resampler_n_heads": 2, "resampler_head_dim": 8, "num_key_value_heads": 2}
    config = Idefics2Config(
        vision_config=siglip(),
        text_config=decoder("mistral"),
        image_token_id=SPECIAL.index(IMAGE),
        perceiver_config={**resampler, "resampler_n_latents": 4},
    )
    Idefics2ForConditionalGeneration(config).save_pretrained(folder)
    pictures = Idefics2ImageProcessorPil(size={"shortest_edge": 24, "longest_edge": 24}, do_image_splitting=False)
    Idefics2Processor(
        image_processor=pictures, tokenizer=tokenizer(special), image_seq_len=4, chat_template=TEMPLATE
    ).save_pretrained(folder)
    return folder


def build_aya_vision(folder: Path) -> Path:
    """Aya Vision: 4 tokens a tile, several tiles where a picture is not square, blocks with two parallel halves."""
    special = (*SPECIAL, "<|START_OF_IMG|>", "<|END_OF_IMG|>", "<|IMG_PATCH|>", "<|IMG_LINE_BREAK|>", "TILE")
    config = AyaVisionConfig(
        vision_config={"model_type": "siglip_vision_model", **siglip(vision_use_head=False)},
        text_config=decoder("cohere2"),
        image_token_index=special.index("<|IMG_PATCH|>"),
        downsample_factor=2,
        vision_feature_layer=-1,
        vision_feature_select_strategy="full",
    )
    AyaVisionForConditionalGeneration(config).save_pretrained(folder)
    AyaVisionProcessor(
        image_processor=GotOcr2ImageProcessorPil(size=TILE),
        tokenizer=tokenizer((*special, "TILE_GLOBAL")),
        patch_size=6,
        img_size=24,
        downsample_factor=2,
        image_token="<|IMG_PATCH|>",
    ).save_pretrained(folder)
    return folder


def build_mllama(folder: Path) -> Path:
    """Mllama, whose pictures enter by cross-attention: a family that must be refused."""
    vision = {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_global_layers": 1,
        "attention_heads": 4,
        "image_size": 24,
        "patch_size": 6,
        "vision_output_dim": 64,
        "intermediate_layers_indices": [0],
        "max_num_tiles": 1,
        "supported_aspect_ratios": [[1, 1]],
    }
    text = decoder("mllama_text_model", cross_attention_layers=[1])
    del text["head_dim"]
    MllamaForConditionalGeneration(
        MllamaConfig(vision_config=vision, text_config=text, image_token_index=4)
    ).save_pretrained(folder)
    MllamaProcessor(
        image_processor=MllamaImageProcessorPil(size=TILE, max_image_tiles=1),
        tokenizer=tokenizer((*SPECIAL[:4], "<|image|>")),
        chat_template=TEMPLATE.replace("<image>", "<|image|>"),
    ).save_pretrained(folder)
    return folder


def build_idefics3(folder: Path, *, split: bool = False) -> Path:
    """Idefics3: 4 tokens a tile after pixel shuffle; with `split` a picture is tiles and a view of the whole."""
    tiles = tuple(f"<row_{row}_col_{column}>" for row in range(1, 5) for column in range(1, 5))
    special = (*SPECIAL, "<fake_token_around_image>", "<end_of_utterance>", "<global-img>", *tiles)
    config = Idefics3Config(
        vision_config=siglip(),
        text_config=decoder("llama"),
        image_token_id=SPECIAL.index(IMAGE),
        scale_factor=2,
    )
    Idefics3ForConditionalGeneration(config).save_pretrained(folder)
    pictures = Idefics3ImageProcessorPil(
        size={"longest_edge": 48}, max_image_size={"longest_edge": 24}, do_image_splitting=split
    )
    Idefics3Processor(
        image_processor=pictures, tokenizer=tokenizer(special), image_seq_len=4, chat_template=TEMPLATE
    ).save_pretrained(folder)
    return folder


def build_gemma3(folder: Path) -> Path:
    """Gemma 3: 4 tokens a picture, attended in both directions; sandwich norms; sliding windows."""
    special = (*SPECIAL[:4], "<image_soft_token>", "<start_of_image>", "<end_of_image>")
    words = tokenizer(special, image_token=special[4], boi_token=special[5], eoi_token=special[6])
    config = Gemma3Config(
        vision_config=siglip(vision_use_head=False),
        text_config=decoder("gemma3_text", sliding_window=16, query_pre_attn_scalar=12),
        mm_tokens_per_image=4,
        image_token_index=4,
        boi_token_index=5,
        eoi_token_index=6,
    )
    Gemma3ForConditionalGeneration(config).save_pretrained(folder)
    Gemma3Processor(
        image_processor=Gemma3ImageProcessorPil(size=TILE),
        tokenizer=words,
        image_seq_length=4,
        chat_template=TEMPLATE.replace("<image>", "<start_of_image>"),
    ).save_pretrained(folder)
    return folder


def build_paligemma(folder: Path) -> Path:
    """PaliGemma: 16 patches a picture, prompt attended in both directions, no chat template."""
    config = PaliGemmaConfig(
        vision_config=siglip(vision_use_head=False, projection_dim=WIDTH),
        text_config=decoder("gemma", vocab_size=1500),
        image_token_index=SPECIAL.index(IMAGE),
        projection_dim=WIDTH,
        hidden_size=WIDTH,
    )
    PaliGemmaForConditionalGeneration(config).save_pretrained(folder)
    pictures = SiglipImageProcessorPil(size=TILE, image_seq_length=16)
    PaliGemmaProcessor(image_processor=pictures, tokenizer=tokenizer()).save_pretrained(folder)
    return folder


def build_qwen2_audio(folder: Path) -> Path:
    """Qwen2-Audio: sound and text, no pictures."""
    special = (*SPECIAL[:4], "<|AUDIO|>", "<|audio_bos|>", "<|audio_eos|>")
    config = Qwen2AudioConfig(
        audio_config={
            "model_type": "qwen2_audio_encoder",
            "num_mel_bins": 16,
            "encoder_layers": 1,
            "encoder_attention_heads": 2,
            "encoder_ffn_dim": 32,
            "d_model": 16,
            "max_source_positions": 50,
        },
        text_config=decoder("qwen2"),
        audio_token_index=4,
    )
    Qwen2AudioForConditionalGeneration(config).save_pretrained(folder)
    Qwen2AudioProcessor(
        feature_extractor=WhisperFeatureExtractor(feature_size=16, chunk_length=1),
        tokenizer=tokenizer(special),
        chat_template=TEMPLATE,
    ).save_pretrained(folder)
    return folder


FAMILIES: Mapping[str, tuple[Callable[[Path], Path], int]] = {
    "llava": (build_llava, 16),
    "vipllava": (build_vipllava, 16),
    "idefics2": (build_idefics2, 4),
    "idefics3": (build_idefics3, 4),
    "blip-2": (build_blip2, 4),
    "gemma3": (build_gemma3, 4),
    "paligemma": (build_paligemma, 16),
}
"""Families that take pictures: the builder, and the positions that one square picture takes."""


def build(family: str, folder: Path) -> Path:
    """A checkpoint of one of `FAMILIES`, always with the same weights."""
    torch.manual_seed(0)
    return FAMILIES[family][0](folder)
