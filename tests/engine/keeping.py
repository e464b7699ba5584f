"""Walks that end in the middle, and what they leave: for the tests of what is kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from torch import Tensor

from microscope_tui.engine.measure import run
from microscope_tui.engine.state import Keeper
from microscope_tui.engine.tally import Tally
from microscope_tui.errors import Cancelled
from microscope_tui.models.base import Captured
from microscope_tui.results import Measurement
from microscope_tui.store import Store
from microscope_tui.terms import Progress, Request, SliceSpec, Stream


class Killed(BaseException):
    """Nothing in the walk catches it, as nothing does a kill."""


def request(count: int = 40, seed: int = 0, **changes: Any) -> Request:
    """Of the demo, in batches of eight."""
    spec = SliceSpec("demo:scienceqa", count=count, seed=seed)
    return Request("demo:omnifusion", spec, folds=3, sample_tokens=512, **changes)


def measured(request: Request, store: Store | None) -> Measurement:
    return run(request, store, on_progress=lambda _: None)


def kill_at(examples: int, wanted: Request, store: Store) -> None:
    """Measure, and die when so many examples are done."""

    def hear(now: Progress) -> None:
        if now.phase == "measuring" and now.done == examples:
            raise Killed

    with pytest.raises(Killed):
        run(wanted, store, on_progress=hear)


def stop_at(examples: int, wanted: Request, store: Store | None) -> str:
    """Measure, and stop when so many examples are done: what is said."""
    seen: list[Progress] = []

    def should_stop() -> bool:
        return bool(seen) and seen[-1].phase != "loading model" and seen[-1].done >= examples

    with pytest.raises(Cancelled) as caught:
        run(wanted, store, on_progress=seen.append, should_stop=should_stop)
    return str(caught.value)


def kept(store: Store) -> list[str]:
    """What is kept of walks: its sort and its numbers."""
    names = [entry.key.partition("/")[2].split("-") for entry in store.entries() if entry.kind == "blob"]
    return sorted(" ".join((sort, *numbers)) for sort, _, *numbers, _, _ in names)


def named(store: Store, part: str) -> str:
    """The name of what is kept that has this part."""
    return next(entry.key.partition("/")[2] for entry in store.entries() if part in entry.key)


def same(found: Measurement, expected: Measurement) -> None:
    for name in ("profiles", "answers", "questions", "examples", "skipped", "tokens", "sinks", "groups"):
        assert getattr(found, name) == getattr(expected, name), name


class Sums:
    """Stands for the sums of a walk, of `nbytes`."""

    def __init__(self, nbytes: int = 10**9) -> None:
        self.nbytes = nbytes

    def counts(self) -> Mapping[str, Any]:
        return {}

    def state_dict(self) -> Mapping[str, Tensor]:
        return {"sum": torch.zeros(4)}

    def load_state(self, *_: object) -> None:
        """They have nothing to take over."""


def a_batch() -> Captured:
    """Eight rows of 16 numbers, about 1.4 kB."""
    one = torch.zeros(8, dtype=torch.int64)
    rows = torch.zeros(8, 16)
    return Captured(one, one, one.to(torch.int8), one.to(torch.int8), one, {Stream.RESIDUAL: [rows, rows]}, None)


def step(keeper: Keeper, consumed: int, sums: Any, *, due: bool) -> None:
    """One example more, in a batch of its own; whether it is time for the sums."""
    keeper._cost = 0.0 if due else 1e9
    keeper.note(a_batch(), [consumed - 1])
    keeper.commit(sums, Tally(consumed))


def patched_put(monkeypatch: pytest.MonkeyPatch, before: Callable[[Store, str], None]) -> None:
    """`before` is called with the name of each blob before the store takes it."""
    put = Store.put_blob

    def put_blob(self: Store, key: str, value: Any, **options: Any) -> None:
        before(self, key)
        put(self, key, value, **options)

    monkeypatch.setattr(Store, "put_blob", put_blob)
