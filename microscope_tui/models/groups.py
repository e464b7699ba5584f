"""Named groups of positions, finer than modalities: what one may want to count apart, or leave out.

A family that packs a picture in several parts has a `Packing`, in a file of its own, listed in `PACKINGS` under its
model type. Every model of transformers has the group `special`: the control tokens of its tokenizer.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from torch import Tensor

from microscope_tui.errors import MicroscopeError
from microscope_tui.models.llava_next import Tiles
from microscope_tui.models.llava_onevision import ScaledTiles

NO_GROUP = -1
"""The code of a position that is in no group."""

SPECIAL = "special"
"""Control tokens, or learned marks that stand for them."""


class Packing(Protocol):
    """How a family lays out a picture."""

    @property
    def names(self) -> tuple[str, ...]:
        """The groups of a picture's positions."""

    def labels(self, inputs: Mapping[str, Any]) -> Tensor:
        """(m,) int8: the index into `names` of each of the m picture positions of a batch, in their order."""

    def boxes(self, inputs: Mapping[str, Any]) -> Tensor:
        """(m, 5) float: the number of the picture and the box (left, top, right, bottom) in it of each of the m
        picture positions, as shares of its width and height; NaN for a position that is no part of the picture."""

    def views(self, inputs: Mapping[str, Any]) -> Tensor:
        """(P,) int64: the views that the vision tower gets of each picture of a batch."""

    def one_tile(self) -> None:
        """From now on the model takes pictures as one tile."""

    def reduced(self, inputs: Mapping[str, Any], image: Tensor, padding: int) -> Mapping[str, Any]:
        """A processor's output cut to one tile a picture. `image` (B, T) bool marks picture positions."""


PACKINGS: Mapping[str, Callable[[Any], Packing]] = {
    "llava_next": Tiles,
    "llava_next_video": Tiles,
    "llava_onevision": ScaledTiles,
}


def unknown_tiles(name: str) -> MicroscopeError:
    """What is wrong with asking a model for one tile that cuts pictures in a way that is not known here."""
    return MicroscopeError(
        f"{name} cuts pictures into tiles, and how is not known here, so that it cannot be given each as one: "
        "leave out --one-tile (the key O in the explorer)."
    )


def cuts_pictures(inputs: Mapping[str, Any]) -> bool:
    """Whether a processor has made several views of the one picture it got; also where its output does not say.

    A view is (C, H, W), so that what stands before these three counts them. A picture at its own size is patches in a
    row, (patches, values) or (1, patches, values): one view, however many patches.
    """
    pixels = inputs.get("pixel_values")
    if not isinstance(pixels, Tensor):
        return True
    return pixels.ndim > 3 and math.prod(pixels.shape[:-3]) > 1


def packing_of(network: Any) -> Packing | None:
    """The packing of a loaded model's family, None for one that has no parts."""
    make = PACKINGS.get(network.config.model_type)
    return None if make is None else make(network)
