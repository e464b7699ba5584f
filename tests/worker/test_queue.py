"""The queue alone: order, pause, room, and whom the death of a worker is laid to."""

from __future__ import annotations

import random
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from microscope_tui.errors import MicroscopeError
from microscope_tui.store import Deaths, Store
from microscope_tui.terms import STOPPING, Job, JobKind, JobState, Progress, Request, SliceSpec
from microscope_tui.worker.events import Events
from microscope_tui.worker.jobs import Queue
from tests.sure import sure
from tests.worker.conftest import DEADLINE

REQUEST = Request("demo:llava-next", SliceSpec("demo:scienceqa", count=7))


def test_looks_go_before_measurements_and_waiting_jobs_can_be_moved(tmp_path: Path) -> None:
    store = Store(tmp_path / "cache")
    queue = Queue(store, Events(lambda: None), "worker.log")
    first, second, third, fourth = (queue.submit(replace(REQUEST, model=name)).id for name in "abcd")
    look = queue.submit(REQUEST, JobKind.TOKENS, 3).id
    assert [sure(queue.take()).id for _ in range(2)] == [look, first]
    assert queue.move(fourth, 0).id == fourth
    assert queue.move(second, 99).id == second
    assert [job.id for job in queue.jobs] == [look, first, fourth, third, second]
    assert [job.id for job in store.jobs()] == [look, first, fourth, third, second]
    with pytest.raises(MicroscopeError, match=f"job {first} is running: only one that waits"):
        queue.move(first, 2)
    late = queue.submit(replace(REQUEST, model="e")).id
    queue.pause(fourth)
    queue.put_back(first)
    assert queue.take_look(look) is None
    again = Queue(store, Events(lambda: None), "worker.log")
    assert again.job(fourth).state is JobState.PAUSED
    assert [sure(again.take()).id for _ in range(2)] == [look, first], "what was begun goes on first"
    again.resume(fourth)
    assert [sure(again.take()).id for _ in range(4)] == [fourth, third, second, late]


