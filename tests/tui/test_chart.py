"""The chart: what plotext draws and what is laid over it."""

import math
import random
from collections import Counter
from itertools import pairwise

import pytest
from rich.style import Style
from textual.strip import Strip

from microscope_tui.tui.content.curves import Axes, Line, limits, nearest
from microscope_tui.tui.session import DARK, LIGHT
from microscope_tui.tui.themes import CONTRAST, MARKERS, PALETTES, in_colours
from microscope_tui.tui.widgets import chart, plot
from microscope_tui.tui.widgets.chart import BRAILLE, Drawing, drawing
from microscope_tui.tui.widgets.ticks import Scale

PALETTE = PALETTES[DARK]


def _line(count: int, colour: int = 0, gap: tuple[int, ...] = (), half: float | None = 0.1, shift: float = 0.0) -> Line:
    values = tuple(None if i in gap else 0.5 + 0.3 * math.sin(i / 3) + shift for i in range(count))
    low = tuple(None if v is None or half is None else v - half for v in values)
    high = tuple(None if v is None or half is None else v + half for v in values)
    return Line(tuple(range(count)), values, low, high, colour)


def _styles(strip: Strip) -> list[tuple[str, Style]]:
    return [(char, segment.style or Style()) for segment in strip for char in segment.text]


def _background(style: Style) -> str:
    return style.bgcolor.get_truecolor().hex if style.bgcolor else ""


def _colour(style: Style) -> str:
    return style.color.get_truecolor().hex if style.color else ""


def _plot(d: Drawing) -> list[list[tuple[str, Style]]]:
    return [_styles(d.line(y))[d.left :] for y in range(d.rows)]


def _dots(d: Drawing, column: int) -> list[int]:
    """Rows of a column (of the plot area) that hold braille dots."""
    return [y for y, row in enumerate(_plot(d)) if ord(row[column][0]) > BRAILLE]


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
            for row in _dots(d, column):
                assert (at_zero - row) * sign >= 0, (height, value)
                if row == at_zero:
                    dots = ord(_plot(d)[row][column][0]) - BRAILLE
                    assert not dots & (LOWER if sign > 0 else UPPER), (height, value)


def test_the_line_passes_through_its_values():
    line = _line(25)
    d = Drawing((line,), Axes(24), 56, 16, PALETTE)
    for layer, value in zip(line.places, line.value, strict=True):
        row = d.rows - 1 - d.y.cell(value or 0.0)
        assert row in _dots(d, d.column(layer) - d.left), layer


def test_ticks_stand_at_their_values():
    d = Drawing((_line(25),), Axes(24), 56, 16, PALETTE)
    seen = 0
    for y in range(d.rows):
        label = d.line(y).text[: d.left - 1].strip()
        if label:
            assert y == d.rows - 1 - d.y.cell(float(label))
            seen += 1
    assert seen >= 3


def _tick_rows(d: Drawing) -> dict[int, float]:
    labels = {y: d.line(y).text[: d.left - 1].strip() for y in range(d.rows)}
    return {y: float(label) for y, label in labels.items() if label}


def test_ticks_fall_on_rows_evenly():
    draw = random.Random(1)
    three = 0
    for _ in range(200):
        low, rows = draw.uniform(-1, 1) * 10 ** draw.uniform(-2, 2), draw.choice([6, 7, 10, 13, 20, 24])
        high = low + 10 ** draw.uniform(-2, 2)
        d = Drawing((Line((0, 1), (low, high), (None,) * 2, (None,) * 2),), Axes(1), 40, rows + 1, PALETTE)
        ticks = _tick_rows(d)
        assert len({after - before for before, after in pairwise(ticks)}) == 1, (low, high, rows, ticks)
        assert list(ticks) == [d.rows - 1 - d.y.cell(tick) for tick in ticks.values()]
        steps = {round(before - after, 9) for before, after in pairwise(ticks.values())}
        assert len(steps) == 1
        assert d.y.low <= low < high <= d.y.high
        assert d.y.high - d.y.low <= 1.4 * (high - low) + 0.01 * abs(high)
        three += len(ticks) >= 3
    assert three > 140


def test_an_axis_that_was_given_stays_as_it_is():
    for rows in range(5, 30):
        d = Drawing((_line(25),), Axes(24, ys=(0.03, 1.27)), 40, rows + 1, PALETTE)
        assert (d.y.low, d.y.high) == (0.03, 1.27)
        assert len(_tick_rows(d)) >= 2


