"""LLaVA-NeXT's layout of a picture: a base view, then its tiles without their padding, a newline after each row.

    base view (N), then for each of h rows: w patches of the tiles, newline
    with one tile: base view (N), newline

Labels go through transformers' own packing in place of features, so that they are where the features are.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers.models.llava_next.modeling_llava_next import image_size_to_num_patches

BASE, TILES, NEWLINE = 0, 1, 2

NO_TILES = [[0, 0]]
"""Grid of a picture that is not divided: transformers then expects one view, and packs it as such."""


class Tiles:
    """The packing of one loaded LLaVA-NeXT model; see `groups.Packing`."""

    names = ("base", "tiles", "newline")

    def __init__(self, network: Any) -> None:
        self.pack = type(network.model).pack_image_features
        self.config = network.config
        self.divided = copy.deepcopy(network.config)
        self.patches = (self.config.vision_config.image_size // self.config.vision_config.patch_size) ** 2

    def labels(self, inputs: Mapping[str, Any]) -> Tensor:
        """See `groups.Packing.labels`."""
        packed = self._packed(inputs["image_sizes"], self.config) if "image_sizes" in inputs else []
        return torch.cat(packed) if packed else torch.empty(0, dtype=torch.int8)

    def views(self, inputs: Mapping[str, Any]) -> Tensor:
        """See `groups.Packing.views`."""
        sizes = inputs.get("image_sizes", ())
        return torch.tensor([self._views(size, self.config) for size in sizes], dtype=torch.int64)

    def one_tile(self) -> None:
        """See `groups.Packing.one_tile`."""
        self.config.image_grid_pinpoints = NO_TILES

    def reduced(self, inputs: Mapping[str, Any], image: Tensor, padding: int) -> Mapping[str, Any]:
        """Keep the base view and one newline of each picture; see `groups.Packing.reduced`."""
        if "image_sizes" not in inputs:
            return inputs
        keep = inputs["attention_mask"].bool()
        divided = self._packed(inputs["image_sizes"], self.divided)
        keep[image] = torch.cat([torch.arange(len(labels)) <= self.patches for labels in divided])
        fill = {"input_ids": padding}
        cut = {
            name: pad_sequence(
                [row[kept] for row, kept in zip(value, keep, strict=True)],
                batch_first=True,
                padding_value=fill.get(name, 0),
            )
            for name, value in inputs.items()
            if isinstance(value, Tensor) and value.shape == keep.shape
        }
        return {**inputs, **cut, "pixel_values": inputs["pixel_values"][:, :1]}

    def _packed(self, sizes: Tensor, config: Any) -> list[Tensor]:
        """The label of each position of each picture, int8."""
        views = []
        for size in sizes:
            label = torch.full((self._views(size, config), self.patches, 1), TILES, dtype=torch.int8)
            label[0] = BASE
            views.append(label)
        packed, _ = self.pack(
            SimpleNamespace(config=config),
            views,
            sizes,
            config.vision_feature_select_strategy,
            image_newline=torch.tensor([NEWLINE], dtype=torch.int8),
        )
        return [labels.squeeze(1) for labels in packed]

    def _views(self, size: Tensor, config: Any) -> int:
        """The base view and the tiles of one picture of `size`, (height, width) pixels."""
        return int(image_size_to_num_patches(size, config.image_grid_pinpoints, config.vision_config.image_size))
