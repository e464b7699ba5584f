"""LLaVA-OneVision's layout of a picture: as LLaVA-NeXT's, but for pictures of many tiles and several in one example.

Tiles of more patches than nine whole views have are scaled down as features, by transformers' own packing, through
which labels and places go as well: the box of a scaled token lies in its middle, as large as a patch of the tower. Of
several pictures in one example each is one view.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

from torch import Tensor

from microscope_tui.models.llava_next import Tiles


class ScaledTiles(Tiles):
    """The packing of one loaded LLaVA-OneVision model; see `groups.Packing`."""

    def counts(self, inputs: Mapping[str, Any], config: Any) -> list[int]:
        """See `Tiles.counts`."""
        alone = [count == 1 for count in inputs["batch_num_images"] for _ in range(count)]
        return [count if one else 1 for count, one in zip(super().counts(inputs, config), alone, strict=True)]

    def _pack(self, views: Sequence[Tensor], sizes: Tensor, newline: Tensor, config: Any) -> list[Tensor]:
        packed, _ = self.pack(
            SimpleNamespace(config=config),
            [view.float() for view in views],  # whole numbers cannot be scaled
            sizes,
            image_newline=newline.float(),
            vision_aspect_ratio=config.vision_aspect_ratio,
        )
        return [rows.to(newline.dtype) for rows in packed]
