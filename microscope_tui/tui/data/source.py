"""Where the explorer's data come from: the protocol that its screens know.

Every call may block (disk, socket, start of the worker): the screens make them from threads only.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol

from microscope_tui.results import Measurement
from microscope_tui.terms import Job, JobKind, Request

if TYPE_CHECKING:
    from microscope_tui.catalogue.listing import Entry
    from microscope_tui.tui.data.values import Value


class Held(NamedTuple):
    """One value of the cache: its `kind` in a word or two, `what` it is in a sentence, its model and slice (empty where
    there is none, or it is not known), its size in bytes, when it was last used (seconds since the epoch), and whether
    a waiting or running job needs it."""

    key: str
    kind: str
    what: str
    model: str
    slice: str
    size: int
    used: float
    in_use: bool


class Stock(NamedTuple):
    """All that the cache holds and that can be made again. `size` are the bytes that it takes and `limit` those that it
    may take; `damaged` values were set aside."""

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

    def leave(self, job_id: str) -> Job:
        """Wait for a job no more, which stops it if nobody else does; the job as it stands then."""

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

    def lives(self) -> bool:
        """Whether there is a worker now."""

    def outdated(self) -> str | None:
        """Why what the worker makes is not found, in a sentence: it is of another state of the program or of its
        libraries. None when it is not."""

    def follow(self) -> Iterator[News]:
        """Every job as it stands, then what the worker tells; ends when the worker does, and at `close`. Does not start
        one."""

    def models(self) -> Sequence[Entry]:
        """Models to offer."""

    def slices(self) -> Sequence[Entry]:
        """Slices to offer."""

    def on_hub(self, entry: Entry, *, slices: bool) -> Entry:
        """What the hub says of a model or slice that is not on this machine. Raises `MicroscopeError` with the reason
        when it cannot be asked, as a part of a sentence."""

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
