"""LLaVA-NeXT's layout of a picture: a base view, then its tiles without their padding, a newline after each row.

    base view (N), then for each of h rows: w patches of the tiles, newline
    with one tile: base view (N), newline

Labels and places go through transformers' own packing in place of features, so that they are where the features are.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers.image_processing_utils import get_patch_output_size, select_best_resolution
from transformers.image_utils import ChannelDimension
from transformers.models.llava_next.modeling_llava_next import image_size_to_num_patches

from microscope_tui.models.patches import grid

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
        self.side = self.config.vision_config.image_size // self.config.vision_config.patch_size
        self.patches = self.side**2

    def labels(self, inputs: Mapping[str, Any]) -> Tensor:
        """See `groups.Packing.labels`."""
        packed = self._packed(inputs, self.config) if "image_sizes" in inputs else []
        return torch.cat(packed) if packed else torch.empty(0, dtype=torch.int8)

    def boxes(self, inputs: Mapping[str, Any]) -> Tensor:
        """See `groups.Packing.boxes`."""
        sizes = inputs["image_sizes"].cpu()
        counts = self.counts(inputs, self.config)
        views = [self._boxes(number, size, counts[number]) for number, size in enumerate(sizes)]
        return torch.cat(self._pack(views, sizes, torch.full((5,), math.nan), self.config))

    def views(self, inputs: Mapping[str, Any]) -> Tensor:
        """See `groups.Packing.views`."""
        counts = self.counts(inputs, self.config) if "image_sizes" in inputs else []
        return torch.tensor(counts, dtype=torch.int64)

    def one_tile(self) -> None:
        """See `groups.Packing.one_tile`."""
        self.config.image_grid_pinpoints = NO_TILES

    def reduced(self, inputs: Mapping[str, Any], image: Tensor, padding: int) -> Mapping[str, Any]:
        """Keep the base view and one newline of each picture; see `groups.Packing.reduced`."""
        if "image_sizes" not in inputs:
            return inputs
        keep = inputs["attention_mask"].bool()
        divided = self._packed(inputs, self.divided)
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

    def counts(self, inputs: Mapping[str, Any], config: Any) -> list[int]:
        """The views of each picture of a batch: the base view and its tiles."""
        edge = config.vision_config.image_size
        sizes = inputs["image_sizes"]
        return [int(image_size_to_num_patches(size, config.image_grid_pinpoints, edge)) for size in sizes]

    def _packed(self, inputs: Mapping[str, Any], config: Any) -> list[Tensor]:
        """The label of each position of each picture, int8."""
        views = []
        for count in self.counts(inputs, config):
            label = torch.full((count, self.patches, 1), TILES, dtype=torch.int8)
            label[0] = BASE
            views.append(label)
        packed = self._pack(views, inputs["image_sizes"], torch.tensor([NEWLINE], dtype=torch.int8), config)
        return [labels.squeeze(1) for labels in packed]

    def _pack(self, views: Sequence[Tensor], sizes: Tensor, newline: Tensor, config: Any) -> list[Tensor]:
        """What transformers makes of each picture's `views`, (views, patches, c) to (positions, c)."""
        packed, _ = self.pack(
            SimpleNamespace(config=config),
            views,
            sizes,
            config.vision_feature_select_strategy,
            image_newline=newline,
        )
        return list(packed)

    def _boxes(self, number: int, size: Tensor, count: int) -> Tensor:
        """(`count` views, patches, 5): `number` and the box of each patch in a picture of `size`, (height, width)
        pixels.

        The base view is the picture squeezed into a square. The tiles are cut from a canvas, the best of the
        resolutions, onto which the picture is scaled as a whole; it stands in the middle, with bars of padding.
        """
        edge = self.config.vision_config.image_size
        boxes = [grid(self.side, self.side)]
        if count > 1:
            shape = (int(size[0]), int(size[1]))
            canvas = select_best_resolution(shape, self.config.image_grid_pinpoints)
            blank = np.broadcast_to(np.uint8(0), (1, *shape))  # for its shape: it takes no memory
            scaled = get_patch_output_size(  # type: ignore[no-untyped-call]  # transformers leaves it untyped
                blank, canvas, input_data_format=ChannelDimension.FIRST
            )
            height, width = scaled
            bar_top, bar_left = (canvas[0] - height) // 2, (canvas[1] - width) // 2
            for top in range(-bar_top, canvas[0] - bar_top, edge):
                for left in range(-bar_left, canvas[1] - bar_left, edge):
                    over = (left / width, top / height, (left + edge) / width, (top + edge) / height)
                    boxes.append(grid(self.side, self.side, over))
        places = torch.stack(boxes)
        return torch.cat([torch.full((*places.shape[:2], 1), float(number)), places], -1)
