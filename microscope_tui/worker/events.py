"""What happened, numbered, for the screens that follow."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Final

from microscope_tui.terms import Job
from microscope_tui.worker.protocol import Event

RING: Final = 1000
"""Events kept for a screen that attaches again."""


class Events:
    """Numbered events, the last `RING` of them kept. `wake` is called after each, from any thread."""

    def __init__(self, wake: Callable[[], None]) -> None:
        # Microseconds since the epoch: numbers go on growing when the next worker takes over.
        self._number = time.time_ns() // 1000
        self._ring: deque[Event] = deque(maxlen=RING)
        self._lock = threading.Lock()
        self._wake = wake

    @property
    def last(self) -> int:
        return self._number

    def add(self, kind: str, job: Job | None = None, text: str = "") -> None:
        with self._lock:
            self._number += 1
            self._ring.append(Event(self._number, kind, job, text))
        self._wake()

    @property
    def first(self) -> int:
        """The number of the oldest event that is still known."""
        with self._lock:
            return self._ring[0].number if self._ring else self._number + 1

    def after(self, number: int) -> list[Event]:
        """The known events numbered above `number`."""
        with self._lock:
            return [event for event in self._ring if event.number > number]
