"""Several GPUs: who does which job, and what the death of one process costs the others. The GPUs are made up."""

from __future__ import annotations

import contextlib
import os
import random
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from microscope_tui.devices import gpus
from microscope_tui.errors import Fault
from microscope_tui.store import Store
from microscope_tui.terms import JobKind, JobState
from microscope_tui.worker import client as workers
from microscope_tui.worker.client import Client
from microscope_tui.worker.place import Record, is_held
from tests.sure import sure
from tests.worker.conftest import DEADLINE, RUNNER, Box, until
from tests.worker.runners import BLOCKS, link


@pytest.mark.parametrize(
    ("present", "visible", "expected"),
    [
        (["nvidia0", "nvidia1", "nvidiactl", "nvidia-uvm", "null"], None, ("0", "1")),
        (["nvidia0", "nvidia1"], "1", ("1",)),
        (["nvidia0", "nvidia1", "nvidia2"], "2, GPU-0f3c ,-1,0", ("2", "GPU-0f3c")),
        (["nvidia0"], "", ()),
        (["nvidia0"], "7", ()),
        (["nvidia0", "nvidia1"], "1,2,0", ("1",)),
        (["null"], "0,1", ()),
        (["null"], None, ()),
    ],
)
def test_the_gpus_of_a_machine(
    present: list[str], visible: str | None, expected: tuple[str, ...], tmp_path: Path
) -> None:
    for name in present:
        (tmp_path / name).touch()
    assert gpus({} if visible is None else {"CUDA_VISIBLE_DEVICES": visible}, tmp_path) == expected


@pytest.fixture
def two(box: Box) -> Iterator[Client]:
    """A worker on a machine with two GPUs."""
    with worker_of(box, "0,one") as client:
        yield client


@contextlib.contextmanager
def worker_of(box: Box, names: str) -> Iterator[Client]:
    """A worker on a machine with GPUs of these names."""
    command = [sys.executable, "-m", "microscope_tui.worker", "--cache", str(box.cache), "--gpus", names]
    command += ["--runner", RUNNER]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    until(lambda: is_held(box.cache) and Record.read(box.cache), "the worker to listen")
    with Client.connect(box.cache, start=False) as client:
        yield client
    if process.poll() is None:
        process.kill()
    process.wait(DEADLINE)


def gpu(pid: int) -> str | None:
    """The GPUs that a process sees."""
    environment = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    return next((line.decode().partition("=")[2] for line in environment if b"CUDA_VISIBLE" in line), None)


def test_jobs_for_any_gpu_run_side_by_side_and_others_in_the_process_that_sees_all(box: Box, two: Client) -> None:
    first, second = (two.submit(box.request("gate", gate)) for gate in "ab")
    for job in (first, second):
        box.running(two, job.id)
    (one,), (other,) = box.begun("a"), box.begun("b")
    assert one == box.pid
    assert (gpu(one), gpu(other)) == (os.environ.get("CUDA_VISIBLE_DEVICES"), "one")
    named = two.submit(replace(box.request("quick", "c"), device="cuda:1"))
    anyone = two.submit(box.request("quick", "d"))
    box.open("b")
    assert box.ended(two, second.id).state is JobState.DONE
    assert box.ended(two, anyone.id).state is JobState.DONE
    assert box.begun("d") == [other], "the process stays for the next job"
    assert box.job(two, named.id).state is JobState.QUEUED
    box.open("a")
    assert box.ended(two, named.id).state is JobState.DONE
    assert box.begun("c") == [box.pid]
    with Store(box.cache, read_only=True) as store:
        assert sure(store.recall(second.request)).examples == 10
        assert store.damaged() == []
    log = workers.log_tail(box.cache, size=100_000)
    assert f" INFO job {second.id} is done\n" in log, "the log is one for all"


def test_a_look_is_done_where_its_model_is_open(box: Box, two: Client) -> None:
    first = two.submit(box.request("gate", "a"))
    box.running(two, first.id)
    second = two.submit(box.request("busy", "b"))
    box.running(two, second.id)
    looks = [two.submit(box.request(name, gate), JobKind.TOKENS, 1) for name, gate in (("busy", "c"), ("quick", "d"))]
    for look in looks:
        assert box.ended(two, look.id).state is JobState.DONE
    assert box.begun("c") == box.begun("b")
    assert {box.job(two, job.id).state for job in (first, second)} == {JobState.RUNNING}


