"""Looks: what the worker makes of single examples and rows, asked for and filed without holding up the screen.

As the clerk does for measurements: everything is filed under what was asked, so an answer that comes after the user
moved on is kept for later and never shown wrongly. All of it runs on the screen's own thread, but for the errands.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from textual.message_pump import MessagePump

from microscope_tui.errors import MicroscopeError
from microscope_tui.terms import Job, JobKind, JobState, Request
from microscope_tui.tui.data.inbox import Rounds
from microscope_tui.tui.data.source import Source
from microscope_tui.tui.errands import errand

if TYPE_CHECKING:
    from microscope_tui.tui.data.values import Value

KEPT = 4
"""Answers that are kept, the last ones asked for: the tokens of one example can take 50 MB."""


@dataclass(frozen=True)
class Look:
    """A question: what a job of `kind` makes of a request, and of one example of its slice.

    Of a request only what decides which rows there are: what is merely computed from them makes no other look.
    """

    request: Request
    kind: JobKind
    example: int | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "request", replace(self.request, matched=None, reference=False))

    @classmethod
    def of(cls, job: Job) -> Look:
        return cls(job.request, job.kind, job.example)


@dataclass(frozen=True)
class Seen:
    """What is known of a look. `error` is a sentence to show.

    `more`: there will be more, so that `value` is only what there was before, or a part of it. Should that not come,
    the value stays.
    """

    value: Value | None = None
    job: Job | None = None
    error: str | None = None
    more: bool = False

    @property
    def waiting(self) -> bool:
        return self.more or (self.value is None and self.error is None)

    def failed(self, sentence: str, job: Job | None = None) -> Seen:
        """What is known when nothing more will come."""
        return Seen(self.value, job) if self.more else Seen(job=job, error=sentence)


class Looks:
    """All looks of one screen, `pump`; `changed` is called when there is more to show."""

    def __init__(self, source: Source, pump: MessagePump, changed: Callable[[], None], asked: Callable[[], None]):
        """`asked` is called when the worker was asked for something, which starts it where it has ended."""
        self._source, self._pump, self._changed, self._worker_asked = source, pump, changed, asked
        self._seen: dict[Look, Seen] = {}
        self._awaited: dict[object, frozenset[Look]] = {}
        self._given_up: set[str] = set()
        """Jobs that nobody here waited for any more: where they were cancelled it was not by the user."""
        self._renewed: set[tuple[Look, int]] = set()
        """What was made anew of so many examples."""
        self._rounds = Rounds(source, pump, self._awaiting, self.arrived)

    def of(self, look: Look) -> Seen:
        return self._seen.get(look, Seen())

    def ask(self, look: Look) -> Seen:
        """What is known of it; it is asked for when it was not yet."""
        if look in self._seen:
            self._seen[look] = self._seen.pop(look)  # the last asked for is forgotten last
        else:
            self._ask(look)
        return self._seen[look]

    def again(self, look: Look) -> None:
        """Ask for it once more, unless that is being done: a job that is on its way is found, not doubled, and a worker
        that has died meanwhile is started."""
        seen = self.of(look)
        if not seen.waiting or seen.job is not None:
            self._ask(look, anew=seen.value is not None)

    def renew(self, look: Look, examples: int) -> None:
        """Have it made anew once, now that `examples` are measured; what there is stays until then, and if it fails."""
        seen = self.of(look)
        if seen.value and not seen.waiting and not self._source.read_only and (look, examples) not in self._renewed:
            self._renewed.add((look, examples))
            self._ask(look, anew=True, before=seen.value)

    def wait(self, who: object, looks: Iterable[Look]) -> None:
        """These are what somebody waits for, in place of what it was: who leafs through examples shall not wait for
        those that were passed over. The worker is told to leave what nobody waits for any more."""
        before, now = self._awaited.pop(who, frozenset()), frozenset(looks)
        if now:
            self._awaited[who] = now
        for look in before.difference(*self._awaited.values()):
            self._drop(look)

    def arrived(self, jobs: Sequence[Job], parts: Collection[str] = ()) -> None:
        """The worker tells of these jobs; of those with the ids `parts` something is there already."""
        for job in jobs:
            self._job(job)
            if job.id in parts and job.kind is not JobKind.MEASURE and self.of(Look.of(job)).waiting:
                self._read_part(Look.of(job))

    def worker_gone(self, sentence: str) -> None:
        """The worker ended: what waited for it will not come."""
        for look, seen in self._seen.items():
            if seen.waiting and seen.job is not None:
                self._seen[look] = seen.failed(sentence)

    def _drop(self, look: Look) -> None:
        seen = self.of(look)
        if look in self._seen and seen.waiting:
            del self._seen[look]
            self._renewed = {each for each in self._renewed if each[0] != look}
            if seen.job and not seen.job.state.ended:
                self._leave(seen.job)

    def _ask(self, look: Look, *, anew: bool = False, before: Value | None = None) -> None:
        """Look it up, and have it made where there is nothing or only a part, or it shall be made `anew`; `before` is
        shown until then."""
        self._seen[look] = Seen(before, more=before is not None)
        for old in [each for each, seen in self._seen.items() if not seen.waiting][:-KEPT]:
            del self._seen[old]

        def find() -> tuple[Value | None, Job | None]:
            self._source.check(look.request)
            value = None if anew else self._source.look(look.request, look.kind, look.example)
            if value and (self._source.read_only or not is_part(value)):
                return value, None
            return value, self._source.submit(look.request, look.kind, look.example)

        def found(answer: tuple[Value | None, Job | None]) -> None:
            value, job = answer
            if job and look not in self._seen:
                self._leave(job)
            elif job:
                if value:
                    self._put(look, Seen(value, more=True))
                self._worker_asked()
                self._job(job)
                self._rounds.begin()
            else:
                self._put(look, Seen(value))

        errand(self._pump, find, found, lambda sentence: self._put(look, self.of(look).failed(sentence)))

    def _job(self, job: Job) -> None:
        look, seen = Look.of(job), self._seen.get(Look.of(job))
        if seen is None or look.request != job.request or not seen.waiting or (seen.job and job.is_older(seen.job)):
            return
        if job.state is JobState.FAILED:
            self._put(look, seen.failed(job.error or "The worker gave no reason: its log may.", job))
        elif job.state is JobState.CANCELLED and job.id in self._given_up:
            if seen.job and seen.job.id == job.id:  # found on its way by who came back before it was cancelled
                self._ask(look)
        elif job.state is JobState.CANCELLED:
            self._put(look, seen.failed("This was cancelled.", job))
        else:
            ended = job.state is JobState.DONE and not (seen.job and seen.job.state is JobState.DONE)
            self._put(look, replace(seen, job=job))
            if ended:
                self._read(look)

    def _read(self, look: Look) -> None:
        """A job is done: read what it made."""

        def read() -> Value:
            if (value := self._source.look(look.request, look.kind, look.example)) is None:
                gone = "What the worker made of it is no longer in the store."
                raise MicroscopeError(self._source.outdated() or gone)
            return value

        errand(
            self._pump,
            read,
            lambda value: self._put(look, Seen(value)),
            lambda sentence: self._put(look, self.of(look).failed(sentence)),
        )

    def _read_part(self, look: Look) -> None:
        """There is something of it in the store: show that until all of it is there."""

        def found(value: Value | None) -> None:
            if value and (seen := self.of(look)).waiting:
                self._put(look, replace(seen, value=value, more=True))

        errand(
            self._pump,
            lambda: self._source.look(look.request, look.kind, look.example),
            found,
            lambda _: None,
        )

    def _leave(self, job: Job) -> None:
        """Nobody waits for it here; who waits for it elsewhere keeps it."""
        self._given_up.add(job.id)
        errand(self._pump, lambda: self._source.leave(job.id), lambda _: None, lambda _: None)

    def _put(self, look: Look, seen: Seen) -> None:
        if look in self._seen:
            self._seen[look] = seen
            self._changed()

    def _awaiting(self) -> bool:
        return any(seen.waiting for seen in self._seen.values())


def is_part(value: Value) -> bool:
    """Whether a value is not all of what was asked for."""
    from microscope_tui.inspection import Cloud  # a start without a look does not wait for it

    return isinstance(value, Cloud) and not value.complete
