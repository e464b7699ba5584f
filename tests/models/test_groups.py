"""Named groups of positions, and one tile a picture: against the features that transformers itself computes."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch

from microscope_tui.errors import MicroscopeError
from microscope_tui.models.capture import capture
from microscope_tui.models.load import open_model
from microscope_tui.models.modality import CODES
from microscope_tui.terms import Modality, Stream
from tests.models import filmed
from tests.models.builders import PATCHES, build_llava_next, example
from tests.models.families import build, build_idefics3

SIZES = [
    # (width, height): rows and columns of patches that are left of the tiles without padding
    ((48, 24), 4, 8),
    ((24, 48), 8, 4),
    ((48, 48), 8, 8),
    ((96, 30), 2, 8),  # a wide strip on a 1 × 2 grid: the rows that are only padding are gone
    ((20, 48), 8, 4),
    ((30, 96), 8, 2),
]


def captured(model, *examples):
    return capture(model, model.prepare(list(examples)), [Stream.RESIDUAL])


def members(model, rows, name: str) -> torch.Tensor:
    mask: torch.Tensor = rows.group == model.groups.index(name)
    return mask


def projected(model, pixels: torch.Tensor) -> torch.Tensor:
    """The projector's output for views (v, 3, h, w), (v, patches, d), by the modules alone."""
    inner = model.network.model
    with torch.no_grad():
        features = inner.vision_tower(pixels, output_hidden_states=True).hidden_states[-2][:, 1:]
        made: torch.Tensor = inner.multi_modal_projector(features)
    return made


def test_names(llava_next, omnifusion):
    assert llava_next.groups == ("special", "base", "tiles", "newline")
    assert omnifusion.groups == ("special", "prompt")


@pytest.mark.parametrize(("size", "height", "width"), SIZES)
def test_a_picture_is_base_view_then_unpadded_tiles_with_newlines(llava_next, size, height, width):
    model: Any = llava_next
    one = example(size=size)
    rows = captured(model, one)
    h0 = rows.rows[Stream.RESIDUAL][0]
    image = rows.mask(Modality.IMAGE)
    base, tiles, newline = (members(model, rows, name) for name in ("base", "tiles", "newline"))
    assert [int(mask.sum()) for mask in (base, tiles, newline)] == [PATCHES, height * width, height]
    assert torch.equal(base | tiles | newline, image)

    # Newlines are the learned vector, and nothing else is.
    assert torch.equal((h0 == model.network.model.image_newline).all(-1), newline)

    # The base view is the first view, whole and in order.
    views = projected(model, model.processor(text="<image>", images=one.images, return_tensors="pt").pixel_values[0])
    torch.testing.assert_close(h0[base], views[0])

    # Each position of the tiles is a patch of a tile, none of the base view's, and no patch is there twice.
    distance = torch.cdist(h0[tiles], views[1:].flatten(0, 1), compute_mode="donot_use_mm_for_euclid_dist")
    nearest = distance.argmin(1)
    assert float(distance.min(1).values.max()) < 1e-4
    assert len(set(nearest.tolist())) == len(nearest)

    # In order: the base view, then every row of the grid with a newline at its end.
    codes = rows.group[image] - model.groups.index("base")
    assert codes.tolist() == [0] * PATCHES + ([1] * width + [2]) * height


def test_special_are_control_tokens_of_the_text(llava_next):
    model: Any = llava_next
    batch = model.prepare([example(words=4), example("row 1", words=2, size=None)])
    rows = capture(model, batch, [Stream.RESIDUAL])
    ids = torch.cat([part.ids.flatten()[part.rows] for part in batch.parts])
    begins = model.tokenizer.bos_token_id
    assert torch.equal(members(model, rows, "special"), ids == begins)
    assert int((ids == begins).sum()) == 2
    outside = rows.group == -1
    assert torch.equal(outside, rows.mask(Modality.TEXT) & (ids != begins))


def test_a_batch_has_the_groups_of_single_examples(model):
    four = [example(f"row {i}", words=3 + i, size=size) for i, size in enumerate([(48, 48), None, (96, 30), (24, 48)])]
    together = captured(model, *four)
    for index, one in enumerate(four):
        alone = captured(model, one)
        assert torch.equal(together.group[together.example == index], alone.group)


def test_several_pictures_in_one_example(llava_next):
    first, second = example(size=(48, 24)).images[0], example("b", size=(24, 48)).images[0]
    rows = captured(llava_next, example(images=(first, second)))
    newline = members(llava_next, rows, "newline")
    assert int(newline.sum()) == 4 + 8
    assert torch.equal(
        (rows.rows[Stream.RESIDUAL][0] == llava_next.network.model.image_newline).all(-1),
        newline,
    )


def test_groups_of_omnifusion(omnifusion):
    model: Any = omnifusion
    rows = captured(model, example(words=5), example("row 1", words=2, size=None))
    h0 = rows.rows[Stream.RESIDUAL][0]
    marks = torch.cat(list(model.special.values()))
    is_mark = (h0[:, None] == marks[None]).all(-1).any(-1)
    special, prompt = members(model, rows, "special"), members(model, rows, "prompt")
    assert torch.equal(special, is_mark)
    assert int(special.sum()) == 4 + 2
    assert torch.equal(prompt, rows.position < len(model.prompt))
    assert bool((rows.modality[special | prompt] == CODES[Modality.TEXT]).all())