def test_what_names_mean_elsewhere_is_another_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that waits was asked for where it would not be found by who asks now."""
    store, of_hub = Store(tmp_path / "cache"), replace(REQUEST, model="ann/m")
    queue = Queue(store, Events(lambda: None), "worker.log")
    jobs = [queue.submit(each).id for each in (REQUEST, of_hub)]
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    again = Queue(store, Events(lambda: None), "worker.log")
    assert again.submit(REQUEST).id == jobs[0]
    assert again.submit(of_hub).id not in jobs
    monkeypatch.delenv("HF_HUB_CACHE")
    assert again.submit(of_hub).id == jobs[1]


def test_a_job_of_a_worker_that_was_started_again_is_nobodys_to_leave(tmp_path: Path) -> None:
    """Who else waits for it is not known any more."""
    store = Store(tmp_path / "cache")
    look = Queue(store, Events(lambda: None), "worker.log").submit(REQUEST, JobKind.MAP, None, "one")
    again = Queue(store, Events(lambda: None), "worker.log")
    assert again.submit(REQUEST, JobKind.MAP, None, "one").id == look.id
    assert again.leave(look.id, "one").state is JobState.QUEUED
    assert again.cancel(look.id).state is JobState.CANCELLED


def test_who_asks_again_says_anew_whether_memory_is_looked_at(tmp_path: Path) -> None:
    """Of a job that has not begun: the sentence that refused the one before says how."""
    queue = Queue(Store(tmp_path / "cache"), Events(lambda: None), "worker.log")
    job = queue.submit(REQUEST)
    assert job.memory_check
    assert queue.submit(REQUEST, memory_check=False) == replace(job, memory_check=False)
    begun = queue.take()
    assert begun is not None
    assert not begun.memory_check
    assert not queue.submit(REQUEST).memory_check, "it has begun"


def test_the_queue_does_what_a_plain_list_does_over_many_random_turns_and_ends(tmp_path: Path) -> None:
    """`line` is the model: what has not ended in the order of its turn; looks go before, the latest first."""
    chance, store = random.Random(11), Store(tmp_path / "cache")
    queue = Queue(store, Events(lambda: None), "worker.log")
    line: list[str] = []
    states: dict[str, JobState] = {}
    looks: list[str] = []

    def waiting() -> list[str]:
        those = [job_id for job_id in line if states[job_id].waits]
        return [job_id for job_id in reversed(looks) if job_id in those] + [each for each in those if each not in looks]

    for number in range(150):
        act = chance.choice(
            ("submit", "submit", "take", "put back", "pause", "resume", "move", "move", "end", "restart")
        )
        chosen = chance.choice(line) if line else None
        if act == "submit":
            kind = chance.choice((JobKind.MEASURE, JobKind.MEASURE, JobKind.MAP))
            new = queue.submit(replace(REQUEST, model=str(number)), kind).id
            line.append(new)
            states[new] = JobState.QUEUED
            looks += [new] if kind is JobKind.MAP else []
        elif act == "take":
            job = queue.take(timeout=0)
            turn = [job_id for job_id in waiting() if states[job_id] is JobState.QUEUED]
            assert (job and job.id) == (turn[0] if turn else None)
            if turn:
                states[turn[0]] = JobState.RUNNING
        elif act == "restart":
            queue = Queue(store, Events(lambda: None), "worker.log", blame=False)
            states |= {job_id: JobState.QUEUED for job_id in line if states[job_id] is JobState.RUNNING}
        elif chosen is None:
            continue
        elif act == "put back" and states[chosen] is JobState.RUNNING:
            queue.put_back(chosen)
            states[chosen] = JobState.QUEUED
        elif act == "pause" and states[chosen] is JobState.QUEUED:
            queue.pause(chosen)
            states[chosen] = JobState.PAUSED
        elif act == "resume" and states[chosen] is JobState.PAUSED:
            queue.resume(chosen)
            states[chosen] = JobState.QUEUED
        elif act == "move" and states[chosen].waits:
            place = chance.randrange(5)
            queue.move(chosen, place)
            others = [job_id for job_id in waiting() if job_id != chosen]
            line = [job_id for job_id in line if states[job_id] is JobState.RUNNING]
            line += [*others[:place], chosen, *others[place:]]
        elif act == "end":
            if states[chosen] is JobState.RUNNING:
                queue.end(chosen, JobState.DONE)
            else:
                queue.cancel(chosen)
            line.remove(chosen)
            states[chosen] = queue.job(chosen).state
        for jobs in (queue.jobs, store.jobs()):
            assert [job.id for job in jobs if job.state.waits] == waiting()
            assert {job.id: job.state for job in jobs} == states


def test_a_queue_that_lives_long_forgets_what_the_store_forgets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("microscope_tui.store.store.ENDED_LOOKS_KEPT", 2)
    store = Store(tmp_path / "cache")
    queue = Queue(store, Events(lambda: None), "worker.log")
    for example in range(4):
        queue.cancel(queue.submit(REQUEST, JobKind.TOKENS, example).id)
        assert list(queue.jobs) == store.jobs()
    assert [job.example for job in queue.jobs] == [2, 3]


def test_jobs_are_the_same_when_request_kind_and_example_are(tmp_path: Path) -> None:
    queue = Queue(Store(tmp_path / "cache"), Events(lambda: None), "worker.log")
    asked = [(JobKind.MEASURE, None), (JobKind.TOKENS, 0), (JobKind.TOKENS, 1), (JobKind.PREVIEW, None)]
    jobs = [queue.submit(REQUEST, *each).id for each in asked]
    assert [queue.submit(REQUEST, *each).id for each in asked] == jobs
    assert len(set(jobs)) == 4
    queue.pause(jobs[0])
    assert queue.submit(REQUEST).id == jobs[0], "a paused job is not asked for a second time"
    assert queue.job(jobs[0]).state is JobState.PAUSED
    queue.cancel(jobs[0])
    assert queue.submit(REQUEST).id not in jobs
    for example in (None, -1):
        with pytest.raises(MicroscopeError, match="Name one by its number in the slice"):
            queue.submit(REQUEST, JobKind.TOKENS, example)


def test_a_paused_job_needs_no_worker_and_one_asked_to_pause_can_think_again(tmp_path: Path) -> None:
    store = Store(tmp_path / "cache")
    queue = Queue(store, Events(lambda: None), "worker.log")
    job = queue.submit(REQUEST).id
    assert (queue.busy, queue.pause(job).progress.phase, queue.busy) == (True, "paused", False)
    assert queue.take(timeout=0) is None
    queue.resume(job)
    queue.take()
    assert (queue.pause(job).state, queue.should_stop(job)) == (JobState.RUNNING, True)
    assert (queue.resume(job).progress.phase, queue.should_stop(job)) == ("starting", False)
    queue.pause(job)
    assert queue.should_stop(job)
    queue.resume(job)
    assert queue.halted(job).state is JobState.QUEUED, "told to go on while it was stopping"
    queue.take()
    queue.pause(job)
    queue.stop()
    assert queue.halted(job).state is JobState.PAUSED, "also when the worker ends at that moment"
    for act in (queue.pause, queue.resume, queue.cancel, lambda job_id: queue.move(job_id, 0)):
        with pytest.raises(MicroscopeError, match="no job nothing"):
            act("nothing")
    assert queue.cancel(job).state is JobState.CANCELLED
    assert queue.resume(job).state is queue.pause(job).state is JobState.CANCELLED, "ended is ended"


def test_what_is_being_cancelled_is_not_paused(tmp_path: Path) -> None:
    """It would stand beside the job that was asked for anew."""
    queue = Queue(Store(tmp_path / "cache"), Events(lambda: None), "worker.log")
    job = queue.submit(REQUEST).id
    queue.take()
    queue.cancel(job)
    again = queue.submit(REQUEST).id
    assert queue.pause(job).becoming is JobState.CANCELLED
    assert queue.halted(job).state is JobState.CANCELLED
    assert [each.id for each in queue.jobs if not each.state.ended] == [again]


@pytest.mark.parametrize("words", [{}, {JobState.PAUSED: "holding on", JobState.CANCELLED: "giving up"}])
@pytest.mark.parametrize(("act", "state"), [("pause", JobState.PAUSED), ("cancel", JobState.CANCELLED)])
def test_one_that_was_told_to_stop_when_its_worker_died_has_stopped_whatever_its_phase_is_called(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, act: str, state: JobState, words: dict[JobState, str]
) -> None:
    store = Store(tmp_path / "cache")
    queue = Queue(store, Events(lambda: None), "worker.log")
    job = queue.submit(REQUEST).id
    queue.take()
    queue.progress(job, Progress("measuring", 3, 7), keep=True)
    told = getattr(queue, act)(job)
    queue.progress(job, Progress("computing profiles", 7, 7, percent=30), keep=True)
    assert (told.becoming, told.now.phase, told.now.done) == (state, STOPPING[state], 3)
    assert store.jobs()[0].now == Progress(STOPPING[state], 7, 7)
    monkeypatch.setattr("microscope_tui.terms.STOPPING", words)  # as a worker of other words finds it
    found = Queue(store, Events(lambda: None), "worker.log").job(job)
    assert (found.state, found.becoming) == (state, None)


@pytest.mark.parametrize("phase", ["cancelling", "pausing", "paused", "queued"])
def test_no_word_for_people_makes_a_job_be_taken_for_one_that_was_told_to_stop(tmp_path: Path, phase: str) -> None:
    store = Store(tmp_path / "cache")
    queue = Queue(store, Events(lambda: None), "worker.log")
    job = queue.submit(REQUEST).id
    queue.take()
    queue.progress(job, Progress(phase, 3, 7), keep=True)
    assert not queue.should_stop(job)
    assert Queue(store, Events(lambda: None), "worker.log").job(job).state is JobState.QUEUED


def test_a_measurement_is_not_blamed_for_the_death_at_a_look(tmp_path: Path) -> None:
    store = Store(tmp_path / "cache")
    queue = Queue(store, Events(lambda: None), "worker.log")
    measurement = queue.submit(REQUEST).id
    for _ in range(10):
        queue = Queue(store, Events(lambda: None), "worker.log")
        assert sure(queue.take()).id == measurement
        look = queue.submit(REQUEST, JobKind.MAP).id
        assert sure(queue.take_look(measurement)).id == look
        queue = Queue(store, Events(lambda: None), "worker.log")
        queue.cancel(look)
    assert queue.job(measurement).state is JobState.QUEUED


def test_a_full_disk_holds_the_queue_until_there_is_more_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    free = 1_000_000
    monkeypatch.setattr("microscope_tui.worker.jobs.ROOM_SECONDS", 0.01)
    monkeypatch.setattr(
        "microscope_tui.worker.jobs.shutil.disk_usage", lambda folder: type("Usage", (), {"free": free})
    )
    queue = Queue(Store(tmp_path / "cache"), Events(lambda: None), "worker.log")
    submitted = queue.submit(REQUEST)
    assert sure(queue.take()).id == submitted.id
    waiting = queue.wait_for_room(submitted.id, "The disk is full.")
    assert (waiting.state, waiting.error, waiting.progress.phase) == (JobState.QUEUED, "The disk is full.", "disk full")
    taken: list[Job | None] = []
    thread = threading.Thread(target=lambda: taken.append(queue.take()))
    thread.start()
    thread.join(0.1)
    assert thread.is_alive()
    free += 20_000_000
    thread.join(DEADLINE)
    (again,) = map(sure, taken)
    assert (again.id, again.state, again.error) == (submitted.id, JobState.RUNNING, None)


@pytest.mark.parametrize("act", ["cancel", "pause"])
def test_a_job_that_waits_for_room_no_more_holds_up_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, act: str
) -> None:
    monkeypatch.setattr(
        "microscope_tui.worker.jobs.shutil.disk_usage", lambda folder: type("Usage", (), {"free": 1_000_000})
    )
    queue = Queue(Store(tmp_path / "cache"), Events(lambda: None), "worker.log")
    first, second = queue.submit(REQUEST), queue.submit(replace(REQUEST, one_tile=True))
    assert sure(queue.take()).id == first.id
    queue.wait_for_room(first.id, "The disk is full.")
    assert getattr(queue, act)(first.id).error is None
    assert sure(queue.take(DEADLINE)).id == second.id


def test_a_state_that_finds_no_room_on_the_disk_is_written_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from microscope_tui.store import DiskFull

    store = Store(tmp_path / "cache")
    queue = Queue(store, Events(lambda: None), "worker.log")
    job = queue.submit(REQUEST)
    with monkeypatch.context() as patch:
        patch.setattr(Store, "put_job", lambda *_: (_ for _ in ()).throw(DiskFull("full")))
        assert queue.cancel(job.id).state is JobState.CANCELLED
        with pytest.raises(DiskFull):
            queue.submit(replace(REQUEST, model="other"))
        queue.save_again()
    assert store.jobs()[0].state is JobState.QUEUED
    queue.save_again()
    assert store.jobs()[0].state is JobState.CANCELLED
    assert len(queue.jobs) == 1
    assert not queue._awaited, "nobody waits for a job that was refused"


def test_only_deaths_at_the_same_place_count_and_none_after_a_power_cut(tmp_path: Path) -> None:
    store = Store(tmp_path / "cache")
    job = Queue(store, Events(lambda: None), "worker.log").submit(REQUEST)

    def dies_at(phase: str, done: int, *, percent: int | None = None, blame: bool = True) -> JobState:
        """A worker begins the job, gets so far and dies; how the next one finds the job."""
        queue = Queue(store, Events(lambda: None), "worker.log")
        queue.take()
        queue.progress(job.id, Progress(phase, done, 100, percent=percent), keep=True)
        return Queue(store, Events(lambda: None), "worker.log", blame=blame).job(job.id).state

    for done in (1, 2, 5, 3, 7):
        assert dies_at("measuring", done) is JobState.QUEUED
    assert dies_at("measuring", 7, blame=False) is JobState.QUEUED
    assert dies_at("loading weights", 0, percent=10) is JobState.QUEUED
    assert dies_at("loading weights", 0, percent=20) is JobState.FAILED
    assert "died 2 times at the same place" in sure(store.jobs()[0].error)


def test_a_gpu_that_fails_is_tried_again_once_and_then_only_as_long_as_the_job_gets_on(tmp_path: Path) -> None:
    store = Store(tmp_path / "cache")
    job = Queue(store, Events(lambda: None), "worker.log").submit(REQUEST)

    def fails_at(done: int) -> bool:
        """Another worker each time: whether the job is tried again."""
        queue = Queue(store, Events(lambda: None), "worker.log", blame=False)
        queue.take()
        queue.progress(job.id, Progress("measuring", done, 100), keep=True)
        return queue.gpu_failed(job.id)

    assert [fails_at(done) for done in (3, 13, 22)] == [True, True, False], "ever further, by less than a tenth"
    assert [fails_at(done) for done in (32, 41, 0)] == [True, False, False]


def test_a_gpu_that_fails_does_not_count_as_the_death_of_a_worker(tmp_path: Path) -> None:
    store = Store(tmp_path / "cache")
    queue = Queue(store, Events(lambda: None), "worker.log")
    job = queue.submit(REQUEST)
    queue.take()
    queue.progress(job.id, Progress("measuring", 5, 100), keep=True)
    assert queue.gpu_failed(job.id)
    assert queue.died(job.id)
    assert store.deaths(job.id) == Deaths("measuring 5", 1, 5)
    assert not queue.died(job.id)


def test_screens_hear_the_latest_progress_once_and_states_at_once(tmp_path: Path) -> None:
    events = Events(lambda: None)
    queue = Queue(Store(tmp_path / "cache"), events, "worker.log")
    job = queue.submit(REQUEST)
    queue.take()
    before = events.last
    for done in range(100):
        queue.progress(job.id, Progress("measuring", done, 100), keep=False)
    assert events.after(before) == []
    queue.tell()
    queue.tell()
    assert [sure(event.job).progress.done for event in events.after(before)] == [99]
    queue.progress(job.id, Progress("measuring", 100, 100), keep=False)
    queue.end(job.id, JobState.DONE)
    queue.tell()
    assert [(sure(event.job).state, sure(event.job).progress.done) for event in events.after(before)[1:]] == [
        (JobState.DONE, 100)
    ]


@pytest.mark.parametrize(
    ("last", "done"),
    [
        (Progress("reading examples", 63, 64), 64),  # told before each step
        (Progress("logit lens", 8, 9, unit="layers"), 9),
        (Progress("loading model", total=64), 64),  # what is read needs no step
        (Progress("running the model"), 0),
    ],
)
def test_what_is_done_is_done_to_the_end(tmp_path: Path, last: Progress, done: int) -> None:
    with Store(tmp_path / "cache") as store:
        queue = Queue(store, Events(lambda: None), "worker.log")
        job = queue.submit(REQUEST)
        queue.submit(replace(REQUEST, model="b"))
        queue.take()
        queue.progress(job.id, last, keep=False)
        assert queue.end(job.id, JobState.DONE).progress == replace(last, done=done)
        assert next(each for each in store.jobs() if each.id == job.id).progress.done == done
        other = sure(queue.take())
        queue.progress(other.id, last, keep=False)
        assert queue.end(other.id, JobState.FAILED, "No.").progress == last


def test_an_idle_queue_lets_the_worker_free_its_model(tmp_path: Path) -> None:
    queue = Queue(Store(tmp_path / "cache"), Events(lambda: None), "worker.log")
    assert queue.take(timeout=0.01) is None
    assert not queue.stopping
    queue.stop()
    assert queue.take() is None


def test_what_is_asked_for_after_the_clock_was_put_back_stands_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue = Queue(Store(tmp_path / "cache"), Events(lambda: None), "worker.log")
    ids = []
    for model, now in (("a", 2_000_000_000.0), ("b", 1_000_000_000.0), ("c", 1_000_000_000.0)):
        monkeypatch.setattr("microscope_tui.worker.jobs.time.time", lambda now=now: now)
        ids.append(queue.submit(replace(REQUEST, model=model)).id)
    assert [job.id for job in queue.jobs] == ids
    assert [sure(queue.take()).id for _ in ids] == ids
