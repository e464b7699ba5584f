"""Keeps libraries from talking on stderr, which may be somebody's screen."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType


@contextmanager
def quiet(library: ModuleType) -> Iterator[None]:
    """No progress bars, log lines or warnings of `datasets` or `huggingface_hub`; afterwards all is as it was."""
    logger = logging.getLogger(library.__name__)
    level, bars = logger.level, not library.utils.are_progress_bars_disabled()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logger.setLevel(logging.CRITICAL + 1)
        library.utils.disable_progress_bars()
        try:
            yield
        finally:
            logger.setLevel(level)
            if bars:
                library.utils.enable_progress_bars()
