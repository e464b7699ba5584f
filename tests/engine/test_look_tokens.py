"""The token table against transformers' own hidden states and logits, and least squares by numpy."""

from dataclasses import replace
from functools import partial
from itertools import pairwise

import numpy as np
import pytest
import torch

from microscope_tui.engine import left_out, measure
from microscope_tui.engine.answers import Answers
from microscope_tui.engine.looks import lens as lens_module
from microscope_tui.engine.looks.lens import lens
from microscope_tui.engine.looks.look import run
from microscope_tui.engine.open_models import MODELS
from microscope_tui.geometry.masks import massive
from microscope_tui.inspection import TokenTable
from microscope_tui.models.load import open_model
from microscope_tui.slices import open_slice
from microscope_tui.store import Store
from microscope_tui.terms import JobKind, Metric, Modality, Request, SliceSpec, Stream
from tests.engine.conftest import row, write_slice
from tests.engine.theirs import COUNT, REQUEST, Theirs, left

INDEX = 3


def tokens(store, request, index=INDEX):
    run(request, store, kind=JobKind.TOKENS, example=index, on_progress=lambda _: None, should_stop=lambda: False)
    return TokenTable.from_json(store.recall_look(request, JobKind.TOKENS, index))


def measured(store, request):
    return measure.run(request, store, on_progress=lambda _: None)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    with Store(tmp_path_factory.mktemp("cache")) as opened:
        measured(opened, REQUEST)
        yield opened


@pytest.fixture(scope="module")
def table(store):
    return tokens(store, REQUEST)


@pytest.fixture(scope="module")
def theirs():
    return Theirs()


def test_norms_and_updates_are_those_of_transformers_hidden_states(table, theirs):
    states = theirs.states[INDEX]
    assert np.array(table.norm) == pytest.approx(np.array([np.linalg.norm(h, axis=1) for h in states]), rel=1e-4)
    updates = [
        np.linalg.norm(after - before, axis=1) / np.linalg.norm(before, axis=1) for before, after in pairwise(states)
    ]
    assert np.array(table.update) == pytest.approx(np.array(updates), rel=1e-3)


@pytest.mark.parametrize("image", [True, False])
@pytest.mark.parametrize("layer", [0, 1, 5, 7])
def test_residuals_are_those_of_least_squares_on_all_other_examples(table, theirs, image, layer):
    x, y = (theirs.rows(at, image, without=INDEX) for at in (layer, layer + 1))
    mask = theirs.image[INDEX] if image else ~theirs.image[INDEX]
    own_x, own_y = (theirs.states[INDEX][at][mask] for at in (layer, layer + 1))
    assert np.array(table.residual[layer])[mask] == pytest.approx(left(x, y, own_x, own_y), rel=2e-3)
    assert table.fitted == COUNT - 1


def test_the_example_itself_would_make_a_difference(table, theirs):
    mask = ~theirs.image[INDEX]
    x, y = (theirs.rows(layer, False) for layer in (4, 5))
    with_it = left(x, y, *(theirs.states[INDEX][layer][mask] for layer in (4, 5)))
    assert np.median(np.array(table.residual[4])[mask] / with_it) > 1.02


def test_the_lens_is_the_final_norm_and_the_head_and_at_the_end_the_models_own_output(table, theirs):
    network, processor = theirs.network, theirs.processor
    norm = network.model.language_model.norm
    for layer in (0, 4, 8):
        states = torch.tensor(theirs.states[INDEX][layer], dtype=torch.float32)
        with torch.no_grad():
            shares, ids = network.lm_head(norm(states)).softmax(-1).topk(3)
        for words, row_ids, row_shares in zip(table.lens[layer], ids.tolist(), shares.tolist(), strict=True):
            assert [share for _, share in words] == pytest.approx(row_shares, rel=2e-3, abs=1e-5)
            if row_shares[0] - row_shares[1] > 1e-3:
                word = processor.tokenizer.convert_ids_to_tokens(row_ids[0])
                assert words[0][0] == (word or f"<{row_ids[0]}>")  # the head has rows that are no word
    own = theirs.logits[INDEX].softmax(-1).topk(3).values
    shares = torch.tensor([[share for _, share in words] for words in table.lens[8]])
    assert shares.numpy() == pytest.approx(own.numpy(), abs=1e-4)
    assert not any("lens" in note for note in table.notes)


