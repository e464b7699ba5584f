"""Looks as jobs: previews, what cannot be had, stopping, and that the store has what was made."""

import base64
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from microscope_tui.engine.looks import cards
from microscope_tui.engine.looks.look import run
from microscope_tui.engine.open_models import MODELS
from microscope_tui.errors import BadExample, Cancelled, MicroscopeError
from microscope_tui.inspection import Cloud, Preview, TokenTable
from microscope_tui.slices import open_slice
from microscope_tui.store import Store
from microscope_tui.terms import JobKind, Request, SliceSpec, Stream
from tests.engine.conftest import row, write_slice


def look(store, request, kind, example=None, *, progress=None, should_stop=lambda: False):
    seen = [] if progress is None else progress
    run(request, store, kind=kind, example=example, on_progress=seen.append, should_stop=should_stop)
    return store.recall_look(request, kind, example)


def pixels(thumbnail):
    data = np.frombuffer(base64.b64decode(thumbnail.rgb), np.uint8)
    return data.reshape(thumbnail.height, thumbnail.width, 3)


def test_a_preview_shows_the_examples_and_opens_no_model(tmp_path, small_slice, monkeypatch):
    monkeypatch.setattr(MODELS, "open", None)
    request = Request("no/such-model", SliceSpec(small_slice))
    with Store(tmp_path) as store:
        preview = Preview.from_json(look(store, request, JobKind.PREVIEW))
    slice_ = open_slice(request.slice)
    assert preview.total == len(preview.examples) == len(slice_) == 10
    for i, card in enumerate(preview.examples):
        example = slice_.example(i)
        assert (card.key, card.index, card.question) == (example.key, i, example.question)
        assert (card.choices, card.answer, card.right) == (example.choices, example.answer, None)
        assert [(p.width, p.height) for p in card.pictures] == [image.size for image in example.images]
        for picture, image in zip(card.pictures, example.images, strict=True):
            assert np.array_equal(pixels(picture), np.array(image))


def test_pictures_are_made_small_and_keep_their_shape_and_colours():
    picture = Image.new("RGB", (400, 100), (200, 10, 60))
    small = cards.thumbnail(picture, 48)
    assert (small.width, small.height) == (48, 12)
    assert (pixels(small) == (200, 10, 60)).all()
    assert (cards.thumbnail(Image.new("L", (1, 900), 7), 48).width, cards.thumbnail(picture, 999).width) == (1, 400)


def test_a_row_that_cannot_be_read_says_why_and_the_others_are_shown(tmp_path):
    broken = row(4)
    broken["image"]["bytes"] = b"no picture"
    source = write_slice(tmp_path / "slice", [row(3), broken, {**row(3), "question": ""}])
    with Store(tmp_path / "cache") as store:
        preview = Preview.from_json(look(store, Request("m", SliceSpec(str(source))), JobKind.PREVIEW))
    good, bad, blank = preview.examples
    assert good.question
    assert not good.hint
    assert (bad.question, bad.key) == ("", "row 1")
    assert "picture" in bad.hint
    assert "no question" in blank.hint


def test_a_slice_is_previewed_page_by_page_and_the_first_page_has_all_keys(tmp_path, small_slice, monkeypatch):
    monkeypatch.setattr(cards, "PAGE", 4)
    request = Request("m", SliceSpec(small_slice))
    with Store(tmp_path) as store:
        pages = [Preview.from_json(look(store, request, JobKind.PREVIEW, start)) for start in (None, 4, 8)]
        with pytest.raises(MicroscopeError, match="no example 12"):
            look(store, request, JobKind.PREVIEW, 12)
    assert [(page.start, len(page.examples), page.total) for page in pages] == [(0, 4, 10), (4, 4, 10), (8, 2, 10)]
    assert [card.index for page in pages for card in page.examples] == list(range(10))
    assert pages[0].keys == tuple(card.key for page in pages for card in page.examples)
    assert pages[1].keys == ()


def test_nothing_that_a_terminal_would_obey_is_left_in_a_card(tmp_path):
    odd = {**row(3), "question": "red\x1b[31m\nline", "choices": ["\x07", "dog"], "hint": "a\x9bb"}
    source = write_slice(tmp_path / "slice", [odd])
    with Store(tmp_path / "cache") as store:
        (card,) = Preview.from_json(look(store, Request("m", SliceSpec(str(source))), JobKind.PREVIEW)).examples
    assert (card.question, card.choices[0], card.hint) == ("red\\x1b[31m\nline", "\\x07", "a\\x9bb")


@pytest.mark.parametrize("index", [10, -1, None])
def test_an_example_that_is_not_there_is_named(tmp_path, small_slice, tiny_fusion, index):
    request = Request(tiny_fusion, SliceSpec(small_slice))
    with Store(tmp_path) as store, pytest.raises(MicroscopeError, match=f"no example {index} .* it has 10"):
        look(store, request, JobKind.TOKENS, index)


def test_an_example_that_cannot_be_read_is_named(tmp_path, tiny_fusion):
    broken = row(4)
    broken["image"]["bytes"] = b"no picture"
    source = write_slice(tmp_path / "slice", [row(3), broken])
    with Store(tmp_path / "cache") as store, pytest.raises(BadExample, match="row 1: its picture"):
        look(store, Request(tiny_fusion, SliceSpec(str(source))), JobKind.TOKENS, 1)


def test_the_worst_tokens_need_a_walk_and_say_so(tmp_path, small_slice, tiny_fusion):
    with Store(tmp_path) as store, pytest.raises(MicroscopeError, match="measure this slice first"):
        look(store, Request(tiny_fusion, SliceSpec(small_slice)), JobKind.WORST)


def test_a_measurement_is_no_look(tmp_path, small_slice, tiny_fusion):
    with Store(tmp_path) as store, pytest.raises(MicroscopeError, match="no look"):
        look(store, Request(tiny_fusion, SliceSpec(small_slice)), JobKind.MEASURE)


@pytest.mark.parametrize(("kind", "example"), [(JobKind.PREVIEW, None), (JobKind.TOKENS, 0), (JobKind.MAP, None)])
def test_a_stop_is_heard_at_every_step_and_leaves_nothing(tmp_path, small_slice, tiny_next, kind, example):
    request = Request(tiny_next, SliceSpec(small_slice))
    with Store(tmp_path) as store:
        progress: list[object] = []
        look(store, request, kind, example)  # opens the model, which the others find open
        assert look(store, request, kind, example, progress=progress)
        steps = len(progress)
        assert steps > 5
        fresh = replace(request, folds=4)
        for step in range(0, steps - 1, 3):
            heard: list[object] = []
            with pytest.raises(Cancelled):
                look(store, fresh, kind, example, progress=heard, should_stop=lambda n=step, h=heard: len(h) > n)
            assert len(heard) == step + 1
        assert store.recall_look(fresh, kind, example) is None


def test_what_is_made_comes_back_from_the_store_unchanged(tmp_path, small_slice, tiny_next):
    request = Request(tiny_next, SliceSpec(small_slice), streams=(Stream.UPDATE,))
    with Store(tmp_path) as store:
        table = TokenTable.from_json(look(store, request, JobKind.TOKENS, 3))
        cloud = Cloud.from_json(look(store, request, JobKind.MAP))
    assert TokenTable.from_json(table.to_json()) == table
    assert Cloud.from_json(cloud.to_json()) == cloud
    assert (table.card.index, cloud.stream, len(cloud.points)) == (3, Stream.UPDATE, 4)
