"""Jobs from the outside: they run, fail, wait, pause, make way for looks, and wait for room on the disk."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from microscope_tui.errors import Fault, MicroscopeError
from microscope_tui.store import Store
from microscope_tui.terms import JobKind, JobState
from microscope_tui.worker import client as workers
from tests.sure import sure
from tests.worker.conftest import RUNNER, Box, stored, until


def test_a_job_runs_and_its_result_is_in_the_store(box: Box) -> None:
    with box.client() as client:
        request = box.request("quick")
        job = client.submit(request)
        ended = box.ended(client, job.id)
        assert (ended.state, ended.error) == (JobState.DONE, None)
        assert (ended.progress.done, ended.progress.total) == (10, 10)
        assert ended.created <= sure(ended.started) <= sure(ended.ended)
    with Store(box.cache, read_only=True) as store:
        assert sure(store.recall(request)).examples == 10
        assert store.partial(job.id) is None, "superseded by the result"
        assert [each.state for each in store.jobs()] == [JobState.DONE]


@pytest.mark.parametrize("check", [True, False])
def test_memory_is_looked_at_as_who_asks_says_whatever_the_settings_of_the_worker_are(
    box: Box, monkeypatch: pytest.MonkeyPatch, check: bool
) -> None:
    monkeypatch.setenv("MICROSCOPE_MEMORY_CHECK", str(int(not check)))
    with box.client(memory_check=check) as client:
        request = box.request("memory")
        box.ended(client, client.submit(request).id)
    with Store(box.cache) as store:
        assert sure(store.recall(request)).provenance["memory_check"] == str(check)


def test_a_failing_job_says_why_in_one_sentence_and_keeps_what_it_had(box: Box) -> None:
    with box.client() as client:
        fail, bug = client.submit(box.request("fail")), client.submit(box.request("bug", "b"))
        ended = box.ended(client, fail.id)
        assert (ended.error, ended.fault) == ("The model is a teapot: name another.", Fault.MODEL)
        ended = box.ended(client, bug.id)
        assert (ended.state, ended.fault) == (JobState.FAILED, Fault.WORKER)
        assert ended.error == f"internal error: TypeError: a defect of ours; see the log {workers.log_file(box.cache)}"
        assert "Traceback" in workers.log_file(box.cache).read_text()
        assert box.ended(client, client.submit(box.request("quick", "c")).id).state is JobState.DONE
    with Store(box.cache, read_only=True) as store:
        assert sure(store.partial(fail.id)).examples == 3


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
        assert sure(box.ended(client, other.id).started) >= sure(box.job(client, job.id).ended)
        assert client.submit(request).id != job.id


def test_cancelling_a_waiting_a_running_an_ended_and_an_unknown_job(box: Box) -> None:
    with box.client() as client:
        running, waiting = client.submit(box.request("gate")), client.submit(box.request("quick", "b"))
        box.running(client, running.id)
        assert client.cancel(waiting.id).state is JobState.CANCELLED
        assert client.cancel(running.id).becoming is JobState.CANCELLED
        assert box.ended(client, running.id).state is JobState.CANCELLED
        assert client.cancel(running.id).state is JobState.CANCELLED
        assert box.begun("b") == []
        with pytest.raises(MicroscopeError, match="no job 123"):
            client.cancel("123")


def test_a_job_that_loads_a_model_is_paused_and_cancelled_without_waiting_for_it(box: Box) -> None:
    with box.client() as client:
        job = client.submit(box.request("loads"))
        until(lambda: box.job(client, job.id).progress.phase.startswith("loading"), "the job to load")
        client.pause(job.id)
        until(lambda: box.job(client, job.id).state is JobState.PAUSED, "the job to pause")
        client.resume(job.id)
        until(lambda: box.job(client, job.id).progress.phase.startswith("loading"), "the job to load again")
        client.cancel(job.id)
        assert box.ended(client, job.id).state is JobState.CANCELLED


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
        assert sure(box.ended(client, large.id).error).startswith(
            "It does not fit. A measurement runs that needs the memory"
        )
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
        assert sure(store.recall(request)).examples == 10


def test_examples_are_shown_while_a_model_is_loaded_and_what_needs_a_model_waits(box: Box) -> None:
    with box.client() as client:
        job = client.submit(box.request("loads"))
        until(lambda: box.job(client, job.id).progress.phase.startswith("loading"), "the job to load")
        tokens = client.submit(box.request("quick", "b"), JobKind.TOKENS, 3)
        for example in (None, 12):
            preview = client.submit(box.request("quick", "c"), JobKind.PREVIEW, example)
            assert box.ended(client, preview.id).state is JobState.DONE
        assert box.job(client, tokens.id).state is JobState.QUEUED
        assert box.job(client, job.id).progress.phase.startswith("loading")
        box.open()
        assert box.ended(client, job.id).state is JobState.DONE
        assert box.ended(client, tokens.id).state is JobState.DONE
    assert len(box.begun()) == 1


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
        assert client.pause(job.id).becoming is JobState.PAUSED
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
        started = [sure(each.started) for each in ended]
        assert started == sorted(started)


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
        from microscope_tui.settings import Settings
        from microscope_tui.tui.data.live import WorkerSource
        from tests.worker.conftest import until
        cache = Path({str(box.cache)!r})
        with Client.connect(cache, runner={RUNNER!r}) as client:
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
            (shown,) = WorkerSource(Settings(cache=cache)).jobs()
            print(shown.state, shown.error)
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
    answer = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=240)
    assert answer.returncode == 0, answer.stderr
    first, shown, second = answer.stdout.splitlines()
    assert shown == first
    assert first.startswith("queued The disk that holds")
    assert first.endswith("The job goes on by itself then.")
    assert second == "done None"
