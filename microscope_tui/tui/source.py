"""Where the explorer's data come from: the protocol that its screens know.

Every call may block (disk, socket, start of the worker): the screens make them from threads only.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from microscope_tui.catalogue import Entry
from microscope_tui.terms import Job, Measurement, Request


class News(Protocol):
    """Something the worker tells: a job has changed, a partial result of it is stored, or a line of log."""

    @property
    def kind(self) -> str:
        """`job`, `partial` or `log`."""

    @property
    def job(self) -> Job | None:
        """The job as it stands now."""

    @property
    def text(self) -> str:
        """The line of log."""


class Source(Protocol):
    """What the explorer asks for. Every method raises `MicroscopeError` with a sentence to show."""

    def check(self, request: Request) -> None:
        """Raise for a model or slice that cannot exist (a missing folder, a name that is no name)."""

    def recall(self, request: Request) -> Measurement | None:
        """The finished measurement of this request, None if the store has none."""

    def partial(self, job_id: str) -> Measurement | None:
        """What a running job has measured so far."""

    def submit(self, request: Request) -> Job:
        """Ask the worker to measure; it is started when none lives."""

    def cancel(self, job_id: str) -> None:
        """Stop a job."""

    def jobs(self) -> Sequence[Job]:
        """The jobs of this store, old ones too."""

    def follow(self) -> Iterator[News]:
        """What the worker tells from now on; ends when the worker does. Does not start one."""

    def models(self) -> Sequence[Entry]:
        """Models to offer."""

    def slices(self) -> Sequence[Entry]:
        """Slices to offer."""

    def log_tail(self) -> str:
        """The end of the worker's log."""

    def close(self) -> None:
        """Let go of the store and of the worker, which lives on."""
