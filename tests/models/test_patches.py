"""Where image tokens come from, told by the picture's own pixels behind the processor and transformers' packing."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import (
    CLIPImageProcessorPil,
    CLIPVisionConfig,
    Gemma3ImageProcessorPil,
    LlavaNextConfig,
    LlavaNextImageProcessorPil,
)
from transformers.models.llava_next.modeling_llava_next import LlavaNextModel

from microscope_tui.inspection import Patch
from microscope_tui.models.llava_next import Tiles
from microscope_tui.models.load import open_model
from microscope_tui.models.modality import CODES
from microscope_tui.models.patches import one_view_boxes, placed, shown
from microscope_tui.models.words import word
from microscope_tui.terms import Modality
from tests.models.builders import PATCHES, example, tokenizer
from tests.models.families import build
from tests.sure import sure

EDGE, PATCH = 24, 6


def gradient(width, height):
    """A picture whose red is the place from left to right, and whose green is the place from top to bottom."""
    x = (np.arange(width) + 0.5) / width * np.ones((height, 1))
    y = (np.arange(height)[:, None] + 0.5) / height * np.ones((1, width))
    return Image.fromarray((np.stack([x, y, np.full_like(x, 0.5)], -1) * 255).round().astype(np.uint8))


def mean_places(pixels, processor, patch=PATCH, edge=EDGE):
    """(V, 3, S, S) processed pixels to (V, patches, 3): the place that each patch's mean colour stands for."""
    mean, std = (torch.tensor(values)[:, None, None] for values in (processor.image_mean, processor.image_std))
    colour = pixels * std + mean
    views, side = len(pixels), edge // patch
    return colour.reshape(views, 3, side, patch, side, patch).mean((3, 5)).flatten(2).transpose(1, 2)


def newline(width):
    """What stands for a newline among places: no place."""
    return torch.full((width,), float("nan"))


def centre(patch):
    return (patch.left + patch.right) / 2, (patch.top + patch.bottom) / 2


@pytest.mark.parametrize("size", [(480, 240), (240, 480), (480, 480), (480, 192), (300, 480), (461, 103), (960, 240)])
def test_each_token_of_llava_next_lies_where_the_pixels_behind_it_were(llava_next, size):
    picture = gradient(*size)
    asked = example(images=(picture,))
    part = llava_next.prepare([asked]).parts[0]
    patches = llava_next.patches(part, asked.images)

    network = llava_next.network.model
    places = mean_places(part.inputs["pixel_values"][0], llava_next.processor.image_processor)
    packed, _ = network.pack_image_features([places], part.inputs["image_sizes"], "default", newline(3))

    image = (part.modality[0] == CODES[Modality.IMAGE]).tolist()
    of_image = [patch for patch, is_image in zip(patches, image, strict=True) if is_image]
    assert all(patch is None for patch, is_image in zip(patches, image, strict=True) if not is_image)
    assert len(of_image) == len(packed[0])
    compared = 0
    for patch, (red, green, blue) in zip(of_image, packed[0].tolist(), strict=True):
        if red != red:
            assert patch is None  # a newline
        elif blue > 0.49:  # no padding in it
            assert centre(patch) == pytest.approx((red, green), abs=0.02)
            compared += 1
    assert compared >= PATCHES + 4
    base = of_image[:PATCHES]
    assert (base[0].left, base[0].top, base[-1].right, base[-1].bottom) == (0, 0, 1, 1)
    assert sum((p.right - p.left) * (p.bottom - p.top) for p in base) == pytest.approx(1)


