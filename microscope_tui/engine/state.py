"""What a walk over a slice has so far, kept in the store, so that it can go on after any end and grow later.

A state is committed after whole batches and read back bit for bit: the sums go on as if nothing had happened,
and the final numbers are those of an undisturbed run. A larger draw of the same slice starts from the state of
a smaller one, for a draw begins with what the smaller one drew.
"""

from __future__ import annotations

import json
import struct
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from safetensors.torch import load, save

from microscope_tui.engine.accumulate import Accumulator
from microscope_tui.engine.answers import Answers
from microscope_tui.store import Store, StoreFull, content_key
from microscope_tui.terms import Skipped

SHARE = 0.1
"""At most this share of a job's time goes into commits."""

QUOTA_SHARE = 0.25
"""A state larger than this share of the cache's limit is not kept: it would push out everything else."""

Consumed = list[str]
"""Keys of the examples that a state has counted or skipped, in order."""


@dataclass
class Committed:
    """What was read back: the walk goes on behind the `consumed` examples."""

    consumed: Consumed
    skipped: list[Skipped]
    done: int


class Keeper:
    """Commits the state of one walk, and finds the state to begin from.

    `base` are all things that the state depends on but the draw; `keys` are the examples to walk over, in order.
    """

    def __init__(self, store: Store, base: dict[str, Any], keys: Sequence[str]) -> None:
        self._store, self._keys = store, list(keys)
        self._prefix = f"state-{content_key(**base)}-"
        self._name = f"{self._prefix}{len(self._keys)}-{content_key(keys=self._keys)[:8]}"
        self._next = time.monotonic()
        self._off = False

    def begin(self, accumulator: Accumulator, answers: Answers) -> Committed | None:
        """Fill the accumulator and the answers from the furthest state of these examples, if there is one."""
        for name in self._candidates():
            value = self._store.blob(name)
            if value is None:
                continue
            head = json.loads(_metadata(value)["state"])
            if head["consumed"] != self._keys[: len(head["consumed"])]:
                continue
            accumulator.load_state(load(value), head["counts"])
            answers.asked, answers.right = head["answers"]
            return Committed(head["consumed"], [Skipped(**s) for s in head["skipped"]], head["done"])
        return None

    def due(self) -> bool:
        """Whether it is time to commit again."""
        return not self._off and time.monotonic() >= self._next

    def commit(
        self, accumulator: Accumulator, answers: Answers, skipped: Sequence[Skipped], done: int, consumed: int
    ) -> None:
        """Keep the state after the first `consumed` examples. A state too large for the cache is not kept."""
        started = time.monotonic()
        if accumulator.nbytes > QUOTA_SHARE * self._store.limit_bytes:
            self._off = True
            return
        head = {
            "consumed": self._keys[:consumed],
            "skipped": [asdict(s) for s in skipped],
            "done": done,
            "counts": accumulator.counts(),
            "answers": [answers.asked, answers.right],
        }
        try:
            self._store.put_blob(self._name, save(accumulator.state_dict(), {"state": json.dumps(head)}))
        except StoreFull:
            # The measurement itself goes on: what cannot be kept is measured again after a crash.
            self._off = True
        self._next = time.monotonic() + (time.monotonic() - started) / SHARE

    def _candidates(self) -> list[str]:
        """States of the same thing, the one with the most examples first."""
        names = [e.key.partition("/")[2] for e in self._store.entries() if e.key.startswith(f"blob/{self._prefix}")]
        counts = {name: int(name.removeprefix(self._prefix).partition("-")[0]) for name in names}
        return sorted((n for n in names if counts[n] <= len(self._keys)), key=lambda n: (n != self._name, -counts[n]))


def _metadata(value: bytes) -> dict[str, str]:
    """The metadata of safetensors bytes: the length of the header (8 bytes, little endian), then JSON."""
    (length,) = struct.unpack("<Q", value[:8])
    metadata: dict[str, str] = json.loads(value[8 : 8 + length])["__metadata__"]
    return metadata
