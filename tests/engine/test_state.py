"""Stopped work goes on where it was, a slice grows, and neither changes a bit of the result."""

import itertools
import os
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from microscope_tui.engine import journal, state, walk
from microscope_tui.engine.looks.look import run as look_run
from microscope_tui.engine.measure import free_models, run
from microscope_tui.engine.tally import Tally
from microscope_tui.errors import BadExample, Cancelled, MicroscopeError
from microscope_tui.models.base import Captured
from microscope_tui.slices import Slice
from microscope_tui.store import DiskFull, Store, StoreFull
from microscope_tui.terms import JobKind, Metric, Modality, Progress, Request, SliceSpec, Stream
from tests.sure import sure


@pytest.fixture(autouse=True)
def commit_always(monkeypatch):
    monkeypatch.setattr(state, "SHARE", float("inf"))


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


def test_matched_rows_are_the_first_different_ones_of_the_sample_and_need_no_forward_pass(tmp_path, captured):
    def rows(found, modality, stream=Stream.RESIDUAL):
        return found.profile(Metric.DIMENSION, modality, stream)

    with Store(tmp_path) as store:
        whole = measured(request(16), store)
        captured.clear()
        few = min(rows(whole, modality).n[-1] for modality in (Modality.TEXT, Modality.IMAGE)) - 40
        matched = measured(request(16, matched=few), store)
        assert captured == []
        assert measured(request(16), store) == whole
    for stream in Stream:
        for modality in (Modality.TEXT, Modality.IMAGE):
            before, after = rows(whole, modality, stream), rows(matched, modality, stream)
            assert after.n == tuple(min(n, few) for n in before.n)
            assert few in after.n
            for n, was, now in zip(before.n, before.value, after.value, strict=True):
                assert (was == now) == (n <= few)
    others = [[p for p in found.profiles if p.metric is not Metric.DIMENSION] for found in (whole, matched)]
    assert others[0] == others[1]


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
        sure(store.blob_file(name)).write_bytes(b"nothing")
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
    """Also where no room is left for the sums: then the batches that are kept by themselves stay."""
    monkeypatch.setattr(state, "SHARE", 1e-9)  # after the first one of a walk there is never time for another

    def kept():
        names = [entry.key.split("-") for entry in store.entries() if entry.kind == "blob"]
        return sorted((parts[0].removeprefix("blob/"), *parts[2:-1]) for parts in names)

    def put_once(self, key, value):
        if key.startswith("state-") and ("state", "24") in kept():
            raise DiskFull("The disk is full.")
        put(self, key, value)

    with Store(tmp_path) as store:
        stop_after(request(40), store, 16)
        assert kept() == [("state", "16")]
        put = Store.put_blob
        monkeypatch.setattr(Store, "put_blob", put_once)
        stop_after(request(40), store, 32)
        assert kept() == [("rows", "24", "32"), ("state", "24")]
        measured(request(24), store)
        assert len(captured) == 32
        monkeypatch.setattr(Store, "put_blob", put)
        measured(request(40), store)
    assert len(captured) == 40


class Killed(BaseException):
    """Nothing in the walk catches it, as nothing does a kill."""


def kill_at(now, done):
    if now.done == done:
        raise Killed


@pytest.mark.parametrize("changes", [{}, {"without": ("sinks", "duplicates"), "before": True}])
def test_a_kill_costs_the_batch_in_flight_and_no_bit(tmp_path, captured, monkeypatch, changes):
    """Killed in the middle of the third batch, and of the one after it; the sums are committed after the first one."""
    monkeypatch.setattr(state, "SHARE", 1e-9)
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
        names = {entry.key.split("-")[0] for entry in store.entries() if entry.kind == "blob"}
        assert names == {"blob/state"}, "the sums hold all of it"
        assert store.verify() == []
    assert len(captured) == len(set(captured)) == 40


def test_examples_that_were_skipped_stay_so_after_a_kill(tmp_path, small_slice, tiny_next, monkeypatch):
    """An example that cannot be used, in a batch that is kept by itself."""
    monkeypatch.setattr(state, "SHARE", 1e-9)
    example = Slice.example

    def unusable(self, index):
        if index == 3:
            raise BadExample(self.keys[3], "it is empty")
        return example(self, index)

    small = Request(tiny_next, SliceSpec(small_slice, count=10), folds=2, sample_tokens=64, max_batch=2)
    monkeypatch.setattr(Slice, "example", unusable)
    expected = measured(small, None)
    assert [each.reason for each in expected.skipped] == ["it is empty"]

    def kill(now):
        if now.done == 6:
            raise Killed

    with Store(tmp_path) as store:
        with pytest.raises(Killed):
            run(small, store, on_progress=kill)
        found = measured(small, store)
    assert found.to_json() == expected.to_json()


