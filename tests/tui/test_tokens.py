"""What is made of a token table: blocks, means, lines, and where its patches lie."""

import base64

import numpy as np
import pytest

from microscope_tui.inspection import Patch
from microscope_tui.terms import Modality
from microscope_tui.tui.content.ramp import Range
from microscope_tui.tui.content.reading import Reading
from microscope_tui.tui.content.tokens import Block, Quantity, Scale, Tokens, line_of, owners
from microscope_tui.tui.themes import DARK, PALETTES
from microscope_tui.tui.widgets.heat import Columns, Heat
from microscope_tui.tui.widgets.patches import Patches
from microscope_tui.tui.widgets.picture import fitted, picture_rows, pixels
from microscope_tui.tui.widgets.scatter import Scatter
from tests.sure import sure
from tests.tui.looked import card, table, thumbnail


@pytest.fixture
def tokens() -> Tokens:
    return Tokens(table(side=4, tiles=(2, 1), text=5, layers=3))


def test_each_view_of_a_picture_is_a_block_and_the_row_ends_belong_to_the_tiles(tokens: Tokens):
    base = Block(4, 20, Modality.IMAGE, 0, "base")
    tiles = Block(20, 20 + 4 * 9, Modality.IMAGE, 0, "tiles")
    assert tokens.blocks == (base, tiles)
    assert tokens.parts() == (0, 4, 20, 56)
    assert tokens.views == ((0, "base"), (0, "tiles"))


def test_folded_blocks_are_one_line_and_unfold_below_their_own(tokens: Tokens):
    folded = tokens.lines(frozenset())
    assert len(folded) == 4 + 2 + 5
    assert [(line.start, line.end) for line in folded[3:7]] == [(3, 4), (4, 20), (20, 56), (56, 57)]
    opened = tokens.lines(frozenset({20}))
    assert len(opened) == len(folded) + 36
    assert opened[5].open
    assert not opened[4].open
    assert [line.start for line in opened[6:42]] == list(range(20, 56))
    assert line_of(folded, 30) == 5
    assert opened[line_of(opened, 30)].start == 30


def test_a_block_shows_the_mean_of_what_is_defined(tokens: Tokens):
    line = tokens.lines(frozenset())[4]
    expected = np.array(tokens.table.norm)[:, 4:20].mean(1)
    np.testing.assert_allclose(np.array(tokens.shown(Quantity.NORM, line), float), expected)
    broken = tuple((None, *row[1:]) for row in tokens.table.update)
    holed = Tokens(type(tokens.table)(**{**vars(tokens.table), "update": broken}))
    assert holed.shown(Quantity.UPDATE, holed.lines(frozenset())[0]) == (None,) * 3


def test_text_only_has_no_block_and_no_view():
    plain = table(side=0, tiles=(0, 0))
    assert Tokens(plain).blocks == ()
    assert Tokens(plain).views == ()


def test_every_pixel_shows_the_patch_that_it_lies_in():
    boxes = [(10 * y + x, Patch(0, x / 3, y / 2, (x + 1) / 3, (y + 1) / 2)) for y in range(2) for x in range(3)]
    found = np.array([[cell[0] for cell in line] for line in owners(boxes, 9, 4)])
    assert found.tolist() == np.kron([[0, 1, 2], [10, 11, 12]], np.ones((2, 3), int)).tolist()


def test_a_pixel_that_many_patches_fall_into_shows_all_of_them():
    boxes = [(y * 8 + x, Patch(0, x / 8, y / 8, (x + 1) / 8, (y + 1) / 8)) for y in range(8) for x in range(8)]
    found = owners(boxes, 4, 4)
    assert found[0][0] == (0, 1, 8, 9)
    assert sorted(t for line in found for cell in line for t in cell) == list(range(64))


def test_a_box_beyond_the_picture_is_cut_off():
    """Tiles are cut from a canvas that is larger than the picture."""
    assert owners([(7, Patch(0, -0.5, -0.5, 0.5, 0.5))], 2, 2) == (((7,), ()), ((), ()))


def _patches(tokens: Tokens, view: int, **given) -> Patches:
    return Patches(tokens, view, Quantity.NORM, Range(0, 1), 0, None, PALETTES[DARK], True, **given)


