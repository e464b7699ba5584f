"""The parts of a worker one by one: messages, the served socket, the thinning of reports, the place."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from microscope_tui import __version__
from microscope_tui.errors import MicroscopeError, lost_device
from microscope_tui.results import Measurement
from microscope_tui.store import Store
from microscope_tui.terms import Job, JobKind, JobState, Progress, Request, SliceSpec
from microscope_tui.worker import place, protocol, server, work
from microscope_tui.worker.events import Events
from microscope_tui.worker.jobs import WAITING, Queue
from microscope_tui.worker.protocol import decode, encode
from microscope_tui.worker.server import Server, Waker
from microscope_tui.worker.work import Reports
from tests.worker import runners
from tests.worker.conftest import until

REQUEST = Request("demo:llava-next", SliceSpec("demo:scienceqa", count=7))
JOB = Job("j", REQUEST, JobState.RUNNING, Progress("measuring", 1, 7), "why?", 1.0, 2.0)


# Messages


@pytest.mark.parametrize(
    "message",
    [
        protocol.Hello(),
        protocol.Submit(REQUEST),
        protocol.Submit(REQUEST, JobKind.TOKENS, 3),
        protocol.Cancel("j"),
        protocol.Pause("j"),
        protocol.Resume("j"),
        protocol.Move("j", 2),
        protocol.ListJobs(),
        protocol.Follow(7),
        protocol.AskStatus(),
        protocol.Stop(),
        protocol.Welcome(),
        protocol.Refused("no\nline «breaks»"),
        protocol.JobIs(JOB),
        protocol.Jobs((JOB, JOB)),
        protocol.Status(1, "v", 2.0, "/c", "/l", 3, 4, 5),
        protocol.Event(9, "job", JOB),
        protocol.Event(9, "log", text="x"),
        protocol.Goodbye("bye"),
    ],
    ids=lambda message: type(message).__name__,
)
def test_every_message_survives_its_line(message: protocol.Message) -> None:
    line = encode(message)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert decode(line) == message


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"nonsense",
        b"[]",
        b"{}",
        b'{"is": "Eval"}',
        b'{"is": "Cancel"}',
        b'{"is": "Submit", "request": 7}',
        encode(protocol.Submit(REQUEST)).replace(b'"kind": "measure"', b'"kind": "eval"'),
        encode(protocol.Submit(REQUEST)).replace(b'"example": null', b'"example": "../x"'),
        b'{"is": "Move", "job_id": "j", "place": 1.5}',
        b"\xff",
    ],
)
def test_what_is_no_message_is_a_sentence(line: bytes) -> None:
    with pytest.raises(MicroscopeError, match="what is not a message"):
        decode(line)


def test_a_hello_of_a_later_version_can_be_read_and_is_refused() -> None:
    hello = decode(b'{"is": "Hello", "protocol": 2, "version": "9.0", "colour": "red"}')
    assert hello == protocol.Hello(2, "9.0")
    assert protocol.mismatch(protocol.Hello(), mine="worker") is None
    assert protocol.mismatch(protocol.Hello(2, "9.0"), mine="worker").startswith(
        "The program is version 9.0 (protocol 2)"
    )
    assert protocol.mismatch(protocol.Welcome(protocol.PROTOCOL, "0"), mine="program").startswith(
        "The worker is version 0"
    )
    assert protocol.mismatch(protocol.Hello(protocol.PROTOCOL + 1, __version__), mine="worker") is not None


# The served socket


class Served:
    """A server whose turns the test takes."""

    def __init__(self, folder: Path) -> None:
        self.store = Store(folder)
        self.waker = Waker()
        self.events = Events(self.waker.wake)
        self.queue = Queue(self.store, self.events, "worker.log")
        self.stops: list[bool] = []
        self.begun: dict[socket.socket, bytes] = {}
        self.server = Server(
            self.queue,
            self.events,
            self.waker,
            cache=folder,
            log_name="worker.log",
            on_stop=lambda: self.stops.append(True),
        )
        self.address = folder / "s"
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(self.address))
        listener.listen(8)
        self.server.listen(listener)

    def connect(self, *messages: protocol.Message | bytes) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(10)
        connection.connect(str(self.address))
        for message in messages:
            connection.sendall(message if isinstance(message, bytes) else encode(message))
        return connection

    def turn(self, times: int = 4) -> None:
        for _ in range(times):
            self.server.serve(0)

    def heard(self, connection: socket.socket) -> list[Any]:
        """The messages that have come since the last time."""
        connection.setblocking(False)
        data = self.begun.pop(connection, b"")
        with contextlib.suppress(BlockingIOError, ConnectionResetError):
            while piece := connection.recv(1 << 20):
                data += piece
        *lines, self.begun[connection] = data.split(b"\n")
        return [decode(line) for line in lines]


@pytest.fixture
def served() -> Iterator[Served]:
    folder = Path(tempfile.mkdtemp(prefix="microscope-test-"))
    served = Served(folder)
    yield served
    served.server.farewell("the test is over")
    shutil.rmtree(folder)


def test_questions_get_their_answers(served: Served) -> None:
    connection = served.connect(protocol.Hello(), protocol.Submit(REQUEST), protocol.ListJobs(), protocol.Cancel("?"))
    served.turn()
    welcome, submitted, listed, refused = served.heard(connection)
    assert welcome == protocol.Welcome()
    assert isinstance(submitted, protocol.JobIs)
    assert submitted.job.request == REQUEST
    assert listed == protocol.Jobs((submitted.job,))
    assert refused == protocol.Refused("There is no job ?: `microscope-tui jobs` lists them.")
    assert served.store.jobs() == [submitted.job]
    connection.setblocking(True)
    connection.sendall(encode(protocol.Goodbye("")) + encode(protocol.Stop()))
    served.turn()
    assert served.heard(connection) == [protocol.Refused("The worker has no answer to Goodbye.")]
    assert served.stops == [True]
    served.server.farewell("bye")
    assert served.heard(connection) == [protocol.Goodbye("bye")]


def test_without_a_fitting_greeting_nothing_is_done(served: Served) -> None:
    rude = served.connect(protocol.Submit(REQUEST))
    stranger = served.connect(protocol.Hello(99, "9"), protocol.Submit(REQUEST))
    served.turn()
    assert served.heard(rude) == [protocol.Refused("The worker was spoken to without a greeting.")]
    assert "version 9 (protocol 99)" in str(served.heard(stranger)[0])
    served.turn()
    assert served.server.screens == 0
    assert served.queue.jobs == ()


def test_nonsense_is_refused_and_a_line_without_end_cut_off(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    connection = served.connect(protocol.Hello(), b"nonsense\n")
    served.turn()
    assert "not a message" in str(served.heard(connection)[1])
    monkeypatch.setattr(server, "LINE_LIMIT", 1000)
    connection.setblocking(True)
    connection.sendall(b"x" * 2000)
    served.turn()
    assert served.server.screens == 0


def test_another_user_is_turned_away(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "peer_uid", lambda connection: os.geteuid() + 1)
    connection = served.connect(protocol.Hello())
    served.turn()
    assert served.server.screens == 0
    assert served.heard(connection) == []
    assert place.peer_uid(connection) == os.geteuid()


def test_a_slow_screen_is_dropped_and_a_quick_one_hears_everything(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "BACKLOG_LIMIT", 100_000)
    slow, quick = (served.connect(protocol.Hello(), protocol.Follow()) for _ in range(2))
    served.turn()
    heard: list[protocol.Message] = []
    for number in range(3000):
        served.events.add("log", text=f"{number} " + "x" * 300)
        if number % 100 == 99:
            served.turn(2)
            heard += served.heard(quick)
            served.turn(2)
            heard += served.heard(quick)
    assert served.server.screens == 1
    events = [message.text for message in heard if isinstance(message, protocol.Event)]
    assert [int(text.split()[0]) for text in events] == list(range(3000))
    slow.close()


def test_a_screen_that_attaches_again_gets_what_it_missed_of_the_log_and_every_job(served: Served) -> None:
    job = served.queue.submit(REQUEST)
    served.events.add("log", text="old")
    seen = served.events.last
    served.events.add("log", text="new")
    connection = served.connect(protocol.Hello(), protocol.Follow(after=seen))
    served.turn()
    _, line, state = served.heard(connection)
    assert (line.kind, line.text) == ("log", "new")
    assert (state.kind, state.job) == ("job", job)
    assert line.number == state.number == served.events.last


def test_a_screen_that_missed_more_than_is_kept_gets_every_job_as_it_stands(served: Served) -> None:
    connection = served.connect(protocol.Hello(), protocol.Follow())
    served.turn()
    served.heard(connection)
    job = served.queue.submit(REQUEST)
    for number in range(1500):
        served.events.add("log", text=str(number))
    served.turn(20)
    events = served.heard(connection)
    assert [event.job for event in events if event.kind == "job"] == [job]
    assert [int(event.text) for event in events if event.kind == "log"] == list(range(500, 1500))


def test_events_are_numbered_on_from_one_worker_to_the_next() -> None:
    first = Events(lambda: None)
    for _ in range(10):
        first.add("log", text="x")
    second = Events(lambda: None)
    second.add("log", text="y")
    assert second.last > first.last > 0


# Reports of a job


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
        runner="tests.worker.runners:run",
        look="tests.worker.runners:look",
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
    thread.join(10)
    assert (thread.over, queue.job(gate.id).state) == (True, JobState.QUEUED)


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


# The queue


def test_looks_go_before_measurements_and_waiting_jobs_can_be_moved(tmp_path: Path) -> None:
    store = Store(tmp_path / "cache")
    queue = Queue(store, Events(lambda: None), "worker.log")
    first, second, third, fourth = (queue.submit(replace(REQUEST, model=name)).id for name in "abcd")
    look = queue.submit(REQUEST, JobKind.TOKENS, 3).id
    assert [queue.take().id, queue.take().id] == [look, first]
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
    assert [again.take().id for _ in range(2)] == [look, first], "what was begun goes on first"
    again.resume(fourth)
    assert [again.take().id for _ in range(4)] == [fourth, third, second, late]


def test_the_queue_does_what_a_plain_list_does_over_many_random_turns_and_ends(tmp_path: Path) -> None:
    """`line` is the model: what has not ended in the order of its turn; looks go before, the latest first."""
    chance, store = random.Random(11), Store(tmp_path / "cache")
    queue = Queue(store, Events(lambda: None), "worker.log")
    line: list[str] = []
    states: dict[str, JobState] = {}
    looks: list[str] = []

    def waiting() -> list[str]:
        those = [job_id for job_id in line if states[job_id] in WAITING]
        return [job_id for job_id in reversed(looks) if job_id in those] + [each for each in those if each not in looks]

    for number in range(250):
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
        elif act == "move" and states[chosen] in WAITING:
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
            assert [job.id for job in jobs if job.state in WAITING] == waiting()
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
    queue.stop()
    assert queue.halted(job).state is JobState.PAUSED, "also when the worker ends at that moment"
    for act in (queue.pause, queue.resume, queue.cancel, lambda job_id: queue.move(job_id, 0)):
        with pytest.raises(MicroscopeError, match="no job nothing"):
            act("nothing")
    assert queue.cancel(job).state is JobState.CANCELLED
    assert queue.resume(job).state is queue.pause(job).state is JobState.CANCELLED, "ended is ended"


def test_one_that_was_to_pause_when_its_worker_died_is_paused(tmp_path: Path) -> None:
    store = Store(tmp_path / "cache")
    queue = Queue(store, Events(lambda: None), "worker.log")
    job = queue.submit(REQUEST).id
    queue.take()
    queue.pause(job)
    assert Queue(store, Events(lambda: None), "worker.log").job(job).state is JobState.PAUSED


def test_a_measurement_is_not_blamed_for_the_death_at_a_look(tmp_path: Path) -> None:
    store = Store(tmp_path / "cache")
    queue = Queue(store, Events(lambda: None), "worker.log")
    measurement = queue.submit(REQUEST).id
    for _ in range(10):
        queue = Queue(store, Events(lambda: None), "worker.log")
        assert queue.take().id == measurement
        look = queue.submit(REQUEST, JobKind.MAP).id
        assert queue.take_look(measurement).id == look
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
    assert queue.take().id == submitted.id
    waiting = queue.wait_for_room(submitted.id, "The disk is full.")
    assert (waiting.state, waiting.error, waiting.progress.phase) == (JobState.QUEUED, "The disk is full.", "disk full")
    taken: list[Job] = []
    thread = threading.Thread(target=lambda: taken.append(queue.take()))
    thread.start()
    thread.join(0.1)
    assert thread.is_alive()
    free += 20_000_000
    thread.join(10)
    assert (taken[0].id, taken[0].state, taken[0].error) == (submitted.id, JobState.RUNNING, None)


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


def test_only_deaths_at_the_same_place_count_and_none_after_a_power_cut(tmp_path: Path) -> None:
    store = Store(tmp_path / "cache")
    job = Queue(store, Events(lambda: None), "worker.log").submit(REQUEST)

    def dies_at(phase: str, done: int, *, blame: bool = True) -> JobState:
        """A worker begins the job, gets so far and dies; how the next one finds the job."""
        queue = Queue(store, Events(lambda: None), "worker.log")
        queue.take()
        queue.progress(job.id, Progress(phase, done, 100), keep=True)
        return Queue(store, Events(lambda: None), "worker.log", blame=blame).job(job.id).state

    for done in (1, 2, 5, 3, 7):
        assert dies_at("measuring", done) is JobState.QUEUED
    assert dies_at("measuring", 7, blame=False) is JobState.QUEUED
    assert dies_at("loading weights 10 %", 0) is JobState.QUEUED
    assert dies_at("loading weights 20 %", 0) is JobState.FAILED
    assert "died 2 times at the same place" in store.jobs()[0].error


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
    assert [event.job.progress.done for event in events.after(before)] == [99]
    queue.progress(job.id, Progress("measuring", 100, 100), keep=False)
    queue.end(job.id, JobState.DONE)
    queue.tell()
    assert [(event.job.state, event.job.progress.done) for event in events.after(before)[1:]] == [(JobState.DONE, 100)]


def test_an_idle_queue_lets_the_worker_free_its_model(tmp_path: Path) -> None:
    queue = Queue(Store(tmp_path / "cache"), Events(lambda: None), "worker.log")
    assert queue.take(timeout=0.01) is None
    assert not queue.stopping
    queue.stop()
    assert queue.take() is None


# The place


def test_the_socket_lies_in_a_short_private_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    with tempfile.TemporaryDirectory() as short:
        monkeypatch.setattr(tempfile, "tempdir", short)
        path = place.socket_path(Path("/some/cache"))
        assert path.parent.parent == Path(short)
        assert stat.S_IMODE(path.parent.lstat().st_mode) == 0o700
        assert path == place.socket_path(Path("/some/cache"))
        assert path != place.socket_path(Path("/other/cache"))
        path.parent.chmod(0o755)  # as if somebody else had made it first
        other = place.socket_path(Path("/some/cache"))
        assert other.parent != path.parent
        assert place.is_private(other.parent)
        path.parent.rmdir()
        path.parent.symlink_to(other.parent)
        assert not place.is_private(path.parent)
        assert place.socket_path(Path("/some/cache")).parent != path.parent


def test_a_temporary_folder_with_a_long_name_is_passed_over(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / ("x" * 100)))
    path = place.socket_path(Path("/some/cache"))
    assert path.is_relative_to("/tmp")
    assert len(os.fsencode(path)) <= 107


def test_a_record_names_one_process_for_ever(tmp_path: Path) -> None:
    record = place.Record.of_this_process(tmp_path)
    assert record.lives
    assert not replace(record, start=record.start + 1).lives
    assert not replace(record, boot="other").lives
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    assert place.process_start(process.pid) is None
    for text in ("", "[]", "{}", '{"pid": 1}'):
        (tmp_path / "worker.lock").write_text(text)
        assert place.Record.read(tmp_path) is None
    assert place.Record.read(tmp_path / "none") is None
    assert not place.is_held(tmp_path)


def test_a_forked_child_does_not_keep_the_lock(tmp_path: Path) -> None:
    """As a data loader would, when the worker is killed."""
    script = (
        "import os, sys; from pathlib import Path; from microscope_tui.worker.place import *;"
        "keep_from_children(take_lock(Path(sys.argv[1]))); child = os.fork();"
        "(print('ready', flush=True), sys.stdin.read()) if child == 0 else os._exit(0)"
    )
    cache = tmp_path / "cache"
    cache.mkdir()
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(cache)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout.readline() == b"ready\n"
    process.wait(10)
    assert not place.is_held(cache)
    process.stdin.close()
    process.stdout.close()
