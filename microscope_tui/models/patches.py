"""Where in the picture an image token comes from.

A family that cuts pictures up has its own account (see `groups.Packing`). Of any other model that is shown a picture
as one view, whose patches enter the decoder row by row, perhaps pooled, the tokens are a grid over what it is shown.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from PIL.Image import Image
from torch import Tensor

from microscope_tui.inspection import Patch
from microscope_tui.models.modality import CODES
from microscope_tui.terms import Modality

Box = tuple[float, float, float, float]
"""Left, top, right and bottom as shares of a picture's width and height."""

WHOLE: Box = (0.0, 0.0, 1.0, 1.0)


def grid(rows: int, columns: int, over: Box = WHOLE) -> Tensor:
    """(rows · columns, 4): the boxes of a grid over a part of a picture, row by row."""
    left, top, right, bottom = over
    x = torch.linspace(left, right, columns + 1, dtype=torch.float64)
    y = torch.linspace(top, bottom, rows + 1, dtype=torch.float64)
    low, high = (torch.cartesian_prod(y[where], x[where]).flip(1) for where in (slice(-1), slice(1, None)))
    return torch.cat([low, high], 1)


def shown(processor: Any, picture: Image) -> Box | None:
    """The part of a picture that an image processor of transformers shows the model as one view, None if not known.

    A picture that is scaled to its shortest edge and cropped loses its sides; what is padded to reaches beyond it.
    """
    if getattr(processor, "do_pad", None):
        return None
    width, height = picture.size
    if not getattr(processor, "do_center_crop", None):
        return WHOLE
    if getattr(processor, "do_resize", None):
        size = processor.size
        edge = size.get("shortest_edge")
        if edge is not None:
            short = min(width, height)
            width, height = int(edge * width / short), int(edge * height / short)
        elif size.get("height") and size.get("width"):
            width, height = size["width"], size["height"]
        else:
            return None
    crop_width, crop_height = processor.crop_size["width"], processor.crop_size["height"]
    left, top = (width - crop_width) // 2, (height - crop_height) // 2
    return left / width, top / height, (left + crop_width) / width, (top + crop_height) / height


def one_view_boxes(
    inputs: Mapping[str, Any], tokens: int, pictures: Sequence[Image], config: Any, processor: Any
) -> Tensor | None:
    """(m, 5), see `groups.Packing.boxes`, of the `tokens` image positions of one example; None where not known.

    `config` is the vision tower's configuration, `processor` the image processor.
    """
    if (thw := inputs.get("image_grid_thw")) is not None:
        # Qwen-VL scales a picture to a grid of its own and merges neighbours; the grid is the processor's.
        merge = int(getattr(config, "spatial_merge_size", 1))
        grids = [grid(int(h) // merge, int(w) // merge) for _, h, w in thw]
    else:
        each = tokens // max(1, len(pictures))
        side = math.isqrt(each)
        edge, patch = getattr(config, "image_size", None), getattr(config, "patch_size", None)
        if not (isinstance(edge, int) and isinstance(patch, int)) or side == 0 or (edge // patch) % side:
            return None
        pixels = inputs.get("pixel_values")
        if side**2 * len(pictures) != tokens or pixels is None or pixels.ndim not in (4, 5):
            return None
        if math.prod(pixels.shape[:-3]) != len(pictures):
            return None
        parts = [shown(processor, picture) for picture in pictures]
        grids = [grid(side, side, part) for part in parts if part is not None]
    if len(grids) != len(pictures) or sum(map(len, grids)) != tokens:
        return None
    return numbered(grids)


def numbered(grids: Sequence[Tensor]) -> Tensor:
    """(m, 5): the boxes of several pictures, one after another, behind the number of their picture."""
    return torch.cat([torch.cat([torch.full((len(g), 1), float(i)), g], 1) for i, g in enumerate(grids)])


def placed(modality: Tensor, boxes: Tensor | None) -> tuple[Patch | None, ...]:
    """The patch of each position: `modality` (T,) are codes, `boxes` (m, 5) those of the m image positions in order.

    Boxes end at the picture's edges; one that lies outside of it is None.
    """
    image = (modality == CODES[Modality.IMAGE]).tolist()
    found: list[Patch | None] = [None] * len(image)
    if boxes is None or sum(image) != len(boxes):
        return tuple(found)
    at = (i for i, is_image in enumerate(image) if is_image)
    for i, (number, *edges) in zip(at, boxes.tolist(), strict=True):
        if math.isnan(number):
            continue
        left, top, right, bottom = (min(1.0, max(0.0, edge)) for edge in edges)
        if left < right and top < bottom:
            found[i] = Patch(int(number), left, top, right, bottom)
    return tuple(found)
