"""The chart: what plotext draws and what is laid over it."""

import math
from collections import Counter

import pytest

from microscope_tui.tui.content.curves import Axes, Line, nearest
from microscope_tui.tui.session import DARK, LIGHT
from microscope_tui.tui.themes import CONTRAST, MARKERS, PALETTES, in_colours
from microscope_tui.tui.widgets import chart, plot
from microscope_tui.tui.widgets.chart import BRAILLE, Drawing, drawing
from tests.tui.drawn import PALETTE, background_of, colour_of, dots_of, plot_of, styles_of, wave

UPPER, LOWER = 0x01 | 0x02 | 0x08 | 0x10, 0x04 | 0x20 | 0x40 | 0x80
"""The dots of a braille cell above and below its middle."""


@pytest.mark.parametrize("ys", [None, (-0.013, 0.021), (-0.5, 0.002), (-0.0005, 0.3)])
@pytest.mark.parametrize("sign", [1, -1])
def test_what_is_above_0_stands_above_the_line_at_0_and_what_is_below_it_below(
    sign: int, ys: tuple[float, float] | None
):
    for height in range(4, 40):
        for value in (0.0002, 0.0047, 0.02):
            far = Line((0, 1), (0.05, -0.03), (None,) * 2, (None,) * 2, 1)
            near = Line((4, 9), (sign * value,) * 2, (None,) * 2, (None,) * 2)
            d = Drawing((near, far), Axes(9, zero=True, ys=ys), 56, height, PALETTE)
            assert d.y.low <= (ys or (-0.03, 0.05))[0] < 0 < (ys or (-0.03, 0.05))[1] <= d.y.high
            at_zero = d.rows - 1 - d.y.cell(0.0)
            assert "─" in d.line(at_zero).text
            column = d.column(6) - d.left
            for row in dots_of(d, column):
                assert (at_zero - row) * sign >= 0, (height, value)
                if row == at_zero:
                    dots = ord(plot_of(d)[row][column][0]) - BRAILLE
                    assert not dots & (LOWER if sign > 0 else UPPER), (height, value)


def test_the_line_passes_through_its_values():
    line = wave(25)
    d = Drawing((line,), Axes(24), 56, 16, PALETTE)
    for layer, value in zip(line.places, line.value, strict=True):
        row = d.rows - 1 - d.y.cell(value or 0.0)
        assert row in dots_of(d, d.column(layer) - d.left), layer


def test_the_cursor_restyles_cells_and_builds_nothing(monkeypatch: pytest.MonkeyPatch):
    d = Drawing((wave(25),), Axes(24), 56, 16, PALETTE)
    before = [d.line(y).text for y in range(16)]

    def fail(*args: object) -> None:
        raise AssertionError("built again")

    monkeypatch.setattr(plot, "dots", fail)
    monkeypatch.setattr(plot, "axes", fail)
    for layer in range(25):
        for y in range(16):
            strip = d.line(y, layer)
            assert strip.cell_length == 56
            if y < d.rows:
                cells = styles_of(strip)
                lit = [x for x, (_, style) in enumerate(cells) if background_of(style) == PALETTE.cursor]
                assert lit == [d.column(layer)]
                others = [char for x, (char, _) in enumerate(cells) if x != d.column(layer)]
                assert others == [char for x, char in enumerate(before[y]) if x != d.column(layer)]


def test_the_value_under_the_cursor_carries_the_sign_of_its_series():
    lines = (wave(25), wave(25, 1, shift=-0.5))
    d = Drawing(lines, Axes(24), 56, 16, PALETTE)
    column = [d.line(y, 12).text[d.column(12)] for y in range(d.rows)]
    assert column.count("●") == 1
    assert column.count("◆") == 1


def test_without_colours_signs_tell_lines_apart_and_a_single_line_needs_none():
    palette = in_colours(PALETTE, None)
    assert palette.marked

    def signs(*lines: Line) -> int:
        d = Drawing(lines, Axes(24), 56, 16, palette)
        return sum(d.line(y).text.count(sign) for y in range(d.rows) for sign in "●◆")

    assert signs(wave(25)) == 0
    assert signs(wave(25), wave(25, colour=1, shift=0.4)) > 4


FLAT = in_colours(PALETTE, None)
"""Without colours."""


def _count(d: Drawing, signs: str) -> list[int]:
    text = "".join(d.line(y).text for y in range(d.rows))
    return [text.count(sign) for sign in signs]


