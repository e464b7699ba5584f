"""The worker process: one for each cache folder, in its own session, until it is stopped or idle for long."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import socket
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Final

from microscope_tui.devices import gpus
from microscope_tui.errors import MicroscopeError
from microscope_tui.store.folder import prepare, private_file
from microscope_tui.terms import JobState
from microscope_tui.worker.events import Events
from microscope_tui.worker.lanes import Lane
from microscope_tui.worker.logs import put_aside
from microscope_tui.worker.offline import open_queue
from microscope_tui.worker.place import Record, keep_from_children, log_file, socket_path, take_lock
from microscope_tui.worker.server import Server, Waker
from microscope_tui.worker.work import Work

GRACE_SECONDS: Final = 30.0
"""How long a job may take to reach the end of its batch, and to keep its sums, when the worker is told to stop."""

TELL_SECONDS: Final = 0.25
"""Screens hear of a job's progress at most so often."""

TICK_SECONDS: Final = 5.0
"""How often a quiet worker looks at the clock and after its socket."""

LOG_LIMIT: Final = 4_000_000
"""Bytes of the log above which it is put aside as worker.log.1, in place of the one before."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Options:
    """How a worker is run. `idle_minutes` without job and screen end it; `limit_bytes` bounds the store. `runner` names
    what stands in for the engine, as `module:object`."""

    cache: Path
    idle_minutes: float
    limit_bytes: int
    runner: str | None = None
    ready_fd: int | None = None
    lock_fd: int | None = None
    """The lock, when this process held it already before it started itself again."""
    gpus: tuple[str, ...] | None = None
    """Names of the GPUs to use; None for all that are here."""
    desk_fd: int | None = None
    """Where the queue is asked, in a process that works for another one."""

    @property
    def arguments(self) -> list[str]:
        """The same options on a command line, for a process like this one."""
        arguments = ["--cache", str(self.cache), "--idle-minutes", str(self.idle_minutes)]
        arguments += ["--limit-bytes", str(self.limit_bytes)]
        arguments += [] if self.runner is None else ["--runner", self.runner]
        return arguments if self.gpus is None else [*arguments, "--gpus", ",".join(self.gpus)]


def main(options: Options) -> int:
    """Runs the worker until it ends; the exit code. Says through `ready_fd` when it listens, or why it cannot."""
    os.umask(0o077)
    lock = None
    try:
        cache = prepare(options.cache)
        lock = take_lock(cache, options.lock_fd)
        if lock is None:
            report(options.ready_fd, {"taken": True})
            return 0
        keep_from_children(lock)
        daemon = Daemon(options, cache, lock)
    except MicroscopeError as error:
        if lock is not None:
            os.close(lock)  # first: whoever hears of it may start the next one at once
        report(options.ready_fd, {"error": str(error)})
        return 2
    report(options.ready_fd, {"ready": True})
    return daemon.serve()


def report(ready_fd: int | None, word: dict[str, object]) -> None:
    """Tells whoever started this worker; the first word counts, and the pipe is closed after it."""
    if ready_fd is None:
        if "error" in word:
            sys.stderr.write(f"{word['error']}\n")
        return
    with contextlib.suppress(OSError), open(ready_fd, "w") as pipe:
        json.dump(word, pipe)


class Daemon:
    """Lock, log, socket, queue and the thread that works, put together."""

    def __init__(self, options: Options, cache: Path, lock: int) -> None:
        """Everything up to the point where screens can knock. Raises `MicroscopeError`."""
        self._options, self._cache, self._lock = options, cache, lock
        self._log_name = str(log_file(cache))
        self._idle_seconds = options.idle_minutes * 60
        self._active = self._told = time.monotonic()
        self._reason: str | None = None
        self._hurry = False
        self._redirect()
        self._waker = Waker()
        events = Events(self._waker.wake)
        _start_logging(events)
        self._queue = open_queue(cache, events, options.limit_bytes)
        self._server = Server(
            self._queue,
            events,
            self._waker,
            cache=cache,
            log_name=self._log_name,
            on_stop=lambda: self._stop("it was asked to"),
        )
        self._work = Work(
            self._queue,
            cache,
            runner=options.runner,
            limit_bytes=options.limit_bytes,
            log_name=self._log_name,
            ended=self._waker.wake,
        )
        # The first GPU is the one that torch takes in this process.
        others = (gpus(os.environ) if options.gpus is None else options.gpus)[1:]
        self._lanes = [Lane(self._queue, gpu, options.arguments, self._waker.wake) for gpu in others]
        # Before anybody can find it: who finds it may signal it at once.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._signalled)
        # Its own session gets no hang-up; started in the foreground it shall outlive the terminal all the same.
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signal.set_wakeup_fd(self._waker.fileno(), warn_on_full_buffer=False)
        self._listen()

    def serve(self) -> int:
        """Serves until told to stop; returns the exit code when the job in hand is back in the queue."""
        log.info("the worker %d serves %s", os.getpid(), self._cache)
        workers: list[Work | Lane] = [self._work, *self._lanes]
        for worker in workers:
            worker.start()
        while self._reason is None and not self._work.over:  # a GPU beside the first may be left out
            self._serve_once(min(TICK_SECONDS, self._idle_seconds))
            self._look_after_socket()
            self._look_after_log()
            self._queue.save_again()
            self._end_if_idle()
        again = self._work.device_lost and self._reason is None
        reason = (
            "it starts again after an error of the GPU" if again else self._reason or "it cannot go on, see its log"
        )
        log.info("the worker ends: %s", reason)
        self._queue.stop()
        deadline = time.monotonic() + GRACE_SECONDS
        while not all(worker.over for worker in workers) and not self._hurry:
            if (left := deadline - time.monotonic()) <= 0:
                break
            self._serve_once(left)
        for job_id in [job_id for worker in workers if not worker.over for job_id in worker.in_hand]:
            log.warning("job %s was in the middle of a batch and is %s", job_id, self._queue.halted(job_id).state)
        self._server.farewell(f"The worker has ended: {reason}.")
        self._socket.unlink(missing_ok=True)
        _end_children()
        if again:
            self._start_again()
        Record.erase(self._lock)
        return 0

    def _serve_once(self, seconds: float) -> None:
        """Serves until something comes, not longer than `seconds`; progress of a job is told at its own pace."""
        running = self._queue.count(JobState.RUNNING)
        self._server.serve(min(seconds, TELL_SECONDS) if running else seconds)
        if (now := time.monotonic()) - self._told >= TELL_SECONDS:
            self._told = now
            self._queue.tell()

    def _start_again(self) -> None:
        """This process once more from the beginning, with its number, its log and the lock, which nobody else gets."""
        arguments = [*self._options.arguments, "--lock-fd", str(self._lock)]
        os.set_inheritable(self._lock, True)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.execv(sys.executable, [sys.executable, "-P", "-m", "microscope_tui.worker", *arguments])

    def _listen(self) -> None:
        """Makes the socket, which only the holder of the lock may do, and says in the record where it is."""
        path = socket_path(self._cache)
        path.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(str(path))
        path.chmod(0o600)
        listener.listen(64)
        self._server.listen(listener)
        self._socket, self._inode = path, path.lstat().st_ino
        Record.of_this_process(path).write(self._lock)

    def _look_after_socket(self) -> None:
        """Makes the socket again when something that cleans temporary folders took it away."""
        try:
            if self._socket.lstat().st_ino == self._inode:
                return
        except OSError:
            log.warning("the socket %s is gone and is made again", self._socket)
        with contextlib.suppress(OSError, MicroscopeError):
            self._listen()

    def _look_after_log(self) -> None:
        """Puts a large log aside: what a library prints for every example must not fill the disk."""
        if os.fstat(2).st_size > LOG_LIMIT:
            self._redirect()

    def _end_if_idle(self) -> None:
        if self._server.screens or self._queue.busy:
            self._active = time.monotonic()
        elif time.monotonic() - self._active > self._idle_seconds:
            self._stop("nobody needed it")

    def _stop(self, reason: str) -> None:
        self._reason = self._reason or reason

    def _signalled(self, number: int, frame: FrameType | None) -> None:
        # A second signal means: do not wait for the batch.
        self._hurry = self._reason is not None
        self._stop(f"it got {signal.Signals(number).name}")

    def _redirect(self) -> None:
        """Sends what this process prints to the log, and puts a large log aside."""
        path = private_file(Path(self._log_name))
        if path.stat().st_size > LOG_LIMIT:
            put_aside(path)
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW)
        for standard in (1, 2):
            os.dup2(descriptor, standard)
        os.close(descriptor)


class _ToScreens(logging.Handler):
    """Sends log lines to the screens that follow."""

    def __init__(self, events: Events) -> None:
        super().__init__()
        self._events = events

    def emit(self, record: logging.LogRecord) -> None:
        self._events.add("log", text=record.getMessage())


def _start_logging(events: Events) -> None:
    to_file = logging.StreamHandler(sys.stderr)
    to_file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[to_file, _ToScreens(events)], force=True)
    logging.getLogger("microscope_tui").setLevel(logging.INFO)
    logging.captureWarnings(True)


def _end_children() -> None:
    """Ends what the job left behind (data loaders), which shares this process's group."""
    if os.getpgrp() == os.getpid():
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        os.killpg(os.getpid(), signal.SIGTERM)
