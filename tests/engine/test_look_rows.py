"""The worst tokens and the map against rows from transformers alone, least squares and SVD by numpy."""

import re
from collections import Counter
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from microscope_tui.engine import measure
from microscope_tui.engine.accumulate import example_hash
from microscope_tui.engine.looks import cloud as cloud_module
from microscope_tui.engine.looks.cloud import plane_of, turned
from microscope_tui.engine.looks.look import run
from microscope_tui.engine.looks.pooled import ranges
from microscope_tui.engine.looks.worst import ALIKE, WORST
from microscope_tui.errors import MicroscopeError
from microscope_tui.geometry.sample import token_hash
from microscope_tui.inspection import Cloud, WorstTokens
from microscope_tui.store import Store
from microscope_tui.terms import JobKind, Metric, Modality, Request, SliceSpec, Stream
from tests.engine.conftest import row, write_slice
from tests.engine.theirs import COUNT, REQUEST, Theirs, left
from tests.models.builders import build_llava_next
from tests.sure import sure

FOLDS = REQUEST.folds
REQUEST = replace(REQUEST, streams=tuple(Stream))


COUNTED = {"linear maps": "maps", "main axes": "layers", "t-SNE": "layers"}


def look(store, request, kind):
    def counted_in(progress):
        assert progress.unit == next((unit for what, unit in COUNTED.items() if what in progress.phase), "examples")

    run(request, store, kind=kind, example=None, on_progress=counted_in, should_stop=lambda: False)
    return store.recall_look(request, kind, None)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    with Store(tmp_path_factory.mktemp("cache")) as opened:
        measure.run(REQUEST, opened, on_progress=lambda _: None)
        yield opened


@pytest.fixture(scope="module")
def theirs():
    return Theirs()


@pytest.fixture(scope="module")
def worst(store):
    return WorstTokens.from_json(look(store, REQUEST, JobKind.WORST))


def residuals(theirs, layer, image):
    """{(example, position): what the map of all other folds leaves of it}, of every token of a modality."""
    found: dict[tuple[int, int], float] = {}
    for fold in range(FOLDS):
        inside = [i for i in range(COUNT) if i % FOLDS == fold]
        masks = [theirs.image[i] if image else ~theirs.image[i] for i in range(COUNT)]

        def rows(at, chosen, masks=masks):
            return np.concatenate([theirs.states[i][at][masks[i]] for i in chosen])

        outside = [i for i in range(COUNT) if i % FOLDS != fold]
        fitted = [rows(at, outside) for at in (layer, layer + 1)]
        errors = left(*fitted, *(rows(at, inside) for at in (layer, layer + 1)))
        where = [(i, int(t)) for i in inside for t in masks[i].nonzero()[0]]
        found |= dict(zip(where, errors, strict=True))
    return found


@pytest.mark.parametrize(("image", "layer"), [(True, 0), (True, 5), (False, 2), (False, 7)])
def test_the_worst_tokens_are_those_of_held_out_least_squares(worst, theirs, image, layer):
    modality = Modality.IMAGE if image else Modality.TEXT
    expected = residuals(theirs, layer, image)
    tokens = [token for token in worst.layers[layer] if token.modality is modality]
    assert len(tokens) == WORST
    for token in tokens:
        assert token.residual == pytest.approx(expected[token.index, token.position], rel=5e-3)
        assert token.example == theirs.examples[token.index].key
        ids = theirs.inputs[token.index]["input_ids"][0]
        assert token.token == theirs.processor.tokenizer.convert_ids_to_tokens(int(ids[token.position]))
    found = np.stack([theirs.states[token.index][layer][token.position] for token in tokens])
    for (i, t), error in expected.items():
        if error > tokens[-1].residual * 1.01:  # then it is shown, or a row like it is
            here = theirs.states[i][layer][t]
            assert np.linalg.norm(found - here, axis=1).min() <= 1.01 * ALIKE * np.linalg.norm(here)
    assert worst.rows[modality] == len(expected)
    assert worst.fitted == COUNT


def test_the_worst_come_first_and_no_row_twice(worst, theirs):
    assert len(worst.layers) == 8
    for layer, tokens in enumerate(worst.layers):
        assert Counter(token.modality for token in tokens) == {Modality.TEXT: WORST, Modality.IMAGE: WORST}
        assert worst.worst_of(layer) == tokens[:WORST]  # whatever was not kept is better than the last of these
        assert worst.worst_of(layer, Modality.IMAGE) == tuple(t for t in tokens if t.modality is Modality.IMAGE)
        assert all(before.residual >= after.residual for before, after in pairwise(tokens))
        for modality in (Modality.TEXT, Modality.IMAGE):
            rows = np.stack([theirs.states[t.index][layer][t.position] for t in tokens if t.modality is modality])
            apart = np.linalg.norm(rows[:, None] - rows, axis=2) / np.linalg.norm(rows, axis=1)
            assert (apart[~np.eye(len(rows), dtype=bool)] > 0.99 * ALIKE).all()
    assert any(token.group == "newline" for tokens in worst.layers for token in tokens)


