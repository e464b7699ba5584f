"""Batches that are kept by themselves until sums hold them: whoever goes on uses all of them, and nothing wrongly."""

from __future__ import annotations

import itertools
import json
import re
from typing import Any

import pytest
import torch

from microscope_tui.engine import journal, state, walk
from microscope_tui.engine.measure import run
from microscope_tui.engine.tally import Tally
from microscope_tui.engine.tensors import metadata_of, parts_of, tensors_of
from microscope_tui.errors import BadExample, Cancelled, MicroscopeError, OutOfMemory
from microscope_tui.models.base import Captured
from microscope_tui.models.capture import capture
from microscope_tui.slices import Slice
from microscope_tui.store import DiskFull, Store, StoreFull
from microscope_tui.terms import Progress, Request, SliceSpec, Stream
from tests.sure import sure


@pytest.fixture(autouse=True)
def sums_once(monkeypatch):
    """A walk commits its sums after its first batch, and then only at its ends."""
    monkeypatch.setattr(state, "SHARE", 1e-9)


def request(count=40, **changes):
    spec = SliceSpec("demo:scienceqa", count=count, seed=0)
    return Request("demo:omnifusion", spec, folds=3, sample_tokens=512, **changes)


def measured(request, store):
    return run(request, store, on_progress=lambda _: None)


@pytest.fixture(scope="module")
def undisturbed():
    return measured(request(), None)


class Killed(BaseException):
    """Nothing in the walk catches it, as nothing does a kill."""


def kill_at(examples, wanted, store):
    def hear(now):
        if now.phase == "measuring" and now.done == examples:
            raise Killed

    with pytest.raises(Killed):
        run(wanted, store, on_progress=hear)


def blobs(store):
    """What is kept: its sort and its numbers."""
    names = [entry.key.partition("/")[2].split("-") for entry in store.entries() if entry.kind == "blob"]
    return sorted(" ".join((sort, *numbers)) for sort, _, *numbers, _ in names)


def named(store, part):
    return next(entry.key.partition("/")[2] for entry in store.entries() if part in entry.key)


def same(found, expected):
    for name in ("profiles", "answers", "questions", "examples", "skipped", "tokens", "sinks", "groups"):
        assert getattr(found, name) == getattr(expected, name), name


def test_a_smaller_draw_leaves_the_work_of_a_larger_one(tmp_path, captured, undisturbed):
    with Store(tmp_path) as store:
        kill_at(24, request(40), store)
        assert blobs(store) == ["rows 16 24", "rows 8 16", "state 8"]
        captured.clear()
        measured(request(20), store)
        assert len(captured) == 4
        assert blobs(store) == ["rows 16 24", "state 16", "state 20"]
        captured.clear()
        same(measured(request(40), store), undisturbed)
        assert len(captured) == 16


def test_what_batches_answer_alone_is_summed_up_and_kept(tmp_path, captured):
    with Store(tmp_path) as store:
        kill_at(24, request(40), store)
        captured.clear()
        found = measured(request(24), store)
        assert (captured, blobs(store)) == ([], ["state 24"])
    same(found, measured(request(24), None))


@pytest.fixture
def libraries(monkeypatch):
    """Those that are here now. Example 9 needs soundfile."""
    found: list[str] = []
    monkeypatch.setattr("microscope_tui.store.libraries.find_spec", lambda name: name if name in found else None)
    example = Slice.example

    def needs_soundfile(self, index):
        if index == 9 and "soundfile" not in found:
            raise BadExample(self.keys[9], "it needs soundfile")
        return example(self, index)

    monkeypatch.setattr(Slice, "example", needs_soundfile)
    return found


def test_old_batches_behind_a_new_beginning_count_what_they_hold(tmp_path, libraries, captured, undisturbed):
    with Store(tmp_path) as store:
        kill_at(32, request(), store)
        libraries.append("soundfile")
        kill_at(16, request(), store)
        captured.clear()
        same(measured(request(), store), undisturbed)
        assert len(captured) == 8


