"""The queue of a cache folder: taken over from a worker that is gone, or changed while none runs."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from microscope_tui.store import Store
from microscope_tui.store.folder import prepare
from microscope_tui.worker.events import Events
from microscope_tui.worker.jobs import Queue
from microscope_tui.worker.place import LOCK_SECONDS, Record, boot_id, log_file, take_lock


def open_queue(cache: Path, events: Events, limit_bytes: int) -> Queue:
    """The queue as it lies in the cache folder, for the one process that holds the lock."""
    before = Record.read(cache)
    # After a power cut the worker that is missing did not die of its job.
    blame = before is None or before.boot == boot_id()
    return Queue(Store(cache, limit_bytes=limit_bytes), events, str(log_file(cache)), blame=blame)


@contextlib.contextmanager
def at_rest(cache: Path, limit_bytes: int) -> Iterator[Queue | None]:
    """The queue, to be changed without beginning a job; None when a worker lives, who must be asked instead."""
    cache = prepare(cache)
    record = Record.read(cache)
    lock = take_lock(cache, patience=0.0 if record is not None and record.lives else LOCK_SECONDS)
    try:
        yield None if lock is None else open_queue(cache, Events(lambda: None), limit_bytes)
    finally:
        if lock is not None:
            os.close(lock)
