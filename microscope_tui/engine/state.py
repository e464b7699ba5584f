"""What a walk over a slice has so far, kept in the store, so that it can go on after any end and grow later.

Sums are committed after whole batches and read back bit for bit: they go on as if nothing had happened, and the final
numbers are those of an undisturbed run. A larger draw of the same slice starts from the sums of a smaller one, for a
draw begins with what the smaller one drew. In between the rows of each batch are kept by themselves (see `journal`):
whatever dies costs the batch in flight, where there is time to write them.

Sums take the place of all that was kept of their own draw on the way to them, in one step of the store. What was kept
for other draws stays: theirs are the looks and the growing from there. What is not used goes when the cache is full.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType

import torch
from safetensors import safe_open

from microscope_tui.engine.accumulate import Accumulator
from microscope_tui.engine.block import UNREADABLE, Block, read
from microscope_tui.engine.draw import Draw, names_in
from microscope_tui.engine.journal import Journal
from microscope_tui.engine.tally import Tally
from microscope_tui.engine.tensors import head_of, parts_of, tensors_of
from microscope_tui.errors import MicroscopeError
from microscope_tui.models.base import Captured
from microscope_tui.stamps import Stamps, refuse_changed
from microscope_tui.store import QUOTA_SHARE, DiskFull, Store
from microscope_tui.store.names import RowsName, StateName

SHARE = 0.05
"""At most this share of a walk's time goes into commits of sums where each batch is kept by itself as well."""

ALONE = 0.1
"""The same where batches are not kept: so a kill costs at most ten times what it takes to write the sums."""

CHECKS = 0.01
"""At most this share goes into looking whether files were changed, between two commits of sums."""