def test_a_batch_that_is_damaged_on_the_disk_is_measured_again(tmp_path, captured, undisturbed, monkeypatch):
    monkeypatch.setattr(state, "SHARE", 1e-9)

    def kill(now):
        if now.done == 32:
            raise Killed

    with Store(tmp_path) as store:
        with pytest.raises(Killed):
            run(request(), store, on_progress=kill)
        name = next(e.key.partition("/")[2] for e in store.entries() if "-16-24-" in e.key)
        sure(store.blob_file(name)).write_bytes(b"nothing")
        assert measured(request(), store).profiles == undisturbed.profiles
        assert [each.key for each in store.damaged()] == [f"blob/{name}"]
    assert len(captured) == 32 + 24


def test_a_batch_of_a_gpu_that_is_gone_is_measured_again(tmp_path, captured, undisturbed, monkeypatch):
    monkeypatch.setattr(state, "SHARE", 1e-9)
    head = journal._head
    with monkeypatch.context() as patch:
        of_it = {"devices": {"ids": "cuda:7"}, "kinds": {"cuda:7": "an older GPU"}}
        patch.setattr(journal, "_head", lambda *each: head(*each) | of_it)
        with Store(tmp_path) as store, pytest.raises(Killed):
            run(request(), store, on_progress=lambda now: kill_at(now, 24))
    with Store(tmp_path) as store:
        assert measured(request(), store).profiles == undisturbed.profiles
    assert len(captured) == 24 + 32, "only the sums of the first batch could be used"


@pytest.mark.parametrize("often", [1e-9, float("inf")])
def test_a_disk_that_is_full_costs_the_batch_in_flight_and_no_bit(tmp_path, captured, undisturbed, monkeypatch, often):
    """While rows are written, and while sums are: the walk ends, and goes on when there is room."""
    monkeypatch.setattr(state, "SHARE", often)
    put = Store.put_blob
    written: list[str] = []

    def full(self, key, value):
        written.append(key.split("-")[0])
        if len(written) >= 3:
            raise DiskFull("The disk is full.")
        put(self, key, value)

    with Store(tmp_path) as store:
        with monkeypatch.context() as patch:
            patch.setattr(Store, "put_blob", full)
            with pytest.raises(DiskFull):
                measured(request(), store)
        assert len(captured) == 24
        assert measured(request(), store).profiles == undisturbed.profiles
        assert store.verify() == []
    assert written[2] == ("rows" if often < 1 else "state")
    assert len(captured) == 40 + 8


def test_where_there_is_no_time_to_write_rows_sums_are_written_more_often(tmp_path, captured, monkeypatch):
    """Rows that take too long to write are not: then a kill costs what was measured since the sums were."""
    monkeypatch.setattr(state, "SHARE", 1e-9)
    monkeypatch.setattr(state, "ALONE", float("inf"))
    monkeypatch.setattr(journal, "ALLOWED_SECONDS", 0.0)
    monkeypatch.setattr(journal, "PACE", 1.0)

    def kill(now):
        kept.append(sorted(entry.key.split("-")[0] for entry in store.entries() if entry.kind == "blob"))
        if now.done == 24:
            raise Killed

    kept: list[list[str]] = []
    with Store(tmp_path) as store:
        with pytest.raises(Killed):
            run(request(), store, on_progress=kill)
        measured(request(), store)
    assert {name for names in kept for name in names} == {"blob/state"}
    assert len(captured) == 40


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
    for module in (state, journal):
        monkeypatch.setattr(module, "time", clock)
    monkeypatch.setattr(journal, "PACE", 0.0 if fast else 1.0)
    rows = torch.zeros(8, 16)
    one = torch.zeros(8, dtype=torch.int64)
    captured = Captured(one, one, one.to(torch.int8), one.to(torch.int8), one, {Stream.RESIDUAL: [rows, rows]}, None)
    with Store(tmp_path) as store:
        keeper = state.Keeper(store, "base", [str(i) for i in range(400)], 1, grows=False)
        for consumed in range(1, 401):
            clock.now, clock.consumed = clock.now + 1.0, consumed
            keeper.note(captured, [consumed - 1])
            keeper.commit(clock, Tally(consumed))
            left = [entry.key.split("-")[0] for entry in store.entries()].count("blob/rows")
            assert left == (consumed - clock.kept[-1] if fast else 0)
    gaps = [later - earlier for earlier, later in itertools.pairwise(clock.kept)]
    assert max(gaps) == batches