@pytest.mark.parametrize(("size", "positions"), [((640, 480), 2340), ((1000, 300), 2182), ((97, 97), 1176)])
def test_at_the_published_models_scale_too(size, positions):
    """LLaVA 1.6: tiles of 336 pixels in patches of 14, and the published grids; no weights are needed."""
    grids = [[336, 672], [672, 336], [672, 672], [1008, 336], [336, 1008]]
    config = LlavaNextConfig(vision_config=CLIPVisionConfig(image_size=336, patch_size=14), image_grid_pinpoints=grids)
    processor = LlavaNextImageProcessorPil(
        size={"shortest_edge": 336}, crop_size={"height": 336, "width": 336}, image_grid_pinpoints=grids
    )
    tiles = Tiles(SimpleNamespace(model=LlavaNextModel.__new__(LlavaNextModel), config=config))
    inputs = processor(gradient(*size), return_tensors="pt")
    boxes = tiles.boxes(inputs)
    assert len(boxes) == positions
    places = mean_places(inputs["pixel_values"][0], processor, 14, 336)
    packed = tiles.pack(SimpleNamespace(config=config), [places], inputs["image_sizes"], "default", newline(3))[0][0]
    shown = packed[:, 2] > 0.495  # neither a newline nor padding
    centres = torch.stack([boxes[:, 1] + boxes[:, 3], boxes[:, 2] + boxes[:, 4]], 1) / 2
    assert int(shown.sum()) > 1000
    assert centres[shown].numpy() == pytest.approx(packed[shown, :2].numpy(), abs=0.002)


def test_tokens_of_two_pictures_name_their_picture(llava_next):
    asked = example(images=(gradient(48, 24), gradient(24, 48)))
    part = llava_next.prepare([asked]).parts[0]
    patches = [patch for patch in llava_next.patches(part, asked.images) if patch]
    assert [patch.picture for patch in patches] == [0] * 48 + [1] * 48


@pytest.mark.parametrize("size", [(48, 24), (24, 24), (30, 90)])
def test_the_sides_that_omnifusion_crops_off_are_in_no_patch(omnifusion, size):
    picture = gradient(*size)
    asked = example(images=(picture,))
    part = omnifusion.prepare([asked]).parts[0]
    patches = [patch for patch in omnifusion.patches(part, asked.images) if patch]
    places = mean_places(part.inputs["pixel_values"], omnifusion.vision.processor)[0]
    assert len(patches) == PATCHES
    for patch, (red, green, _) in zip(patches, places.tolist(), strict=True):
        assert centre(patch) == pytest.approx((red, green), abs=0.03)


def test_with_one_tile_there_is_the_base_view_alone(llava_next_folder):
    model: Any = open_model(str(llava_next_folder), one_tile=True)
    asked = example(images=(gradient(48, 24),))
    part = model.prepare([asked]).parts[0]
    patches = [patch for patch in model.patches(part, asked.images) if patch]
    places = mean_places(part.inputs["pixel_values"][0], model.processor.image_processor)[0]
    assert len(patches) == PATCHES
    for patch, (red, green, _) in zip(patches, places.tolist(), strict=True):
        assert centre(patch) == pytest.approx((red, green), abs=0.02)


@pytest.mark.parametrize(("family", "patch"), [("llava", PATCH), ("paligemma", PATCH), ("gemma3", 2 * PATCH)])
def test_families_of_one_view_have_a_grid_over_what_they_are_shown(tmp_path, family, patch):
    model: Any = open_model(str(build(family, tmp_path / family)))
    asked = example(images=(gradient(48, 24),))
    part = model.prepare([asked]).parts[0]
    patches = [box for box in model.patches(part, asked.images) if box]
    places = mean_places(part.inputs["pixel_values"], model.processor.image_processor, patch)[0]
    assert len(patches) == len(places)
    for box, (red, green, _) in zip(patches, places.tolist(), strict=True):
        assert centre(box) == pytest.approx((red, green), abs=0.03)


def test_queries_of_a_resampler_come_from_no_place(tmp_path):
    model = open_model(str(build("idefics2", tmp_path / "idefics2")))
    asked = example(images=(gradient(48, 24),))
    part = model.prepare([asked]).parts[0]
    assert int((part.modality == CODES[Modality.IMAGE]).sum()) == 4
    assert set(model.patches(part, asked.images)) == {None}


def test_without_a_picture_there_are_no_patches(model):
    asked = example(size=None)
    part = model.prepare([asked]).parts[0]
    assert set(model.patches(part, ())) == {None}


def one_view(tokens, pictures=1, *, pixels=None, edge=EDGE, processor=None, **inputs):
    config = SimpleNamespace(image_size=edge, patch_size=PATCH, spatial_merge_size=2)
    inputs["pixel_values"] = torch.zeros(pixels or (pictures, 3, edge, edge))
    return one_view_boxes(inputs, tokens, [gradient(90, 30)] * pictures, config, processor or Gemma3ImageProcessorPil())


