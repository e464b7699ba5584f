"""The jobs of the worker and the cache, as screens."""

from dataclasses import replace
from typing import Any

import pytest
from textual.widgets import DataTable, Static

from microscope_tui.errors import MicroscopeError
from microscope_tui.methods import REFERENCE
from microscope_tui.terms import JobKind, JobState, Progress, Request, SliceSpec
from microscope_tui.tui.content.work import cells, columns, in_view, lines_of, state_of
from microscope_tui.tui.data.source import Held, Stock
from microscope_tui.tui.screens.cache import Cache, total_text
from microscope_tui.tui.screens.jobs import Jobs
from microscope_tui.tui.session import Session
from tests.tui.driving import Driven, explorer, filled
from tests.tui.fake import MODELS, SLICE, FakeSource, made_up

NAMES = ("demo:a", "demo:b", "demo:c")


def text_of(e: Driven, name: str) -> str:
    return str(e.app.screen.query_one(name, Static).render())


def rows(e: Driven) -> list[list[str]]:
    table = e.app.screen.query_one(DataTable)
    return [[str(cell) for cell in table.get_row_at(row)] for row in range(table.row_count)]


async def opened(e: Driven) -> None:
    await e.until(lambda: len(e.source.worked) == len(NAMES))
    await e.press("j")
    assert e.here(Jobs)
    await e.until(lambda: len(rows(e)) == len(NAMES))


async def test_jobs_are_paused_ordered_and_tried_again():
    source = FakeSource()
    async with explorer(source, size=(140, 40), session=Session(NAMES, SLICE)) as e:
        await opened(e)
        assert [row[2] for row in rows(e)] == ["a", "b", "c"]
        await e.press("down", "down", "plus")
        await e.until(lambda: [row[2] for row in rows(e)] == ["a", "c", "b"])
        assert [job.request.model for job in source.jobs()] == ["demo:a", "demo:c", "demo:b"]
        await e.press("p")
        await e.until(lambda: "paused" in rows(e)[1][0])
        assert source.worked["job-3"].state is JobState.PAUSED
        await e.press("p")
        await e.until(lambda: source.worked["job-3"].state is JobState.QUEUED)
        await e.press("r")
        assert "has not ended yet" in text_of(e, "#said")
        await e.press("x")
        await e.until(lambda: source.cancelled == ["job-3"])
        await e.until(lambda: "cancelled" in rows(e)[2][0])
        await e.press("minus")
        assert "only waiting jobs" in text_of(e, "#said")
        await e.press("r")
        await e.until(lambda: len(source.submitted) == 4)
        assert source.submitted[3].model == "demo:c"


async def test_j_and_k_move_in_the_list_and_a_running_job_is_cancelled_when_asked_twice():
    source = FakeSource()
    async with explorer(source, size=(140, 40), session=Session(NAMES, SLICE)) as e:
        await opened(e)
        source.move(source.worked["job-1"], JobState.RUNNING, Progress("measuring", 3, 60))
        await e.until(lambda: "running" in rows(e)[0][0])
        table = e.app.screen.query_one(DataTable)
        await e.press("x")
        assert "x once more cancels demo:a: measuring 3/60 ex" in text_of(e, "#said")
        await e.press("j")
        assert table.cursor_row == 1
        assert "once more" not in text_of(e, "#said")
        await e.press("k", "x")
        assert table.cursor_row == 0
        assert source.cancelled == []
        await e.press("x")
        await e.until(lambda: source.cancelled == ["job-1"])


async def test_the_log_of_one_job_or_all_of_it():
    source = FakeSource()
    source.log = "worker: ready\n10:00 job job-1: measure of a\n10:01 halved\n10:02 job job-2: measure of b\n"
    async with explorer(source, size=(140, 40), session=Session(NAMES, SLICE)) as e:
        await opened(e)
        await e.until(lambda: "worker: ready" in text_of(e, "#log"))
        await e.press("o")
        assert text_of(e, "#log").splitlines() == ["10:00 job job-1: measure of a", "10:01 halved"]
        await e.press("down", "down")
        await e.until(lambda: "says nothing of this job" in text_of(e, "#log"))


def test_the_lines_of_a_job_are_those_from_its_mention_to_the_next():
    job = FakeSource().submit(Request("a", SLICE))
    lines = ["boot", "job job-1: starts", "batch halved", "job job-2: starts", "other", "job job-1 is done"]
    assert lines_of(job, lines) == ["job job-1: starts", "batch halved", "job job-1 is done"]


