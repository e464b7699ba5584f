"""The tokens of an example, driven by keys over a fake source."""

from dataclasses import replace

import pytest
from textual.strip import Strip

from microscope_tui.terms import JobKind
from microscope_tui.tui.content.ramp import RAMPS
from microscope_tui.tui.content.tokens import Quantity
from microscope_tui.tui.screens.examples import Examples
from microscope_tui.tui.screens.tokens import TokenScreen
from microscope_tui.tui.widgets.canvas import Canvas
from microscope_tui.tui.widgets.heat import Columns, Heat
from tests.sure import sure
from tests.tui import looked
from tests.tui.closer import BOTH, ONE, bar, canvas, looked_at, opened
from tests.tui.driving import explorer
from tests.tui.fake import MODELS, FakeSource


@pytest.fixture
def source() -> FakeSource:
    return looked_at()


async def test_enter_shows_the_tokens_of_the_example(source: FakeSource):
    async with explorer(source, session=ONE) as e:
        await opened(e, "E", Examples)
        await e.press("n", "n", "enter")
        screen = e.here(TokenScreen)
        await e.until(lambda: screen.reading)
        await e.pilot.pause()
        assert "example 2 of 0–11" in bar(e, "title")
        assert "▶ image 1 base ×36" in canvas(e, "heat")
        await e.press("escape")
        assert e.here(Examples)
        await e.press("escape")
        assert e.app.screen is e.explorer


async def test_the_values_at_the_cursor_are_the_tables_own(source: FakeSource):
    async with explorer(source, session=ONE) as e:
        screen = await opened(e, "T", TokenScreen)
        table = looked.table(MODELS[0], 0)
        await e.press("down", "down", "right")
        assert screen.at_layer == 6
        detail = canvas(e, "detail")
        assert "layer 6  token 2 of 0–141  text  “:”  then “ ”" in detail.replace("“ ”", "“ ”")
        for name in ("residual", "norm", "update"):
            assert f"{name} {getattr(table, name)[6][2]:#.4g} " in detail
        for word, share in table.lens[6][2]:
            assert f"“{word}” {share:.1%}" in detail
        await e.press("end")
        assert "linearity residual – (no block starts here)" in canvas(e, "detail")
        assert f"norm {table.norm[12][2]:#.4g}" in canvas(e, "detail")
        await e.press("escape")
        assert e.session.layer == 12


@pytest.mark.parametrize(
    ("width", "said"),
    [
        (80, "linearity residual: ‖ỹ − x̃A‖²/mean‖ỹ‖² (0 linear, 1 no better than the mean)"),
        (120, "(0 linear, 1 no better than the mean) · 180 examples in the map"),
        (200, "A the pooled linear map of the residual stream, rows centred · 180 examples in the map"),
    ],
)
async def test_what_a_value_means_is_said_in_as_many_words_as_there_is_room_for(
    source: FakeSource, width: int, said: str
):
    async with explorer(source, session=ONE, size=(width, 24)) as e:
        screen = await opened(e, "T", TokenScreen)
        meaning = canvas(e, "detail").rstrip().splitlines()[-1].rstrip()
        assert meaning.endswith(said)
        assert "linearity residual: ‖ỹ − x̃A‖²/mean‖ỹ‖²" in meaning
        assert "rows centred · 180 examples in the map" in screen.at_cursor()


async def test_number_keys_choose_the_quantity_and_y_its_scale(source: FakeSource):
    async with explorer(source, session=ONE) as e:
        screen = await opened(e, "T", TokenScreen)
        seen = set()
        for key, quantity in (("2", "norm"), ("3", "update"), ("1", "residual")):
            await e.press(key)
            assert screen.quantity == quantity
            assert "y log" in bar(e, "title")
            seen.add(str(screen.query_one("#heat", Canvas)._rows))
        for scale in ("linear", "each layer"):
            await e.press("y")
            assert f"y {scale}" in bar(e, "title")
            seen.add(str(screen.query_one("#heat", Canvas)._rows))
        assert len(seen) == 5
        values = sorted(map(sure, looked.table(MODELS[0], 0).residual[5]))
        assert f" {values[1]:.3g} " in bar(e, "title")
        assert f" {values[-2]:.3g} " in bar(e, "title")