def test_a_square_of_tokens_of_one_view_is_a_grid_over_the_picture():
    boxes = one_view(2 * 4, pictures=2)  # 4 × 4 patches, pooled to 2 × 2
    assert boxes.tolist()[:4] == [[0, 0, 0, 0.5, 0.5], [0, 0.5, 0, 1, 0.5], [0, 0, 0.5, 0.5, 1], [0, 0.5, 0.5, 1, 1]]
    assert boxes[4:, 0].tolist() == [1] * 4


@pytest.mark.parametrize(
    "case",
    [
        {"tokens": 15},  # no square
        {"tokens": 9},  # queries of a resampler: three do not divide four patches
        {"tokens": 16, "pixels": (4, 3, EDGE, EDGE)},  # four views of four tokens
        {"tokens": 16, "pixels": (16, 108)},  # patches, not pictures
        {"tokens": 16, "edge": None},  # a tower that does not say its patches
        {"tokens": 0, "pictures": 0},
    ],
)
def test_what_is_no_grid_is_not_guessed(case):
    if case.pop("edge", EDGE) is None:
        assert one_view_boxes({"pixel_values": torch.zeros(1, 3, 24, 24)}, 16, [gradient(9, 9)], None, None) is None
    else:
        assert one_view(**case) is None


def test_the_grid_of_qwen_is_the_processors_own():
    boxes = one_view(6, image_grid_thw=torch.tensor([[1, 4, 6]]))
    assert boxes[:3, 1:].tolist() == pytest.approx(
        np.array([[0, 0, 1 / 3, 0.5], [1 / 3, 0, 2 / 3, 0.5], [2 / 3, 0, 1, 0.5]])
    )
    assert one_view(7, image_grid_thw=torch.tensor([[1, 4, 6]])) is None


def test_what_a_crop_shows_is_what_its_pixels_say():
    processor = CLIPImageProcessorPil(size={"shortest_edge": 240}, crop_size={"height": 240, "width": 240})
    pixels = torch.tensor(np.array(processor(gradient(901, 300))["pixel_values"][0]))
    colour = pixels[0] * processor.image_std[0] + processor.image_mean[0]
    left, top, right, bottom = sure(shown(processor, gradient(901, 300)))
    assert (left, right) == pytest.approx((float(colour[:, 0].mean()), float(colour[:, -1].mean())), abs=0.005)
    assert (top, bottom) == (0, 1)
    assert shown(SimpleNamespace(do_pad=True), gradient(9, 9)) is None


def test_boxes_end_at_the_edges_and_those_outside_are_none():
    codes = torch.tensor([CODES[Modality.IMAGE]] * 3 + [CODES[Modality.TEXT]])
    boxes = torch.tensor([[0, -0.5, 0, 0.5, 1], [0, 1.0, 0, 1.5, 1], [float("nan")] * 5])
    assert placed(codes, boxes) == (Patch(0, 0, 0, 0.5, 1), None, None, None)
    assert placed(codes, boxes[:2]) == (None,) * 4


def test_words_are_readable_and_harmless(model):
    words = tokenizer()
    for text in ("cat", "<image>"):
        assert word(words, words.get_vocab()[text]) == text
    assert word(words, 10**6) == "<1000000>"
    part = model.prepare([example()]).parts[0]
    spelt = [model.word(i) for i in part.ids[0].tolist()]
    assert spelt.count("<image>") == int((part.modality == CODES[Modality.IMAGE]).sum())
    assert "what" in spelt


class Pieces:
    """A tokenizer of three pieces that decodes as SentencePiece and byte-level BPE do."""

    pieces = ("▁cat", "Ġæ", "\x1b[31m")
    texts = ("cat", "\N{REPLACEMENT CHARACTER}", "\x1b[31m")

    def __len__(self):
        return 3

    def convert_ids_to_tokens(self, token):
        return self.pieces[token]

    def decode(self, tokens, **_):
        return self.texts[tokens[0]]


def test_spaces_partial_characters_and_escapes_are_spelt():
    assert [word(Pieces(), i) for i in range(3)] == [" cat", "Ġæ", "\\x1b[31m"]
