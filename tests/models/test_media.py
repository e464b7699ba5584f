"""Videos and sounds in examples: what a family takes is measured, what it does not take is named."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from scipy.signal import resample
from transformers import AutoModelForMultimodalLM, AutoProcessor

from microscope_tui.errors import BadExample
from microscope_tui.models.capture import capture
from microscope_tui.models.load import open_model
from microscope_tui.models.media import at_rate
from microscope_tui.models.prompts import PLAIN, Form
from microscope_tui.slices.sound import Audio
from microscope_tui.terms import Modality, Stream
from tests.models.builders import example, picture
from tests.models.families import build_qwen2_audio


def tone(seconds: float = 0.4, rate: int = 16000, pitch: float = 440.0) -> Audio:
    return Audio(np.sin(np.arange(round(seconds * rate)) * (2 * np.pi * pitch / rate)).astype(np.float32), rate)


def spoken(key: str = "row 0", *sounds: Audio, **changes: Any):
    return example(key, size=None, audios=sounds or (tone(),), **changes)


@pytest.fixture(scope="module")
def listener(tmp_path_factory):
    torch.manual_seed(0)
    return open_model(str(build_qwen2_audio(tmp_path_factory.mktemp("audio"))))


def test_sound_is_rows_of_its_own(listener):
    assert listener.modalities == (Modality.TEXT, Modality.AUDIO)
    one = spoken(words=4)
    batch = listener.prepare([one])
    captured = capture(listener, batch, [Stream.RESIDUAL])
    model = AutoModelForMultimodalLM.from_pretrained(listener.folder, dtype=torch.float32).eval()
    processor = AutoProcessor.from_pretrained(listener.folder)
    part = batch.parts[0]
    with torch.no_grad():
        states = model(**part.inputs, output_hidden_states=True).hidden_states
    assert torch.equal(captured.rows[Stream.RESIDUAL][1], states[1][0])
    mask = captured.mask(Modality.AUDIO)
    (ids,) = part.ids
    assert torch.equal(mask, ids == model.config.audio_token_id)
    features = processor.feature_extractor(one.audios[0].samples, sampling_rate=16000, return_attention_mask=True)
    frames = int(np.asarray(features["attention_mask"]).sum())
    assert int(mask.sum()) == ((frames - 1) // 2 + 1 - 2) // 2 + 1
    assert int(mask.sum()) + int(captured.mask(Modality.TEXT).sum()) == len(captured)


def test_sounds_of_any_length_and_rate_and_none_at_all_go_together(listener):
    examples = [
        spoken("row 0", tone(0.2)),
        spoken("row 1", tone(0.5, rate=44100), words=6),
        example("row 2", size=None),
        spoken("row 3", tone(0.3), tone(0.2, pitch=900)),
    ]
    together = capture(listener, listener.prepare(examples), [Stream.RESIDUAL])
    for index, one in enumerate(examples):
        alone = capture(listener, listener.prepare([one]), [Stream.RESIDUAL])
        mask = together.example == index
        assert torch.equal(together.modality[mask], alone.modality)
        for ours, theirs in zip(together.rows[Stream.RESIDUAL], alone.rows[Stream.RESIDUAL], strict=True):
            torch.testing.assert_close(ours[mask], theirs, rtol=1e-4, atol=1e-5)
    heard = torch.bincount(together.example[together.mask(Modality.AUDIO)], minlength=4).tolist()
    assert heard[2] == 0
    assert heard[0] < heard[1]


@pytest.mark.parametrize(("rate", "to"), [(44100, 16000), (8000, 16000), (16000, 11025), (22050, 22050)])
def test_a_sound_at_another_rate_is_the_same_sound(rate, to):
    noise = Audio(np.random.default_rng(0).standard_normal(rate // 3).astype(np.float32), rate)
    count = round(len(noise.samples) * to / rate)
    got = at_rate(noise, to)
    assert got.dtype == np.float32
    assert len(got) == count
    assert np.abs(got - resample(noise.samples.astype(float), count)).max() < 0.02
    pure = at_rate(tone(1.0, rate), to)
    assert np.abs(pure - tone(1.0, to).samples).max() < 1e-3


@pytest.mark.parametrize("name", ["llava_next", "omnifusion"])
@pytest.mark.parametrize(
    ("changes", "what"), [({"audios": (tone(),)}, "a sound"), ({"videos": ((picture(), picture(seed=1)),)}, "a video")]
)
def test_what_a_model_does_not_take_is_named(request, name, changes, what):
    model = request.getfixturevalue(name)
    with pytest.raises(BadExample, match=f"row 7: it has {what} and .* takes none"):
        model.prepare([example(), replace(example("row 7"), **changes)])


def test_a_picture_for_a_listener_is_named(listener):
    with pytest.raises(BadExample, match="row 1: it has a picture"):
        listener.prepare([spoken(), example("row 1")])


def test_frames_go_to_a_processor_that_takes_them(llava_next, monkeypatch):
    """No processor of videos loads without torchvision: what one would be given is looked at."""
    given: dict[str, Any] = {}

    def processor(**options):
        given.update(options)
        raise ValueError("enough")

    monkeypatch.setattr(llava_next, "modalities", (*llava_next.modalities, Modality.VIDEO))
    monkeypatch.setattr(llava_next, "form", Form(PLAIN, lambda _shown, text: text))
    monkeypatch.setattr(llava_next, "processor", processor)
    film = (picture((24, 24)), picture((24, 24), seed=1).convert("L"))
    with pytest.raises(BadExample, match="enough"):
        llava_next.prepare([example(size=None, videos=(film, film[:1]))])
    assert [[frame.mode for frame in frames] for frames in given["videos"]] == [["RGB", "RGB"], ["RGB"]]
    assert "images" not in given


def test_a_processor_that_overlooks_a_video_is_found_out(llava_next, monkeypatch):
    monkeypatch.setattr(llava_next, "modalities", (*llava_next.modalities, Modality.VIDEO))
    monkeypatch.setattr(llava_next, "form", Form(PLAIN, lambda _shown, text: text))
    with pytest.raises(BadExample, match="makes no positions of its video"):
        llava_next.prepare([example(size=None, videos=((picture(),),))])