def test_with_one_fold_a_note_says_that_the_tokens_were_fitted_too(tmp_path, small_slice, tiny_next):
    request = Request(tiny_next, SliceSpec(small_slice), folds=1, streams=(Stream.RESIDUAL,))
    with Store(tmp_path) as own:
        measure.run(request, own, on_progress=lambda _: None)
        found = WorstTokens.from_json(look(own, request, JobKind.WORST))
    assert "one fold" in found.notes[0]
    assert WorstTokens.from_json(found.to_json()) == found


def test_rows_that_are_too_few_are_said_once_for_all_blocks_and_folds(tmp_path):
    request = Request("demo:llava-next", SliceSpec("demo:scienceqa", count=2), folds=2, streams=(Stream.RESIDUAL,))
    with Store(tmp_path) as own:
        measurement = measure.run(request, own, on_progress=lambda _: None)
        found = WorstTokens.from_json(look(own, request, JobKind.WORST))
    assert not any(found.layers)
    text, image = sorted(found.notes, reverse=True)
    n = re.search(r"^no linear maps of text tokens of blocks 0 to 7: n = (\d+) to (\d+) ≤ d \+ 1 = 97, so", text)
    assert n
    assert int(n[1]) + int(n[2]) == measurement.tokens["text"]
    assert image.startswith("no linear maps of image tokens of blocks 0 to 7: n = ")


def test_numbers_in_a_row_are_a_range():
    assert ranges({8, 0, 2, 1, 5, 7}) == "0 to 2, 5, 7, 8"
    assert ranges([3]) == "3"


def sampled(theirs, image, count):
    """The `count` tokens of a modality with the smallest hashes: (example, position)."""
    tokens = [(i, int(t)) for i in range(COUNT) for t in (theirs.image[i] if image else ~theirs.image[i]).nonzero()[0]]
    hashes = token_hash(
        torch.tensor([example_hash(theirs.examples[i].key) for i, _ in tokens]), torch.tensor([t for _, t in tokens])
    )
    return [tokens[i] for i in hashes.argsort()[:count].tolist()]


@pytest.mark.parametrize("stream", [Stream.RESIDUAL, Stream.UPDATE])
def test_the_map_is_on_the_two_main_axes_of_the_sampled_rows(store, theirs, stream):
    cloud = Cloud.from_json(look(store, replace(REQUEST, streams=(stream,)), JobKind.MAP))
    chosen = {image: sampled(theirs, image, 250) for image in (True, False)}
    order = [modality is Modality.IMAGE for modality in cloud.modality]
    tokens = [*chosen[order[0]], *chosen[not order[0]]]
    assert order == [order[0]] * 250 + [not order[0]] * 250
    assert cloud.example == tuple(theirs.examples[i].key for i, _ in tokens)
    assert len(cloud.points) == (9 if stream is Stream.RESIDUAL else 8)
    for layer in (0, 3, len(cloud.points) - 1):
        rows = np.stack([theirs.states[i][layer][t] for i, t in tokens])
        if stream is Stream.UPDATE:
            rows = np.stack([theirs.states[i][layer + 1][t] for i, t in tokens]) - rows
        u, s, _ = np.linalg.svd(rows - rows.mean(0), full_matrices=False)
        points = np.array(cloud.points[layer])
        assert cloud.share[layer] == pytest.approx((s[:2] ** 2).sum() / (s**2).sum(), rel=1e-3)
        for axis in (0, 1):
            sign = np.sign((u[:, axis] * points[:, axis]).sum())
            assert points[:, axis] == pytest.approx(sign * u[:, axis] * s[axis], abs=2e-3 * s[axis])


def test_no_axis_flips_from_one_layer_to_the_next(store):
    cloud = Cloud.from_json(look(store, REQUEST, JobKind.MAP))
    for before, after in pairwise(np.array(cloud.points)):
        assert ((before * after).sum(0) >= 0).all()
    plane = torch.randn(30, 2, generator=torch.Generator().manual_seed(0))
    assert torch.equal(turned(plane * torch.tensor([-1.0, 1.0]), plane), plane)


def test_a_slice_without_a_walk_is_mapped_from_the_same_rows(store, tmp_path):
    kept = Cloud.from_json(look(store, REQUEST, JobKind.MAP))
    with Store(tmp_path) as empty:
        run_now = Cloud.from_json(look(empty, REQUEST, JobKind.MAP))
        again = Cloud.from_json(look(empty, REQUEST, JobKind.MAP))
    assert again == run_now
    of = f"rows of {len(set(run_now.example))} of {COUNT} examples, run for this map"
    assert of in run_now.notes[0]
    assert "no measurement had kept a sample when it was made" in run_now.notes[0]  # true for as long as it is kept
    assert sorted(run_now.modality) == sorted(kept.modality)
    assert run_now.share == pytest.approx(kept.share, rel=1e-3)


