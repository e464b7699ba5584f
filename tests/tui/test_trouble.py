"""What goes wrong is said where the result would be, and the explorer goes on."""

import threading
from dataclasses import replace

import pytest
from rich.console import Console
from textual.widgets import DataTable, Static

from microscope_tui.errors import MicroscopeError
from microscope_tui.results import Measurement, Skipped
from microscope_tui.terms import Job, JobState, Progress, Request, SliceSpec
from microscope_tui.tui.screens.picker import Picker
from microscope_tui.tui.session import Session
from tests.tui.closer import canvas
from tests.tui.driving import DEADLINE, Driven, explorer, filled
from tests.tui.fake import MODELS, SLICE, FakeSource, News, Shape, made_up

MISSING = "There is no folder /data/none: check its name, or choose another model."
DIED = "The worker has died; the end of its log may say why."


def _said(e: Driven, number: int = 0) -> str:
    return " ".join(e.pane(number).split())


def card(e: Driven) -> str:
    """What the open card says."""
    with (console := Console(width=200)).capture() as said:
        console.print(e.app.screen.query_one("#card", Static).content)
    return said.get()


async def _measuring(e: Driven) -> None:
    await e.until(lambda: e.source.worked)
    e.source.move(e.source.worked["job-1"], JobState.RUNNING, Progress("measuring", 12, 60, rate=3.0, eta=16.0))
    await e.until(lambda: "measuring 12/60" in e.bar("header"))


async def test_from_the_first_question_to_the_result():
    source = FakeSource()
    async with explorer(source) as e:
        await e.until(lambda: "queued: the worker takes it up now" in _said(e))
        job = source.move(source.worked["job-1"], JobState.RUNNING, Progress("loading model"))
        await e.until(lambda: "loading model" in _said(e))
        assert "loading model" in e.bar("header")
        partial = made_up(complete=False, examples=12)
        job = source.move(job, JobState.RUNNING, Progress("measuring", 12, 60, 900, 3.0, 16.0), partial=partial)
        await e.until(lambda: any(ord(char) > 0x2800 for char in e.pane(0)))
        assert "measuring 12/60 ex · 3 ex/s · ETA 0:16" in e.bar("header")
        assert "partial, 12 ex" in str(e.explorer.query_one("#pane-0").border_title)
        source.stored[MODELS[0], str(SLICE)] = made_up()
        source.move(job, JobState.DONE)
        await e.until(lambda: "partial" not in str(e.explorer.query_one("#pane-0").border_title))
        assert "worker idle" in e.bar("header")
        assert len(source.submitted) == 1


async def test_progress_is_shown_at_most_four_times_a_second(monkeypatch: pytest.MonkeyPatch):
    source = FakeSource()
    async with explorer(source) as e:
        await _measuring(e)
        delivered: list[int] = []
        deliver = e.explorer.clerk._deliver

        def counted() -> None:
            delivered.append(1)
            deliver()

        monkeypatch.setattr(e.explorer.clerk, "_deliver", counted)
        for done in range(13, 60):
            source.move(source.worked["job-1"], JobState.RUNNING, Progress("measuring", done, 60))
        await e.until(lambda: "measuring 59/60" in e.bar("header"))
        assert 1 <= len(delivered) <= 3


FULL = "The disk that holds /data is full: make room on it, or name another cache with --cache."


@pytest.mark.parametrize("size", [(80, 24), (160, 45)])
async def test_a_full_disk_is_said_wherever_the_job_is_until_there_is_room(size: tuple[int, int]):
    source = FakeSource()
    async with explorer(source, size=size) as e:
        await e.until(lambda: "queued: the worker takes it up now" in _said(e))
        source.move(source.worked["job-1"], JobState.QUEUED, Progress("disk full", 3, 60), error=FULL)
        await e.until(lambda: FULL in _said(e).replace("│ ", ""))
        assert "disk full: The disk that" in e.bar("header")
        await e.press("j")
        await e.until(lambda: FULL in " ".join(str(e.app.screen.query_one("#detail", Static).render()).split()))
        assert e.app.screen.query_one(DataTable).get_row_at(0)[0] == "· disk full"
        await e.press("escape")
        source.move(source.worked["job-1"], JobState.RUNNING, Progress("measuring", 3, 60))
        await e.until(lambda: "measuring 3/60" in e.bar("header"))
        assert "disk" not in _said(e)


async def test_a_model_that_does_not_exist_is_said_and_another_can_be_chosen():
    source = FakeSource([made_up()])
    source.refuse["/data/none"] = MISSING
    async with explorer(source, session=Session(("/data/none",), SLICE)) as e:
        await e.until(lambda: MISSING in _said(e))
        assert all(MISSING in _said(e, number) for number in range(4))
        assert "r tries again · m other model" in _said(e)
        assert source.submitted == []
        await e.press("m")
        await e.pilot.pause(0.1)
        await e.press("enter")
        await e.until(lambda: e.session.models == (MODELS[0],))
        await filled(e)
        assert MISSING not in _said(e)


