"""The groups of LLaVA-OneVision and LLaVA-NeXT-Video, which pack pictures nearly as LLaVA-NeXT does."""

from __future__ import annotations

import json

import pytest
import torch

from microscope_tui.models.capture import capture
from microscope_tui.models.load import open_model
from microscope_tui.terms import Modality, Stream
from tests.models.builders import PATCHES, example, picture
from tests.models.filmed import build
from tests.sure import sure

TWO = example("two", images=(picture((48, 24)), picture((24, 48), seed=3)))


@pytest.fixture(scope="module", params=["llava_onevision", "llava_next_video"])
def folder(request, tmp_path_factory):
    return build(request.param, tmp_path_factory.mktemp(request.param))


@pytest.fixture(scope="module")
def model(folder):
    return open_model(str(folder))


def sizes_of(model, rows) -> list[int]:
    """How many positions are in base, tiles and newline."""
    return [int((rows.group == model.groups.index(name)).sum()) for name in ("base", "tiles", "newline")]


@pytest.mark.parametrize(
    ("size", "height", "width"), [((48, 24), 4, 8), ((24, 48), 8, 4), ((48, 48), 8, 8), ((96, 30), 2, 8)]
)
def test_newlines_are_the_learned_vector_and_nothing_else_is(model, size, height, width):
    rows = capture(model, model.prepare([example(size=size)]), [Stream.RESIDUAL])
    assert sizes_of(model, rows) == [PATCHES, height * width, height]
    learned = (rows.rows[Stream.RESIDUAL][0] == model.network.model.image_newline).all(-1)
    assert torch.equal(learned, rows.group == model.groups.index("newline"))


def test_several_pictures_and_other_examples_in_one_batch(model):
    """LLaVA-OneVision divides no picture that is one of several."""
    examples = [TWO, example("row 1", size=(48, 48)), example("row 2", size=None)]
    rows = capture(model, model.prepare(examples), [Stream.RESIDUAL], before=True)
    divided = "next" in model.network.config.model_type
    tiles, newlines = (32 + 32 + 64, 4 + 8 + 8) if divided else (64, 1 + 1 + 8)
    assert sizes_of(model, rows) == [3 * PATCHES, tiles, newlines]
    views = [2 * 3 if divided else 2, 5]
    for stage in rows.before.values():
        assert torch.bincount(stage.example).tolist() == [count * PATCHES for count in views]


def test_one_tile_is_the_base_view_and_a_newline(folder):
    model = open_model(str(folder), one_tile=True)
    rows = capture(model, model.prepare([example(size=(48, 24)), TWO]), [Stream.RESIDUAL])
    assert sizes_of(model, rows) == [3 * PATCHES, 0, 3]
    assert torch.bincount(rows.example[rows.mask(Modality.IMAGE)]).tolist() == [PATCHES + 1, 2 * (PATCHES + 1)]


def test_tiles_that_are_scaled_down_keep_their_places(tmp_path):
    """A grid of 8 × 8 patches where there may be as many as in one view: scaled by half."""
    folder = build("llava_onevision", tmp_path)
    for name in ("config.json", "processor_config.json"):
        values = json.loads((folder / name).read_text())
        (folder / name).write_text(json.dumps({**values, "vision_aspect_ratio": "anyres_max_1"}))
    model = open_model(str(folder))
    asked = example(size=(48, 48))
    batch = model.prepare([asked])
    rows = capture(model, batch, [Stream.RESIDUAL])
    assert sizes_of(model, rows) == [PATCHES, 16, 4]
    learned = (rows.rows[Stream.RESIDUAL][0] == model.network.model.image_newline).all(-1)
    assert torch.equal(learned, rows.group == model.groups.index("newline"))
    placed = model.patches(batch.parts[0], asked.images)
    of_tiles = [
        sure(patch) for patch, group in zip(placed, rows.group, strict=True) if group == model.groups.index("tiles")
    ]
    centres = [(round((p.left + p.right) / 2, 6), round((p.top + p.bottom) / 2, 6)) for p in of_tiles]
    assert centres == [(x, y) for y in (0.125, 0.375, 0.625, 0.875) for x in (0.125, 0.375, 0.625, 0.875)]
