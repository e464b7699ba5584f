"""The rows of each batch, kept on the disk until sums are that hold them.

Sums are many times larger than what one batch adds to them, and so are not written after every batch: its rows are, as
a block (see `block`), where memory and time allow it.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from microscope_tui.engine.block import Piece, block_of, nbytes_of
from microscope_tui.engine.tally import Tally
from microscope_tui.errors import MicroscopeError, is_out_of_memory
from microscope_tui.models.base import Captured
from microscope_tui.store import DiskFull, Store

WRITING = 0.05
"""At most this share of a walk's time goes into writing rows."""

ALLOWED_SECONDS = 1.0
"""So much of it at the beginning, when not much time has gone by."""

PACE = 1 / 200e6
"""Seconds that a byte takes, until some were timed."""


class Journal:
    """Holds the rows of the batch in hand, and writes them as a block."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._began = time.monotonic()
        self._spent = 0.0
        self._written = 0
        self._pieces: list[Piece] = []
        self._spares = False
        self.holds = True
        """Whether all is held that was counted of the batch in hand."""
        self.nbytes = 0
        """The bytes of the blocks behind the last sums."""

    @property
    def held(self) -> int:
        """The bytes of what is held."""
        return sum(piece.nbytes for piece in self._pieces)

    def spare_memory(self) -> None:
        """Hold no rows from now on."""
        self._spares = True
        self._give_up()

    def note(self, captured: Captured, places: Sequence[int]) -> None:
        """Hold what was counted of the batch in hand, if there is memory for it and time to write it."""
        if not self.holds:
            return
        started = time.monotonic()
        pace = self._spent / self._written if self._written else PACE
        if self._spent + nbytes_of(captured) * pace > ALLOWED_SECONDS + WRITING * (started - self._began):
            self._give_up()
            return
        try:
            self._pieces.append(Piece.of(captured, places))
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            self._give_up()
        self._spent += time.monotonic() - started

    def write(self, name: str, tally: Tally, room: int) -> bool:
        """Put the batch in hand on the disk, to which it added `tally`, and go on to the next. False when it is not
        held, when all blocks would take more than `room` bytes, or when the cache does not take it: whoever goes on
        from here measures it again. Raises `DiskFull`."""
        pieces = self._pieces if self.holds else None
        self.next_batch()
        if pieces is None:
            return False
        parts = block_of(pieces, tally)
        size = sum(part.nbytes for part in parts)
        if self.nbytes + size > room:
            return False
        started = time.monotonic()
        try:
            self._store.put_blob(name, parts)
        except DiskFull:
            raise
        except MicroscopeError:  # other jobs use the room; or a busy database, say
            return False
        finally:
            self._spent += time.monotonic() - started
        self.nbytes += size
        self._written += size
        return True

    def next_batch(self) -> None:
        """The batch in hand is kept, or never will be."""
        self._pieces, self.holds = [], not self._spares

    def _give_up(self) -> None:
        self._pieces, self.holds = [], False
