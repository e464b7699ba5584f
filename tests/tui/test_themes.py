"""Themes: told apart by people who see fewer colours, readable, and made by the user."""

import colorsys
import math
from itertools import combinations

import pytest
from rich.color import Color, ColorSystem

from microscope_tui.errors import MicroscopeError
from microscope_tui.settings import THEMES, Settings
from microscope_tui.terms import Modality
from microscope_tui.tui.output.ascii import ascii_char
from microscope_tui.tui.session import Session
from microscope_tui.tui.themes import ANSI, CONTRAST, DARK, KINDS, LIGHT, MARKERS, PALETTES, in_colours, palettes
from tests.sure import sure
from tests.tui.driving import explorer, filled
from tests.tui.fake import MODELS, SLICE, FakeSource, Shape, made_up

# Machado, Oliveira & Fernandes 2009, table 1, severity 1.0: linear RGB as seen with each deficiency.
DEFICIENCIES = {
    "normal": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "protanopia": ((0.152286, 1.052583, -0.204868), (0.114503, 0.786281, 0.099216), (-0.003882, -0.048116, 1.051998)),
    "deuteranopia": ((0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413), (-0.011820, 0.042940, 0.968881)),
    "tritanopia": ((1.255528, -0.076749, -0.178779), (-0.078411, 0.930809, 0.147602), (0.004733, 0.691367, 0.303900)),
}
SRGB_TO_XYZ = ((0.4124564, 0.3575761, 0.1804375), (0.2126729, 0.7151522, 0.0721750), (0.0193339, 0.1191920, 0.9503041))
WHITE = (0.95047, 1.0, 1.08883)
SHIPPED = [name for name in PALETTES if name != ANSI]


def _linear(colour: str) -> list[float]:
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    return [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]


def _times(matrix, vector):
    return [sum(a * b for a, b in zip(row, vector, strict=True)) for row in matrix]


def _lab(colour: str, deficiency: str) -> tuple[float, float, float]:
    seen = [min(max(c, 0.0), 1.0) for c in _times(DEFICIENCIES[deficiency], _linear(colour))]
    ratios = [c / w for c, w in zip(_times(SRGB_TO_XYZ, seen), WHITE, strict=True)]
    x, y, z = (t ** (1 / 3) if t > (6 / 29) ** 3 else t / (3 * (6 / 29) ** 2) + 4 / 29 for t in ratios)
    return 116 * y - 16, 500 * (x - y), 200 * (y - z)


def least_distance(*colours: str) -> float:
    """The least ΔE (CIE 1976) between any two of the colours, as seen with any of the deficiencies."""
    return min(
        math.dist(_lab(one, deficiency), _lab(other, deficiency))
        for deficiency in DEFICIENCIES
        for one, other in combinations(colours, 2)
    )


