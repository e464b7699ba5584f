"""Stopped work goes on where it was, a slice grows, less is made of more: nothing is measured twice, no bit changes."""

from typing import Any

import pytest
from safetensors import safe_open

from microscope_tui.engine.tensors import head_of, parts_of, tensors_of
from microscope_tui.errors import BadExample
from microscope_tui.geometry.masks import massive
from microscope_tui.slices import Slice
from microscope_tui.store import Store
from microscope_tui.terms import Metric, Modality, Request, SliceSpec, Stream
from tests.engine.keeping import measured, named, request, same, stop_at
from tests.sure import sure

pytestmark = pytest.mark.usefixtures("sums_always")

WITH_STAGES = [((Modality.TEXT, Modality.IMAGE), Stream.RESIDUAL), ((Modality.IMAGE,), Stream.RESIDUAL)]
"""What the stages before the decoder come with."""


def test_stopped_work_goes_on_and_ends_bit_for_bit_the_same(tmp_path, captured, undisturbed):
    with Store(tmp_path) as store:
        for examples in (8, 24):
            stop_at(examples, request(), store)
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
    less: dict[str, Any] = {"metrics": (Metric.ANISOTROPY,), "modalities": (Modality.IMAGE,), "streams": (Stream.MAIN,)}
    with Store(tmp_path) as store:
        measured(request(8), store)
        captured.clear()
        read = measured(request(8, **less), store)
    assert captured == []
    assert read.profiles == measured(request(8, **less), None).profiles


@pytest.mark.parametrize("before", [False, True])
def test_what_is_read_of_more_is_all_that_measuring_gives(tmp_path, captured, monkeypatch, before):
    """Also what is told beside the numbers: massive rows, of which each stream has others, and notes."""
    assert massive.__kwdefaults__ is not None
    monkeypatch.setitem(massive.__kwdefaults__, "ratio", 1.4)  # the demo has none by the usual one
    both = (Modality.TEXT, Modality.IMAGE)
    scopes = [(modalities, (stream,)) for modalities in (both, both[:1], both[1:]) for stream in Stream]
    common: dict[str, Any] = {"metrics": (Metric.ANISOTROPY,), "before": before}

    def told(found):
        return {name: value for name, value in found.to_json().items() if name != "provenance"}

    sinks = set()
    with Store(tmp_path) as store:
        measured(request(8, **common), store)
        asked = {scope: request(8, modalities=scope[0], streams=scope[1], **common) for scope in scopes}
        read = {scope: store.recall(less) for scope, less in asked.items()}
        captured.clear()
        made = {scope: found or measured(asked[scope], store) for scope, found in read.items()}
        assert captured == []
    for scope, found in made.items():
        alone = measured(asked[scope], None)
        assert told(found) == told(alone), scope
        sinks.add(alone.sinks.get(Modality.IMAGE))
    assert len(sinks) > 2
    assert {scope for scope, found in read.items() if found is None} == {
        (modalities, streams)
        for modalities, streams in scopes
        if streams == (Stream.MAIN,) or (before and (modalities, streams[0]) not in WITH_STAGES)
    }


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


def test_matched_rows_are_as_many_for_conventions_that_count_copies(tmp_path):
    """At layer 0 rows repeat: the words of the prompt are the same for every example."""
    with Store(tmp_path) as store:
        whole = measured(request(16), store)
        matched = measured(request(16, matched=40), store)
    of = Metric.DIMENSION, Modality.TEXT, Stream.RESIDUAL
    assert sure(whole.profile(*of, "scikit-dimension")).n[0] > sure(whole.profile(*of, "mle")).n[0]  # some repeat
    for method in ("mle", "facco", "gride", "dadapy", "scikit-dimension", "llm-microscope"):
        assert set(sure(matched.profile(*of, method)).n) == {40}, method
        before, after = (sure(found.profile(*of, method)) for found in (whole, matched))
        assert before.value[-1] != after.value[-1]


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


def test_a_damaged_state_is_measured_again(tmp_path, captured, undisturbed):
    with Store(tmp_path) as store:
        stop_at(16, request(), store)
        sure(store.blob_file(named(store, "state-"))).write_bytes(b"nothing")
        assert measured(request(), store).profiles == undisturbed.profiles
        assert store.damaged()
    assert len(captured) == 16 + 40


def without_a_sample(tensors, head):
    del tensors["image.main.sample.rows"]


def without_a_count(tensors, head):
    del head["counts"]["sinks"]["image main"]


def of_fewer_layers(tensors, head):
    for name in ("mean", "gram", "cross", "unit_sum", "units", "nonfinite"):
        tensors[f"image.main.fold0.{name}"] = tensors[f"image.main.fold0.{name}"][:-1]


@pytest.mark.parametrize("change", [without_a_sample, without_a_count, of_fewer_layers])
def test_sums_that_are_not_what_they_must_be_are_measured_again(tmp_path, captured, undisturbed, change):
    """With nothing left of what was taken over before that was found."""
    with Store(tmp_path) as store:
        stop_at(16, request(), store)
        name = named(store, "state-")
        with safe_open(sure(store.blob_file(name)), framework="pt") as opened:
            head, tensors = head_of(opened), tensors_of(opened)
        change(tensors, head)
        store.put_blob(name, parts_of(tensors, head))
        same(measured(request(), store), undisturbed)
    assert len(captured) == 16 + 40


def test_sums_that_vanish_while_they_are_read_are_measured_again(tmp_path, captured, monkeypatch):
    blob_file = Store.blob_file

    def found_and_removed(self, key):
        if (file := blob_file(self, key)) is not None:
            file.unlink()
        return file

    with Store(tmp_path) as store:
        stop_at(8, request(16), store)
        monkeypatch.setattr(Store, "blob_file", found_and_removed)
        measured(request(16), store)
    assert len(captured) == 8 + 16


@pytest.mark.parametrize(("more", "again"), [({}, 16), ({"streams": (Stream.RESIDUAL, Stream.MAIN)}, 40)])
def test_sums_of_more_will_do_where_what_was_skipped_would_be_skipped_again(
    tmp_path, captured, monkeypatch, more, again
):
    """Of other modalities, not of another stream: that may have been all that was wrong with an example."""
    example = Slice.example

    def unusable(self, index):
        if index == 3:
            raise BadExample(self.keys[3], "it is empty")
        return example(self, index)

    monkeypatch.setattr(Slice, "example", unusable)
    wanted: dict[str, Any] = {"streams": (Stream.RESIDUAL,), "modalities": (Modality.TEXT,)}
    expected = measured(request(40, **wanted), None)
    assert [each.reason for each in expected.skipped] == ["it is empty"]
    with Store(tmp_path) as store:
        measured(request(24, **({**wanted, "modalities": (Modality.TEXT, Modality.IMAGE)} | more)), store)
        captured.clear()
        same(measured(request(40, **wanted), store), expected)
    assert len(captured) == again - (again > 16)
