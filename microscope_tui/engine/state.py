"""What a walk over a slice has so far, kept in the store, so that it can go on after any end and grow later.

A state is committed after whole batches and read back bit for bit: the sums go on as if nothing had happened,
and the final numbers are those of an undisturbed run. A larger draw of the same slice starts from the state of
a smaller one, for a draw begins with what the smaller one drew. Between two states the rows of each batch are kept by
themselves (see `journal`): whatever dies costs the batch in flight, where there is time to write them.
"""

from __future__ import annotations

import json
import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import MappingProxyType

from microscope_tui.engine.accumulate import Accumulator
from microscope_tui.engine.answers import Answers
from microscope_tui.engine.journal import Block, Journal
from microscope_tui.engine.tensors import metadata_of, parts_of, tensors_of
from microscope_tui.models.base import Captured
from microscope_tui.results import Answer, Skipped
from microscope_tui.stamps import Stamps, refuse_changed
from microscope_tui.store import DiskFull, Store, StoreFull, content_key
from microscope_tui.store.libraries import installed, learned

SHARE = 0.05
"""At most this share of a walk's time goes into commits of sums where each batch is kept by itself as well."""

ALONE = 0.1
"""The same where batches cannot be kept: so a kill costs at most ten times what it takes to write the sums."""

QUOTA_SHARE = 0.25
"""A state larger than this share of the cache's limit is not kept: it would push out everything else."""

LOST = "cannot be resumed"
"""What is said of a walk of which nothing is kept, before the reason."""


@dataclass(frozen=True)
class Resumed:
    """What was read back: the walk goes on behind the first `consumed` examples, of which `done` were counted."""

    consumed: int
    skipped: list[Skipped]
    done: int


