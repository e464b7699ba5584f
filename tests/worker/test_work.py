"""The thread that works: what it reports, when it frees a model, and which errors end its process."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from microscope_tui.errors import lost_device
from microscope_tui.results import Measurement
from microscope_tui.store import Store
from microscope_tui.terms import Job, JobKind, JobState, Progress, Request, SliceSpec
from microscope_tui.worker import work
from microscope_tui.worker.events import Events
from microscope_tui.worker.jobs import Queue
from microscope_tui.worker.work import Reports
from tests.worker import runners
from tests.worker.conftest import DEADLINE, until

REQUEST = Request("demo:llava-next", SliceSpec("demo:scienceqa", count=7))


class Recorder:
    """Stands for queue and store."""

    def __init__(self) -> None:
        self.kept: list[int] = []
        self.partials: list[int] = []

    def progress(self, job_id: str, progress: Progress, *, keep: bool) -> None:
        self.kept += [progress.done] * keep

    def partial(self, job_id: str) -> None:
        assert job_id == "j"

    def put_partial(self, job_id: str, measurement: Measurement) -> None:
        self.partials.append(measurement.examples)


def test_progress_goes_to_the_disk_twice_a_second_and_partials_every_two_seconds() -> None:
    recorder: Any = Recorder()
    now = 100.0
    reports = Reports(recorder, recorder, "j", clock=lambda: now)
    for number in range(1000):  # ten seconds
        reports.progress(Progress("measuring", done=number))
        reports.partial(Measurement("m", REQUEST.slice, (), examples=number))
        now += 0.01
    assert len(recorder.kept) == 20
    assert len(recorder.partials) == 5
    reports.flush()
    assert recorder.partials[-1] == 999, "nothing that came last is lost"
    reports.flush()
    assert recorder.partials[-2:] != [999, 999]


def test_progress_says_how_much_of_the_gpu_is_held_where_one_is_in_use(monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[Progress] = []
    recorder: Any = SimpleNamespace(progress=lambda job_id, progress, *, keep: heard.append(progress))
    reports = Reports(recorder, recorder, "j")

    def torch(*, in_use: bool) -> object:
        held = {0: 3_000_000_000, 1: 500}
        return SimpleNamespace(
            cuda=SimpleNamespace(
                is_initialized=lambda: in_use, device_count=lambda: 2, memory_reserved=held.__getitem__
            )
        )

    for module in (None, torch(in_use=False), torch(in_use=True)):
        monkeypatch.setitem(sys.modules, "torch", module)
        reports.progress(Progress("measuring"))
    reports.progress(Progress("measuring", device_bytes=7))
    assert [progress.device_bytes for progress in heard] == [None, None, 3_000_000_500, 7]


def test_a_model_that_nobody_uses_is_freed_and_one_of_a_look_beside_a_measurement_as_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(work, "FREE_SECONDS", 0.02)
    runners.freed.clear()
    queue = Queue(Store(tmp_path / "cache"), Events(lambda: None), "worker.log")
    thread = work.Work(
        queue,
        tmp_path / "cache",
        runner="tests.worker.runners:RUNNER",
        limit_bytes=10**9,
        log_name="worker.log",
    )
    thread.start()

    def ended(model: str, kind: JobKind = JobKind.MEASURE) -> Job:
        job = queue.submit(Request(model, SliceSpec(str(tmp_path))), kind)
        until(lambda: queue.job(job.id).state.ended, "the job to end")
        return queue.job(job.id)

    assert ended("quick").state is JobState.DONE
    until(lambda: len(runners.freed) == 1, "the model to be freed")
    gate = queue.submit(Request("gate", SliceSpec(str(tmp_path))))
    until(lambda: queue.job(gate.id).progress.phase == "measuring", "the measurement to run")
    for kind in (JobKind.PREVIEW, JobKind.MAP):  # the first opens no model
        assert ended("quick", kind).state is JobState.DONE
    until(lambda: len(runners.freed) == 2, "the looked at model to be freed")
    queue.stop()
    thread.join(DEADLINE)
    assert (thread.over, queue.job(gate.id).state) == (True, JobState.QUEUED)


def test_a_job_that_was_asked_where_it_would_not_be_found_ends_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What an older worker left in the queue, without a word on where it was asked, is measured as ever."""
    store, request = Store(tmp_path / "cache"), Request("quick", SliceSpec(str(tmp_path)))
    store.put_job(Job("old", replace(request, device="cpu")))
    queue = Queue(store, Events(lambda: None), "worker.log")
    here = queue.submit(request).id
    with monkeypatch.context() as patch:
        patch.setenv("HF_HUB_CACHE", str(tmp_path / "elsewhere"))
        elsewhere = [queue.submit(request, kind).id for kind in (JobKind.MEASURE, JobKind.MAP)]
    queue = Queue(store, Events(lambda: None), "worker.log")  # as a worker finds it that was started here
    thread = work.Work(
        queue, tmp_path / "cache", runner="tests.worker.runners:RUNNER", limit_bytes=10**9, log_name="worker.log"
    )
    thread.start()
    until(lambda: all(job.state.ended for job in queue.jobs), "the jobs to end")
    queue.stop()
    thread.join(DEADLINE)
    ended = {job.id: (job.state, job.error) for job in queue.jobs}
    assert ended == {
        "old": (JobState.DONE, None),
        here: (JobState.DONE, None),
        **dict.fromkeys(elsewhere, (JobState.FAILED, work.ELSEWHERE)),
    }
    assert len((tmp_path / "begun").read_text().split()) == 2


@pytest.mark.parametrize(
    ("error", "lost"),
    [
        (RuntimeError("CUDA error: device-side assert triggered"), True),
        (type("AcceleratorError", (RuntimeError,), {})("unspecified launch failure"), True),
        (RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"), False),
        (ValueError("x"), False),
    ],
)
def test_what_only_a_new_process_can_mend(error: Exception, lost: bool) -> None:
    assert lost_device(error) is lost
