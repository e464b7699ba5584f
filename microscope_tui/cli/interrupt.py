"""Ctrl-C while something is measured: the first one stops it between two batches, with what was measured kept."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType


@contextlib.contextmanager
def interrupt() -> Iterator[Callable[[], bool]]:
    """Whether ctrl-C was pressed, or SIGTERM came; the second one does what the first would have done outside.

    A signal that is ignored (below nohup, or in the background of a script) stays so."""
    asked = threading.Event()
    found = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    # None: a handler that Python did not set and could not put back.
    before = {number: handler for number, handler in found.items() if handler not in (signal.SIG_IGN, None)}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def ask(number: int, frame: FrameType | None) -> None:
        asked.set()
        restore()

    for number in before:
        signal.signal(number, ask)
    try:
        yield asked.is_set
    finally:
        restore()
