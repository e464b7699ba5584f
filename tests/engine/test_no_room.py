"""Where the disk, the cache, memory or time is short: what is kept then, and what is said of it."""

import itertools
from typing import Any

import pytest
import torch

from microscope_tui.engine import block, journal, state, walk
from microscope_tui.engine.tally import Tally
from microscope_tui.errors import MicroscopeError, OutOfMemory
from microscope_tui.models.capture import capture
from microscope_tui.store import DiskFull, Store, StoreFull
from tests.engine.keeping import Sums, a_batch, kept, kill_at, measured, patched_put, request, same, step, stop_at

pytestmark = pytest.mark.usefixtures("sums_once")


def test_a_state_too_large_for_the_cache_is_not_kept(tmp_path):
    with Store(tmp_path, limit_bytes=10_000_000) as store:
        result = measured(request(16), store)
        assert result.complete
        assert "cannot be resumed" in result.notes[-1]
        assert not [e for e in store.entries() if e.key.startswith("blob/state-")]


@pytest.mark.parametrize("sort", ["rows", "state"])
def test_a_disk_that_is_full_costs_the_batch_in_flight_and_no_bit(tmp_path, captured, undisturbed, monkeypatch, sort):
    """While rows are written, and while sums are: the walk ends, and goes on when there is room."""
    monkeypatch.setattr(state, "SHARE", 1e-9 if sort == "rows" else float("inf"))
    written: list[str] = []

    def full(store, key):
        written.append(key.split("-")[0])
        if len(written) >= 3:
            raise DiskFull("The disk is full.")

    with Store(tmp_path) as store:
        with monkeypatch.context() as patch:
            patched_put(patch, full)
            with pytest.raises(DiskFull):
                measured(request(), store)
        assert len(captured) == 24
        same(measured(request(), store), undisturbed)
        assert store.verify() == []
    assert written[2] == sort
    assert len(captured) == 40 + 8


def test_a_disk_without_room_for_rows_but_for_sums_lets_the_work_go_on(tmp_path, captured, monkeypatch):
    def full(store, key):
        if key.startswith("rows"):
            raise DiskFull("The disk is full.")

    patched_put(monkeypatch, full)
    with Store(tmp_path) as store:
        kill_at(24, request(), store)
        assert kept(store) == ["state 24"]
        measured(request(), store)
    assert len(captured) == 40


BY_OTHERS = [StoreFull("All of it is in use."), MicroscopeError("It is kept busy.")]


@pytest.mark.parametrize("error", BY_OTHERS)
def test_a_cache_that_does_not_take_one_batch_costs_that_batch(tmp_path, captured, undisturbed, monkeypatch, error):
    """At the moment of the third batch other jobs use the room, or the database."""

    def full(store, key):
        if "-16-24-" in key and len(captured) == 24:
            raise error

    patched_put(monkeypatch, full)
    with Store(tmp_path) as store:
        kill_at(32, request(), store)
        assert kept(store) == ["rows 24 32", "rows 8 16", "state 8"]
        same(measured(request(), store), undisturbed)
        assert len(captured) == 32 + 8 + 8


@pytest.mark.parametrize("error", BY_OTHERS)
def test_a_cache_that_does_not_take_sums_takes_batches_and_later_the_sums(
    tmp_path, captured, undisturbed, monkeypatch, error
):
    """Other jobs use the room, or the database, until the moment of the last sums: the batches are smaller."""
    monkeypatch.setattr(state, "ALONE", float("inf"))
    monkeypatch.setattr(state, "SHARE", float("inf"))

    def full(store, key):
        if key.startswith("state-") and "-40-" not in key:
            raise error

    patched_put(monkeypatch, full)
    with Store(tmp_path) as store:
        kill_at(24, request(), store)
        assert kept(store) == ["rows 0 8", "rows 16 24", "rows 8 16"]
        found = measured(request(), store)
        same(found, undisturbed)
        assert found.notes == undisturbed.notes
        assert kept(store) == ["state 40"]
    assert len(captured) == 40


def test_batches_take_no_more_room_than_sums_would(tmp_path, monkeypatch):
    """Where the cache does not take sums of 6 kB it takes as much of batches, and is not asked each time."""
    sums: Any = Sums(6000)
    written: list[str] = []

    def full(store, key):
        written.append(key.split("-")[0])
        if key.startswith("state-"):
            raise StoreFull("All of it is in use.")

    patched_put(monkeypatch, full)
    with Store(tmp_path) as store:
        keeper = state.Keeper(store, "base", [str(i) for i in range(100)], 1, grows=True)
        for consumed in range(1, 20):
            step(keeper, consumed, sums, due=consumed == 1)
        sizes = [entry.size for entry in store.entries()]
        assert written == ["state", *["rows"] * len(sizes)]
        assert sum(sizes) <= 6000 < sum(sizes) + max(sizes)
        assert keeper.notes == (f"can be resumed only from its first {len(sizes)} examples: All of it is in use.",)


def test_only_what_is_kept_is_said_to_be(tmp_path, monkeypatch):
    """The cache is full of what other jobs use, from some moment on."""

    def full(store, key):
        if kept(store) or store.folder == tmp_path / "other":
            raise StoreFull("All of it is in use.")

    patched_put(monkeypatch, full)
    with Store(tmp_path) as store:
        why = "can be resumed only from its first 8 examples: All of it is in use."
        assert stop_at(16, request(24), store) == f"Stopped after 16 of 24 examples. It {why}"
        assert measured(request(24), store).notes[-1] == why
    with Store(tmp_path / "other") as store:
        assert measured(request(24), store).notes[-1] == "cannot be resumed: All of it is in use."