async def test_pictures_unfold_and_fold_with_the_cursor_on_them(source: FakeSource):
    async with explorer(source, session=ONE) as e:
        screen = await opened(e, "T", TokenScreen)
        tokens = sure(screen.reading).tokens
        folded = len(tokens.lines(sure(screen.reading).opened))
        await e.press("tab")
        assert sure(sure(screen.reading).line.block).name == "image 1 base"
        mean = sum(map(sure, tokens.table.residual[5][4:40])) / 36
        assert f"linearity residual {mean:#.4g}" in canvas(e, "detail")
        assert "likeliest word, at how many of the 36:" in canvas(e, "detail")
        await e.press("enter", "down", "down")
        assert sure(screen.reading).line.start == 5
        assert "▼ image 1 base ×36" in canvas(e, "heat")
        await e.press("space")
        assert sure(sure(screen.reading).line.block).start == 4
        assert len(tokens.lines(sure(screen.reading).opened)) == folded
        await e.press("f")
        assert len(tokens.lines(sure(screen.reading).opened)) == tokens.count + 2
        await e.press("f")
        assert len(tokens.lines(sure(screen.reading).opened)) == folded


async def test_tab_jumps_between_modalities_and_views(source: FakeSource):
    async with explorer(source, session=ONE) as e:
        screen = await opened(e, "T", TokenScreen)
        starts = [sure(screen.reading).line.start]
        for _ in range(3):
            await e.press("tab")
            starts.append(sure(screen.reading).line.start)
        assert starts == [0, 4, 40, 118]
        await e.press("shift+tab", "shift+tab")
        assert sure(screen.reading).line.start == 4
        await e.press("G")
        assert sure(screen.reading).line.start == sure(screen.reading).tokens.count - 1
        await e.press("g")
        assert sure(screen.reading).line.start == 0


async def test_the_picture_follows_the_cursor_from_base_to_tiles(source: FakeSource):
    async with explorer(source, session=ONE) as e:
        await opened(e, "T", TokenScreen)
        assert "picture 1 · base · lin. res. at layer 5" in canvas(e, "picture")
        await e.press("tab", "tab", "right")
        assert "picture 1 · tiles · lin. res. at layer 6" in canvas(e, "picture")
        await e.press("b")
        assert "picture 1 · base" in canvas(e, "picture")
        assert "▀" in canvas(e, "picture")


async def test_v_shows_the_values_alone_and_the_picture_alone(source: FakeSource):
    async with explorer(source, session=ONE) as e:
        screen = await opened(e, "T", TokenScreen)
        field = screen.query_one("#picture", Canvas)

        def colours() -> set[str]:
            cells = [s for line in field._rows[1:14] for s in line if s.style and s.style.bgcolor]
            return {sure(sure(s.style).bgcolor).name for s in cells} - {screen.palette.background}

        tinted = colours()
        await e.press("v")
        assert "lin. res. alone, layer 5" in canvas(e, "picture")
        assert colours() <= set(RAMPS[True])
        assert not tinted <= set(RAMPS[True])
        await e.press("v")
        assert "picture 1 · base · as it is" in canvas(e, "picture")
        assert not colours() & set(RAMPS[True])
        await e.press("v")
        assert colours() == tinted


async def test_on_a_thin_line_values_stand_alone_and_no_picture_is_sent(source: FakeSource):
    async with explorer(source, session=replace(ONE, thin=True)) as e:
        await opened(e, "E", Examples)
        assert "No picture: little is drawn" in canvas(e, "card")
        await e.press("enter")
        screen = e.here(TokenScreen)
        await e.until(lambda: screen.reading)
        await e.pilot.pause()
        assert "picture 1 · base" in canvas(e, "picture")
        assert "▀" not in canvas(e, "picture")


async def test_o_goes_through_tokens_and_picture_on_a_small_screen(source: FakeSource):
    async with explorer(source, session=ONE, size=(80, 24)) as e:
        screen = await opened(e, "T", TokenScreen)

        def displayed() -> list[str]:
            return [name for name in ("heat", "picture") if screen.query_one(f"#{name}").display]

        assert displayed() == ["heat"]
        await e.press("o")
        assert displayed() == ["picture"]
        assert "layer 5" in canvas(e, "picture")
        await e.press("o")
        assert displayed() == ["heat"]


async def test_n_and_p_go_through_the_examples_of_the_slice(source: FakeSource):
    async with explorer(source, session=ONE) as e:
        await opened(e, "E", Examples)
        await e.press("enter")
        e.here(TokenScreen)
        for _ in range(14):
            await e.press("n")
        await e.until(lambda: "example 11 of 0–11" in bar(e, "title"))
        await e.press("p")
        await e.until(lambda: "example 10 of 0–11" in bar(e, "title"))
        await e.until(lambda: "picture 10?" in canvas(e, "detail"))


async def test_c_shows_the_same_example_in_the_other_model(source: FakeSource):
    source.looks[MODELS[1], JobKind.TOKENS, 0] = looked.table(MODELS[1], 0, side=5, tiles=(0, 0))
    async with explorer(source, session=BOTH) as e:
        screen = await opened(e, "T", TokenScreen)
        await e.press("c")
        await e.until(lambda: "image 1 base ×25" in canvas(e, "heat"))
        assert screen.request.model == MODELS[1]
        assert bar(e, "title").startswith(" ◆ ")