def test_a_library_that_comes_while_a_walk_runs_is_used_by_the_next(tmp_path, libraries, undisturbed):
    def install(now):
        if now.done == 16:
            libraries.append("soundfile")

    with Store(tmp_path) as store:
        first = run(request(), store, on_progress=install)
        assert (first.examples, first.provenance["optional"]) == (39, [])
        assert store.recall(request()) is None
        same(measured(request(), store), undisturbed)


def test_what_was_skipped_is_remembered_with_the_libraries_of_its_time(tmp_path, libraries):
    """One more library later, and gone again when work goes on: that one changes nothing."""
    libraries += ["av"]
    with Store(tmp_path) as store:
        kill_at(24, request(), store)
        libraries.clear()
        found = measured(request(), store)
        assert (found.examples, found.provenance["optional"]) == (39, ["av"])
        libraries += ["av"]
        assert store.recall(request()) is not None


def test_a_library_that_goes_takes_no_rows_with_it(tmp_path, libraries, captured, undisturbed):
    libraries += ["soundfile"]
    with Store(tmp_path) as store:
        kill_at(24, request(), store)
        libraries.clear()
        captured.clear()
        same(measured(request(), store), undisturbed)
        assert len(captured) == 16


def test_where_examples_are_compared_those_that_cannot_be_read_any_more_are_skipped(tmp_path, libraries):
    wanted = request(without=("duplicates",))
    expected = measured(wanted, None)
    libraries += ["soundfile"]
    with Store(tmp_path) as store:
        kill_at(24, wanted, store)
        libraries.clear()
        same(measured(wanted, store), expected)


def test_rows_that_do_not_fit_into_memory_are_measured_again(tmp_path, captured, undisturbed, monkeypatch):
    def full(self):
        raise torch.OutOfMemoryError("CUDA out of memory.")

    with Store(tmp_path) as store:
        kill_at(24, request(), store)
        captured.clear()
        monkeypatch.setattr(journal.Piece, "captured", full)
        same(measured(request(), store), undisturbed)
        assert len(captured) == 32


def without_ids(head, tensors):
    del tensors["0.ids"]


def of_less(head, tensors):
    head["pieces"][0]["places"].pop()


def of_others(head, tensors):
    head["pieces"][0]["places"] = list(range(8))


def without_answers(head, tensors):
    del head["tally"]["answers"]


def with_more(head, tensors):
    head["tally"]["answers"][0]["sure"] = True


@pytest.mark.parametrize("change", [without_ids, of_less, of_others, without_answers, with_more])
def test_a_batch_that_is_not_as_it_must_be_is_measured_again(tmp_path, captured, undisturbed, change):
    with Store(tmp_path) as store:
        kill_at(24, request(), store)
        name = named(store, "-16-24-")
        file = sure(store.blob_file(name))
        head, tensors = json.loads(metadata_of(file)["block"]), tensors_of(file)
        change(head, tensors)
        store.put_blob(name, parts_of(tensors, {"block": json.dumps(head)}))
        captured.clear()
        same(measured(request(), store), undisturbed)
        assert len(captured) == 24


def test_batches_of_another_format_are_not_read(tmp_path, captured, undisturbed, monkeypatch):
    with Store(tmp_path) as store:
        kill_at(24, request(), store)
        captured.clear()
        monkeypatch.setattr(journal, "FORMAT", journal.FORMAT + 1)
        same(measured(request(), store), undisturbed)
        assert len(captured) == 32


class Sums:
    """Stands for sums of any size."""

    nbytes = 10**9

    def counts(self):
        return {}

    def state_dict(self):
        return {"sum": torch.zeros(4)}

    def load_state(self, *_):
        pass


def a_batch():
    one = torch.zeros(8, dtype=torch.int64)
    rows = torch.zeros(8, 16)
    return Captured(one, one, one.to(torch.int8), one.to(torch.int8), one, {Stream.RESIDUAL: [rows, rows]}, None)


