"""The explorer in small windows, with long names and many layers."""

from pathlib import Path

import pytest
from textual.widgets import DataTable, Static

from microscope_tui.settings import Settings
from microscope_tui.terms import JobState, Progress, SliceSpec
from microscope_tui.tui import keys
from microscope_tui.tui.content.status import LEAST, LEAST_ALONE
from microscope_tui.tui.data.source import Held
from microscope_tui.tui.deeds import OPENING
from microscope_tui.tui.keys import deeds, short_label
from microscope_tui.tui.session import Session
from microscope_tui.tui.widgets.pane import Pane
from tests.tui.driving import Driven, explorer, filled
from tests.tui.fake import MODELS, SLICE, FakeSource, Shape, made_up

BOTH = Session(MODELS, SLICE, layer=12)


@pytest.fixture
def source() -> FakeSource:
    sinks = {12: ("sinks: 3 rows hold 41 % of the norm",)}
    return FakeSource([made_up(shape=Shape(notes=sinks)), made_up(MODELS[1], shape=Shape(tilt=1.0))])


async def test_a_small_window_says_what_it_needs_and_comes_back(source: FakeSource):
    async with explorer(source, size=(80, 24)) as e:
        await filled(e)
        for size in ((39, 24), (80, 9), (1, 1), (3, 2)):
            await e.pilot.resize_terminal(*size)
            await e.until(lambda: e.explorer.query_one("#small").display)
            assert not e.explorer.query_one("#panes").display
        await e.press("right", "2", "z", "z", "tab")
        await e.pilot.resize_terminal(60, 20)
        await e.until(lambda: "text · main" in e.pane(0))
        assert not e.explorer.query_one("#small").display
        assert e.session.layer == 13
        await e.pilot.resize_terminal(200, 50)
        await e.until(lambda: any(ord(c) > 0x2800 for c in e.pane(3)))


@pytest.mark.parametrize("size", [(59, 24), (80, 19), LEAST_ALONE])
async def test_below_the_usual_size_there_is_one_pane_and_keys_go_to_the_others(
    source: FakeSource, size: tuple[int, int]
):
    async with explorer(source, size=(80, 24), session=BOTH) as e:
        await filled(e)
        await e.pilot.resize_terminal(*size)
        await e.until(lambda: e.explorer.query_one("#pane-0").size.width == size[0])
        assert not e.explorer.query_one("#small").display
        await e.press("2", "right", "tab")
        await e.until(lambda: e.explorer.query_one("#pane-1").size.width == size[0])
        shown = [pane.number for pane in e.explorer.query(Pane) if pane.display]
        assert shown == [1]
        pane = e.pane(1)
        assert "text · residual" in pane
        assert "●" in pane
        assert "◆" in pane
        opening = {short_label(deed) for deed in deeds("explorer") if deed.action in OPENING}
        assert "Layer" in e.bar("footer")
        assert not {word for word in e.bar("footer").split() if word in opening}
        assert sum(ord(char) > 0x2800 for char in pane) > 10
        assert e.explorer.query_one("#footer").region.bottom == size[1]
        assert not e.session.zoomed
        await e.pilot.resize_terminal(80, 24)
        await e.until(lambda: all(pane.display for pane in e.explorer.query(Pane)))


async def test_what_is_open_over_a_pane_alone_says_what_it_needs_and_how_to_leave_it():
    async with explorer(FakeSource([made_up()]), size=(50, 15)) as e:
        await filled(e)
        small = e.explorer.query_one("#small", Static)
        assert not small.display
        for key in ("j", "m", "question_mark"):
            await e.press(key)
            await e.until(lambda: small.display)
            assert not e.app.screen.query_one("#dialog").region.size
            said = str(small.render())
            assert "60x20" in said
            assert "esc goes back" in said
            await e.press("escape")
            await e.until(lambda: e.app.screen is e.explorer and not small.display)
            assert "text · main" in e.pane(0)


