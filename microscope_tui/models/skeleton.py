"""What a model is and needs, before it is loaded: its shape without its weights, and the headers of its weight files.

The network is built on torch's meta device, where tensors have shapes and no memory: a 7B model takes a fraction of a
second. Weight files are known from their safetensors headers alone.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForMultimodalLM, CLIPVisionConfig, CLIPVisionModel

from microscope_tui.catalogue.checkpoints import omnifusion_folder, weight_files
from microscope_tui.catalogue.locate import TWIN, is_twin, locate_model
from microscope_tui.errors import MicroscopeError, one_line
from microscope_tui.models.blocks import find_decoder
from microscope_tui.models.generic import multimodal_config
from microscope_tui.models.identity import omnifusion_settings, read_header, vision_tower
from microscope_tui.models.loading import read_part
from microscope_tui.models.projection import load_projection, load_special
from microscope_tui.models.quiet import quiet
from microscope_tui.terms import NUMBER_BYTES, check_dtype

EMBEDDINGS, DECODER, HEAD, CONNECTOR, VISION, AUDIO = (
    "embeddings",
    "decoder",
    "output head",
    "connector",
    "vision tower",
    "audio tower",
)
"""Parts of a model, by which memory is told."""

# Names propose, in this order: a connector inside a tower (Qwen's `visual.merger`) is a connector.
BY_NAME = (
    (
        CONNECTOR,
        re.compile(
            r"projector|connector|merger|adapter|resampler|newline|aligner|embed_vision|embed_audio|qformer|query_tokens|"
            r"language_projection"
        ),
    ),
    (VISION, re.compile(r"vision|visual|image")),
    (AUDIO, re.compile(r"audio|speech")),
)

STORED = {"F64": "float64", "F32": "float32", "BF16": "bfloat16", "F16": "float16"}
"""Names of precisions in safetensors headers; what else is there (quantised weights) keeps its own name."""


@dataclass(frozen=True)
class Weights:
    """What a checkpoint's weight files say of themselves.

    `parameters` in `size` bytes of data, most of them in `dtype`; `missing` are names of files that the index names
    and that are not here, whose parameters are not counted.
    """

    parameters: int
    size: int
    dtype: str
    missing: tuple[str, ...]


@dataclass(frozen=True)
class Skeleton:
    """A model without its weights: L = `layers` blocks of width d = `width`, at most `context` positions.

    `parts` are numbers of parameters, `dtype` the precision of the checkpoint, `weights` what is known of its weight
    files, None when none is here. `feed_forward` is the inner width of a block's feed-forward part.
    """

    name: str
    architecture: str
    layers: int
    width: int
    context: int | None
    dtype: str
    parts: Mapping[str, int]
    weights: Weights | None
    feed_forward: int

    @property
    def parameters(self) -> int:
        return sum(self.parts.values())

    def bytes(self, dtype: str = "auto") -> Mapping[str, int]:
        """Memory of each part's weights in a precision; `auto` is the checkpoint's own."""
        check_dtype(dtype)
        size = self._size(dtype)
        return {part: count * size for part, count in self.parts.items()}

    def state_bytes(self, tokens: int, *, streams: int = 1, dtype: str = "auto") -> int:
        """Memory of the captured rows of a batch: L + 1 layers of `tokens` rows for each captured stream."""
        size = self._size(dtype)
        return streams * (self.layers + 1) * tokens * self.width * size

    def pass_bytes(self, tokens: int, *, dtype: str = "auto") -> int:
        """About the memory that one block needs while `tokens` positions go through it: what enters and leaves its
        two halves, queries, keys and values, and three rows as wide as the feed-forward part."""
        return tokens * (8 * self.width + 3 * self.feed_forward) * self._size(dtype)

    def _size(self, dtype: str) -> int:
        """Bytes of a number; a checkpoint's own precision may be any that torch has."""
        return int(getattr(torch, self.dtype if dtype == "auto" else dtype).itemsize)


def skeleton(name: str) -> Skeleton:
    """The skeleton of a model by the name it is opened by; nothing is downloaded and no weight is read.

    Raises `MicroscopeError` for a name that is wrong or not here, and for a model that cannot be opened.
    """
    folder = checkpoint_folder(name)
    layout = omnifusion_folder(folder)
    with quiet():
        return _generic(name, folder) if layout is None else _omnifusion(name, layout)


def checkpoint_folder(name: str) -> Path:
    """The folder of a model that is here. Raises `MicroscopeError` as `skeleton` does."""
    # A twin has the shape of its trained model, whether or not it was made yet.
    folder = locate_model(name.removesuffix(TWIN) if is_twin(name) else name)
    if folder is None:
        raise MicroscopeError(
            f"{name} is not in the local hub cache, so what it needs is not known: download it, or at least its "
            "config.json (`hf download`)."
        )
    if not folder.is_dir():
        raise MicroscopeError(f"{folder} is not a folder: give the folder of a checkpoint.")
    return folder


