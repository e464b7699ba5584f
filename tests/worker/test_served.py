"""The served socket, its turns taken by the test: questions, strangers, slow screens."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from microscope_tui.store import Store, keys
from microscope_tui.store.libraries import versions
from microscope_tui.terms import JobKind, JobState, Request, SliceSpec
from microscope_tui.worker import place, protocol, server
from microscope_tui.worker.events import Events
from microscope_tui.worker.jobs import Queue
from microscope_tui.worker.protocol import decode, encode
from microscope_tui.worker.server import Server, Waker

REQUEST = Request("demo:llava-next", SliceSpec("demo:scienceqa", count=7))


def submit(kind: JobKind = JobKind.MEASURE, who: str = "") -> protocol.Submit:
    """As a screen of this program asks."""
    return protocol.Submit(REQUEST, kind, who=who, key=protocol.filed_under(REQUEST, kind, None))


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
    connection = served.connect(protocol.Hello(), submit(), protocol.ListJobs(), protocol.Cancel("?"))
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


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda patch: patch.setattr(protocol, "versions", lambda: {**versions(), "torch": "1.0"}), "(torch 1.0, not "),
        (lambda patch: patch.setattr(keys, "DEMO", Path("/another")), "(demo /another, not "),
    ],
)
def test_who_finds_nothing_of_what_is_made_here_is_told_so_before_it_is_measured_in_vain(
    served: Served, monkeypatch: pytest.MonkeyPatch, change: Callable[[pytest.MonkeyPatch], None], told: str
) -> None:
    with monkeypatch.context() as patch:
        change(patch)
        asked = (protocol.Hello(), submit())
    connection = served.connect(*asked)
    served.turn()
    welcome, refused = served.heard(connection)
    assert isinstance(welcome, protocol.Welcome), "what is on its way can be looked at all the same"
    assert f"The program makes numbers otherwise than the worker {told}" in refused.text
    assert served.queue.jobs == ()


def test_who_finds_what_is_made_here_is_not_refused_for_what_it_does_not_need(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All that is asked for is the demo's: another hub cache is of no matter to it."""
    with monkeypatch.context() as patch:
        patch.setenv("HF_HUB_CACHE", "/elsewhere")
        asked = (protocol.Hello(), submit(), submit(JobKind.PREVIEW))
    assert protocol.unlike(asked[0].made_with, mine="worker") is not None
    connection = served.connect(*asked)
    served.turn()
    assert [type(answer) for answer in served.heard(connection)] == [protocol.Welcome, protocol.JobIs, protocol.JobIs]


def test_a_key_that_is_another_for_no_other_reason_is_refused_in_a_sentence(served: Served) -> None:
    connection = served.connect(protocol.Hello(), replace(submit(), key="of a link as it was"))
    served.turn()
    assert served.heard(connection)[1] == protocol.Refused(server.LINK_CHANGED)
    assert served.queue.jobs == ()


def test_what_one_screen_leaves_goes_on_for_the_other(served: Served) -> None:
    one = served.connect(protocol.Hello(), submit(JobKind.MAP, who="one"))
    other = served.connect(protocol.Hello(), submit(JobKind.MAP, who="other"))
    served.turn()
    job = served.heard(one)[1].job
    assert served.heard(other)[1].job.id == job.id
    states = []
    for connection, who in ((one, "one"), (one, "one"), (one, "stranger"), (other, "other")):
        connection.setblocking(True)
        connection.sendall(encode(protocol.Leave(job.id, who)))
        served.turn()
        states += [answer.job.state for answer in served.heard(connection)]
    assert states == [JobState.QUEUED] * 3 + [JobState.CANCELLED]


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


def test_a_screen_that_has_seen_numbers_of_a_time_to_come_hears_everything_from_now_on(served: Served) -> None:
    """The clock was put back between two workers."""
    job = served.queue.submit(REQUEST)
    connection = served.connect(protocol.Hello(), protocol.Follow(after=served.events.last + 10**12))
    served.turn()
    assert [event.job for event in served.heard(connection)[1:]] == [job]
    served.events.add("log", text="new")
    served.turn()
    assert [event.text for event in served.heard(connection)] == ["new"]


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
