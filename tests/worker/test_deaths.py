"""What survives whose death: terminals, screens, workers, GPUs; and who may live at all."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import random
import select
import signal
import stat
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from microscope_tui.errors import MicroscopeError
from microscope_tui.results import Measurement
from microscope_tui.store import Store
from microscope_tui.terms import JobState
from microscope_tui.worker import client as workers
from microscope_tui.worker import protocol, wire
from microscope_tui.worker.client import Client
from microscope_tui.worker.place import Record, is_held
from tests.sure import sure
from tests.worker.conftest import DEADLINE, RUNNER, Box, stored, until
from tests.worker.runners import BLOCKS, link


def test_the_worker_outlives_the_terminal_and_the_screen_that_started_it(box: Box) -> None:
    """The starter leads a session on a pseudo-terminal; closing that hangs it up."""
    request = box.request("gate")
    script = (
        "import sys; from pathlib import Path; from microscope_tui.terms import *;"
        "from microscope_tui.worker.client import Client;"
        f"client = Client.connect(Path({str(box.cache)!r}), runner={RUNNER!r});"
        f"job = client.submit(Request('gate', SliceSpec({request.slice.source!r})));"
        "print('submitted', flush=True); list(client.follow())"
    )
    pid, terminal = pty.fork()
    if pid == 0:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)  # ignored by whoever runs the tests under nohup
        os.execv(sys.executable, [sys.executable, "-c", script])
    output = b""
    while b"submitted" not in output:
        assert select.select([terminal], [], [], DEADLINE)[0], output
        output += os.read(terminal, 4096)
    until(box.begun, "the job to begin")
    os.close(terminal)
    _, status = os.waitpid(pid, 0)
    assert os.WTERMSIG(status) == signal.SIGHUP
    with Client.connect(box.cache, start=False) as client:
        (job,) = client.jobs()
        assert box.running(client, job.id).progress.done == 3
        box.open()
        assert box.ended(client, job.id).state is JobState.DONE
    assert len(box.begun()) == 1


def test_a_screen_killed_while_it_follows_costs_nothing_and_the_next_one_sees_the_progress_at_once(box: Box) -> None:
    """Both screens are processes. The job stands still, so that no news comes but what a new screen is told."""
    script = (
        "from pathlib import Path; from microscope_tui.worker.client import Client;"
        f"client = Client.connect(Path({str(box.cache)!r}), start=False);"
        "event = next(event for event in client.follow() if event.job);"
        "print(event.job.state, event.job.progress.done, flush=True); list(client.follow())"
    )
    with box.client() as client:
        job = client.submit(box.request("gate"))
        box.running(client, job.id)
        for _ in range(2):
            screen = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
            assert sure(screen.stdout).readline() == "running 3\n"
            until(lambda: client.status().screens == 1, "it to follow")
            screen.kill()
            screen.communicate()
            until(lambda: client.status().screens == 0, "the worker to notice")
        box.open()
        assert box.ended(client, job.id).state is JobState.DONE
    assert len(box.begun()) == 1


def test_sigterm_puts_the_job_back_and_the_next_worker_goes_on(box: Box) -> None:
    with box.client() as client:
        job = client.submit(box.request("gate"))
        waiting = client.submit(box.request("quick", "b"))
        box.running(client, job.id)
        box.kill(signal.SIGTERM)
        assert [each.state for each in stored(box)] == [JobState.QUEUED, JobState.QUEUED]
        box.open()
        assert box.ended(client, job.id).state is JobState.DONE, "asking starts the next worker"
        assert box.ended(client, waiting.id).state is JobState.DONE
    assert len(box.begun()) == 2


def test_a_stopped_worker_exits_with_0_and_leaves_no_socket(box: Box) -> None:
    command = [sys.executable, "-m", "microscope_tui.worker", "--cache", str(box.cache), "--runner", RUNNER]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    until(lambda: is_held(box.cache) and Record.read(box.cache), "the worker to listen")
    os.kill(process.pid, signal.SIGHUP)
    with Client.connect(box.cache, start=False) as client:
        assert client.status().pid == process.pid
        assert box.running(client, client.submit(box.request("gate")).id)
    place = Path(sure(Record.read(box.cache)).socket)
    assert stat.S_IMODE(place.lstat().st_mode) == 0o600
    assert stat.S_IMODE(place.parent.lstat().st_mode) == 0o700
    process.terminate()
    assert process.wait(DEADLINE) == 0
    assert not place.exists()


@pytest.mark.parametrize(("number", "lives"), [(signal.SIGHUP, True), (signal.SIGTERM, False)])
def test_who_finds_the_worker_may_signal_it_at_once(box: Box, number: signal.Signals, lives: bool) -> None:
    script = (
        "import os, sys; from pathlib import Path; from microscope_tui.worker import daemon;"
        "listen = daemon.Daemon._listen;"
        f"daemon.Daemon._listen = lambda self: (listen(self), os.kill(os.getpid(), {number.value}));"
        f"options = daemon.Options(Path({str(box.cache)!r}), 30.0, 10**9, {RUNNER!r}); sys.exit(daemon.main(options))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script],
        stderr=subprocess.DEVNULL,
        preexec_fn=partial(signal.signal, number, signal.SIG_DFL),
    )
    if lives:
        until(lambda: workers.log_tail(box.cache), "it to serve")
        with Client.connect(box.cache, start=False) as client:
            client.stop()
    assert process.wait(DEADLINE) == 0
    assert workers.died(box.cache) is None


def test_a_second_signal_does_not_wait_for_the_batch(box: Box) -> None:
    with box.client() as client:
        job = client.submit(box.request("deaf"))
        box.running(client, job.id)
        os.kill(box.pid, signal.SIGTERM)
        until(lambda: "got SIGTERM" in workers.log_tail(box.cache), "the first signal to be seen")
        box.kill(signal.SIGTERM)  # which waits for its end: the batch has none
        assert stored(box)[0].state is JobState.QUEUED


def test_after_kill_9_the_job_waits_again_and_is_done_by_the_next_worker(box: Box) -> None:
    with box.client() as client:
        job = client.submit(box.request("gate"))
        box.running(client, job.id)
        first = box.pid
        box.kill()
        assert Path(sure(Record.read(box.cache)).socket).exists(), "the dead worker's socket is still there"
        box.open()
        assert box.ended(client, job.id).state is JobState.DONE
        assert box.pid != first


def test_a_job_that_takes_the_worker_down_twice_is_not_tried_a_third_time(box: Box) -> None:
    with box.client() as client:
        job = client.submit(box.request("die"))

        def failed() -> bool:
            with contextlib.suppress(MicroscopeError):  # asked while it dies; asking starts the next one
                return box.job(client, job.id).state is JobState.FAILED
            return False

        until(failed, "the job to be given up")
        assert "died 2 times" in sure(box.job(client, job.id).error)
        assert box.ended(client, client.submit(box.request("quick", "b")).id).state is JobState.DONE
    assert len(box.begun()) == 2


def test_killed_at_random_moments_a_job_ends_as_if_undisturbed(box: Box) -> None:
    """Every link of the chain is committed by itself here; twenty times with the engine: see `test_engine`."""
    chance = random.Random(3)
    with box.client() as client:
        job = client.submit(box.request("blocks"))
        for _ in range(8):
            begun = len(box.begun())
            box.kill()
            if box.job(client, job.id).state.ended:  # given up for two deaths before its first report: a new job
                job = client.retry(job.id)
            box.begins_again(begun)
            select.select([], [], [], chance.random() * 0.06)  # the moment
        assert not box.job(client, job.id).state.ended, "killed in the middle"
        box.open()
        ended = box.ended(client, job.id)
        assert (ended.state, ended.error) == (JobState.DONE, None)
    expected = ""
    for number in range(BLOCKS):
        expected = link(expected, number)
    with Store(box.cache) as store:
        assert json.loads(sure(store.blob("state"))) == {"next": BLOCKS, "chain": expected}
        assert (
            sure(store.recall(job.request)).to_json()
            == Measurement("blocks", job.request.slice, (), examples=10, provenance={"chain": expected}).to_json()
        )
        store.gc()
        assert len(list((box.cache / "store").rglob("*.val"))) == 9
        assert store.verify() == []


def test_a_gpu_error_restarts_the_worker_and_the_job_is_tried_once_more(box: Box) -> None:
    with box.client() as client:
        once, always = client.submit(box.request("gpu once")), client.submit(box.request("gpu", "b"))
        quick, pid = client.submit(box.request("quick", "c")), box.pid
        assert box.ended(client, quick.id).state is JobState.DONE
        assert box.ended(client, once.id).state is JobState.DONE
        assert "CUDA error" in sure(box.ended(client, always.id).error)
        assert box.begun() + box.begun("b") + box.begun("c") == [pid] * 5, "the lock was never let go"
        further = client.submit(box.request("gpu further", "d"))
        said = sure(box.ended(client, further.id).error)
        assert said.startswith("The GPU failed at this job again (RuntimeError: CUDA error: an illegal memory access")
        assert f"`microscope-tui jobs --retry {further.id}`" in said
        assert len(box.begun("d")) == 2


def test_a_cancelled_job_stays_cancelled_when_the_worker_dies_before_it_stops(box: Box) -> None:
    with box.client() as client:
        job = client.submit(box.request("deaf"))
        box.running(client, job.id)
        client.cancel(job.id)
        box.kill()
        assert box.job(client, job.id).state is JobState.CANCELLED


def test_five_starts_at_once_give_one_worker(box: Box) -> None:
    script = (
        "from pathlib import Path; from microscope_tui.worker.client import Client;"
        f"input(); client = Client.connect(Path({str(box.cache)!r}), runner={RUNNER!r}); print(client.status().pid)"
    )
    starters = [
        subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(5)
    ]
    for starter in starters:
        sure(starter.stdin).write("\n")
        sure(starter.stdin).flush()
    pids = {starter.communicate(timeout=DEADLINE)[0].strip() for starter in starters}
    assert pids == {str(box.pid)}
    assert [starter.returncode for starter in starters] == [0] * 5


def test_a_worker_that_nobody_needs_ends_by_itself(box: Box) -> None:
    with box.client(idle_minutes=0.3 / 60) as client:
        job = client.submit(box.request("quick"))
        until(lambda: not is_held(box.cache), "the worker to end")
        assert [(each.id, each.state) for each in stored(box)] == [(job.id, JobState.DONE)]
        assert "nobody needed it" in workers.log_tail(box.cache)


def test_a_follower_keeps_an_idle_worker_alive(box: Box) -> None:
    with box.client(idle_minutes=0.2 / 60) as client:
        client.submit(box.request("gate"))
        events = (sure(event.job) for event in client.follow() if event.kind == "job")
        next(events)  # it follows from before the worker is idle
        box.open()
        assert next(job for job in events if job.state.ended).state is JobState.DONE
        select.select([], [], [], 0.6)  # three times the idle time
        assert is_held(box.cache)


def test_a_socket_that_a_cleaner_removed_is_made_again(box: Box) -> None:
    with box.client() as client, contextlib.closing(sure(wire.dial(box.cache))) as open_before:
        Path(sure(Record.read(box.cache)).socket).unlink()
        assert wire.dial(box.cache) is None
        wire.ask(open_before, protocol.AskStatus(), protocol.Status)
        assert client.status().pid == box.pid
