"""What a kill, or a stop, costs: the batch in flight, and no bit of the result."""

import re
from typing import Any

import pytest

from microscope_tui.engine import journal, state, walk
from microscope_tui.engine.measure import run
from microscope_tui.engine.open_models import MODELS
from microscope_tui.errors import BadExample, Cancelled, MicroscopeError
from microscope_tui.models.capture import capture
from microscope_tui.slices import Slice
from microscope_tui.store import DiskFull, Store
from microscope_tui.terms import Progress, Request, SliceSpec
from tests.engine.keeping import Killed, kept, kill_at, measured, patched_put, request, same, stop_at

pytestmark = pytest.mark.usefixtures("sums_once")


@pytest.mark.parametrize("changes", [{}, {"without": ("sinks", "duplicates"), "before": True}])
def test_a_kill_costs_the_batch_in_flight_and_no_bit(tmp_path, captured, monkeypatch, changes):
    """Killed in the middle of the third batch, and of the one after it; the sums are committed after the first one."""
    expected = measured(request(**changes), None)
    captured.clear()
    add = walk.Walk._add

    def kill(self, indices):
        if indices[0] == at:
            raise Killed
        add(self, indices)

    with Store(tmp_path) as store:
        monkeypatch.setattr(walk.Walk, "_add", kill)
        told: list[int] = []
        for at in (16, 24):
            with pytest.raises(Killed):
                run(request(**changes), store, on_progress=lambda now: told.append(now.done))
            assert (len(captured), max(told)) == (at, at)
        monkeypatch.setattr(walk.Walk, "_add", add)
        assert measured(request(**changes), store).profiles == expected.profiles
        assert kept(store) == ["state 40"], "the sums hold all of it"
        assert store.verify() == []
    assert len(captured) == len(set(captured)) == 40


def test_examples_that_were_skipped_stay_so_after_a_kill(tmp_path, small_slice, tiny_next, monkeypatch):
    """An example that cannot be used, in a batch that is kept by itself."""
    example = Slice.example

    def unusable(self, index):
        if index == 3:
            raise BadExample(self.keys[3], "it is empty")
        return example(self, index)

    small = Request(tiny_next, SliceSpec(small_slice, count=10), folds=2, sample_tokens=64, max_batch=2)
    monkeypatch.setattr(Slice, "example", unusable)
    expected = measured(small, None)
    assert [each.reason for each in expected.skipped] == ["it is empty"]

    with Store(tmp_path) as store:
        kill_at(6, small, store)
        found = measured(small, store)
    assert found.to_json() == expected.to_json()


def test_what_batches_answer_alone_is_summed_up_and_kept(tmp_path, captured):
    with Store(tmp_path) as store:
        kill_at(24, request(40), store)
        captured.clear()
        found = measured(request(24), store)
        assert (captured, "state 24" in kept(store)) == ([], True)
    same(found, measured(request(24), None))


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


def test_the_rate_is_that_of_this_walk(tmp_path, monkeypatch):
    """Whose batches of eight take a second each, after an hour of taking up."""

    class Clock:
        now = 0.0

        def monotonic(self):
            return self.now

    clock: Any = Clock()
    block, add, heard = state.Keeper.block, walk.Walk._add, []

    def slowly(self, device):
        found = block(self, device)
        clock.now += 1200 * (found is not None)
        return found

    def steadily(self, indices):
        clock.now += 1
        add(self, indices)

    with Store(tmp_path) as store:
        kill_at(24, request(), store)
        monkeypatch.setattr(walk, "time", clock)
        monkeypatch.setattr(state.Keeper, "block", slowly)
        monkeypatch.setattr(walk.Walk, "_add", steadily)
        run(request(), store, on_progress=lambda now: heard.append((now.phase, now.rate, now.eta)))
    assert next(told[1:] for told in heard if told[0] == "measuring") == pytest.approx((8.0, 1.0))


