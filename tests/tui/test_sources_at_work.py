"""What a source that measures promises of its jobs, the stand-in of the other tests like the real worker."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from microscope_tui.errors import MicroscopeError
from microscope_tui.results import Measurement
from microscope_tui.settings import Settings
from microscope_tui.terms import Job, JobKind, JobState, Progress, Request
from microscope_tui.tui.data.live import WorkerSource
from microscope_tui.tui.data.source import Source
from microscope_tui.worker.client import Client
from tests.sure import sure
from tests.tui.fake import MODELS, SLICE, FakeSource
from tests.tui.listening import SECONDS, Told, one_sentence
from tests.worker.conftest import Box, box, until

__all__ = ["box"]  # a fixture

pytestmark = pytest.mark.timeout(600)


class StandIn:
    """The source of the other tests, whose jobs begin and end when the test says so."""

    def __init__(self, box: Box) -> None:
        self.box, self.source = box, FakeSource()

    def begin(self, job: Job) -> None:
        so_far = Measurement(job.request.model, job.request.slice, (), examples=3, complete=False)
        self.source.move(job, JobState.RUNNING, Progress("measuring", 3, 10), partial=so_far)

    def end(self, job: Job) -> None:
        self.source.variants[job.request] = Measurement(job.request.model, job.request.slice, (), examples=10)
        self.source.move(self.source.worked[job.id], JobState.DONE)

    def ask_elsewhere(self, job: Job) -> None:
        self.source.wanted_elsewhere.add(job.id)


class Real:
    """A worker, with gates before the ends of its jobs."""

    def __init__(self, box: Box) -> None:
        self.box, self.source = box, WorkerSource(Settings(cache=box.cache))
        self._other = box.client()

    def begin(self, job: Job) -> None:
        self.box.running(self._other, job.id)

    def end(self, job: Job) -> None:
        self.box.open(Path(job.request.slice.source).name)
        self.box.ended(self._other, job.id)

    def ask_elsewhere(self, job: Job) -> None:
        self._other.submit(job.request)


Stage = StandIn | Real


@pytest.fixture(params=[StandIn, Real])
def stage(request: pytest.FixtureRequest, box: Box) -> Iterator[Stage]:
    stage: Stage = request.param(box)
    yield stage
    stage.source.close()


def state(source: Source, job: Job) -> JobState:
    return next(each.state for each in source.jobs() if each.id == job.id)


def test_a_job_is_told_of_from_its_beginning_to_its_end(stage: Stage):
    source, request = stage.source, stage.box.request("gate")
    told = Told(source)
    assert (source.recall(request), source.lives(), list(source.jobs())) == (None, True, [])
    job = source.submit(request)
    assert (job.request, job.kind, job.state.ended) == (request, JobKind.MEASURE, False)
    assert source.submit(request).id == job.id
    stage.begin(job)
    until(lambda: told.of(job, "job", JobState.RUNNING), "its beginning", SECONDS)
    until(lambda: told.of(job, "partial", JobState.RUNNING), "a part of its result", SECONDS)
    so_far = sure(source.partial(job.id))
    assert (so_far.examples, so_far.complete) == (3, False)
    assert source.recall(request) is None
    stage.end(job)
    until(lambda: told.of(job, "job", JobState.DONE), "its end", SECONDS)
    assert (sure(source.recall(request)).examples, sure(source.recall(request)).complete) == (10, True)
    first = next(news.job for news in source.follow() if news.job)
    assert (first.id, first.state) == (job.id, JobState.DONE), "every job as it stands comes before what changes"
    assert source.submit(request).id != job.id
    source.close()
    until(lambda: told.ended, "the end of the news", SECONDS)
    assert told.error is None


def test_what_waits_is_put_in_order_paused_cancelled_and_asked_for_again(stage: Stage):
    source = stage.source
    running, second, third = (source.submit(stage.box.request("gate", gate)) for gate in "abc")
    stage.begin(running)
    source.reorder(third.id, 0)
    assert [job.id for job in source.jobs()] == [running.id, third.id, second.id]
    with one_sentence(running.id, "running"):
        source.reorder(running.id, 0)
    source.pause(third.id)
    assert state(source, third) is JobState.PAUSED
    source.reorder(third.id, 1)
    source.resume(third.id)
    assert [(job.id, job.state) for job in source.jobs()] == [
        (running.id, JobState.RUNNING),
        (second.id, JobState.QUEUED),
        (third.id, JobState.QUEUED),
    ]
    source.cancel(second.id)
    for step in (source.cancel, source.pause, source.resume):
        step(second.id)
        assert state(source, second) is JobState.CANCELLED, "what has ended stays as it is"
    source.retry(second.id)
    asked = [job for job in source.jobs() if job.request == second.request]
    assert [job.state for job in asked] == [JobState.CANCELLED, JobState.QUEUED]


def test_who_waits_no_more_leaves_a_job_to_who_does(stage: Stage):
    source = stage.source
    running, shared, own = (source.submit(stage.box.request("gate", gate)) for gate in "abc")
    stage.begin(running)
    stage.ask_elsewhere(shared)
    assert source.leave(shared.id).state is JobState.QUEUED
    assert source.leave(own.id).state is JobState.CANCELLED
    assert [state(source, job) for job in (shared, own)] == [JobState.QUEUED, JobState.CANCELLED]


def test_while_a_worker_starts_the_store_is_read_and_who_leaves_is_not_held_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    request = Request(MODELS[0], SLICE)
    starting, free = threading.Event(), threading.Event()

    def connect(*_: object, **__: object) -> Client:
        starting.set()
        free.wait(SECONDS)
        raise MicroscopeError("The worker did not come up in time.")

    worker_source = WorkerSource(Settings(cache=tmp_path / "cache"))

    def submit() -> None:
        with one_sentence("in time"):
            worker_source.submit(request)

    def look_up_and_leave() -> None:
        worker_source.recall(request)
        worker_source.close()

    monkeypatch.setattr(Client, "connect", connect)
    threads = [threading.Thread(target=each, daemon=True) for each in (submit, look_up_and_leave)]
    threads[0].start()
    assert starting.wait(SECONDS)
    threads[1].start()
    threads[1].join(60.0)
    held_up = threads[1].is_alive()
    free.set()
    threads[0].join(SECONDS)
    assert not held_up