async def test_a_screen_and_a_dialog_say_alike_that_they_need_more_room():
    said = []
    async with explorer(FakeSource([made_up()]), size=(80, 24)) as e:
        await filled(e)
        for key in ("j", "X"):
            await e.pilot.resize_terminal(80, 24)
            await e.press(key)
            await e.pilot.resize_terminal(45, 12)
            here = e.explorer if key == "j" else e.app.screen
            small = here.query_one("#small", Static)
            await e.until(lambda small=small: small.display and "45x12" in str(small.render()))  # type: ignore[misc]
            said.append(str(small.render()))
            await e.press("escape")
    assert said[0] == said[1]


async def test_long_names_leave_room_for_the_rest():
    long = "/data/" + "x" * 200
    source = FakeSource([made_up(long), made_up(MODELS[1])])
    async with explorer(source, size=(80, 24), session=Session((long, MODELS[1]), SLICE)) as e:
        await filled(e)
        assert len(e.bar("header")) == 80
        assert "worker idle" in e.bar("header")
        assert "text · main" in e.pane(0)
        assert all(len(line) == len(e.pane(0).splitlines()[0]) for line in e.pane(0).splitlines())


async def test_short_names_are_whole_in_the_smallest_header_while_the_worker_talks():
    source = FakeSource([made_up()])
    async with explorer(source, size=(60, 20), session=Session(MODELS, SLICE)) as e:
        await e.until(lambda: len(source.worked) == 1)
        source.move(source.worked["job-1"], JobState.RUNNING, Progress("measuring", 304, 700, rate=12.34, eta=41.0))
        await header_says(e, "measuring 304/700 ex")
        assert e.bar("header").startswith(" ● llava-next  ◆ omnifusion  on ")


async def test_letters_of_two_cells_stay_in_their_pane():
    name = "/data/" + "模型" * 60
    source = FakeSource([])
    async with explorer(source, size=(80, 24), session=Session((name, MODELS[1]), SLICE)) as e:
        await e.until(lambda: "queued" in e.pane(0))
        first = next(iter(source.worked))
        source.move(source.worked[first], JobState.FAILED, error=f"{name} is not here: name another model.")
        await e.until(lambda: "is not here" in "".join(e.pane(0).split()) or "模" in e.pane(0))
        rows = e.face().rows()
        assert {row.cell_length for row in rows} == {e.face().width}
        assert not any("…" in row.text[-1:] for row in rows)


@pytest.mark.parametrize("width", [100, 120])
async def test_a_name_is_not_cut_where_there_is_room_beside_its_values(width: int):
    names = ("demo:llava-next-base", MODELS[1])
    source = FakeSource([made_up(name) for name in names])
    async with explorer(source, size=(width, 40), session=Session(names, SLICE, layer=3)) as e:
        await filled(e)
        lines = [line for number in range(4) for line in e.pane(number).splitlines() if "llava" in line]
        assert len(lines) == 4
        assert all("● llava-next-base " in line and "]" in line for line in lines)


@pytest.mark.parametrize("size", [(120, 40), (80, 24)])
async def test_compared_slices_that_differ_in_the_middle_of_their_names_are_told_apart(size: tuple[int, int]):
    spec, few = SliceSpec("demo:scienceqa", count=64), SliceSpec("demo:scienceqa", filter="image", count=64)
    source = FakeSource([made_up(MODELS[0], spec), made_up(MODELS[1], spec), made_up(MODELS[0], few)])
    async with explorer(source, size=size, session=Session(MODELS, spec, layer=3, others=(few,))) as e:
        await filled(e)
        if size == (120, 40):
            assert e.bar("header").split("▲")[1].split()[0] == "llava-next"
            lines = [line for number in range(4) for line in e.pane(number).splitlines()[:3]]
            assert {line[1:17] for line in lines} == {"● llava-next…   ", "◆ omnifusion…   ", "▲ …filter=image…"}
            assert all("] " in line and "n/d" in line for line in lines)
        else:
            assert e.bar("header").startswith(" ● llava-next…  ◆ omnifusion…  ▲ …filter=image… ")
            assert " ● ll…xt  ◆ om…on  ▲ fi…ge" in e.pane(0).splitlines()[0]


