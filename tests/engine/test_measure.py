"""The pipeline against numbers computed directly from transformers' own hidden states with numpy and scipy."""

import itertools
import os
import shutil
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from scipy.spatial.distance import cdist
from transformers import AutoModelForImageTextToText, AutoProcessor

from microscope_tui import measure
from microscope_tui.catalogue.locate import locate_model, locate_slice
from microscope_tui.engine import walk
from microscope_tui.engine.measure import run
from microscope_tui.engine.profiles import placed
from microscope_tui.engine.provenance import sums_name, wider_sums
from microscope_tui.errors import Cancelled, MicroscopeError
from microscope_tui.models import load
from microscope_tui.models.capture import capture
from microscope_tui.results import Estimate, Measurement
from microscope_tui.slices import open_slice, question_text
from microscope_tui.slices.columns import Columns
from microscope_tui.store import Store
from microscope_tui.terms import Metric, Modality, Progress, Request, SliceSpec, Stream, captured_streams
from tests.sure import sure

SLICE = "demo:scienceqa?count=24"


@pytest.fixture(scope="module")
def measurement():
    return measure("demo:llava-next", SLICE)


@pytest.fixture(scope="module")
def hidden_states():
    """For each modality, L+1 arrays (n, d) of every token of the slice, from a plain loop over examples."""
    folder = sure(locate_model("demo:llava-next"))
    model = AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32).eval()
    processor = AutoProcessor.from_pretrained(folder, backend="pil")
    slice_ = open_slice(SliceSpec.parse(SLICE))
    before_norm = []
    model.model.language_model.norm.register_forward_pre_hook(lambda _, args: before_norm.append(args[0]))
    rows: dict[Modality, list[list[np.ndarray]]] = {Modality.TEXT: [], Modality.IMAGE: []}
    for i in range(len(slice_)):
        example = slice_.example(i)
        content = [{"type": "image"}] * len(example.images) + [{"type": "text", "text": question_text(example)}]
        prompt = processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
        inputs = processor(text=prompt, images=list(example.images) or None, return_tensors="pt")
        with torch.no_grad():
            states = model(**inputs, output_hidden_states=True).hidden_states
        states = [*states[:-1], before_norm[-1]]
        image = (inputs["input_ids"] == model.config.image_token_id)[0].numpy()
        for modality, mask in ((Modality.IMAGE, image), (Modality.TEXT, ~image)):
            if mask.any():
                rows[modality].append([h[0].double().numpy()[mask] for h in states])
    return {m: [np.concatenate(layer) for layer in zip(*r, strict=True)] for m, r in rows.items()}


def values(measurement, metric, modality, stream, method=None):
    return np.array(measurement.profile(metric, modality, stream, method).value, dtype=float)


def test_rho_stands_beside_the_scores_of_a_stream_that_carries_its_input_on_alone(measurement, hidden_states):
    for modality, states in hidden_states.items():
        facts = measurement.profile(Metric.LINEARITY, modality, Stream.RESIDUAL).facts
        for layer, (x, y) in enumerate(itertools.pairwise(states)):
            rho = (y - x).var(0, dtype=np.float64).sum() / y.var(0, dtype=np.float64).sum()
            assert float(facts[layer][0].removeprefix("ρ ")) == pytest.approx(rho, rel=6e-3)
        main = measurement.profile(Metric.LINEARITY, modality, Stream.MAIN).facts
        assert all(facts[0].startswith("rank ") for facts in main)


@pytest.mark.parametrize("modality", [Modality.TEXT, Modality.IMAGE])
def test_linearity_is_the_r2_of_least_squares(measurement, hidden_states, modality):
    def r2(x, y):
        x, y = x - x.mean(0), y - y.mean(0)
        residual = y - x @ np.linalg.lstsq(x, y, rcond=1e-12)[0]
        return 1 - (residual**2).sum() / (y**2).sum()

    states = hidden_states[modality]
    pairs = list(itertools.pairwise(states))
    expected = [r2(x, y) for x, y in pairs]
    assert values(measurement, Metric.LINEARITY, modality, Stream.RESIDUAL) == pytest.approx(expected, rel=1e-5)
    of_update = [r2(x, y - x) for x, y in pairs]
    assert values(measurement, Metric.LINEARITY, modality, Stream.UPDATE) == pytest.approx(of_update, rel=1e-5)