def test_layer_numbers_stand_below_their_columns():
    d = Drawing((_line(25),), Axes(24), 56, 16, PALETTE)
    row = d.line(d.rows).text
    assert row.split()[0] == "0"
    assert row.split()[-1] == "24"
    assert abs(row.index("12") - d.column(12)) <= 1


def test_the_cursor_restyles_cells_and_builds_nothing(monkeypatch: pytest.MonkeyPatch):
    d = Drawing((_line(25),), Axes(24), 56, 16, PALETTE)
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
                cells = _styles(strip)
                lit = [x for x, (_, style) in enumerate(cells) if _background(style) == PALETTE.cursor]
                assert lit == [d.column(layer)]
                others = [char for x, (char, _) in enumerate(cells) if x != d.column(layer)]
                assert others == [char for x, char in enumerate(before[y]) if x != d.column(layer)]


def test_the_value_under_the_cursor_carries_the_sign_of_its_series():
    lines = (_line(25), _line(25, 1, shift=-0.5))
    d = Drawing(lines, Axes(24), 56, 16, PALETTE)
    column = [d.line(y, 12).text[d.column(12)] for y in range(d.rows)]
    assert column.count("●") == 1
    assert column.count("◆") == 1


def test_the_number_of_the_layer_is_marked_below():
    d = Drawing((_line(25),), Axes(24), 56, 16, PALETTE)
    marked = "".join(c for c, s in _styles(d.line(d.rows, 7)) if _background(s) == PALETTE.cursor_line)
    assert marked == " 7 "


@pytest.mark.parametrize("last", [8, 24, 100])
def test_the_numbers_at_both_ends_stand_still_when_the_cursor_is_on_them(last: int):
    d = Drawing((_line(last + 1),), Axes(last), 40, 12, PALETTE)
    for layer in (0, last):
        assert d.line(d.rows, layer).text == d.line(d.rows).text


def test_the_plot_stays_where_it_is_when_the_ticks_get_another_decimal():
    lefts = {
        Drawing((_line(25),), Axes(24, ys=ys), 39, 9, PALETTE).left for ys in ((0.0, 2.0), (0.4, 1.1), (0.0, 20.0))
    }
    assert lefts == {5}


def test_without_colours_signs_tell_lines_apart_and_a_single_line_needs_none():
    palette = in_colours(PALETTE, None)
    assert palette.marked

    def signs(*lines: Line) -> int:
        d = Drawing(lines, Axes(24), 56, 16, palette)
        return sum(d.line(y).text.count(sign) for y in range(d.rows) for sign in "●◆")

    assert signs(_line(25)) == 0
    assert signs(_line(25), _line(25, colour=1, shift=0.4)) > 4


FLAT = in_colours(PALETTE, None)
"""Without colours."""


def _count(d: Drawing, signs: str) -> list[int]:
    text = "".join(d.line(y).text for y in range(d.rows))
    return [text.count(sign) for sign in signs]


@pytest.mark.parametrize("layers", [9, 25, 101])
@pytest.mark.parametrize("size", [(39, 7), (80, 18), (120, 40)])
def test_lines_that_lie_on_each_other_all_keep_signs(layers: int, size: tuple[int, int]):
    for count in (2, 3, 4):
        lines = [_line(layers, colour) for colour in range(count)]
        seen = _count(Drawing(lines, Axes(layers - 1), *size, FLAT), "".join(MARKERS[:count]))
        assert min(seen) >= 2, (count, seen)
        assert max(seen) - min(seen) <= 1


def test_the_signs_stay_where_they_are_when_another_line_is_on_top():
    lines = [_line(25, colour, shift=0.1 * colour) for colour in range(4)]

    def signs(lines: list[Line]) -> list[list[str]]:
        d = Drawing(lines, Axes(24), 39, 9, FLAT)
        return [[char if char in MARKERS else "" for char in d.line(y).text] for y in range(d.rows)]

    assert signs(lines) == signs([lines[2], lines[0], lines[1], lines[3]])


def test_a_line_with_gaps_and_fewer_layers_keeps_signs_below_others():
    lines = [_line(25, 0), _line(25, 1, gap=(0, 1, 2, 3, 4, 5, 9, 10, 15)), _line(13, 2)]
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
    line = _line(25, half=0.15)
    d = Drawing((line,), Axes(24), 56, 16, FLAT)
    bars = _bars(d)
    layers = {d.column(layer): layer for layer in range(25)}
    assert len(bars) >= 5
    for column, rows in bars.items():
        low, high = (d.rows - 1 - d.y.cell(bound[layers[column]] or 0.0) for bound in (line.low, line.high))
        assert {*rows, *_dots(d, column - d.left)} == set(range(high, low + 1)) | set(_dots(d, column - d.left))
    assert not _bars(Drawing((line,), Axes(24, plain=True), 56, 16, FLAT))
    assert not _bars(Drawing((line,), Axes(24), 56, 16, PALETTES[CONTRAST]))
    assert not _bars(Drawing((_line(25, half=1e-4),), Axes(24), 56, 16, FLAT))


