"""The catalogue's tables of model types, which it cannot check itself, against transformers."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import re
from pathlib import Path

import pytest
import transformers
from transformers import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import MODEL_FOR_MULTIMODAL_LM_MAPPING_NAMES

from microscope_tui.catalogue import NEEDS_TORCHVISION, NO_IDS, REFUSED, TRIED
from microscope_tui.models.modality import placeholder_ids
from tests.models.families import FAMILIES

PROCESSOR_MAPPING_NAMES = importlib.import_module("transformers.models.auto.processing_auto").PROCESSOR_MAPPING_NAMES

without_torchvision = pytest.mark.skipif(
    importlib.util.find_spec("torchvision") is not None, reason="torchvision is installed"
)


def test_what_is_tried_is_what_is_tested():
    assert {"llava_next", "omnifusion", "qwen2_audio", "aya_vision", *FAMILIES} == TRIED
    assert not TRIED & (NEEDS_TORCHVISION | REFUSED.keys())


@pytest.mark.parametrize("model_type", sorted(t for t, reason in REFUSED.items() if reason == NO_IDS))
def test_the_refused_name_no_token_ids(model_type):
    assert model_type in MODEL_FOR_MULTIMODAL_LM_MAPPING_NAMES
    assert placeholder_ids(CONFIG_MAPPING[model_type]()) == {}


@without_torchvision
@pytest.mark.parametrize("model_type", sorted(NEEDS_TORCHVISION))
def test_the_processors_need_torchvision(model_type):
    """They have a part for video, which only torchvision's classes serve, or ask for it themselves."""
    name = PROCESSOR_MAPPING_NAMES[model_type]
    processor = getattr(transformers, name)
    parts = inspect.signature(processor.__init__).parameters
    if "video_processor" not in parts:
        with pytest.raises(ImportError, match=r"(?i)torchvision"):
            processor()


def test_the_page_about_models_names_them_all():
    page = (Path(__file__).parents[2] / "docs" / "models.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`([\w.-]+)`", page))
    assert named >= TRIED | NEEDS_TORCHVISION | REFUSED.keys()
