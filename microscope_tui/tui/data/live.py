"""The real source: the store in the cache folder, and the worker that serves it.

Store and client are imported in the thread that first needs them: the first paint does not wait for them.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from microscope_tui.catalogue.locate import locate_model, locate_slice
from microscope_tui.errors import MicroscopeError
from microscope_tui.results import Measurement
from microscope_tui.settings import Settings
from microscope_tui.terms import Job, JobKind, Request
from microscope_tui.tui.data.source import News, Stock

if TYPE_CHECKING:
    from microscope_tui.catalogue.listing import Entry
    from microscope_tui.store import Store
    from microscope_tui.tui.data.values import Value
    from microscope_tui.worker.client import Client

LOG_TAIL = 16_384
"""Bytes of the worker's log that are shown, at most."""


class WorkerSource:
    """Opens the store at the first question, and starts a worker when there is something to measure."""

    read_only = False

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._limit = settings.cache_limit
        # Two locks: the store is read while a worker starts, which takes seconds.
        self._opening, self._connecting = threading.Lock(), threading.Lock()
        self._closed = threading.Event()
        self._opened: Store | None = None
        self._client: Client | None = None
        self._followers: set[Client] = set()

    def check(self, request: Request) -> None:
        locate_model(request.model)
        locate_slice(request.slice.source)

    def recall(self, request: Request) -> Measurement | None:
        return self._store().recall(request)

    def partial(self, job_id: str) -> Measurement | None:
        return self._store().partial(job_id)

    def look(self, request: Request, kind: JobKind, example: int | None) -> Value | None:
        data = self._store().recall_look(request, kind, example)
        if data is None:
            return None
        from microscope_tui.tui.data.values import value_of  # a start without a look does not wait for it

        return value_of(kind, data)

    def submit(self, request: Request, kind: JobKind = JobKind.MEASURE, example: int | None = None) -> Job:
        return self._worker().submit(request, kind, example)

    def cancel(self, job_id: str) -> None:
        self._worker().cancel(job_id)

    def leave(self, job_id: str) -> Job:
        return self._worker().leave(job_id)

    def pause(self, job_id: str) -> None:
        self._worker().pause(job_id)

    def resume(self, job_id: str) -> None:
        self._worker().resume(job_id)

    def reorder(self, job_id: str, place: int) -> None:
        self._worker().move(job_id, place)

    def retry(self, job_id: str) -> None:
        self._worker().retry(job_id)

    def jobs(self) -> Sequence[Job]:
        from microscope_tui.worker.client import jobs

        known = None
        with suppress(MicroscopeError):  # one that does not answer has written what it did
            known = jobs(self._settings.cache)
        return self._store().jobs() if known is None else known

    def lives(self) -> bool:
        from microscope_tui.worker.client import is_running

        return is_running(self._settings.cache)

    def outdated(self) -> str | None:
        from microscope_tui.worker.client import outdated

        return outdated(self._settings.cache)

    def follow(self) -> Iterator[News]:
        from microscope_tui.worker.client import Client

        if self._closed.is_set():
            return
        with Client.connect(self._settings.cache, start=False) as follower:
            self._followers.add(follower)
            try:
                if not self._closed.is_set():  # `close` may have come before it could see this follower
                    yield from follower.follow()
            finally:
                self._followers.discard(follower)

    def models(self) -> Sequence[Entry]:
        from microscope_tui.catalogue.listing import known_models

        return known_models()

    def slices(self) -> Sequence[Entry]:
        from microscope_tui.catalogue.listing import known_slices

        return known_slices()

    def on_hub(self, entry: Entry, *, slices: bool) -> Entry:
        from microscope_tui.tui.data.hub import look_up

        return look_up(entry, slices=slices)

    def log_tail(self) -> str:
        from microscope_tui.worker.client import log_tail

        return log_tail(self._settings.cache, size=LOG_TAIL) or "The worker has written nothing yet."

    def stock(self) -> Stock:
        from microscope_tui.tui.data.archive import stock_of

        return stock_of(self._settings.cache, self._limit)

    def remove(self, key: str) -> None:
        self._store().remove(key)

    def verify(self) -> Sequence[str]:
        return [f"{each.key}: {each.reason}; set aside in {each.kept}" for each in self._store().verify()]

    def tidy(self) -> str:
        return str(self._store().gc())

    def close(self) -> None:
        """Waits for nobody: not for a worker that is being started."""
        self._closed.set()
        for held in (*tuple(self._followers), self._client, self._opened):
            if held is not None:
                held.close()

    def _store(self) -> Store:
        with self._opening:
            if self._opened is None:
                from microscope_tui.store import Store

                self._opened = Store(self._settings.cache, limit_bytes=self._limit)
            return self._opened

    def _worker(self) -> Client:
        with self._connecting:
            if self._client is None:
                from microscope_tui.worker.client import Client

                settings = self._settings
                self._client = Client.connect(
                    settings.cache,
                    idle_minutes=settings.idle_minutes,
                    limit_bytes=self._limit,
                    memory_check=settings.memory_check,
                )
            return self._client
