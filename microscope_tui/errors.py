"""What a user is told when something is wrong with what was asked for.

Everything the program expects to go wrong is raised as a `MicroscopeError`. Its text is one sentence
that names what was wrong and what to do; the command line prints it and exits with 2, the screen shows
it in place. Any other exception is a defect of ours.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum


class Fault(StrEnum):
    """What is at fault: what the user would change to mend it, or look at."""

    MODEL = "model"
    SLICE = "slice"
    CACHE = "cache"
    WORKER = "worker"


class MicroscopeError(Exception):
    """Something the user can mend; `str(error)` is the sentence to show, `fault` what it is about where that is known.

    The sentence is for people: nothing is decided by its words.
    """

    fault: Fault | None = None

    def __init__(self, sentence: str = "", *, fault: Fault | None = None) -> None:
        super().__init__(sentence)
        self.fault = fault or self.fault


@contextmanager
def blaming(fault: Fault) -> Iterator[None]:
    """Within, or in a function that it decorates: errors are about `fault`, unless they know better."""
    try:
        yield
    except MicroscopeError as error:
        error.fault = error.fault or fault
        raise


class BadExample(MicroscopeError):
    """One example cannot be used (corrupt picture, too long, …): it is skipped, counted and named."""

    def __init__(self, example: str, reason: str) -> None:
        super().__init__(f"{example}: {reason}")
        self.example = example
        self.reason = reason


class OutOfMemory(MicroscopeError):
    """A model or a batch did not fit into the device's memory: a smaller batch may."""


class Cancelled(MicroscopeError):
    """The user, or a signal, asked the work to stop."""


def lost_device(error: BaseException) -> bool:
    """Whether a GPU failed for the whole process: after such an error every further call fails as well.

    Told by name, so that who asks need not import torch. Running out of memory is not such an error.
    """
    text = str(error)
    return type(error).__name__ == "AcceleratorError" or ("CUDA error" in text and "out of memory" not in text)


OUT_OF_MEMORY = ("DefaultCPUAllocator", "CUBLAS_STATUS_ALLOC_FAILED", "CUDNN_STATUS_ALLOC_FAILED", "out of memory")
"""What a plain RuntimeError says when memory ran out in a library below torch."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that the memory of a GPU or of this machine ran out. Torch's is told by name, as above."""
    return (
        isinstance(error, MemoryError)
        or any(kind.__name__ == "OutOfMemoryError" for kind in type(error).__mro__)
        or (isinstance(error, RuntimeError) and any(words in str(error) for words in OUT_OF_MEMORY))
    )


def one_line(error: BaseException, limit: int = 160) -> str:
    """What an error says in one line, short enough for a sentence: its first line, and what a colon there leads to."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    text = lines.pop(0)
    while text.endswith(":") and lines:
        text = f"{text} {lines.pop(0)}"
    if isinstance(error, KeyError):  # which says no more than the key
        text = f"there is no {text}"
    text = text if len(text) <= limit else f"{text[: limit - 1]}…"
    return text.rstrip(".,")
