"""A worker from the outside: jobs, states, sentences, and what survives whose death."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import random
import select
import shutil
import signal
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from microscope_tui.errors import MicroscopeError
from microscope_tui.results import Measurement
from microscope_tui.store import Store
from microscope_tui.terms import Job, JobKind, JobState
from microscope_tui.worker import client as workers
from microscope_tui.worker import protocol
from microscope_tui.worker.client import Client
from microscope_tui.worker.place import Record, is_held
from tests.worker.conftest import RUNNERS, Box, until
from tests.worker.runners import BLOCKS, link


def stored(box: Box) -> list[Job]:
    """The jobs as they are on the disk."""
    with Store(box.cache, read_only=True) as store:
        return store.jobs()


# Jobs


def test_a_job_runs_and_its_result_is_in_the_store(box: Box) -> None:
    with box.client() as client:
        request = box.request("quick")
        job = client.submit(request)
        ended = box.ended(client, job.id)
        assert (ended.state, ended.error) == (JobState.DONE, None)
        assert (ended.progress.done, ended.progress.total) == (10, 10)
        assert ended.created <= ended.started <= ended.ended
    with Store(box.cache, read_only=True) as store:
        assert store.recall(request).examples == 10
        assert store.partial(job.id) is None, "superseded by the result"
        assert [each.state for each in store.jobs()] == [JobState.DONE]


def test_a_failing_job_says_why_in_one_sentence_and_keeps_what_it_had(box: Box) -> None:
    with box.client() as client:
        fail, bug = client.submit(box.request("fail")), client.submit(box.request("bug", "b"))
        assert box.ended(client, fail.id).error == "The model is a teapot: name another."
        ended = box.ended(client, bug.id)
        assert ended.state is JobState.FAILED
        assert ended.error == f"internal error: TypeError: a defect of ours; see the log {workers.log_file(box.cache)}"
        assert "Traceback" in workers.log_file(box.cache).read_text()
        assert box.ended(client, client.submit(box.request("quick", "c")).id).state is JobState.DONE
    with Store(box.cache, read_only=True) as store:
        assert store.partial(fail.id).examples == 3


def test_an_ended_job_can_be_asked_for_again(box: Box) -> None:
    with box.client() as client:
        job = client.submit(box.request("quick"))
        box.ended(client, job.id)
        again = client.retry(job.id)
        assert (again.id != job.id, again.request) == (True, job.request)
        assert box.ended(client, again.id).state is JobState.DONE
        look = client.submit(box.request("quick"), JobKind.TOKENS, 4)
        box.ended(client, look.id)
        again = client.retry(look.id)
        assert (again.id != look.id, again.kind, again.example) == (True, JobKind.TOKENS, 4)
        with pytest.raises(MicroscopeError, match="no job nothing"):
            client.retry("nothing")


def test_the_same_request_is_one_job_until_it_has_ended(box: Box) -> None:
    with box.client() as client:
        request = box.request("gate")
        job = client.submit(request)
        box.running(client, job.id)
        assert client.submit(request).id == job.id
        other = client.submit(box.request("quick", "b"))
        assert box.job(client, other.id).state is JobState.QUEUED, "one after another"
        box.open()
        assert box.ended(client, other.id).started >= box.job(client, job.id).ended
        assert client.submit(request).id != job.id


def test_cancelling_a_waiting_a_running_an_ended_and_an_unknown_job(box: Box) -> None:
    with box.client() as client:
        running, waiting = client.submit(box.request("gate")), client.submit(box.request("quick", "b"))
        box.running(client, running.id)
        assert client.cancel(waiting.id).state is JobState.CANCELLED
        assert client.cancel(running.id).progress.phase == "cancelling"
        assert box.ended(client, running.id).state is JobState.CANCELLED
        assert client.cancel(running.id).state is JobState.CANCELLED
        assert box.begun("b") == []
        with pytest.raises(MicroscopeError, match="no job 123"):
            client.cancel("123")


def test_the_worker_answers_while_a_job_computes(box: Box) -> None:
    with box.client() as client:
        job = client.submit(box.request("busy"))
        box.running(client, job.id)
        for _ in range(15):
            (now,) = client.jobs()
            assert now.state is JobState.RUNNING, "answered only when the job was over"
        box.open()
        assert box.ended(client, job.id).state is JobState.DONE


def test_looks_are_done_while_a_measurement_stands_still_and_it_goes_on_where_it_was(box: Box) -> None:
    with box.client() as client:
        request = box.request("gate")
        job = client.submit(request)
        box.running(client, job.id)
        first, second = (client.submit(box.request(name, name), JobKind.TOKENS, 3) for name in ("quick", "fail"))
        assert box.ended(client, first.id).state is JobState.DONE
        assert box.ended(client, second.id).error == "There is nothing to see: look elsewhere."
        large = client.submit(box.request("large", "large"), JobKind.MAP)
        assert box.ended(client, large.id).error.startswith("It does not fit. A measurement runs that needs the memory")
        standing = client.submit(box.request("gate", "b"), JobKind.MAP)
        until(lambda: box.job(client, standing.id).progress.phase == "looking", "the look to begin")
        assert box.job(client, job.id).state is JobState.RUNNING
        client.cancel(standing.id)
        assert box.ended(client, standing.id).state is JobState.CANCELLED
        assert not box.job(client, job.id).state.ended
        box.open()
        assert box.ended(client, job.id).state is JobState.DONE
    assert len(box.begun()) == 1, "begun once: nothing was given up for the looks"
    with Store(box.cache, read_only=True) as store:
        assert store.recall_look(box.request("quick", "quick"), JobKind.TOKENS, 3) == {"seen": ["tokens", 3]}
        assert store.recall_look(box.request("fail", "fail"), JobKind.TOKENS, 3) is None
        assert store.recall(request).examples == 10


def test_a_look_and_its_measurement_go_back_when_the_worker_stops(box: Box) -> None:
    with box.client() as client:
        job = client.submit(box.request("gate"))
        box.running(client, job.id)
        look = client.submit(box.request("gate", "b"), JobKind.TOKENS, 0)
        until(lambda: box.job(client, look.id).progress.phase == "looking", "the look to begin")
        box.kill(signal.SIGTERM)
        assert {each.id: each.state for each in stored(box)} == dict.fromkeys((job.id, look.id), JobState.QUEUED)
        for gate in "ab":
            box.open(gate)
        assert box.ended(client, look.id).state is box.ended(client, job.id).state is JobState.DONE


def test_a_gpu_error_in_a_look_costs_the_measurement_no_more_than_a_new_beginning(box: Box) -> None:
    with box.client() as client:
        job = client.submit(box.request("gate"))
        box.running(client, job.id)
        look = client.submit(box.request("gpu once", "b"), JobKind.TOKENS, 0)
        assert box.ended(client, look.id).state is JobState.DONE
        box.open()
        assert box.ended(client, job.id).state is JobState.DONE
    assert [len(box.begun(gate)) for gate in "ab"] == [2, 2]


def test_a_running_job_is_paused_over_the_end_of_its_worker_and_resumed(box: Box) -> None:
    with box.client() as client:
        job, other = client.submit(box.request("gate")), client.submit(box.request("quick", "b"))
        box.running(client, job.id)
        assert client.pause(job.id).progress.phase == "pausing"
        assert box.ended(client, other.id).state is JobState.DONE, "the next one goes on"
        paused = box.job(client, job.id)
        assert (paused.state, paused.progress.phase, paused.progress.done) == (JobState.PAUSED, "paused", 3)
        box.kill()
        assert box.job(client, job.id).state is JobState.PAUSED
        quick = client.submit(box.request("quick", "c"))
        assert box.ended(client, quick.id).state is JobState.DONE
        box.open()
        assert len(box.begun()) == 1
        assert client.resume(job.id).state is JobState.QUEUED
        assert box.ended(client, job.id).state is JobState.DONE


def test_the_order_of_the_queue_is_kept_over_the_end_of_the_worker(box: Box) -> None:
    with box.client() as client:
        job = client.submit(box.request("gate"))
        box.running(client, job.id)
        waiting = [client.submit(box.request("quick", gate)).id for gate in "bcd"]
        client.move(waiting[2], 0)
        client.move(waiting[0], 2)
        box.kill()
        box.open()
        ended = [box.ended(client, job_id) for job_id in (job.id, waiting[2], waiting[1], waiting[0])]
        assert [each.started for each in ended] == sorted(each.started for each in ended)


@pytest.mark.skipif(
    shutil.which("unshare") is None or subprocess.run(["unshare", "-rm", "true"], capture_output=True).returncode != 0,
    reason="needs user namespaces to mount a small disk",
)
def test_a_full_disk_pauses_the_job_which_goes_on_when_there_is_room(box: Box) -> None:
    """Worker, client and disk live in a namespace of their own."""
    request = box.request("large")
    script = f"""if True:
        import contextlib, os, sys
        from pathlib import Path
        from microscope_tui.terms import Request, SliceSpec
        from microscope_tui.worker.client import Client
        from tests.worker.conftest import until
        cache = Path({str(box.cache)!r})
        with Client.connect(cache, runners={RUNNERS!r}) as client:
            request = Request("large", SliceSpec({request.slice.source!r}))
            job = client.submit(request)
            state = lambda: client.jobs()[0]
            until(lambda: state().progress.phase == "measuring", "the job to run")
            with contextlib.suppress(OSError), open(cache / "foreign", "wb", buffering=0) as foreign:
                while foreign.write(bytes(4096)):
                    pass
            Path(request.slice.source, "go").touch()
            until(lambda: state().progress.phase == "disk full", "the job to wait")
            print(state().state, state().error)
            os.unlink(cache / "foreign")
            until(lambda: state().state.ended, "the job to end")
            print(state().state, state().error)
            client.stop()
    """
    box.cache.mkdir()
    mount = 'mount -t tmpfs -o size=24m,mode=700 tmpfs "$0" && exec "$@"'
    command = ["unshare", "-rm", "sh", "-c", mount, str(box.cache), sys.executable, "-c", script]
    root = str(Path(__file__).parents[2])
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([root, os.environ["PYTHONPATH"]])}
    answer = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60)
    assert answer.returncode == 0, answer.stderr
    first, second = answer.stdout.splitlines()
    assert first.startswith("queued The disk that holds")
    assert first.endswith("The job goes on by itself then.")
    assert second == "done None"


# Following


def test_two_screens_follow_and_a_late_one_sees_the_progress_at_once(box: Box) -> None:
    with box.client() as client:
        job = client.submit(box.request("gate"))
        box.running(client, job.id)
        with Client.connect(box.cache, start=False) as late:
            begin = time.monotonic()
            streams = [client.follow(), late.follow()]
            for stream in streams:
                first = next(event for event in stream if event.kind == "job")
                assert (first.job.id, first.job.state, first.job.progress.done) == (job.id, JobState.RUNNING, 3)
                assert next(stream).kind == "partial"
            assert time.monotonic() - begin < 1
            with Store(box.cache, read_only=True) as store:
                assert store.partial(job.id).complete is False
            box.open()
            for stream in streams:
                numbers, last = [], None
                for event in stream:
                    numbers.append(event.number)
                    if event.kind == "job" and event.job.state.ended:
                        last = event.job
                        break
                assert last.state is JobState.DONE
                assert numbers == sorted(set(numbers))


def test_following_ends_when_the_client_is_closed_and_when_the_worker_stops(box: Box) -> None:
    client, other = box.client(), box.client()
    client.submit(box.request("gate"))
    ended: list[str] = []
    seen = threading.Semaphore(0)

    def follow(who: Client, name: str) -> None:
        for _ in who.follow():
            seen.release()
        ended.append(name)

    threads = [threading.Thread(target=follow, args=pair) for pair in ((client, "closed"), (other, "stopped"))]
    for thread in threads:
        thread.start()
        assert seen.acquire(timeout=10)
    until(lambda: client.status().screens == 2, "both to follow")
    client.close()
    threads[0].join(10)
    assert ended == ["closed"]
    other.stop()
    threads[1].join(10)
    assert ended == ["closed", "stopped"]
    assert not is_held(box.cache)


def test_a_follower_is_told_when_the_worker_dies(box: Box) -> None:
    with box.client() as client:
        client.submit(box.request("gate"))
        stream = client.follow()
        next(stream)
        box.kill()
        with pytest.raises(MicroscopeError, match="has died"):
            list(stream)


def test_a_runner_that_reports_without_pause_does_not_flood_the_screens(box: Box) -> None:
    with box.client() as client:
        stream = client.follow()
        job = client.submit(box.request("chatty"))
        events = []
        for event in stream:
            events.append(event)
            if event.kind == "job" and event.job.id == job.id and event.job.state.ended:
                break
        assert event.job.state is JobState.DONE
        seconds = event.job.ended - event.job.started
        assert sum(each.kind == "job" for each in events) <= 4 * seconds + 6


# Death and return


def test_the_worker_outlives_the_terminal_and_the_screen_that_started_it(box: Box) -> None:
    """The starter leads a session on a pseudo-terminal; closing that hangs it up."""
    request = box.request("gate")
    script = (
        "import sys; from pathlib import Path; from microscope_tui.terms import *;"
        "from microscope_tui.worker.client import Client;"
        f"client = Client.connect(Path({str(box.cache)!r}), runners={RUNNERS!r});"
        f"job = client.submit(Request('gate', SliceSpec({request.slice.source!r})));"
        "print('submitted', flush=True); list(client.follow())"
    )
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(sys.executable, [sys.executable, "-c", script])
    output = b""
    while b"submitted" not in output:
        assert select.select([terminal], [], [], 20)[0], output
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


def test_a_screen_killed_while_it_follows_costs_nothing_and_the_next_one_sees_the_progress_within_a_second(
    box: Box,
) -> None:
    """Both screens are processes; the second one's second begins when it asks for the worker."""
    script = (
        "import time; from pathlib import Path; from microscope_tui.worker.client import Client;"
        f"begin = time.monotonic(); client = Client.connect(Path({str(box.cache)!r}), start=False);"
        "event = next(event for event in client.follow() if event.job);"
        "print(event.job.state, event.job.progress.done, time.monotonic() - begin, flush=True); list(client.follow())"
    )
    with box.client() as client:
        job = client.submit(box.request("gate"))
        box.running(client, job.id)
        for _ in range(2):
            screen = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
            state, done, seconds = screen.stdout.readline().split()
            assert (state, done) == ("running", "3")
            assert float(seconds) < 1
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
    command = [sys.executable, "-m", "microscope_tui.worker", "--cache", str(box.cache), "--runner", RUNNERS[0]]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    until(lambda: is_held(box.cache) and Record.read(box.cache), "the worker to listen")
    os.kill(process.pid, signal.SIGHUP)
    with Client.connect(box.cache, start=False) as client:
        assert client.status().pid == process.pid
        assert box.running(client, client.submit(box.request("gate")).id)
    place = Path(Record.read(box.cache).socket)
    assert stat.S_IMODE(place.lstat().st_mode) == 0o600
    assert stat.S_IMODE(place.parent.lstat().st_mode) == 0o700
    process.terminate()
    assert process.wait(10) == 0
    assert not place.exists()