@pytest.mark.parametrize("layers", [9, 25, 101])
@pytest.mark.parametrize("size", [(39, 7), (80, 18), (120, 40)])
def test_lines_that_lie_on_each_other_all_keep_signs(layers: int, size: tuple[int, int]):
    for count in (2, 3, 4):
        lines = [wave(layers, colour) for colour in range(count)]
        seen = _count(Drawing(lines, Axes(layers - 1), *size, FLAT), "".join(MARKERS[:count]))
        assert min(seen) >= 2, (count, seen)
        assert max(seen) - min(seen) <= 1


def test_the_signs_stay_where_they_are_when_another_line_is_on_top():
    lines = [wave(25, colour, shift=0.1 * colour) for colour in range(4)]

    def signs(lines: list[Line]) -> list[list[str]]:
        d = Drawing(lines, Axes(24), 39, 9, FLAT)
        return [[char if char in MARKERS else "" for char in d.line(y).text] for y in range(d.rows)]

    assert signs(lines) == signs([lines[2], lines[0], lines[1], lines[3]])


def test_a_line_with_gaps_and_fewer_layers_keeps_signs_below_others():
    lines = [wave(25, 0), wave(25, 1, gap=(0, 1, 2, 3, 4, 5, 9, 10, 15)), wave(13, 2)]
    assert min(_count(Drawing(lines, Axes(24), 39, 7, FLAT), "●◆▲")) >= 2


def test_marks_on_each_other_are_both_seen_and_hollow_where_there_are_none():
    def line(colour: int) -> Line:
        return Line(tuple(range(12)), (0.5,) * 12, (None,) * 12, (None,) * 12, colour, marks=(True,) * 6 + (False,) * 6)

    for palette, hollow in ((PALETTE, False), (FLAT, True)):
        full, empty = (_count(Drawing((line(1), line(2)), Axes(11), 56, 16, palette), s) for s in ("◆▲", "◇△"))
        assert full == [3, 3]
        assert all(bool(count) is hollow for count in empty)


def _bars(d: Drawing) -> dict[int, list[int]]:
    """Rows of the bars, by column."""
    found: dict[int, list[int]] = {}
    for y in range(d.rows):
        for x, char in enumerate(d.line(y).text):
            if char == "┆":
                found.setdefault(x, []).append(y)
    return found


def test_without_tints_bars_show_intervals():
    line = wave(25, half=0.15)
    d = Drawing((line,), Axes(24), 56, 16, FLAT)
    bars = _bars(d)
    layers = {d.column(layer): layer for layer in range(25)}
    assert len(bars) >= 5
    for column, rows in bars.items():
        low, high = (d.rows - 1 - d.y.cell(bound[layers[column]] or 0.0) for bound in (line.low, line.high))
        assert {*rows, *dots_of(d, column - d.left)} == set(range(high, low + 1)) | set(dots_of(d, column - d.left))
    assert not _bars(Drawing((line,), Axes(24, plain=True), 56, 16, FLAT))
    assert not _bars(Drawing((line,), Axes(24), 56, 16, PALETTES[CONTRAST]))
    assert not _bars(Drawing((wave(25, half=1e-4),), Axes(24), 56, 16, FLAT))


def test_bars_stand_at_the_signs_of_their_line():
    lines = (wave(25, 0, half=0.2), wave(25, 1, half=0.2, shift=-1.0))
    d = Drawing(lines, Axes(24), 80, 30, FLAT)
    for column, rows in _bars(d).items():
        signs = [(y, char) for y in range(d.rows) if (char := d.line(y).text[column]) in MARKERS]
        assert len(signs) == 1
        assert min(rows) - 1 <= signs[0][0] <= max(rows) + 1


def test_of_three_lines_only_the_first_has_bars():
    lines = (wave(25, 2, half=0.2), wave(25, 0, half=0.2, shift=-1.5), wave(25, 1, half=0.2, shift=1.5))
    d = Drawing(lines, Axes(24), 80, 40, FLAT)
    columns = [x for y in range(d.rows) for x, char in enumerate(d.line(y).text) if char == "▲"]
    assert _bars(d)
    assert set(_bars(d)) <= set(columns)


def test_a_gap_is_a_gap():
    d = Drawing((wave(25, gap=(10, 11, 12), half=None),), Axes(24), 56, 16, PALETTE)
    left, right = d.column(9) - d.left, d.column(13) - d.left
    assert dots_of(d, left)
    assert dots_of(d, right)
    assert all(not dots_of(d, x) for x in range(left + 1, right))


