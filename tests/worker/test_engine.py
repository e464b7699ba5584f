"""The real engine in a real worker: looks in the middle of a measurement, kills and pauses change no bit of it."""

from __future__ import annotations

import contextlib
import json
import random
import select
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from microscope_tui.inspection import TokenTable
from microscope_tui.results import Measurement
from microscope_tui.store import Store
from microscope_tui.store.keys import canonical
from microscope_tui.terms import Job, JobKind, JobState, Metric, Request, SliceSpec, Stream
from microscope_tui.worker.client import Client
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


UNDISTURBED = """
import json, pathlib, sys
from microscope_tui.engine.measure import run
from microscope_tui.store import Store
from microscope_tui.terms import Request
with Store(pathlib.Path(sys.argv[1])) as store:
    run(Request.from_json(json.loads(sys.argv[2])), store, on_progress=lambda _: None)
"""


def bits(measurement: Measurement | None) -> bytes:
    """All of a measurement that is computed, as it goes to the disk."""
    assert measurement is not None
    return canonical(measurement.to_json())


def test_looks_kills_and_pauses_do_not_change_a_bit_of_a_measurement(box: Box, tmp_path: Path) -> None:
    chance = random.Random(5)
    # In a process of its own, as the worker is: another number of threads would round otherwise.
    subprocess.run(
        [sys.executable, "-c", UNDISTURBED, str(tmp_path / "undisturbed"), json.dumps(REQUEST.to_json())], check=True
    )
    with Store(tmp_path / "undisturbed") as store:
        expected = bits(store.recall(REQUEST))
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
                looks += measuring.state is JobState.RUNNING and measuring.started < look.started
            elif disturb == "kill":
                box.kill()
            elif client.pause(job.id).state is JobState.RUNNING:
                until(lambda: state(job.id) is not JobState.RUNNING, "the job to pause", seconds)
                client.resume(job.id)
        assert (ended(job.id).state, looks > 0) == (JobState.DONE, True)
    with Store(box.cache) as store:
        assert bits(store.recall(REQUEST)) == expected
        table = TokenTable.from_json(store.recall_look(REQUEST, JobKind.TOKENS, 0))
        assert table.model == REQUEST.model
        store.gc()
        assert store.verify() == []
    with contextlib.closing(sqlite3.connect(box.cache / "store" / "cache.db")) as database:
        named = {name for (name,) in database.execute("SELECT filename FROM Cache WHERE filename IS NOT NULL")}
    assert {str(path.relative_to(box.cache / "store")) for path in (box.cache / "store").rglob("*.val")} == named