def test_a_look_knows_how_many_examples_a_better_one_must_have(store, tmp_path):
    with Store(tmp_path) as empty:
        assert Cloud.from_json(look(empty, REQUEST, JobKind.MAP)).walked == 0
        few = replace(REQUEST, slice=replace(REQUEST.slice, count=COUNT - 2))
        measure.run(few, empty, on_progress=lambda _: None)
        assert Cloud.from_json(look(empty, few, JobKind.MAP)).walked == COUNT - 2
    for kind, value in ((JobKind.MAP, Cloud), (JobKind.WORST, WorstTokens)):
        assert value.from_json(look(store, REQUEST, kind)).walked == COUNT


def test_a_measurement_whose_sums_are_gone_has_nothing_better_for_a_map(tmp_path):
    with Store(tmp_path) as own:
        measure.run(REQUEST, own, on_progress=lambda _: None)
        for entry in own.entries():
            if entry.kind == "blob":
                own.remove(entry.key)
        found = Cloud.from_json(look(own, REQUEST, JobKind.MAP))
    assert "run for this map" in found.notes[0]
    assert found.walked == COUNT


def test_a_large_slice_is_mapped_from_examples_all_over_it(tmp_path, monkeypatch):
    monkeypatch.setattr(cloud_module, "EXAMPLES", 5)
    request = replace(REQUEST, streams=(Stream.MAIN,))
    with Store(tmp_path) as empty:
        cloud = Cloud.from_json(look(empty, request, JobKind.MAP))
    assert 3 <= len(set(cloud.example)) <= 5


def test_texts_alone_fill_the_map(tmp_path, small_slice, tiny_next, monkeypatch):
    monkeypatch.setattr(cloud_module, "POINTS", 20)
    request = Request(tiny_next, SliceSpec(small_slice, filter="text-only"))
    with Store(tmp_path) as empty:
        cloud = Cloud.from_json(look(empty, request, JobKind.MAP))
    assert cloud.modality == (Modality.TEXT,) * 20


@pytest.mark.parametrize("stream", [Stream.RESIDUAL, Stream.UPDATE])
def test_massive_rows_are_counted_among_their_own_at_each_layer(store, theirs, stream):
    cloud = Cloud.from_json(look(store, replace(REQUEST, streams=(stream,)), JobKind.MAP))
    assert cloud.notes == ()
    for modality, image in ((Modality.TEXT, False), (Modality.IMAGE, True)):
        tokens = sampled(theirs, image, 250)
        for layer, count in enumerate(cloud.massive[modality]):
            rows = np.stack([theirs.states[i][layer][t] for i, t in tokens])
            if stream is Stream.UPDATE:
                rows = np.stack([theirs.states[i][layer + 1][t] for i, t in tokens]) - rows
            norms = np.linalg.norm(rows, axis=1)
            assert count == (norms > 10 * np.median(norms)).sum()
        assert len(cloud.massive[modality]) == len(cloud.points)


def test_the_map_has_massive_rows_where_the_profile_has(tmp_path, small_slice):
    folder = build_llava_next(tmp_path / "llava-next")
    state = load_file(folder / "model.safetensors")
    (table,) = [name for name in state if name.endswith("embed_tokens.weight")]
    state[table][1] *= 1000  # that of the first token of every example
    save_file(state, folder / "model.safetensors", {"format": "pt"})
    request = Request(str(folder), SliceSpec(small_slice), (Metric.DIMENSION,), streams=(Stream.RESIDUAL,))
    with Store(tmp_path / "cache") as own:
        measurement = measure.run(request, own, on_progress=lambda _: None)
        cloud = Cloud.from_json(look(own, request, JobKind.MAP))
    for modality in (Modality.TEXT, Modality.IMAGE):
        profile = sure(measurement.profile(Metric.DIMENSION, modality, Stream.RESIDUAL))
        noted = [any("sink" in note for note in notes) for notes in profile.notes]
        assert [count > 0 for count in cloud.massive[modality]] == noted
    assert 1 <= cloud.massive[Modality.TEXT][0] <= 10
    assert not any(cloud.massive[Modality.IMAGE])


def test_wide_rows_have_the_axes_of_an_svd():
    rows = torch.randn(20, 300, generator=torch.Generator().manual_seed(2)) * torch.linspace(3, 1, 300)
    plane, share = plane_of(rows)
    _, s, v = torch.linalg.svd(rows - rows.mean(0), full_matrices=False)
    scores = ((rows - rows.mean(0)) @ v[:2].T).abs()
    assert plane.abs().numpy() == pytest.approx(scores.numpy(), rel=1e-3, abs=1e-3)
    assert share == pytest.approx(float((s[:2] ** 2).sum() / (s**2).sum()), rel=1e-5)
    assert plane_of(torch.ones(5, 4))[1] == 0


def test_too_few_rows_make_no_map(tmp_path, tiny_next, monkeypatch):
    monkeypatch.setattr(cloud_module, "POINTS", 2)
    source = write_slice(tmp_path / "slice", [row(3)])
    with Store(tmp_path / "cache") as own, pytest.raises(MicroscopeError, match="2 rows of"):
        look(own, Request(tiny_next, SliceSpec(str(source))), JobKind.MAP)