def test_running_jobs_stand_first_then_the_queue_then_the_newest():
    source = FakeSource()
    jobs = [source.submit(Request(name, SLICE)) for name in "abcde"]
    states = (JobState.DONE, JobState.FAILED, JobState.QUEUED, JobState.RUNNING, JobState.PAUSED)
    moved = [replace(job, state=state) for job, state in zip(jobs, states, strict=True)]
    assert [job.request.model for job in in_view(moved)] == ["d", "c", "e", "b", "a"]


def test_what_was_withdrawn_before_it_began_stands_last():
    source = FakeSource()
    jobs = [source.submit(Request(name, SLICE)) for name in "abc"]
    half = replace(jobs[1], started=1.0, progress=Progress("measuring", 3, 60))
    jobs = [replace(jobs[0], state=JobState.DONE), *(replace(job, state=JobState.CANCELLED) for job in (half, jobs[2]))]
    assert [job.request.model for job in in_view(jobs)] == ["b", "a", "c"]


@pytest.mark.parametrize(("size", "shown"), [((80, 24), "without dupli…"), ((160, 45), "without duplicates, sinks")])
async def test_jobs_of_one_model_and_slice_are_told_apart_by_the_rows_they_count(size: tuple[int, int], shown: str):
    source = FakeSource([made_up()])
    plain = Request(MODELS[0], SLICE)
    variants = (
        replace(plain, without=("duplicates", "sinks")),
        replace(plain, one_tile=True),
        replace(plain, before=True, reference=True),
        replace(plain, matched=1500),
    )
    for request in (*variants, plain):
        source.submit(request)
    async with explorer(source, size=size) as e:
        await e.press("j")
        await e.until(lambda: len(rows(e)) == 5)
        names = [row[1] for row in rows(e)]
        assert names[0] == shown
        assert len({*names}) == 5
        assert names[1] == "one tile"
        assert names[4] == "measure"
        assert f"measure: {MODELS[0]} on {SLICE}, without duplicates, sinks" in text_of(e, "#detail")
        await e.press("down", "down")
        await e.until(lambda: "from the vision tower on, with the reference's values" in text_of(e, "#detail"))


@pytest.mark.parametrize("size", [(60, 20), (80, 24), (100, 30), (160, 45)])
async def test_no_column_of_jobs_or_cache_is_out_of_sight(size: tuple[int, int]):
    source = FakeSource([made_up()])
    stocked(source)
    slices = SliceSpec("derek-thomas/ScienceQA", filter="image,subject:natural science", count=200, seed=3)
    models = ("llava-hf/llava-v1.6-mistral-7b-hf", "Qwen/Qwen2.5-VL-7B-Instruct")
    jobs = [source.submit(Request(model, replace(slices, seed=n))) for model in models for n in range(9)]
    source.worked["job-2"] = replace(jobs[1], state=JobState.FAILED, error="word " * 60)
    async with explorer(source, size=size) as e:
        for key in "jK":
            await e.press(key)
            await e.until(lambda: len(rows(e)) > 2)
            table = e.app.screen.query_one(DataTable)
            assert table.virtual_size.width <= table.size.width
            assert table.size.height >= 4
            assert e.app.screen.query_one("#said").region.bottom < size[1]
            await e.press("escape")


async def test_what_has_no_room_in_the_table_of_jobs_stands_below_it():
    source = FakeSource([made_up()])
    name, reason = "org/a-model-with-a-name-that-fits-into-no-column", "The checkpoint lacks the shard 2 of 4: " * 3
    job = source.submit(Request(name, SliceSpec("org/data", filter="subject:natural science", count=40)))
    source.worked[job.id] = replace(job, state=JobState.FAILED, error=reason.strip())
    async with explorer(source, size=(80, 24)) as e:
        await e.press("j")
        await e.until(lambda: len(rows(e)) == 1)
        state, kind, model, spec = rows(e)[0]
        assert (state, kind) == ("✗ failed", "measure")
        assert model.startswith("a-model")
        assert model.endswith("column")
        assert "…" in model
        assert spec.startswith("data filter")
        assert spec.endswith("40")
        below = text_of(e, "#detail")
        assert f"measure: {name} on org/data?filter=subject:natural%20science&count=40" in below
        assert reason.strip() in below
        assert "job job-1" in below