class Keeper:
    """Commits the state of one walk, and finds the state to begin from.

    `base` is the name of all that the state depends on but the draw, and `wider` are those of sums that hold these and
    more; `keys` are the examples to walk over, in order, in batches that end at multiples of `batch`. `grows` says
    whether a larger draw can begin with these examples. `read` are the files that the rows are made of: once one is
    not as it was, nothing is kept any more. `notes` say why nothing is kept, if so.
    """

    def __init__(
        self,
        store: Store,
        base: str,
        keys: Sequence[str],
        batch: int,
        *,
        grows: bool,
        read: Stamps = MappingProxyType({}),
        wider: Collection[str] = (),
    ) -> None:
        self._store, self._base, self._keys, self._batch = store, base, list(keys), batch
        self._grows, self._read, self._wider = grows, read, wider
        self._last, self._cost = time.monotonic(), 0.0  # when the last commit of sums ended, and how long it took
        self._kept = 0  # examples of it
        self._journal = Journal(store, base, self._keys, batch)
        self.notes: tuple[str, ...] = ()

    def begin(self, accumulator: Accumulator, answers: Answers) -> Resumed | None:
        """Fill the accumulator and the answers from the state from which one gets furthest, if there is one."""
        size = accumulator.nbytes
        if size > QUOTA_SHARE * self._store.limit_bytes:
            self.notes = (f"{LOST}: what would be kept, {size / 1e9:.1f} GB, is more than a quarter of cache_limit_gb",)
            return None
        for name in sorted(self._candidates(), key=lambda name: -self._journal.reach(_count(name))):
            file = self._store.blob_file(name)
            if file is None:
                continue
            try:
                head = json.loads(metadata_of(file)["state"])
                if head["skipped"] and _base(name) != self._base:
                    continue  # perhaps for the sake of a stream that is not asked for
                if head["skipped"] and learned(head.get("optional")):
                    continue  # perhaps for want of what is here now
                tensors = tensors_of(file)
            except FileNotFoundError:
                continue  # removed by another process since: for its age, or by somebody's hand
            accumulator.load_state(tensors, head["counts"])
            answers.given, answers.asked = [Answer(**given) for given in head["answers"]], head["asked"]
            self._kept = head["consumed"]
            self._journal.begin(self._kept, len(head["skipped"]), len(answers.given))
            return Resumed(head["consumed"], [Skipped(**s) for s in head["skipped"]], head["done"])
        return None

    def blocks(self) -> Iterator[Block]:
        """What was done behind that state, to be counted again."""
        return iter(()) if self.notes else self._journal.blocks(self._kept)

    def note(self, captured: Captured, places: Sequence[int]) -> None:
        """A batch was counted, of the examples at these places: it goes into the next commit."""
        if not self.notes:
            self._journal.note(captured, places)

    def furthest(self) -> Path | None:
        """The file of the furthest state of these examples, to be opened at once; None when there is none."""
        names = self._candidates()
        return next((file for name in names if (file := self._store.blob_file(name)) is not None), None)

    def commit(
        self,
        accumulator: Accumulator,
        answers: Answers,
        skipped: Sequence[Skipped],
        done: int,
        consumed: int,
        *,
        last: bool = False,
    ) -> None:
        """Keep what is known after the first `consumed` examples: the sums if it is time for them, else the last batch.

        It is time now and then, at the end, when the walk stops here (`last`), and at the last whole batch if a larger
        slice can go on from there. Raises `MicroscopeError` when a file was changed that the rows are made of.
        """
        if self.notes or consumed == self._kept:
            return
        refuse_changed(self._read)
        if not last and not self._due(consumed, accumulator.nbytes):
            self._journal.write(consumed, done, answers.asked, skipped, answers.given)
            return
        started = time.monotonic()
        head = {
            "consumed": consumed,
            "skipped": [asdict(s) for s in skipped],
            "done": done,
            "counts": accumulator.counts(),
            "answers": [asdict(given) for given in answers.given],
            "asked": answers.asked,
            "optional": installed(),
        }
        try:
            state = parts_of(accumulator.state_dict(), {"state": json.dumps(head)})
            self._store.put_blob(self._name(consumed), state)
        except DiskFull:
            if not (last and self._journal.whole and self._journal.end == consumed):
                raise
            # Every batch is on the disk by itself: nothing of a walk that stops here is lost.
        except StoreFull as error:
            # The measurement itself goes on: what cannot be kept is measured again after a crash.
            kept = self._journal.end
            self.notes = (
                f"can be resumed only from its first {kept} examples: {error}" if kept else f"{LOST}: {error}",
            )
        else:
            self._kept = consumed
            kept_names = (self._name(consumed), self._name(self._last_whole))
            self._drop([name for name in self._own() if name not in kept_names])
            self._journal.begin(consumed, len(skipped), len(answers.given))
        self._last = time.monotonic()
        self._cost = self._last - started

    def _due(self, consumed: int, size: int) -> bool:
        """Whether it is time for the sums, of `size` bytes: blocks shall not take more room than they do."""
        share = SHARE if self._journal.whole else ALONE
        late = time.monotonic() >= self._last + self._cost / share
        return late or self._journal.nbytes > size or consumed in (self._last_whole, len(self._keys))

    @property
    def _last_whole(self) -> int:
        """The end of the last batch that a larger slice has too."""
        total = len(self._keys)
        return total - total % self._batch if self._grows else total

    def _name(self, consumed: int, base: str | None = None) -> str:
        return f"state-{base or self._base}-{consumed}-{content_key(keys=self._keys[:consumed])[:16]}"

    def _candidates(self) -> list[str]:
        """States of the first of these examples, the furthest first: of all of them, or of whole batches."""
        bases, total = (self._base, *self._wider), len(self._keys)
        found = [(_count(name), -bases.index(_base(name)), _base(name)) for name in self._names(bases)]
        usable = {each for each in found if each[0] == total or (each[0] < total and not each[0] % self._batch)}
        return [self._name(count, base) for count, _, base in sorted(usable, reverse=True)]

    def _own(self) -> list[str]:
        """The states of beginnings of these examples that are kept now."""
        names = self._names((self._base,))
        return [name for name in names if name == self._name(min(_count(name), len(self._keys)))]

    def _names(self, bases: Collection[str]) -> list[str]:
        keys = (entry.key.partition("/") for entry in self._store.entries())
        return [name for kind, _, name in keys if kind == "blob" and name.startswith("state-") and _base(name) in bases]

    def _drop(self, names: Sequence[str]) -> None:
        for name in names:
            self._store.remove_blob(name)


def _base(name: str) -> str:
    return name.split("-")[1]


def _count(name: str) -> int:
    """How many examples the state of this name is of."""
    return int(name.split("-")[2])