@pytest.mark.parametrize("grows", [True, False])
def test_two_walks_of_one_slice_leave_each_others_work(tmp_path, grows):
    sums: Any = Sums()

    def step(keeper, consumed, *, of_sums):
        keeper._cost = 0.0 if of_sums else 1e9
        keeper.note(a_batch(), [consumed - 1])
        keeper.commit(sums, Tally(consumed))

    with Store(tmp_path) as store:
        first, second, third = (
            state.Keeper(store, "base", [str(i) for i in range(100)], 1, grows=grows) for _ in range(3)
        )
        for consumed in range(1, 31):
            step(first, consumed, of_sums=consumed in (1, 20))
        step(second, 1, of_sums=True)
        reached = sure(third.begin(sums))
        while block := third.block(torch.device("cpu")):
            reached += block.tally
            third.replayed(block, sums, reached)
        assert reached.consumed == 30


def test_many_files_are_looked_at_now_and_then_and_what_came_of_changed_ones_goes(tmp_path, monkeypatch):
    """A look at all of them takes 0.2 s, a batch 1 s."""
    sums: Any = Sums()
    asked: list[float] = []
    changed_at = 1e9

    class Clock:
        now = 0.0

        def monotonic(self):
            return self.now

    def look(_):
        clock.now += 0.2
        asked.append(clock.now)
        if clock.now > changed_at:
            raise MicroscopeError("It was changed.")

    clock: Any = Clock()
    monkeypatch.setattr(state, "time", clock)
    monkeypatch.setattr(state, "refuse_changed", look)

    def go_on(keeper):
        nonlocal changed_at
        for consumed in range(1, 100):
            clock.now += 1
            keeper._cost = 1e9 if consumed > 1 else 0
            keeper.note(a_batch(), [consumed - 1])
            keeper.commit(sums, Tally(consumed))
            if consumed == 50:
                changed_at = clock.now

    with Store(tmp_path) as store:
        with pytest.raises(MicroscopeError, match="changed"):
            go_on(state.Keeper(store, "base", [str(i) for i in range(100)], 1, grows=True))
        gaps = [later - earlier for earlier, later in itertools.pairwise(asked)]
        assert min(gaps) == pytest.approx(20.2, abs=1)
        ends = [int(name.split()[2]) for name in blobs(store) if name.startswith("rows")]
        assert max(ends) == len(ends) + 1 <= 50, "all that came before the last look that found nothing"


def test_names_that_somebody_planted_are_passed_over(tmp_path, captured, undisturbed):
    with Store(tmp_path) as store:
        kill_at(24, request(), store)
        base = named(store, "state-").split("-")[1]
        for name in ("state-{}-x-y", "state-{}-²-y", "rows-{}-x-y-z", "rows-{}-4-8-z", "rows-{}-8-4-z", "rows-{}"):
            store.put_blob(name.format(base), b"1")
        captured.clear()
        same(measured(request(), store), undisturbed)
        assert len(captured) == 16


def test_a_stop_while_work_is_taken_up_loses_nothing_on_a_full_disk(tmp_path, captured, monkeypatch):
    def stop(now: Progress) -> None:
        if now.phase == "resuming":
            raise Cancelled("Stopped.")

    def full(*_):
        raise DiskFull("The disk is full.")

    with Store(tmp_path) as store:
        kill_at(24, request(), store)
        before = blobs(store)
        with monkeypatch.context() as patch:
            patch.setattr(Store, "put_blob", full)
            with pytest.raises(Cancelled, match=re.escape("Stopped. The same command goes on from there.")):
                run(request(), store, on_progress=stop)
        assert blobs(store) == before
        captured.clear()
        measured(request(), store)
        assert len(captured) == 16


def test_a_disk_without_room_for_rows_but_for_sums_lets_the_work_go_on(tmp_path, captured, monkeypatch):
    put = Store.put_blob

    def full(self, key, value):
        if key.startswith("rows"):
            raise DiskFull("The disk is full.")
        put(self, key, value)

    monkeypatch.setattr(Store, "put_blob", full)
    with Store(tmp_path) as store:
        kill_at(24, request(), store)
        assert blobs(store) == ["state 24"]
        measured(request(), store)
    assert len(captured) == 40


