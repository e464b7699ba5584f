"""The real engine in a real worker: looks in the middle of a measurement, kills and pauses change no bit of it."""

from __future__ import annotations

import contextlib
import json
import random
import select
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from microscope_tui.inspection import TokenTable
from microscope_tui.results import Measurement
from microscope_tui.store import Store
from microscope_tui.store.keys import canonical
from microscope_tui.terms import Job, JobKind, JobState, Metric, Request, SliceSpec, Stream
from microscope_tui.worker.client import Client
from microscope_tui.worker.place import Record
from microscope_tui.worker.wire import dial
from tests.sure import sure
from tests.worker.conftest import Box, until

pytestmark = pytest.mark.timeout(900)

REQUEST = Request(
    "demo:omnifusion",
    SliceSpec("demo:scienceqa", count=48),
    metrics=(Metric.LINEARITY, Metric.ANISOTROPY),
    streams=(Stream.RESIDUAL,),
    folds=2,
    max_batch=1,
)


def bits(measurement: Measurement | None) -> bytes:
    """All of a measurement that is computed, as it goes to the disk."""
    assert measurement is not None
    return canonical(measurement.to_json())


class Forked:
    """Processes that have the engine's libraries in memory from their first moment; see `zygote`."""

    def __init__(self) -> None:
        command = [sys.executable, str(Path(__file__).with_name("zygote.py"))]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._answer() == "ready"

    def worker(self, cache: Path) -> int:
        """The process id of a new worker."""
        return self._ask(cache, None)

    def undisturbed(self, request: Request, cache: Path) -> bytes:
        """What a process of its own measures: as the worker, with the same number of threads."""
        assert self._ask(cache, request.to_json()) == 0
        with Store(cache) as store:
            return bits(store.recall(request))

    def end(self) -> None:
        self._process.communicate()

    def _ask(self, cache: Path, request: dict[str, Any] | None) -> int:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps([str(cache), request]) + "\n")
        self._process.stdin.flush()
        return int(self._answer())

    def _answer(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()


@pytest.fixture(scope="module")
def forked() -> Iterator[Forked]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")  # what is forked has no threads of its parent's; workers get the same
        forked = Forked()
        yield forked
        forked.end()


def nothing_is_left_over(cache: Path) -> None:
    """After a collection the store is whole, and every file in it is named by a row."""
    subprocess.run([sys.executable, "-m", "microscope_tui", "--cache", str(cache), "cache", "gc"], check=True)
    with Store(cache) as store:
        assert store.verify() == store.damaged() == []
        assert store.gc().files == 0
    with contextlib.closing(sqlite3.connect(cache / "store" / "cache.db")) as database:
        named = {name for (name,) in database.execute("SELECT filename FROM Cache WHERE filename IS NOT NULL")}
    assert {str(path.relative_to(cache / "store")) for path in (cache / "store").rglob("*.val")} == named


def test_looks_kills_and_pauses_do_not_change_a_bit_of_a_measurement(box: Box, forked: Forked, tmp_path: Path) -> None:
    chance = random.Random(5)
    expected = forked.undisturbed(REQUEST, tmp_path / "undisturbed")
    seconds = 240.0
    with Client.connect(box.cache) as client:

        def state(job_id: str) -> JobState:
            return box.job(client, job_id).state

        def ended(job_id: str) -> Job:
            until(lambda: state(job_id).ended, f"job {job_id} to end", seconds)
            return box.job(client, job_id)

        job = client.submit(REQUEST)

        def measures() -> bool:
            return box.job(client, job.id).progress.phase == "measuring"

        looks = 0  # in the middle of the measurement
        for example, disturb in enumerate(("look", "kill", "look", "pause")):
            until(lambda: measures() or state(job.id).ended, "the job to measure", seconds)
            select.select([], [], [], chance.random() * 0.2)  # the moment
            if state(job.id).ended:
                break
            if disturb == "look":
                look = ended(client.submit(REQUEST, JobKind.TOKENS, example).id)
                measuring = box.job(client, job.id)
                assert look.error is None
                looks += measuring.state is JobState.RUNNING and sure(measuring.started) < sure(look.started)
            elif disturb == "kill":
                box.kill()
            elif client.pause(job.id).state is JobState.RUNNING:
                until(lambda: state(job.id) is not JobState.RUNNING, "the job to pause", seconds)
                client.resume(job.id)
        assert (ended(job.id).error, ended(job.id).state, looks > 0) == (None, JobState.DONE, True)
    with Store(box.cache) as store:
        assert bits(store.recall(REQUEST)) == expected
        table = TokenTable.from_json(sure(store.recall_look(REQUEST, JobKind.TOKENS, 0)))
        assert table.model == REQUEST.model
    nothing_is_left_over(box.cache)


def committed(cache: Path) -> int:
    """Behind which example the next worker goes on: of the sums on the disk, and of the batches that follow on them."""
    with Store(cache, read_only=True) as store:
        names = [entry.key.split("-") for entry in store.entries() if entry.key.startswith("blob/")]
    reached = max((int(parts[2]) for parts in names if parts[0] == "blob/state"), default=0)
    blocks = {int(parts[2]): int(parts[3]) for parts in names if parts[0] == "blob/rows"}
    while reached in blocks:
        reached = blocks[reached]
    return reached


@dataclass
class Killed:
    """A worker with the real engine that is killed, and one job."""

    box: Box
    forked: Forked
    job_id: str = ""

    def begin(self) -> Client:
        pid = self.forked.worker(self.box.cache)

        def listens() -> bool:
            record = Record.read(self.box.cache)
            connection = dial(self.box.cache) if record is not None and record.pid == pid else None
            with contextlib.closing(connection) if connection else contextlib.nullcontext():
                return connection is not None

        until(listens, "the worker to listen")
        return Client.connect(self.box.cache, start=False)

    def reached(self, client: Client, moment: str, kept: int, files: set[Path]) -> bool:
        """Whether the job has come to this moment; it may not measure again what was committed."""
        job = self.box.job(client, self.job_id)
        measures = job.progress.phase == "measuring"
        assert job.progress.done >= kept or not measures, "measured again what was committed"
        assert not job.state.ended, "it must be killed in the middle"
        if moment == "committing":
            return not files.issuperset(values(self.box.cache))
        return job.state is JobState.RUNNING and (measures or moment == "opening")


def values(cache: Path) -> set[Path]:
    return set((cache / "store").rglob("*.val"))


def test_killed_at_twenty_random_moments_the_engine_ends_as_if_undisturbed(
    box: Box, forked: Forked, tmp_path: Path
) -> None:
    """While it opens the model, while it measures, and while the sums are on their way to the disk."""
    chance, seconds = random.Random(6), {"opening": 0.25, "measuring": 0.05, "committing": 0.01}
    request = replace(REQUEST, slice=SliceSpec("demo:scienceqa", count=140), max_batch=2)
    expected = forked.undisturbed(request, tmp_path / "undisturbed")
    killed, moments = Killed(box, forked), [chance.choice(tuple(seconds)) for _ in range(20)]
    box.cache.mkdir(mode=0o700)
    client = killed.begin()
    killed.job_id = client.submit(request).id
    for moment in moments:
        kept, files = committed(box.cache), values(box.cache)
        until(partial(killed.reached, client, moment, kept, files), f"the worker to be {moment}", 120)
        select.select([], [], [], chance.random() * seconds[moment])
        told = box.job(client, killed.job_id).progress
        box.kill()
        # All that was told to be done, in batches of two; what goes on at that moment may be committed already.
        assert committed(box.cache) >= max(kept, told.done if told.phase == "measuring" else 0)
        client = killed.begin()
        if box.job(client, killed.job_id).state is JobState.FAILED:  # given up for two deaths at one place
            killed.job_id = client.retry(killed.job_id).id
    assert 0 < committed(box.cache) < 140
    until(lambda: box.job(client, killed.job_id).state.ended, "the job to end", 120)
    assert box.job(client, killed.job_id).error is None
    with Store(box.cache) as store:
        assert bits(store.recall(request)) == expected
    client.stop()
    nothing_is_left_over(box.cache)
