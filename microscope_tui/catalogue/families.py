"""Which families of models can be measured, by what their configuration says: told before anything is opened."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec

TRIED = frozenset(
    """
    aya_vision blip-2 gemma3 glm4v idefics2 idefics3 internvl llava llava_next llava_next_video llava_onevision mistral3
    omnifusion paligemma qwen2_5_vl qwen2_audio qwen2_vl qwen3_vl smolvlm vipllava
    """.split()
)
"""Model types that the project's tests open and measure."""

NO_IDS = "its configuration names no token that stands for a picture, video or sound, so its positions are all alike"
_NO_LANGUAGE = "it is an encoder that language models look through, not a language model"
_TEXT_ONLY = "it takes text only"

REFUSED: Mapping[str, str] = {
    "mllama": "its pictures enter by cross-attention, not as tokens",
    **dict.fromkeys(("florence2", "t5gemma2"), "its encoder reads pictures and text, its decoder only what it answers"),
    **dict.fromkeys(("clip", "clip_vision_model", "siglip", "siglip_vision_model", "siglip2"), _NO_LANGUAGE),
    **dict.fromkeys(
        """
        blip evolla git idefics kosmos-2 kosmos-2.5 kyutai_speech_to_text pi0 pix2struct pp_formulanet udop
        vision-encoder-decoder
        """.split(),
        NO_IDS,
    ),
}
"""Model types that cannot be measured, and why."""

NEEDS_TORCHVISION = frozenset(
    """
    cohere2_vision gemma4_unified inkling2 inkling_mm_model instructblipvideo kimi_k25 lfm2_vl llama4 minicpm_ocr
    minimax_m3_vl mistral3 mistral_large4 molmo2 muse_glimmer muse_spark nemotron_h_omni perception_lm phi4_multimodal
    step3p7 unlimited_ocr
    """.split()
)
"""Model types whose processors cannot make pictures without torchvision."""

MULTIMODAL_KEYS = (
    *("vision_config", "audio_config", "thinker_config"),
    *(f"{kind}_token_{what}" for kind in ("image", "video", "audio") for what in ("id", "index")),
)
"""A configuration with none of these is that of a model of text."""


def why_not(model_type: str, config: Mapping[str, object]) -> str:
    """Why a kind of model cannot be measured here; empty if nothing is known against it."""
    if reason := REFUSED.get(model_type):
        return reason
    if model_type in NEEDS_TORCHVISION and find_spec("torchvision") is None:
        return "its processor needs torchvision: install torchvision"
    if model_type in TRIED or model_type in NEEDS_TORCHVISION or any(key in config for key in MULTIMODAL_KEYS):
        return ""
    return _TEXT_ONLY