def test_a_click_on_the_picture_finds_the_token_drawn_there(tokens: Tokens):
    width, height = 48, 20
    for view, first, across in ((0, 4, 4), (1, 20, 9)):
        patches = _patches(tokens, view)
        columns, down = patches.size(width, height)
        left = (width - columns) // 2
        assert patches.token_at(left, 0, width, height) == first
        last = patches.token_at(left + columns - 1, down // 2 - 1, width, height)
        assert last == first + 3 * across + (3 if view == 0 else 7)
        assert patches.token_at(left - 1, 0, width, height) is None


def test_the_map_has_the_colour_of_each_patch():
    """Two patches side by side, one at each end of the scale, over a white picture."""
    given = table(side=2, tiles=(0, 0), text=0, layers=1)
    norm = (tuple(1.0 if t in (5, 7) else 0.0 for t in range(len(given.tokens))),)
    white = type(thumbnail())(2, 2, "////////////////")
    shown = card().__class__(**{**vars(card()), "pictures": (white,)})
    changed = type(given)(**{**vars(given), "norm": norm * 2, "card": shown})
    rows = _patches(Tokens(changed), 0).rows(8, 4)
    colours = [[sure(sure(s.style).bgcolor).name for s in line if s.text] for line in rows]
    assert colours == [["#262626", "#ffffaf"]] * 4


def test_a_picture_keeps_its_shape():
    assert fitted(96, 64, 48, 40) == (48, 32)
    assert fitted(64, 128, 100, 10) == (10, 20)
    assert fitted(96, 64, 0, 5) == (0, 0)


def test_pixels_are_the_means_of_their_parts():
    picture = thumbnail(96, 64)
    raw = np.frombuffer(base64.b64decode(picture.rgb), np.uint8).reshape(64, 96, 3)
    expected = raw.reshape(16, 4, 24, 4, 3).mean((1, 3)).astype(int)
    assert np.array_equal(np.array(pixels(picture, 24, 16)), expected)


def test_a_picture_in_ascii_is_made_of_coloured_blanks():
    rows = picture_rows(thumbnail(), 30, 10, "#000000", ascii=True)
    assert all(row.text.isascii() and row.cell_length == 30 for row in rows)
    assert len({sure(sure(s.style).bgcolor).name for row in rows for s in row}) > 5


@pytest.mark.parametrize(("width", "layers"), [(80, 33), (80, 12), (120, 101), (40, 101), (20, 5), (3, 5)])
def test_every_layer_can_be_reached_and_clicked(width: int, layers: int):
    for layer in range(layers):
        columns = Columns.of(width, layers, layer)
        assert columns.label + columns.count * columns.each <= max(width, 1)
        if width > 20:
            assert columns.first <= layer < columns.first + columns.count
            x = columns.label + (layer - columns.first) * columns.each
            assert columns.layer_at(x) == layer
            assert columns.layer_at(x + columns.each - 1) == layer
        assert columns.layer_at(columns.label - 1) is None


def test_a_value_that_is_undefined_is_a_dot_and_no_colour(tokens: Tokens):
    residual = tuple((None, *row[1:]) for row in tokens.table.residual)
    holed = Tokens(type(tokens.table)(**{**vars(tokens.table), "residual": residual}))
    lines = holed.lines(frozenset())
    heat = Heat(holed, Quantity.RESIDUAL, Scale.LINEAR, lines, 0, 3, 1, PALETTES[DARK], True)
    first = heat.rows(40, 10)[1]
    assert first.text[-12:] == "·" * 12


def test_rows_far_out_do_not_press_the_others_together_and_are_counted():
    points = [(x / 10, x / 20) for x in range(200)] + [(1e6, 1e6)]
    scatter = Scatter(points, [0] * 201, PALETTES[DARK])
    rows = scatter.rows(40, 12)
    assert sum(char != "⠀" and ord(char) > 0x2800 for row in rows[:-1] for char in row.text) > 30
    assert " 1 outside  x " in rows[-1].text
    assert " 1 of 201 outside   x " in scatter.rows(60, 12)[-1].text
    whole = Scatter(points, [0] * 201, PALETTES[DARK], whole=True).rows(40, 12)
    assert "outside" not in whole[-1].text
    assert sum(ord(char) > 0x2800 for row in whole[:-1] for char in row.text) == 2


def test_dots_lie_where_the_points_are():
    """The four corners and the middle of a square."""
    points = [(0.0, 0.0), (1.0, 0.0), (0.0, 1.0), (1.0, 1.0), (0.5, 0.5)]
    rows = Scatter(points, [0, 0, 0, 0, 1], PALETTES[DARK], whole=True).rows(20, 11)
    drawn = {(y, x) for y, row in enumerate(rows[:-1]) for x, char in enumerate(row.text) if ord(char) > 0x2800}
    assert drawn == {(0, 0), (0, 19), (9, 0), (9, 19), (5, 10)} or drawn == {(0, 0), (0, 19), (9, 0), (9, 19), (4, 10)}


def test_a_place_among_tokens_is_kept_when_pictures_are_unfolded_and_folded():
    reading = Reading(Tokens(table(side=2, tiles=(1, 1), text=5)), token=6)
    assert (reading.line.start, reading.line.block, len(reading.opened)) == (6, None, 1)
    reading.fold()
    assert sure(reading.line.block).start == 4
    assert reading.opened == frozenset()
    reading.fold()
    assert reading.line.open
    reading.to_line(reading.at + 1)
    assert (reading.line.start, reading.line.block) == (4, None)
    reading.fold_all()
    assert sure(reading.line.block).start == 4
    reading.to_line(10**6)
    assert reading.line.start == reading.tokens.count - 1
    reading.to_part(1)
    assert reading.line.start == reading.tokens.count - 1
    reading.to_part(-1)
    assert reading.line.start < reading.tokens.count - 1


def test_a_token_that_is_not_there_begins_at_the_top():
    reading = Reading(Tokens(table()), token=10**6)
    assert reading.at == 0
