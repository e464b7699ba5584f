"""What a model is made of: its vision encoder, its connector and its decoder, each in one line and as a fingerprint.

Two models are compared by these: the lines are of the design, the fingerprints of the weights.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from microscope_tui.errors import MicroscopeError
from microscope_tui.models.base import OpenModel
from microscope_tui.models.modality import CODES
from microscope_tui.models.probe import probe
from microscope_tui.models.quiet import quiet
from microscope_tui.terms import Modality

ENCODER, CONNECTOR, DECODER = "vision encoder", "connector", "decoder"

LOOKED_AT = 64
"""Numbers of each tensor that go into a fingerprint: training changes nearly every one."""

SHAPES = {"square": (1, 1), "2:1": (2, 1), "1:2": (1, 2)}
"""Pictures, width to height, whose tokens are counted: models that cut pictures into tiles go by their shape."""
EDGE = 336
"""Pixels of the shorter side of such a picture."""


def made_of(model: OpenModel) -> dict[str, dict[str, str]]:
    """What the provenance of a measurement says of an open model's parts: `parts` and `weights`."""
    return {"parts": designs(model), "weights": fingerprints(model)}


def designs(model: OpenModel) -> dict[str, str]:
    """Each part of an open model as people describe it, and how many tokens a picture becomes."""
    encoder, connector, decoder = model.modules
    found = {}
    if encoder is not None:
        found[ENCODER] = f"{type(encoder).__name__}{_sizes(getattr(encoder, 'config', None))}{_read(model)}"
    if connector is not None:
        layers = ", ".join(_layers(connector))
        found[CONNECTOR] = f"{type(connector).__name__}: {layers}" if layers else type(connector).__name__
    found[DECODER] = f"{type(decoder).__name__}{_sizes(model.network.config.get_text_config(decoder=True))}"
    if tokens := _tokens(model):
        found["tokens of a picture"] = tokens
    return found


def fingerprints(model: OpenModel) -> dict[str, str]:
    """For each part a digest of its tensors' names, shapes and `LOOKED_AT` of their numbers each, evenly spread.

    In float32, so that a checkpoint has the same one in every precision that can hold its weights. A part whose
    weights are not in memory has none.
    """
    parts = zip((ENCODER, CONNECTOR, DECODER), model.modules, strict=True)
    found = {name: fingerprint_of(module) for name, module in parts if module is not None}
    return {name: digest for name, digest in found.items() if digest}


def fingerprint_of(module: nn.Module) -> str:
    """The digest of one part, as `fingerprints` says; empty where a tensor is not in memory."""
    digest = hashlib.blake2b(digest_size=8)
    for name, tensor in sorted(module.state_dict().items()):
        if tensor.is_meta:
            return ""
        flat = tensor.detach().flatten()
        count = min(LOOKED_AT, len(flat))
        chosen = torch.arange(count) * (len(flat) - 1) // max(count - 1, 1)  # float32 cannot count beyond 2^24
        numbers = flat[chosen.to(flat.device)].float().cpu().numpy().tobytes()
        digest.update(f"{name}\0{tuple(tensor.shape)}\0".encode() + numbers)
    return f"blake2b:{digest.hexdigest()}"


def _sizes(config: Any) -> str:
    """Layers, width, heads and the rest of what makes one network larger than another, as far as it is configured."""
    said = {
        "num_hidden_layers": "{} layers",
        "hidden_size": "width {}",
        "num_attention_heads": "{} heads",
        "intermediate_size": "inner width {}",
        "image_size": "{} pixels",
        "patch_size": "patches of {}",
        "vocab_size": "{} words",
    }
    known = [(text, getattr(config, name, None)) for name, text in said.items()]
    told = [text.format(f"{value:,}") for text, value in known if isinstance(value, int)]
    return f": {', '.join(told)}" if told else ""


def _read(model: OpenModel) -> str:
    """The last of the encoder's layers that the connector reads, where that is not the last there is."""
    tower = model.tower
    if tower is None or tower.used == len(tower.layers) + 1:
        return ""
    return f", read after layer {tower.used - 1} of {len(tower.layers)}"


def _layers(connector: nn.Module) -> Iterator[str]:
    """A connector's own layers, with the widths of its linear maps."""
    for child in connector.children():
        if isinstance(child, nn.Sequential | nn.ModuleList):
            yield from _layers(child)
        elif isinstance(child, nn.Linear):
            yield f"Linear {child.in_features:,} to {child.out_features:,}"
        else:
            yield type(child).__name__


def _tokens(model: OpenModel) -> str:
    """How many positions pictures of several shapes take; empty where the model takes none."""
    counts: dict[str, int] = {}
    if Modality.IMAGE not in model.modalities:
        return ""
    example = probe(Modality.IMAGE)
    for name, (across, down) in SHAPES.items():
        picture = example.images[0].resize((across * EDGE, down * EDGE))
        try:
            with quiet():
                (part, *_) = model.prepare([replace(example, images=(picture,))]).parts
        except MicroscopeError:
            return ""
        counts[name] = int((part.modality == CODES[Modality.IMAGE]).sum())
    if len(set(counts.values())) == 1:
        return f"{next(iter(counts.values())):,}"
    return ", ".join(f"{count:,} ({name})" for name, count in counts.items())
