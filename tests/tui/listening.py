"""What a source tells, and what it refuses: helpers of the tests that hold every source to one contract."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from microscope_tui.errors import MicroscopeError
from microscope_tui.terms import Job, JobState
from microscope_tui.tui.data.source import News, Source

SECONDS = 300.0
"""How long a busy machine may take for what a quiet one does in ten seconds."""


@contextmanager
def one_sentence(*words: str) -> Iterator[None]:
    """What is refused is said in one line that ends as a sentence does and has these words."""
    with pytest.raises(MicroscopeError) as caught:
        yield
    said = str(caught.value)
    assert re.fullmatch(r"\S.*\.", said), said
    assert [word for word in words if word not in said] == [], said


class Told:
    """What a source tells, heard in a thread."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self.news: list[News] = []
        self.error: Exception | None = None
        self._thread = threading.Thread(target=self._hear, daemon=True)
        self._thread.start()

    @property
    def ended(self) -> bool:
        return not self._thread.is_alive()

    def of(self, job: Job, kind: str, state: JobState) -> bool:
        """Whether there was news of this kind of a job in this state."""
        return any(n.kind == kind and n.job and (n.job.id, n.job.state) == (job.id, state) for n in list(self.news))

    def _hear(self) -> None:
        try:
            self.news.extend(self._source.follow())
        except Exception as error:  # an assertion of the test says which
            self.error = error
