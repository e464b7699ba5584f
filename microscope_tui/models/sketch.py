"""A model without its weights that can still make inputs of examples: to count positions before it is loaded."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import AutoConfig, AutoImageProcessor, AutoModelForCausalLM, AutoModelForMultimodalLM

from microscope_tui.catalogue.checkpoints import omnifusion_folder
from microscope_tui.models.base import OpenModel
from microscope_tui.models.generic import GenericModel, known_placeholders, multimodal_config
from microscope_tui.models.loading import Place, read_part
from microscope_tui.models.omnifusion import OmniFusion, SmallParts, Vision, put_together
from microscope_tui.models.processors import read_processor
from microscope_tui.models.quiet import quiet
from microscope_tui.models.skeleton import checkpoint_folder, on_meta, tower_folder, tower_on_meta

HOST = Place(torch.device("cpu"), None, None)


class Sketch(GenericModel):
    """A model of transformers on the meta device; what it prepares is on the CPU."""

    @property
    def input_device(self) -> torch.device:
        return HOST.device


def sketch(name: str, *, one_tile: bool = False) -> OpenModel:
    """A model that can `prepare` examples and no more; nothing is downloaded and no weight of its network is read.

    Raises `MicroscopeError` for a name that is wrong or not here, and for a model that cannot be opened.
    """
    folder = checkpoint_folder(name)
    layout = omnifusion_folder(folder)
    with quiet():
        if layout is not None:
            return _omnifusion(name, layout)
        config = multimodal_config(name, folder)
        network = on_meta(AutoModelForMultimodalLM, name, config)
        placeholders = known_placeholders(name, config)
        processor = read_processor(name, folder, config)
        return Sketch(name, folder, network, processor, placeholders, place=HOST, one_tile=one_tile)


def _omnifusion(name: str, layout: Path) -> OmniFusion:
    """The projection and the marks are read, which are small; inputs go where they are."""
    small = SmallParts.read(name, layout)
    config = read_part(AutoConfig, "its configuration", name, layout / "tuned-model")
    tower = tower_folder(name, layout)
    processor = read_part(AutoImageProcessor, "its image processor", name, tower, backend="pil")
    vision = Vision(tower_on_meta(name, tower), small.settings["vision_feature_layer"], processor)
    return put_together(name, layout, small, on_meta(AutoModelForCausalLM, name, config), vision, HOST)
