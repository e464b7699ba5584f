"""The table of keys, and what the user's settings make of it."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console
from textual.widgets import Static

from microscope_tui.errors import MicroscopeError
from microscope_tui.settings import Settings
from microscope_tui.terms import Metric
from microscope_tui.tui import keys
from tests.tui.driving import explorer, filled
from tests.tui.fake import FakeSource, made_up

SWALLOWED = {f"ctrl+{char}" for char in "josba"} | {"ctrl+enter"}
"""Keys that tmux, screen and the terminals' own flow control take for themselves."""


@pytest.fixture(autouse=True)
def _usual_keys() -> Iterator[None]:
    yield
    keys.use({})


def test_every_action_has_a_name_for_the_settings_and_keys_of_its_own():
    names = [deed.id for deed in keys.DEEDS]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch("[a-z][a-z_]*", name) for name in names)
    all_keys = [key for deed in keys.DEEDS for key in keys.names_of(deed.keys)]
    assert len(set(all_keys)) == len(all_keys)


def test_nothing_is_only_on_a_key_that_a_multiplexer_takes():
    for deed in keys.DEEDS:
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


@pytest.mark.parametrize(
    ("table", "parts"),
    [
        ({"launch": "x"}, ("'launch'", "pick_model", "layer_on")),
        ({"pick_model": "d"}, ("key d", "'pick_model'", "'pick_slice'")),
        ({"pick_model": "x", "pick_slice": "x"}, ("key x", "'pick_model'", "'pick_slice'")),
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
    table = {deed.id: deed for deed in keys.with_keys({"pick_model": "d", "pick_slice": "m"})}
    assert (table["pick_model"].shown, table["pick_slice"].shown) == ("d", "m")


def test_the_settings_take_a_table_of_texts_only(tmp_path):
    file = tmp_path / "config.toml"
    file.write_text('[keys]\nagain = "f5"\n')
    assert Settings.load(None, {}, file).keys == {"again": "f5"}
    file.write_text("[keys]\nagain = 5\n")
    with pytest.raises(MicroscopeError, match="keys"):
        Settings.load(None, {}, file)
