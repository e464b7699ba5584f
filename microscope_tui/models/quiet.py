"""Transformers and its kin, kept from the terminal; how far they load as progress of ours."""

from __future__ import annotations

import logging
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from transformers.utils import logging as transformers_logging

from microscope_tui.models.meter import Meter, OnProgress
from microscope_tui.terms import Progress

LOGGERS = ("transformers", "huggingface_hub", "accelerate", "torch", "py.warnings")
_LOCK = threading.RLock()


def unheard(_progress: Progress) -> None:
    """The `on_progress` of those who do not care."""


@contextmanager
def quiet(on_progress: OnProgress = unheard) -> Iterator[None]:
    """Within: transformers and its kin write nothing, and the loading of weights is told to `on_progress`."""

    def meter(_factory: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Meter:
        return Meter(*args, on_progress=on_progress, **kwargs)

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
