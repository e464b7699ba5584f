"""A walk whose sums are too large to keep leaves its linear maps: held against least squares on the same rows."""

import numpy as np
import pytest

from microscope_tui.engine import measure, state
from microscope_tui.engine.looks.look import run
from microscope_tui.errors import MicroscopeError
from microscope_tui.inspection import Cloud, TokenTable, WorstTokens
from microscope_tui.store import Store
from microscope_tui.terms import JobKind, Metric, Modality, Progress, Request, SliceSpec, Stream
from tests.engine.theirs import COUNT, REQUEST, Theirs, left

INDEX = 5


@pytest.fixture(autouse=True)
def no_room_for_sums(monkeypatch):
    monkeypatch.setattr(state, "QUOTA_SHARE", 0)


def look(store, request, kind, example=None):
    run(request, store, kind=kind, example=example, on_progress=lambda _: None, should_stop=lambda: False)
    return store.recall_look(request, kind, example)


def measured(store, request, **options):
    return measure.run(request, store, on_progress=lambda _: None, **options)


def maps_in(store):
    return [entry.key for entry in store.entries() if "maps-" in entry.key]


def test_tokens_are_explained_by_the_maps_of_all_rows(tmp_path):
    theirs = Theirs()
    with Store(tmp_path) as store:
        measured(store, REQUEST)
        assert not any("state-" in entry.key for entry in store.entries())
        table = TokenTable.from_json(look(store, REQUEST, JobKind.TOKENS, INDEX))
    assert table.fitted == COUNT
    for image, layer in ((True, 0), (True, 4), (False, 1), (False, 7)):
        mask = theirs.image[INDEX] if image else ~theirs.image[INDEX]
        rows = [theirs.rows(at, image) for at in (layer, layer + 1)]
        expected = left(*rows, *(theirs.states[INDEX][at][mask] for at in (layer, layer + 1)))
        assert np.array(table.residual[layer])[mask] == pytest.approx(expected, rel=5e-3)
    said = next(note for note in table.notes if "image tokens" in note)
    assert f"fitted on this example too, among {len(theirs.rows(0, True)):,} rows" in said


def test_the_worst_tokens_are_those_that_the_sums_tell(tmp_path, monkeypatch):
    with Store(tmp_path / "maps") as store:
        measured(store, REQUEST)
        by_maps = WorstTokens.from_json(look(store, REQUEST, JobKind.WORST))
        assert Cloud.from_json(look(store, REQUEST, JobKind.MAP)).points
    monkeypatch.setattr(state, "QUOTA_SHARE", 0.25)
    with Store(tmp_path / "sums") as store:
        measured(store, REQUEST)
        by_sums = WorstTokens.from_json(look(store, REQUEST, JobKind.WORST))
    assert by_maps == by_sums


def test_a_stop_while_maps_are_made_loses_neither_them_nor_the_measurement(tmp_path, tiny_next, small_slice):
    """They are made of sums that nothing keeps: whoever went on later would have to walk over everything again."""
    request = Request(tiny_next, SliceSpec(small_slice))
    seen: list[Progress] = []
    with Store(tmp_path) as store:
        measurement = measure.run(
            request,
            store,
            on_progress=seen.append,
            should_stop=lambda: bool(seen) and seen[-1].phase.startswith("keeping"),
        )
        assert any(progress.phase.startswith("keeping") for progress in seen)
        assert store.recall(request) == measurement
        assert any(WorstTokens.from_json(look(store, request, JobKind.WORST)).layers)
        for key in maps_in(store):
            store.remove(key)
        with pytest.raises(MicroscopeError, match="remove the measurement there and measure again"):
            look(store, request, JobKind.WORST)


def test_maps_that_are_too_large_are_not_kept_and_the_room_is_named(tmp_path, tiny_next, small_slice):
    request = Request(tiny_next, SliceSpec(small_slice), metrics=(Metric.ANISOTROPY,), streams=(Stream.RESIDUAL,))
    needed = 4 * 2 * 4 * 48**2 * 4  # four times two modalities, four blocks, 48² numbers of four bytes
    with Store(tmp_path, limit_bytes=needed - 1) as store:
        measured(store, request)
        assert not maps_in(store)
        with pytest.raises(MicroscopeError, match=r"measure again, with cache_limit_gb = 0\.0003 or more\.$"):
            look(store, request, JobKind.WORST)
    with Store(tmp_path / "larger", limit_bytes=needed) as store:
        measured(store, request)
        assert len(maps_in(store)) == 2 * 4 + 1
        assert look(store, request, JobKind.WORST)


def test_a_map_that_was_pushed_out_of_the_cache_is_missing_and_no_error(tmp_path, tiny_next, small_slice):
    request = Request(tiny_next, SliceSpec(small_slice), metrics=(Metric.ANISOTROPY,), streams=(Stream.RESIDUAL,))
    with Store(tmp_path) as store:
        measured(store, request)
        store.remove(next(key for key in maps_in(store) if key.endswith("-image-2")))
        table = TokenTable.from_json(look(store, request, JobKind.TOKENS, 0))
    gone = {value for value, at in zip(table.residual[2], table.modality, strict=True) if at is Modality.IMAGE}
    there = {value for value, at in zip(table.residual[1], table.modality, strict=True) if at is Modality.IMAGE}
    assert gone == {None}
    assert None not in there