class Keeper:
    """Commits what one walk has, and finds what to begin with.

    `base` is the name of all that sums depend on but the draw, and `wider` are those of sums that hold these and more,
    with whether the same was captured for them (where not, an example may have been skipped for what is not asked for);
    `keys` are the examples to walk over, in order, in batches that end at multiples of `batch`. `grows` says whether a
    larger draw can begin with these examples. `read` are the files that the rows are made of: once one is not as it
    was, nothing is kept any more. `optional` are the libraries for some examples that are here.
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
        wider: Mapping[str, bool] = MappingProxyType({}),
        optional: Collection[str] = (),
    ) -> None:
        self._store, self._base, self._wider = store, base, wider
        self._draw = Draw(keys, batch)
        # Sums are committed here in any case: of all examples, and of the last batch that a larger draw has too.
        self._ends = {len(keys), self._draw.last_whole} if grows else {len(keys)}
        self._read, self._optional = read, optional
        self._blocks: dict[int, list[RowsName]] = {}  # those that were there when the walk began, by their start
        self._journal = Journal(store)
        self._tally = Tally()  # of all that was counted
        self._summed = 0  # examples that sums on the disk hold
        self._reached = 0  # examples that sums hold and the blocks behind them, without a gap
        self._unsure: list[str] = []  # blocks that were written since the files were looked at
        self._too_large = False
        self._refused = ""  # why the store did not take the sums the last time
        self._last, self._cost = time.monotonic(), 0.0  # when sums were written last, and how long that took
        self._asked, self._asking = 0.0, 0.0  # when the files were looked at last, and how long that took

    @property
    def notes(self) -> tuple[str, ...]:
        """Why work that ends here cannot go on from here, if so for another reason than time."""
        if not self._refused or self._reached == self._tally.consumed:
            return ()
        if not self._reached:
            return (f"cannot be resumed: {self._refused}",)
        return (f"can be resumed only from its first {self._reached} examples: {self._refused}",)

    @property
    def has_all_sums(self) -> bool:
        """Whether sums of all examples are kept."""
        return self._summed == len(self._draw)

    def begin(self, accumulator: Accumulator) -> Tally | None:
        """Fill the accumulator from the furthest sums that will do, if there are any, and say what they are of."""
        size = accumulator.nbytes
        if size > QUOTA_SHARE * self._store.limit_bytes:
            self._too_large = True
            self._refused = f"what would be kept, {size / 1e9:.1f} GB, is more than a quarter of cache_limit_gb"
            return None
        kept = names_in(self._store)
        for batch in self._draw.batches(kept, self._base):
            self._blocks.setdefault(batch.start, []).append(batch)
        for state in self._draw.states(kept, (self._base, *self._wider)):
            if (tally := self._load(state, accumulator)) is not None:
                self._tally, self._summed, self._reached = tally, tally.consumed, tally.consumed
                return tally
        return None

    def block(self, device: torch.device) -> Block | None:
        """What an earlier walk captured of the batch that comes now, to be counted again, for a model that is entered
        on this `device`; None when there is nothing that will do. A batch is asked for once."""
        names = self._blocks.pop(self._tally.consumed, [])
        found = (read(self._store, name, device, self._optional) for name in names)
        return next((block for block in found if block is not None), None)

    def replayed(self, block: Block, accumulator: Accumulator, tally: Tally) -> None:
        """That block was counted: `tally` is what is known now. Raises as `commit` does."""
        before, self._tally = self._tally, tally
        self._journal.nbytes += block.nbytes
        self._follow(before)
        if tally.consumed in self._ends:
            self._put_sums(accumulator)

    def note(self, captured: Captured, places: Sequence[int]) -> None:
        """Some of a batch was counted, of the examples at these places: it goes into the next commit."""
        if not self._too_large:
            self._journal.note(captured, places)

    def spare_memory(self) -> None:
        """Hold no rows from now on until their batch is over, for memory is short: only sums are committed then."""
        self._journal.spare_memory()

    def commit(self, accumulator: Accumulator, tally: Tally) -> None:
        """Keep what is known after one more batch: the sums if it is time for them, else the batch.

        Raises `MicroscopeError` when a file was changed that the rows are made of, and `DiskFull`.
        """
        before, self._tally = self._tally, tally
        if self._too_large:
            return
        if self._due(before.consumed, accumulator.nbytes):
            if not self._put_sums(accumulator):
                self._put_block(before, accumulator)
        else:
            # There may be many files: they are looked at only if that takes little of the time.
            if time.monotonic() >= self._asked + self._asking / CHECKS:
                self._refuse_changed()
            self._put_block(before, accumulator)

    def stop(self, accumulator: Accumulator) -> None:
        """The walk stops here: keep what is not kept yet. Raises as `commit` does."""
        if self._too_large:
            return
        if self._reached < self._tally.consumed:
            self._put_sums(accumulator)
        elif self._unsure:
            self._refuse_changed()

    def _load(self, state: StateName, accumulator: Accumulator) -> Tally | None:
        """Fill the accumulator from these sums, and say what they are of; None where they will not do."""
        file = self._store.blob_file(str(state))
        if file is None:
            return None
        try:
            with safe_open(file, framework="pt") as opened:
                head = head_of(opened)
                tally = Tally.from_json(head)
                if tally.skipped and not self._wider.get(state.base, True):
                    return None  # perhaps for the sake of a stream that is not asked for
                if tally.skipped and not set(self._optional) <= set(tally.optional):
                    return None  # perhaps for want of what is here now
                accumulator.load_state(tensors_of(opened), head["counts"])
        except (*UNREADABLE, MicroscopeError):
            return None  # of another version; or removed by another process since: for its age, or by somebody's hand
        return tally

    def _put_sums(self, accumulator: Accumulator) -> bool:
        """Write the sums; False when the store does not take them, now: its room or its database may be free later.
        The blocks go on meanwhile, up to the room that sums take."""
        self._refuse_changed()
        started, end = time.monotonic(), self._tally.consumed
        head = {**self._tally.to_json(), "counts": accumulator.counts()}
        try:
            sums = parts_of(accumulator.state_dict(), head)
            self._store.put_blob(str(self._draw.state(self._base, end)), sums, instead_of=self._on_the_way(end))
        except DiskFull:
            raise
        except MicroscopeError as error:
            self._refused = str(error)
            return False
        finally:
            self._last = time.monotonic()
            self._cost = self._last - started
        self._refused = ""
        self._summed = self._reached = end
        self._journal.nbytes = 0
        self._journal.next_batch()
        return True

    def _put_block(self, before: Tally, accumulator: Accumulator) -> None:
        """Write the batch that came after `before`, if it is held."""
        name = str(self._draw.rows(self._base, before.consumed))
        try:
            written = self._journal.write(name, self._tally.since(before), accumulator.nbytes)
        except DiskFull:
            if not self._put_sums(accumulator):  # which take the place of all blocks, and may be smaller than one
                raise
            return
        if written:
            self._unsure.append(name)
            self._follow(before)

    def _follow(self, before: Tally) -> None:
        """The batch that came after `before` is on the disk."""
        if self._reached == before.consumed:
            self._reached = self._tally.consumed

    def _refuse_changed(self) -> None:
        """Raise when a file was changed that the rows are made of; what was written since the last look then goes."""
        started = time.monotonic()
        try:
            refuse_changed(self._read)
        except MicroscopeError:
            self._store.remove_blobs(self._unsure)
            raise
        self._unsure.clear()
        self._asked = time.monotonic()
        self._asking = self._asked - started

    def _on_the_way(self, end: int) -> list[str]:
        """What was kept of this very draw on the way to its first `end` examples, and is needed no more."""
        own = self._draw.own(names_in(self._store), self._base)
        rows = [name for name in own if isinstance(name, RowsName) and name.end <= end]
        sums = [name for name in own if isinstance(name, StateName) and name.end < end and name.end not in self._ends]
        return [str(name) for name in (*rows, *sums)]

    def _due(self, before: int, size: int) -> bool:
        """Whether it is time for the sums, of `size` bytes: blocks shall not take more room than they do."""
        share = SHARE if self._reached == before and self._journal.holds else ALONE
        late = time.monotonic() >= self._last + self._cost / share
        full = self._journal.nbytes + self._journal.held > size and not self._refused
        return late or full or self._tally.consumed in self._ends
