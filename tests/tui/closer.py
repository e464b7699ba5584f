"""Helpers of the tests of the screens that look closer: examples, tokens, worst tokens, map."""

from dataclasses import replace
from typing import TypeVar

from microscope_tui.terms import JobKind
from microscope_tui.tui.screens.closer import Closer
from microscope_tui.tui.session import Session
from microscope_tui.tui.widgets.bar import Bar
from microscope_tui.tui.widgets.canvas import Canvas
from tests.tui import looked
from tests.tui.driving import Driven, filled
from tests.tui.fake import MODELS, SLICE, FakeSource, Shape, made_up

S = TypeVar("S", bound=Closer)

BOTH = Session(MODELS, SLICE, layer=5)
ONE = Session(MODELS[:1], SLICE, layer=5)


def looked_at() -> FakeSource:
    """Two models with answers; everything that can be looked at is in the store."""
    made = [made_up(m, shape=Shape(layers=12)) for m in MODELS]
    source = FakeSource([replace(m, answers=looked.answers(every=2 + i)) for i, m in enumerate(made)])
    for model in MODELS:
        source.looks[model, JobKind.PREVIEW, None] = looked.preview()
        source.looks[model, JobKind.WORST, None] = looked.worst(model)
        source.looks[model, JobKind.MAP, None] = looked.cloud(model)
        for index in range(12):
            source.looks[model, JobKind.TOKENS, index] = looked.table(model, index)
    return source


def canvas(e: Driven, name: str) -> str:
    return e.app.screen.query_one(f"#{name}", Canvas).text


def bar(e: Driven, name: str) -> str:
    return e.app.screen.query_one(f"#{name}", Bar).text


async def opened(e: Driven, key: str, kind: type[S]) -> S:
    """Press a key of the explorer, and wait for what it opens to have its value."""
    await filled(e)
    await e.press(key)
    screen = e.here(kind)
    await e.until(lambda: all(screen.see(look).value for look in screen.asked))
    await e.pilot.pause()
    return screen
