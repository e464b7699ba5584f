"""The queue: which jobs there are and what happens to them, in memory for the screen and on disk for good.

Two threads use it, the one that serves the socket and the one that works; every method may be called by both.
"""

from __future__ import annotations

import contextlib
import logging
import secrets
import shutil
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from microscope_tui.errors import MicroscopeError
from microscope_tui.store import Deaths, Store, StoreFull
from microscope_tui.terms import Job, JobState, Progress, Request
from microscope_tui.worker.protocol import Event

RING: Final = 1000
"""Events kept for a screen that attaches again."""

CANCELLING: Final = "cancelling"
"""The phase of a running job that was told to stop."""

ROOM_BYTES: Final = 16_000_000
"""Work that a full disk stopped goes on when there is so much more room than there was."""

ROOM_SECONDS: Final = 2.0
"""How often one looks whether there is."""

DEATHS: Final = 2
"""A job at which so many workers in succession died at the same place is not tried again."""

EARLY_DEATHS: Final = 5
"""The same before the job reported anything: that is where a worker is killed for reasons of somebody else's."""

STARTING: Final = "starting"
"""The phase of a job that has not reported anything yet."""

log = logging.getLogger(__name__)


class Events:
    """Numbered events, the last `RING` of them kept. `wake` is called after each, from any thread."""

    def __init__(self, wake: Callable[[], None]) -> None:
        # Microseconds since the epoch: numbers go on growing when the next worker takes over.
        self._number = time.time_ns() // 1000
        self._ring: deque[Event] = deque(maxlen=RING)
        self._lock = threading.Lock()
        self._wake = wake

    @property
    def last(self) -> int:
        return self._number

    def add(self, kind: str, job: Job | None = None, text: str = "") -> None:
        with self._lock:
            self._number += 1
            self._ring.append(Event(self._number, kind, job, text))
        self._wake()

    @property
    def first(self) -> int:
        """The number of the oldest event that is still known."""
        with self._lock:
            return self._ring[0].number if self._ring else self._number + 1

    def after(self, number: int) -> list[Event]:
        """The known events numbered above `number`."""
        with self._lock:
            return [event for event in self._ring if event.number > number]


