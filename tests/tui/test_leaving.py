"""A screen is left once, however fast the keys come."""

import pytest
from rich.console import Console
from textual.notifications import Notification, Notify
from textual.widgets import Static

from microscope_tui.tui.screens.help import Help
from microscope_tui.tui.session import Session
from tests.tui.closer import BOTH, looked_at
from tests.tui.driving import explorer, filled


@pytest.mark.parametrize("key", [*"mdcjKike?ETMX"])
async def test_leaving_twice_leaves_once(key: str):
    async with explorer(looked_at(), session=BOTH) as e:
        await filled(e)
        await e.press(key)
        await e.until(lambda: e.app.screen is not e.explorer)
        screen = e.app.screen
        for _ in range(3):
            screen.dismiss(None)
        await e.until(lambda: e.app.screen is e.explorer)
        await e.press("right")
        assert e.session.layer == BOTH.layer + 1


async def test_what_is_told_when_there_is_no_screen_any_more_is_no_trouble():
    """What comes of an errand may be told while the program leaves: its screens are gone before its messages are."""
    async with explorer(looked_at(), session=BOTH) as e:
        await filled(e)
    e.app.on_notify(Notify(Notification("copied the table (CSV)")))
    assert not e.app.screen_stack


async def test_a_screen_below_another_is_not_left():
    async with explorer(looked_at(), session=Session(BOTH.models, BOTH.slice)) as e:
        await filled(e)
        await e.press("T")
        below = e.app.screen
        await e.press("question_mark")
        above = e.app.screen
        below.dismiss(None)
        await e.pilot.pause()
        assert e.app.screen is above
        await e.press("escape")
        assert e.app.screen is below
        await e.press("escape")
        assert e.app.screen is e.explorer


@pytest.mark.parametrize("way", ["", "?", "m", "T"])
async def test_the_key_that_interrupts_says_which_one_leaves(way: str):
    async with explorer(looked_at(), session=BOTH) as e:
        await filled(e)
        if way:
            await e.press(way)
            await e.until(lambda: e.app.screen is not e.explorer)
        await e.press("ctrl+c")
        await e.until(lambda: "q leaves from the panes, ctrl+q from anywhere" in e.notes)
        await e.press("ctrl+q")
        await e.until(lambda: not e.app.is_running)
        assert (e.app.return_code or 0) == 0


@pytest.mark.parametrize("key", ["", *"jKETMX"])
async def test_the_help_of_every_screen_has_what_is_there_on_every_screen(key: str):
    async with explorer(looked_at(), session=BOTH) as e:
        await filled(e)
        if key:
            await e.press(key)
            await e.until(lambda: e.app.screen is not e.explorer)
        await e.press("question_mark")
        await e.until(lambda: isinstance(e.app.screen, Help) and len(e.app.screen.query(Static)) > 4)
        with (console := Console(width=200, color_system=None)).capture() as said:
            for part in e.app.screen.query(Static):
                console.print(part.content)
        lines = [" ".join(line.split()) for line in said.get().splitlines()]
        for shown in ("ctrl+z", "ctrl+l", "ctrl+p", "ctrl+q"):
            assert len([line for line in lines if line.startswith(shown)]) == 1
