"""Real workers on throw-away caches; every one that a test started is ended after it."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from microscope_tui.store import Store
from microscope_tui.terms import Job, JobState, Request, SliceSpec
from microscope_tui.worker.client import Client
from microscope_tui.worker.place import Record, is_held

RUNNER = "runners:RUNNER"
DEADLINE = 120.0
"""Seconds after which what did not come is taken to come no more: many, for other work may go on on the machine."""


def until(condition: Callable[[], object], what: str, seconds: float = DEADLINE) -> object:
    """Waits for a condition; its first true value."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, f"waited {seconds} s in vain for: {what}"
        time.sleep(0.005)
    return value


@dataclass
class Box:
    """A cache folder and a folder of gates for the jobs of its worker."""

    cache: Path
    gates: Path

    def client(self, **options: object) -> Client:
        return Client.connect(self.cache, runner=RUNNER, **options)  # type: ignore[arg-type]  # passed on as they are

    def request(self, model: str, gate: str = "a") -> Request:
        folder = self.gates / gate
        folder.mkdir(exist_ok=True)
        return Request(model, SliceSpec(str(folder)))

    def begun(self, gate: str = "a") -> list[int]:
        """Process ids of the workers that began the jobs behind this gate."""
        with contextlib.suppress(FileNotFoundError):
            return [int(line) for line in (self.gates / gate / "begun").read_text().split()]
        return []

    def begins_again(self, times: int, gate: str = "a") -> None:
        until(lambda: len(self.begun(gate)) > times, "the job to be begun again")

    def open(self, gate: str = "a") -> None:
        (self.gates / gate / "go").touch()

    @property
    def pid(self) -> int:
        record = Record.read(self.cache)
        assert record is not None
        return record.pid

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Signals the worker and waits until it is gone."""
        os.kill(self.pid, number)
        until(lambda: not is_held(self.cache), "the worker to end")

    def job(self, client: Client, job_id: str) -> Job:
        return next(job for job in client.jobs() if job.id == job_id)

    def ended(self, client: Client, job_id: str) -> Job:
        until(lambda: self.job(client, job_id).state.ended, f"job {job_id} to end")
        return self.job(client, job_id)

    def running(self, client: Client, job_id: str) -> Job:
        until(lambda: self.job(client, job_id).progress.phase == "measuring", f"job {job_id} to measure")
        job = self.job(client, job_id)
        assert job.state is JobState.RUNNING
        return job


def stored(box: Box) -> list[Job]:
    """The jobs as they are on the disk."""
    with Store(box.cache, read_only=True) as store:
        return store.jobs()


@pytest.fixture
def box(monkeypatch: pytest.MonkeyPatch) -> Iterator[Box]:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    root = Path(tempfile.mkdtemp(prefix="microscope-test-"))
    box = Box(root / "cache", root / "gates")
    box.gates.mkdir()
    yield box
    record = Record.read(box.cache)  # first: a worker that ends by itself at this moment has none before it lets go
    if record is not None and is_held(box.cache):
        with contextlib.suppress(ProcessLookupError):
            os.kill(record.pid, signal.SIGKILL)
    until(lambda: not is_held(box.cache), "the worker to end")
    if record is not None:
        Path(record.socket).unlink(missing_ok=True)
    shutil.rmtree(root)
