"""The table of keys, and what the user's settings make of it."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console
from textual.widgets import Static

from microscope_tui.errors import MicroscopeError
from microscope_tui.settings import Settings
from microscope_tui.terms import JobKind, Metric
from microscope_tui.tui import keys
from microscope_tui.tui.deeds import TABLES
from microscope_tui.tui.screens.map import Map
from microscope_tui.tui.session import Session
from microscope_tui.tui.widgets.bar import Bar
from microscope_tui.tui.widgets.canvas import Canvas
from tests.tui import looked
from tests.tui.driving import explorer, filled
from tests.tui.fake import MODELS, SLICE, FakeSource, made_up

SWALLOWED = {f"ctrl+{char}" for char in "josba"} | {"ctrl+enter"}
"""Keys that tmux, screen and the terminals' own flow control take for themselves."""


@pytest.fixture(autouse=True)
def _usual_keys() -> Iterator[None]:
    yield
    keys.use({})


def test_every_action_has_a_name_for_the_settings_and_keys_of_its_own():
    for screen, table in TABLES.items():
        names = [deed.id for deed in table]
        assert len(set(names)) == len(names), screen
        assert all(re.fullmatch("[a-z][a-z_]*", name) for name in names)
        all_keys = [key for deed in table for key in keys.names_of(deed.keys)]
        assert len(set(all_keys)) == len(all_keys), screen


def test_nothing_is_only_on_a_key_that_a_multiplexer_takes():
    for deed in (deed for table in TABLES.values() for deed in table):
        assert set(keys.names_of(deed.keys)) - SWALLOWED, deed.id


async def test_keys_of_the_user_work_and_are_shown_everywhere():
    moved = {"anisotropy": "f6", "again": "f5,ctrl+r", "palette": "ctrl+k", "pick_model": "question_mark", "help": "f1"}
    settings = Settings(cache=Path("/nowhere"), keys=moved)
    async with explorer(FakeSource([made_up()]), settings=settings) as e:
        await filled(e)
        shown = []
        for key in ("3", "f6"):
            await e.press(key)
            shown.append(e.session.metric)
        assert shown == [Metric.LINEARITY, Metric.ANISOTROPY]
        assert " ? Model" in e.bar("footer")
        assert " f1 Help" in e.bar("footer")
        await e.press("f1")
        help_page = e.app.screen_stack[-1]
        assert type(help_page).__name__ == "Help"
        console = Console(width=200, color_system=None)
        with console.capture() as said:
            console.print(*(static.content for static in help_page.query(Static)))
        assert "f5 ctrl+r" in said.get()
        await e.press("escape")
        await e.press("ctrl+p")
        assert e.app.screen is e.explorer
        await e.press("ctrl+k")
        await e.until(lambda: e.app.screen is not e.explorer)
    assert keys.key_of("again") == "f5"


async def test_in_80_columns_the_footer_has_what_one_cannot_guess():
    async with explorer(FakeSource([made_up()]), size=(80, 24)) as e:
        await filled(e)
        for said in ("m Model", "d Slice", "c Compare", "i Card", "←→ Layer", "? Help", "q Quit", "^p palette"):
            assert f" {said} " in e.bar("footer")


async def test_a_sentence_names_the_key_that_the_user_gave_it():
    source = FakeSource([made_up()])
    source.looks[MODELS[0], JobKind.TOKENS, 0] = looked.table(mapped=False)
    settings = Settings(cache=Path("/nowhere"), keys={"again": "f5"})
    async with explorer(source, settings=settings, session=Session(MODELS[:1], SLICE)) as e:
        await filled(e)
        await e.press("T")
        await e.until(lambda: "the slice is measured by now" in e.app.screen.query_one("#detail", Canvas).text)
        assert "f5 asks again" in e.app.screen.query_one("#detail", Canvas).text


