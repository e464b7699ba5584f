"""The worker as seen from a screen or the command line: find it, start it, ask it, follow it."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Self

import microscope_tui
from microscope_tui.errors import Fault, MicroscopeError, blaming
from microscope_tui.settings import Settings
from microscope_tui.store.folder import prepare
from microscope_tui.terms import Job, JobKind, Request
from microscope_tui.worker.launch import launch
from microscope_tui.worker.logs import job_log, log_tail
from microscope_tui.worker.place import Record, is_held, log_file
from microscope_tui.worker.protocol import (
    RESTART,
    AskStatus,
    Cancel,
    Event,
    Follow,
    Goodbye,
    JobIs,
    Jobs,
    Leave,
    ListJobs,
    Move,
    Pause,
    Question,
    Refused,
    Resume,
    Status,
    Stop,
    Submit,
    encode,
    filed_under,
    unlike,
)
from microscope_tui.worker.wire import ANSWER_SECONDS, A, ask, dial, messages

__all__ = [
    "Client",
    "Event",
    "Status",
    "died",
    "is_running",
    "job_log",
    "jobs",
    "log_file",
    "log_tail",
    "outdated",
    "status",
    "stop",
]

START_SECONDS: Final = 60.0
"""Python starts and imports in them, on a busy machine or from a slow disk too."""
STOP_SECONDS: Final = 40.0
KNOCK_SECONDS: Final = 0.02
"""How often one looks whether a worker that somebody else has just started already listens."""

SHOWS: Final = ("tui", "cli")
"""The parts of the program that a worker does not run."""


class Client:
    """Talks to the worker of one cache folder. Any thread may use it; no call waits longer than its time limit.

    Every question has a connection of its own, so a worker that was restarted meanwhile is simply found again.
    """

    def __init__(
        self,
        cache: Path,
        *,
        start: bool,
        idle_minutes: float,
        limit_bytes: int | None,
        memory_check: bool,
        runner: str | None,
    ):
        self.cache = cache
        self._start, self._memory_check = start, memory_check
        self._options = ["--idle-minutes", str(idle_minutes)]
        self._options += [] if limit_bytes is None else ["--limit-bytes", str(limit_bytes)]
        self._options += [] if runner is None else ["--runner", runner]
        self._name = secrets.token_hex(8)
        self._following: set[socket.socket] = set()
        self._closed = threading.Event()

    @classmethod
    def connect(
        cls,
        cache: Path,
        *,
        start: bool = True,
        idle_minutes: float = Settings.idle_minutes,
        limit_bytes: int | None = None,
        memory_check: bool = True,
        runner: str | None = None,
        timeout: float = START_SECONDS,
    ) -> Self:
        """A client whose worker lives; it is started if none does and `start` is set.

        The options are those of a worker that is started; `runner` is what does the work, as `module:object`, where it
        is not the engine. With `memory_check` what is asked for is refused where its model cannot fit into the free
        memory. Raises `MicroscopeError` when there is no worker, it does not come up within `timeout` seconds (with the
        end of its log), or its version differs.
        """
        client = cls(
            prepare(cache, read_only=not start),
            start=start,
            idle_minutes=idle_minutes,
            limit_bytes=limit_bytes,
            memory_check=memory_check,
            runner=runner,
        )
        client._dial(timeout).close()
        return client

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *reason: object) -> None:
        self.close()

    def submit(self, request: Request, kind: JobKind = JobKind.MEASURE, example: int | None = None) -> Job:
        """Asks for a measurement, or for a look at `example` or at the whole; looks go first, the latest before all.

        A new job, or the one for the same that has not ended: one that is paused stays so.
        """
        key = filed_under(request, kind, example)
        return self._ask(Submit(request, kind, example, self._name, self._memory_check, key), JobIs).job

    def leave(self, job_id: str) -> Job:
        """Waits for a job no more: it ends as by `cancel` if no other client has asked for it."""
        return self._ask(Leave(job_id, self._name), JobIs).job

    def cancel(self, job_id: str) -> Job:
        """Ends a job; a running one ends between two batches, and is `running` until then."""
        return self._ask(Cancel(job_id), JobIs).job

    def pause(self, job_id: str) -> Job:
        """Sets a job aside, also over the end of the worker; a running one ends between two batches."""
        return self._ask(Pause(job_id), JobIs).job

    def resume(self, job_id: str) -> Job:
        """Puts a paused job back to its place in the queue."""
        return self._ask(Resume(job_id), JobIs).job

    def move(self, job_id: str, place: int) -> Job:
        """Puts a waiting or paused job at `place` among those, 0 for the next; behind the last is the last."""
        return self._ask(Move(job_id, place), JobIs).job

    def retry(self, job_id: str) -> Job:
        """Asks once more for what a job that has ended was asked for: a new job."""
        for job in self.jobs():
            if job.id == job_id:
                return self.submit(job.request, job.kind, job.example)
        raise MicroscopeError(f"There is no job {job_id}: `microscope-tui jobs` lists them.")

    def jobs(self) -> list[Job]:
        """All jobs: those that have ended, the running ones, and the waiting ones as they will be run."""
        return list(self._ask(ListJobs(), Jobs).jobs)

    def status(self) -> Status:
        """The worker as it stands."""
        return self._ask(AskStatus(), Status)

    def follow(self, after: int = 0) -> Iterator[Event]:
        """Events as they happen, on a connection of its own: first every job as it stands, then what changes.

        Blocks while nothing happens. Ends when `close` is called (from another thread) or the worker ends in
        order; raises `MicroscopeError` when it dies. `after` is the number of the last event already seen.
        """
        connection = self._dial(START_SECONDS)
        self._following.add(connection)
        try:
            if self._closed.is_set():  # before it could be shut down with the others
                return
            connection.settimeout(ANSWER_SECONDS)
            connection.sendall(encode(Follow(after)))
            connection.settimeout(None)
            for message in messages(connection):
                if isinstance(message, Event):
                    yield message
                elif isinstance(message, Goodbye):
                    return
                elif isinstance(message, Refused):
                    raise MicroscopeError(message.text)
        except OSError:
            pass
        finally:
            self._following.discard(connection)
            connection.close()
        if not self._closed.is_set():
            raise MicroscopeError(f"The worker has died; the end of its log ({log_file(self.cache)}) may say why.")

    def stop(self, timeout: float = STOP_SECONDS) -> None:
        """Ends the worker between two batches and returns when it is gone; its job goes back into the queue."""
        stop(self.cache, timeout)

    def close(self) -> None:
        """Ends every `follow`; the worker goes on."""
        self._closed.set()
        for connection in list(self._following):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    @blaming(Fault.WORKER)
    def _ask(self, question: Question, kind: type[A]) -> A:
        for _ in range(2):
            with contextlib.closing(self._dial(START_SECONDS)) as connection:
                try:
                    return ask(connection, question, kind)
                except TimeoutError:
                    break
                except OSError:
                    continue  # it ended at that moment: asked once more, which makes no second job of the first
        raise MicroscopeError(_no_answer(self.cache, ANSWER_SECONDS))

    @blaming(Fault.WORKER)
    def _dial(self, timeout: float) -> socket.socket:
        """A greeted connection to the worker, which is started when it may be."""
        deadline = time.monotonic() + timeout
        starts = 0
        while True:
            connection = dial(self.cache)
            if connection is not None:
                return connection
            held = is_held(self.cache)
            if not self._start and not held:
                raise MicroscopeError(f"No worker runs on {self.cache}: start one with `microscope-tui worker start`.")
            if starts < 2 and not held:
                starts += 1
                launch(self.cache, self._options, deadline)
            elif time.monotonic() > deadline:
                raise MicroscopeError(_no_answer(self.cache, timeout))
            else:
                time.sleep(KNOCK_SECONDS)


def is_running(cache: Path) -> bool:
    """Whether a worker lives on this cache folder. Raises `MicroscopeError` for one that is not this user's."""
    return is_held(prepare(cache, read_only=True))