def test_a_second_signal_does_not_wait_for_the_batch(box: Box) -> None:
    with box.client() as client:
        job = client.submit(box.request("deaf"))
        box.running(client, job.id)
        os.kill(box.pid, signal.SIGTERM)
        until(lambda: "got SIGTERM" in workers.log_tail(box.cache), "the first signal to be seen")
        begin = time.monotonic()
        box.kill(signal.SIGTERM)
        assert time.monotonic() - begin < 5
        assert stored(box)[0].state is JobState.QUEUED


def test_after_kill_9_the_job_waits_again_and_is_done_by_the_next_worker(box: Box) -> None:
    with box.client() as client:
        job = client.submit(box.request("gate"))
        box.running(client, job.id)
        first = box.pid
        box.kill()
        assert Path(Record.read(box.cache).socket).exists(), "the dead worker's socket is still there"
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
        assert "died 2 times" in box.job(client, job.id).error
        assert box.ended(client, client.submit(box.request("quick", "b")).id).state is JobState.DONE
    assert len(box.begun()) == 2


def test_killed_at_twenty_random_moments_a_job_ends_as_if_undisturbed(box: Box) -> None:
    chance = random.Random(3)
    with box.client() as client:
        job = client.submit(box.request("blocks"))
        for _ in range(20):
            begun = len(box.begun())
            box.kill()
            if box.job(client, job.id).state.ended:  # given up for two deaths before its first report: a new job
                job = client.retry(job.id)
            box.begins_again(begun)
            select.select([], [], [], chance.random() * 0.06)  # the moment
        assert not box.job(client, job.id).state.ended, "killed in the middle"
        ended = box.ended(client, job.id)
        assert (ended.state, ended.error) == (JobState.DONE, None)
    expected = ""
    for number in range(BLOCKS):
        expected = link(expected, number)
    with Store(box.cache) as store:
        assert json.loads(store.blob("state")) == {"next": BLOCKS, "chain": expected}
        assert (
            store.recall(job.request).to_json()
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
        assert "CUDA error" in box.ended(client, always.id).error
        assert box.begun() + box.begun("b") + box.begun("c") == [pid] * 5, "the lock was never let go"


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
        f"input(); client = Client.connect(Path({str(box.cache)!r}), runners={RUNNERS!r}); print(client.status().pid)"
    )
    starters = [
        subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(5)
    ]
    for starter in starters:
        starter.stdin.write("\n")
        starter.stdin.flush()
    pids = {starter.communicate(timeout=30)[0].strip() for starter in starters}
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
        stream = client.follow()
        client.submit(box.request("quick"))
        events = (event.job for event in stream if event.kind == "job")
        assert next(job for job in events if job.state.ended).state is JobState.DONE
        deadline = time.monotonic() + 0.6
        until(lambda: time.monotonic() > deadline, "three times the idle time")
        assert is_held(box.cache)


