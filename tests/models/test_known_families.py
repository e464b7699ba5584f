"""The catalogue's tables of model types, which it cannot check itself, against transformers."""

from __future__ import annotations

import importlib
import importlib.util
import re
from pathlib import Path

import pytest
import transformers
from transformers import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import MODEL_FOR_MULTIMODAL_LM_MAPPING_NAMES

from microscope_tui.catalogue.families import NEEDS_TORCHVISION, NO_IDS, REFUSED, TRIED
from microscope_tui.models.modality import placeholder_ids
from tests.models import filmed
from tests.models.families import FAMILIES

PROCESSORS = importlib.import_module("transformers.models.auto.processing_auto").PROCESSOR_MAPPING_NAMES
PICTURES = importlib.import_module("transformers.models.auto.image_processing_auto").IMAGE_PROCESSOR_MAPPING_NAMES
PAGE = (Path(__file__).parents[2] / "docs" / "models.md").read_text(encoding="utf-8")

without_torchvision = pytest.mark.skipif(
    importlib.util.find_spec("torchvision") is not None, reason="torchvision is installed"
)


def needs_torchvision(model_type: str) -> bool:
    """For pictures or, in a family without them, at all: by transformers' own tables, where torchvision is missing."""
    try:
        parts = getattr(transformers, PROCESSORS[model_type]).get_attributes()
    except ImportError as error:
        return "torchvision" in str(error).lower()
    backends = PICTURES.get(model_type)
    return parts[0] == "video_processor" if "image_processor" not in parts else bool(backends) and "pil" not in backends


def has_video_part(model_type: str) -> bool:
    try:
        return "video_processor" in getattr(transformers, PROCESSORS[model_type]).get_attributes()
    except ImportError:  # of another library, without which there is no such processor here
        return False


def test_what_is_tried_is_what_is_tested():
    assert {"llava_next", "omnifusion", "qwen2_audio", "aya_vision", *FAMILIES, *filmed.FAMILIES} == TRIED
    assert not TRIED & REFUSED.keys()


@pytest.mark.parametrize("model_type", sorted(t for t, reason in REFUSED.items() if reason == NO_IDS))
def test_the_refused_name_no_token_ids(model_type):
    assert model_type in MODEL_FOR_MULTIMODAL_LM_MAPPING_NAMES
    assert placeholder_ids(CONFIG_MAPPING[model_type]()) == {}


@without_torchvision
def test_what_needs_torchvision_is_listed():
    known = [t for t in MODEL_FOR_MULTIMODAL_LM_MAPPING_NAMES if t in PROCESSORS and t not in REFUSED]
    assert {t for t in known if needs_torchvision(t)} == NEEDS_TORCHVISION
    videos = {t for t in known if not needs_torchvision(t) and has_video_part(t)}
    assert videos <= named(PAGE.partition("part for video alone:")[2].partition("\n\n")[0])
    assert videos


def test_the_page_about_models_names_them_all():
    assert named(PAGE) >= TRIED | NEEDS_TORCHVISION | REFUSED.keys()
    tested, rest = PAGE.partition("## Families that are tested")[2].split("## ", 1)
    rows = {words[0] for line in tested.splitlines() if line.startswith("| `") and (words := named_in_order(line))}
    assert rows == TRIED
    assert "install torchvision" in rest


def named(text: str) -> set[str]:
    return set(named_in_order(text))


def named_in_order(text: str) -> list[str]:
    return re.findall(r"`([\w.-]+)`", text)
