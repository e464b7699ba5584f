"""Work that may block, done in daemon threads; what comes of it is handed back on the screen's own thread.

Daemon threads, because the executor behind Textual's thread workers is waited for at exit: a worker that
does not answer would hold up `quit`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Protocol, TypeVar

from textual.message import Message

from microscope_tui.errors import MicroscopeError

T = TypeVar("T")


class Pump(Protocol):
    """What takes messages, on the screen's own thread."""

    def post_message(self, message: Message) -> bool:
        """Take a message, from any thread."""


class Returned(Message, bubble=False):
    """An errand is done: call `tell` on the screen's thread."""

    def __init__(self, tell: Callable[[], None]) -> None:
        super().__init__()
        self.tell = tell


def errand(pump: Pump, work: Callable[[], T], then: Callable[[T], None], failed: Callable[[str], None]) -> None:
    """Do `work` in a thread; then call `then` with its result, or `failed` with a sentence, in `pump`."""

    def run() -> None:
        try:
            result = work()
        except MicroscopeError as error:
            sentence = str(error)
            pump.post_message(Returned(lambda: failed(sentence)))
        except Exception as error:  # a defect of ours must not end the app: it is shown where the result would be
            sentence = f"internal error: {type(error).__name__}: {error}"
            pump.post_message(Returned(lambda: failed(sentence)))
        else:
            pump.post_message(Returned(lambda: then(result)))

    threading.Thread(target=run, daemon=True, name="errand").start()
