"""What a walk over a slice has so far, kept in the store, so that it can go on after any end and grow later.

A state is committed after whole batches and read back bit for bit: the sums go on as if nothing had happened,
and the final numbers are those of an undisturbed run. A larger draw of the same slice starts from the state of
a smaller one, for a draw begins with what the smaller one drew. Between two states the rows of each batch are kept by
themselves (see `journal`): whatever dies costs the batch in flight, where there is time to write them.
"""

from __future__ import annotations

import json
import time
from collections.abc import Collection, Sequence
from pathlib import Path
from types import MappingProxyType

import torch

from microscope_tui.engine.accumulate import Accumulator
from microscope_tui.engine.journal import UNREADABLE, Block, Journal
from microscope_tui.engine.tally import Tally
from microscope_tui.engine.tensors import metadata_of, parts_of, tensors_of
from microscope_tui.errors import MicroscopeError
from microscope_tui.models.base import Captured
from microscope_tui.stamps import Stamps, refuse_changed
from microscope_tui.store import DiskFull, Store, StoreFull, content_key
from microscope_tui.store.names import StateName, parsed, state_name

SHARE = 0.05
"""At most this share of a walk's time goes into commits of sums where each batch is kept by itself as well."""

ALONE = 0.1
"""The same where batches cannot be kept: so a kill costs at most ten times what it takes to write the sums."""

CHECKS = 0.01
"""At most this share goes into looking whether files were changed, between two commits of sums."""

QUOTA_SHARE = 0.25
"""A state larger than this share of the cache's limit is not kept: it would push out everything else."""

LOST = "cannot be resumed"
"""What is said of a walk of which nothing is kept, before the reason."""


