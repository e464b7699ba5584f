"""The explorer driven by keys, mouse and palette over a fake source."""

from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console
from textual.widgets import DataTable, Input, OptionList, Static

from microscope_tui.settings import THEMES
from microscope_tui.terms import FORMULAS, JobState, Metric, Modality, Progress, Stream
from microscope_tui.tui.content.lines import SHORT_FORMULAS
from microscope_tui.tui.keys import DEEDS
from microscope_tui.tui.screens.explorer import LEAST
from microscope_tui.tui.screens.help import Help
from microscope_tui.tui.screens.picker import Picker
from microscope_tui.tui.session import LIGHT, Session
from microscope_tui.tui.widgets.pane import Pane
from tests.tui.driving import Driven, explorer, filled
from tests.tui.fake import MODELS, SLICE, FakeSource, Shape, made_up

BOTH = Session(MODELS, SLICE, layer=12)


@pytest.fixture
def source() -> FakeSource:
    sinks = {12: ("sinks: 3 rows hold 41 % of the norm",)}
    return FakeSource([made_up(shape=Shape(notes=sinks)), made_up(MODELS[1], shape=Shape(tilt=1.0))])


async def test_four_panes_are_filled_without_a_key(source: FakeSource):
    async with explorer(source, size=(80, 24)) as e:
        await filled(e)
        for number, title in enumerate(["text · main", "text · residual", "image · main", "image · residual"]):
            assert title in e.pane(number)
            assert "[0." in e.pane(number)
            assert any(ord(char) > 0x2800 for char in e.pane(number))
        assert "llava-next" in e.bar("header")
        assert "scienceqa" in e.bar("header")
        assert "worker idle" in e.bar("header")
        assert "linearity" in e.bar("metric")
        assert "main │ residual" in e.bar("metric")
        assert source.submitted == []


async def test_the_value_at_the_cursor_is_the_profiles_own(source: FakeSource):
    async with explorer(source) as e:
        await filled(e)
        measured = source.stored[MODELS[0], str(SLICE)]
        profile = measured.profile(Metric.LINEARITY, Modality.TEXT, Stream.MAIN)
        assert f"{profile.value[12]:.4f}" in e.pane(0)
        await e.press("right")
        assert f"{profile.value[13]:.4f}" in e.pane(0)
        assert e.bar("inspector").startswith(" layer 13")


async def test_traps_are_marked_in_the_pane_and_spelled_out_below(source: FakeSource):
    async with explorer(source) as e:
        await filled(e)
        assert " * " in e.pane(0)
        assert "* sinks: 3 rows hold 41 % of the norm" in e.bar("inspector")
        await e.press("left")
        assert "n 4,812  d 64  n/d 75.2  200 ex" in e.bar("inspector")
        assert " * " not in e.pane(0)


async def test_keys_move_the_shared_cursor(source: FakeSource):
    async with explorer(source) as e:
        await filled(e)
        for key, layer in (("right", 13), ("l", 14), ("left", 13), ("h", 12), ("home", 0), ("end", 24), ("l", 24)):
            await e.press(key)
            assert e.session.layer == layer
            assert all(f" {layer} " in f"{e.pane(number).splitlines()[-1]} " for number in range(4))


async def test_number_keys_choose_the_metric(source: FakeSource):
    async with explorer(source) as e:
        await filled(e)
        seen = {e.pane(0)}
        for key, metric in (("2", Metric.DIMENSION), ("3", Metric.ANISOTROPY), ("1", Metric.LINEARITY)):
            await e.press(key)
            assert e.session.metric is metric
            assert metric in e.bar("metric")
            seen.add(e.pane(0))
        assert len(seen) == 3


async def test_v_goes_through_the_variants_that_were_measured(source: FakeSource):
    async with explorer(source) as e:
        await filled(e)
        shown = []
        for _ in range(3):
            shown.append(e.session.method(e.explorer.methods))
            assert f"v {shown[-1]}" in e.bar("metric")
            await e.press("v")
        assert shown == ["in-sample", "held-out", "update"]
        await e.press("2", "v")
        assert "Only one variant of dimension" in e.notes


async def test_u_shows_the_third_stream(source: FakeSource):
    async with explorer(source, size=(160, 45)) as e:
        await filled(e)
        await e.press("u")
        assert e.session.streams == (Stream.UPDATE, Stream.RESIDUAL)
        assert "update │ residual" in e.bar("metric")
        await e.press("u", "u")
        await e.until(lambda: len([p for p in e.explorer.query(Pane) if p.display]) == 6)
        assert e.explorer.query_one("#pane-5", Pane).face.view.title == "image · update"
        await e.press("u")
        await e.until(lambda: len([p for p in e.explorer.query(Pane) if p.display]) == 4)


