"""The thread that works: takes one job after another, runs it, and writes down how it went."""

from __future__ import annotations

import importlib
import logging
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, Protocol, cast

from microscope_tui.errors import Cancelled, MicroscopeError, lost_device
from microscope_tui.store import DiskFull, Store
from microscope_tui.terms import Job, JobState, Measurement, Progress, Request
from microscope_tui.worker.jobs import Queue

RUNNER: Final = "microscope_tui.engine.measure:run"

FREE_SECONDS: Final = 300.0
"""A model that no job used for so long is freed."""

FREE: Final = "free_models"
"""Name of the function beside the runner that frees them; a module without one keeps nothing."""

KEEP_SECONDS: Final = 0.5
"""Progress goes to the disk so often, and when a new phase begins."""

PARTIAL_SECONDS: Final = 2.0
"""Partial results go to the disk, and are announced, at most so often."""

log = logging.getLogger(__name__)


class Runner(Protocol):
    """What does the work. Raises `MicroscopeError` when the job cannot be done and `Cancelled` when told to stop."""

    def __call__(
        self,
        request: Request,
        store: Store,
        *,
        on_progress: Callable[[Progress], None],
        on_partial: Callable[[Measurement], None],
        should_stop: Callable[[], bool],
    ) -> Measurement: ...


def load_runner(name: str) -> Runner:
    """The function named `module:function`."""
    module, _, function = name.partition(":")
    return cast(Runner, getattr(importlib.import_module(module), function))


class Reports:
    """Thins out what a runner reports of one job before it goes to the disk; nothing that came last is lost."""

    def __init__(self, queue: Queue, store: Store, job_id: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._queue, self._store, self._job_id, self._clock = queue, store, job_id, clock
        self._phase = ""
        self._kept = self._partial_kept = float("-inf")
        self._pending: Measurement | None = None

    def progress(self, progress: Progress) -> None:
        now, phase = self._clock(), progress.stage
        keep = phase != self._phase or now - self._kept >= KEEP_SECONDS
        self._phase = phase
        self._kept = now if keep else self._kept
        self._queue.progress(self._job_id, progress, keep=keep)
        if now - self._partial_kept >= PARTIAL_SECONDS:
            self.flush()

    def partial(self, measurement: Measurement) -> None:
        self._pending = measurement
        if self._clock() - self._partial_kept >= PARTIAL_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Writes the partial result that still waits."""
        if self._pending is None:
            return
        measurement, self._pending = self._pending, None
        self._partial_kept = self._clock()
        self._store.put_partial(self._job_id, measurement)
        self._queue.partial(self._job_id)


class Work(threading.Thread):
    """Runs the jobs of `queue` until it stops; `ended` is called when no job will be run any more."""

    def __init__(
        self,
        queue: Queue,
        cache: Path,
        *,
        runner: str,
        limit_bytes: int,
        log_name: str,
        before_job: Callable[[], None],
        ended: Callable[[], None],
    ) -> None:
        # A daemon thread: one that hangs in a kernel must not keep the process from ending.
        super().__init__(name="work", daemon=True)
        self._queue, self._cache, self._runner_name, self._limit = queue, cache, runner, limit_bytes
        self._log_name, self._before_job, self._ended = log_name, before_job, ended
        self._current: str | None = None
        self.over = False
        """Whether no job will be run any more; true before `ended` is called, unlike the end of the thread."""
        self.device_lost = False
        """Whether the GPU failed in a way that only a new process can mend."""

    @property
    def current(self) -> str | None:
        """The id of the job in hand."""
        return self._current

    def run(self) -> None:
        try:
            holds_model = False
            while not self._queue.stopping and not self.device_lost:
                job = self._queue.take(FREE_SECONDS if holds_model else None)
                if job is not None:
                    self._current = job.id
                    self._before_job()
                    self._one(job)
                    self._current = None
                elif holds_model:
                    self._free_model()
                holds_model = job is not None
        except MicroscopeError as error:
            log.error("the worker cannot go on: %s", error)
        finally:
            self.over = True
            self._ended()

    def _one(self, job: Job) -> None:
        log.info("job %s: %s on %s", job.id, job.request.model, job.request.slice)
        try:
            with Store(self._cache, limit_bytes=self._limit, job=job.id) as store:
                reports = Reports(self._queue, store, job.id)
                try:
                    load_runner(self._runner_name)(
                        job.request,
                        store,
                        on_progress=reports.progress,
                        on_partial=reports.partial,
                        should_stop=lambda: self._queue.should_stop(job.id),
                    )
                finally:
                    reports.flush()
                if store.recall(job.request) is not None:
                    store.remove_partial(job.id)
        except Cancelled as error:
            if self._queue.should_stop(job.id) and not self._queue.was_cancelled(job.id):
                self._queue.put_back(job.id)
                log.info("job %s waits for the next worker", job.id)
            else:
                self._queue.end(job.id, JobState.CANCELLED)
                log.info("job %s was cancelled: %s", job.id, error)
        except DiskFull as error:
            self._queue.wait_for_room(job.id, f"{error} The job goes on by itself then.")
            log.error("job %s waits: %s", job.id, error)
        except MicroscopeError as error:
            self._fail(job, str(error))
        except BaseException as error:  # whatever a library raises ends the job and not the worker
            log.exception("job %s", job.id)
            text = " ".join(str(error).split())
            self.device_lost = lost_device(error)
            if self.device_lost and self._queue.died(self._queue.job(job.id)):
                self._queue.put_back(job.id)
            else:
                self._fail(job, f"internal error: {type(error).__name__}: {text}; see the log {self._log_name}")
        else:
            self._queue.end(job.id, JobState.DONE)
            log.info("job %s is done", job.id)

    def _free_model(self) -> None:
        """Gives back the memory of the model that the last job left loaded, if the runner knows how to."""
        module = sys.modules.get(self._runner_name.partition(":")[0])
        free = getattr(module, FREE, None)
        if free is not None:
            log.info("nobody used the model for %.0f s: its memory is freed", FREE_SECONDS)
            free()

    def _fail(self, job: Job, sentence: str) -> None:
        self._queue.end(job.id, JobState.FAILED, sentence)
        log.error("job %s failed: %s", job.id, sentence)
