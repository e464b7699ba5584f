"""The explorer driven by keys over a fake source."""

from dataclasses import replace
from pathlib import Path

import pytest
from textual.widgets import DataTable

from microscope_tui.results import Note, Trap
from microscope_tui.terms import Metric, Modality, Stream
from microscope_tui.tui.session import LIGHT, Session
from microscope_tui.tui.widgets.pane import Pane
from tests.sure import sure
from tests.tui.driving import explorer, filled
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
        profile = sure(measured.profile(Metric.LINEARITY, Modality.TEXT, Stream.MAIN))
        assert f"{profile.value[12]:.4f}" in e.pane(0)
        await e.press("right")
        assert f"{profile.value[13]:.4f}" in e.pane(0)
        assert e.bar("inspector").startswith(" layer 13")


async def test_keys_that_have_nothing_to_do_say_so():
    async with explorer(FakeSource([made_up()]), session=Session(MODELS[:1], SLICE)) as e:
        await filled(e)
        await e.press("p")
        await e.until(lambda: "one curve alone: c lays a second" in e.notes)
        await e.press("r")
        await e.until(lambda: "measured to its end" in e.notes)


NUMBERS = ("n 144,360", "d 64", "n/d 2,256", "ρ 0.999", "rank 64")


@pytest.mark.parametrize(("width", "height"), [(80, 24), (100, 30), (160, 45)])
async def test_numbers_come_before_traps_and_what_is_cut_names_the_card(width: int, height: int):
    traps = ("a trap that takes some forty words to say, " * 6, Note("1158 rows are there twice", Trap.DUPLICATES))
    measured = made_up(shape=Shape(n=144_360, notes={12: traps}))
    facts = tuple(replace(p, facts=(("ρ 0.999", "rank 64"),) * len(p.layers)) for p in measured.profiles)
    measured = replace(measured, profiles=facts, sinks={"text": 90, "image": 90})
    async with explorer(FakeSource([measured]), size=(width, height)) as e:
        await filled(e)
        said = e.bar("inspector")
        places = [said.find(number) for number in (*NUMBERS, "*")]
        assert places == sorted(places)
        assert places[0] > 0
        assert said.rstrip().endswith(" i")
        if width == 160:
            assert "sinks 0.062 %" in said
            assert "* 1158 rows are there twice" in said


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
        await e.until(lambda: "Only one variant of dimension" in e.notes)


async def test_u_shows_the_third_stream(source: FakeSource):
    async with explorer(source, size=(160, 45)) as e:
        await filled(e)
        await e.press("u")
        assert e.session.streams == (Stream.UPDATE, Stream.RESIDUAL)
        assert "update │ residual" in e.bar("metric")
        await e.press("u", "u")
        await e.until(lambda: len([p for p in e.explorer.query(Pane) if p.display]) == 6)
        assert e.face(5).view.title == "image · update"
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


async def test_y_gives_all_panes_the_same_axis_and_back(source: FakeSource):
    async with explorer(source) as e:
        await filled(e)

        def axes() -> set[tuple[float, float]]:
            drawings = [sure(sure(pane.face).drawing) for pane in e.explorer.query(Pane)]
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
        await e.until(lambda: "saved" in e.notes)
        (picture,) = tmp_path.glob("*-screen.svg")
        await e.until(lambda: f"saved ./{picture.name}" in e.notes)
        assert "<svg" in picture.read_text()
        assert "llava-next" in picture.read_text()


async def test_q_leaves(source: FakeSource):
    async with explorer(source) as e:
        await e.press("q")
        await e.until(lambda: not e.app.is_running)
        assert e.app.return_value == 0


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


async def test_a_cursor_key_repaints_only_what_changed(source: FakeSource):
    async with explorer(source) as e:
        await filled(e)
        pane = e.explorer.query_one("#pane-0", Pane)
        before = pane.rows()
        await e.press("right")
        after = pane.rows()
        chart = slice(e.face().top, -1)
        for old, new in zip(before[chart], after[chart], strict=True):
            differ = [x for x in range(pane.size.width) if old.crop(x, x + 1) != new.crop(x, x + 1)]
            assert 0 < len(differ) <= 2


async def test_the_short_formula_is_that_of_the_method_shown():
    async with explorer(FakeSource([made_up()]), size=(80, 24)) as e:
        await filled(e)
        assert "1 − min‖XA − Y‖²" in e.bar("metric")
        await e.press("v")
        assert e.session.method() == "held-out"
        assert "min‖XA" not in e.bar("metric")