async def test_a_table_without_a_map_shows_norms_and_says_why(source: FakeSource):
    source.looks[MODELS[0], JobKind.TOKENS, 0] = looked.table(mapped=False, lens=False)
    async with explorer(source, session=ONE) as e:
        screen = await opened(e, "T", TokenScreen)
        assert screen.quantity is Quantity.NORM
        assert "residual unknown" in canvas(e, "detail")
        assert "this slice is not measured yet" in canvas(e, "detail")
        assert "lens not known for this model" in canvas(e, "detail")
        await e.press("1")
        heat = " ".join(canvas(e, "heat").split())
        assert "linearity residual: no linear map: this slice is not measured yet" in heat
        assert "r asks again" in canvas(e, "detail")


async def test_an_example_without_a_picture_is_not_said_to_hide_where_its_tokens_come_from(source: FakeSource):
    source.looks[MODELS[0], JobKind.TOKENS, 0] = looked.table(side=0, tiles=(0, 0))
    async with explorer(source, session=ONE) as e:
        await opened(e, "T", TokenScreen)
        for key in ("o", "b"):
            e.app.clear_notifications()
            await e.press(key)
            await e.until(lambda: "This example has no picture" in e.notes)
            assert "not known" not in e.notes


async def test_an_undefined_residual_is_said_at_the_cursor(source: FakeSource):
    given = looked.table()
    holed = tuple(tuple(None if t > 3 else v for t, v in enumerate(row)) for row in given.residual)
    source.looks[MODELS[0], JobKind.TOKENS, 0] = replace(given, residual=holed)
    async with explorer(source, session=ONE) as e:
        await opened(e, "T", TokenScreen)
        await e.press("tab")
        assert "residual undefined (no map for image)" in canvas(e, "detail")
        assert "·" * 20 in canvas(e, "heat")


async def test_without_colours_the_map_is_drawn_in_characters(source: FakeSource, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("NO_COLOR", "1")
    async with explorer(source, session=ONE) as e:
        await opened(e, "T", TokenScreen)
        assert {"@", "=", ":"} <= set(canvas(e, "heat"))
        picture = canvas(e, "picture").splitlines()
        assert any(line.count("#") + line.count("%") + line.count("*") > 10 for line in picture[1:])
        assert " .:-=+*#%@" in bar(e, "title")


async def test_a_click_moves_the_cursor(source: FakeSource):
    async with explorer(source, session=ONE) as e:
        screen = await opened(e, "T", TokenScreen)
        heat = screen.query_one("#heat", Canvas)
        x = screen.heat(sure(screen.reading), heat.size.height).columns(heat.size.width).label
        await e.pilot.click("#heat", offset=(x, 3))
        await e.pilot.pause()
        assert (sure(screen.reading).line.start, screen.at_layer) == (2, 0)
        await e.pilot.click("#picture", offset=(screen.query_one("#picture").size.width // 2, 5))
        await e.pilot.pause()
        assert sure(screen.reading).tokens.table.patches[sure(screen.reading).line.start] is not None
        assert sure(screen.reading).line.block is None


async def test_a_long_example_stays_quick_and_only_what_is_seen_is_drawn(
    source: FakeSource, monkeypatch: pytest.MonkeyPatch
):
    big = looked.table(side=24, tiles=(2, 2), layers=32, text=60)
    assert len(big.tokens) > 2900
    source.looks[MODELS[0], JobKind.TOKENS, 0] = big
    async with explorer(source, session=ONE) as e:
        screen = await opened(e, "T", TokenScreen)
        await e.press("f")
        drawn: list[int] = []
        line = Heat._line

        def counted(self: Heat, number: int, layout: Columns, width: int) -> Strip:
            drawn.append(number)
            return line(self, number, layout, width)

        monkeypatch.setattr(Heat, "_line", counted)
        await e.press("down")
        assert 0 < len(drawn) <= 2 * screen.query_one("#heat").size.height
        await e.press("G")
        assert sure(screen.reading).line.start == sure(screen.reading).tokens.count - 1


async def test_residuals_that_are_all_undefined_are_said_once_and_norms_shown(source: FakeSource):
    given = looked.table(MODELS[0], 0)
    why = ("no linear maps of text tokens: too few rows", "no linear maps of image tokens: too few rows")
    none = tuple((None,) * len(row) for row in given.residual)
    source.looks[MODELS[0], JobKind.TOKENS, 0] = replace(given, residual=none, notes=why)
    async with explorer(source, session=ONE) as e:
        screen = await opened(e, "T", TokenScreen)
        assert screen.quantity is Quantity.NORM
        await e.press("1")
        said = " ".join(canvas(e, "heat").split())
        assert f"linearity residual: {why[0]} · {why[1]}" in said
        assert "█" not in bar(e, "title")
        assert "undefined (no map for text)" in canvas(e, "detail")
