"""How the screen looks, kept as pictures: few, of fixed profiles."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import pytest
from textual.pilot import Pilot

from microscope_tui.errors import Fault, MicroscopeError
from microscope_tui.settings import Settings
from microscope_tui.terms import JobState, Progress
from microscope_tui.tui.app import ExplorerApp
from microscope_tui.tui.session import DARK, LIGHT, Session
from tests.tui.driving import Driven, filled
from tests.tui.fake import MODELS, SLICE, FakeSource, Shape, made_up


class Compare(Protocol):
    def __call__(self, app: ExplorerApp, *, terminal_size: tuple[int, int], run_before: object) -> bool: ...


NO_MODEL = "There is no folder /data/none: check its name, or choose another model."
NO_SLICE = "The folder /data/rows holds no data set: there are no parquet files."
NO_WORKER = "The worker did not start within 20 s: see worker.log."
NO_RESULT = "The cache /data/theirs has nothing of it, and nothing is measured in a read-only one."
NO_VALUE = made_up(shape=Shape(layers=4, gap=(0, 1, 2, 3, 4), n=40))
NAMES = (*MODELS, "org/third-model", "org/fourth-model")


@dataclass(frozen=True)
class Look:
    """What a picture shows: how many models, at what size, after which keys."""

    size: tuple[int, int]
    models: int = 2
    theme: str = DARK
    keys: tuple[str, ...] = ()


LOOKS = {
    "60x20-compare": Look((60, 20)),
    "60x20-light": Look((60, 20), 1, LIGHT),
    "80x24": Look((80, 24), 1),
    "80x24-compare-light": Look((80, 24), theme=LIGHT),
    "80x24-difference": Look((80, 24), keys=("f",)),
    "80x24-card": Look((80, 24), theme=LIGHT, keys=("i",)),
    "120x40-compare": Look((120, 40)),
    "120x40-light": Look((120, 40), 1, LIGHT),
    "120x40-thin-line": Look((120, 40), keys=("b",)),
    "120x40-differences": Look((120, 40), keys=("k",)),
    "200x50-compare": Look((200, 50)),
    "200x50-four-light": Look((200, 50), 4, LIGHT, ("2", "a", "g", "p")),
}


@pytest.mark.parametrize("look", LOOKS.values(), ids=LOOKS.keys())
def test_the_panes(snap_compare: Compare, look: Look):
    traps = {12: ("sinks: 3 rows hold 41 % of the norm",)}
    shapes = (Shape(notes=traps), Shape(tilt=1.0, gap=(6, 7)), Shape(tilt=0.5), Shape(tilt=-0.5))
    source = FakeSource([made_up(name, shape=shape) for name, shape in zip(NAMES, shapes, strict=True)])
    app = _app(source, Session(NAMES[: look.models], SLICE, layer=12, theme=look.theme))

    async def wait(pilot: Pilot[int]) -> None:
        await filled(Driven(app, pilot, source))
        await pilot.press(*look.keys)
        await pilot.pause()

    assert snap_compare(app, terminal_size=look.size, run_before=wait)


def test_what_cannot_be_shown_is_said(snap_compare: Compare):
    refused = made_up(
        refused={"main": "block 3 differs from the model's own forward by 0.2"}, shape=Shape(gap=(12,), n=40)
    )
    source = FakeSource([refused])
    app = _app(source, Session(MODELS, SLICE, layer=12))

    async def wait(pilot: Pilot[int]) -> None:
        driven = Driven(app, pilot, source)
        await driven.until(lambda: source.worked)
        partial = made_up(MODELS[1], complete=False, examples=12)
        source.move(source.worked["job-1"], JobState.RUNNING, Progress("measuring", 12, 60), partial=partial)
        await driven.until(lambda: any(ord(char) > 0x2800 for char in driven.pane(0)))
        source.news.put(MicroscopeError("The worker has died; the end of its log may say why."))
        await driven.until(lambda: "worker gone" in driven.bar("header"))
        await pilot.pause()

    assert snap_compare(app, terminal_size=(80, 24), run_before=wait)


ERRORS: dict[str, tuple[str, Callable[[FakeSource], None]]] = {
    "model": ("no folder", lambda source: source.refuse.update({MODELS[0]: NO_MODEL})),
    "slice": ("no parquet files", lambda source: source.refuse.update({SLICE.source: NO_SLICE})),
    "worker": ("did not start", lambda source: setattr(source, "broken", NO_WORKER)),
    "read-only": ("has nothing of it", lambda source: setattr(source, "broken", NO_RESULT)),
    "undefined": ("too few for d", lambda source: source.stored.update({(MODELS[0], str(SLICE)): NO_VALUE})),
    "defect": ("internal error", lambda source: setattr(source, "recall", lambda request: 1 / 0)),
}
"""What is said in the end, and what goes wrong before that."""


@pytest.mark.parametrize(("said", "goes_wrong"), ERRORS.values(), ids=ERRORS.keys())
def test_an_error(snap_compare: Compare, said: str, goes_wrong: Callable[[FakeSource], None]):
    source = FakeSource()
    goes_wrong(source)
    source.read_only = said == "has nothing of it"
    app = _app(source, Session(MODELS[:1], SLICE))

    async def wait(pilot: Pilot[int]) -> None:
        driven = Driven(app, pilot, source)
        await pilot.pause()
        await driven.until(lambda: all(said in " ".join(driven.pane(number).split()) for number in range(4)))
        await pilot.pause()

    assert snap_compare(app, terminal_size=(80, 24), run_before=wait)


def test_a_failed_job(snap_compare: Compare):
    source = FakeSource()
    app = _app(source, Session(MODELS[:1], SLICE, theme=LIGHT))

    async def wait(pilot: Pilot[int]) -> None:
        driven = Driven(app, pilot, source)
        await pilot.pause()
        await driven.until(lambda: source.worked)
        lacks = "The checkpoint lacks the shard 2 of 4."
        source.move(source.worked["job-1"], JobState.FAILED, error=lacks, fault=Fault.MODEL)
        await driven.until(lambda: "lacks the shard" in driven.pane(3) and "failed" in driven.bar("header"))
        await pilot.pause()

    assert snap_compare(app, terminal_size=(80, 24), run_before=wait)


@pytest.mark.parametrize("size", [(40, 10), (39, 9)], ids=["one-pane", "none"])
def test_a_window_that_is_too_small(snap_compare: Compare, size: tuple[int, int]):
    source = FakeSource([made_up()])
    app = _app(source, Session(MODELS[:1], SLICE))

    async def wait(pilot: Pilot[int]) -> None:
        await filled(Driven(app, pilot, source))

    assert snap_compare(app, terminal_size=size, run_before=wait)


def _app(source: FakeSource, session: Session) -> ExplorerApp:
    return ExplorerApp(Settings(cache=Path("/nowhere")), session, source)