def test_the_lens_holds_few_logits_at_once(table, monkeypatch):
    model, _ = MODELS.open(REQUEST, on_progress=lambda _: None)
    states = [torch.randn(50, model.width, generator=torch.Generator().manual_seed(0))] * 2
    with torch.no_grad():
        own = lens_module.read_out(model, states[-1][-1:])[0]
    whole, _ = lens(model, states, own, lambda _: None)
    sizes = []
    read_out = lens_module.read_out

    def counted(model, rows):
        sizes.append(len(rows))
        return read_out(model, rows)

    monkeypatch.setattr(lens_module, "read_out", counted)
    monkeypatch.setattr(lens_module, "CHUNK_BYTES", 7 * 4 * len(own))
    parts, _ = lens(model, states, own, lambda _: None)
    assert max(sizes) == 7
    assert sum(sizes) == 2 * 50 + 1
    for of_whole, of_part in zip(whole[0], parts[0], strict=True):
        assert [share for _, share in of_part] == pytest.approx([share for _, share in of_whole], rel=1e-3)


def test_tokens_modalities_and_groups_are_those_of_the_prompt(table, theirs):
    ids = theirs.inputs[INDEX]["input_ids"][0].tolist()
    assert table.tokens == tuple(theirs.processor.tokenizer.convert_ids_to_tokens(ids))
    image = theirs.image[INDEX]
    assert [m is Modality.IMAGE for m in table.modality] == image.tolist()
    assert {g for g, i in zip(table.group, image, strict=True) if i} == {"base", "tiles", "newline"}
    assert [patch is None for patch in table.patches] == [
        not i or g == "newline" for g, i in zip(table.group, image, strict=True)
    ]


def test_the_card_has_the_models_answer(table, theirs):
    example = theirs.examples[INDEX]
    tokenizer = theirs.processor.tokenizer

    def ids(text):
        return tokenizer(text, add_special_tokens=False)["input_ids"]

    assert (table.card.chosen, table.card.margin) == pytest.approx(
        Answers(ids).choice(example, theirs.logits[INDEX][-1]), abs=1e-3
    )
    assert table.card.question == example.question
    assert table.card.pictures[0].width <= 128


def test_before_a_walk_there_are_no_maps_and_a_note_says_what_to_do(tmp_path):
    with Store(tmp_path) as empty:
        table = tokens(empty, REQUEST)
    assert (table.residual, table.fitted) == ((), 0)
    assert "measure this slice first" in table.notes[0]


def test_another_requests_sums_do_when_they_hold_the_same_rows(store, table):
    """The walk was made for the residual stream alone; all streams are asked for, and another metric."""
    asked = replace(REQUEST, streams=(Stream.UPDATE,), metrics=(Metric.DIMENSION,))
    assert tokens(store, asked).residual == table.residual