def test_groups_can_be_left_out(llava_next):
    rows = captured(llava_next, example(size=(48, 24)))
    image = rows.mask(Modality.IMAGE)
    left = rows.mask(Modality.IMAGE, without=llava_next.group_codes(["newline", "tiles"]))
    assert torch.equal(left, members(llava_next, rows, "base"))
    assert int(image.sum()) - int(left.sum()) == 4 * 9
    text = rows.mask(Modality.TEXT, without=llava_next.group_codes(["special"]))
    assert int(text.sum()) == int(rows.mask(Modality.TEXT).sum()) - 1
    assert torch.equal(rows.mask(Modality.IMAGE), image)
    with pytest.raises(MicroscopeError, match="has no group 'margin': use special, base, tiles, newline"):
        llava_next.group_codes(["base", "margin"])


def test_a_family_without_parts_has_only_special(tmp_path):
    model = open_model(str(build("llava", tmp_path)))
    assert model.groups == ("special",)
    rows = captured(model, example(size=(24, 24)))
    assert bool((rows.group[rows.mask(Modality.IMAGE)] == -1).all())


def test_one_tile_of_a_family_that_does_not_cut_pictures_is_what_it_has_anyway(tmp_path, omnifusion_folder):
    for folder in (build("llava", tmp_path), omnifusion_folder):
        usual, one = open_model(str(folder)), open_model(str(folder), one_tile=True)
        assert {usual.tiles, one.tiles, one.one_tile} == {False}
        assert one.template == usual.template
        wide = example(size=(96, 24))
        for ours, theirs in zip(*(captured(m, wide).rows[Stream.RESIDUAL] for m in (one, usual)), strict=True):
            assert torch.equal(ours, theirs)


@pytest.mark.parametrize(
    "cutting", [lambda to: build_idefics3(to, split=True), lambda to: filmed.build("internvl", to)]
)
def test_a_family_that_cuts_pictures_otherwise_is_not_said_to_have_one_tile(tmp_path, cutting):
    folder = cutting(tmp_path)
    assert open_model(str(folder)).tiles
    with pytest.raises(MicroscopeError, match=r"leave out --one-tile \(the key O in the explorer\)"):
        open_model(str(folder), one_tile=True)


def test_a_picture_at_its_own_size_is_one_view(tmp_path):
    makers = {"idefics3": build, "paligemma": build, "gemma3": build, "qwen2_vl": filmed.build}
    for family, make in makers.items():
        assert not open_model(str(make(family, tmp_path / family)), one_tile=True).tiles


@pytest.fixture(scope="module")
def one_tile(llava_next_folder):
    return open_model(str(llava_next_folder), one_tile=True)


@pytest.mark.parametrize("size", [size for size, _, _ in SIZES])
def test_one_tile_is_the_base_view_and_a_newline(llava_next, one_tile, size):
    one = example(size=size)
    rows = captured(one_tile, one)
    image = rows.mask(Modality.IMAGE)
    assert (rows.group[image] - one_tile.groups.index("base")).tolist() == [0] * PATCHES + [2]
    whole = captured(llava_next, one)
    h0, divided = rows.rows[Stream.RESIDUAL][0], whole.rows[Stream.RESIDUAL][0]
    # A view alone goes through other kernels than several together: equal but for rounding.
    torch.testing.assert_close(h0[members(one_tile, rows, "base")], divided[members(llava_next, whole, "base")])
    assert torch.equal(h0[members(one_tile, rows, "newline")][0], one_tile.network.model.image_newline)
    assert torch.equal(h0[rows.mask(Modality.TEXT)], divided[whole.mask(Modality.TEXT)])


def test_one_tile_in_a_batch(one_tile):
    four = [example(f"row {i}", words=3 + i, size=size) for i, size in enumerate([(48, 48), None, (96, 30), (24, 48)])]
    first = four[0].images[0]
    four[3] = example("row 3", images=(first, first))
    together = captured(one_tile, *four)
    for index, one in enumerate(four):
        alone = captured(one_tile, one)
        of_one = together.example == index
        assert int((together.mask(Modality.IMAGE) & of_one).sum()) == (PATCHES + 1) * len(one.images)
        for ours, theirs in zip(together.rows[Stream.RESIDUAL], alone.rows[Stream.RESIDUAL], strict=True):
            torch.testing.assert_close(ours[of_one], theirs, rtol=1e-5, atol=1e-5)


def test_one_tile_has_results_of_its_own(llava_next, one_tile):
    assert one_tile.template == f"{llava_next.template}, one tile"
    assert one_tile.streams == tuple(Stream)


def test_a_processor_of_another_grid_is_refused(tmp_path):
    folder = build_llava_next(tmp_path)
    text = (folder / "processor_config.json").read_text()
    assert '"image_grid_pinpoints"' in text
    config = json.loads(text)
    config["image_processor"]["image_grid_pinpoints"] = [[24, 48]]
    (folder / "processor_config.json").write_text(json.dumps(config))
    with pytest.raises(MicroscopeError, match="do not belong together"):
        open_model(str(folder))
