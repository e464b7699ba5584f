"""The thread that works: takes one job after another, runs it, and writes down how it went."""

from __future__ import annotations

import contextlib
import importlib
import logging
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, Final, Protocol

from microscope_tui.errors import Cancelled, Fault, MicroscopeError, OutOfMemory, lost_device
from microscope_tui.results import Measurement
from microscope_tui.store import DiskFull, Store, StoreFull
from microscope_tui.store.keys import surroundings_key
from microscope_tui.tables import variant_of
from microscope_tui.terms import PARTIAL_SECONDS, Job, JobKind, JobState, Progress, Request
from microscope_tui.worker.jobs import same_model

FREE_SECONDS: Final = 300.0
"""A model that no job used for so long is freed."""

BESIDE: Final = "A measurement runs that needs the memory too: pause it, or ask again when it is done."

ELSEWHERE: Final = (
    "It was asked for where its names mean something else than to this worker (another hub cache, demo or device), and "
    "would not be found there: ask again from there."
)

KEEP_SECONDS: Final = 0.5
"""Progress goes to the disk so often, and when a new phase begins."""

log = logging.getLogger(__name__)


class Runner(Protocol):
    """What does the work. Raises `MicroscopeError` when a job cannot be done and `Cancelled` when told to stop.

    `should_stop` is asked between batches, in the thread that called. It may take its time: looks that somebody
    waits for are done meanwhile, so no hooks may be set and no model half opened while it is asked. `on_progress`
    raises `Cancelled` when told to stop, and does only looks that open no model. With `memory_check` a model that
    cannot fit into the free memory is refused before it is loaded.
    """

    def measure(
        self,
        request: Request,
        store: Store,
        *,
        on_progress: Callable[[Progress], None],
        on_partial: Callable[[Measurement], None],
        should_stop: Callable[[], bool],
        memory_check: bool,
    ) -> Measurement:
        """Measure, and keep the measurement with `Store.remember`; `on_partial` gets what there is of it so far."""

    def look(
        self,
        request: Request,
        store: Store,
        *,
        kind: JobKind,
        example: int | None,
        on_progress: Callable[[Progress], None],
        on_part: Callable[[], None],
        should_stop: Callable[[], bool],
        memory_check: bool,
    ) -> None:
        """Make a look and keep it with `Store.remember_look`; `on_part` tells that what there is of it is kept."""

    def free(self) -> None:
        """Let go of the model that was opened last, and of its memory."""


class Desk(Protocol):
    """Where jobs come from and what became of them goes: a `Queue`, or one in another process."""

    @property
    def stopping(self) -> bool: ...
    def take(self, timeout: float | None = None) -> Job | None: ...
    def take_look(self, job_id: str, *, opening: bool = False) -> Job | None: ...
    def should_stop(self, job_id: str) -> bool: ...
    def progress(self, job_id: str, progress: Progress, *, keep: bool) -> None: ...
    def partial(self, job_id: str) -> None: ...
    def gpu_failed(self, job_id: str) -> bool: ...
    def halted(self, job_id: str) -> Job: ...
    def end(self, job_id: str, state: JobState, error: str | None = None, fault: Fault | None = None) -> Job: ...
    def wait_for_room(self, job_id: str, error: str) -> Job: ...


def runner_of(name: str | None) -> Runner:
    """The engine, imported when the first job wants it; or what stands in for it, by its name `module:object`."""
    if name is None:
        from microscope_tui.engine.runner import Engine

        return Engine()
    module, _, stand_in = name.partition(":")
    found: Runner = getattr(importlib.import_module(module), stand_in)
    return found


def device_bytes() -> int | None:
    """Bytes of the GPUs that this process holds; None where it uses none. Imports nothing, and wakes no GPU."""
    torch: Any = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return None
    return sum(int(torch.cuda.memory_reserved(number)) for number in range(torch.cuda.device_count()))