def test_rows_that_do_not_count_are_in_no_map(tmp_path, theirs, monkeypatch):
    monkeypatch.setattr(left_out, "massive", partial(massive, ratio=2.0))  # so that there are some
    request = replace(REQUEST, without=("newline", "special", "sinks"))
    with Store(tmp_path) as own:
        measured(own, request)
        table = tokens(own, request)
    special = torch.tensor(theirs.processor.tokenizer.convert_tokens_to_ids(["<pad>", "<s>", "</s>"]))
    found: list[int] = []

    def keep(i, mask):
        ids = theirs.inputs[i]["input_ids"][0]
        newline = (theirs.network.model.image_newline.detach().numpy() == theirs.states[i][0]).all(1)
        norms = np.linalg.norm(theirs.states[i], axis=2)
        sinks = np.zeros(len(ids), dtype=bool)
        for own in (theirs.image[i], ~theirs.image[i]):
            if own.any():
                median = np.sort(norms[:, own], axis=1)[:, (own.sum() - 1) // 2, None]  # the lower of two
                sinks[own] = (norms[:, own] > 2 * median).any(0)
        found.append(int((sinks & mask).sum()))
        return mask & ~newline & ~sinks & ~torch.isin(ids, special).numpy()

    for image, layer in ((True, 3), (False, 6)):
        x, y = (theirs.rows(at, image, without=INDEX, keep=keep) for at in (layer, layer + 1))
        mask = theirs.image[INDEX] if image else ~theirs.image[INDEX]
        expected = left(x, y, *(theirs.states[INDEX][at][mask] for at in (layer, layer + 1)))
        assert np.array(table.residual[layer])[mask] == pytest.approx(expected, rel=2e-3)
    assert sum(found)


def test_where_repeats_do_not_count_the_whole_fold_is_left_out(tmp_path):
    request = replace(REQUEST, without=("duplicates",))
    with Store(tmp_path) as own:
        measured(own, request)
        table = tokens(own, request)
    assert table.fitted == COUNT * 2 // 3
    assert "1 of 3" in table.notes[0]
    assert all(value is not None for layer in table.residual for value in layer)


def test_too_few_rows_make_no_map_of_their_modality(tmp_path, small_slice, tiny_fusion):
    request = Request(tiny_fusion, SliceSpec(small_slice, count=6), streams=(Stream.RESIDUAL,))
    with Store(tmp_path) as own:
        measured(own, request)
        index = next(i for i in range(6) if open_slice(request.slice).example(i).images)
        table = tokens(own, request, index)
    values: dict[Modality, set[float | None]] = {modality: set() for modality in Modality}
    for layer in table.residual:
        for value, modality in zip(layer, table.modality, strict=True):
            values[modality].add(value)
    assert None not in values[Modality.TEXT]
    assert values[Modality.IMAGE] == {None}
    (few,) = (note for note in table.notes if "image" in note)
    assert "≤ d + 1 = 49" in few
    (noise,) = (note for note in table.notes if "text" in note)
    assert "noise" in noise


def test_the_only_example_of_a_slice_has_no_map(tmp_path, tiny_fusion):
    source = write_slice(tmp_path / "slice", [row(3)])
    request = Request(tiny_fusion, SliceSpec(str(source)), streams=(Stream.RESIDUAL,), metrics=(Metric.ANISOTROPY,))
    with Store(tmp_path / "cache") as own:
        measured(own, request)
        table = tokens(own, request, 0)
    assert {value for layer in table.residual for value in layer} == {None}
    assert any("no rows" in note for note in table.notes)


def test_a_text_without_a_picture_and_a_model_without_a_head(tmp_path, small_slice, tiny_fusion, monkeypatch):
    request = Request(tiny_fusion, SliceSpec(small_slice))
    model, _ = MODELS.open(request, on_progress=lambda _: None)
    monkeypatch.setattr(type(model), "head", None)
    with Store(tmp_path) as own:
        table = tokens(own, request, 9)
    assert (table.lens, table.card.chosen, table.card.pictures) == ((), None, ())
    assert any("no output head" in note for note in table.notes)
    assert set(table.modality) == {Modality.TEXT}
    assert set(table.patches) == {None}


def test_a_change_after_the_head_is_followed_where_it_is_known(tmp_path):
    model = open_model("demo:omnifusion")
    state = torch.randn(1, model.width, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        logits = lens_module.read_out(model, state)[0]
    model.network.config.final_logit_softcapping = 3.0
    capped = 3 * torch.tanh(logits / 3)
    words, notes = lens(model, [state], capped, lambda _: None)
    assert not notes
    assert words[0][0][0][1] == pytest.approx(float(capped.softmax(-1).max()), rel=1e-3)
    words, notes = lens(model, [state], logits, lambda _: None)  # the setting is there and not used
    assert not notes
    assert words[0][0][0][1] == pytest.approx(float(logits.softmax(-1).max()), rel=1e-3)
    _, notes = lens(model, [state], logits * 5, lambda _: None)
    assert "not the model's own output" in notes[0]
