"""Choosing, help, palette and mouse: how everything in the explorer is reached."""

from dataclasses import replace

import pytest
from rich.console import Console
from textual.command import CommandList, CommandPalette
from textual.widgets import Input, OptionList, Static

from microscope_tui.settings import THEMES
from microscope_tui.terms import Metric
from microscope_tui.tui.deeds import EXPLORER as DEEDS
from microscope_tui.tui.screens.help import Help
from microscope_tui.tui.screens.picker import Picker
from microscope_tui.tui.session import Session
from microscope_tui.tui.widgets.pane import Pane
from tests.sure import sure
from tests.tui.driving import explorer, filled
from tests.tui.fake import MODELS, SLICE, FakeSource, Shape, made_up

BOTH = Session(MODELS, SLICE, layer=12)


@pytest.fixture
def source() -> FakeSource:
    sinks = {12: ("sinks: 3 rows hold 41 % of the norm",)}
    return FakeSource([made_up(shape=Shape(notes=sinks)), made_up(MODELS[1], shape=Shape(tilt=1.0))])


async def test_c_lays_a_second_model_over_the_first_and_takes_it_off(source: FakeSource):
    async with explorer(source) as e:
        await filled(e)
        await e.press("c")
        assert e.here(Picker)
        await e.until(lambda: e.app.screen.query_one(OptionList).option_count)
        await e.press(*"omni", "enter")
        await e.until(lambda: e.session.comparing)
        await filled(e)
        assert "◆" in e.pane(0)
        assert "omnifusion" in e.pane(0)
        assert "◆ omnifusion" in e.bar("header")
        await e.press("minus")
        assert not e.session.comparing
        assert "omnifusion" not in e.pane(0)


async def test_a_model_cannot_be_compared_with_itself(source: FakeSource):
    async with explorer(source) as e:
        await filled(e)
        await e.press("c")
        await e.until(lambda: e.app.screen.query_one(OptionList).option_count)
        await e.press(*"llava-next", "enter")
        await e.until(lambda: not isinstance(e.app.screen, Picker))
        assert not e.session.comparing
        await e.until(lambda: "shown already" in e.notes)


async def test_m_chooses_another_model(source: FakeSource):
    async with explorer(source) as e:
        await filled(e)
        await e.press("m")
        await e.until(lambda: e.app.screen.query_one(OptionList).option_count == 3)
        await e.press("down", "enter")
        await e.until(lambda: e.session.models == (MODELS[1],))
        await filled(e)
        assert "omnifusion" in e.bar("header")


async def test_a_hub_id_can_be_typed(source: FakeSource):
    async with explorer(source) as e:
        await filled(e)
        await e.press("m")
        await e.until(lambda: e.app.screen.query_one(OptionList).option_count)
        e.app.screen.query_one(Input).value = "someone/some-model"
        await e.pilot.pause()
        await e.press("enter")
        await e.until(lambda: "downloaded from the hub" in str(e.app.screen.query_one("#said").render()))
        await e.press("enter")
        await e.until(lambda: e.session.models == ("someone/some-model",))
        await e.until(lambda: source.submitted)
        assert source.submitted[0].model == "someone/some-model"
        await e.until(lambda: "queued" in e.pane(0))


async def test_d_chooses_another_slice_and_refuses_what_is_none(source: FakeSource):
    async with explorer(source) as e:
        await filled(e)
        await e.press("d")
        await e.until(lambda: e.app.screen.query_one(OptionList).option_count)
        e.app.screen.query_one(Input).value = "demo:scienceqa?count=none"
        await e.pilot.pause()
        await e.press("enter")
        await e.until(lambda: "not a whole number" in str(e.app.screen.query_one("#said").render()))
        e.app.screen.query_one(Input).value = "demo:scienceqa?count=50&filter=image"
        await e.pilot.pause()
        await e.press("enter")
        await e.until(lambda: e.session.slice.count == 50)
        assert "count=50" in e.bar("header")
        assert e.session.slice == replace(SLICE, count=50, filter="image")


async def test_escape_leaves_a_picker_as_it_was(source: FakeSource):
    async with explorer(source) as e:
        await filled(e)
        before = e.session
        for key in "mdc":
            await e.press(key)
            assert e.here(Picker)
            await e.press("escape")
            assert e.app.screen is e.explorer
        assert e.session == before


async def test_help_names_every_key(source: FakeSource):
    async with explorer(source, size=(120, 60)) as e:
        await e.press("question_mark")
        assert e.here(Help)
        console = Console(width=200, color_system=None)
        with console.capture() as said:
            for static in e.app.screen_stack[-1].query(Static):
                console.print(static.content)
        for deed in DEEDS:
            assert deed.help in said.get()
        await e.press("escape")
        assert e.app.screen is e.explorer


async def test_the_palette_offers_every_deed(source: FakeSource):
    async with explorer(source) as e:
        await filled(e)
        offered = {command.title for command in e.app.get_system_commands(e.explorer)}
        deeds = {f"{deed.label}  ({deed.shown})" for deed in DEEDS if deed.palette}
        assert offered == deeds | {f"Theme {name}" for name in THEMES}
        await e.press("ctrl+p")
        await e.press(*"Dimension")
        found = e.app.screen.query_one(CommandList)
        await e.until(lambda: found.highlighted_option and "Dimension" in str(found.highlighted_option.prompt))
        await e.press("enter")
        await e.until(lambda: e.session.metric is Metric.DIMENSION)


async def test_every_key_of_the_table_is_bound_once():
    keys = [key for deed in DEEDS for key in deed.keys.split(",")]
    assert len(keys) == len(set(keys))
    assert not {f"ctrl+{letter}" for letter in "ojsba"} & set(keys)


async def test_a_click_in_a_chart_moves_cursor_and_focus(source: FakeSource):
    async with explorer(source) as e:
        await filled(e)
        pane = e.explorer.query_one("#pane-2", Pane)
        column = sure(e.face(2).drawing).column(20)
        await e.pilot.click(pane, offset=(column + 1, pane.size.height - 4))
        await e.until(lambda: e.session.pane == 2)
        assert e.session.layer == 20


async def test_the_wheel_moves_the_cursor(source: FakeSource):
    async with explorer(source) as e:
        await filled(e)
        pane = e.explorer.query_one("#pane-1", Pane)
        pane.post_message(Pane.Wheeled(1))
        await e.until(lambda: e.session.layer == 13)


async def test_the_bars_can_be_clicked(source: FakeSource):
    async with explorer(source) as e:
        await filled(e)
        await e.pilot.click("#metric", offset=(e.bar("metric").index("dimension"), 0))
        await e.until(lambda: e.session.metric is Metric.DIMENSION)
        await e.pilot.click("#footer", offset=(e.bar("footer").index("Zoom"), 0))
        await e.until(lambda: e.session.zoomed)
        await e.pilot.click("#header", offset=(e.bar("header").index("scienceqa"), 0))
        await e.until(lambda: isinstance(e.app.screen, Picker))
        await e.press("escape")
        await e.pilot.click("#footer", offset=(e.bar("footer").index("palette"), 0))
        await e.until(lambda: isinstance(e.app.screen, CommandPalette))
