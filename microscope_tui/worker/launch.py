"""Starting a worker: a detached process that says by a pipe when it listens, or why it does not."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
from pathlib import Path

import microscope_tui
from microscope_tui.errors import MicroscopeError
from microscope_tui.store.folder import private_file
from microscope_tui.worker.logs import log_tail
from microscope_tui.worker.place import log_file


def launch(cache: Path, options: list[str], deadline: float) -> None:
    """Starts a detached worker and returns when it listens, or another one proves to live already.

    Raises `MicroscopeError` with the worker's own sentence, or with the end of its log.
    """
    log = private_file(log_file(cache))
    known = log.stat().st_size
    ready, tell = os.pipe()
    command = [sys.executable, "-P", "-m", "microscope_tui.worker", "--cache", str(cache), *options]
    # -P and PYTHONPATH: found where this program was found, whatever lies in the current folder.
    path = [str(Path(microscope_tui.__file__).parent.parent), os.environ.get("PYTHONPATH", "")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, path))}
    try:
        with open(log, "ab") as output:
            process = subprocess.Popen(
                [*command, "--ready-fd", str(tell)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=environment,
                pass_fds=(tell,),
                start_new_session=True,
            )
    finally:
        os.close(tell)
    with open(ready, "rb", buffering=0) as pipe:
        word = _read_until(pipe.fileno(), deadline)
    if word is not None:
        process.wait()  # the first process ends as soon as it has handed over to the detached one
    if not word:
        why = "did not come up in time" if word is None else "ended while it started"
        last = log_tail(cache, known).rpartition("\n")[2] or "nothing was written"
        raise MicroscopeError(f"The worker {why}: {last} (the last line of its log {log}).")
    if error := json.loads(word).get("error"):
        raise MicroscopeError(str(error))


def _read_until(descriptor: int, deadline: float) -> bytes | None:
    """What is written to a pipe until it is closed, None when that takes too long."""
    word = b""
    while True:
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([descriptor], [], [], left)[0]:
            return None
        piece = os.read(descriptor, 4096)
        if not piece:
            return word
        word += piece