async def test_a_slice_that_cannot_be_read_offers_another_slice():
    source = FakeSource()
    source.refuse["/data/rows"] = "The folder /data/rows holds no data set: there are no parquet files."
    async with explorer(source, session=Session(MODELS[:1], SliceSpec("/data/rows"))) as e:
        await e.until(lambda: "holds no data set" in _said(e))
        assert "r tries again · d other slice · j log" in _said(e)


async def test_a_skipped_example_is_counted_on_the_screen_and_named_on_the_card():
    skipped = (Skipped("row 7", "the picture is corrupt"),)
    source = FakeSource([replace(made_up(), skipped=skipped), made_up(MODELS[1])])
    async with explorer(source, size=(80, 24)) as e:
        await filled(e)
        assert "· 1 skipped" in e.bar("metric")
        await e.press("i")
        assert "skipped row 7: the picture is corrupt" in card(e)
        await e.press("escape", "m", *MODELS[1], "enter")
        await e.until(lambda: e.session.models == MODELS[1:])
        await filled(e)
        assert "skipped" not in e.bar("metric")


async def test_a_picker_explains_a_choice_that_cannot_be():
    source = FakeSource([made_up()])
    source.refuse["/data/none"] = MISSING
    async with explorer(source) as e:
        await filled(e)
        await e.press("m")
        await e.press(*"/data/none")
        await e.press("enter")
        await e.until(lambda: MISSING in str(e.app.screen.query_one("#said").render()))
        assert e.here(Picker)
        await e.press("escape")
        assert e.session.models == MODELS[:1]


async def test_a_failed_job_gives_its_sentence_and_r_asks_again():
    source = FakeSource()
    async with explorer(source) as e:
        await _measuring(e)
        source.move(source.worked["job-1"], JobState.FAILED, error="The checkpoint lacks the shard 2 of 4.")
        await e.until(lambda: "lacks the shard 2 of 4" in _said(e))
        assert "failed: The checkpoint lacks" in e.bar("header")
        await e.press("r")
        await e.until(lambda: len(source.submitted) == 2)
        await e.until(lambda: "queued" in _said(e))


async def test_a_worker_of_older_code_is_named_and_not_the_store():
    source = FakeSource()
    async with explorer(source) as e:
        await _measuring(e)
        source.move(source.worked["job-1"], JobState.DONE)
        await e.until(lambda: "The result is no longer in the store: r measures it again." in _said(e))
        source.old_worker = why = "The worker was started before the program was changed: stop it."
        await e.press("r")
        await e.until(lambda: "job-2" in source.worked)
        source.move(source.worked["job-2"], JobState.DONE)
        await e.until(lambda: why in _said(e))
        await e.press("M")
        await e.until(lambda: "job-3" in source.worked)
        source.move(source.worked["job-3"], JobState.DONE)
        await e.until(lambda: "was started before" in canvas(e, "map-0"))


async def test_a_worker_that_dies_is_said_what_was_measured_stays_and_r_starts_another():
    source = FakeSource()
    async with explorer(source) as e:
        await e.until(lambda: source.worked)
        partial = made_up(complete=False, examples=12)
        source.move(source.worked["job-1"], JobState.RUNNING, Progress("measuring", 12, 60), partial=partial)
        await e.until(lambda: any(ord(char) > 0x2800 for char in e.pane(0)))
        source.news.put(MicroscopeError(DIED))
        await e.until(lambda: "worker gone: r starts it again" in e.bar("header"))
        assert any(ord(char) > 0x2800 for char in e.pane(0))
        await e.press("i")
        assert f"examples so far: r starts the worker again. {DIED}" in card(e)
        await e.press("escape")
        await e.press("r")
        await e.until(lambda: len(source.submitted) == 2)
        await e.until(lambda: source.follows == 2)
        source.move(source.worked["job-1"], JobState.RUNNING, Progress("measuring", 20, 60))
        await e.until(lambda: "measuring 20/60" in e.bar("header"))


async def test_in_a_small_window_the_remedy_for_a_dead_worker_is_said_once_and_no_number_gives_way_to_it():
    source = FakeSource()
    async with explorer(source, size=(80, 24)) as e:
        await e.until(lambda: source.worked)
        partial = made_up(complete=False, examples=12)
        source.move(source.worked["job-1"], JobState.RUNNING, Progress("measuring", 12, 60), partial=partial)
        await e.until(lambda: any(ord(char) > 0x2800 for char in e.pane(0)))
        shown = [_said(e, number) for number in range(4)]
        source.news.put(MicroscopeError(DIED))
        await e.until(lambda: "worker gone: r starts it again " in e.bar("header"))
        assert [_said(e, number) for number in range(4)] == shown


