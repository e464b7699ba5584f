"""OmniFusion: its published layout, and its own sequence of embeddings.

    prompt, (SOI, projected patches, EOI) for each picture, USER, text, BOT

Everything that is not a projected patch counts as text, as the paper does; the learned marks and the prompt are groups
of their own. The sequence enters the language model as
`inputs_embeds`; texts are tokenised without special tokens.
Source: https://github.com/AIRI-Institute/OmniFusion, folder OmniMistral-v1_1 of its hub repository.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import torch
from PIL.Image import Image
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from transformers import AutoImageProcessor, AutoModelForCausalLM, AutoTokenizer, CLIPVisionModel

from microscope_tui.errors import BadExample, MicroscopeError, one_line
from microscope_tui.models.base import Batch, OpenModel, Part
from microscope_tui.models.before import tower_of
from microscope_tui.models.blocks import find_decoder
from microscope_tui.models.fetch import fetch_tower
from microscope_tui.models.groups import NO_GROUP, SPECIAL
from microscope_tui.models.identity import (
    check_files,
    check_tower,
    omnifusion_settings,
    state_dict,
    vision_tower_name,
)
from microscope_tui.models.loading import Place, computes_on, load_weights, read_part, unused_note
from microscope_tui.models.media import NOUNS, shown_by
from microscope_tui.models.meter import OnProgress
from microscope_tui.models.modality import CODES, PADDING
from microscope_tui.models.patches import grid, numbered, shown
from microscope_tui.models.projection import MARKS, Projection, load_projection, load_special
from microscope_tui.models.prompts import Text
from microscope_tui.models.quiet import quiet
from microscope_tui.models.unpickle import read_state_dict
from microscope_tui.slices.examples import Example
from microscope_tui.terms import Modality, Progress

MARK_CODES = {name: -1 - i for i, name in enumerate(MARKS)}
PATCH = -1 - len(MARKS)
"""What stands in place of a token id where the embedding is no row of the table: a learned mark, a patch."""

MARK_NAMES = {**{code: f"<{name}>" for name, code in MARK_CODES.items()}, PATCH: "<image>"}


@dataclass(frozen=True)
class Vision:
    """The vision tower, which of its hidden states is used, and its image processor."""

    tower: Any
    layer: int
    processor: Any

    def features(self, pixels: Tensor) -> Tensor:
        """(P, 3, h, w) pixels to (P, patches, d_vision): hidden states of the chosen layer without the class token."""
        states = self.tower(pixels, output_hidden_states=True).hidden_states
        patches: Tensor = states[self.layer][:, 1:]
        return patches


class OmniFusion(OpenModel):
    """A language model that reads a picture as projected patches between learned marks."""

    modalities = (Modality.TEXT, Modality.IMAGE)
    groups = (SPECIAL, "prompt")
    architecture = "OmniFusion"

    def __init__(
        self,
        name: str,
        layout: Path,
        network: Any,
        tokenizer: Any,
        vision: Vision,
        projection: Projection,
        special: Mapping[str, Tensor],
        prompt: str,
        *,
        place: Place,
    ) -> None:
        super().__init__()
        self.place = place
        self.name, self.folder = name, layout
        self.network, self.tokenizer, self.vision, self.projection = network, tokenizer, vision, projection
        self.special = special
        self.decoder = find_decoder(network)
        self.tower = tower_of(vision.tower, projection, vision.layer)
        self.context = network.config.max_position_embeddings
        self.attention = str(network.config._attn_implementation)
        self.text = Text(tokenizer, {})
        self.prompt = self.token_ids(prompt)
        self.template = f"omnifusion-1, prompt blake2b:{hashlib.blake2b(prompt.encode(), digest_size=8).hexdigest()}"

    @property
    def sources(self) -> tuple[str, ...]:
        return (self.name, vision_tower_name(self.folder))

    @property
    def modules(self) -> tuple[nn.Module, nn.Module, nn.Module]:
        return self.vision.tower, self.projection, self.decoder.module

    @property
    def input_device(self) -> torch.device:
        return self.projection.linear.weight.device

    def embed(self, ids: Tensor) -> Tensor:
        table = self.network.get_input_embeddings()
        rows: Tensor = table(ids.to(computes_on(table)))
        return rows

    def forward(self, part: Part, **options: Any) -> Any:
        """The sequence is put together here, so that a batch on the device is no larger than its ids and pixels."""
        embeds = self.embed(part.ids.clamp(min=0)).to(self.input_device)
        embeds[~part.valid] = 0
        pixels = part.inputs["pixel_values"]
        if len(pixels):
            patches = self.projection(self.vision.features(pixels))
            embeds[part.ids == PATCH] = patches.flatten(0, 1).to(embeds)
        for name, code in MARK_CODES.items():
            rows, marked = self.special[name], part.ids == code
            embeds[marked] = rows.repeat(int(marked.sum()) // len(rows), 1).to(embeds)
        return self.network(
            inputs_embeds=embeds, attention_mask=part.inputs["attention_mask"], use_cache=False, **options
        )

    def prepare(self, examples: Sequence[Example]) -> Batch:
        with quiet(), torch.no_grad():
            pictures = [self._pixels(example) for example in examples]
            layouts = [self._layout(example, len(pixels)) for example, pixels in zip(examples, pictures, strict=True)]
        for example, ids in zip(examples, layouts, strict=True):
            if self.context is not None and len(ids) > self.context:
                raise BadExample(
                    example.key, f"it has {len(ids):,} tokens and the context of {self.name} holds {self.context:,}"
                )
        ids = pad_sequence(layouts, batch_first=True, padding_value=0)
        lengths = torch.tensor([len(ids) for ids in layouts])
        valid = torch.arange(ids.shape[1]) < lengths[:, None]
        codes = torch.where(ids == PATCH, CODES[Modality.IMAGE], CODES[Modality.TEXT]).to(torch.int8)
        codes[~valid] = PADDING
        special = (ids < 0) & (ids != PATCH)
        groups = torch.where(special, self.groups.index(SPECIAL), NO_GROUP).to(torch.int8)
        groups[:, : len(self.prompt)] = self.groups.index("prompt")
        device = self.input_device
        part = Part(
            inputs={
                "attention_mask": valid.long().to(device),
                "pixel_values": torch.cat(pictures).to(device, self.network.dtype),
            },
            example=torch.arange(len(examples), device=device),
            valid=valid.to(device),
            modality=codes.to(device),
            group=groups.to(device),
            ids=ids.to(device),
            replaced=(ids < 0).to(device),
            views=torch.tensor([len(pixels) for pixels in pictures], device=device),
        )
        return Batch(tuple(example.key for example in examples), (part,))

    def boxes(self, part: Part, pictures: Sequence[Image]) -> Tensor | None:
        config = self.vision.tower.config
        side = config.image_size // config.patch_size
        parts = [shown(self.vision.processor, picture) for picture in pictures]
        return numbered([grid(side, side, part) for part in parts if part is not None]) if all(parts) else None

    def word(self, token: int) -> str:
        return MARK_NAMES.get(token) or super().word(token)

    def _pixels(self, example: Example) -> Tensor:
        """(P, 3, h, w): the pictures of an example as the tower's image processor makes them, P = 0 without one."""
        size = self.vision.tower.config.image_size
        if foreign := next((modality for modality in shown_by(example) if modality not in self.modalities), None):
            raise BadExample(example.key, f"it has a {NOUNS[foreign]} and {self.name} takes none")
        if not example.images:
            return torch.empty(0, 3, size, size)
        try:
            pictures = [picture.convert("RGB") for picture in example.images]
            pixels: Tensor = self.vision.processor(pictures, return_tensors="pt")["pixel_values"]
        except (ValueError, TypeError, OSError, ArithmeticError, RuntimeError) as error:
            raise BadExample(example.key, f"its picture cannot be used ({one_line(error)})") from error
        if pixels.shape[1:] != (3, size, size):
            raise MicroscopeError(
                f"The image processor of {self.name} makes pictures of {tuple(pixels.shape[1:])}, and its vision tower "
                f"takes {(3, size, size)}: mend preprocessor_config.json."
            )
        return pixels

    def _layout(self, example: Example, pictures: int) -> Tensor:
        """The positions of an example as ids (T,), with codes of `MARK_CODES` and `PATCH` where there are none."""
        config = self.vision.tower.config
        patches = (config.image_size // config.patch_size) ** 2
        mark = {name: [code] * len(self.special[name]) for name, code in MARK_CODES.items()}
        picture = mark["SOI"] + [PATCH] * patches + mark["EOI"]
        text = self.token_ids(self.text(example))
        return torch.tensor(self.prompt + picture * pictures + mark["USER"] + text + mark["BOT"])


@dataclass(frozen=True)
class SmallParts:
    """What there is in a folder of OmniFusion's layout beside its language model and vision tower."""

    settings: Mapping[str, Any]
    tokenizer: Any
    projection: Projection
    special: Mapping[str, Tensor]

    @classmethod
    def read(cls, name: str, layout: Path) -> Self:
        """Raises `MicroscopeError`."""
        settings = omnifusion_settings(layout)
        projection = load_projection(layout, settings)
        special = load_special(layout, projection.linear.out_features)
        return cls(settings, read_part(AutoTokenizer, "its tokenizer", name, layout / "tokenizer"), projection, special)


def load_omnifusion(name: str, layout: Path, place: Place, on_progress: OnProgress) -> OmniFusion:
    """Open a folder in OmniFusion's layout (see the module). Raises `MicroscopeError`."""
    tuned = layout / "tuned-model"
    check_files(tuned)
    small = SmallParts.read(name, layout)
    network, unused = load_weights(AutoModelForCausalLM, name, tuned, place)
    on_progress(Progress("loading vision tower"))
    # One precision for all parts, as in the published code: the tower's checkpoint has another.
    vision = load_vision(name, layout, small.settings, place.alone(network.dtype), on_progress)
    model = put_together(name, layout, small, network, vision, place)
    model.notes += unused_note(unused)
    return model


def put_together(name: str, layout: Path, small: SmallParts, network: Any, vision: Vision, place: Place) -> OmniFusion:
    """The model of its parts. Raises `MicroscopeError` for parts that do not fit each other."""
    linear, width, makes = small.projection.linear, network.config.hidden_size, vision.tower.config.hidden_size
    if linear.out_features != width:
        raise MicroscopeError(
            f"The projection of {name} makes rows of width {linear.out_features} and its language model takes {width}: "
            "they do not belong together."
        )
    if linear.in_features != makes:
        raise MicroscopeError(
            f"The projection of {name} takes vision features of width {linear.in_features} and its vision tower makes "
            f"{makes}: they do not belong together."
        )
    projection = small.projection.to(place.device, network.dtype)
    special = {key: rows.to(place.device, network.dtype) for key, rows in small.special.items()}
    prompt = small.settings["prompt"]
    return OmniFusion(name, layout, network, small.tokenizer, vision, projection, special, prompt, place=place)


def load_vision(name: str, layout: Path, settings: Mapping[str, Any], place: Place, on_progress: OnProgress) -> Vision:
    """The vision tower that the settings name, inside the folder or by hub id.

    Its weights are safetensors or, as published, one plain state dict.
    """
    folder = fetch_tower(vision_tower_name(layout), on_progress)
    check_tower(folder)
    pickled = state_dict(folder)
    state = None if pickled is None else read_state_dict(pickled)
    tower, _ = load_weights(CLIPVisionModel, name, folder, place, state=state)  # a whole CLIP reads texts as well
    processor = read_part(AutoImageProcessor, "its image processor", name, folder, backend="pil")
    layers = tower.config.num_hidden_layers + 1
    layer = settings["vision_feature_layer"]
    if not -layers <= layer < layers:
        raise MicroscopeError(f"vision_feature_layer = {layer} of {name}: its vision tower has {layers} hidden states.")
    return Vision(tower, layer, processor)