def test_a_socket_that_a_cleaner_removed_is_made_again(box: Box) -> None:
    with box.client() as client, contextlib.closing(workers.dial(box.cache)) as open_before:
        Path(Record.read(box.cache).socket).unlink()
        assert workers.dial(box.cache) is None
        workers.ask(open_before, protocol.AskStatus(), protocol.Status)
        assert client.status().pid == box.pid


# Sentences


def test_without_a_worker_the_remedy_is_named(box: Box) -> None:
    with pytest.raises(MicroscopeError, match=r"No worker runs .*`microscope-tui worker start`"):
        Client.connect(box.cache, start=False)
    assert not box.cache.exists()
    assert workers.status(box.cache) is None
    assert workers.stop(box.cache) is False
    assert workers.log_tail(box.cache) == ""


def test_a_cache_that_is_a_file_is_one_sentence(box: Box) -> None:
    box.cache.write_text("")
    with pytest.raises(MicroscopeError, match="not a folder"):
        box.client()


def test_the_workers_own_sentence_reaches_the_starter(box: Box) -> None:
    (box.cache / "store").mkdir(parents=True)
    (box.cache / "store" / "cache.db").write_bytes(b"not a database at all" * 100)
    with pytest.raises(MicroscopeError, match=r"database of the store .* is damaged"):
        box.client()
    assert not is_held(box.cache)