async def test_finished_curves_keep_their_numbers_when_the_worker_dies_over_other_rows_of_them():
    source = FakeSource([made_up(), made_up(MODELS[1])])
    async with explorer(source, session=Session(MODELS, SLICE)) as e:
        await filled(e)
        await e.press("D")
        await e.until(lambda: all(e.explorer.desk.of(request).waiting for request in e.explorer.requests))
        await e.until(lambda: "still all rows" in str(e.explorer.query_one("#pane-0").border_title))
        shown = [_said(e, number) for number in range(4)]
        assert all(said.count("n/d") == len(MODELS) for said in shown)
        source.news.put(MicroscopeError(DIED))
        await e.until(lambda: "worker gone: r starts it again" in e.bar("header"))
        assert [_said(e, number) for number in range(4)] == shown


async def test_what_is_paused_is_said_wherever_it_is_looked_at_and_r_lets_it_go_on():
    source = FakeSource()
    async with explorer(source) as e:
        await e.until(lambda: "queued: the worker takes it up now" in _said(e))
        partial = made_up(complete=False, examples=8)
        job = source.move(source.worked["job-1"], JobState.RUNNING, Progress("measuring", 8, 64), partial=partial)
        await e.until(lambda: "partial, 8 ex" in str(e.explorer.query_one("#pane-0").border_title))
        source.move(job, JobState.PAUSED, Progress("paused", 8, 64))
        await e.until(lambda: "paused at 8 of 64 ex: r goes on" in e.bar("header"))
        assert "paused, 8 ex" in str(e.explorer.query_one("#pane-0").border_title)
        await e.press("i")
        assert "only 8 examples so far: paused at 8 of 64 ex, r goes on" in card(e)
        await e.press("escape")
        source.news.put(MicroscopeError(DIED))  # one that only has what is paused ends by itself
        inbox = e.explorer.clerk.inbox
        await e.until(lambda: not inbox.following and inbox._post.ended is None)  # and that was taken
        await e.pilot.pause()
        assert "paused at 8 of 64 ex: r goes on" in e.bar("header")
        await e.press("r")
        await e.until(lambda: source.worked["job-1"].state is JobState.QUEUED)
        await e.until(lambda: "1 queued" in e.bar("header"))
        assert "partial, 8 ex" in str(e.explorer.query_one("#pane-0").border_title)
        assert len(source.submitted) == 1


async def test_a_worker_that_is_not_needed_may_end_in_silence():
    source = FakeSource([made_up()])
    async with explorer(source) as e:
        await filled(e)
        source.news.put(MicroscopeError(DIED))
        await e.pilot.pause(0.1)
        assert "worker idle" in e.bar("header")


async def test_a_worker_that_does_not_start_is_said():
    source = FakeSource()
    source.broken = "The worker did not start within 20 s: see worker.log."
    async with explorer(source) as e:
        await e.until(lambda: "did not start within 20 s" in _said(e))
        source.broken = None
        await e.press("r")
        await e.until(lambda: source.submitted)


async def test_a_defect_in_the_source_is_shown_and_the_explorer_goes_on(monkeypatch: pytest.MonkeyPatch):
    source = FakeSource()
    monkeypatch.setattr(source, "recall", lambda request: 1 / 0)
    async with explorer(source) as e:
        await e.until(lambda: "internal error: ZeroDivisionError" in _said(e))
        await e.press("2")
        assert "dimension" in e.bar("metric")


@pytest.mark.parametrize("no_color", ["", "1"])
async def test_a_defect_while_drawing_is_shown_in_its_pane(monkeypatch: pytest.MonkeyPatch, no_color: str):
    monkeypatch.setenv("NO_COLOR", no_color)
    async with explorer(FakeSource([made_up()])) as e:
        await filled(e)
        monkeypatch.setattr("microscope_tui.tui.widgets.face.drawing", lambda *args: 1 / 0)
        await e.press("right")
        assert "cannot be drawn: ZeroDivisionError" in e.pane(0)
        assert "layer 13" in e.bar("inspector")
        await e.pilot.pause()
        assert e.app.is_running


async def test_a_result_that_comes_late_is_not_shown_for_another_choice():
    source = FakeSource([made_up(MODELS[1])])
    async with explorer(source) as e:
        await _measuring(e)
        e.explorer.change(Session(MODELS[1:], SLICE))
        await filled(e)
        before = e.pane(0)
        partial = made_up(complete=False, shape=Shape(tilt=3.0))
        source.move(source.worked["job-1"], JobState.RUNNING, Progress("measuring", 30, 60), partial=partial)
        await e.until(lambda: "30/60" in e.bar("header"))
        await e.pilot.pause(0.1)
        assert e.pane(0) == before