def status(cache: Path) -> Status | None:
    """The worker of this cache folder as it stands, None when none lives. Raises `MicroscopeError`."""
    if not is_running(cache):
        return None
    with Client.connect(cache, start=False) as client:
        return client.status()


def jobs(cache: Path) -> list[Job] | None:
    """All jobs as the worker of this cache folder has them, None when none lives. On a full disk they are further than
    the store knows. Raises `MicroscopeError`."""
    if not is_running(cache):
        return None
    with Client.connect(cache, start=False) as client:
        return client.jobs()


def outdated(cache: Path) -> str | None:
    """Why what the worker of this cache folder makes is not found: it makes it with other versions, or runs code that
    was changed since it was started; with what to do about it. None when neither is so, or none lives."""
    now = status(cache)
    if now is None:
        return None
    if sentence := unlike(now.made_with, mine="program"):
        return sentence
    package = Path(microscope_tui.__file__).parent
    changed = max(file.stat().st_mtime for file in package.rglob("*.py") if file.parts[len(package.parts)] not in SHOWS)
    return f"The worker was started before the program was changed: {RESTART}" if changed > now.started else None


def died(cache: Path) -> int | None:
    """The process id of the last worker of this cache folder if it did not end in order; None if it did, or lives."""
    cache = prepare(cache, read_only=True)
    record = None if is_held(cache) else Record.read(cache)
    return None if record is None else record.pid


def stop(cache: Path, timeout: float = STOP_SECONDS) -> bool:
    """Ends the worker of this cache folder between two batches; False when there was none.

    A worker of another version, or one that does not answer, is ended by signal. Raises `MicroscopeError` when
    it is still there after `timeout` seconds, or the folder is another user's, who could name any process to be ended.
    """
    cache = prepare(cache, read_only=True)
    if not is_held(cache):
        return False
    try:
        connection = dial(cache)
    except MicroscopeError:
        connection = None
    deadline = time.monotonic() + timeout  # from now on: one that does not answer has only now been told
    if connection is None:
        _terminate(cache)
    else:
        with contextlib.closing(connection), contextlib.suppress(OSError, MicroscopeError):
            connection.settimeout(timeout)
            ask(connection, Stop(), Goodbye)
    while is_held(cache):
        if time.monotonic() > deadline:
            record = Record.read(cache)
            raise MicroscopeError(
                f"The worker (process {record.pid if record else 'unknown'}) did not end within {timeout:.0f} s: "
                f"end it with `kill -9`; its log is {log_file(cache)}."
            )
        time.sleep(KNOCK_SECONDS)
    return True


def _terminate(cache: Path) -> None:
    """Sends SIGTERM to the process of the record, if it still is that process."""
    record = Record.read(cache)
    if record is None:
        return
    with contextlib.suppress(OSError):
        # The descriptor pins the process, so that between the check and the signal it cannot become another.
        process = os.pidfd_open(record.pid)
        try:
            if record.lives:
                signal.pidfd_send_signal(process, signal.SIGTERM)
        finally:
            os.close(process)


def _no_answer(cache: Path, timeout: float) -> str:
    record = Record.read(cache)
    if record is not None and record.host != socket.gethostname():
        return f"The worker of {cache} runs on the machine {record.host}: name another cache with --cache."
    process = f"process {record.pid}" if record is not None and record.lives else "its process is not known"
    return (
        f"A worker holds {cache} ({process}) but did not answer within {timeout:.0f} s: see its log {log_file(cache)}, "
        "or end it with `microscope-tui worker stop`."
    )