@pytest.mark.parametrize("modality", [Modality.TEXT, Modality.IMAGE])
def test_anisotropy_is_the_top_share_of_the_spectrum(measurement, hidden_states, modality):
    def top(x):
        spectrum = np.linalg.svd(x - x.mean(0), compute_uv=False) ** 2
        return spectrum[0] / spectrum.sum()

    states = hidden_states[modality]
    expected = [top(x) for x in states]
    assert values(measurement, Metric.ANISOTROPY, modality, Stream.RESIDUAL) == pytest.approx(expected, rel=1e-5)
    of_update = [top(y - x) for x, y in itertools.pairwise(states)]
    assert values(measurement, Metric.ANISOTROPY, modality, Stream.UPDATE) == pytest.approx(of_update, rel=1e-5)


@pytest.mark.parametrize("modality", [Modality.TEXT, Modality.IMAGE])
def test_dimension_is_twonn_on_distinct_rows(measurement, hidden_states, modality):
    def twonn(x):
        distance = cdist(x, x)
        # The shared beginning of every prompt gives equal rows: of those, one is kept.
        same = np.triu(distance < 1e-5 * np.median(distance), 1).any(0)
        distance = np.sort(distance[~same][:, ~same], axis=1)
        return (len(distance) - 1) / np.log(distance[:, 2] / distance[:, 1]).sum()

    layer = 5
    expected = twonn(hidden_states[modality][layer])
    assert values(measurement, Metric.DIMENSION, modality, Stream.RESIDUAL)[layer] == pytest.approx(expected, rel=1e-3)


def test_every_pane_has_layers_0_to_L_with_n_d_and_a_formula(measurement):
    assert measurement.complete
    assert measurement.examples == 24
    for modality in (Modality.TEXT, Modality.IMAGE):
        for stream in Stream:
            for metric in Metric:
                profile = measurement.profile(metric, modality, stream)
                of_blocks = stream is Stream.UPDATE or metric is Metric.LINEARITY
                assert profile.layers == tuple(range(8 if of_blocks else 9))
                assert profile.d == 96
                assert max(profile.n) <= measurement.tokens[modality]
                assert profile.formula != profile.method
                assert all(v is not None for v in profile.value), profile.notes


def test_intervals_hold_the_value_and_come_with_every_linearity_and_anisotropy(measurement):
    for metric in (Metric.LINEARITY, Metric.ANISOTROPY):
        profile = measurement.profile(metric, Modality.TEXT, Stream.RESIDUAL)
        for value, low, high in zip(profile.value, profile.low, profile.high, strict=True):
            assert low < value < high


def test_every_interval_says_how_much_of_it_is_of_which_tenth_of_the_slice(measurement):
    """So that two models on one slice are compared in pairs; also of modalities that some tenths have no rows of."""
    for profile in measurement.profiles:
        for low, influence, shares in zip(profile.low, profile.influence, profile.shares, strict=True):
            assert len(influence) == len(shares) == (0 if low is None else 10)
            assert low is None or (any(influence) and sum(shares) == pytest.approx(1, abs=1e-3))


@pytest.mark.parametrize("folds", [2, 20])
def test_what_is_made_of_the_sample_is_as_even_as_the_sums(folds):
    """Ten examples are one in each tenth, whatever their names, and updates have an interval however few the folds."""
    spec = SliceSpec.parse("demo:scienceqa?count=10")
    metrics = (Metric.DIMENSION, Metric.ANISOTROPY)
    request = Request("demo:omnifusion", spec, folds=folds, metrics=metrics, modalities=(Modality.TEXT,))
    found = run(request, None, on_progress=lambda _: None)
    dimension = sure(found.profile(Metric.DIMENSION, Modality.TEXT, Stream.RESIDUAL))
    assert dimension.low[2] is not None
    assert [bool(each) for each in dimension.influence[2]] == [True] * 10
    cosine = sure(found.profile(Metric.ANISOTROPY, Modality.TEXT, Stream.UPDATE, "mean-cosine"))
    assert sure(cosine.low[2]) < sure(cosine.value[2]) < sure(cosine.high[2])
    assert [bool(each) for each in cosine.influence[2]] == [True] * 10 + [False] * (max(folds, 10) - 10)