async def test_tab_moves_the_focus_and_z_zooms_it(source: FakeSource):
    async with explorer(source) as e:
        await filled(e)
        await e.press("tab")
        assert e.session.pane == 1
        assert e.explorer.query_one("#pane-1").has_class("-focused")
        small = e.explorer.query_one("#pane-1").size
        await e.press("z")
        await e.until(lambda: e.explorer.query_one("#pane-1").size.width > small.width)
        assert [p.number for p in e.explorer.query(Pane) if p.display] == [1]
        await e.press("shift+tab")
        assert [p.number for p in e.explorer.query(Pane) if p.display] == [0]
        await e.press("enter")
        assert len([p for p in e.explorer.query(Pane) if p.display]) == 4


async def test_c_lays_a_second_model_over_the_first_and_takes_it_off(source: FakeSource):
    async with explorer(source) as e:
        await filled(e)
        await e.press("c")
        assert isinstance(e.app.screen, Picker)
        await e.until(lambda: e.app.screen.query_one(OptionList).option_count)
        await e.press(*"omni", "enter")
        await e.until(lambda: e.session.comparing)
        await filled(e)
        assert "◆" in e.pane(0)
        assert "omnifusion" in e.pane(0)
        assert "◆ omnifusion" in e.bar("header")
        await e.press("minus")
        assert not e.session.comparing
        assert "omnifusion" not in e.pane(0)


async def test_a_model_cannot_be_compared_with_itself(source: FakeSource):
    async with explorer(source) as e:
        await filled(e)
        await e.press("c")
        await e.until(lambda: e.app.screen.query_one(OptionList).option_count)
        await e.press(*"llava-next", "enter")
        await e.until(lambda: not isinstance(e.app.screen, Picker))
        assert not e.session.comparing
        assert "shown already" in e.notes


async def test_m_chooses_another_model(source: FakeSource):
    async with explorer(source) as e:
        await filled(e)
        await e.press("m")
        await e.until(lambda: e.app.screen.query_one(OptionList).option_count == 3)
        await e.press("down", "enter")
        await e.until(lambda: e.session.models == (MODELS[1],))
        await filled(e)
        assert "omnifusion" in e.bar("header")


async def test_a_hub_id_can_be_typed(source: FakeSource):
    async with explorer(source) as e:
        await filled(e)
        await e.press("m")
        await e.until(lambda: e.app.screen.query_one(OptionList).option_count)
        e.app.screen.query_one(Input).value = "someone/some-model"
        await e.pilot.pause()
        await e.press("enter")
        await e.until(lambda: "downloaded from the hub" in str(e.app.screen.query_one("#said").render()))
        await e.press("enter")
        await e.until(lambda: e.session.models == ("someone/some-model",))
        await e.until(lambda: source.submitted)
        assert source.submitted[0].model == "someone/some-model"
        await e.until(lambda: "queued" in e.pane(0))


async def test_d_chooses_another_slice_and_refuses_what_is_none(source: FakeSource):
    async with explorer(source) as e:
        await filled(e)
        await e.press("d")
        await e.until(lambda: e.app.screen.query_one(OptionList).option_count)
        e.app.screen.query_one(Input).value = "demo:scienceqa?count=none"
        await e.pilot.pause()
        await e.press("enter")
        await e.until(lambda: "not a whole number" in str(e.app.screen.query_one("#said").render()))
        e.app.screen.query_one(Input).value = "demo:scienceqa?count=50&filter=image"
        await e.pilot.pause()
        await e.press("enter")
        await e.until(lambda: e.session.slice.count == 50)
        assert "count=50" in e.bar("header")
        assert e.session.slice == replace(SLICE, count=50, filter="image")


async def test_escape_leaves_a_picker_as_it_was(source: FakeSource):
    async with explorer(source) as e:
        await filled(e)
        before = e.session
        for key in "mdc":
            await e.press(key)
            assert isinstance(e.app.screen, Picker)
            await e.press("escape")
            assert e.app.screen is e.explorer
        assert e.session == before


