"""Stopped work goes on where it was, a slice grows, and neither changes a bit of the result."""

import os
import re
import shutil
from pathlib import Path

import pytest

from microscope_tui.engine import state, walk
from microscope_tui.engine.looks.look import run as look_run
from microscope_tui.engine.measure import free_models, run
from microscope_tui.errors import Cancelled, MicroscopeError
from microscope_tui.store import DiskFull, Store
from microscope_tui.terms import JobKind, Metric, Modality, Progress, Request, SliceSpec, Stream


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


def test_a_stop_keeps_what_was_measured_since_the_last_commit(tmp_path, captured, monkeypatch):
    """And is a stop also where nothing can be kept."""
    monkeypatch.setattr(state, "SHARE", 1e-9)  # after the first one of a walk there is never time for another

    def kept():
        return [entry.key.split("-")[2] for entry in store.entries() if entry.kind == "blob"]

    def put_once(self, key, value):
        if kept() != ["16"]:
            raise DiskFull("The disk is full.")
        put(self, key, value)

    with Store(tmp_path) as store:
        stop_after(request(40), store, 16)
        assert kept() == ["16"]
        put = Store.put_blob
        monkeypatch.setattr(Store, "put_blob", put_once)
        stop_after(request(40), store, 32)
        assert kept() == ["24"]
        measured(request(24), store)
    assert len(captured) == 32


def touch(path):
    """As if somebody had written the same number of bytes."""
    found = path.stat()
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns + 1))


def test_what_changes_while_it_is_measured_is_refused_by_name_and_nothing_of_it_is_kept(
    tmp_path, tiny_next, small_slice
):
    """The rows, between two batches; the weights, while they are loaded."""
    free_models()
    data, model = (Path(shutil.copytree(each, tmp_path / Path(each).name)) for each in (small_slice, tiny_next))
    rows, weights = next(data.glob("*.parquet")), model / "model.safetensors"
    small = Request(str(model), SliceSpec(str(data), count=10), folds=2, sample_tokens=64, max_batch=2)
    for phase, file in (("checking the model", weights), ("measuring", rows)):

        def change(now: Progress, file: Path = file, phase: str = phase) -> None:
            if now.phase == phase:
                touch(file)

        with Store(tmp_path / "cache") as store:
            with pytest.raises(MicroscopeError, match=f"{re.escape(str(file))} was changed while it was in use"):
                run(small, store, on_progress=change)
            assert [entry.kind for entry in store.entries()] == []
    with Store(tmp_path / "cache") as store:
        assert run(small, store, on_progress=lambda _: None).examples == 10
        assert store.recall(small) is not None
        touch(weights)
        assert store.recall(small) is None


def test_a_look_at_what_was_changed_meanwhile_does_not_answer_for_what_is_there_now(tmp_path, tiny_next, small_slice):
    data = Path(shutil.copytree(small_slice, tmp_path / "data"))
    small = Request(tiny_next, SliceSpec(str(data)), folds=2, sample_tokens=64)
    with Store(tmp_path / "cache") as store:

        def look(change):
            options = {"on_progress": lambda now: change and now.phase != "opening slice" and touch(change)}
            look_run(small, store, kind=JobKind.PREVIEW, example=None, should_stop=lambda: False, **options)
            return store.recall_look(small, JobKind.PREVIEW, None)

        assert look(None) is not None
        assert look(next(data.glob("*.parquet"))) is None


@pytest.mark.parametrize("less", [{"modalities": (Modality.IMAGE,)}, {"streams": (Stream.UPDATE,), "reference": True}])
def test_less_is_made_of_the_sums_of_more_and_goes_on_from_them(tmp_path, captured, less):
    """Also where nothing was measured before that has the metric, and where the slice is larger now."""
    with Store(tmp_path) as store:
        measured(request(8, metrics=(Metric.LINEARITY,)), store)
        captured.clear()
        made = measured(request(8, metrics=(Metric.DIMENSION,), **less), store)
        assert captured == []
        grown = measured(request(16, metrics=(Metric.DIMENSION,), **less), store)
        assert len(captured) == 8
    for count, found in ((8, made), (16, grown)):
        assert found.profiles == measured(request(count, metrics=(Metric.DIMENSION,), **less), None).profiles
        assert found.tokens == measured(request(count, metrics=(Metric.DIMENSION,), **less), None).tokens


def test_a_stop_is_heard_in_every_phase_and_costs_nothing(tmp_path, tiny_next, small_slice):
    """Also in the middle of loading a model, from within the library that loads it."""
    small = Request(tiny_next, SliceSpec(small_slice, count=10), folds=2, sample_tokens=64, max_batch=4)
    phases: dict[str, None] = {}
    free_models()
    undisturbed = run(small, None, on_progress=lambda now: phases.setdefault(now.phase))
    assert {"opening slice", "loading model", "checking the model", "measuring"} < phases.keys()
    with Store(tmp_path) as store:
        for phase in phases:

            def stop(now: Progress, phase: str = phase) -> None:
                if now.phase == phase:
                    raise Cancelled(f"Stopped while {phase}.")

            free_models()
            with pytest.raises(Cancelled, match=re.escape(phase)):
                run(small, store, on_progress=stop)
        assert measured(small, store).profiles == undisturbed.profiles


def test_sums_that_vanish_while_they_are_read_are_measured_again(tmp_path, captured, monkeypatch):
    blob_file = Store.blob_file

    def found_and_removed(self, key):
        file = blob_file(self, key)
        file.unlink()
        return file

    with Store(tmp_path) as store:
        stop_after(request(16), store, 8)
        monkeypatch.setattr(Store, "blob_file", found_and_removed)
        measured(request(16), store)
    assert len(captured) == 8 + 16


def test_a_stop_says_what_is_kept(tmp_path, monkeypatch):
    """Also where the sums are too large to be kept, and where the last commit fails."""

    def said(store, stop=8):
        seen: list[Progress] = []
        with pytest.raises(Cancelled) as caught:
            run(request(24), store, on_progress=seen.append, should_stop=lambda: bool(seen) and seen[-1].done >= stop)
        return str(caught.value)

    assert said(None) == "Stopped after 8 of 24 examples. Nothing is kept."
    with Store(tmp_path / "small", limit_bytes=2_000_000) as store:
        refused = said(store)
        assert store.entries() == []
    assert re.fullmatch(
        r"Stopped after 8 of 24 examples\. It cannot be resumed: what would be kept, .* GB, is more than a quarter of "
        r"cache_limit_gb\.",
        refused,
    )
    with Store(tmp_path / "kept") as store:
        assert said(store) == "Stopped after 8 of 24 examples. The same command goes on from there."
        with monkeypatch.context() as patch:

            def full(*_):
                raise DiskFull("The disk is full: make room on it.")

            patch.setattr(Store, "put_blob", full)
            patch.setattr(state.Keeper, "commit", _only_last(state.Keeper.commit))
            lost = "What was measured since the last commit is not kept: The disk is full: make room on it."
            assert said(store, 16) == f"Stopped after 16 of 24 examples. {lost}"


def _only_last(commit):
    """As between two commits that are due."""
    return lambda self, *counted, last=False: commit(self, *counted, last=last) if last else None
