"""Helpers of the tests that drive the explorer."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from textual.pilot import Pilot

from microscope_tui.settings import Settings
from microscope_tui.tui.app import ExplorerApp
from microscope_tui.tui.screens.explorer import Explorer
from microscope_tui.tui.session import Session
from microscope_tui.tui.widgets.bar import Bar
from microscope_tui.tui.widgets.face import Face
from microscope_tui.tui.widgets.pane import Pane
from tests.sure import sure
from tests.tui.fake import MODELS, SLICE, FakeSource

S = TypeVar("S")

DEADLINE = 60.0
"""Seconds after which what did not come is taken to come no more: many, for other work may go on on the machine."""


@dataclass
class Driven:
    """A running explorer, and short ways to look at it."""

    app: ExplorerApp
    pilot: Pilot[int]
    source: FakeSource

    @property
    def explorer(self) -> Explorer:
        return self.app.explorer

    @property
    def session(self) -> Session:
        return self.explorer.session

    def pane(self, number: int = 0) -> str:
        return self.explorer.query_one(f"#pane-{number}", Pane).text

    def bar(self, name: str) -> str:
        return self.explorer.query_one(f"#{name}", Bar).text

    def face(self, number: int = 0) -> Face:
        """What a pane draws."""
        return sure(self.explorer.query_one(f"#pane-{number}", Pane).face)

    def here(self, kind: type[S]) -> S:
        """The screen that is shown."""
        screen: object = self.app.screen
        assert isinstance(screen, kind)
        return screen

    @property
    def notes(self) -> str:
        return "\n".join(note.message for note in self.app._notifications)

    async def press(self, *keys: str) -> None:
        await self.pilot.press(*keys)
        await self.pilot.pause()

    async def until(self, holds: Callable[[], object], what: str = "") -> None:
        """Wait until a condition holds; fail after a while."""
        end = time.monotonic() + DEADLINE
        while not holds():
            assert time.monotonic() < end, what or f"waited too long; pane 0:\n{self.pane()}"
            await self.pilot.pause(0.01)


@asynccontextmanager
async def explorer(
    source: FakeSource,
    *,
    size: tuple[int, int] = (120, 40),
    session: Session | None = None,
    settings: Settings | None = None,
) -> AsyncIterator[Driven]:
    """The explorer over a fake source, ready to be driven."""
    settings = settings or Settings(cache=Path("/nowhere"))
    app = ExplorerApp(settings, session or Session(MODELS[:1], SLICE, layer=12), source)
    async with app.run_test(size=size) as pilot:
        driven = Driven(app, pilot, source)
        await pilot.pause()
        yield driven
    source.close()


async def filled(driven: Driven) -> None:
    """Wait until every model of the session has a curve."""
    await driven.until(lambda: all(view.measurement for view in map(driven.explorer.desk.of, driven.explorer.requests)))
    await driven.pilot.pause()
