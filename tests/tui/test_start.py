"""What is shown first: results that were read while the screen was imported."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from microscope_tui.errors import MicroscopeError
from microscope_tui.results import Measurement
from microscope_tui.settings import Settings
from microscope_tui.terms import Request
from microscope_tui.tui.app import ExplorerApp
from microscope_tui.tui.screens.dialog import STYLES
from microscope_tui.tui.session import DARK, LIGHT, Session
from microscope_tui.tui.start import ReadAhead
from microscope_tui.tui.themes import CONTRAST
from microscope_tui.tui.widgets.pane import Pane
from tests.terminal import dots
from tests.tui.driving import DEADLINE, Driven, filled
from tests.tui.fake import MODELS, SLICE, FakeSource, made_up

SETTINGS = Settings(cache=Path("/nowhere"))
SESSION = Session(MODELS, SLICE, layer=12)
REQUESTS = SESSION.requests(SETTINGS)


def watched(app: ExplorerApp) -> list[list[int]]:
    """How many dots of curves each frame has, pane by pane, as they come."""
    frames: list[list[int]] = []

    def note() -> None:
        if app.explorer.is_mounted:
            frames.append([dots(pane.text) for pane in app.explorer.query(Pane)])

    app.post_display_hook = note  # type: ignore[method-assign]  # what Textual has for tests
    return frames


@pytest.fixture
def recalled(monkeypatch: pytest.MonkeyPatch) -> list[Request]:
    """What the source was asked for."""
    asked: list[Request] = []
    recall = FakeSource.recall

    def noting(self: FakeSource, request: Request) -> Measurement | None:
        asked.append(request)
        return recall(self, request)

    monkeypatch.setattr(FakeSource, "recall", noting)
    return asked


async def test_what_is_at_hand_is_in_the_first_frame_and_is_not_asked_for_again(recalled: list[Request]):
    source = FakeSource([made_up(), made_up(MODELS[1])])
    found = ReadAhead(source, REQUESTS).found()
    assert list(found) == list(REQUESTS) == recalled
    app = ExplorerApp(SETTINGS, SESSION, source, known=found)
    frames = watched(app)
    async with app.run_test(size=(120, 40)) as pilot:
        e = Driven(app, pilot, source)
        await e.until(lambda: frames)
        assert len(frames[0]) == 4
        assert min(frames[0]) > 20
        await e.until(lambda: source.follows, "nobody follows the worker")
        assert recalled == list(REQUESTS)
        await e.press("right")
        assert e.session.layer == 13


async def test_what_is_not_at_hand_is_asked_for(recalled: list[Request]):
    source = FakeSource([made_up()])
    found = ReadAhead(source, REQUESTS).found()
    assert list(found) == [REQUESTS[0]]
    recalled.clear()
    app = ExplorerApp(SETTINGS, SESSION, source, known=found)
    async with app.run_test(size=(120, 40)) as pilot:
        e = Driven(app, pilot, source)
        await e.until(lambda: source.submitted)
        assert source.submitted == [REQUESTS[1]]
        assert recalled[0] == REQUESTS[1]
        assert {asked.model for asked in recalled} == {REQUESTS[1].model}  # the others are what could stand in for it
        await e.until(lambda: source.follows)


async def test_without_anything_at_hand_the_panes_come_first():
    source = FakeSource([made_up(), made_up(MODELS[1])])
    app = ExplorerApp(SETTINGS, SESSION, source)
    frames = watched(app)
    async with app.run_test(size=(120, 40)) as pilot:
        await filled(Driven(app, pilot, source))
        assert frames[0] == [0] * 4
        assert min(frames[-1]) > 20


def test_a_slow_source_is_not_waited_for_and_not_asked_twice(monkeypatch: pytest.MonkeyPatch):
    source, asked, answer = FakeSource([made_up(), made_up(MODELS[1])]), threading.Event(), threading.Event()
    recall, threads = source.recall, set(threading.enumerate())
    times: list[Request] = []

    def slow(request: Request) -> Measurement | None:
        times.append(request)
        asked.set()
        answer.wait(DEADLINE)
        return recall(request)

    monkeypatch.setattr(source, "recall", slow)
    ahead = ReadAhead(source, REQUESTS)
    try:
        assert asked.wait(DEADLINE)
        assert ahead.found() == {}
    finally:
        answer.set()
    for thread in set(threading.enumerate()) - threads:
        thread.join(DEADLINE)
    assert times == [REQUESTS[0]]


@pytest.mark.parametrize("error", [MicroscopeError("There is no folder /data/none."), OSError(5, "input/output")])
def test_what_cannot_be_read_is_left_to_the_screen_to_say(error: Exception, monkeypatch: pytest.MonkeyPatch):
    source = FakeSource([made_up(), made_up(MODELS[1])])

    def check(request: Request) -> None:
        if request == REQUESTS[0]:
            raise error

    monkeypatch.setattr(source, "check", check)
    assert list(ReadAhead(source, REQUESTS).found()) == [REQUESTS[1]]


@pytest.mark.parametrize("theme", [DARK, LIGHT, CONTRAST])
async def test_the_first_frame_is_in_the_colours_of_the_theme(theme: str):
    source = FakeSource([made_up(), made_up(MODELS[1])])
    known = ReadAhead(source, REQUESTS).found()
    app = ExplorerApp(SETTINGS, Session(MODELS, SLICE, theme=theme), source, known=known)
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.pause()
        first, background = app.explorer.styles.background.hex, app.explorer.palette.background
        assert first.lower() == background
        app.explorer.change(Session(MODELS, SLICE, theme=LIGHT if theme == DARK else DARK))
        await pilot.pause()
        assert app.explorer.styles.background.hex.lower() == app.explorer.palette.background != background


def test_what_is_read_ahead_waits_for_no_screen():
    code = (
        "import sys, microscope_tui.tui.start\n"
        "print([m for m in ('textual', 'rich', 'asyncio', 'microscope_tui.store') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=240, check=False)
    assert (done.stdout.strip(), done.stderr) == ("[]", "")


@pytest.mark.parametrize("key", ["question_mark", "m", "ctrl+p"], ids=["help", "picker", "palette"])
async def test_the_rules_of_dialogs_are_read_when_the_first_one_opens(key: str):
    source = FakeSource([made_up(), made_up(MODELS[1])])
    app = ExplorerApp(SETTINGS, SESSION, source, known=ReadAhead(source, REQUESTS).found())
    async with app.run_test(size=(120, 40)) as pilot:
        e = Driven(app, pilot, source)
        assert not app.stylesheet.has_source(str(STYLES))
        await e.press(key)
        await e.until(lambda: app.screen is not app.explorer)
        await pilot.pause()
        assert app.stylesheet.has_source(str(STYLES))
        assert app.screen.styles.background.a == 0.6
        assert app.explorer.styles.background.a == 1
