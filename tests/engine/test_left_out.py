"""Rows that do not count, against rows picked by hand from transformers' own hidden states."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForImageTextToText, AutoProcessor

from microscope_tui import cli, measure
from microscope_tui.engine import walk
from microscope_tui.engine.left_out import LeftOut, Prefixes, sink_rows
from microscope_tui.engine.measure import run
from microscope_tui.errors import Cancelled, MicroscopeError
from microscope_tui.models.base import Captured
from microscope_tui.models.capture import capture
from microscope_tui.models.load import open_model
from microscope_tui.models.selfcheck import is_causal
from microscope_tui.slices import open_slice, question_text
from microscope_tui.store import Store
from microscope_tui.terms import Metric, Modality, Progress, Request, SliceSpec, Stream
from tests.models.builders import build_llava_next, example
from tests.models.families import build
from tests.sure import sure

LAYER = 2
BOTH = (Metric.LINEARITY, Metric.ANISOTROPY)


@pytest.fixture(scope="module")
def plain_loop(tiny_next, small_slice):
    """Of each example in order: its token ids, the bytes of its picture, and its hidden states (L+1, T, d)."""
    model = AutoModelForImageTextToText.from_pretrained(tiny_next, dtype=torch.float32).eval()
    processor = AutoProcessor.from_pretrained(tiny_next, backend="pil")
    slice_ = open_slice(SliceSpec(small_slice))
    found = []
    for i in range(len(slice_)):
        one = slice_.example(i)
        content = [{"type": "image"}] * len(one.images) + [{"type": "text", "text": question_text(one)}]
        prompt = processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
        inputs = processor(text=prompt, images=list(one.images) or None, return_tensors="pt")
        with torch.no_grad():
            states = model(**inputs, output_hidden_states=True).hidden_states
        shown = one.images[0].tobytes() if one.images else b""
        found.append((inputs["input_ids"][0].tolist(), shown, torch.cat(states[:-1]).numpy()))
    return found, model.config.image_token_id, model.model.image_newline.detach().numpy()


def shares(profile):
    return np.array(profile.value[: LAYER + 1], float)


def expected_share(rows):
    spectrum = np.linalg.svd(rows - rows.mean(0), compute_uv=False) ** 2
    return spectrum[0] / spectrum.sum()


def measured(model, slice_, **options):
    options = {"metrics": ["anisotropy"], "streams": ["residual"]} | options
    return measure(model, slice_, **options)


def test_groups_are_counted_and_newlines_can_be_left_out(tiny_next, small_slice, plain_loop):
    loop, image_id, newline = plain_loop
    everything = measured(tiny_next, small_slice)
    is_newline = [(states[0] == newline).all(-1) for _, _, states in loop]
    assert everything.groups["newline"] == sum(int(mask.sum()) for mask in is_newline) > 8
    assert everything.groups["base"] == 8 * 16
    images = sum(ids.count(image_id) for ids, _, _ in loop)
    assert everything.groups["base"] + everything.groups["tiles"] + everything.groups["newline"] == images
    assert everything.tokens == {"text": sum(len(ids) for ids, _, _ in loop) - images, "image": images}
    without = measured(tiny_next, small_slice, without=["newline"])
    profile = without.profile(Metric.ANISOTROPY, Modality.IMAGE, Stream.RESIDUAL)
    assert set(profile.n) == {images - everything.groups["newline"]}
    kept = [(np.array(ids) == image_id) & ~mask for (ids, _, _), mask in zip(loop, is_newline, strict=True)]
    rows = np.concatenate([states[: LAYER + 1, k] for (_, _, states), k in zip(loop, kept, strict=True)], 1)
    assert shares(profile) == pytest.approx([expected_share(each) for each in rows], rel=1e-5)
    assert (without.groups, without.tokens) == (everything.groups, everything.tokens)


def test_a_model_that_does_not_cut_pictures_is_measured_once_for_both(tiny_fusion, small_slice, tmp_path, captured):
    with Store(tmp_path) as store:
        asked = Request(tiny_fusion, SliceSpec(small_slice))
        usual = run(asked, store, on_progress=lambda _: None)
        walked = len(captured)
        one = run(replace(asked, one_tile=True), store, on_progress=lambda _: None)
    assert one == usual
    assert len(captured) == walked > 0
    assert one.provenance["tiles"] is one.provenance["one_tile"] is False


def test_flags_and_settings_say_what_does_not_count(tiny_next, small_slice, capsys, monkeypatch, tmp_path):
    command = ["measure", tiny_next, small_slice, "--metric", "anisotropy", "--json", "--cache", str(tmp_path)]
    assert cli.main([*command, "--without", "special,newline", "--one-tile", "--reference"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["provenance"]["without"] == ["newline", "special"]
    assert told["provenance"]["tiles"] is told["provenance"]["one_tile"] is True
    assert told["groups"] == {"special": 10, "base": 128, "tiles": 0, "newline": 8}
    assert {p["n"][0] for p in told["profiles"] if p["modality"] == "image"} == {128}
    assert "llm-microscope" in {p["method"] for p in told["profiles"]}
    monkeypatch.setenv("MICROSCOPE_WITHOUT", "special")
    assert cli.main([*command, "--one-tile"]) == 0
    other = json.loads(capsys.readouterr().out)
    assert other["provenance"]["without"] == ["special"]
    assert other["provenance"]["key"] != told["provenance"]["key"]
    assert cli.main([*command, "--without", "tails"]) == 2
    assert "no rows called 'tails'" in capsys.readouterr().err


def test_the_references_own_numbers_stand_beside_ours(tiny_next, small_slice, plain_loop):
    loop, image_id, _ = plain_loop
    texts = [states[:, np.array(ids) != image_id] for ids, _, states in loop]
    x, y = (np.concatenate(texts, 1)[layer].astype(float) for layer in (1, LAYER))
    x, y = ((rows - rows.mean(0)) / np.linalg.norm(rows - rows.mean(0)) for rows in (x, y))
    score = 1 - np.linalg.norm(x @ np.linalg.pinv(x) @ y - y) ** 2
    result = measured(tiny_next, small_slice, metrics=["linearity", "anisotropy"], reference=True)
    of_text = [result.profile(metric, Modality.TEXT, Stream.RESIDUAL, "llm-microscope") for metric in BOTH]
    assert of_text[0].value[1] == pytest.approx(score, rel=1e-5)
    assert of_text[1].value[1] == pytest.approx(expected_share(x), rel=1e-5)
    assert of_text[0].n[1] == len(x)


def test_a_name_that_the_model_has_not_is_refused_before_a_forward_pass(tiny_fusion, small_slice, monkeypatch):
    def fail(*_, **__):
        raise AssertionError("a forward pass")

    monkeypatch.setattr(walk, "capture", fail)
    with pytest.raises(MicroscopeError, match=r"'newline'.*: use sinks, duplicates, special, prompt\."):
        measured(tiny_fusion, small_slice, without=["newline"])
    with pytest.raises(MicroscopeError, match="'newlines'"):
        measured(tiny_fusion, small_slice, without="sinks,newlines")


def test_duplicates_are_rows_with_a_beginning_that_was_seen_before(tiny_next, small_slice, plain_loop):
    loop, image_id, _ = plain_loop
    seen: set[tuple[object, ...]] = set()
    kept: list[np.ndarray] = []
    for ids, shown, states in loop:
        for position, token in enumerate(ids):
            beginning = (tuple(ids[: position + 1]), shown if image_id in ids[: position + 1] else b"")
            if token != image_id and beginning not in seen:
                kept.append(states[: LAYER + 1, position])
            seen.add(beginning)
    rows = np.stack(kept, 1)
    texts = sum(len(ids) - ids.count(image_id) for ids, _, _ in loop)
    assert len(kept) < texts - 20
    profile = measured(tiny_next, small_slice, without=["duplicates"]).profile(
        Metric.ANISOTROPY, Modality.TEXT, Stream.RESIDUAL
    )
    assert set(profile.n) == {len(kept)}
    assert shares(profile) == pytest.approx([expected_share(each) for each in rows], rel=1e-5)


def test_what_was_seen_is_kept_for_those_who_go_on(tiny_next, small_slice, tmp_path, monkeypatch):
    monkeypatch.setattr("microscope_tui.engine.state.SHARE", float("inf"))
    monkeypatch.setattr("microscope_tui.engine.left_out.FEW", 3)
    request = Request(
        tiny_next, SliceSpec(small_slice), (Metric.ANISOTROPY,), max_batch=2, folds=2, without=("duplicates", "sinks")
    )
    whole = run(request, None, on_progress=lambda _: None)
    progress: list[Progress] = []
    with Store(tmp_path) as store:
        with pytest.raises(Cancelled):
            run(request, store, on_progress=progress.append, should_stop=lambda: progress[-1].done >= 4)
        assert 0 < progress[-1].done < 10
        resumed = run(request, store, on_progress=lambda _: None)
    assert resumed.profiles == whole.profiles
    assert (resumed.groups, resumed.sinks, resumed.tokens) == (whole.groups, whole.sinks, whole.tokens)


@pytest.fixture(scope="module")
def with_sink(tmp_path_factory):
    """A model whose first token has an embedding a thousand times as long as the others."""
    folder = build_llava_next(tmp_path_factory.mktemp("sink") / "llava-next")
    state = load_file(folder / "model.safetensors")
    (table,) = [name for name in state if name.endswith("embed_tokens.weight")]
    state[table][1] *= 1000
    save_file(state, folder / "model.safetensors", {"format": "pt"})
    return str(folder)


def test_sinks_are_counted_always_and_can_be_left_out(with_sink, small_slice):
    everything = measured(with_sink, small_slice)
    assert everything.sinks == {"text": 10, "image": 0}
    of_text = everything.profile(Metric.ANISOTROPY, Modality.TEXT, Stream.RESIDUAL)
    assert set(of_text.n) == {everything.tokens["text"]}
    assert of_text.value[0] > 0.99
    assert "10 sink rows" in of_text.notes[0][-1]
    without = measured(with_sink, small_slice, without="sinks")
    assert without.sinks == everything.sinks
    of_text = without.profile(Metric.ANISOTROPY, Modality.TEXT, Stream.RESIDUAL)
    assert set(of_text.n) == {everything.tokens["text"] - 10}
    assert of_text.value[0] < 0.5
    assert "10 sink rows left out" in of_text.facts[0]
    assert not any("sink" in note for notes in of_text.notes for note in notes)


def test_the_sample_has_no_rows_that_are_left_out(with_sink, small_slice):
    request = Request(with_sink, SliceSpec(small_slice), (Metric.DIMENSION,), streams=(Stream.RESIDUAL,))
    distinct = []
    for without in ((), ("sinks",), ("special",), ("duplicates",)):
        result = run(replace(request, without=without), None, on_progress=lambda _: None)
        distinct.append(sure(result.profile(Metric.DIMENSION, Modality.TEXT, Stream.RESIDUAL)).n[LAYER])
    # The ten first tokens are one row ten times, and dimension looks at distinct rows.
    assert distinct == [distinct[0], distinct[0] - 1, distinct[0] - 1, distinct[0]]


def test_a_sink_is_one_by_its_own_example():
    torch.manual_seed(0)
    layers = [torch.randn(40, 8) for _ in range(3)]
    number = torch.arange(40) // 20
    layers[1][7] *= 40
    layers[2][20:] *= 1000
    massive = sink_rows(layers, number)
    assert massive.nonzero().squeeze(1).tolist() == [7]


def test_a_picture_is_no_sink_for_being_longer_than_words():
    torch.manual_seed(0)
    modality = torch.tensor([0] * 15 + [1] * 5)
    layers = [torch.randn(20, 8) for _ in range(3)]
    layers[0][15:] *= 100
    layers[1][17] *= 40
    alone = torch.zeros(20, dtype=torch.int64)
    assert sink_rows(layers, alone, modality).nonzero().squeeze(1).tolist() == [17]


@pytest.mark.parametrize("words", [1, 3, 7])
def test_the_first_tokens_are_sinks_where_an_example_has_few_words(words):
    """They are most of the words there, so that no median of words tells; alone or in a batch with another example."""
    torch.manual_seed(0)
    modality, massive = torch.tensor([0] * words + [1] * 30), list(range(words // 2 + 1))
    layers = [torch.randn(words + 30, 8) for _ in range(2)]
    layers[1][massive] *= 300
    alone = torch.zeros(words + 30, dtype=torch.int64)
    assert sink_rows(layers, alone, modality).nonzero().squeeze(1).tolist() == massive
    other = [torch.cat([rows, 50 * torch.randn(20, 8)]) for rows in layers]
    number, kinds = torch.cat([alone, alone.new_ones(20)]), torch.cat([modality, modality.new_zeros(20)])
    assert sink_rows(other, number, kinds).nonzero().squeeze(1).tolist() == massive


@pytest.mark.parametrize("words", [3, 15])
@pytest.mark.parametrize("rows", [1, 4])
def test_few_rows_of_a_picture_are_no_sinks_for_being_longer_than_words(rows, words):
    torch.manual_seed(0)
    modality = torch.tensor([0] * words + [1] * rows)
    layers = [torch.randn(words + rows, 8) for _ in range(2)]
    layers[0][words:] *= 100
    assert not sink_rows(layers, torch.zeros(words + rows, dtype=torch.int64), modality).any()


@pytest.mark.parametrize(("family", "causal"), [("llava", True), ("gemma3", True), ("paligemma", False)])
def test_causal_models_are_told_from_others(tmp_path, family, causal):
    assert is_causal(open_model(str(build(family, tmp_path)))) is causal


def test_where_later_tokens_matter_only_whole_examples_repeat(tiny_next):
    model = open_model(tiny_next)
    examples = [example(words=4), example("row 1", words=6), example(words=4)]
    captured: Captured = capture(model, model.prepare(examples), [Stream.RESIDUAL])
    mask = Prefixes(causal=False).repeated(captured, examples)
    assert set(captured.example[mask].tolist()) == {2}
    assert int(mask.sum()) == int((captured.example == 2).sum())
    by_beginning = Prefixes(causal=True).repeated(captured, examples)
    assert bool(by_beginning[captured.example == 2].all())
    assert 0 < int(by_beginning[captured.example == 1].sum()) < int((captured.example == 1).sum())


def test_names_become_codes(tiny_next):
    model = open_model(tiny_next)
    assert LeftOut.of(model, ("newline", "sinks")) == LeftOut((model.groups.index("newline"),), True, False)
    assert LeftOut.of(model, ()) == LeftOut()


def test_marks_of_omnifusion_are_not_alike(tiny_fusion):
    """A question without a picture goes on with another mark than one with a picture: no common beginning there."""
    model = open_model(tiny_fusion)
    examples = [example(), example("row 1", size=None)]
    captured = capture(model, model.prepare(examples), [Stream.RESIDUAL])
    repeated = Prefixes.of(model).repeated(captured, examples)
    prompt = model.groups.index("prompt")
    assert captured.group[repeated].unique().tolist() == [prompt]
    first, second = (captured.rows[Stream.RESIDUAL][0][(captured.example == i)] for i in range(2))
    shared = int(repeated.sum())
    assert torch.equal(first[:shared], second[:shared])
    assert not torch.equal(first[shared], second[shared])