def contrast(colour: str, background: str) -> float:
    """The contrast ratio of WCAG 2."""
    light, dark = sorted((float(_times(SRGB_TO_XYZ, _linear(c))[1]) for c in (colour, background)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def _of_256(colour: str) -> str:
    """The nearest of the 256 colours."""
    number = sure(Color.parse(colour).downgrade(ColorSystem.EIGHT_BIT).number)
    return Color.from_ansi(number).get_truecolor().hex


def _hue(colour: str) -> float:
    """In degrees."""
    return 360 * colorsys.rgb_to_hls(*Color.parse(colour).get_truecolor().normalized)[0]


def _saturation(colour: str) -> float:
    return colorsys.rgb_to_hls(*Color.parse(colour).get_truecolor().normalized)[2]


def test_the_measure_of_contrast_is_that_of_wcag():
    assert contrast("#ffffff", "#000000") == pytest.approx(21.0)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


@pytest.mark.parametrize("name", SHIPPED)
def test_series_are_told_apart_whatever_colours_one_sees(name: str):
    series = PALETTES[name].series
    assert least_distance(*series[:2]) > 50
    assert least_distance(*series[:3]) > 25
    assert least_distance(*series) > 20
    assert len(set(MARKERS)) >= len(series)


@pytest.mark.parametrize("name", SHIPPED)
def test_a_modality_has_no_sign_and_no_colour_of_a_curve(name: str):
    palette = PALETTES[name]
    text, image, *_ = palette.kinds
    assert least_distance(text, image) > 50
    for kind in (text, image):
        assert min(least_distance(kind, series) for series in palette.series) > 14
        assert contrast(kind, palette.background) >= 4
    assert len(palette.kinds) == len({*palette.kinds}) == len({*KINDS.values()}) == len(Modality)
    assert {*palette.kinds}.isdisjoint(palette.series[:2])
    assert {*KINDS.values()}.isdisjoint({*MARKERS, *map(ascii_char, MARKERS[:2])})


@pytest.mark.parametrize("name", SHIPPED)
def test_texts_and_lines_can_be_read(name: str):
    colours = PALETTES[name]
    texts = (colours.text, colours.faint, colours.key, colours.warn, colours.error, colours.good, colours.cursor_line)
    least = 7.0 if name == CONTRAST else 4.5
    for background in {colours.background, colours.bar, colours.surface}:
        for text in texts:
            floor = least if text != colours.faint else least - 0.7
            assert contrast(text, background) >= floor, (text, background)
    assert min(contrast(colour, colours.background) for colour in colours.series) >= 3


@pytest.mark.parametrize("name", [DARK, LIGHT, CONTRAST])
def test_few_colours_leave_the_signs(name: str):
    for colours in ("standard", None):
        few = in_colours(PALETTES[name], colours)
        assert few.marked
        assert set(few.tints) == {few.background}
    exact = in_colours(PALETTES[name], "256")
    for colour in (*exact.tints, exact.overlap, exact.cursor):
        assert math.dist(_lab(_of_256(colour), "normal"), _lab(colour, "normal")) < 5, colour


@pytest.mark.parametrize("colours", ["truecolor", "256"])
def test_on_a_dark_ground_intervals_are_fainter_than_their_curves(colours: str):
    palette = in_colours(PALETTES[DARK], colours)
    for tint, series in zip(palette.tints, palette.series, strict=True):
        assert contrast(tint, palette.background) < 1.7
        assert contrast(series, tint) > 5


@pytest.mark.parametrize("name", SHIPPED)
@pytest.mark.parametrize("colours", ["truecolor", "256"])
def test_intervals_are_seen_in_the_hue_of_their_series(name: str, colours: str):
    palette = in_colours(PALETTES[name], colours)
    for tint, series in zip(palette.tints, palette.series, strict=True):
        assert contrast(tint, palette.background) > 1.2 or least_distance(tint, palette.background) > 15
        assert least_distance(tint, palette.background) > 8
        assert contrast(series, tint) > 2.7
        if _saturation(series) > 0.1:
            assert _saturation(tint) > 0.1
            apart = abs(_hue(series) - _hue(tint))
            # 256 colours have none that is nearer and as dark.
            assert min(apart, 360 - apart) <= (45 if (name, colours) == (DARK, "256") else 30)
    if colours == "256":
        assert least_distance(*palette.tints[:2], palette.overlap, palette.cursor) >= 7.5


@pytest.mark.parametrize("name", SHIPPED)
@pytest.mark.parametrize("colours", ["truecolor", "256"])
def test_two_intervals_and_where_they_meet_are_told_apart_by_more_than_their_brightness(name: str, colours: str):
    palette = in_colours(PALETTES[name], colours)
    first, second = palette.tints[:2]
    assert least_distance(first, second, palette.overlap, palette.background) > 8
    for deficiency in DEFICIENCIES:
        assert math.dist(_lab(first, deficiency)[1:], _lab(second, deficiency)[1:]) > 15, deficiency


def test_the_users_own_colours_stay_in_256_colours():
    given = {"base": LIGHT, "tints": ["#c0ffc0", "#ffc0c0"], "overlap": "#c0c0a0", "cursor": "#a0c0ff"}
    mine = palettes({"mine": given})["mine"]
    shown = in_colours(mine, "256")
    assert (shown.tints, shown.overlap, shown.cursor) == (("#c0ffc0", "#ffc0c0"), "#c0c0a0", "#a0c0ff")
    rest = in_colours(palettes({"mine": {"base": LIGHT, "cursor": "#a0c0ff"}})["mine"], "256")
    assert rest.tints == in_colours(PALETTES[LIGHT], "256").tints


def test_the_ansi_theme_has_only_the_terminals_own_colours():
    colours = PALETTES[ANSI]
    named = [colours.text, colours.faint, colours.cursor, colours.cursor_line, colours.key, *colours.series]
    assert all((Color.parse(name).number or 0) < 16 for name in named)
    assert colours.marked
    assert in_colours(colours, "256") is colours


async def test_every_theme_is_shown(tmp_path):
    file = tmp_path / "config.toml"
    file.write_text(
        '[themes.mine]\nbase = "microscope-light"\nbackground = "#fffff0"\nseries = ["#004488", "#bb5566"]\n'
    )
    settings = Settings.load({"cache": tmp_path}, {}, file)
    source = FakeSource([made_up(), made_up(MODELS[1], shape=Shape(tilt=1.0))])
    async with explorer(source, session=Session(MODELS, SLICE, layer=12), settings=settings) as e:
        await filled(e)
        seen = []
        for _ in settings.theme_names:
            seen.append(e.app.theme)
            colours = e.explorer.palette
            face = e.face()
            used = {str(style.color and style.color.name) for strip in face.rows() for _, style, _ in strip if style}
            assert set(colours.series[:2]) <= used, e.app.theme
            await e.press("t")
        assert seen == [*THEMES, "mine"]
        assert e.app.theme == THEMES[0]


@pytest.mark.parametrize("tilts", [(0.0, 0.0, 0.0, 0.0), (0.0, 1.0, 0.5, -0.5)], ids=["on each other", "apart"])
async def test_without_colours_four_curves_are_told_apart_in_every_pane(
    monkeypatch: pytest.MonkeyPatch, tilts: tuple[float, ...]
):
    monkeypatch.setenv("NO_COLOR", "1")
    names = (*MODELS, "org/third", "org/fourth")
    source = FakeSource([made_up(name, shape=Shape(tilt=tilt)) for name, tilt in zip(names, tilts, strict=True)])
    async with explorer(source, size=(80, 24), session=Session(names, SLICE, layer=12)) as e:
        await filled(e)
        for shown in ((0, 1, 2, 3), (0,)):
            for number in shown:
                face = e.face(number)
                chart = "".join(strip.text for strip in face.rows()[face.top :])
                assert all(chart.count(sign) >= 2 for sign in MARKERS), (number, chart)
            await e.press("z")
        assert "┆" in chart  # in all the room


@pytest.mark.parametrize(
    ("table", "parts"),
    [
        ({DARK: {"text": "#ffffff"}}, (DARK, "shipped")),
        ({"mine": {"base": "gone"}}, ("base", "'gone'", LIGHT)),
        ({"mine": {"colour": "#ffffff"}}, ("'colour'", "background")),
        ({"mine": {"text": "reddish"}}, ("text", "'reddish'", "#56b4e9")),
        ({"mine": {"series": ["#ffffff", 3]}}, ("series", "3")),
        ({"mine": {"series": []}}, ("series",)),
        ({"mine": {"marked": "yes"}}, ("marked", "'yes'")),
    ],
)
def test_a_theme_that_cannot_be_is_refused_by_name(table, parts):
    with pytest.raises(MicroscopeError) as error:
        palettes(table)
    assert all(part in str(error.value) for part in parts)


def test_a_theme_that_is_not_there_is_refused(tmp_path):
    file = tmp_path / "config.toml"
    file.write_text('theme = "mine"\n[themes.mine]\ntext = "#ffffff"\n')
    assert Settings.load(None, {}, file).theme == "mine"
    with pytest.raises(MicroscopeError, match="microscope-ansi, mine"):
        Settings.load({"theme": "other"}, {}, file)
