"""A screen is left once, however fast the keys come."""

import pytest

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