def test_bars_stand_at_the_signs_of_their_line():
    lines = (_line(25, 0, half=0.2), _line(25, 1, half=0.2, shift=-1.0))
    d = Drawing(lines, Axes(24), 80, 30, FLAT)
    for column, rows in _bars(d).items():
        signs = [(y, char) for y in range(d.rows) if (char := d.line(y).text[column]) in MARKERS]
        assert len(signs) == 1
        assert min(rows) - 1 <= signs[0][0] <= max(rows) + 1


def test_of_three_lines_only_the_first_has_bars():
    lines = (_line(25, 2, half=0.2), _line(25, 0, half=0.2, shift=-1.5), _line(25, 1, half=0.2, shift=1.5))
    d = Drawing(lines, Axes(24), 80, 40, FLAT)
    columns = [x for y in range(d.rows) for x, char in enumerate(d.line(y).text) if char == "▲"]
    assert _bars(d)
    assert set(_bars(d)) <= set(columns)


def test_columns_and_layers_are_each_others_inverse():
    d = Drawing((_line(25),), Axes(24), 56, 16, PALETTE)
    assert [d.layer_at(d.column(layer)) for layer in range(25)] == list(range(25))
    assert d.layer_at(0) == 0
    assert d.layer_at(999) == 24


def test_a_gap_is_a_gap():
    d = Drawing((_line(25, gap=(10, 11, 12), half=None),), Axes(24), 56, 16, PALETTE)
    left, right = d.column(9) - d.left, d.column(13) - d.left
    assert _dots(d, left)
    assert _dots(d, right)
    assert all(not _dots(d, x) for x in range(left + 1, right))


def test_a_value_between_two_gaps_is_still_drawn():
    d = Drawing((_line(9, gap=(3, 5)),), Axes(8), 56, 16, PALETTE)
    assert _dots(d, d.column(4) - d.left)


def test_intervals_tint_the_cells_they_cover():
    line = _line(25, half=0.1)
    d = Drawing((line,), Axes(24), 56, 16, PALETTE)
    column = d.column(12) - d.left
    tinted = [y for y, row in enumerate(_plot(d)) if _background(row[column][1]) == PALETTE.tint(0)]
    top, bottom = (d.rows - 1 - d.y.cell(bound) for bound in (line.high[12] or 0, line.low[12] or 0))
    assert tinted == list(range(top, bottom + 1))


def test_no_interval_no_tint_and_a_thin_one_none_either():
    for half in (None, 1e-4):
        d = Drawing((_line(25, half=half),), Axes(24), 56, 16, PALETTE)
        assert {_background(s) for row in _plot(d) for _, s in row} == {PALETTE.background}


def test_where_two_intervals_overlap_the_tint_is_their_own():
    d = Drawing((_line(25), _line(25, 1, shift=0.05)), Axes(24), 56, 16, PALETTE)
    assert PALETTE.overlap in {_background(s) for row in _plot(d) for _, s in row}


def test_at_a_crossing_no_dot_is_lost():
    up = Line((0, 1), (0.0, 1.0), (None, None), (None, None), 0)
    down = Line((0, 1), (1.0, 0.0), (None, None), (None, None), 1)

    def dots(*lines: Line) -> set[tuple[int, int, int]]:
        d = Drawing(lines, Axes(1), 40, 12, PALETTE)
        return {
            (x, y, bit)
            for y, row in enumerate(_plot(d))
            for x, (char, _) in enumerate(row)
            for bit in range(8)
            if ord(char) >= BRAILLE and ord(char) >> bit & 1
        }

    assert dots(up, down) == dots(up) | dots(down)


@pytest.mark.parametrize("count", [2, 3, 4])
@pytest.mark.parametrize("plain", [False, True])
def test_lines_on_each_other_take_turns_and_the_first_is_seen_most(count: int, plain: bool):
    """At 80 columns a pane has some thirty cells for its curves."""
    d = Drawing(tuple(_line(25, n) for n in range(count)), Axes(24, plain=plain), 38, 8, PALETTE)
    seen = Counter(_colour(s) for row in _plot(d) for c, s in row if ord(c) > BRAILLE)
    assert set(seen) == {PALETTE.of(n) for n in range(count)}
    assert seen.most_common(1)[0][0] == PALETTE.of(0)


