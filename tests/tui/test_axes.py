"""The axes of a chart: ticks, layers and stages, logarithms and depth, each where its values are."""

import math
import random
from itertools import pairwise

import pytest

from microscope_tui.tui.content.curves import Axes, Line, limits
from microscope_tui.tui.widgets.chart import Drawing
from microscope_tui.tui.widgets.ticks import Scale
from tests.tui.drawn import PALETTE, background_of, dots_of, styles_of, wave


def test_ticks_stand_at_their_values():
    d = Drawing((wave(25),), Axes(24), 56, 16, PALETTE)
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
        d = Drawing((wave(25),), Axes(24, ys=(0.03, 1.27)), 40, rows + 1, PALETTE)
        assert (d.y.low, d.y.high) == (0.03, 1.27)
        assert len(_tick_rows(d)) >= 2


def test_layer_numbers_stand_below_their_columns():
    d = Drawing((wave(25),), Axes(24), 56, 16, PALETTE)
    row = d.line(d.rows).text
    assert row.split()[0] == "0"
    assert row.split()[-1] == "24"
    assert abs(row.index("12") - d.column(12)) <= 1


def test_the_number_of_the_layer_is_marked_below():
    d = Drawing((wave(25),), Axes(24), 56, 16, PALETTE)
    marked = "".join(c for c, s in styles_of(d.line(d.rows, 7)) if background_of(s) == PALETTE.cursor_line)
    assert marked == " 7 "


@pytest.mark.parametrize("last", [8, 24, 100])
def test_the_numbers_at_both_ends_stand_still_when_the_cursor_is_on_them(last: int):
    d = Drawing((wave(last + 1),), Axes(last), 40, 12, PALETTE)
    for layer in (0, last):
        assert d.line(d.rows, layer).text == d.line(d.rows).text


def test_the_plot_stays_where_it_is_when_the_ticks_get_another_decimal():
    lefts = {Drawing((wave(25),), Axes(24, ys=ys), 39, 9, PALETTE).left for ys in ((0.0, 2.0), (0.4, 1.1), (0.0, 20.0))}
    assert lefts == {5}


def test_columns_and_layers_are_each_others_inverse():
    d = Drawing((wave(25),), Axes(24), 56, 16, PALETTE)
    assert [d.layer_at(d.column(layer)) for layer in range(25)] == list(range(25))
    assert d.layer_at(0) == 0
    assert d.layer_at(999) == 24


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
    assert all(not dots_of(d, x) for x in gap)


def test_depth_numbers_the_layers_by_their_share():
    d = Drawing((wave(25),), Axes(24, depth=True), 56, 16, PALETTE)
    numbers = d.line(d.rows).text.split()
    assert numbers[0] == "0"
    assert numbers[-1] == "1"
    assert "0.4" in numbers
    assert " 0.50 " in d.line(d.rows, 12).text


def test_the_limits_of_a_difference_hold_0():
    low, high = limits([Line((0, 1), (0.4, 0.5), (None,) * 2, (None,) * 2)], zero=True)
    assert low < 0 < high