def test_a_stop_writes_no_sums_where_every_batch_is_kept(tmp_path, captured, monkeypatch):
    with Store(tmp_path) as store:
        stop_at(24, request(), store)
        assert kept(store) == ["rows 16 24", "rows 8 16", "state 8"]
        measured(request(), store)
    assert len(captured) == 40


def test_a_stop_keeps_what_was_measured_since_the_last_commit(tmp_path, captured, monkeypatch):
    """Where no batch was kept by itself."""
    monkeypatch.setattr(journal, "ALLOWED_SECONDS", 0.0)
    monkeypatch.setattr(journal, "PACE", 1.0)
    with Store(tmp_path) as store:
        stop_at(24, request(), store)
        assert kept(store) == ["state 24"]
        measured(request(), store)
    assert len(captured) == 40


def test_a_stop_says_what_is_kept(tmp_path, monkeypatch):
    """Also where the sums are too large to be kept, and where the last commit fails."""

    def full(store, key):
        if key.startswith("rows-"):
            raise MicroscopeError("It is kept busy.")
        if kept(store):
            raise DiskFull("The disk is full: make room on it.")

    assert stop_at(8, request(24), None) == "Stopped after 8 of 24 examples. Nothing is kept."
    with Store(tmp_path / "small", limit_bytes=2_000_000) as store:
        refused = stop_at(8, request(24), store)
        assert store.entries() == []
    assert re.fullmatch(
        r"Stopped after 8 of 24 examples\. It cannot be resumed: what would be kept, .* GB, is more than a quarter of "
        r"cache_limit_gb\.",
        refused,
    )
    with Store(tmp_path / "kept") as store:
        goes_on = "Stopped after 8 of 24 examples. The same command goes on from there."
        assert stop_at(8, request(24), store) == goes_on
    patched_put(monkeypatch, full)
    with Store(tmp_path / "full") as store:
        lost = "What was measured since the last commit is not kept: The disk is full: make room on it."
        assert stop_at(16, request(24), store) == f"Stopped after 16 of 24 examples. {lost}"


def test_a_stop_while_work_is_taken_up_loses_nothing(tmp_path, captured):
    def stop(now: Progress) -> None:
        if now.phase == "resuming":
            raise Cancelled("Stopped.")

    with Store(tmp_path) as store:
        kill_at(24, request(), store)
        before = kept(store)
        with pytest.raises(Cancelled, match=re.escape("Stopped. The same command goes on from there.")):
            run(request(), store, on_progress=stop)
        assert kept(store) == before
        captured.clear()
        measured(request(), store)
        assert len(captured) == 16


def test_a_kill_when_the_sums_are_written_leaves_nothing_that_they_hold(tmp_path, captured, monkeypatch):
    put = Store.put_blob

    def put_and_die(self, key, value, **options):
        put(self, key, value, **options)
        if "-40-" in key:
            raise Killed

    with Store(tmp_path) as store:
        with monkeypatch.context() as patch:
            patch.setattr(Store, "put_blob", put_and_die)
            with pytest.raises(Killed):
                measured(request(), store)
        assert kept(store) == ["state 40"]
        measured(request(), store)
    assert len(captured) == 40


def test_a_stop_is_heard_in_every_phase_and_costs_nothing(tmp_path, tiny_next, small_slice):
    """Also in the middle of loading a model, from within the library that loads it."""
    small = Request(tiny_next, SliceSpec(small_slice, count=10), folds=2, sample_tokens=64, max_batch=4)
    phases: dict[str, None] = {}
    MODELS.clear()
    undisturbed = run(small, None, on_progress=lambda now: phases.setdefault(now.phase))
    assert {"opening slice", "loading model", "checking the model", "measuring"} < phases.keys()
    with Store(tmp_path) as store:
        for phase in phases:

            def stop(now: Progress, phase: str = phase) -> None:
                if now.phase == phase:
                    raise Cancelled(f"Stopped while {phase}.")

            MODELS.clear()
            with pytest.raises(Cancelled, match=re.escape(phase)):
                run(small, store, on_progress=stop)
        assert measured(small, store).profiles == undisturbed.profiles