def read_weights(folder: Path) -> Weights | None:
    """The headers of a checkpoint's safetensors, None when the folder has none. No tensor is read."""
    files, missing = weight_files(folder)
    if not files and not missing:
        return None
    counts: Counter[str] = Counter()
    size = 0
    for file in files:
        for tensor in read_header(file).values():
            count = 1
            for extent in tensor["shape"]:
                count *= extent
            counts[tensor["dtype"]] += count
            size += tensor["data_offsets"][1] - tensor["data_offsets"][0]
    most = counts.most_common(1)[0][0] if counts else "F32"
    return Weights(sum(counts.values()), size, STORED.get(most, most.lower()), missing)


def _generic(name: str, folder: Path) -> Skeleton:
    config = multimodal_config(name, folder)
    network = on_meta(AutoModelForMultimodalLM, name, config)
    weights = read_weights(folder)
    decoder = find_decoder(network)
    return Skeleton(
        name=name,
        architecture=type(network).__name__,
        layers=len(decoder.layers),
        width=_width(network),
        context=getattr(config.get_text_config(decoder=True), "max_position_embeddings", None),
        dtype=_dtype(config, weights),
        parts=_parts(network),
        weights=weights,
        feed_forward=_feed_forward(config),
    )


def _omnifusion(name: str, layout: Path) -> Skeleton:
    """The language model and the tower by their configurations, the projection by its own file, which is small."""
    tuned = layout / "tuned-model"
    config = read_part(AutoConfig, "its configuration", name, tuned)
    network = on_meta(AutoModelForCausalLM, name, config)
    weights = read_weights(tuned)
    parts = dict(_parts(network))
    projection = load_projection(layout, omnifusion_settings(layout))
    marks = load_special(layout, projection.linear.out_features)
    parts[CONNECTOR] = sum(p.numel() for p in projection.parameters()) + sum(mark.numel() for mark in marks.values())
    vision = tower_on_meta(name, tower_folder(name, layout))
    parts[VISION] = sum(p.numel() for p in vision.parameters())
    return Skeleton(
        name=name,
        architecture="OmniFusion",
        layers=len(find_decoder(network).layers),
        width=_width(network),
        context=config.max_position_embeddings,
        dtype=_dtype(config, weights),
        parts=parts,
        weights=weights,
        feed_forward=_feed_forward(config),
    )


def _feed_forward(config: Any) -> int:
    """The configuration's, or what is usual where it has none of that name."""
    text = config.get_text_config(decoder=True)
    return int(getattr(text, "intermediate_size", None) or 4 * text.hidden_size)


def tower_folder(name: str, layout: Path) -> Path:
    """The folder of OmniFusion's vision tower. Raises `MicroscopeError` when it is not here."""
    tower = vision_tower(layout)
    if tower is None:
        raise MicroscopeError(
            f"{omnifusion_settings(layout)['vision_tower']}, the vision tower of {name}, is not in the local hub "
            "cache, so what it needs is not known: download it, or at least its config.json (`hf download`)."
        )
    return tower


def tower_on_meta(name: str, folder: Path) -> Any:
    """OmniFusion's vision tower as shapes alone."""
    return on_meta(CLIPVisionModel, name, read_part(CLIPVisionConfig, "its vision tower", name, folder))


def on_meta(auto: Any, name: str, config: Any) -> Any:
    """A network of shapes alone."""
    make = getattr(auto, "from_config", None) or auto._from_config
    try:
        with torch.device("meta"):
            return make(config)
    except Exception as error:  # a configuration that contradicts itself fails in ways of its own
        raise MicroscopeError(f"{name} cannot be built from its configuration ({one_line(error)}).") from error


def _parts(network: Any) -> Mapping[str, int]:
    """Numbers of parameters by part; a head that shares the embedding table counts there."""
    table = network.get_input_embeddings()
    head = network.get_output_embeddings()
    known = {id(p): EMBEDDINGS for p in table.parameters()}
    if head is not None:
        known |= {id(p): HEAD for p in head.parameters() if id(p) not in known}
    configs = (network.config.get_text_config(decoder=True), network.config)  # families have it in one or in both
    tied = next((bool(c.tie_word_embeddings) for c in configs if hasattr(c, "tie_word_embeddings")), False)
    known |= {id(p): DECODER for p in find_decoder(network).module.parameters() if id(p) not in known}
    parts: Counter[str] = Counter()
    for name, parameter in network.named_parameters():
        part = known.get(id(parameter))
        if part is None:
            part = next((kind for kind, pattern in BY_NAME if pattern.search(name)), DECODER)
        if not (tied and part is HEAD):
            parts[part] += parameter.numel()
    return dict(parts)


def _width(network: Any) -> int:
    return int(network.get_input_embeddings().weight.shape[-1])


def _dtype(config: Any, weights: Weights | None) -> str:
    """The checkpoint's precision: that of its weights, else the one that its configuration names."""
    if weights is not None and weights.dtype in NUMBER_BYTES:
        return weights.dtype
    text = config.get_text_config(decoder=True)
    named = getattr(config, "dtype", None) or getattr(text, "dtype", None) or torch.float32
    return str(named).removeprefix("torch.")
