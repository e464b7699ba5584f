"""Where the explorer's data come from: the protocol that its screens know.

Every call may block (disk, socket, start of the worker): the screens make them from threads only.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from microscope_tui.catalogue import Entry
from microscope_tui.inspection import Cloud, Preview, TokenTable, WorstTokens
from microscope_tui.results import Measurement
from microscope_tui.terms import Job, JobKind, Request

Value = Preview | TokenTable | WorstTokens | Cloud
"""What a look gives."""

LOOKS: Mapping[JobKind, type[Value]] = {
    JobKind.PREVIEW: Preview,
    JobKind.TOKENS: TokenTable,
    JobKind.WORST: WorstTokens,
    JobKind.MAP: Cloud,
    JobKind.TSNE: Cloud,
}
"""What a job of each kind makes."""


def value_of(kind: JobKind, data: Mapping[str, Any]) -> Value | None:
    """What a job of this kind made; None for what another version wrote in another way: it is made anew."""
    try:
        return LOOKS[kind].from_json(data)
    except (LookupError, TypeError, ValueError, AttributeError):
        return None


@dataclass(frozen=True)
class Held:
    """One value of the cache: `what` it is for people, its size in bytes, when it was last used (seconds since the
    epoch), and whether a waiting or running job needs it."""

    key: str
    kind: str
    what: str
    size: int
    used: float
    in_use: bool


@dataclass(frozen=True)
class Stock:
    """All that the cache holds. `size` are the bytes that it takes and `limit` those that it may take; `damaged`
    values were set aside."""

    folder: str
    held: tuple[Held, ...]
    size: int
    limit: int
    damaged: int = 0


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

    read_only: bool
    """Whether nothing is measured and nothing written."""

    def check(self, request: Request) -> None:
        """Raise for a model or slice that cannot exist (a missing folder, a name that is no name)."""

    def recall(self, request: Request) -> Measurement | None:
        """The finished measurement of this request, None if the store has none."""

    def partial(self, job_id: str) -> Measurement | None:
        """What a running job has measured so far."""

    def look(self, request: Request, kind: JobKind, example: int | None) -> Value | None:
        """What a job of this kind made of the request and the example, None if the store has nothing."""

    def submit(self, request: Request, kind: JobKind = JobKind.MEASURE, example: int | None = None) -> Job:
        """Ask the worker to measure, or to look at something; it is started when none lives."""

    def cancel(self, job_id: str) -> None:
        """Stop a job."""

    def pause(self, job_id: str) -> None:
        """Set a job aside, waiting or running."""

    def resume(self, job_id: str) -> None:
        """Let a paused job go on."""

    def reorder(self, job_id: str, place: int) -> None:
        """Put a waiting job at a place of the queue, 0 for the next."""

    def retry(self, job_id: str) -> None:
        """Ask once more for what a job that has ended was asked for."""

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

    def stock(self) -> Stock:
        """What the cache holds."""

    def remove(self, key: str) -> None:
        """Remove a value from the cache."""

    def verify(self) -> Sequence[str]:
        """Read and check every value; a sentence for each that is damaged and was set aside."""

    def tidy(self) -> str:
        """Remove what killed processes left; what that was, as a sentence."""

    def close(self) -> None:
        """Let go of the store and of the worker, which lives on."""