def test_a_value_between_two_gaps_is_still_drawn():
    d = Drawing((wave(9, gap=(3, 5)),), Axes(8), 56, 16, PALETTE)
    assert dots_of(d, d.column(4) - d.left)


def test_intervals_tint_the_cells_they_cover():
    line = wave(25, half=0.1)
    d = Drawing((line,), Axes(24), 56, 16, PALETTE)
    column = d.column(12) - d.left
    tinted = [y for y, row in enumerate(plot_of(d)) if background_of(row[column][1]) == PALETTE.tint(0)]
    top, bottom = (d.rows - 1 - d.y.cell(bound) for bound in (line.high[12] or 0, line.low[12] or 0))
    assert tinted == list(range(top, bottom + 1))


def test_no_interval_no_tint_and_a_thin_one_none_either():
    for half in (None, 1e-4):
        d = Drawing((wave(25, half=half),), Axes(24), 56, 16, PALETTE)
        assert {background_of(s) for row in plot_of(d) for _, s in row} == {PALETTE.background}


def test_where_two_intervals_overlap_the_tint_is_their_own():
    d = Drawing((wave(25), wave(25, 1, shift=0.05)), Axes(24), 56, 16, PALETTE)
    assert PALETTE.overlap in {background_of(s) for row in plot_of(d) for _, s in row}


def test_at_a_crossing_no_dot_is_lost():
    up = Line((0, 1), (0.0, 1.0), (None, None), (None, None), 0)
    down = Line((0, 1), (1.0, 0.0), (None, None), (None, None), 1)

    def dots(*lines: Line) -> set[tuple[int, int, int]]:
        d = Drawing(lines, Axes(1), 40, 12, PALETTE)
        return {
            (x, y, bit)
            for y, row in enumerate(plot_of(d))
            for x, (char, _) in enumerate(row)
            for bit in range(8)
            if ord(char) >= BRAILLE and ord(char) >> bit & 1
        }

    assert dots(up, down) == dots(up) | dots(down)


@pytest.mark.parametrize("count", [2, 3, 4])
@pytest.mark.parametrize("plain", [False, True])
def test_lines_on_each_other_take_turns_and_the_first_is_seen_most(count: int, plain: bool):
    """At 80 columns a pane has some thirty cells for its curves."""
    d = Drawing(tuple(wave(25, n) for n in range(count)), Axes(24, plain=plain), 38, 8, PALETTE)
    seen = Counter(colour_of(s) for row in plot_of(d) for c, s in row if ord(c) > BRAILLE)
    assert set(seen) == {PALETTE.of(n) for n in range(count)}
    assert seen.most_common(1)[0][0] == PALETTE.of(0)


def test_lines_apart_keep_their_colours():
    d = Drawing((wave(25, shift=1.0), wave(25, 1)), Axes(24), 56, 16, PALETTE)
    colours = [{colour_of(s) for c, s in row if ord(c) > BRAILLE} for row in plot_of(d)]
    drawn = [of for of in colours if of]
    assert (drawn[0], drawn[-1]) == ({PALETTE.of(0)}, {PALETTE.of(1)})
    assert not any(len(of) > 1 for of in drawn)


@pytest.mark.parametrize("lines", [(), (wave(9, gap=tuple(range(9))),), (Line((), (), (), ()),)])
def test_nothing_to_draw_draws_the_axes_only(lines: tuple[Line, ...]):
    d = Drawing(lines, Axes(8), 40, 12, PALETTE)
    assert all(ord(c) < BRAILLE for row in plot_of(d) for c, _ in row)
    assert d.line(3, 4).cell_length == 40


def test_values_that_are_not_numbers_are_gaps():
    bad = Line((0, 1, 2, 3), (0.1, float("nan"), float("inf"), 0.4), (None, 0.0, -math.inf, 0.3), (None, 1.0, 2.0, 0.5))
    d = Drawing((bad,), Axes(3), 40, 12, PALETTE)
    assert dots_of(d, d.column(0) - d.left)
    assert not dots_of(d, d.column(2) - d.left)


@pytest.mark.parametrize("values", [(0.5,), (0.0, 0.0, 0.0), (1.0, 1.0), (1e-12, 2e-12), (1e9, 1e9 + 1), (-3.0, -2.0)])
def test_odd_ranges(values: tuple[float, ...]):
    none = (None,) * len(values)
    d = Drawing((Line(tuple(range(len(values))), values, none, none),), Axes(len(values) - 1), 50, 14, PALETTE)
    assert dots_of(d, d.column(0) - d.left)
    assert all(d.line(y, 0).cell_length == 50 for y in range(14))


