"""`python -m microscope_tui.worker.gpu_process`: does jobs on one GPU for the worker that started it, see `lanes`."""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import sys
import threading
from dataclasses import asdict
from typing import Any

from microscope_tui.errors import Fault
from microscope_tui.terms import Job, JobState, Progress
from microscope_tui.worker.__main__ import parse
from microscope_tui.worker.place import log_file
from microscope_tui.worker.work import Work


class Remote:
    """The queue of another process. A process whose worker is gone ends: nobody would hear of what it does."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection, self._answers = connection, connection.makefile("rb")
        self._lock = threading.Lock()
        self._idle = False

    @property
    def stopping(self) -> bool:
        """Whether no more jobs are to be done: the worker stops, or has had none for this process for long."""
        return self._idle or bool(self._ask("stopping"))

    def take(self, timeout: float | None = None) -> Job | None:
        job = self._ask("take")
        self._idle = job is None
        return job and Job.from_json(job)

    def take_look(self, job_id: str, *, opening: bool = False) -> Job | None:
        job = self._ask("take_look", job_id, opening)
        return job and Job.from_json(job)

    def should_stop(self, job_id: str) -> bool:
        return bool(self._ask("should_stop", job_id))

    def progress(self, job_id: str, progress: Progress, *, keep: bool) -> None:
        self._ask("progress", job_id, asdict(progress), keep)

    def partial(self, job_id: str) -> None:
        self._ask("partial", job_id)

    def gpu_failed(self, job_id: str) -> bool:
        return bool(self._ask("gpu_failed", job_id))

    def halted(self, job_id: str) -> Job:
        return Job.from_json(self._ask("halted", job_id))

    def end(self, job_id: str, state: JobState, error: str | None = None, fault: Fault | None = None) -> Job:
        return Job.from_json(self._ask("end", job_id, state, error, fault))

    def wait_for_room(self, job_id: str, error: str) -> Job:
        return Job.from_json(self._ask("wait_for_room", job_id, error))

    def log(self, level: int, text: str) -> None:
        self._ask("log", level, text)

    def _ask(self, *call: Any) -> Any:
        with self._lock:
            try:
                self._connection.sendall(json.dumps(call).encode() + b"\n")
                return json.loads(self._answers.readline())
            except (ConnectionError, ValueError):
                os._exit(1)


class _ToWorker(logging.Handler):
    """Gives log lines to the worker, which writes them down and sends them to the screens."""

    def __init__(self, remote: Remote) -> None:
        super().__init__()
        self.setFormatter(logging.Formatter("%(message)s"))
        self._remote = remote

    def emit(self, record: logging.LogRecord) -> None:
        self._remote.log(record.levelno, self.format(record))


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of a terminal: the worker hears it too, and stops us in order
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    threading.Thread(target=_end_with_worker, daemon=True).start()
    options = parse(sys.argv[1:])
    assert options.desk_fd is not None
    remote = Remote(socket.socket(fileno=options.desk_fd))
    logging.basicConfig(level=logging.WARNING, handlers=[_ToWorker(remote)])
    logging.getLogger("microscope_tui").setLevel(logging.INFO)
    logging.captureWarnings(True)
    work = Work(
        remote,
        options.cache,
        runner=options.runner,
        limit_bytes=options.limit_bytes,
        log_name=str(log_file(options.cache)),
    )
    work.run()
    os._exit(0)  # as the worker: nothing that hangs may hold up the end


def _end_with_worker() -> None:
    """Ends this process when the worker is gone, whatever it is in the middle of."""
    sys.stdin.buffer.read()
    os._exit(1)


if __name__ == "__main__":
    main()