def test_where_there_is_no_time_to_write_rows_sums_are_written_more_often(tmp_path, captured, monkeypatch):
    """Rows that take too long to write are not: then a kill costs what was measured since the sums were."""
    monkeypatch.setattr(state, "ALONE", float("inf"))
    monkeypatch.setattr(journal, "ALLOWED_SECONDS", 0.0)
    monkeypatch.setattr(journal, "PACE", 1.0)
    written: list[str] = []
    patched_put(monkeypatch, lambda store, key: written.append(key.split("-")[0]))
    with Store(tmp_path) as store:
        kill_at(24, request(), store)
        assert written == ["state"] * 3
        measured(request(), store)
    assert len(captured) == 40


def test_rows_are_written_again_when_there_was_time(tmp_path, monkeypatch):
    """A disk on which a batch takes 5 s, and 1 s to measure: about every hundredth is written."""
    clock: Any = Clock()
    monkeypatch.setattr(journal, "time", clock)
    monkeypatch.setattr(journal, "ALLOWED_SECONDS", 1.0)
    tally, put = Tally(), Store.put_blob

    def slowly(self, key, value, **options):
        clock.now += 5.0
        put(self, key, value, **options)

    monkeypatch.setattr(Store, "put_blob", slowly)
    written = []
    with Store(tmp_path) as store:
        of = journal.Journal(store)
        for number in range(1000):
            clock.now += 1.0
            of.note(a_batch(), [number])
            written += [number] * of.write(f"rows {number}", tally, 10**9)
    assert written[0] == 0
    assert 8 <= len(written) <= (1.0 + 0.05 * clock.now) / 5.0 + 1


class Clock:
    """Stands for the sums of a walk and for what the time is: a batch takes 1 s, to write the sums 3 s."""

    nbytes = 10**9

    def __init__(self):
        self.now, self.consumed, self.kept = 0.0, 0, [0]

    def monotonic(self):
        return self.now

    def counts(self):
        return {}

    def state_dict(self):
        self.now += 3.0
        self.kept.append(self.consumed)
        return {"sum": torch.zeros(4)}


@pytest.mark.parametrize(("fast", "batches"), [(False, 30), (True, 60)])
def test_a_kill_costs_at_most_ten_times_what_it_takes_to_write_the_sums(tmp_path, monkeypatch, fast, batches):
    """Where batches are not kept by themselves; where they are, the sums take half as much of the time."""
    clock: Any = Clock()
    monkeypatch.setattr(state, "SHARE", 0.05)
    monkeypatch.setattr(state, "ALONE", 0.1)
    monkeypatch.setattr(journal, "ALLOWED_SECONDS", 1.0)
    for module in (state, journal):
        monkeypatch.setattr(module, "time", clock)
    monkeypatch.setattr(journal, "PACE", 0.0 if fast else 1.0)
    with Store(tmp_path) as store:
        keeper = state.Keeper(store, "base", [str(i) for i in range(400)], 1, grows=False)
        for consumed in range(1, 401):
            clock.now, clock.consumed = clock.now + 1.0, consumed
            keeper.note(a_batch(), [consumed - 1])
            keeper.commit(clock, Tally(consumed))
            left = [entry.key.split("-")[0] for entry in store.entries()].count("blob/rows")
            assert left == (consumed - clock.kept[-1] if fast else 0)
    gaps = [later - earlier for earlier, later in itertools.pairwise(clock.kept)]
    assert max(gaps) == batches


def test_rows_are_not_held_where_there_is_no_memory_for_them(tmp_path, undisturbed, monkeypatch):
    def full(_):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes.")

    monkeypatch.setattr(block, "_in_host_memory", full)
    with Store(tmp_path) as store:
        same(measured(request(), store), undisturbed)


def test_after_memory_ran_out_once_a_kill_changes_no_bit_and_no_rows_are_held(tmp_path, monkeypatch):
    """The second batch of eight does not fit, all else does: from then on batches are of four."""
    tight: list[int] = []

    def once(model, batch, *options, **more):
        if len(batch) == 8:
            tight.append(8)
            if len(tight) == 2:
                raise OutOfMemory("no room")
        return capture(model, batch, *options, **more)

    monkeypatch.setattr(walk, "capture", once)
    expected = measured(request(), None)
    assert tight == [8, 8]
    tight.clear()
    monkeypatch.setattr(state, "ALONE", float("inf"))
    with Store(tmp_path) as store:
        kill_at(24, request(), store)
        assert kept(store) == ["state 24"]
        same(measured(request(), store), expected)
    assert tight == [8, 8]


@pytest.mark.parametrize("smaller", [None, 24])
def test_the_full_size_is_tried_again_at_fixed_places(tmp_path, monkeypatch, smaller):
    """The second batch of eight does not fit: batches are of four from there up to the next such place, also in a walk
    that begins behind the third one with what another draw has."""
    sizes: list[int] = []

    def tight_once(model, batch, *options, **more):
        sizes.append(len(batch))
        if sizes[-2:] == [8, 8] and len(sizes) == 2:
            raise OutOfMemory("no room")
        return capture(model, batch, *options, **more)

    monkeypatch.setattr(walk, "FULL_AGAIN", 4)
    monkeypatch.setattr(walk, "capture", tight_once)
    with Store(tmp_path) as store:
        if smaller:
            measured(request(smaller), store)
        found = measured(request(40), store)
    assert sizes == [8, 8, 4, 4, 4, 4, 4, 4, 8]
    sizes.clear()
    same(found, measured(request(40), None))
