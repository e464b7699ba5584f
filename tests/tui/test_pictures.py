"""How the screen looks, kept as pictures: few, of fixed profiles."""

from pathlib import Path
from typing import Protocol

import pytest
from textual.pilot import Pilot

from microscope_tui.settings import Settings
from microscope_tui.tui.app import ExplorerApp
from microscope_tui.tui.session import DARK, LIGHT, Session
from tests.tui.driving import Driven, filled
from tests.tui.fake import MODELS, SLICE, FakeSource, Shape, made_up


class Compare(Protocol):
    def __call__(self, app: ExplorerApp, *, terminal_size: tuple[int, int], run_before: object) -> bool: ...


@pytest.mark.parametrize(
    ("size", "models", "theme"),
    [
        ((80, 24), 1, DARK),
        ((80, 24), 2, LIGHT),
        ((120, 40), 2, DARK),
        ((60, 20), 2, DARK),
    ],
    ids=["80x24", "80x24-compare-light", "120x40-compare", "60x20-compare"],
)
def test_the_panes(snap_compare: Compare, size: tuple[int, int], models: int, theme: str):
    traps = {12: ("sinks: 3 rows hold 41 % of the norm",)}
    source = FakeSource([made_up(shape=Shape(notes=traps)), made_up(MODELS[1], shape=Shape(tilt=1.0, gap=(6, 7)))])
    app = _app(source, Session(MODELS[:models], SLICE, layer=12, theme=theme))

    async def wait(pilot: Pilot[int]) -> None:
        await filled(Driven(app, pilot, source))

    assert snap_compare(app, terminal_size=size, run_before=wait)


def test_an_error(snap_compare: Compare):
    source = FakeSource()
    source.refuse[MODELS[0]] = "There is no folder /data/none: check its name, or choose another model."
    app = _app(source, Session(MODELS[:1], SLICE))

    async def wait(pilot: Pilot[int]) -> None:
        driven = Driven(app, pilot, source)
        await pilot.pause()
        await driven.until(lambda: "no folder" in driven.pane(3))
        await pilot.pause()

    assert snap_compare(app, terminal_size=(80, 24), run_before=wait)


def _app(source: FakeSource, session: Session) -> ExplorerApp:
    return ExplorerApp(Settings(cache=Path("/nowhere")), session, source)