def test_pausing_cancelling_and_failing_reach_the_other_process(box: Box, two: Client) -> None:
    first = two.submit(box.request("gate", "a"))
    box.running(two, first.id)
    paused = two.submit(box.request("gate", "b"))
    box.running(two, paused.id)
    two.pause(paused.id)
    until(lambda: box.job(two, paused.id).state is JobState.PAUSED, "the job to pause")
    fail = two.submit(box.request("fail", "c"))
    ended = box.ended(two, fail.id)
    assert (ended.error, ended.fault) == ("The model is a teapot: name another.", Fault.MODEL)
    two.resume(paused.id)
    box.running(two, paused.id)
    two.cancel(paused.id)
    assert box.ended(two, paused.id).state is JobState.CANCELLED
    assert {*box.begun("b"), *box.begun("c")} == {box.begun("b")[0]}


def test_the_death_of_one_process_costs_its_own_job_a_new_beginning(box: Box, two: Client) -> None:
    first = two.submit(box.request("gate", "a"))
    box.running(two, first.id)
    second = two.submit(box.request("gate", "b"))
    box.running(two, second.id)
    os.kill(box.begun("b")[0], signal.SIGKILL)
    box.begins_again(1, "b")
    assert box.begun("b")[1] != box.begun("b")[0]
    assert box.job(two, first.id).state is JobState.RUNNING
    die = two.submit(box.request("die", "c"))
    box.open("b")
    assert box.ended(two, second.id).state is JobState.DONE
    assert "died 2 times" in sure(box.ended(two, die.id).error)
    box.open("a")
    assert box.ended(two, first.id).state is JobState.DONE
    assert len(box.begun("a")) == 1


def test_killed_at_random_moments_another_process_loses_nothing_and_the_worker_goes_on(box: Box, two: Client) -> None:
    chance = random.Random(2)
    first = two.submit(box.request("gate", "a"))
    box.running(two, first.id)
    job_id = two.submit(box.request("blocks", "b")).id
    box.begins_again(0, "b")
    for _ in range(4):
        select.select([], [], [], chance.random() * 0.1)  # the moment
        begun = len(box.begun("b"))
        with contextlib.suppress(ProcessLookupError):
            os.kill(box.begun("b")[-1], signal.SIGKILL)
        _noticed(box, two, job_id, begun)
        if box.job(two, job_id).state.ended:  # killed twice before it had committed anything more
            job_id = two.retry(job_id).id
            box.begins_again(begun, "b")
    box.open("b")
    job = box.ended(two, job_id)
    assert job.state is JobState.DONE
    expected = ""
    for number in range(BLOCKS):
        expected = link(expected, number)
    with Store(box.cache) as store:
        assert sure(store.recall(job.request)).provenance == {"chain": expected}
        assert store.verify() == []
    assert (box.job(two, first.id).state, box.begun("a")) == (JobState.RUNNING, [box.pid])


def test_no_process_outlives_the_worker_and_no_job_is_lost(box: Box, two: Client) -> None:
    jobs = [two.submit(box.request("deaf", gate)) for gate in "ab"]
    until(lambda: box.begun("a") and box.begun("b"), "both jobs to begin")
    other = os.pidfd_open(next(pid for pid in box.begun("a") + box.begun("b") if pid != box.pid))
    box.kill()
    until(lambda: not _lives(other), "the other process to end")
    os.close(other)
    with box.client() as client:
        for gate in "ab":
            box.open(gate)
        assert [box.ended(client, job.id).state for job in jobs] == [JobState.DONE] * 2


def test_a_gpu_whose_process_cannot_be_started_is_left_out_and_the_others_go_on(box: Box) -> None:
    longest = "x" * 131_060  # it fits into an argument of a program, and with its variable not into the environment
    with worker_of(box, f"0,{longest}") as client:
        first = client.submit(box.request("gate", "a"))
        box.running(client, first.id)
        second = client.submit(box.request("quick", "b"))
        until(lambda: "is left out" in workers.log_tail(box.cache, size=1_000_000), "the GPU to be given up")
        assert box.job(client, second.id).state is JobState.QUEUED
        box.open("a")
        assert {box.ended(client, job.id).state for job in (first, second)} == {JobState.DONE}
        assert box.begun("a") == box.begun("b") == [box.pid]


def test_a_stop_waits_for_both_and_puts_both_back(box: Box, two: Client) -> None:
    for gate in "ab":
        two.submit(box.request("gate", gate))
    until(lambda: box.begun("a") and box.begun("b"), "both jobs to begin")
    two.stop()
    assert not is_held(box.cache)
    with Store(box.cache, read_only=True) as store:
        assert [job.state for job in store.jobs()] == [JobState.QUEUED] * 2


def _noticed(box: Box, client: Client, job_id: str, begun: int) -> None:
    """Waits until a job was begun once more than so often, or given up."""
    until(lambda: len(box.begun("b")) > begun or box.job(client, job_id).state.ended, "the death to be noticed")


def _lives(process: int) -> bool:
    try:
        signal.pidfd_send_signal(process, 0)
    except ProcessLookupError:
        return False
    return True