def test_a_worker_that_dies_at_its_start_shows_the_end_of_its_log(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    (box.gates / "diskcache.py").write_text("raise ImportError('diskcache is broken here')")
    monkeypatch.setenv("PYTHONPATH", str(box.gates))
    with pytest.raises(MicroscopeError, match=r"ended while it started.*diskcache is broken here") as caught:
        box.client()
    assert str(workers.log_file(box.cache)) in str(caught.value)


def test_another_version_is_refused_with_a_remedy_and_can_still_be_stopped(
    box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    box.client().close()
    monkeypatch.setattr(workers, "Hello", lambda: protocol.Hello(protocol=99, version="9.9"))
    with pytest.raises(MicroscopeError, match=r"version 9\.9 \(protocol 99\).*microscope-tui worker stop"):
        Client.connect(box.cache)
    assert is_held(box.cache)
    assert workers.stop(box.cache) is True
    assert not is_held(box.cache)


def test_a_worker_that_does_not_answer_is_named(box: Box) -> None:
    box.client().close()
    os.kill(box.pid, signal.SIGSTOP)
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(workers, "ANSWER_SECONDS", 0.2)
            with pytest.raises(MicroscopeError, match=f"process {box.pid}.*did not answer"):
                Client.connect(box.cache, timeout=0.3)
    finally:
        os.kill(box.pid, signal.SIGCONT)


# What others can see


def test_everything_in_the_cache_is_private(box: Box) -> None:
    with box.client() as client:
        box.ended(client, client.submit(box.request("quick")).id)
        status = client.status()
        assert (status.running, status.queued, status.cache) == (0, 0, str(box.cache))
        assert status.log == str(workers.log_file(box.cache))
        for path in (box.cache, *box.cache.rglob("*")):
            assert stat.S_IMODE(path.lstat().st_mode) == (0o700 if path.is_dir() else 0o600), path


def test_the_log_is_put_aside_when_it_is_large(box: Box) -> None:
    box.cache.mkdir()
    workers.log_file(box.cache).write_bytes(b"x" * 4_000_001)
    box.client().close()
    assert (box.cache / "worker.log.1").stat().st_size == 4_000_001
    until(lambda: "serves" in workers.log_tail(box.cache), "the new log")