class Keeper:
    """Commits the state of one walk, and finds the state to begin from.

    `base` is the name of all that the state depends on but the draw, and `wider` are those of sums that hold these and
    more; `keys` are the examples to walk over, in order, in batches that end at multiples of `batch`. `grows` says
    whether a larger draw can begin with these examples. `read` are the files that the rows are made of: once one is
    not as it was, nothing is kept any more. `optional` are the libraries for some examples that are here. `notes` say
    why nothing is kept, if so.
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
        optional: Collection[str] = (),
    ) -> None:
        self._store, self._base, self._keys, self._batch = store, base, list(keys), batch
        self._grows, self._read, self._wider, self._optional = grows, read, wider, optional
        self._last, self._cost = time.monotonic(), 0.0  # when the last commit of sums ended, and how long it took
        self._kept = 0  # examples of it
        self._asked, self._asking = 0.0, 0.0  # when the files were looked at last, and how long that took
        self._sure = 0  # examples that are of the files as they were
        self._journal = Journal(store, base, self._keys, batch)
        self.notes: tuple[str, ...] = ()

    def begin(self, accumulator: Accumulator) -> Tally | None:
        """Fill the accumulator from the furthest state that will do, if there is one, and say what it is of."""
        size = accumulator.nbytes
        if size > QUOTA_SHARE * self._store.limit_bytes:
            self.notes = (f"{LOST}: what would be kept, {size / 1e9:.1f} GB, is more than a quarter of cache_limit_gb",)
            return None
        # Every block is of one batch: from a state that is less far one does not get further.
        for base, name in self._candidates():
            file = self._store.blob_file(name)
            if file is None:
                continue
            try:
                head = json.loads(metadata_of(file)["state"])
                tally = Tally.from_json(head)
                if tally.skipped and base != self._base:
                    continue  # perhaps for the sake of a stream that is not asked for
                if tally.skipped and not set(self._optional) <= set(tally.optional):
                    continue  # perhaps for want of what is here now
                tensors, counts = tensors_of(file), head["counts"]
            except UNREADABLE:
                continue  # of another version; or removed by another process since: for its age, or by somebody's hand
            accumulator.load_state(tensors, counts)
            self._kept = self._sure = tally.consumed
            self._journal.follow(tally)
            return tally
        return None

    def block(self, device: torch.device) -> Block | None:
        """What was done behind all that was counted up to now, to be counted again; for a model that is entered on this
        `device`. None when there is nothing more that will do."""
        if self.notes:
            return None
        return self._journal.read(self._journal.tally.consumed, device=device, optional=self._optional)

    def replayed(self, block: Block, accumulator: Accumulator, tally: Tally) -> None:
        """That block was counted: `tally` is what is known now. Raises as `commit` does."""
        self._journal.replayed(tally, block)
        self._sure = tally.consumed
        if tally.consumed in self._ends:
            self.commit(accumulator, tally)

    def note(self, captured: Captured, places: Sequence[int]) -> None:
        """A batch was counted, of the examples at these places: it goes into the next commit."""
        if not self.notes:
            self._journal.note(captured, places)

    def spare_memory(self) -> None:
        """Hold no rows from now on until their batch is over, for memory is short: only sums are committed then."""
        self._journal.spare_memory()

    def furthest(self) -> Path | None:
        """The file of the furthest state of these examples, to be opened at once; None when there is none."""
        files = (self._store.blob_file(name) for _, name in self._candidates())
        return next((file for file in files if file is not None), None)

    def commit(self, accumulator: Accumulator, tally: Tally, *, last: bool = False) -> None:
        """Keep what is known: the sums if it is time for them, else the last batch.

        It is time now and then, at the end, when the walk stops here (`last`), and at the last whole batch if a larger
        slice can go on from there. Raises `MicroscopeError` when a file was changed that the rows are made of, and
        `DiskFull`.
        """
        if self.notes or tally.consumed == self._kept:
            return
        due = last or self._due(tally.consumed, accumulator.nbytes)
        self._refuse_changed(tally.consumed, at_once=due)
        if not due:
            try:
                self._journal.write(tally)
            except DiskFull:  # the sums take the place of all blocks since the last ones
                self._refuse_changed(tally.consumed, at_once=True)
            else:
                return
        started = time.monotonic()
        head = {**tally.to_json(), "counts": accumulator.counts()}
        try:
            state = parts_of(accumulator.state_dict(), {"state": json.dumps(head)})
            self._store.put_blob(self._name(tally.consumed), state)
        except DiskFull:
            if not (last and self._journal.tally.consumed == tally.consumed):
                raise
            # Every batch is on the disk by itself: nothing of a walk that stops here is lost.
        except StoreFull as error:
            # The measurement itself goes on: what cannot be kept is measured again after a crash.
            kept = self._journal.tally.consumed
            self._journal.spare_memory()
            self.notes = (
                f"can be resumed only from its first {kept} examples: {error}" if kept else f"{LOST}: {error}",
            )
        else:
            self._kept = tally.consumed
            self._journal.follow(tally)
            self._tidy()
        self._last = time.monotonic()
        self._cost = self._last - started

    def _refuse_changed(self, consumed: int, *, at_once: bool) -> None:
        """Raise when a file was changed that the rows of the first `consumed` examples are made of. There may be many
        files: it is asked before all sums, but before a block only if that takes little of the time. So what was
        written since the last time goes when one was changed."""
        started = time.monotonic()
        if not at_once and started < self._asked + self._asking / CHECKS:
            return
        try:
            refuse_changed(self._read)
        except MicroscopeError:
            self._journal.forget(self._sure, self._journal.tally.consumed)
            raise
        self._asked, self._sure = time.monotonic(), consumed
        self._asking = self._asked - started

    def _tidy(self) -> None:
        """Remove what nobody needs any more, now that the last sums are on the disk: what is behind those that a larger
        draw can begin with. What is further may be another walk's."""
        behind = {name: each.count for name, each in self._states({self._base}).items() if each.count <= self._kept}
        own = {name: count for name, count in behind.items() if name == self._name(count)}
        whole = max((count for count in own.values() if not count % self._batch), default=0)
        needed = whole if self._grows else self._kept
        self._store.remove_blobs([name for name, count in own.items() if count not in (needed, self._kept)])
        self._journal.forget(0, needed)

    def _due(self, consumed: int, size: int) -> bool:
        """Whether it is time for the sums, of `size` bytes: blocks shall not take more room than they do."""
        share = SHARE if self._journal.whole else ALONE
        late = time.monotonic() >= self._last + self._cost / share
        return late or self._journal.nbytes + self._journal.held > size or consumed in self._ends

    @property
    def _ends(self) -> tuple[int, int]:
        """Where sums are committed in any case: at the end of the last batch that a larger slice has too, if there are
        larger ones, and at the end of all."""
        total = len(self._keys)
        return (total - total % self._batch if self._grows else total), total

    def _name(self, consumed: int, base: str | None = None) -> str:
        return state_name(base or self._base, consumed, content_key(keys=self._keys[:consumed])[:16])

    def _candidates(self) -> list[tuple[str, str]]:
        """Base and name of the states of the first of these examples, the furthest first: of all of them, or of whole
        batches."""
        bases, total = (self._base, *self._wider), len(self._keys)
        found = {(each.count, -bases.index(each.base)) for each in self._states(bases).values()}
        usable = [each for each in found if each[0] == total or (each[0] < total and not each[0] % self._batch)]
        return [(bases[-i], self._name(count, bases[-i])) for count, i in sorted(usable, reverse=True)]

    def _states(self, bases: Collection[str]) -> dict[str, StateName]:
        """The states of these bases that are kept now, of whatever draw, by name."""
        keys = (entry.key.partition("/") for entry in self._store.entries())
        found = {name: parsed(name) for kind, _, name in keys if kind == "blob"}
        return {name: each for name, each in found.items() if isinstance(each, StateName) and each.base in bases}