def test_a_job_says_how_many_of_its_examples_are_measured_and_nothing_else_in_percent():
    job = FakeSource().submit(Request("a", SLICE))

    def said(state: JobState, phase: str = "measuring", done: int = 0, total: int = 0, **more: Any) -> str:
        progress = Progress(phase, done, total, **more)
        return state_of(replace(job, state=state, progress=progress, started=10.0, ended=51.0))

    assert said(JobState.RUNNING, "measuring", 52, 100) == "▶ running 52 %"
    assert said(JobState.RUNNING, "counting rows 1/2", 52, 100) == "▶ running 52 %", "whatever it is called"
    assert said(JobState.RUNNING, "loading model", 0, 100) == "▶ loading"
    assert said(JobState.RUNNING, "loading weights", 0, 100, percent=30) == "▶ loading"
    assert said(JobState.RUNNING, "measuring", 0, 100) == "▶ measuring"
    assert said(JobState.RUNNING, "resuming", 20, 100) == "▶ running 20 %"
    assert said(JobState.RUNNING, "measuring", 100, 100) == "▶ running 100 %"
    assert said(JobState.RUNNING, "computing profiles", 100, 100, percent=30) == "▶ computing"
    assert said(JobState.RUNNING, "keeping linear maps", 3, 32, unit="maps") == "▶ keeping"
    leaving = replace(job, state=JobState.RUNNING, becoming=JobState.PAUSED)
    assert state_of(replace(leaving, progress=Progress("loading weights", 0, 100, percent=30))) == "▶ pausing"
    assert state_of(replace(leaving, progress=Progress("measuring", 30, 100))) == "▶ running 30 %"
    look = replace(job, kind=JobKind.TOKENS, state=JobState.RUNNING)
    assert state_of(replace(look, progress=Progress("linear maps of text tokens", 3, 32, unit="maps"))) == "▶ running"
    assert said(JobState.PAUSED, "paused", 7, 20) == "‖ paused 35 %"
    assert said(JobState.QUEUED) == "· queued"
    assert said(JobState.DONE) == "✓ done 0:41"
    assert said(JobState.CANCELLED) == "✗ cancelled"


def test_models_whose_short_names_are_alike_are_named_in_full():
    jobs = [FakeSource().submit(Request(name, SLICE)) for name in ("ann/llava", "bob/llava")]
    assert [row[2] for row in cells(jobs, columns(150))] == ["ann/llava", "bob/llava"]
    assert [row[2] for row in cells(jobs[:1], columns(150))] == ["llava"]


async def test_a_worker_that_is_gone_is_said_of_its_jobs_and_started_again_from_there():
    source = FakeSource()
    async with explorer(source, size=(80, 24), session=Session(NAMES, SLICE)) as e:
        await opened(e)
        source.move(source.worked["job-1"], JobState.RUNNING, Progress("measuring", 30, 60))
        await e.until(lambda: rows(e)[0][0] == "▶ running 50 %")
        await e.press("r")
        assert "has not ended yet" in text_of(e, "#said")
        source.news.put(MicroscopeError("The worker has died."))  # while its lock is still held
        await e.until(lambda: rows(e)[0][0] == "✗ cut off 50 %")
        source.alive = False
        await e.press("f5")
        await e.pilot.pause(0.1)
        assert rows(e)[0][0] == "✗ cut off 50 %"
        assert "r starts one, which goes on with it" in text_of(e, "#detail")
        followed = source.follows
        source.alive = True
        await e.press("r")
        await e.until(lambda: len(source.submitted) == 4)
        await e.until(lambda: rows(e)[0][0] == "▶ running 50 %")
        await e.until(lambda: source.follows == followed + 1)
        source.move(source.worked["job-1"], JobState.RUNNING, Progress("measuring", 45, 60))
        await e.until(lambda: rows(e)[0][0] == "▶ running 75 %")


async def test_a_look_is_named_as_such():
    source = FakeSource([made_up()])
    source.submit(Request("demo:a", SLICE), JobKind.TOKENS, 7)
    async with explorer(source, size=(140, 40)) as e:
        await e.press("j")
        await e.until(lambda: len(rows(e)) == 1)
        await e.until(lambda: "tokens, ex 7: demo:a on demo:scienceqa" in text_of(e, "#detail"))


