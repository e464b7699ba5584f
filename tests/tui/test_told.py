"""What the explorer tells lies over keys alone where it is short: names and values stay readable."""

from functools import partial
from pathlib import Path

import pytest
from textual.geometry import Region
from textual.widgets._toast import Toast

from microscope_tui.settings import Settings
from microscope_tui.tui.app import ExplorerApp
from microscope_tui.tui.session import Session
from microscope_tui.tui.widgets.bar import Bar
from microscope_tui.tui.widgets.pane import Pane
from tests.tui.driving import Driven, filled
from tests.tui.fake import MODELS, SLICE, FakeSource, made_up


def told(app: ExplorerApp) -> list[Region]:
    return [toast.region for toast in app.screen.query(Toast) if toast.region.height]


@pytest.mark.parametrize("size", [(60, 20), (80, 24), (120, 40)])
async def test_neither_names_nor_values_are_below_what_is_told(
    size: tuple[int, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    source = FakeSource([made_up()])
    app = ExplorerApp(Settings(cache=Path("/nowhere")), Session(MODELS[:1], SLICE, layer=12), source)
    async with app.run_test(size=size, notifications=True) as pilot:
        e = Driven(app, pilot, source)
        await filled(e)
        for key in ("f", "s"):  # a sentence, and the path of a file
            await e.press(key)
            await e.until(lambda: told(app))
            (region,) = told(app)
            footer, values = (e.explorer.query_one(name).region for name in ("#footer", "#inspector"))
            assert region == footer.intersection(region) or region.bottom == values.y
            panes = [pane for pane in e.explorer.query(Pane) if pane.display]
            assert all(pane.content_region.y + pane.content_region.height // 2 < region.y for pane in panes)
            assert e.explorer.query_one("#metric").region.bottom <= region.y
    source.close()


@pytest.mark.parametrize("size", [(60, 20), (80, 24), (120, 40)])
async def test_what_is_told_in_two_lines_hides_no_value_at_the_cursor(size: tuple[int, int]):
    source = FakeSource([made_up(model) for model in MODELS])
    app = ExplorerApp(Settings(cache=Path("/nowhere")), Session(MODELS, SLICE, layer=12), source)
    async with app.run_test(size=size, notifications=True) as pilot:
        e = Driven(app, pilot, source)
        await filled(e)
        app.notify("a warning in some words", severity="warning")
        app.notify("and what is told after it")
        await e.until(lambda: any(region.height == 2 for region in told(app)))
        (region,) = told(app)
        bars = [bar for bar in e.explorer.query(Bar) if bar.display]
        assert len(bars) == 3 + (2 if size == (120, 40) else 1)
        assert not any(region.overlaps(bar.region) for bar in bars)
        heads = [pane.content_region for pane in e.explorer.query(Pane) if pane.display]
        assert all(head.y + 3 <= region.y for head in heads)
    source.close()


@pytest.mark.parametrize("said", ["copied the table (CSV)", "a sentence of some words " * 5, "/a/path" * 20])
async def test_what_is_told_reaches_the_edge_and_is_whole(said: str):
    app = ExplorerApp(Settings(cache=Path("/nowhere")), Session(MODELS[:1], SLICE, layer=12), FakeSource([made_up()]))
    async with app.run_test(size=(60, 20), notifications=True) as pilot:
        app.notify(said)
        await Driven(app, pilot, FakeSource()).until(lambda: told(app))
        (toast,) = (toast for toast in app.screen.query(Toast) if toast.region.height)
        assert toast.region.right == 60
        painted = app.screen._compositor.render_strips()[toast.region.y : toast.region.bottom]
        shown = "".join(strip.text[toast.region.x + 1 :] for strip in painted)
        assert shown.replace(" ", "") == said.replace(" ", "")


def painted(app: ExplorerApp) -> str:
    return "\n".join(strip.text for strip in app.screen._compositor.render_strips())


async def test_what_is_told_while_something_else_stands_goes_in_its_turn():
    app = ExplorerApp(Settings(cache=Path("/nowhere")), Session(MODELS[:1], SLICE, layer=12), FakeSource([made_up()]))
    async with app.run_test(size=(80, 24), notifications=True) as pilot:
        e = Driven(app, pilot, FakeSource())
        await filled(e)
        app.notify("copied the first thing", timeout=600.0)
        await e.until(lambda: "copied the first thing" in painted(app))
        app.notify("copied the second thing", timeout=600.0)
        await e.until(lambda: "copied the second thing" in painted(app))
        assert "first thing" not in painted(app)
        app.notify("copied the third thing", timeout=0.5)
        await e.until(lambda: "copied the" not in painted(app))
        assert "worker idle" in painted(app)
        assert not app.screen.query("ToastHolder")


async def test_a_warning_stays_beside_what_is_told_after_it():
    app = ExplorerApp(Settings(cache=Path("/nowhere")), Session(MODELS[:1], SLICE, layer=12), FakeSource([made_up()]))
    async with app.run_test(size=(80, 24), notifications=True) as pilot:
        e = Driven(app, pilot, FakeSource())
        await filled(e)
        app.notify("Still measuring [it]", severity="warning", timeout=600.0, markup=False)
        for said in ("one thing", "two"):
            app.notify(said)
            await e.until(partial(lambda said: said in e.notes, said))
        assert e.notes == "Still measuring [it]\ntwo"
        await e.until(lambda: "Still measuring [it]" in painted(app))
        app.notify("another warning", severity="warning")
        await e.until(lambda: e.notes == "another warning")