async def test_keys_of_the_user_work_on_the_screens_that_look_closer():
    source = FakeSource([made_up()])
    source.looks[MODELS[0], JobKind.TOKENS, 0] = looked.table()
    source.looks[MODELS[0], JobKind.MAP, None] = looked.cloud()
    moved = {"layer_on": ".", "layer_back": "<", "show_norm": "N", "back": "f9", "colour": "f7"}
    settings = Settings(cache=Path("/nowhere"), keys=moved | {"help": "f1"})
    async with explorer(source, settings=settings, session=Session(MODELS[:1], SLICE, layer=3)) as e:
        await filled(e)
        await e.press("T")
        await e.until(lambda: "residual" in e.app.screen.query_one("#title", Bar).text)
        assert " N norm" in e.app.screen.query_one("#title", Bar).text
        footer = e.app.screen.query_one("#footer", Bar).text
        assert "< . Layer" in footer
        assert "f9 Back" in footer
        assert "f1 Help" in footer
        await e.press("N", "full_stop", "right")
        assert e.session.layer == 4
        assert "norm" in e.app.screen.query_one("#title", Bar).text
        await e.press("f1")
        assert type(e.app.screen).__name__ == "Help"
        await e.press("f9", "escape", "f9")
        assert e.app.screen is e.explorer
        await e.press("M")
        await e.until(lambda: "of the variance" in e.app.screen.query_one("#map-0", Canvas).text)
        await e.press("c")
        screen = e.here(Map)
        assert not screen.by_model
        await e.press("f7")
        assert screen.by_model


async def test_keys_of_the_user_work_in_what_opens_over_the_panes():
    moved = {"back": "f9", "own_log": "f8", "remove": "f7", "take_over": "f6"}
    async with explorer(FakeSource([made_up()]), settings=Settings(cache=Path("/nowhere"), keys=moved)) as e:
        await filled(e)
        for key, said in (("j", "f8 log"), ("K", "f7 remove"), ("m", "f6 take over"), ("i", "f9 back")):
            await e.press(key)
            over = e.app.screen
            assert over is not e.explorer
            assert said in str(next(iter(over.query("#said"))).render())
            await e.press("escape")
            assert e.app.screen is over
            await e.press("f9")
            assert e.app.screen is e.explorer


@pytest.mark.parametrize("screen", sorted(TABLES))
async def test_the_palette_has_what_the_screen_can_do(screen: str):
    opened = {"examples": "E", "tokens": "T", "worst": "X", "map": "M", "jobs": "j", "cache": "K", "explorer": ""}
    if screen not in opened:
        assert screen in ("card", "help", "picker", "save", "find")  # a word or two, said in their last line
        return
    async with explorer(FakeSource([made_up()])) as e:
        await filled(e)
        await e.press(*opened[screen])
        offered = [command.title for command in e.app.get_system_commands(e.app.screen)]
        wanted = [f"{deed.label}  ({deed.shown})" for deed in TABLES[screen] if deed.palette]
        assert [title for title in wanted if title not in offered] == []


@pytest.mark.parametrize(
    ("table", "parts"),
    [
        ({"launch": "x"}, ("'launch'", "pick_model", "layer_on")),
        ({"pick_model": "d"}, ("key d", "'pick_model'", "'pick_slice'")),
        ({"pick_model": "x", "pick_slice": "x"}, ("key x", "'pick_model'", "'pick_slice'")),
        ({"fold": "n"}, ("key n", "'fold'", "'next_example'", "screen tokens")),
        ({"verify": "ctrl+p"}, ("key ctrl+p", "'palette'", "'verify'", "screen cache")),
        ({"again": "ctrl+i"}, ("again", "ctrl+i", "tab")),
        ({"again": "hyperspace"}, ("again", "'hyperspace'", "ctrl+x")),
        ({"again": ""}, ("again", "no key")),
        ({"again": "x,"}, ("again", "no key")),
    ],
)
def test_keys_that_cannot_be_are_refused_by_name(table, parts):
    with pytest.raises(MicroscopeError) as error:
        keys.with_keys(table)
    assert all(part in str(error.value) for part in parts)


def test_keys_may_change_places():
    table = {deed.id: deed for deed in keys.with_keys({"pick_model": "d", "pick_slice": "m"})["explorer"]}
    assert (table["pick_model"].shown, table["pick_slice"].shown) == ("d", "m")


def test_the_settings_take_a_table_of_texts_only(tmp_path):
    file = tmp_path / "config.toml"
    file.write_text('[keys]\nagain = "f5"\n')
    assert Settings.load(None, {}, file).keys == {"again": "f5"}
    file.write_text("[keys]\nagain = 5\n")
    with pytest.raises(MicroscopeError, match="keys"):
        Settings.load(None, {}, file)
