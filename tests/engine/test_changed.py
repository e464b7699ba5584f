"""Files and libraries that change while a walk runs, or before it goes on: nothing is made of what is not as it was."""

import itertools
import os
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from microscope_tui.engine import state
from microscope_tui.engine.looks.look import run as look_run
from microscope_tui.engine.measure import run
from microscope_tui.engine.open_models import MODELS
from microscope_tui.errors import BadExample, Cancelled, MicroscopeError
from microscope_tui.slices import Slice
from microscope_tui.store import Store
from microscope_tui.terms import JobKind, Progress, Request, SliceSpec
from tests.engine.keeping import Sums, kept, kill_at, measured, request, same, step
from tests.sure import sure

pytestmark = pytest.mark.usefixtures("sums_once")


def touch(path):
    """As if somebody had written the same number of bytes."""
    found = path.stat()
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns + 1))


def test_what_changes_while_it_is_measured_is_refused_by_name_and_nothing_of_it_is_kept(
    tmp_path, tiny_next, small_slice
):
    """The rows, between two batches; the weights, while they are loaded."""
    MODELS.clear()
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


def test_a_stop_keeps_nothing_of_a_file_that_was_changed(tmp_path, tiny_next, small_slice, monkeypatch):
    """Also where that was not looked at since, and every batch is on the disk."""
    monkeypatch.setattr(state, "CHECKS", 1e-9)
    data = Path(shutil.copytree(small_slice, tmp_path / "data"))
    rows = next(data.glob("*.parquet"))
    small = Request(tiny_next, SliceSpec(str(data), count=10), folds=2, sample_tokens=64, max_batch=2)

    def stop_when_changed(now):
        if now.phase == "measuring" and now.done == 6:
            assert kept(store) == ["rows 2 4", "rows 4 6", "state 2"]
            touch(rows)
            raise Cancelled("Stopped.")

    with Store(tmp_path / "cache") as store:
        with pytest.raises(Cancelled, match=f"is not kept: {re.escape(str(rows))} was changed while it was in use"):
            run(small, store, on_progress=stop_when_changed)
        assert kept(store) == ["state 2"]


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
            step(keeper, consumed, sums, due=consumed == 1)
            if consumed == 50:
                changed_at = clock.now

    with Store(tmp_path) as store:
        with pytest.raises(MicroscopeError, match="changed"):
            go_on(state.Keeper(store, "base", [str(i) for i in range(100)], 1, grows=True))
        gaps = [later - earlier for earlier, later in itertools.pairwise(asked)]
        assert min(gaps) == pytest.approx(20.2, abs=1)
        ends = [int(name.split()[2]) for name in kept(store) if name.startswith("rows")]
        assert max(ends) == len(ends) + 1 <= 50, "all that came before the last look that found nothing"


def test_what_was_skipped_is_tried_again_when_a_library_came(tmp_path, small_slice, tiny_next, monkeypatch):
    """Sounds without `soundfile`, say: neither the result nor the sums of it are good any more."""
    found = ["av"]
    monkeypatch.setattr("microscope_tui.store.libraries.find_spec", lambda name: name if name in found else None)
    example = Slice.example

    def needs_soundfile(self, index):
        if index == 5 and "soundfile" not in found:
            raise BadExample(self.keys[5], "it needs soundfile")
        return example(self, index)

    monkeypatch.setattr(Slice, "example", needs_soundfile)
    small = Request(tiny_next, SliceSpec(small_slice, count=10), folds=2, sample_tokens=64, max_batch=2)

    with Store(tmp_path) as store:
        kill_at(8, small, store)
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
