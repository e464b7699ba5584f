"""The real source: the store in the cache folder, and the worker that serves it.

Store and client are imported in the thread that first needs them: the first paint does not wait for them.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from microscope_tui import catalogue
from microscope_tui.catalogue import Entry
from microscope_tui.settings import Settings
from microscope_tui.terms import Job, Measurement, Request
from microscope_tui.tui.source import News

if TYPE_CHECKING:
    from microscope_tui.store import Store
    from microscope_tui.worker.client import Client

LOG_TAIL = 16_384
"""Bytes of the worker's log that are shown, at most."""


class WorkerSource:
    """Opens the store at the first question, and starts a worker when there is something to measure."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._limit = int(settings.cache_limit_gb * 1e9)
        self._lock = threading.Lock()
        self._opened: Store | None = None
        self._client: Client | None = None
        self._follower: Client | None = None

    def check(self, request: Request) -> None:
        catalogue.locate_model(request.model)
        catalogue.locate_slice(request.slice.source)

    def recall(self, request: Request) -> Measurement | None:
        return self._store().recall(request)

    def partial(self, job_id: str) -> Measurement | None:
        return self._store().partial(job_id)

    def submit(self, request: Request) -> Job:
        return self._worker().submit(request)

    def cancel(self, job_id: str) -> None:
        self._worker().cancel(job_id)

    def jobs(self) -> Sequence[Job]:
        return self._store().jobs()

    def follow(self) -> Iterator[News]:
        from microscope_tui.worker.client import Client

        self._follower = Client.connect(self._settings.cache, start=False)
        yield from self._follower.follow()

    def models(self) -> Sequence[Entry]:
        return catalogue.known_models()

    def slices(self) -> Sequence[Entry]:
        return catalogue.known_slices()

    def log_tail(self) -> str:
        from microscope_tui.worker.client import log_tail

        return log_tail(self._settings.cache, size=LOG_TAIL) or "The worker has written nothing yet."

    def close(self) -> None:
        with self._lock:
            for held in (self._client, self._follower, self._opened):
                if held is not None:
                    held.close()

    def _store(self) -> Store:
        with self._lock:
            if self._opened is None:
                from microscope_tui.store import Store

                self._opened = Store(self._settings.cache, limit_bytes=self._limit)
            return self._opened

    def _worker(self) -> Client:
        with self._lock:
            if self._client is None:
                from microscope_tui.worker.client import Client

                settings = self._settings
                self._client = Client.connect(
                    settings.cache, idle_minutes=settings.idle_minutes, limit_bytes=self._limit
                )
            return self._client