def test_lines_apart_keep_their_colours():
    d = Drawing((_line(25, shift=1.0), _line(25, 1)), Axes(24), 56, 16, PALETTE)
    colours = [{_colour(s) for c, s in row if ord(c) > BRAILLE} for row in _plot(d)]
    drawn = [of for of in colours if of]
    assert (drawn[0], drawn[-1]) == ({PALETTE.of(0)}, {PALETTE.of(1)})
    assert not any(len(of) > 1 for of in drawn)


@pytest.mark.parametrize("lines", [(), (_line(9, gap=tuple(range(9))),), (Line((), (), (), ()),)])
def test_nothing_to_draw_draws_the_axes_only(lines: tuple[Line, ...]):
    d = Drawing(lines, Axes(8), 40, 12, PALETTE)
    assert all(ord(c) < BRAILLE for row in _plot(d) for c, _ in row)
    assert d.line(3, 4).cell_length == 40


def test_values_that_are_not_numbers_are_gaps():
    bad = Line((0, 1, 2, 3), (0.1, float("nan"), float("inf"), 0.4), (None, 0.0, -math.inf, 0.3), (None, 1.0, 2.0, 0.5))
    d = Drawing((bad,), Axes(3), 40, 12, PALETTE)
    assert _dots(d, d.column(0) - d.left)
    assert not _dots(d, d.column(2) - d.left)


@pytest.mark.parametrize("values", [(0.5,), (0.0, 0.0, 0.0), (1.0, 1.0), (1e-12, 2e-12), (1e9, 1e9 + 1), (-3.0, -2.0)])
def test_odd_ranges(values: tuple[float, ...]):
    none = (None,) * len(values)
    d = Drawing((Line(tuple(range(len(values))), values, none, none),), Axes(len(values) - 1), 50, 14, PALETTE)
    assert _dots(d, d.column(0) - d.left)
    assert all(d.line(y, 0).cell_length == 50 for y in range(14))


def test_a_hundred_layers():
    line = _line(101)
    d = Drawing((line,), Axes(100), 60, 14, PALETTE)
    assert d.line(d.rows).text.split()[-1] == "100"
    assert d.column(100) == 59
    assert " 57 " in d.line(d.rows, 57).text


@pytest.mark.parametrize("width", [0, 1, 2, 3, 4, 5, 8, 13, 40])
@pytest.mark.parametrize("height", [0, 1, 2, 3, 4, 9])
def test_every_size_can_be_drawn(width: int, height: int):
    d = Drawing((_line(25), _line(25, 1)), Axes(24), width, height, PALETTE)
    for y in range(height):
        for layer in (None, 0, 12, 24, 30):
            assert d.line(y, layer).cell_length == width


def test_a_wide_interval_does_not_flatten_the_line():
    line = Line((0, 1, 2), (0.50, 0.51, 0.52), (0.4, -50.0, 0.4), (0.6, 50.0, 0.6))
    d = Drawing((line,), Axes(2), 60, 20, PALETTE)
    rows = [d.y.cell(v) for v in (0.50, 0.52)]
    assert rows[1] - rows[0] >= 3


def test_drawings_are_made_once():
    lines = (_line(25),)
    chart.drawing.cache_clear()
    first = drawing(lines, Axes(24), 56, 16, PALETTE)
    assert drawing((_line(25),), Axes(24), 56, 16, PALETTE) is first
    assert drawing(lines, Axes(24), 57, 16, PALETTE) is not first
    assert drawing(lines, Axes(24), 56, 16, PALETTES[LIGHT]) is not first
    assert drawing.cache_info().misses == 3


def test_few_colours_put_signs_on_the_lines():
    d = Drawing((_line(25), _line(25, 1, shift=-0.5)), Axes(24), 56, 16, in_colours(PALETTES[DARK], None))
    text = "".join(d.line(y).text for y in range(d.rows))
    assert text.count("●") >= 4
    assert text.count("◆") >= 4
    plain = Drawing((_line(25), _line(25, 1)), Axes(24), 56, 16, PALETTE)
    assert "●" not in "".join(plain.line(y).text for y in range(plain.rows))


def test_scale_agrees_with_its_inverse():
    scale = Scale(0.0, 24.0, 50, 2)
    assert [scale.cell(scale.value(cell)) for cell in range(50)] == list(range(50))


