"""Who asks the source and files the answers on the desk: nothing here blocks, nothing here draws."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Protocol, TypeVar

from textual.message_pump import MessagePump
from textual.timer import Timer

from microscope_tui.errors import Fault, MicroscopeError
from microscope_tui.results import Measurement
from microscope_tui.terms import Job, JobKind, JobState, Request
from microscope_tui.tui.data.desk import Desk
from microscope_tui.tui.data.inbox import INTERVAL, Inbox, Post, Rounds
from microscope_tui.tui.data.source import Source
from microscope_tui.tui.data.variants import near
from microscope_tui.tui.errands import errand
from microscope_tui.tui.keys import key_of

T = TypeVar("T")

SETTLE = 0.7
"""Seconds after the last change of which rows count before they are measured: what is only passed by is not."""

TOGETHER = 0.05
"""Seconds that an answer waits for those to what was asked with it, so that all of them are shown at once."""


class Changed(Protocol):
    """Called when the desk holds something new; with the news, when it was news."""

    def __call__(self, post: Post | None = None) -> None: ...


class Clerk:
    """Works for one screen, `pump`: answers come back as its messages, so the desk changes on its thread only."""

    def __init__(self, source: Source, desk: Desk, pump: MessagePump, changed: Changed) -> None:
        self.inbox = Inbox(source, pump)
        self._source, self._desk, self._pump, self._changed = source, desk, pump, changed
        self._delivered = 0.0
        self._due = False
        self._rounds = Rounds(source, pump, self._awaiting, self._listed)
        self._wanted: tuple[Request, ...] = ()
        self._missing: list[Request] = []
        """What is to be measured when the requests have settled."""
        self._settling: Timer | None = None
        self._own: dict[str, Request] = {}
        """The jobs that there are because this screen asked for them."""

    def ask(
        self, requests: Sequence[Request], then: Callable[[], object] = lambda: None, *, settle: bool = False
    ) -> None:
        """These are what is looked at now: ask for each that was not asked for yet; `then` is called when the store
        has said what it has of them.

        What this screen has asked for and does not look at any more is withdrawn if its job has not begun. `settle`:
        the next change may come at once, so that nothing is measured for a moment.
        """
        self._want(requests)
        if self._settling:
            self._settling.stop()
            self._settling = self._pump.set_timer(SETTLE, self._settled)
        self._ask([request for request in requests if not self._desk.holds(request)], then, settle=settle)

    def ask_again(self, requests: Sequence[Request]) -> None:
        """Ask for every request that nothing is under way for, and let paused jobs go on; what is measured already is
        only read."""
        self._desk.worker = None
        self._want(requests)
        for request in requests:
            if paused := self._desk.of(request).paused:
                self._resume(paused)
        self._ask([request for request in requests if not self._desk.of(request).waiting])

    def worker_asked(self) -> None:
        """The worker was asked for something: it is there again if it was not."""
        self._desk.worker_back()
        self.inbox.follow()
        self._rounds.begin()

    def arrived(self) -> None:
        """There is news: file it now, or when a quarter of a second has passed since the last time."""
        wait = self._delivered + INTERVAL - time.monotonic()
        if wait <= 0:
            self._deliver()
        elif not self._due:
            self._due = True
            self._pump.set_timer(wait, self._deliver)

    def left(self) -> Job | None:
        """A job that has begun because this screen asked for it, and that it does not look at any more."""
        own = (self._desk.jobs.get(job) for job in self._own)
        return next((j for j in own if j and _begun(j) and j.request not in self._wanted), None)

    def _want(self, requests: Sequence[Request]) -> None:
        self._wanted = tuple(requests)
        for job, request in list(self._own.items()):
            listed = self._desk.jobs.get(job)
            waits = listed and listed.state in (JobState.QUEUED, JobState.PAUSED) and not _begun(listed)
            if listed and waits and request not in self._wanted:
                self._withdraw(listed)

    def _withdraw(self, job: Job) -> None:
        """Nobody looks at it here, and it has not begun: it is as if it had not been asked for, but by who looks at it
        elsewhere."""
        del self._own[job.id]
        self._desk.drop(job.request)

        def left(now: Job) -> None:
            self._desk.job(now)
            self._changed()

        errand(self._pump, lambda: self._source.leave(job.id), left, lambda _: None)

    def _ask(
        self, requests: Sequence[Request], then: Callable[[], object] = lambda: None, *, settle: bool = False
    ) -> None:
        """Look all of them up at once; those that the store does not have are measured in their order."""
        asked = list(dict.fromkeys(requests))
        left = len(asked)
        missing: set[Request] = set()

        def answered() -> None:
            nonlocal left
            left -= 1
            if left:
                self._pump.set_timer(TOGETHER, self._changed)
                return
            self._missing += [request for request in asked if request in missing]
            if not settle:
                self._settled()
            elif self._missing and not self._settling:
                self._settling = self._pump.set_timer(SETTLE, self._settled)
            self._changed()
            then()

        def look_up(request: Request) -> None:
            bare = not self._source.read_only and next(self._desk.stand_ins(request), None) is None

            def find() -> tuple[Request, Measurement | None]:
                self._source.check(request)
                measurement = self._source.recall(request)
                return self._stand_in(request) if measurement is None and bare else (request, measurement)

            def found(answer: tuple[Request, Measurement | None]) -> None:
                of, measurement = answer
                if measurement:
                    self._desk.measured(of, measurement)
                if of != request or not measurement:
                    missing.add(request)
                answered()

            self._errand(request, find, found, answered)

        if not asked:
            then()
        for request in asked:
            self._desk.forget(request)
        for request in asked:
            look_up(request)

    def _stand_in(self, request: Request) -> tuple[Request, Measurement | None]:
        """What is on the disk of the nearest variant, to be shown until the request is measured."""
        for other in near(request):
            with suppress(MicroscopeError):  # it was not asked for: why it cannot be read is not said
                if measurement := self._source.recall(other):
                    return other, measurement
        return request, None

    def _settled(self) -> None:
        """Have measured what was missing and is still looked at."""
        if self._settling:
            self._settling.stop()
        missing, self._missing, self._settling = self._missing, [], None
        self._submit(missing)

    def _submit(self, requests: Sequence[Request]) -> None:
        """Have them measured, one asked for after the other: the worker takes them up in this order."""
        if not requests:
            return
        request, *rest = requests
        if request not in self._wanted:
            self._desk.drop(request)
            self._submit(rest)
            return

        def submit() -> tuple[Job, bool, Measurement | None]:
            known = {job.id for job in self._source.jobs()}
            job = self._source.submit(request)  # a job that is on its way already is found, not doubled
            return job, job.id not in known, self._source.partial(job.id)

        def submitted(answer: tuple[Job, bool, Measurement | None]) -> None:
            job, new, partial = answer
            self._desk.job(job)
            if new:
                self._own[job.id] = request
            self.worker_asked()
            if (now := self._desk.of(request).job) and now.state is JobState.DONE:
                self._recall(request)
            if partial:
                self._desk.measured(request, partial)
            self._want(self._wanted)  # it may have been left meanwhile
            self._submit(rest)
            self._changed()

        def failed() -> None:
            self._submit(rest)
            self._changed()

        self._errand(request, submit, submitted, failed)

    def _resume(self, job: Job) -> None:
        """Let a paused job go on."""

        def resumed(_: None) -> None:
            self.worker_asked()
            self._changed()

        self._errand(job.request, lambda: self._source.resume(job.id), resumed, self._changed)

    def _recall(self, request: Request) -> None:
        """A job is done: read its result."""

        def read() -> Measurement:
            if (measurement := self._source.recall(request)) is None:
                gone = f"The result is no longer in the store: {key_of('again')} measures it again."
                raise MicroscopeError(self._source.outdated() or gone)
            return measurement

        def found(measurement: Measurement) -> None:
            self._desk.measured(request, measurement)
            self._changed()

        self._errand(request, read, found, self._changed)

    def _read_partial(self, job: Job) -> None:
        def found(measurement: Measurement | None) -> None:
            if measurement and self._desk.holds(job.request):
                self._desk.measured(job.request, measurement)
                self._changed()

        self._errand(job.request, lambda: self._source.partial(job.id), found, self._changed)

    def _errand(
        self, request: Request, work: Callable[[], T], then: Callable[[T], None], otherwise: Callable[[], None]
    ) -> None:
        """Do `work` for a request and call `then` with its result, or file why there is none and call `otherwise`."""
        fault: Fault | None = None

        def noting() -> T:
            nonlocal fault
            try:
                return work()
            except MicroscopeError as error:
                fault = error.fault
                raise

        def failed(sentence: str) -> None:
            self._desk.failed(request, sentence, fault)
            otherwise()

        errand(self._pump, noting, then, failed)

    def _deliver(self) -> None:
        self._due, self._delivered = False, time.monotonic()
        post = self.inbox.take()
        self._take_jobs(list(post.jobs.values()))
        for job_id in post.partials:
            job = post.jobs[job_id]
            if job.kind is JobKind.MEASURE and self._desk.holds(job.request):
                self._read_partial(job)
        if post.ended is not None and any(k.waiting and not k.paused for k in self._desk.known.values()):
            self._desk.worker_gone(post.ended)
        self._changed(post)

    def _take_jobs(self, jobs: Sequence[Job]) -> None:
        for job in jobs:
            awaited = job.kind is JobKind.MEASURE and self._desk.of(job.request).waiting
            self._desk.job(job)
            if job.state is JobState.DONE and awaited:
                self._recall(job.request)

    def _awaiting(self) -> bool:
        return any(known.waiting for known in self._desk.known.values())

    def _listed(self, jobs: Sequence[Job]) -> None:
        self._take_jobs(jobs)
        self._desk.list_jobs(jobs)
        self._changed()


def _begun(job: Job) -> bool:
    """Whether something would be lost with it: it runs, or was set aside after its first batch."""
    return job.state is JobState.RUNNING or (job.state is JobState.PAUSED and job.progress.done > 0)