async def test_y_gives_all_panes_the_same_axis_and_back(source: FakeSource):
    async with explorer(source) as e:
        await filled(e)

        def axes() -> set[tuple[float, float]]:
            drawings = [pane.face.drawing for pane in e.explorer.query(Pane)]
            return {(drawing.y.low, drawing.y.high) for drawing in drawings}

        own = axes()
        assert len(own) == 4
        await e.press("y")
        ((low, high),) = axes()
        assert low <= min(a for a, _ in own) + 0.01
        assert high >= max(b for _, b in own) - 0.01
        await e.press("y")
        assert axes() == own


async def test_t_changes_the_theme(source: FakeSource):
    async with explorer(source) as e:
        await filled(e)
        dark = e.explorer.palette.background
        await e.press("t")
        assert e.session.theme == e.app.theme == LIGHT
        assert e.explorer.palette.background != dark


async def test_s_saves_the_screen_and_says_where(source: FakeSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    async with explorer(source, session=BOTH) as e:
        await filled(e)
        await e.press("s")
        (picture,) = tmp_path.glob("*.svg")
        assert picture.name in e.notes
        assert "<svg" in picture.read_text()
        assert "llava-next" in picture.read_text()
        (tmp_path / "screenshots").mkdir()
        await e.press("s")
        assert list((tmp_path / "screenshots").glob("*.svg"))


async def test_help_names_every_key(source: FakeSource):
    async with explorer(source, size=(120, 60)) as e:
        await e.press("question_mark")
        assert isinstance(e.app.screen, Help)
        console = Console(width=200, color_system=None)
        with console.capture() as said:
            for static in e.app.screen_stack[-1].query(Static):
                console.print(static.content)
        for deed in DEEDS:
            assert deed.help in said.get()
        await e.press("escape")
        assert e.app.screen is e.explorer


async def test_the_palette_offers_every_deed(source: FakeSource):
    async with explorer(source) as e:
        await filled(e)
        offered = {command.title for command in e.app.get_system_commands(e.explorer)}
        deeds = {f"{deed.label}  ({deed.shown})" for deed in DEEDS if deed.palette}
        assert offered == deeds | {f"Theme {name}" for name in THEMES}
        await e.press("ctrl+p")
        await e.press(*"Dimension")
        await e.pilot.pause(0.3)
        await e.press("enter")
        await e.until(lambda: e.session.metric is Metric.DIMENSION)


async def test_every_key_of_the_table_is_bound_once():
    keys = [key for deed in DEEDS for key in deed.keys.split(",")]
    assert len(keys) == len(set(keys))
    assert not {f"ctrl+{letter}" for letter in "ojsba"} & set(keys)


async def test_q_leaves(source: FakeSource):
    async with explorer(source) as e:
        await e.press("q")
        await e.until(lambda: not e.app.is_running)
        assert e.app.return_value == 0


async def test_a_click_in_a_chart_moves_cursor_and_focus(source: FakeSource):
    async with explorer(source) as e:
        await filled(e)
        pane = e.explorer.query_one("#pane-2", Pane)
        column = pane.face.drawing.column(20)
        await e.pilot.click(pane, offset=(column + 1, pane.size.height - 4))
        await e.until(lambda: e.session.pane == 2)
        assert e.session.layer == 20


async def test_the_wheel_moves_the_cursor(source: FakeSource):
    async with explorer(source) as e:
        await filled(e)
        pane = e.explorer.query_one("#pane-1", Pane)
        pane.post_message(Pane.Wheeled(1))
        await e.until(lambda: e.session.layer == 13)


async def test_the_bars_can_be_clicked(source: FakeSource):
    async with explorer(source) as e:
        await filled(e)
        await e.pilot.click("#metric", offset=(e.bar("metric").index("dimension"), 0))
        await e.until(lambda: e.session.metric is Metric.DIMENSION)
        await e.pilot.click("#footer", offset=(e.bar("footer").index("Zoom"), 0))
        await e.until(lambda: e.session.zoomed)
        await e.pilot.click("#header", offset=(e.bar("header").index("scienceqa"), 0))
        await e.until(lambda: isinstance(e.app.screen, Picker))
        await e.press("escape")
        await e.pilot.click("#footer", offset=(e.bar("footer").index("palette"), 0))
        await e.until(lambda: type(e.app.screen).__name__ == "CommandPalette")


async def test_jobs_shows_and_cancels_and_opens(source: FakeSource):
    async with explorer(source, session=Session(("demo:new",), SLICE)) as e:
        await e.until(lambda: source.worked)
        await e.press("j")
        board = e.app.screen_stack[-1]
        assert type(board).__name__ == "Jobs"
        await e.until(lambda: board.query_one(DataTable).row_count == 1)
        assert "worker: ready" in str(board.query_one("#log").render())
        await e.press("x")
        await e.until(lambda: source.cancelled == ["job-1"])
        await e.until(lambda: "cancelled" in str(board.query_one(DataTable).get_row_at(0)))
        await e.press("x")
        assert "nothing to cancel" in str(board.query_one("#said").render())
        await e.press("enter")
        assert e.app.screen is e.explorer
        await e.until(lambda: "cancelled · r measures again" in " ".join(e.pane(0).split()))


async def test_without_jobs_the_screen_says_so(source: FakeSource):
    async with explorer(source) as e:
        await filled(e)
        await e.press("j")
        assert "No job was ever asked for" in str(e.app.screen.query_one("#detail").render())
        await e.press("x", "enter")
        assert "no job to cancel" in str(e.app.screen.query_one("#said").render())


async def test_a_small_window_says_what_it_needs_and_comes_back(source: FakeSource):
    async with explorer(source, size=(80, 24)) as e:
        await filled(e)
        for size in ((59, 24), (80, 19), (1, 1), (3, 2)):
            await e.pilot.resize_terminal(*size)
            await e.pilot.pause()
            assert e.explorer.query_one("#small").display
            assert not e.explorer.query_one("#panes").display
        await e.press("right", "2", "z", "z", "tab")
        await e.pilot.resize_terminal(60, 20)
        await e.until(lambda: "text · main" in e.pane(0))
        assert not e.explorer.query_one("#small").display
        assert e.session.layer == 13
        await e.pilot.resize_terminal(200, 50)
        await e.until(lambda: any(ord(c) > 0x2800 for c in e.pane(3)))


async def test_a_cursor_key_repaints_only_what_changed(source: FakeSource):
    async with explorer(source) as e:
        await filled(e)
        pane = e.explorer.query_one("#pane-0", Pane)
        before = pane.rows()
        await e.press("right")
        after = pane.rows()
        chart = slice(pane.face.top, -1)
        for old, new in zip(before[chart], after[chart], strict=True):
            differ = [x for x in range(pane.size.width) if old.crop(x, x + 1) != new.crop(x, x + 1)]
            assert 0 < len(differ) <= 2


async def test_long_names_leave_room_for_the_rest():
    long = "/data/" + "x" * 200
    source = FakeSource([made_up(long), made_up(MODELS[1])])
    async with explorer(source, size=(80, 24), session=Session((long, MODELS[1]), SLICE)) as e:
        await filled(e)
        assert len(e.bar("header")) == 80
        assert "worker idle" in e.bar("header")
        assert "text · main" in e.pane(0)
        assert all(len(line) == len(e.pane(0).splitlines()[0]) for line in e.pane(0).splitlines())


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


async def test_the_short_formula_is_that_of_the_method_shown():
    async with explorer(FakeSource([made_up()]), size=(80, 24)) as e:
        await filled(e)
        assert "1 − min‖XA − Y‖²" in e.bar("metric")
        await e.press("v")
        assert e.session.method() == "held-out"
        assert "min‖XA" not in e.bar("metric")


def test_every_method_has_a_short_formula():
    assert set(SHORT_FORMULAS) == set(FORMULAS)
    assert all(len(text) < len(FORMULAS[method]) for method, text in SHORT_FORMULAS.items())


async def test_in_the_smallest_window_the_footer_tells_how_to_get_help_and_how_to_leave():
    async with explorer(FakeSource([made_up()]), size=LEAST) as e:
        await filled(e)
        assert "? Help" in e.bar("footer")
        assert "q Quit" in e.bar("footer")


async def test_help_tells_how_to_scroll_and_leave_where_it_is_seen_at_once():
    async with explorer(FakeSource([made_up()]), size=(80, 24)) as e:
        await e.press("question_mark")
        said = e.app.screen.query_one("#said")
        assert "scroll · esc leaves" in str(said.render())
        assert said.region.bottom <= 24
        assert said.region.height == 1


async def test_a_dialog_gives_way_in_a_window_that_is_too_small_and_comes_back():
    async with explorer(FakeSource([made_up()]), size=(80, 24)) as e:
        await filled(e)
        await e.press("j")
        dialog = e.app.screen.query_one("#dialog")
        await e.pilot.resize_terminal(58, 18)
        await e.until(lambda: not dialog.region.size)
        assert e.explorer.query_one("#small").display
        assert not e.explorer.query_one("#inspector").display
        await e.pilot.resize_terminal(80, 24)
        await e.until(lambda: dialog.region.size)
