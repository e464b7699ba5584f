"""Other families of transformers, by the rule alone."""

from __future__ import annotations

import importlib.util
import json
import shutil
from pathlib import Path

import pytest
import torch

from microscope_tui.errors import BadExample, MicroscopeError
from microscope_tui.models.load import open_model
from microscope_tui.terms import Modality, Stream
from tests.models.builders import LAYERS, WIDTH, example
from tests.models.families import (
    FAMILIES,
    build,
    build_aya_vision,
    build_idefics3,
    build_mllama,
    build_qwen2_audio,
)

STREAMS = (Stream.RESIDUAL, Stream.MAIN)


@pytest.fixture(scope="module", params=list(FAMILIES))
def family(request, tmp_path_factory):
    """A family's model, its positions a picture, and the token that stands for a picture."""
    model = open_model(str(build(request.param, tmp_path_factory.mktemp(request.param))))
    return model, FAMILIES[request.param][1]


def test_every_stream_passes_the_self_check(family):
    model, _ = family
    assert (model.streams, dict(model.refused)) == (tuple(Stream), {})
    assert (model.layers, model.width) == (LAYERS, WIDTH)
    assert model.modalities == (Modality.TEXT, Modality.IMAGE)


def test_the_counts_are_the_known_ones(family):
    model, positions = family
    captured = model.capture(model.prepare([example(size=(24, 24)), example("row 1", size=(24, 24))]), STREAMS)
    for index in range(2):
        of_one = captured.example == index
        assert int((captured.mask(Modality.IMAGE) & of_one).sum()) == positions
        assert int((captured.mask(Modality.TEXT) & of_one).sum()) == int(of_one.sum()) - positions


def test_the_last_state_is_before_the_final_norm(family):
    model, _ = family
    batch = model.prepare([example(size=(24, 24))])
    captured = model.capture(batch, STREAMS)
    with torch.no_grad():
        reported = model.forward(batch.parts[0], output_hidden_states=True).hidden_states
    assert torch.equal(captured.rows[Stream.RESIDUAL][0], reported[0][0])
    assert torch.equal(model.decoder.norm(captured.rows[Stream.RESIDUAL][-1]), reported[-1][0])
    assert not torch.equal(captured.rows[Stream.RESIDUAL][-1], reported[-1][0])


def test_a_padded_batch_of_four_gives_the_rows_of_single_examples(family):
    model, _ = family
    four = [example(f"row {i}", words=words, size=(24, 24)) for i, words in enumerate((3, 14, 1, 8))]
    if model.text_alone:
        four[2] = example("row 2", words=1, size=None)
    batch = model.capture(model.prepare(four), STREAMS)
    for index, one in enumerate(four):
        single = model.capture(model.prepare([one]), STREAMS)
        of_one = batch.example == index
        assert torch.equal(batch.modality[of_one], single.modality)
        for stream in STREAMS:
            for together, alone in zip(batch.rows[stream], single.rows[stream], strict=True):
                torch.testing.assert_close(together[of_one], alone, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(batch.last_logits[index], single.last_logits[0], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("token", ["<image>", "<start_of_image>", "<image_soft_token>", "<fake_token_around_image>"])
def test_a_literal_placeholder_is_text(family, token):
    model, positions = family
    batch = model.prepare([example(question=f"what {token} is {token}{token}", size=(24, 24))])
    captured = model.capture(batch, [Stream.RESIDUAL])
    assert int(captured.mask(Modality.IMAGE).sum()) == positions


def test_a_family_that_needs_a_picture_says_so(tmp_path):
    model = open_model(str(build("paligemma", tmp_path)))
    with pytest.raises(BadExample, match=r"row 5: it has no picture and .* takes no text without one"):
        model.prepare([example(size=(24, 24)), example("row 5", size=None)])


def test_blocks_of_another_shape_lose_the_main_stream_only(tmp_path):
    """Cohere's blocks run attention and feed-forward in parallel."""
    torch.manual_seed(0)
    model = open_model(str(build_aya_vision(tmp_path)))
    assert model.streams == (Stream.RESIDUAL, Stream.UPDATE)
    assert "has no residual-free forward" in model.refused[Stream.MAIN]
    captured = model.capture(model.prepare([example(size=(24, 24)), example("row 1", size=(48, 24))]), STREAMS[:1])
    images = captured.example[captured.mask(Modality.IMAGE)]
    assert torch.bincount(images).tolist() == [4, 12]


def test_a_picture_in_tiles_and_as_a_whole(tmp_path):
    torch.manual_seed(0)
    model = open_model(str(build_idefics3(tmp_path, split=True)))
    pictures = [example(size=(24, 24)), example("row 1", size=(48, 24))]
    captured = model.capture(model.prepare(pictures), STREAMS, before=True)
    images = captured.example[captured.mask(Modality.IMAGE)]
    # 2 × 2 tiles and the whole; 1 × 2 tiles and the whole; 4 tokens each.
    assert torch.bincount(images).tolist() == [20, 12]
    assert torch.bincount(captured.before["connector"].example).tolist() == [20, 12]
    assert torch.bincount(captured.before["vision tower"].example).tolist() == [80, 48]


def test_cross_attention_is_refused(tmp_path):
    torch.manual_seed(0)
    with pytest.raises(MicroscopeError, match="does not take them in as tokens"):
        open_model(str(build_mllama(tmp_path)))


def test_a_family_of_sound_takes_text_and_no_pictures(tmp_path):
    torch.manual_seed(0)
    model = open_model(str(build_qwen2_audio(tmp_path)))
    assert model.modalities == (Modality.TEXT, Modality.AUDIO)
    captured = model.capture(model.prepare([example(size=None)]), STREAMS)
    assert bool(captured.mask(Modality.TEXT).all())
    with pytest.raises(BadExample, match=r"row 0: it has a picture and .* takes none"):
        model.prepare([example()])


@pytest.mark.skipif(importlib.util.find_spec("torchvision") is not None, reason="torchvision is installed")
def test_a_processor_that_needs_torchvision_names_the_remedy(tmp_path, llava_next_folder):
    folder = Path(shutil.copytree(llava_next_folder, tmp_path / "pixtral"))
    config = json.loads((folder / "processor_config.json").read_text())
    config["processor_class"] = "PixtralProcessor"
    (folder / "processor_config.json").write_text(json.dumps(config))
    with pytest.raises(MicroscopeError, match="needs torchvision: install torchvision"):
        open_model(str(folder))