def test_only_what_is_kept_is_said_to_be(tmp_path, monkeypatch):
    """The cache is full of what other jobs use, from some moment on."""

    def full(self, key, value):
        if any("-8-" in entry.key for entry in store.entries()):
            raise StoreFull("All of it is in use.")
        put(self, key, value)

    put = Store.put_blob
    monkeypatch.setattr(Store, "put_blob", full)
    with Store(tmp_path) as store:
        stop_after(request(24), store, 16)
        said = "can be resumed only from its first 8 examples: All of it is in use."
        assert measured(request(24), store).notes[-1] == said
    monkeypatch.setattr(Store, "put_blob", lambda *_: (_ for _ in ()).throw(StoreFull("All of it is in use.")))
    with Store(tmp_path / "other") as store:
        assert measured(request(24), store).notes[-1] == "cannot be resumed: All of it is in use."


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
            # Only what was committed before the change, by the name of what was there then.
            assert [entry.key.split("-")[2] for entry in store.entries()] == ["2"] * (file is rows)
    with Store(tmp_path / "cache") as store:
        assert run(small, store, on_progress=lambda _: None).examples == 10
        assert store.recall(small) is not None
        touch(weights)
        assert store.recall(small) is None


def test_a_look_at_what_is_changed_meanwhile_is_refused_by_name_and_not_kept(tmp_path, tiny_next, small_slice):
    data = Path(shutil.copytree(small_slice, tmp_path / "data"))
    rows = next(data.glob("*.parquet"))
    small = Request(tiny_next, SliceSpec(str(data)), folds=2, sample_tokens=64)

    def change(now):
        if now.phase != "opening slice":
            touch(rows)

    with Store(tmp_path / "cache") as store:

        def look(on_progress):
            options = {"on_progress": on_progress, "should_stop": lambda: False}
            look_run(small, store, kind=JobKind.PREVIEW, example=None, **options)

        with pytest.raises(MicroscopeError, match=f"{re.escape(str(rows))} was changed while it was in use: ask once"):
            look(change)
        assert store.entries() == []
        look(lambda _: None)
        assert store.recall_look(small, JobKind.PREVIEW, None) is not None


def test_what_was_skipped_is_tried_again_when_a_library_came(tmp_path, small_slice, tiny_next, monkeypatch):
    """Sounds without `soundfile`, say: neither the result nor the sums of it are good any more."""
    monkeypatch.setattr(state, "SHARE", 1e-9)
    found = ["av"]
    monkeypatch.setattr("microscope_tui.store.libraries.find_spec", lambda name: name if name in found else None)
    example = Slice.example

    def needs_soundfile(self, index):
        if index == 5 and "soundfile" not in found:
            raise BadExample(self.keys[5], "it needs soundfile")
        return example(self, index)

    monkeypatch.setattr(Slice, "example", needs_soundfile)
    small = Request(tiny_next, SliceSpec(small_slice, count=10), folds=2, sample_tokens=64, max_batch=2)

    def kill(now):
        if now.done == 8 and now.phase == "measuring":
            raise Killed

    with Store(tmp_path) as store:
        with pytest.raises(Killed):
            run(small, store, on_progress=kill)
        assert len(measured(small, store).skipped) == 1
        assert len(sure(store.recall(small)).skipped) == 1
        found.append("torchvision")
        found.remove("av")
        assert store.recall(small) is None
        with Store(tmp_path, read_only=True) as reader:
            assert len(sure(reader.recall(small)).skipped) == 1, "who may only look sees what there is"
        assert len(measured(small, store).skipped) == 1
        assert store.recall(small) is not None, "not asked for a second time"
        found.append("soundfile")
        assert store.recall(small) is None
        again = measured(small, store)
        assert (again.skipped, again.examples) == ((), 10)
        assert store.recall(small) == again
        found.append("av")
        assert store.recall(small) == again, "nothing was skipped"


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
        if (file := blob_file(self, key)) is not None:
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