def stocked(source: FakeSource) -> None:
    for number, (kind, size, in_use) in enumerate(
        [("sums", 300_000_000, True), ("result", 2_000_000, False), ("sums", 1_000_000, False)]
    ):
        key = f"{kind}/{number}"
        source.held[key] = Held(key, kind, f"{kind} of {number}", MODELS[0], str(SLICE), size, 1_700_000_000.0, in_use)


async def test_the_cache_shows_what_takes_the_most_and_removes_when_asked_twice():
    source = FakeSource([made_up()])
    stocked(source)
    async with explorer(source) as e:
        await e.press("K")
        assert e.here(Cache)
        await e.until(lambda: len(rows(e)) == 3)
        assert [row[0].strip() for row in rows(e)] == ["300.0 MB", "2.0 MB", "1.0 MB"]
        assert "(30%)" in text_of(e, "#total")
        await e.press("x")
        assert "cancel the job first" in text_of(e, "#said")
        await e.press("j", "j", "k", "x")
        assert "x once more removes 2.0 MB" in text_of(e, "#said")
        await e.press("down", "x")
        assert "x once more removes 1.0 MB" in text_of(e, "#said")
        assert len(source.held) == 3
        await e.press("x")
        await e.until(lambda: len(rows(e)) == 2)
        assert "sums/2" not in source.held
        await e.press("escape")
        assert e.app.screen is e.explorer


async def test_in_a_small_window_the_key_of_a_value_is_whole():
    """It is what `microscope-tui cache rm` wants."""
    source = FakeSource([made_up()])
    key = "blob/" + "-".join(f"{n}{'0123456789abcdef' * 2}"[:32] for n in range(3))
    what = "sums after all 4,241 examples of llava-hf/llava-v1.6-mistral-7b-hf on derek-thomas/ScienceQA?filter=image"
    source.held[key] = Held(key, "sums", what, MODELS[0], str(SLICE), 300_000_000, 1_700_000_000.0, False)
    async with explorer(source, size=(60, 20)) as e:
        await e.press("K")
        await e.until(lambda: len(rows(e)) == 1)
        await e.pilot.pause()
        detail = e.app.screen.query_one("#detail").region
        lines = [strip.text for strip in e.app.screen._compositor.render_strips()]
        shown = "".join(lines[y][detail.x : detail.right].strip() for y in range(detail.y, detail.bottom))
        assert key in shown
        assert what.replace(" ", "") in shown.replace(" ", "")
        assert e.app.screen.query_one(DataTable).size.height >= 2


async def test_the_cache_is_verified_and_tidied_up():
    source = FakeSource([made_up()])
    async with explorer(source) as e:
        await e.press("K", "v")
        await e.until(lambda: "as it was stored" in text_of(e, "#said"))
        source.damage = ["blob/1: its digest differs; set aside in damaged/x"]
        await e.press("v")
        await e.until(lambda: "its digest differs" in text_of(e, "#said"))
        await e.press("g")
        await e.until(lambda: "2 leftovers" in text_of(e, "#said"))


@pytest.mark.parametrize(("size", "full"), [(0, 0), (50, 12), (100, 24), (250, 24)])
def test_the_meter_shows_how_full_the_cache_is(size: int, full: int):
    assert total_text(Stock("/x", (), size, 100)).count("█") == full


def test_what_no_listed_value_takes_is_one_word():
    held = Held("blob/1", "sums", "sums", MODELS[0], str(SLICE), 300_000, 1_700_000_000.0, False)
    assert total_text(Stock("/x", (held,), 342_000, 10**6)).endswith("1 values · sums 300.0 kB · bookkeeping 42.0 kB")
    assert "bookkeeping" not in total_text(Stock("/x", (held,), 300_000, 10**6))