async def test_a_model_of_a_hundred_layers():
    source = FakeSource([made_up(shape=Shape(layers=100))])
    async with explorer(source, size=(80, 24)) as e:
        await filled(e)
        await e.press("2", "end")
        assert e.session.layer == 100
        assert " 100 " in f"{e.pane(0).splitlines()[-1]} "


async def header_says(e: Driven, said: str) -> None:
    await e.until(lambda: said in e.bar("header"))


async def test_names_are_shortened_alike_in_all_panes_and_stand_still_while_the_worker_talks():
    source = FakeSource([made_up()])
    async with explorer(source, size=(80, 24), session=Session(MODELS, SLICE)) as e:
        await e.until(lambda: len(source.worked) == 1)
        names = e.bar("header")[:42]
        assert "llava-next" in names
        assert "omnifusion" in names
        for done in (3, 300):
            now = Progress("measuring", done, 60_000, rate=12.34, eta=4100.0)
            source.move(source.worked["job-1"], JobState.RUNNING, now)
            await header_says(e, f"measuring {done}/60,000")
            assert e.bar("header")[:42] == names
        legends = {line[line.index("●") :] for line in (e.pane(number).splitlines()[0] for number in range(4))}
        assert len({legend.strip() for legend in legends}) == 1


async def test_in_the_smallest_window_the_footer_tells_how_to_get_help_and_how_to_leave():
    async with explorer(FakeSource([made_up()]), size=LEAST) as e:
        await filled(e)
        assert "? Help" in e.bar("footer")
        assert "q Quit" in e.bar("footer")


async def test_at_the_usual_size_the_footer_tells_how_to_move_what_else_there_is_and_what_it_means():
    async with explorer(FakeSource([made_up()]), size=(80, 24)) as e:
        await filled(e)
        assert all(said in e.bar("footer") for said in ("←→ Layer", "c Compare", "i Card", "m Model", "? Help"))
        assert "v in-sample" in e.bar("metric")


async def test_the_sentence_of_a_small_window_names_the_key_in_force():
    settings = Settings(cache=Path("/nowhere"), keys={"leave": "f10"})
    try:
        async with explorer(FakeSource([made_up()]), size=(38, 8), settings=settings) as e:
            await e.until(lambda: "f10 leaves" in str(e.explorer.query_one("#small", Static).render()))
    finally:
        keys.use({})


async def test_help_tells_how_to_scroll_and_leave_where_it_is_seen_at_once():
    async with explorer(FakeSource([made_up()]), size=(80, 24)) as e:
        await e.press("question_mark")
        said = e.app.screen.query_one("#said")
        assert "scroll · esc back" in str(said.render())
        assert said.region.bottom <= 24
        assert said.region.height == 1


async def test_a_dialog_that_is_not_seen_does_nothing_but_go_back():
    """`x` twice removes a value of the cache."""
    source = FakeSource([made_up()])
    source.held["blob/1"] = Held("blob/1", "sums", "sums", MODELS[0], str(SLICE), 1, 1_700_000_000.0, False)
    async with explorer(source, size=(80, 24)) as e:
        await filled(e)
        await e.press("K")
        await e.until(lambda: e.app.screen.query_one(DataTable).row_count)
        await e.pilot.resize_terminal(58, 18)
        await e.until(lambda: not e.app.screen.query_one("#dialog").region.size)
        await e.press("x", "x")
        await e.pilot.pause(0.1)
        assert source.held
        await e.press("escape")
        assert e.app.screen is e.explorer


async def test_a_dialog_gives_way_in_a_window_that_is_too_small_and_comes_back():
    async with explorer(FakeSource([made_up()]), size=(80, 24)) as e:
        await filled(e)
        await e.press("j")
        dialog = e.app.screen.query_one("#dialog")
        await e.pilot.resize_terminal(58, 18)
        await e.until(lambda: not dialog.region.size and e.explorer.query_one("#small").display)
        assert not e.explorer.query_one("#inspector").display
        await e.pilot.resize_terminal(80, 24)
        await e.until(lambda: dialog.region.size)