class Reports:
    """Thins out what a runner reports of one job before it goes to the disk; nothing that came last is lost."""

    def __init__(self, queue: Desk, store: Store, job_id: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._queue, self._store, self._job_id, self._clock = queue, store, job_id, clock
        self._phase = ""
        self._kept = self._partial_kept = float("-inf")
        self._pending: Measurement | None = None

    def progress(self, progress: Progress) -> None:
        if progress.device_bytes is None:
            progress = replace(progress, device_bytes=device_bytes())
        now, phase = self._clock(), progress.phase
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
        with contextlib.suppress(StoreFull):  # a look at work under way: what it is made of is what must be kept
            self._store.put_partial(self._job_id, measurement)
            self._queue.partial(self._job_id)


class Work(threading.Thread):
    """Runs the jobs of `queue` until it stops; `ended` is called when no job will be run any more."""

    def __init__(
        self,
        queue: Desk,
        cache: Path,
        *,
        runner: str | None,
        limit_bytes: int,
        log_name: str,
        ended: Callable[[], None] = lambda: None,
    ) -> None:
        # A daemon thread: one that hangs in a kernel must not keep the process from ending.
        super().__init__(name="work", daemon=True)
        self._queue, self._cache, self._runner_name = queue, cache, runner
        self._limit, self._log_name, self._ended = limit_bytes, log_name, ended
        self._hands: list[Job] = []
        self.over = False
        """Whether no job will be run any more; true before `ended` is called, unlike the end of the thread."""
        self.device_lost = False
        """Whether the GPU failed in a way that only a new process can mend."""

    @cached_property
    def _runner(self) -> Runner:
        return runner_of(self._runner_name)

    @property
    def in_hand(self) -> tuple[str, ...]:
        """The ids of the jobs that were begun: a measurement, and the look that it makes way for."""
        return tuple(job.id for job in self._hands)

    def run(self) -> None:
        try:
            holds_model = False
            while not self._queue.stopping and not self.device_lost:
                job = self._queue.take(FREE_SECONDS if holds_model else None)
                if job is not None:
                    self._one(job)
                elif holds_model and not self._queue.stopping:
                    self._free_model()
                holds_model = job is not None
        except MicroscopeError as error:
            log.error("the worker cannot go on: %s", error)
        finally:
            self.over = True
            self._ended()

    def _one(self, job: Job) -> None:
        what = ", ".join(filter(None, (str(job.request.slice), variant_of(job.request))))
        log.info("job %s: %s of %s on %s", job.id, job.kind, job.request.model, what)
        self._hands.append(job)
        try:
            if job.surroundings not in ("", surroundings_key(job.request)):
                raise MicroscopeError(ELSEWHERE, fault=Fault.WORKER)
            with Store(self._cache, limit_bytes=self._limit, job=job.id) as store:
                if job.kind is JobKind.MEASURE:
                    self._measure(job, store)
                else:
                    self._look(job, store)
        except Cancelled as error:
            log.info("job %s is %s: %s", job.id, self._queue.halted(job.id).state, error)
        except DiskFull as error:
            self._queue.wait_for_room(job.id, f"{error} The job goes on by itself then.")
            log.error("job %s waits: %s", job.id, error)
        except MicroscopeError as error:
            beside = isinstance(error, OutOfMemory) and len(self._hands) > 1
            self._fail(job, f"{error} {BESIDE}" if beside else str(error), error.fault)
        except BaseException as error:  # whatever a library raises ends the job and not the worker
            log.exception("job %s: %s", job.id, type(error).__name__)
            text = " ".join(str(error).split())
            self.device_lost = lost_device(error)
            if self.device_lost and self._queue.gpu_failed(job.id):
                self._queue.halted(job.id)
            elif self.device_lost:
                self._fail(
                    job,
                    f"The GPU failed at this job again ({type(error).__name__}: {text}): see the log {self._log_name} "
                    f"and the system's, then `microscope-tui jobs --retry {job.id}`; what was committed is kept.",
                    Fault.WORKER,
                )
            else:
                sentence = f"internal error: {type(error).__name__}: {text}; see the log {self._log_name}"
                self._fail(job, sentence, Fault.WORKER)
        else:
            self._queue.end(job.id, JobState.DONE)
            log.info("job %s is done", job.id)
        finally:
            self._hands.pop()

    def _measure(self, job: Job, store: Store) -> None:
        reports = Reports(self._queue, store, job.id)

        def on_progress(progress: Progress) -> None:
            reports.progress(progress)
            # Also while a model is loaded, which takes minutes: there nobody asks `should_stop`.
            if self._queue.should_stop(job.id):
                raise Cancelled(f"Stopped while {progress.phase}.")
            while look := self._queue.take_look(job.id, opening=True):
                self._one(look)

        try:
            self._runner.measure(
                job.request,
                store,
                on_progress=on_progress,
                on_partial=reports.partial,
                should_stop=lambda: self._between_batches(job),
                memory_check=job.memory_check,
            )
        finally:
            reports.flush()
        store.remove_partial(job.id)

    def _look(self, job: Job, store: Store) -> None:
        self._runner.look(
            job.request,
            store,
            kind=job.kind,
            example=job.example,
            on_progress=Reports(self._queue, store, job.id).progress,
            on_part=lambda: self._queue.partial(job.id),
            should_stop=lambda: self._queue.should_stop(job.id),
            memory_check=job.memory_check,
        )

    def _between_batches(self, job: Job) -> bool:
        """Whether a measurement must stop; looks that wait are done first. No batch is counted meanwhile;
        layers of profiles that are worked on side by side go on.

        It is not ended for them: what it has summed stays where it is and every bit of it as it was, while giving
        it up and beginning again costs a model's loading and, where sums are too large to be kept, all of it.
        """
        while not self._queue.should_stop(job.id) and not self.device_lost and (look := self._queue.take_look(job.id)):
            self._one(look)
            if look.kind is not JobKind.PREVIEW and not same_model(look, job):
                self._free_model()  # two models at once are one too many for the batches that follow
        return self.device_lost or self._queue.should_stop(job.id)

    def _free_model(self) -> None:
        """Gives back the memory of the model that the last job left loaded."""
        log.info("the memory of a model that is not in use is freed")
        self._runner.free()

    def _fail(self, job: Job, sentence: str, fault: Fault | None) -> None:
        self._queue.end(job.id, JobState.FAILED, sentence, fault)
        log.error("job %s failed: %s", job.id, sentence)
