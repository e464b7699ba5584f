"""Several GPUs: the first belongs to the worker's own process, each of the others to a process of its own.

A process and not a thread, for CUDA and the interpreter's lock are shared by all threads of one, and an error of one
GPU would end the work on all. Jobs for `auto` go to whichever GPU is free; all others name their devices, and are
done by the first process, which sees them all. A lane's process starts with the first job for it and ends, and with
it all that it holds on its GPU, when there was none for a while.

The two sides talk over a socket pair, a JSON line for each call of the `Desk` and one for its answer.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from typing import Any, Final

from microscope_tui.devices import VISIBLE
from microscope_tui.errors import Fault, MicroscopeError
from microscope_tui.terms import Job, JobState, Progress
from microscope_tui.worker.jobs import Queue

PATIENCE_SECONDS: Final = 300.0
"""A lane's process without a job for so long ends."""

log = logging.getLogger(__name__)


class Lane(threading.Thread):
    """Keeps a process for one GPU while there is work for it, and speaks for it at the queue."""

    def __init__(self, queue: Queue, gpu: str, arguments: Sequence[str], ended: Callable[[], None]) -> None:
        """`arguments` are those of the worker; `ended` is called when no job will be run any more: that may be before
        the worker ends, when this GPU cannot be used."""
        super().__init__(name=f"GPU {gpu}", daemon=True)
        self._queue, self._gpu, self._arguments, self._ended = queue, gpu, arguments, ended
        self._hands: list[str] = []
        self.over = False

    @property
    def in_hand(self) -> tuple[str, ...]:
        """The ids of the jobs that its process has begun."""
        return tuple(self._hands)

    def run(self) -> None:
        try:
            while self._queue.wait_for_spare():
                self._employ()
        except MicroscopeError as error:
            log.error("GPU %s is left out: %s", self._gpu, error)
        except Exception:  # whatever goes wrong with one GPU, the others go on
            log.exception("GPU %s is left out", self._gpu)
        finally:
            self.over = True
            self._ended()

    def _employ(self) -> None:
        """One process, from its start to its end."""
        ours, theirs = socket.socketpair()
        command = [sys.executable, "-P", "-m", "microscope_tui.worker.gpu_process", *self._arguments]
        with ours:
            with theirs:
                process = subprocess.Popen(
                    [*command, "--desk-fd", str(theirs.fileno())],
                    stdin=subprocess.PIPE,  # closed with this process, however it ends: the other one ends with it
                    env=os.environ | {VISIBLE: self._gpu},
                    pass_fds=(theirs.fileno(),),
                )
            log.info("GPU %s: process %d", self._gpu, process.pid)
            try:
                with contextlib.suppress(ConnectionError), ours.makefile("rb") as calls:
                    for line in calls:
                        if not line.endswith(b"\n"):
                            break  # it died in the middle of a word
                        ours.sendall(json.dumps(self._answer(json.loads(line))).encode() + b"\n")
            finally:
                process.communicate()  # closes what it ends with, if it has not ended
                if self._hands:
                    log.error("GPU %s: process %d died (exit code %d)", self._gpu, process.pid, process.returncode)
                    self._queue.recover(self._hands)
                    self._hands.clear()

    def _answer(self, call: list[Any]) -> Any:
        """What the queue says to a call of the other side: `[name, argument, …]`."""
        queue = self._queue
        match call:
            case ["stopping"]:
                return queue.stopping
            case ["take"]:
                return self._begun(queue.take(PATIENCE_SECONDS, spare=True))
            case ["take_look", job_id, opening]:
                return self._begun(queue.take_look(job_id, opening=opening))
            case ["should_stop", job_id]:
                return queue.should_stop(job_id)
            case ["progress", job_id, progress, keep]:
                return queue.progress(job_id, Progress(**progress), keep=keep)
            case ["partial", job_id]:
                return queue.partial(job_id)
            case ["gpu_failed", job_id]:
                return queue.gpu_failed(job_id)
            case ["halted", job_id]:
                return self._done(queue.halted(job_id))
            case ["end", job_id, state, error, fault]:
                return self._done(queue.end(job_id, JobState(state), error, Fault(fault) if fault else None))
            case ["wait_for_room", job_id, error]:
                return self._done(queue.wait_for_room(job_id, error))
            case ["log", level, text]:
                return log.log(level, "%s", text)
        raise ValueError(f"the process of GPU {self._gpu} asks {call!r}")

    def _begun(self, job: Job | None) -> dict[str, Any] | None:
        if job is None:
            return None
        self._hands.append(job.id)
        return job.to_json()

    def _done(self, job: Job) -> dict[str, Any]:
        self._hands.remove(job.id)
        return job.to_json()
