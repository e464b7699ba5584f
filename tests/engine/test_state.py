"""Stopped work goes on where it was, a slice grows, and neither changes a bit of the result."""

import pytest

from microscope_tui.engine import state, walk
from microscope_tui.engine.measure import run
from microscope_tui.errors import Cancelled
from microscope_tui.store import Store
from microscope_tui.terms import Metric, Modality, Progress, Request, SliceSpec, Stream


@pytest.fixture(autouse=True)
def commit_always(monkeypatch):
    monkeypatch.setattr(state, "SHARE", float("inf"))


@pytest.fixture
def captured(monkeypatch):
    """The keys of the examples that go through the model, as they do."""
    seen: list[str] = []
    count = walk.Walk._count

    def counted(self, captured, examples):
        seen.extend(example.key for _, example in examples)
        count(self, captured, examples)

    monkeypatch.setattr(walk.Walk, "_count", counted)
    return seen


def request(count=40, seed=0, **changes):
    spec = SliceSpec("demo:scienceqa", count=count, seed=seed)
    return Request("demo:omnifusion", spec, folds=3, sample_tokens=512, **changes)


def measured(request, store, **options):
    return run(request, store, on_progress=lambda _: None, **options)


def stop_after(request, store, examples):
    seen: list[Progress] = []
    with pytest.raises(Cancelled):
        run(request, store, on_progress=seen.append, should_stop=lambda: bool(seen) and seen[-1].done >= examples)


@pytest.fixture(scope="module")
def undisturbed():
    return measured(request(), None)


def test_stopped_work_goes_on_and_ends_bit_for_bit_the_same(tmp_path, captured, undisturbed):
    with Store(tmp_path) as store:
        for examples in (8, 24):
            stop_after(request(), store, examples)
        assert len(captured) == 24
        assert measured(request(), store).profiles == undisturbed.profiles
    assert len(captured) == len(set(captured)) == 40


@pytest.mark.parametrize("first", [16, 20])
def test_a_larger_slice_measures_only_what_is_new(tmp_path, captured, undisturbed, first):
    """From 20 it begins behind the last whole batch, so that its batches are those of an undisturbed run."""
    with Store(tmp_path) as store:
        small = measured(request(first), store)
        grown = measured(request(40), store)
        assert len(captured) == 40 + first % 8
        assert grown.profiles == undisturbed.profiles
        assert (grown.accuracy, grown.questions) == (undisturbed.accuracy, undisturbed.questions)
        assert grown.questions == 40
        assert grown.tokens == undisturbed.tokens
        assert measured(request(first), store) == small


def test_less_of_what_was_measured_is_read(tmp_path, captured):
    less = {"metrics": (Metric.ANISOTROPY,), "modalities": (Modality.IMAGE,), "streams": (Stream.MAIN,)}
    with Store(tmp_path) as store:
        measured(request(8), store)
        captured.clear()
        read = measured(request(8, **less), store)
    assert captured == []
    assert read.profiles == measured(request(8, **less), None).profiles


def test_all_examples_of_a_source_cannot_grow_and_leave_one_state(tmp_path, tiny_next, small_slice):
    """Ten examples in batches of eight: of a draw, the last whole batch is kept beside the end."""
    for count, kept in ((None, ["10"]), (10, ["10", "8"])):
        with Store(tmp_path / str(count)) as store:
            measured(Request(tiny_next, SliceSpec(small_slice, count=count), folds=2, sample_tokens=64), store)
            names = [e.key.split("-") for e in store.entries() if e.key.startswith("blob/state-")]
        assert sorted(parts[2] for parts in names) == kept


def test_another_seed_begins_anew(tmp_path, captured):
    with Store(tmp_path) as store:
        measured(request(8), store)
        measured(request(8, seed=5), store)
    assert len(captured) == 16


def test_a_second_metric_needs_no_second_forward_pass(tmp_path, captured, undisturbed):
    with Store(tmp_path) as store:
        measured(request(metrics=(Metric.LINEARITY,)), store)
        captured.clear()
        second = measured(request(metrics=(Metric.DIMENSION,)), store)
    assert captured == []
    assert second.profiles == tuple(p for p in undisturbed.profiles if p.metric is Metric.DIMENSION)


def test_a_damaged_state_is_measured_again(tmp_path, captured, undisturbed):
    with Store(tmp_path) as store:
        stop_after(request(), store, 16)
        name, *_ = [e.key.partition("/")[2] for e in store.entries() if e.kind == "blob"]
        store.blob_file(name).write_bytes(b"nothing")
        assert measured(request(), store).profiles == undisturbed.profiles
        assert store.damaged()
    assert len(captured) == 16 + 40


def test_a_state_too_large_for_the_cache_is_not_kept(tmp_path):
    with Store(tmp_path, limit_bytes=10_000_000) as store:
        result = measured(request(16), store)
        assert result.complete
        assert "cannot be resumed" in result.notes[-1]
        assert not [e for e in store.entries() if e.key.startswith("blob/state-")]
