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
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from microscope_tui.errors import Fault, MicroscopeError
from microscope_tui.store import Deaths, Store, StoreFull
from microscope_tui.store.keys import surroundings_key
from microscope_tui.store.order import in_order
from microscope_tui.terms import Job, JobKind, JobState, Progress, Request
from microscope_tui.worker.events import Events

ROOM_BYTES: Final = 16_000_000
"""Work that a full disk stopped goes on when there is so much more room than there was."""

ROOM_SECONDS: Final = 2.0
"""How often one looks whether there is."""

DEATHS: Final = 2
"""A job at which so many workers in succession died at the same place is not tried again."""

EARLY_DEATHS: Final = 5
"""The same before the job reported anything: that is where a worker is killed for reasons of somebody else's."""

FURTHER: Final = 0.1
"""A job at which a GPU failed is tried once more, and again only when this share of its examples was done since the
failure before: so a GPU that always fails is soon found out, and one that seldom does holds up no long job."""

STARTING: Final = "starting"
"""The phase of a job that has not reported anything yet."""

log = logging.getLogger(__name__)


class Queue:
    """Jobs in the order in which they are run. The store has each state before a screen hears of it.

    Looks (tokens, preview, …) are short, and somebody waits for them: they go before measurements, the latest first.
    """

    def __init__(self, store: Store, events: Events, log_name: str, *, blame: bool = True) -> None:
        """The queue as it lies in `store`; `blame`: a job that is found running may have killed its worker."""
        self._store, self._events, self._log_name = store, events, log_name
        self._changed = threading.Condition(threading.RLock())
        self._stopping = False
        self._awaited: dict[str, set[str]] = {}
        """Who waits for each job that this process was asked for."""
        self._unsaved: set[str] = set()
        self._untold: set[str] = set()
        self._room_wanted = 0
        self._order = store.order()
        self._jobs = {job.id: job for job in store.jobs()}
        self.recover([job.id for job in self._jobs.values() if job.state is JobState.RUNNING], blame=blame)

    @property
    def jobs(self) -> tuple[Job, ...]:
        """All jobs: those that have ended, the running ones, and the waiting ones as they will be run."""
        with self._changed:
            return tuple(in_order(self._jobs.values(), self._order))

    def count(self, state: JobState) -> int:
        return sum(job.state is state for job in self.jobs)

    @property
    def busy(self) -> bool:
        """Whether there is or will be work without anybody's doing: a paused job waits for somebody."""
        return any(job.state in (JobState.QUEUED, JobState.RUNNING) for job in self.jobs)

    def submit(
        self,
        request: Request,
        kind: JobKind = JobKind.MEASURE,
        example: int | None = None,
        who: str = "",
        *,
        memory_check: bool = True,
    ) -> Job:
        """A new job, or the one for the same that has not ended, for which `who` waits now. Raises
        `MicroscopeError`."""
        if kind is JobKind.TOKENS and (example is None or example < 0):
            raise MicroscopeError("The tokens of which example are wanted? Name one by its number in the slice.")
        asked = (request, kind, example, surroundings_key(request))
        with self._changed:
            for job in self._jobs.values():
                same = (job.request, job.kind, job.example, job.surroundings) == asked
                if same and not job.state.ended and job.becoming is not JobState.CANCELLED:
                    if job.id in self._awaited:  # by nobody that is known, it is nobody's to cancel by leaving
                        self._awaited[job.id].add(who)
                    if job.state.waits and job.memory_check != memory_check:
                        return self._set(replace(job, memory_check=memory_check))
                    return job
            # Behind those that wait, also when the clock was put back.
            created = max([time.time(), *(job.created + 1e-3 for job in self._jobs.values() if not job.state.ended)])
            new = Job(secrets.token_hex(4), request, created=created, kind=kind, example=example)
            new = self._set(replace(new, memory_check=memory_check, surroundings=asked[-1]))
            self._awaited[new.id] = {who}  # only now: a full disk may have refused it
            return new

    def cancel(self, job_id: str) -> Job:
        """Ends a waiting job at once and a running one between two batches; an ended one stays as it is."""
        return self._tell_to(JobState.CANCELLED, job_id)

    def leave(self, job_id: str, who: str) -> Job:
        """`who` does not wait for a job any more: it ends as by `cancel` when that was the last who did."""
        with self._changed:
            waiting = self._awaited.get(job_id)
            if waiting is None or who not in waiting:
                return self.job(job_id)
            waiting.discard(who)
            return self.job(job_id) if waiting else self.cancel(job_id)

    def pause(self, job_id: str) -> Job:
        """Sets a waiting job aside at once and a running one between two batches; an ended one stays as it is."""
        return self._tell_to(JobState.PAUSED, job_id)

    def resume(self, job_id: str) -> Job:
        """A paused job waits again, in its place; any other one stays as it is."""
        with self._changed:
            job = self.job(job_id)
            if job.state is JobState.PAUSED:
                return self.put_back(job_id)
            if job.becoming is JobState.PAUSED:  # where it has stopped already, `halted` lets it wait
                return self._set(replace(job, becoming=None))
            return job

    def move(self, job_id: str, place: int) -> Job:
        """Puts a waiting or paused job at `place` among those, 0 for the next. Raises `MicroscopeError`."""
        with self._changed:
            job = self.job(job_id)
            if not job.state.waits:
                raise MicroscopeError(f"The job {job_id} is {job.state}: only one that waits can be moved.")
            order = [each.id for each in self.jobs if not each.state.ended and each.id != job_id]
            running = self.count(JobState.RUNNING)
            order.insert(running + max(place, 0), job_id)
            self._store.put_order(order)
            self._order = order
            # Every job behind the place has another one now: screens hear of all of them.
            for each in self.jobs:
                if each.state.waits:
                    self._events.add("job", each)
            return job

    def _tell_to(self, state: JobState, job_id: str) -> Job:
        with self._changed:
            job = self.job(job_id)
            if job.state.waits:
                return self._become(job, state)
            if job.state is JobState.RUNNING and job.becoming is not JobState.CANCELLED:
                return self._set(replace(job, becoming=state))
            return job

    @property
    def stopping(self) -> bool:
        return self._stopping

    def take(self, timeout: float | None = None, *, spare: bool = False) -> Job | None:
        """The next job, now running; waits for one, and is None after `timeout` or when the worker stops.

        `spare`: for a GPU beside the first one, which gets the measurements that may run on any.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        with self._changed:
            while not self._stopping:
                waiting = [job for job in self._waiting() if not spare or _runs_anywhere(job)]
                if waiting and self._has_room():
                    return self._begin(waiting[0])
                left = None if deadline is None else deadline - time.monotonic()
                if left is not None and left <= 0 and not waiting:
                    return None
                self._changed.wait(ROOM_SECONDS if waiting else left)
        return None

    def wait_for_spare(self) -> bool:
        """Waits until there is more than the worker's own process can take; False when the worker stops."""
        with self._changed:
            while not self._stopping:
                if self.count(JobState.RUNNING) and any(_runs_anywhere(job) for job in self._waiting()):
                    return True
                self._changed.wait()
        return False

    def take_look(self, job_id: str, *, opening: bool = False) -> Job | None:
        """The next look that the measurement `job_id` shall make way for, now running; None when there is none.

        A look at a model that another measurement has open is left to that one. While the measurement is `opening` a
        model itself, looks are done that need none.
        """
        with self._changed:
            if self._stopping or not self._has_room():
                return None
            mine = self.job(job_id)
            others = [job for job in self.jobs if job.state is JobState.RUNNING and job.id != job_id]
            for look in self._waiting():
                if look.kind is JobKind.MEASURE:
                    break
                if opening and look.kind is not JobKind.PREVIEW:
                    continue
                if same_model(look, mine) or not any(same_model(look, other) for other in others):
                    return self._begin(look)
            return None

    def should_stop(self, job_id: str) -> bool:
        return self._stopping or self._jobs[job_id].becoming is not None

    def halted(self, job_id: str) -> Job:
        """Sets what becomes of a running job that has stopped, or will with its process: what it was told to, else it
        waits, also where it was told to go on while it was stopping."""
        with self._changed:
            job = self._jobs[job_id]
            return self._become(job, job.becoming) if job.becoming else self.put_back(job_id)

    def progress(self, job_id: str, progress: Progress, *, keep: bool) -> None:
        """How far a running job is; screens hear it at the next `tell`, `keep` writes it to the disk."""
        with self._changed:
            job = self._jobs[job_id]
            if job.state is not JobState.RUNNING:
                return
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

    def end(self, job_id: str, state: JobState, error: str | None = None, fault: Fault | None = None) -> Job:
        """Sets how a running job ended."""
        with self._changed:
            job = replace(self._jobs[job_id], state=state, becoming=None, ended=time.time())
            if state is JobState.DONE:  # work tells what is done before each step, and one that was read takes none
                job = replace(job, progress=replace(job.progress, done=job.progress.total, percent=None))
            return self._set(replace(job, error=error, fault=fault))

    def put_back(self, job_id: str) -> Job:
        """A running or paused job waits again, in its place in the queue."""
        with self._changed:
            job = replace(self._jobs[job_id], state=JobState.QUEUED, started=None)
            return self._set(replace(job, progress=replace(job.progress, phase="queued", percent=None)))

    def wait_for_room(self, job_id: str, error: str) -> Job:
        """A running job waits until the disk has more room than now; `error` is the sentence that says so."""
        with self._changed:
            if self._jobs[job_id].becoming:
                return self.halted(job_id)
            self._room_wanted = shutil.disk_usage(self._store.folder).free + ROOM_BYTES
            job = replace(self._jobs[job_id], state=JobState.QUEUED, started=None, error=error, fault=Fault.CACHE)
            return self._set(replace(job, progress=replace(job.progress, phase="disk full", percent=None)))

    def died(self, job_id: str) -> bool:
        """Counts that a process died at this job; whether it may be tried again.

        One that got further than the one before starts the count anew: work that is committed stays done.
        """
        job = self.job(job_id)
        phase = job.progress.phase
        place, known = f"{phase} {job.progress.done}", self._store.deaths(job.id)
        deaths = replace(known, place=place, count=known.count + 1 if place == known.place else 1)
        self._note(job_id, deaths)
        return deaths.count < (EARLY_DEATHS if phase == STARTING else DEATHS)

    def gpu_failed(self, job_id: str) -> bool:
        """Notes that a GPU failed at this job; whether it may be tried again: see `FURTHER`."""
        progress, known = self.job(job_id).progress, self._store.deaths(job_id)
        self._note(job_id, replace(known, gpu_failed=progress.done))
        return known.gpu_failed is None or progress.done - known.gpu_failed >= max(1, FURTHER * progress.total)

    def _note(self, job_id: str, deaths: Deaths) -> None:
        with contextlib.suppress(StoreFull):  # a count that is too small costs one more try
            self._store.put_deaths(job_id, deaths)

    def recover(self, job_ids: Sequence[str], *, blame: bool = True) -> None:
        """Sets what becomes of running jobs whose process is gone; `blame`: one of them may have killed it."""
        with self._changed:
            jobs = [self.job(job_id) for job_id in job_ids]
            # A measurement that has made way for a look did not kill the process.
            suspects = [job for job in jobs if job.kind is not JobKind.MEASURE] or jobs
            for job in jobs:
                if job.becoming:
                    self._become(job, job.becoming)
                elif not blame or job not in suspects or self.died(job.id):
                    log.warning("job %s was interrupted and waits again", job.id)
                    self.put_back(job.id)
                else:
                    times = self._store.deaths(job.id).count
                    error = f"The worker died {times} times at the same place of this job: see the log {self._log_name}"
                    log.error("job %s failed: %s", job.id, error)
                    self.end(job.id, JobState.FAILED, f"{error}, then ask again.", Fault.WORKER)

    def job(self, job_id: str) -> Job:
        """A job as it stands; `MicroscopeError` when there is none of this id."""
        job = self._jobs.get(job_id)
        if job is None:
            raise MicroscopeError(f"There is no job {job_id}: `microscope-tui jobs` lists them.")
        return job

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

    def _waiting(self) -> list[Job]:
        return [job for job in self.jobs if job.state is JobState.QUEUED]

    def _become(self, job: Job, state: JobState) -> Job:
        """Cancels or pauses a job that does not run, or no longer. One that waits for room holds up no other then."""
        job = replace(job, becoming=None)
        if job.error:
            self._room_wanted = 0
            job = replace(job, error=None, fault=None)
        if state.ended:
            return self._set(replace(job, state=state, ended=time.time()))
        return self._set(
            replace(job, state=state, started=None, progress=replace(job.progress, phase=state, percent=None))
        )

    def _begin(self, job: Job) -> Job:
        self._room_wanted = 0
        progress = Progress(STARTING)
        return self._set(
            replace(job, state=JobState.RUNNING, progress=progress, error=None, fault=None, started=time.time())
        )

    def _has_room(self) -> bool:
        return not self._room_wanted or shutil.disk_usage(self._store.folder).free >= self._room_wanted

    def _set(self, job: Job) -> Job:
        with self._changed:
            self._save(job)
            self._jobs[job.id] = job
            self._untold.discard(job.id)
            if job.state.ended:
                self._awaited.pop(job.id, None)
            self._changed.notify_all()
        self._events.add("job", job)
        return job

    def _save(self, job: Job) -> None:
        """Onto the disk; a known job that finds no room there is kept in mind and written when there is some."""
        try:
            for gone in self._store.put_job(job):
                self._jobs.pop(gone, None)
            self._unsaved.discard(job.id)
        except StoreFull:
            if job.id not in self._jobs:
                raise  # a new job is refused instead
            self._unsaved.add(job.id)


def same_model(one: Job, other: Job) -> bool:
    """Whether both want the same open model."""
    names = ("model", "dtype", "device", "attention", "one_tile")
    return all(getattr(one.request, name) == getattr(other.request, name) for name in names)


def _runs_anywhere(job: Job) -> bool:
    """Whether any GPU may do it. A look is not worth opening a model once more: a measurement makes way for it."""
    return job.kind is JobKind.MEASURE and job.request.device == "auto"
