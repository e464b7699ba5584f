"""News from the worker, gathered in a thread and handed to the screen at most four times a second."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from textual.message import Message
from textual.message_pump import MessagePump

from microscope_tui.errors import MicroscopeError
from microscope_tui.terms import Job
from microscope_tui.tui.data.source import Source
from microscope_tui.tui.errands import errand
from microscope_tui.tui.keys import key_of

INTERVAL = 0.25
"""Least time between two deliveries, in seconds."""

CHECK_EVERY = 5.0
"""Seconds between two looks at the list of jobs while something is awaited, in case news went missing."""


class Arrived(Message, bubble=False):
    """There is something in the inbox. Several at once are as good as one."""

    def can_replace(self, message: Message) -> bool:
        return isinstance(message, Arrived)


@dataclass
class Post:
    """What came since the last look: the newest state of each job, which have new partial results, the log."""

    jobs: dict[str, Job] = field(default_factory=dict)
    partials: set[str] = field(default_factory=set)
    logged: bool = False
    ended: str | None = None
    """Why nothing more will come, else None."""


class Inbox:
    """Follows a source in a daemon thread. Only the newest of each kind is kept: a slow screen falls behind nothing."""

    def __init__(self, source: Source, pump: MessagePump) -> None:
        self._source, self._pump = source, pump
        self._lock = threading.Lock()
        self._post = Post()
        self._thread: threading.Thread | None = None

    @property
    def following(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def follow(self) -> None:
        """Follow from now on, unless it does already."""
        if not self.following:
            with self._lock:
                self._post.ended = None  # of the worker before
            self._thread = threading.Thread(target=self._run, daemon=True, name="inbox")
            self._thread.start()

    def take(self) -> Post:
        """Empty the inbox."""
        with self._lock:
            post, self._post = self._post, Post()
            return post

    def _run(self) -> None:
        try:
            for news in self._source.follow():
                if news.kind == "log":
                    self._put(_log)
                elif news.job is not None:
                    self._put(_changed(news.job, partial=news.kind == "partial"))
            self._put(_end(_gone("It has ended.")))
        except MicroscopeError as error:
            self._put(_end(_gone(str(error))))
        except Exception as error:  # a defect of ours must not end the app in silence
            self._put(_end(f"internal error: {type(error).__name__}: {error}"))

    def _put(self, change: Callable[[Post], None]) -> None:
        with self._lock:
            change(self._post)
        self._pump.post_message(Arrived())


class Rounds:
    """Looks at the list of jobs now and then while something is `awaited`, and hands it to `listed`."""

    def __init__(
        self,
        source: Source,
        pump: MessagePump,
        awaited: Callable[[], bool],
        listed: Callable[[Sequence[Job]], None],
    ) -> None:
        self._source, self._pump, self._awaited, self._listed = source, pump, awaited, listed
        self._under_way = False

    def begin(self) -> None:
        """Go on from now, unless that is being done."""
        if not self._under_way:
            self._under_way = True
            self._pump.set_timer(CHECK_EVERY, self._look)

    def _look(self) -> None:
        self._under_way = False
        if self._awaited():
            errand(self._pump, self._source.jobs, self._found, lambda _: self.begin())

    def _found(self, jobs: Sequence[Job]) -> None:
        self._listed(jobs)
        self.begin()


def _gone(why: str) -> str:
    """What is said when no news comes any more: first what to do, for there may be room for no more."""
    return f"{key_of('again')} starts the worker again. {why}"


def _log(post: Post) -> None:
    post.logged = True


def _changed(job: Job, *, partial: bool) -> Callable[[Post], None]:
    def change(post: Post) -> None:
        post.jobs[job.id] = job
        if partial:
            post.partials.add(job.id)

    return change


def _end(sentence: str) -> Callable[[Post], None]:
    def change(post: Post) -> None:
        post.ended = sentence

    return change