@pytest.mark.parametrize("error", [StoreFull("All of it is in use."), MicroscopeError("It is kept busy.")])
def test_a_cache_that_does_not_take_one_batch_costs_what_comes_before_the_next_sums(
    tmp_path, captured, monkeypatch, error
):
    """At the moment of the third batch other jobs use the room, or the database: what is behind it cannot follow on
    the second."""
    put = Store.put_blob

    def full(self, key, value):
        if "-16-24-" in key:
            raise error
        put(self, key, value)

    monkeypatch.setattr(state, "ALONE", 1e-9)
    monkeypatch.setattr(Store, "put_blob", full)
    with Store(tmp_path) as store:
        kill_at(32, request(), store)
        assert blobs(store) == ["rows 8 16", "state 8"]
        same(measured(request(), store), measured(request(), None))
    assert captured[32:56] == captured[56 + 16 :]


def test_own_rows_follow_on_wider_sums(tmp_path, captured):
    """Sums of both streams that end in the middle of rows of one."""
    wanted = request(streams=(Stream.MAIN,))
    with Store(tmp_path) as store:
        kill_at(32, wanted, store)
        measured(request(16), store)
        captured.clear()
        same(measured(wanted, store), measured(wanted, None))
    assert len(captured) == 8 + 40


def test_rows_are_not_held_where_there_is_no_memory_for_them(tmp_path, undisturbed, monkeypatch):
    def full(_):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes.")

    monkeypatch.setattr(journal, "_in_host_memory", full)
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
        assert blobs(store) == ["state 24"]
        same(measured(request(), store), expected)
    assert tight == [8, 8]


def test_batches_captured_one_by_one_are_taken_up(tmp_path, captured, monkeypatch):
    """An example that only the model finds unusable: the others of its batch are captured each by itself."""

    def refused(model, batch, *options, **more):
        if bad in batch.keys:
            raise BadExample(bad, "it is not finite")
        return capture(model, batch, *options, **more)

    monkeypatch.setattr(walk, "capture", refused)
    bad = "row 0"
    measured(request(16), None)
    bad, captured[:] = captured[9], []
    expected = measured(request(), None)
    assert [each.example for each in expected.skipped] == [bad]
    with Store(tmp_path) as store:
        kill_at(24, request(), store)
        captured.clear()
        same(measured(request(), store), expected)
        assert len(captured) == 16


def test_rows_go_to_the_gpu_of_this_walk_and_to_no_other_kind(monkeypatch):
    kinds = ["A100", "A100", "H200"]
    monkeypatch.setattr(torch.cuda, "device_count", lambda: len(kinds))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: kinds[torch.device(device).index])
    here, other = torch.device("cuda:0"), torch.device("cuda:2")
    assert journal._placed({"cuda:1": "A100"}, here) == {"cuda:1": here}
    assert journal._placed({"cuda:1": "A100"}, other) is None
    assert journal._placed({}, here) == {}
    split = {"cuda:0": "A100", "cuda:1": "A100"}
    assert journal._placed(split, here) == {"cuda:0": here, "cuda:1": torch.device("cuda:1")}
    assert journal._placed({**split, "cuda:7": "A100"}, here) is None


def test_the_rate_is_that_of_this_walk(tmp_path, monkeypatch):
    """Whose batches of eight take a second each, after an hour of taking up."""

    class Clock:
        now = 0.0

        def monotonic(self):
            return self.now

    clock: Any = Clock()
    replayed, add, heard = walk.Walk._replayed, walk.Walk._add, []

    def slowly(self, keeper):
        clock.now += 1200
        return replayed(self, keeper)

    def steadily(self, indices):
        clock.now += 1
        add(self, indices)

    with Store(tmp_path) as store:
        kill_at(24, request(), store)
        monkeypatch.setattr(walk, "time", clock)
        monkeypatch.setattr(walk.Walk, "_replayed", slowly)
        monkeypatch.setattr(walk.Walk, "_add", steadily)
        run(request(), store, on_progress=lambda now: heard.append((now.phase, now.rate, now.eta)))
    assert next(told[1:] for told in heard if told[0] == "measuring") == pytest.approx((8.0, 1.0))