async def test_with_many_jobs_in_a_small_window_it_opens_on_the_running_one_and_x_cancels_what_is_chosen():
    source = FakeSource([made_up()])
    jobs = [source.submit(Request(f"demo:m{number}", SLICE)) for number in range(9)]
    for job in jobs[:6]:
        source.worked[job.id] = replace(job, state=JobState.DONE)
    source.worked["job-7"] = replace(jobs[6], state=JobState.RUNNING)
    async with explorer(source, size=(80, 24)) as e:
        await e.press("j")
        await e.until(lambda: len(rows(e)) == 9)
        await e.until(lambda: "demo:m6" in text_of(e, "#detail"))
        table = e.app.screen.query_one(DataTable)
        assert table.cursor_row == 0
        assert rows(e)[0][0].startswith("▶")
        await e.press(*["down"] * 8)
        assert table.cursor_row == 8
        assert "demo:m0" in text_of(e, "#detail")
        seen = range(int(table.scroll_y), int(table.scroll_y) + table.size.height - 1)
        assert table.cursor_row in seen
        await e.press(*["up"] * 7)
        assert "demo:m7" in text_of(e, "#detail")
        await e.press("x")
        await e.until(lambda: source.cancelled)
        assert source.cancelled == ["job-8"]


async def test_the_newest_lines_of_the_log_are_seen_however_long_lines_are():
    source = FakeSource([made_up()])
    source.log = (
        "".join(f"12:00:{number:02} line {number} {'word ' * 30}\n" for number in range(40)) + "12:01:00 newest"
    )
    async with explorer(source, size=(80, 24)) as e:
        await e.press("j")
        await e.until(lambda: "newest" in text_of(e, "#log"))
        log = e.app.screen.query_one("#log", Static)
        lines = text_of(e, "#log").splitlines()
        assert len(lines) <= log.size.height
        assert max(map(len, lines)) <= log.size.width
        assert lines[-1] == "12:01:00 newest"


async def test_a_log_that_comes_while_the_window_changes_stays():
    source = FakeSource()
    async with explorer(source, size=(100, 30), session=Session(NAMES, SLICE)) as e:
        await opened(e)
        board: object = e.app.screen
        assert isinstance(board, Jobs)
        board.on_resize()
        board._logged("worker: the newest line")
        await e.pilot.pause()
        await e.pilot.pause()
        assert "the newest line" in text_of(e, "#log")


async def test_a_job_of_a_curve_that_is_shown_is_looked_at_in_the_comparison_and_another_takes_its_place():
    source = FakeSource()
    session = Session(NAMES, SLICE)
    async with explorer(source, size=(140, 40), session=session) as e:
        await opened(e)
        source.submit(Request("demo:d", SLICE))
        await e.press("down", "enter")
        await e.until(lambda: e.app.screen is e.explorer)
        assert e.session.models == NAMES
        assert e.session.top == e.session.slots[1]
        assert e.notes == ""
        await e.press("j")
        await e.until(lambda: len(rows(e)) == 4)
        await e.press("down", "down", "down", "enter")
        await e.until(lambda: e.session.models == ("demo:d",))
        await e.until(lambda: "the place of the 3 curves that were compared: c lays others over it" in e.notes)


async def test_a_job_is_shown_with_the_rows_that_it_counts():
    source = FakeSource([made_up(), made_up(MODELS[1])])
    job = source.submit(
        Request(MODELS[1], SLICE, without=("duplicates", "sinks"), one_tile=True, reference=True, matched=500)
    )
    source.variants[job.request] = made_up(MODELS[1])
    source.worked[job.id] = replace(job, state=JobState.DONE)
    async with explorer(source, session=Session(MODELS, SLICE)) as e:
        await filled(e)
        await e.press("j")
        await e.until(lambda: len(rows(e)) == 1)
        await e.press("enter")
        await e.until(lambda: e.explorer.requests == (job.request,))
        await e.until(lambda: "takes the place of the 2 curves" in e.notes)
        assert [*source.worked] == [job.id], "nothing is measured for it"
        assert e.session.method() == REFERENCE


async def test_a_look_is_shown_of_the_rows_that_it_is_of_and_changes_nothing_else():
    source = FakeSource([made_up()])
    plain = Request(MODELS[0], SLICE)
    for without in ((), ("sinks",)):
        source.submit(replace(plain, without=without), JobKind.MAP)
    for request in (replace(plain, matched=500), replace(plain, matched=500, without=("sinks",))):
        source.variants[request] = made_up()
    async with explorer(source, session=Session(MODELS[:1], SLICE, rows=500)) as e:
        await filled(e)
        for number, look in enumerate(source.jobs()):
            await e.press("j")
            await e.until(lambda: len(rows(e)) == 2)
            await e.press(*["down"] * number, "enter")
            assert e.explorer.requests == (replace(look.request, matched=500),)