def test_a_fold_without_rows_keeps_its_place():
    found = placed(Estimate(0.5, influence=(0.1, -0.3, 0.2), shares=(0.5, 0.2, 0.3)), (0, 2, 5), 6)
    assert found.influence == (0.1, 0.0, -0.3, 0.0, 0.0, 0.2)
    assert found.shares == (0.5, 0.0, 0.2, 0.0, 0.0, 0.3)
    assert placed(Estimate(0.5), (0, 2, 5), 6).influence == ()


def test_what_older_versions_have_measured_can_be_read(measurement):
    data = measurement.to_json()
    for profile in data["profiles"]:
        del profile["influence"], profile["shares"]
    read = Measurement.from_json(data)
    assert read.profiles[0].value == measurement.profiles[0].value
    assert not any(each for profile in read.profiles for each in (*profile.influence, *profile.shares))


def test_fewer_rows_than_dimensions_never_score_1():
    few = measure("demo:omnifusion", "demo:scienceqa?count=2&filter=image", metrics=["linearity"], modalities=["image"])
    profile = sure(few.profile(Metric.LINEARITY, Modality.IMAGE, Stream.RESIDUAL))
    assert profile.n[0] <= profile.d + 1
    assert profile.value == (None,) * 8
    assert "n" in profile.notes[0][0]


def test_the_batch_size_does_not_change_the_numbers(measurement):
    request = Request("demo:llava-next", SliceSpec.parse(SLICE), max_batch=1)
    single = run(request, None, on_progress=lambda _: None)
    for one, many in zip(single.profiles, measurement.profiles, strict=True):
        assert np.array(one.value, float) == pytest.approx(np.array(many.value, float), rel=2e-3, nan_ok=True)


def test_a_result_is_read_the_second_time_and_found_by_content_under_another_name(tmp_path, monkeypatch):
    copy = tmp_path / "copy"
    source = sure(locate_model("demo:omnifusion"))
    shutil.copytree(source, copy)
    first = measure("demo:omnifusion", "demo:scienceqa?count=6", cache=tmp_path / "cache")

    def fail(*_, **__):
        raise AssertionError("measured again")

    monkeypatch.setattr("microscope_tui.engine.walk.Walk", fail)
    assert measure("demo:omnifusion", "demo:scienceqa?count=6", cache=tmp_path / "cache") == first
    again = measure(str(copy), "demo:scienceqa?count=6", cache=tmp_path / "cache")
    assert again == replace(first, model=str(copy))
    shutil.rmtree(copy)
    with pytest.raises(MicroscopeError, match="copy"):
        measure(str(copy), "demo:scienceqa?count=6", cache=tmp_path / "cache")
    assert measure("demo:omnifusion", "demo:scienceqa?count=6", cache=tmp_path / "cache") == first
    with pytest.raises(AssertionError, match="measured again"):
        measure("demo:omnifusion", "demo:scienceqa?count=7", cache=tmp_path / "cache")


