"""A cache that is only looked at: somebody else's results, without a worker and without a byte written."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from microscope_tui.catalogue.listing import Entry
from microscope_tui.errors import Fault, MicroscopeError
from microscope_tui.results import Measurement
from microscope_tui.settings import Settings
from microscope_tui.store import Store
from microscope_tui.store.contents import contents
from microscope_tui.store.rows import Asked, Kind
from microscope_tui.terms import KIND_WORDS, Job, JobKind, Request, SliceSpec, Stream
from microscope_tui.tui.data.apart import MADE, ROWS, apart
from microscope_tui.tui.data.source import Held, News, Stock
from microscope_tui.tui.keys import key_of
from microscope_tui.tui.session import Session

if TYPE_CHECKING:
    from microscope_tui.tui.data.values import Value

MAPS = (JobKind.MAP, JobKind.TSNE)


def stock_of(folder: Path, limit: int) -> Stock:
    """What a cache holds that people look for, the largest first. Read without a trace, so that looking makes nothing
    seem used."""
    with Store(folder, read_only=True) as store:
        held = tuple(
            Held(of.entry.key, of.sort, of.what, of.model, of.slice, of.entry.size, of.entry.used, of.entry.in_use)
            for of in contents(store)
            if not of.inner
        )
        size, damaged = store.size(), len(store.damaged())
    return Stock(str(folder), tuple(sorted(held, key=lambda each: (-each.size, each.key))), size, limit, damaged)


class ArchiveSource:
    """The results of a cache by model and slice, whatever files they were made of: those are on another machine."""

    read_only = True

    def __init__(self, settings: Settings) -> None:
        self._folder, self._limit = settings.cache, settings.cache_limit
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._index: dict[tuple[str, str], list[Measurement]] | None = None
        self._asked: dict[str, Asked] | None = None

    def check(self, request: Request) -> None:
        """Everything may be asked for; what is not here is said by `submit`."""

    def recall(self, request: Request) -> Measurement | None:
        """Of the measurements of this model and slice that count these rows the one that is nearest in how it was made,
        of several such the one with the most profiles, and of these the latest; what was asked for of it, where that is
        less. What keeps it apart from what was asked for is said beside it."""
        known = self._known().get((request.model, str(request.slice)), ())
        unlike = [(apart(request, measurement), measurement) for measurement in known]
        fits = [(other, measurement) for other, measurement in unlike if not other.keys() & set(ROWS)]
        # `max` takes the first of several that are alike.
        nearest = max(reversed(fits), key=lambda fit: (-len(fit[0]), len(fit[1].profiles)), default=None)
        return None if nearest is None else nearest[1].narrowed(request) or nearest[1]

    def partial(self, job_id: str) -> Measurement | None:
        with Store(self._folder, read_only=True) as store:
            return store.partial(job_id)

    def look(self, request: Request, kind: JobKind, example: int | None) -> Value | None:
        """What was looked at of these rows of this model and slice, and is nearest in what else was asked for; of
        several such the latest."""

        def fits(asked: Asked) -> bool:
            same = [(a.model, a.slice, a.without, a.one_tile) for a in (asked.request, request)]
            # A map is of one stream; a preview has no model.
            streams = kind not in MAPS or asked.request.streams[0] == request.streams[0]
            rows = same[0] == same[1] or (kind is JobKind.PREVIEW and asked.request.slice == request.slice)
            return (asked.kind, asked.example) == (kind, example) and rows and streams

        with Store(self._folder, read_only=True) as store:
            found = [(key, asked) for key, asked in self._looks(store).items() if fits(asked)]
            nearest = max(reversed(found), key=lambda look: _alike(look[1].request, request), default=None)
            key = None if nearest is None else nearest[0]
            data = None if key is None else store.look(key)
        if data is None:
            return None
        from microscope_tui.tui.data.values import value_of  # a start without a look does not wait for it

        return value_of(kind, data)

    def submit(self, request: Request, kind: JobKind = JobKind.MEASURE, example: int | None = None) -> Job:
        if kind is not JobKind.MEASURE:
            of = f" of {request.streams[0]}" if kind in MAPS else "" if example is None else f" of example {example}"
            instead = self._instead(request, kind)
            what = f"{KIND_WORDS[kind]}{of}"
            raise MicroscopeError(f"This cache holds no {what}, and none is made, for it is open read-only{instead}.")
        has = "only other rows of it" if (request.model, str(request.slice)) in self._known() else "nothing of it"
        raise MicroscopeError(
            f"Not measured, for this cache is open read-only: it has {has} "
            f"({request.model} on {request.slice}). Choose something else.",
            fault=Fault.MODEL,
        )

    def _instead(self, request: Request, kind: JobKind) -> str:
        """What there is of a map of another stream, and how to get there; empty for nothing."""
        if kind not in MAPS:
            return ""
        others = (stream for stream in Stream if stream is not request.streams[0])
        there = [s for s in others if self.look(replace(request, streams=(s,)), kind, None) is not None]
        return f"; there is one of {' and of '.join(there)}: {key_of('stream', 'map')}" if there else ""

    def cancel(self, job_id: str) -> None:
        raise self._refusal("no job is cancelled")

    def leave(self, job_id: str) -> Job:
        raise self._refusal("no job is cancelled")

    def pause(self, job_id: str) -> None:
        raise self._refusal("no job is paused")

    def resume(self, job_id: str) -> None:
        raise self._refusal("no job is resumed")

    def reorder(self, job_id: str, place: int) -> None:
        raise self._refusal("no job is moved")

    def retry(self, job_id: str) -> None:
        raise self._refusal("nothing is measured")

    def jobs(self) -> Sequence[Job]:
        with Store(self._folder, read_only=True) as store:
            return store.jobs()

    def lives(self) -> bool:
        return False

    def outdated(self) -> str | None:
        return None

    def follow(self) -> Iterator[News]:
        """No news comes, and the end of it is not the end of a worker."""
        self._closed.wait()
        yield from ()

    def start(self, session: Session, given: Collection[str]) -> Session:
        """The session to begin with: on the newest result, unless the one wanted is here or was asked for by name."""
        if {"models", "slice"} & set(given):
            return session
        known = self._known()
        if not known or any((model, str(session.slice)) in known for model in session.models):
            return session
        model, spec = next(reversed(known))
        return replace(session, models=(model,), slice=SliceSpec.parse(spec), others=(), slots=())

    def models(self) -> Sequence[Entry]:
        """The models that there are results of."""
        slices: dict[str, set[str]] = defaultdict(set)
        for model, spec in self._known():
            slices[model].add(spec)
        return [Entry(model, _count(len(specs), "slice"), "") for model, specs in sorted(slices.items())]

    def slices(self) -> Sequence[Entry]:
        """The slices that there are results of."""
        models: dict[str, set[str]] = defaultdict(set)
        for model, spec in self._known():
            models[spec].add(model)
        return [Entry(spec, _count(len(names), "model"), "") for spec, names in sorted(models.items())]

    def on_hub(self, entry: Entry, *, slices: bool) -> Entry:
        raise self._refusal("the hub is not asked")

    def log_tail(self) -> str:
        return "There is no worker: this cache is only looked at."

    def stock(self) -> Stock:
        return stock_of(self._folder, self._limit)

    def remove(self, key: str) -> None:
        raise self._refusal("nothing is removed")

    def verify(self) -> Sequence[str]:
        """Reads every value as `verify` of a store does; what is damaged is said and stays where it is."""
        with Store(self._folder, read_only=True) as store:
            for row in store.entries():
                kind, _, name = row.key.partition("/")
                if kind == Kind.BLOB:
                    store.blob(name)
                elif kind == Kind.MEASUREMENT:
                    store.measurement(name)
            return [f"{each.key}: {each.reason}" for each in store.damaged()]

    def tidy(self) -> str:
        raise self._refusal("nothing is removed")

    def close(self) -> None:
        self._closed.set()

    def _looks(self, store: Store) -> dict[str, Asked]:
        with self._lock:
            if self._asked is None:
                self._asked = store.looks()
            return self._asked

    def _known(self) -> dict[tuple[str, str], list[Measurement]]:
        with self._lock:
            if self._index is None:
                index: dict[tuple[str, str], list[Measurement]] = defaultdict(list)
                with Store(self._folder, read_only=True) as store:
                    for row in sorted(store.entries(), key=lambda row: row.stored):
                        kind, _, name = row.key.partition("/")
                        if kind == Kind.MEASUREMENT and (found := store.measurement(name)):
                            index[found.model, str(found.slice)].append(found)
                self._index = dict(index)
            return self._index

    def _refusal(self, what: str) -> MicroscopeError:
        return MicroscopeError(f"Read-only {what}.")


def _alike(one: Request, other: Request) -> int:
    """In how much of how they are to be measured two requests agree."""
    return sum(getattr(one, name) == getattr(other, name) for name in (*ROWS, *MADE))


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'} measured"