def test_a_logarithmic_axis_is_labelled_with_the_values_themselves():
    line = Line((0, 1, 2, 3), (1.0, 10.0, 0.0, 100.0), (0.5, -1.0, None, 50.0), (2.0, 20.0, None, 200.0)).logarithmic()
    assert line.value == (0.0, 1.0, None, 2.0)
    d = Drawing((line,), Axes(3, log=True), 56, 16, PALETTE)
    labels = {y: text for y in range(d.rows) if (text := d.line(y).text[: d.left - 1].strip())}
    assert {"1", "10", "100"} <= set(labels.values())
    for y, text in labels.items():
        assert y == d.rows - 1 - d.y.cell(math.log10(float(text)))


def test_a_logarithmic_axis_over_a_narrow_range_has_round_numbers():
    d = Drawing((Line((0, 1), (4.0, 5.0), (None,) * 2, (None,) * 2).logarithmic(),), Axes(1, log=True), 56, 16, PALETTE)
    labels = [text for y in range(d.rows) if (text := d.line(y).text[: d.left - 1].strip())]
    assert len(labels) >= 3
    assert all(3.9 < float(text) < 5.1 for text in labels)


def test_a_logarithmic_axis_is_not_left_with_two_numbers():
    d = Drawing(
        (Line((0, 1), (0.49, 1.0), (None,) * 2, (None,) * 2).logarithmic(),), Axes(1, log=True), 56, 16, PALETTE
    )
    labels = {y: text for y in range(d.rows) if (text := d.line(y).text[: d.left - 1].strip())}
    assert len(labels) >= 3
    for y, text in labels.items():
        assert y == d.rows - 1 - d.y.cell(math.log10(float(text)))


BEFORE = Axes(8, -4, stages=((-4, "vision tower"), (-1, "connector")))


def _with_stages(shift: float = 0.0) -> Line:
    places = tuple(range(-4, 9))
    stages = ("vision tower",) * 3 + ("connector",) + ("",) * 9
    return Line(places, tuple(0.5 + 0.01 * p + shift for p in places), (None,) * 13, (None,) * 13, 0, stages)


def test_stages_before_the_decoder_stand_left_of_0_with_their_names():
    d = Drawing((_with_stages(),), BEFORE, 80, 16, PALETTE)
    assert d.column(-4) < d.column(-1) < d.column(0) < d.column(8)
    below = d.line(d.rows).text
    assert below[d.column(-4) :].startswith("vision tower")
    assert abs(below.index(" 0 ") + 1 - d.column(0)) <= 1
    assert " connector " in d.line(d.rows, -1).text
    assert any("┊" in d.line(y).text for y in range(d.rows))


def test_the_line_is_interrupted_between_two_stages():
    d = Drawing((_with_stages(),), BEFORE, 80, 16, PALETTE)
    gap = [x - d.left for x in range(d.column(-1) + 2, d.column(0) - 1)]
    assert gap
    assert all(not _dots(d, x) for x in gap)


def test_depth_numbers_the_layers_by_their_share():
    d = Drawing((_line(25),), Axes(24, depth=True), 56, 16, PALETTE)
    numbers = d.line(d.rows).text.split()
    assert numbers[0] == "0"
    assert numbers[-1] == "1"
    assert "0.4" in numbers
    assert " 0.50 " in d.line(d.rows, 12).text


def test_a_difference_has_a_line_at_0_and_signs_where_it_is_marked():
    line = Line((0, 1, 2), (-0.5, 0.1, 0.5), (-0.6, 0.0, 0.4), (-0.4, 0.2, 0.6), 1, marks=(True, False, True))
    d = Drawing((line,), Axes(2, zero=True), 56, 17, PALETTE)
    zero = d.line(d.rows - 1 - d.y.cell(0.0)).text
    assert zero.count("─") > 20
    signs = [(x, y) for y in range(d.rows) for x, char in enumerate(d.line(y).text) if char == "◆"]
    assert [x for x, _ in sorted(signs)] == [d.column(0), d.column(2)]


def test_a_plain_drawing_has_no_grid_no_tint_and_no_line_at_the_cursor():
    d = Drawing((_line(25),), Axes(24, plain=True), 56, 16, PALETTE)
    assert {_background(s) for row in _plot(d) for _, s in row} == {PALETTE.background}
    changed = [y for y in range(d.rows) if d.line(y, 12) != d.line(y)]
    assert len(changed) == 1
    assert "●" in d.line(changed[0], 12).text


def test_the_limits_of_a_difference_hold_0():
    low, high = limits([Line((0, 1), (0.4, 0.5), (None,) * 2, (None,) * 2)], zero=True)
    assert low < 0 < high


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