def test_a_hundred_layers():
    line = wave(101)
    d = Drawing((line,), Axes(100), 60, 14, PALETTE)
    assert d.line(d.rows).text.split()[-1] == "100"
    assert d.column(100) == 59
    assert " 57 " in d.line(d.rows, 57).text


@pytest.mark.parametrize("width", [0, 1, 2, 3, 4, 5, 8, 13, 40])
@pytest.mark.parametrize("height", [0, 1, 2, 3, 4, 9])
def test_every_size_can_be_drawn(width: int, height: int):
    d = Drawing((wave(25), wave(25, 1)), Axes(24), width, height, PALETTE)
    for y in range(height):
        for layer in (None, 0, 12, 24, 30):
            assert d.line(y, layer).cell_length == width


def test_a_wide_interval_does_not_flatten_the_line():
    line = Line((0, 1, 2), (0.50, 0.51, 0.52), (0.4, -50.0, 0.4), (0.6, 50.0, 0.6))
    d = Drawing((line,), Axes(2), 60, 20, PALETTE)
    rows = [d.y.cell(v) for v in (0.50, 0.52)]
    assert rows[1] - rows[0] >= 3


def test_drawings_are_made_once():
    lines = (wave(25),)
    chart.drawing.cache_clear()
    first = drawing(lines, Axes(24), 56, 16, PALETTE)
    assert drawing((wave(25),), Axes(24), 56, 16, PALETTE) is first
    assert drawing(lines, Axes(24), 57, 16, PALETTE) is not first
    assert drawing(lines, Axes(24), 56, 16, PALETTES[LIGHT]) is not first
    assert drawing.cache_info().misses == 3


def test_few_colours_put_signs_on_the_lines():
    d = Drawing((wave(25), wave(25, 1, shift=-0.5)), Axes(24), 56, 16, in_colours(PALETTES[DARK], None))
    text = "".join(d.line(y).text for y in range(d.rows))
    assert text.count("●") >= 4
    assert text.count("◆") >= 4
    plain = Drawing((wave(25), wave(25, 1)), Axes(24), 56, 16, PALETTE)
    assert "●" not in "".join(plain.line(y).text for y in range(plain.rows))


def test_a_difference_has_a_line_at_0_and_signs_where_it_is_marked():
    line = Line((0, 1, 2), (-0.5, 0.1, 0.5), (-0.6, 0.0, 0.4), (-0.4, 0.2, 0.6), 1, marks=(True, False, True))
    d = Drawing((line,), Axes(2, zero=True), 56, 17, PALETTE)
    zero = d.line(d.rows - 1 - d.y.cell(0.0)).text
    assert zero.count("─") > 20
    signs = [(x, y) for y in range(d.rows) for x, char in enumerate(d.line(y).text) if char == "◆"]
    assert [x for x, _ in sorted(signs)] == [d.column(0), d.column(2)]


def test_a_plain_drawing_has_no_grid_no_tint_and_no_line_at_the_cursor():
    d = Drawing((wave(25),), Axes(24, plain=True), 56, 16, PALETTE)
    assert {background_of(s) for row in plot_of(d) for _, s in row} == {PALETTE.background}
    changed = [y for y in range(d.rows) if d.line(y, 12) != d.line(y)]
    assert len(changed) == 1
    assert "●" in d.line(changed[0], 12).text


def test_the_cursor_means_the_nearest_layer_of_a_shallower_model():
    eight_in_sixteen = [2.0 * layer for layer in range(9)]
    assert [nearest(eight_in_sixteen, position) for position in (0, 1, 2, 15, 16)] == [0, 0, 1, 7, 8]
    assert nearest(eight_in_sixteen[:-1], 16) is None
    assert nearest((0, 1, 2), 3) is None
    assert nearest((), 0) is None


def test_intervals_are_interpolated_only_between_neighbours_that_have_one():
    line = Line((0, 2, 4, 6), (1.0, 1.0, None, 1.0), (0.0, 0.5, None, 0.5), (2.0, 1.5, None, 1.5))
    assert line.band(1) == (0.25, 1.75)
    assert line.band(3) is None
    assert line.band(6) == (0.5, 1.5)
