"""Libraries that talk to the terminal, kept from it; their progress as phases; their errors made short."""

from __future__ import annotations

import logging
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from transformers.utils import logging as transformers_logging

OnPhase = Callable[[str], None]

LOGGERS = ("transformers", "huggingface_hub", "accelerate", "torch", "py.warnings")
STEP = 10
"""Per cent between two reports of progress."""

_LOCK = threading.RLock()


def unheard(_phase: str) -> None:
    """The `on_phase` of those who do not care."""


@contextmanager
def quiet(on_phase: OnPhase = unheard) -> Iterator[None]:
    """Within: transformers and its kin write nothing, and the loading of weights is told to `on_phase`."""

    def meter(_factory: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Meter:
        return Meter(*args, on_phase=on_phase, **kwargs)

    with _LOCK, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        levels = {name: logging.getLogger(name).level for name in LOGGERS}
        previous = transformers_logging.set_tqdm_hook(meter)
        for name in LOGGERS:
            logging.getLogger(name).setLevel(logging.CRITICAL + 1)
        try:
            yield
        finally:
            transformers_logging.set_tqdm_hook(previous)
            for name, level in levels.items():
                logging.getLogger(name).setLevel(level)


class Meter:
    """Stands in for a tqdm bar: every `STEP` per cent goes to `on_phase`, nothing to the terminal."""

    format_dict: Mapping[str, Any] = {}

    def __init__(
        self,
        iterable: Any = None,
        *,
        desc: str = "",
        total: float | None = None,
        unit: str = "it",
        on_phase: OnPhase,
        **_options: Any,
    ) -> None:
        self.iterable = iterable
        self.desc = desc or "loading"
        self.total = total if total is not None else (len(iterable) if hasattr(iterable, "__len__") else None)
        self.unit = unit
        self.n = 0.0
        self._on_phase = on_phase
        self._told = ""

    def __iter__(self) -> Iterator[Any]:
        for item in self.iterable:
            yield item
            self.update()

    def __enter__(self) -> Meter:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def update(self, n: float | None = 1) -> None:
        """Count `n` more."""
        self.n += n or 0
        if self.total:
            self.tell(f"{self.desc.lower()} {int(100 * self.n / self.total) // STEP * STEP} %")

    def tell(self, phase: str) -> None:
        """Pass a phase on, once."""
        if phase != self._told:
            self._told = phase
            self._on_phase(phase)

    def close(self) -> None:
        """Nothing was opened."""

    def refresh(self, *_values: Any, **_options: Any) -> None:
        """Nothing is drawn."""

    set_postfix = set_postfix_str = set_description = set_description_str = refresh


OUT_OF_MEMORY = ("DefaultCPUAllocator", "CUBLAS_STATUS_ALLOC_FAILED", "CUDNN_STATUS_ALLOC_FAILED", "out of memory")
"""What a plain RuntimeError says when memory ran out in a library below torch."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that the memory of a GPU or of this machine ran out."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or (
        isinstance(error, RuntimeError) and any(words in str(error) for words in OUT_OF_MEMORY)
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
