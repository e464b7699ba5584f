"""Processes that start at once: one that has the engine's libraries in memory forks another for each line it reads.

A worker that starts by itself spends its first seconds, on a busy machine most of its life, with importing torch and
transformers. All else is as there: a session of its own, `daemon.main`, the real engine.

Reads `[CACHE, null]`, which is answered at once with the process id of a worker, and `[CACHE, REQUEST]`, which is
answered with 0 when a process without a worker has measured that.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import torch

from microscope_tui.engine.measure import run
from microscope_tui.engine.open_models import MODELS
from microscope_tui.store import Store
from microscope_tui.store.store import LIMIT_BYTES
from microscope_tui.terms import Request, SliceSpec
from microscope_tui.worker.daemon import Options, main


def worker(cache: Path) -> int:
    os.setsid()
    return main(Options(cache, idle_minutes=30.0, limit_bytes=LIMIT_BYTES))


def alone(cache: Path, request: Request) -> int:
    """Measures, undisturbed, without any worker."""
    with Store(cache) as store:
        run(request, store, on_progress=lambda _: None)
    return 0


if __name__ == "__main__":
    # Whatever is imported only when it is needed is in memory after one small measurement.
    run(Request("demo:omnifusion", SliceSpec("demo:scienceqa", count=2)), None, on_progress=lambda _: None)
    MODELS.clear()
    print("ready", flush=True)
    for line in sys.stdin:
        folder, request = json.loads(line)
        child = os.fork()
        if child == 0:
            # Torch replaces its pool of threads when it is first asked for after a fork, which two threads that ask at
            # once can come in between. No process but these is forked with torch in memory.
            torch.set_num_threads(torch.get_num_threads())
            os._exit(alone(Path(folder), Request.from_json(request)) if request else worker(Path(folder)))
        print(os.waitpid(child, 0)[1] if request else child, flush=True)
