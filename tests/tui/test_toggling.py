"""What is toggled and left leaves no work behind that nobody sees."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from microscope_tui.terms import Job, JobKind, JobState, Metric, Modality, Progress, Request, Stream
from microscope_tui.tui.content.status import told_from
from microscope_tui.tui.data import clerk
from microscope_tui.tui.session import Session
from tests.sure import sure
from tests.tui.driving import Driven, explorer, filled
from tests.tui.fake import MODELS, SLICE, FakeSource, Shape, made_up

ONE = Session(MODELS[:1], SLICE, layer=12)
BOTH = Session(MODELS, SLICE, layer=12)


@pytest.fixture
def source() -> FakeSource:
    return FakeSource([made_up(), made_up(MODELS[1])])


def waiting(source: FakeSource) -> list[Request]:
    return [job.request for job in source.worked.values() if not job.state.ended]


async def _busy(e: Driven) -> None:
    """The worker has something else to do, so that what is asked for waits."""
    other = e.source.submit(Request("demo:else", SLICE))
    e.source.move(other, JobState.RUNNING, Progress("measuring", 1, 9))
    await e.until(lambda: "else: measuring" in e.bar("header"))
    e.source.submitted.clear()


async def pressed_on_the_way(e: Driven, monkeypatch: pytest.MonkeyPatch, *keys: str) -> None:
    """Nobody stays anywhere before the last of the keys, however slowly this machine takes them."""
    with monkeypatch.context() as patch:
        patch.setattr(clerk, "SETTLE", 3600.0)
        await e.press(*keys[:-1])
    await e.press(keys[-1])


async def test_a_way_over_variants_back_to_the_first_asks_for_nothing(
    source: FakeSource, monkeypatch: pytest.MonkeyPatch
):
    async with explorer(source, session=BOTH) as e:
        await filled(e)
        await pressed_on_the_way(e, monkeypatch, "S", "D", "S", "D", "R", "R")
        await e.pilot.pause(clerk.SETTLE + 0.3)
        assert source.submitted == []
        assert [e.explorer.desk.of(request).complete for request in e.explorer.requests] == [True, True]
        await e.press("S")  # what was passed by is asked for when somebody stays
        await e.until(lambda: len(source.submitted) == 2)
        assert {request.without for request in source.submitted} == {("sinks",)}


async def test_only_what_the_way_ends_at_is_measured(source: FakeSource, monkeypatch: pytest.MonkeyPatch):
    async with explorer(source) as e:
        await filled(e)
        await pressed_on_the_way(e, monkeypatch, "S", "D", "O", "S")
        await e.until(lambda: source.submitted)
        await e.pilot.pause(0.1)
        (request,) = source.submitted
        assert (request.without, request.one_tile) == (("duplicates",), True)


async def test_what_waits_and_is_left_is_withdrawn(source: FakeSource):
    async with explorer(source, session=BOTH) as e:
        await filled(e)
        await _busy(e)
        await e.press("S")
        await e.until(lambda: len(waiting(source)) == 3)
        await e.press("S")
        await e.until(lambda: len(source.cancelled) == 2)
        assert [request.model for request in waiting(source)] == ["demo:else"]
        await e.press("S")
        await e.until(lambda: all(e.explorer.desk.of(request).waiting for request in e.explorer.requests))
        assert "still all rows" in str(e.explorer.query_one("#pane-0").border_title)
        assert len(waiting(source)) == 3


@pytest.mark.parametrize(
    ("variant", "still"),
    [
        ({"one_tile": True}, "still every tile"),
        ({"reference": True}, "still without the reference's values"),
        ({"without": ("duplicates", "sinks"), "before": True}, "still all rows, the decoder alone"),
    ],
)
async def test_a_variant_that_is_not_measured_at_the_start_shows_what_it_showed_before_it(
    variant: dict[str, Any], still: str
):
    plain = made_up(shape=Shape(tilt=2.0))
    source = FakeSource([plain])
    async with explorer(source, session=replace(ONE, **variant)) as e:
        await e.until(lambda: source.submitted)
        assert source.submitted == [replace(PLAIN, **variant)]
        profile = sure(plain.profile(Metric.LINEARITY, Modality.TEXT, Stream.MAIN))
        await e.until(lambda: f"{sure(profile.value[12]):.4f}" in e.pane(0))
        assert still in str(e.explorer.query_one("#pane-0").border_title)


async def test_the_nearest_variant_on_the_disk_stands_in_for_every_curve_at_the_start():
    source = FakeSource([made_up(), made_up(MODELS[1])])
    for model in MODELS:
        source.variants[Request(model, SLICE, without=("sinks",))] = made_up(model, shape=Shape(tilt=2.0))
    async with explorer(source, session=replace(BOTH, without=("duplicates", "sinks"))) as e:
        await e.until(lambda: len(source.submitted) == 2)
        await e.until(lambda: "still without sinks" in str(e.explorer.query_one("#pane-0").border_title))
        await e.press("D")
        await e.until(lambda: all(e.explorer.desk.of(request).complete for request in e.explorer.requests))
        assert "still" not in str(e.explorer.query_one("#pane-0").border_title)


async def test_what_others_asked_for_is_left_to_them(source: FakeSource):
    theirs = Request(MODELS[0], SLICE, without=("sinks",))
    async with explorer(source) as e:
        await filled(e)
        await _busy(e)
        job = source.submit(theirs)
        submit = source.submit

        def found(request: Request, kind: JobKind = JobKind.MEASURE, example: int | None = None) -> Job:
            return job if request == theirs else submit(request, kind, example)

        source.submit = found  # type: ignore[method-assign]
        await e.press("S")
        await e.until(lambda: e.explorer.desk.of(theirs).job)
        await e.press("S", "D")
        await e.until(lambda: any(request.without == ("duplicates",) for request in waiting(source)))
        assert source.cancelled == []


async def test_what_runs_and_is_left_goes_on_and_is_named(source: FakeSource):
    async with explorer(source, size=(80, 24)) as e:
        await filled(e)
        await e.press("S")
        await e.until(lambda: source.worked)
        source.move(source.worked["job-1"], JobState.RUNNING, Progress("measuring", 344, 700))
        await e.until(lambda: "measuring 344/700 ex" in e.bar("header"))
        assert "without" not in e.bar("header")
        await e.press("S")
        assert "without sinks: measuring 344/700 ex" in e.bar("header")
        await e.until(lambda: "Still measuring without sinks: j, then x cancels it." in e.notes)
        assert source.cancelled == []
        await e.press("right", "2")
        assert e.notes.count("Still measuring") == 1


PLAIN = Request(MODELS[0], SLICE)


@pytest.mark.parametrize(
    ("job", "told"),
    [
        (Job("1", replace(PLAIN, one_tile=True)), "one tile"),
        (Job("1", replace(PLAIN, before=True)), "from the vision tower on"),
        (Job("1", replace(PLAIN, folds=3)), "with other settings"),
        (Job("1", replace(PLAIN, model=MODELS[1])), "omnifusion"),
        (Job("1", replace(PLAIN, slice=replace(SLICE, count=9))), "llava-next on scienceqa count=9"),
        (Job("1", PLAIN, kind=JobKind.TOKENS, example=3), "tokens, ex 3 of llava-next"),
    ],
)
def test_a_job_is_told_from_what_is_looked_at(job: Job, told: str):
    assert told_from(job, [PLAIN]) == told


async def test_the_chips_say_that_stages_before_the_decoder_are_shown(source: FakeSource):
    async with explorer(source) as e:
        await filled(e)
        await e.press("B")
        assert "· before " in e.bar("metric")
        await e.press("B")
        assert "before" not in e.bar("metric")


@pytest.mark.parametrize("many", [1, 2, 4])
async def test_long_names_leave_room_for_the_progress(many: int):
    names = tuple(f"/models/{letter}{'-long' * 40}{letter}" for letter in "abcd"[:many])
    source = FakeSource()
    async with explorer(source, size=(80, 24), session=Session(names, SLICE)) as e:
        await e.until(lambda: len(source.worked) == many)
        source.move(source.worked["job-1"], JobState.RUNNING, Progress("measuring", 344, 700, rate=3.0, eta=99.0))
        await e.until(lambda: "measuring 344/700 ex" in e.bar("header"))
        assert all(mark in e.bar("header") for mark in "●◆■▲"[:many])
        e.explorer.change(replace(e.session, models=("/short", *names[1:])))
        assert e.session.models[0] == "/short"
        await e.until(lambda: "measuring 344/700 ex" in e.bar("header"))


async def test_what_was_paused_before_it_began_and_is_left_is_withdrawn(source: FakeSource):
    async with explorer(source, session=BOTH) as e:
        await filled(e)
        await _busy(e)
        await e.press("D")
        await e.until(lambda: len(waiting(source)) == 3)
        await e.until(lambda: "job-3" in e.explorer.clerk._own)
        source.pause("job-3")
        await e.until(lambda: e.explorer.desk.jobs["job-3"].state is JobState.PAUSED)
        await e.press("D")
        await e.until(lambda: sorted(source.cancelled) == ["job-2", "job-3"])
        assert [request.model for request in waiting(source)] == ["demo:else"]


async def test_what_was_paused_half_way_and_is_left_stays_and_is_named(source: FakeSource):
    async with explorer(source) as e:
        await filled(e)
        await e.press("D")
        await e.until(lambda: source.worked)
        await e.until(lambda: "job-1" in e.explorer.clerk._own)
        source.move(source.worked["job-1"], JobState.PAUSED, Progress("paused", 7, 20))
        await e.until(lambda: e.explorer.desk.jobs["job-1"].state is JobState.PAUSED)
        await e.press("D")
        await e.until(lambda: "Paused half-way: without duplicates: j, then x cancels it." in e.notes)
        assert source.cancelled == []
