"""How the screens that look closer look, kept as pictures: of fixed values."""

from dataclasses import replace
from pathlib import Path

import pytest
from textual.pilot import Pilot

from microscope_tui.settings import Settings
from microscope_tui.terms import JobKind
from microscope_tui.tui.app import ExplorerApp
from microscope_tui.tui.screens.closer import Closer
from microscope_tui.tui.session import Session
from microscope_tui.tui.themes import DARK, LIGHT
from tests.tui import looked
from tests.tui.driving import Driven, filled
from tests.tui.fake import MODELS, SLICE, FakeSource, Shape, made_up
from tests.tui.test_pictures import Compare

LEAST, SMALL, LARGE, HUGE = (60, 20), (80, 24), (120, 40), (200, 50)


def _source() -> FakeSource:
    made = [made_up(model, shape=Shape(layers=12)) for model in MODELS]
    source = FakeSource([replace(m, answers=looked.answers(every=2 + i)) for i, m in enumerate(made)])
    for model in MODELS:
        source.looks[model, JobKind.PREVIEW, None] = looked.preview(200)
        source.looks[model, JobKind.TOKENS, 0] = looked.table(model)
        source.looks[model, JobKind.WORST, None] = looked.worst(model)
        source.looks[model, JobKind.MAP, None] = looked.cloud(model)
    return source


@pytest.mark.parametrize(
    ("size", "theme", "keys"),
    [
        (SMALL, DARK, "E n"),
        (LARGE, LIGHT, "E n"),
        (SMALL, DARK, "T tab right"),
        (SMALL, LIGHT, "T tab o"),
        (LARGE, DARK, "T tab enter down down y"),
        (LARGE, DARK, "M"),
        (LEAST, DARK, "T tab right"),
        (HUGE, LIGHT, "T tab right"),
    ],
    ids=[
        "examples-80x24",
        "examples-120x40-light",
        "tokens-80x24",
        "patches-80x24-light",
        "tokens-120x40",
        "map-120x40",
        "tokens-60x20",
        "tokens-200x50-light",
    ],
)
def test_what_is_looked_at(snap_compare: Compare, size: tuple[int, int], theme: str, keys: str):
    source = _source()
    app = ExplorerApp(Settings(cache=Path("/nowhere")), Session(MODELS, SLICE, layer=5, theme=theme), source)

    async def look(pilot: Pilot[int]) -> None:
        driven = Driven(app, pilot, source)
        await filled(driven)
        for key in keys.split():
            await driven.press(key)
            screen: object = app.screen
            assert isinstance(screen, Closer)
            await driven.until(lambda s=screen: all(s.see(look).value for look in s.asked))  # type: ignore[misc]
            await pilot.pause()

    assert snap_compare(app, terminal_size=size, run_before=look)


def test_a_failed_look(snap_compare: Compare):
    source = _source()
    source.looks.clear()
    source.broken = "The worker did not come up in time: see its log."
    app = ExplorerApp(Settings(cache=Path("/nowhere")), Session(MODELS[:1], SLICE, layer=5), source)

    async def look(pilot: Pilot[int]) -> None:
        driven = Driven(app, pilot, source)
        await filled(driven)
        await driven.press("T")
        screen: object = app.screen
        assert isinstance(screen, Closer)
        await driven.until(lambda: screen.see(screen.asked[0]).error)
        await pilot.pause()

    assert snap_compare(app, terminal_size=SMALL, run_before=look)