class Queue:
    """Jobs in the order they were asked for. The store has each state before a screen hears of it."""

    def __init__(self, store: Store, events: Events, log_name: str, *, blame: bool = True) -> None:
        """The queue as it lies in `store`; `blame`: a job that is found running may have killed its worker."""
        self._store = store
        self._events = events
        self._changed = threading.Condition(threading.RLock())
        self._stopping = False
        self._cancelled: set[str] = set()
        self._unsaved: set[str] = set()
        self._untold: set[str] = set()
        self._room_wanted = 0
        self._jobs: dict[str, Job] = {}
        for job in store.jobs():
            self._jobs[job.id] = job
            if job.state is JobState.RUNNING:
                self._recover(job, log_name, blame)

    @property
    def jobs(self) -> tuple[Job, ...]:
        """All jobs, the oldest first."""
        with self._changed:
            return tuple(sorted(self._jobs.values(), key=lambda job: (job.created, job.id)))

    def count(self, state: JobState) -> int:
        return sum(job.state is state for job in self.jobs)

    @property
    def busy(self) -> bool:
        return any(not job.state.ended for job in self.jobs)

    def submit(self, request: Request) -> Job:
        """A new job for `request`, or the one that is already waiting or running for the same request."""
        with self._changed:
            for job in self._jobs.values():
                if job.request == request and not job.state.ended and job.id not in self._cancelled:
                    return job
            return self._set(Job(secrets.token_hex(4), request, created=time.time()))

    def cancel(self, job_id: str) -> Job:
        """Ends a waiting job at once and a running one between two batches; an ended one stays as it is."""
        with self._changed:
            job = self._jobs.get(job_id)
            if job is None:
                raise MicroscopeError(f"There is no job {job_id}: `microscope-tui jobs` lists them.")
            if job.state is JobState.QUEUED:
                return self._set(replace(job, state=JobState.CANCELLED, ended=time.time()))
            if job.state is JobState.RUNNING:
                self._cancelled.add(job_id)
                return self._set(replace(job, progress=replace(job.progress, phase=CANCELLING)))
            return job

    @property
    def stopping(self) -> bool:
        return self._stopping

    def take(self, timeout: float | None = None) -> Job | None:
        """The next job, now running; waits for one, and is None after `timeout` or when the worker stops."""
        deadline = None if timeout is None else time.monotonic() + timeout
        with self._changed:
            while not self._stopping:
                waiting = [job for job in self.jobs if job.state is JobState.QUEUED]
                if waiting and self._has_room():
                    return self._begin(waiting[0])
                left = None if deadline is None else deadline - time.monotonic()
                if left is not None and left <= 0 and not waiting:
                    return None
                self._changed.wait(ROOM_SECONDS if waiting else left)
        return None

    def should_stop(self, job_id: str) -> bool:
        return self._stopping or job_id in self._cancelled

    def was_cancelled(self, job_id: str) -> bool:
        """Whether a user ended this job, and not the end of the worker."""
        return job_id in self._cancelled

    def progress(self, job_id: str, progress: Progress, *, keep: bool) -> None:
        """How far a running job is; screens hear it at the next `tell`, `keep` writes it to the disk."""
        with self._changed:
            job = self._jobs[job_id]
            if job.state is not JobState.RUNNING:
                return
            if job_id in self._cancelled:
                progress = replace(progress, phase=CANCELLING)
            job = self._jobs[job_id] = replace(job, progress=progress)
            self._untold.add(job_id)
            if keep:
                self._save(job)

    def tell(self) -> None:
        """Sends progress that is new since the last time to the screens."""
        with self._changed:
            for job_id in self._untold:
                self._events.add("job", self._jobs[job_id])
            self._untold.clear()

    def partial(self, job_id: str) -> None:
        """Tells the screens that a running job's partial results have grown."""
        self._events.add("partial", self._jobs[job_id])

    def end(self, job_id: str, state: JobState, error: str | None = None) -> Job:
        """Sets how a running job ended."""
        with self._changed:
            self._cancelled.discard(job_id)
            return self._set(replace(self._jobs[job_id], state=state, error=error, ended=time.time()))

    def put_back(self, job_id: str) -> Job:
        """A running job waits again, first in the queue."""
        with self._changed:
            job = replace(self._jobs[job_id], state=JobState.QUEUED, started=None)
            return self._set(replace(job, progress=replace(job.progress, phase="queued")))

    def wait_for_room(self, job_id: str, error: str) -> Job:
        """A running job waits until the disk has more room than now; `error` is the sentence that says so."""
        with self._changed:
            self._room_wanted = shutil.disk_usage(self._store.folder).free + ROOM_BYTES
            job = replace(self._jobs[job_id], state=JobState.QUEUED, started=None, error=error)
            return self._set(replace(job, progress=replace(job.progress, phase="disk full")))

    def died(self, job: Job) -> bool:
        """Counts that a worker died at this job; whether it may be tried again.

        A worker that got further than the one before starts the count anew: work that is committed stays done.
        """
        phase = job.progress.stage
        place, known = f"{phase} {job.progress.done}", self._store.deaths(job.id)
        deaths = Deaths(place, known.count + 1 if place == known.place else 1)
        with contextlib.suppress(StoreFull):  # a count that is too small costs one more try
            self._store.put_deaths(job.id, deaths)
        return deaths.count < (EARLY_DEATHS if phase == STARTING else DEATHS)

    def job(self, job_id: str) -> Job:
        return self._jobs[job_id]

    def save_again(self) -> None:
        """Writes what could not be written, for want of room."""
        with self._changed:
            for job_id in tuple(self._unsaved):
                self._save(self._jobs[job_id])

    def stop(self) -> None:
        """No job is begun any more, and the running one is asked to stop."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()

    def _recover(self, job: Job, log_name: str, blame: bool) -> None:
        """A job that is found running, though no worker lived: the one that ran it died."""
        if job.progress.phase == CANCELLING:
            self._set(replace(job, state=JobState.CANCELLED, ended=time.time()))
            return
        if not blame or self.died(job):
            log.warning("job %s was interrupted and waits again", job.id)
            self._set(replace(job, state=JobState.QUEUED, started=None, progress=replace(job.progress, phase="queued")))
            return
        times = self._store.deaths(job.id).count
        error = f"The worker died {times} times at the same place of this job: see the log {log_name}, then ask again."
        log.error("job %s failed: %s", job.id, error)
        self._set(replace(job, state=JobState.FAILED, error=error, ended=time.time()))

    def _begin(self, job: Job) -> Job:
        self._room_wanted = 0
        progress = Progress(STARTING)
        return self._set(replace(job, state=JobState.RUNNING, progress=progress, error=None, started=time.time()))

    def _has_room(self) -> bool:
        return not self._room_wanted or shutil.disk_usage(self._store.folder).free >= self._room_wanted

    def _set(self, job: Job) -> Job:
        with self._changed:
            self._save(job)
            self._jobs[job.id] = job
            self._untold.discard(job.id)
            self._changed.notify_all()
        self._events.add("job", job)
        return job

    def _save(self, job: Job) -> None:
        """Onto the disk; a known job that finds no room there is kept in mind and written when there is some."""
        try:
            self._store.put_job(job)
            self._unsaved.discard(job.id)
        except StoreFull:
            if job.id not in self._jobs:
                raise  # a new job is refused instead
            self._unsaved.add(job.id)
