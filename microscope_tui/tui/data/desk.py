"""What the explorer knows of each request: its result so far, its job, and what went wrong.

The desk is plain data changed on the screen's own thread. Everything is filed under the request it
belongs to, so a result that comes after the user moved on is kept for later and never shown wrongly.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from microscope_tui.errors import Fault
from microscope_tui.results import Measurement
from microscope_tui.terms import Job, JobKind, JobState, Request
from microscope_tui.tui.data.variants import same_but_for_variant
from microscope_tui.tui.keys import key_of


@dataclass(frozen=True)
class Known:
    """What is known of one request. `error` is a sentence to show, `fault` what that is about."""

    measurement: Measurement | None = None
    job: Job | None = None
    error: str | None = None
    fault: Fault | None = None

    @property
    def complete(self) -> bool:
        return self.measurement is not None and self.measurement.complete

    @property
    def waiting(self) -> bool:
        """Whether a job is queued or running for it."""
        return self.job is not None and not self.job.state.ended and not self.complete

    @property
    def paused(self) -> Job | None:
        """The job that was set aside half-way: nothing comes of it until it is told to go on."""
        return self.job if self.waiting and self.job and self.job.state is JobState.PAUSED else None


@dataclass
class Desk:
    """All that is known, by request, and the jobs of the worker in the order they were asked for."""

    known: dict[Request, Known] = field(default_factory=dict)
    jobs: dict[str, Job] = field(default_factory=dict)
    worker: str | None = None
    """A sentence when the worker is gone, else None."""
    cut_off: dict[Request, Job] = field(default_factory=dict)
    """The jobs that were awaited when it went."""
    read_only: bool = False
    """Whether there is no worker, and will be none."""

    def of(self, request: Request) -> Known:
        return self.known.get(request, Known())

    def holds(self, request: Request) -> bool:
        """Whether the request was asked for already."""
        return request in self.known

    def stand_ins(self, request: Request) -> Iterator[Request]:
        """What is measured that differs from a request in its variant alone, in the order in which it was asked for."""
        for other, known in self.known.items():
            if known.measurement and same_but_for_variant(other, request):
                yield other

    def forget(self, request: Request) -> None:
        """Ask for it anew: what was measured stays on the screen meanwhile, an error does not."""
        self.known[request] = Known(measurement=self.of(request).measurement)
        self.cut_off.pop(request, None)

    def drop(self, request: Request) -> None:
        """It was not asked for after all."""
        self.known.pop(request, None)

    def measured(self, request: Request, measurement: Measurement) -> None:
        """File a result; a partial one never replaces the complete one."""
        known = self.of(request)
        if known.complete and not measurement.complete:
            return
        self.known[request] = replace(known, measurement=measurement, error=None, fault=None)

    def failed(self, request: Request, sentence: str, fault: Fault | None = None) -> None:
        self.known[request] = replace(self.of(request), error=sentence, fault=fault, job=None)

    def job(self, job: Job) -> None:
        """File the state of a job, and what it means for its request."""
        if not ((listed := self.jobs.get(job.id)) and job.is_older(listed)):
            self.jobs[job.id] = job
        if job.kind is not JobKind.MEASURE:
            return
        known = self.known.get(job.request)
        if known is None or (known.job is not None and job.is_older(known.job)):
            return
        error, fault = known.error, known.fault
        if job.state is JobState.FAILED:
            error = job.error or f"The worker gave no reason: see the log ({key_of('jobs')})."
            fault = job.fault
        elif not job.state.ended:
            error, fault = None, None
        self.known[job.request] = replace(known, job=job, error=error, fault=fault)

    def list_jobs(self, jobs: Iterable[Job]) -> None:
        """Take the list of jobs as the store has it."""
        self.jobs = {job.id: job for job in jobs}

    def worker_gone(self, sentence: str) -> None:
        """The worker ended: what waited for it will not come."""
        self.worker = sentence
        for request, known in self.known.items():
            if known.waiting and not known.paused:
                self.known[request] = replace(known, error=sentence, fault=Fault.WORKER, job=None)
                if known.job:
                    self.cut_off[request] = known.job

    def worker_back(self) -> None:
        """A worker is there, which goes on with what the last one has left: that is awaited again."""
        for request, job in self.cut_off.items():
            known = self.known.get(request)
            if known and known.job is None:
                self.known[request] = replace(known, error=None, fault=None, job=job)
        self.worker = None
        self.cut_off.clear()

    def running(self) -> Job | None:
        return next((job for job in self.jobs.values() if job.state is JobState.RUNNING), None)

    def queued(self) -> Sequence[Job]:
        """The jobs that wait, as they will be run."""
        return [job for job in self.jobs.values() if job.state is JobState.QUEUED]

    def ahead(self, job: Job) -> int:
        """How many jobs will be done before this one."""
        waiting = [other.id for other in self.queued()]
        before = waiting.index(job.id) if job.id in waiting else len(waiting)
        return before + (1 if self.running() else 0)