async def test_news_that_went_missing_are_found_by_looking(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("microscope_tui.tui.data.inbox.CHECK_EVERY", 0.05)
    source = FakeSource()
    async with explorer(source) as e:
        await _measuring(e)
        source.stored[MODELS[0], str(SLICE)] = made_up()
        job = source.worked["job-1"]
        source.move(job, JobState.DONE)
        source.news.queue.clear()
        await filled(e)
        await e.until(lambda: any(ord(char) > 0x2800 for char in e.pane(0)))


async def test_a_gap_under_the_cursor_says_why():
    source = FakeSource([made_up(shape=Shape(gap=(12,), n=40))])
    async with explorer(source, size=(120, 40)) as e:
        await filled(e)
        assert "undefined: n = 40 rows are too few for d" in _said(e)
        assert "undefined: n = 40 rows are too few for d = 64" in e.bar("inspector")


async def test_nothing_defined_at_all_is_said_in_the_pane():
    source = FakeSource([made_up(shape=Shape(layers=4, gap=(0, 1, 2, 3, 4), n=40))])
    async with explorer(source) as e:
        await e.until(lambda: "undefined: n = 40 rows are too few" in _said(e))


async def test_a_log_line_alone_does_no_harm():
    source = FakeSource()
    async with explorer(source) as e:
        await _measuring(e)
        source.log = "worker: batch size halved"
        await e.press("j")
        source.news.put(News("log", text="x"))
        await e.until(lambda: "batch size halved" in str(e.app.screen.query_one("#log").render()))


async def test_a_job_that_is_done_before_the_answer_to_its_submission_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch,
):
    source = FakeSource()
    submit = source.submit

    def quick(request: Request) -> Job:
        job = submit(request)
        source.stored[request.model, str(request.slice)] = made_up()
        source.move(job, JobState.DONE)
        return job

    monkeypatch.setattr(source, "submit", quick)
    async with explorer(source) as e:
        await e.until(lambda: any(ord(char) > 0x2800 for char in e.pane(0)))


async def test_models_are_submitted_in_their_order_however_long_each_takes_to_look_up(monkeypatch: pytest.MonkeyPatch):
    source = FakeSource()
    last_looked_up = threading.Event()
    recall, names = source.recall, ("demo:a", "demo:b", "demo:c")

    def slow_first(request: Request) -> Measurement | None:
        if request.model == names[-1]:
            last_looked_up.set()
        elif request.model == names[0]:
            assert last_looked_up.wait(DEADLINE)
        return recall(request)

    monkeypatch.setattr(source, "recall", slow_first)
    async with explorer(source, session=Session(names, SLICE)) as e:
        await e.until(lambda: len(source.submitted) == 3)
        assert tuple(request.model for request in source.submitted) == names


async def test_a_look_that_starts_another_worker_brings_back_what_waited_for_the_last_one(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr("microscope_tui.tui.data.inbox.CHECK_EVERY", 0.05)
    source = FakeSource()
    async with explorer(source) as e:
        await _measuring(e)
        source.news.put(MicroscopeError(DIED))
        await e.until(lambda: "worker gone: r starts it again" in e.bar("header"))
        await e.press("T")
        await e.until(lambda: source.looked_at)
        await e.until(lambda: "measuring 12/60" in e.bar("header"))
        assert len(source.submitted) == 1
        await e.until(lambda: source.follows == 2)
        source.stored[MODELS[0], str(SLICE)] = made_up()
        source.worked["job-1"] = replace(source.worked["job-1"], state=JobState.DONE)  # without a word
        await filled(e)


async def test_r_that_starts_another_worker_brings_back_what_is_not_looked_at_too(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("microscope_tui.tui.data.inbox.CHECK_EVERY", 60.0)
    source = FakeSource()
    async with explorer(source) as e:
        await _measuring(e)
        left = e.explorer.requests[0]
        e.explorer.change(Session(MODELS[1:], SLICE))
        await e.until(lambda: len(source.submitted) == 2)
        source.news.put(MicroscopeError(DIED))
        await e.until(lambda: "worker gone: r starts it again" in e.bar("header"))
        await e.press("r")
        await e.until(lambda: len(source.submitted) == 3)
        await e.until(lambda: e.explorer.desk.of(left).waiting)
        assert e.explorer.desk.of(left).error is None
        source.stored[MODELS[0], str(SLICE)] = made_up()
        source.move(source.worked["job-1"], JobState.DONE)
        await e.until(lambda: e.explorer.desk.of(left).complete)