def test_the_share_of_the_profiles_made_is_told_while_they_are_computed():
    progress: list[Progress] = []
    spec = SliceSpec.parse("demo:scienceqa?count=4")
    run(Request("demo:omnifusion", spec, metrics=(Metric.ANISOTROPY,)), None, on_progress=progress.append)
    told = list(dict.fromkeys(p.percent for p in progress if p.phase == "computing profiles"))
    assert told == [100 * part // 6 for part in range(1, 7)]  # 2 modalities in 3 streams


def test_partial_profiles_come_while_it_runs_and_a_stop_is_heard_between_batches(tmp_path, monkeypatch):
    monkeypatch.setattr("microscope_tui.engine.walk.PARTIAL_SECONDS", 0.0)
    progress: list[Progress] = []
    partials: list[Measurement] = []
    request = Request("demo:omnifusion", SliceSpec.parse("demo:scienceqa?count=40"), max_batch=8)
    with Store(tmp_path) as store, pytest.raises(Cancelled):
        run(
            request,
            store,
            on_progress=progress.append,
            on_partial=partials.append,
            should_stop=lambda: bool(progress) and progress[-1].done >= 16,
        )
    assert next(p.phase for p in progress) == "opening slice"
    assert progress[-1].done == 16
    assert progress[-1].total == 40
    assert sure(progress[-1].rate) > 0
    assert progress[-1].tokens > 0
    assert partials
    assert not partials[-1].complete
    profile = sure(partials[-1].profile(Metric.ANISOTROPY, Modality.IMAGE, Stream.MAIN))
    assert profile.value[0] is not None
    assert profile.examples <= 16


@pytest.fixture
def small_memory(monkeypatch):
    """A model whose passes over more than two examples run out of memory, as torch says it on a GPU."""
    sizes: list[int] = []

    def limited(model, batch, streams, **options):
        sizes.append(len(batch))
        if len(batch) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return capture(model, batch, streams, **options)

    monkeypatch.setattr(walk, "capture", limited)
    return sizes


def test_out_of_memory_halves_the_batch_and_counts_nothing_twice(small_memory):
    request = Request("demo:omnifusion", SliceSpec.parse("demo:scienceqa?count=20"), metrics=(Metric.ANISOTROPY,))
    halved = run(request, None, on_progress=lambda _: None)
    assert small_memory[:3] == [8, 4, 2]
    assert sum(size for size in small_memory if size <= 2) == 20
    assert halved.examples == 20
    assert not halved.skipped
    small_memory[:] = []
    plain = run(replace(request, max_batch=2), None, on_progress=lambda _: None)
    assert halved.tokens == plain.tokens
    assert [p.value for p in halved.profiles] == [p.value for p in plain.profiles]


def test_a_lost_gpu_is_no_fault_of_the_example(monkeypatch):
    def lost(*_, **__):
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr("microscope_tui.models.capture._capture_part", lost)
    with pytest.raises(RuntimeError, match="illegal memory access"):
        measure("demo:omnifusion", "demo:scienceqa?count=4")


def test_two_examples_are_enough_to_hold_one_out():
    two = measure("demo:omnifusion", "demo:scienceqa?count=2", metrics=["linearity"], modalities=["text"])
    held_out = sure(two.profile(Metric.LINEARITY, Modality.TEXT, Stream.RESIDUAL, "held-out"))
    assert held_out.value[3] is not None or "at least 2 examples" not in held_out.notes[3][0]


def test_a_slice_without_pictures_has_text_profiles_and_says_why_there_are_no_others():
    result = measure("demo:llava-next", "demo:scienceqa?filter=text-only&count=6")
    assert result.tokens["image"] == 0
    for profile in result.profiles:
        if profile.modality is Modality.IMAGE:
            assert set(profile.value) == {None}
            assert all("no rows" in notes[0] for notes in profile.notes), profile
    assert sure(result.profile(Metric.ANISOTROPY, Modality.TEXT, Stream.MAIN)).value[0] is not None


@pytest.mark.parametrize(
    ("asked", "word"),
    [
        ({"metrics": ["linear"]}, "linear"),
        ({"modalities": []}, "modalities"),
        ({"streams": ["residual", "mian"]}, "mian"),
    ],
)
def test_what_is_not_a_word_of_ours_is_named(asked, word):
    with pytest.raises(MicroscopeError, match=word):
        measure("demo:omnifusion", "demo:scienceqa?count=2", **asked)


def test_what_the_model_does_not_take_is_refused_alone_and_told_beside_what_it_takes(tiny_next, small_slice):
    with pytest.raises(MicroscopeError, match="takes no audio or video: it takes text and image"):
        measure(tiny_next, small_slice, modalities=["audio", "video"])
    both = measure(tiny_next, small_slice, modalities=["text", "audio"], metrics=["anisotropy"], streams=["residual"])
    assert "this model takes no audio" in both.notes
    assert both.profiles[0].value[0] is not None


def test_a_corrupt_picture_is_skipped_counted_and_named(tmp_path, picture_rows):
    picture_rows[7]["image"]["bytes"] = b"not a picture"
    folder = write_rows(tmp_path / "rows", picture_rows)
    result = measure("demo:omnifusion", str(folder), metrics=["anisotropy"])
    assert result.examples == len(picture_rows) - 1
    assert [s.example for s in result.skipped] == ["row 7"]
    assert "picture" in result.skipped[0].reason


def test_an_example_longer_than_the_context_is_skipped_and_named(tmp_path, picture_rows):
    picture_rows[3]["question"] = "why " * 5000
    folder = write_rows(tmp_path / "rows", picture_rows)
    result = measure("demo:llava-next", str(folder), metrics=["anisotropy"])
    assert [s.example for s in result.skipped] == ["row 3"]
    assert "context" in result.skipped[0].reason or "long" in result.skipped[0].reason


def test_a_slice_of_which_nothing_can_be_used_is_an_error_that_says_why(tmp_path, picture_rows):
    for row in picture_rows:
        row["image"]["bytes"] = b"not a picture"
    folder = write_rows(tmp_path / "rows", picture_rows)
    with pytest.raises(MicroscopeError, match="row 0"):
        measure("demo:omnifusion", str(folder), metrics=["anisotropy"])


@pytest.fixture
def picture_rows():
    """Ten rows of the demo slice as dicts, each with a picture."""
    table = pq.read_table(next(sure(locate_slice("demo:scienceqa")).glob("*.parquet")))
    return [row for row in table.slice(0, 60).to_pylist() if row["image"] is not None][:10]


def write_rows(folder, rows):
    folder.mkdir()
    pq.write_table(pa.Table.from_pylist(rows), folder / "test-00000-of-00001.parquet")
    return folder


def test_a_slice_that_is_rewritten_while_it_is_opened_is_refused_and_nothing_is_stored(
    tmp_path, tiny_next, small_slice, monkeypatch
):
    data = shutil.copytree(small_slice, tmp_path / "data")
    columns_of = Columns.of

    def rewritten(*given):
        for file in data.glob("*.parquet"):
            os.utime(file, ns=(1, 1))
        return columns_of(*given)

    monkeypatch.setattr(Columns, "of", rewritten)
    seen: list[Progress] = []
    with Store(tmp_path / "cache") as store:
        with pytest.raises(MicroscopeError, match=r"\.parquet was changed while it was in use: ask once more"):
            run(Request(tiny_next, SliceSpec(str(data))), store, on_progress=seen.append)
        assert not list(store.entries())
    assert not any(progress.phase == "measuring" for progress in seen)


def test_a_name_that_comes_to_mean_another_commit_while_the_model_is_opened_is_refused(
    tmp_path, tiny_next, small_slice, monkeypatch
):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    repo = tmp_path / "models--ann--small"
    (repo / "refs").mkdir(parents=True)
    (repo / "refs" / "main").write_text("abc123")
    shutil.copytree(tiny_next, repo / "snapshots" / "abc123")
    opened = load.open_model

    def moved(*given, **options):
        model = opened(*given, **options)
        (repo / "refs" / "main").write_text("another")
        return model

    monkeypatch.setattr(load, "open_model", moved)
    with pytest.raises(MicroscopeError, match="refs/main was changed while it was in use"):
        run(Request("ann/small", SliceSpec(small_slice)), None, on_progress=lambda _: None)


def test_wider_sums_are_those_that_requests_for_more_keep(tiny_next, small_slice):
    def state(**asked):
        request = Request(tiny_next, SliceSpec(small_slice), metrics=(Metric.LINEARITY,), **asked)
        return run(request, None, on_progress=lambda _: None).provenance

    narrow = state(modalities=(Modality.TEXT,), streams=(Stream.UPDATE,))
    wide = state(modalities=(Modality.TEXT, Modality.IMAGE), streams=(Stream.RESIDUAL, Stream.MAIN))
    slice_ = open_slice(SliceSpec(small_slice))
    found = wider_sums(narrow, slice_)
    assert wide["state"] in found
    assert narrow["state"] not in found
    one_more = state(modalities=(Modality.TEXT, Modality.IMAGE), streams=(Stream.UPDATE,))
    assert (found[wide["state"]], found[one_more["state"]]) == (False, True)
    staged = {**narrow, "before": True}
    pictured = sums_name(staged, slice_, one_more["modalities"], captured_streams([Stream.UPDATE]))
    assert not wider_sums(staged, slice_)[pictured], "their tower is captured as well"
    assert narrow["state"] not in wider_sums(wide, slice_)
