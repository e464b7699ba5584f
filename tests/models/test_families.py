"""Other families of transformers, by the rule alone."""

from __future__ import annotations

import importlib.util
import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from transformers import AutoImageProcessor

from microscope_tui.catalogue.families import NEEDS_TORCHVISION
from microscope_tui.errors import BadExample, MicroscopeError
from microscope_tui.models.base import OpenModel
from microscope_tui.models.capture import capture
from microscope_tui.models.generic import GenericModel
from microscope_tui.models.load import open_model
from microscope_tui.models.processors import lacks_video
from microscope_tui.models.skeleton import skeleton
from microscope_tui.models.sketch import sketch
from microscope_tui.terms import Modality, Stream
from tests.models import filmed
from tests.models.builders import LAYERS, WIDTH, example
from tests.models.families import (
    FAMILIES,
    build,
    build_aya_vision,
    build_idefics3,
    build_mllama,
    build_qwen2_audio,
)
from tests.sure import sure

STREAMS = (Stream.RESIDUAL, Stream.MAIN)
TORCHVISION = importlib.util.find_spec("torchvision") is not None


@dataclass(frozen=True)
class Family:
    """A family's model, the positions of one square picture, and the streams that must pass the self-check."""

    model: OpenModel
    positions: int
    expected: tuple[Stream, ...]

    @property
    def streams(self) -> tuple[Stream, ...]:
        return tuple(stream for stream in STREAMS if stream in self.expected)


def opened(name: str, folder: Path) -> OpenModel:
    """The model of a family; SmolVLM's processor asks for num2words, which it uses for videos alone."""
    if name in NEEDS_TORCHVISION and not TORCHVISION:
        pytest.skip("its processor needs torchvision, which is not installed")
    build_family = build if name in FAMILIES else filmed.build
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("transformers.models.smolvlm.processing_smolvlm.num2words", str)
        return open_model(str(build_family(name, folder)))


@pytest.fixture(scope="module", params=[*FAMILIES, *filmed.FAMILIES])
def family(request, tmp_path_factory):
    name = request.param
    model = opened(name, tmp_path_factory.mktemp(name))
    if name in FAMILIES:
        return Family(model, FAMILIES[name][1], tuple(Stream))
    return Family(model, filmed.FAMILIES[name].square, filmed.FAMILIES[name].streams)


def test_the_streams_that_hold_pass_the_self_check(family):
    model = family.model
    assert model.streams == family.expected
    assert set(model.refused) == set(Stream) - set(family.expected)
    assert (model.layers, model.width) == (LAYERS, WIDTH)
    plain = {"PaliGemmaForConditionalGeneration": "fallback-1", "Blip2ForConditionalGeneration": "fallback-2"}
    assert model.template.startswith(plain.get(model.architecture, "chat template"))
    assert model.modalities[:2] == (Modality.TEXT, Modality.IMAGE)


def test_the_counts_are_the_known_ones(family):
    model = family.model
    captured = capture(model, model.prepare([example(size=(24, 24)), example("row 1", size=(24, 24))]), family.streams)
    for index in range(2):
        of_one = captured.example == index
        assert int((captured.mask(Modality.IMAGE) & of_one).sum()) == family.positions
        assert int((captured.mask(Modality.TEXT) & of_one).sum()) == int(of_one.sum()) - family.positions


def test_what_is_known_before_a_load_is_what_is_loaded(family, monkeypatch):
    monkeypatch.setattr("transformers.models.smolvlm.processing_smolvlm.num2words", str)
    name = str(family.model.folder)
    parameters = {id(p): p.numel() for p in family.model.network.parameters()}  # one that is shared counts once
    assert skeleton(name).parameters == sum(parameters.values())
    asked = [example(size=(48, 24)), example("row 1", words=9, size=(24, 24))]
    sketched, loaded = (model.prepare(asked).parts[0] for model in (sketch(name), family.model))
    assert torch.equal(sketched.ids, loaded.ids)
    assert torch.equal(sketched.modality, loaded.modality)


def test_stages_before_the_decoder_belong_to_their_examples(family):
    """Those of a batch of pictures of two sizes are those of each picture alone."""
    model = family.model
    if not model.before:
        pytest.skip("its tower is not followed")
    two = [example(size=(24, 24)), example("row 1", size=(48, 24))]
    together = capture(model, model.prepare(two), [Stream.RESIDUAL], before=True)
    for index, one in enumerate(two):
        alone = capture(model, model.prepare([one]), [Stream.RESIDUAL], before=True)
        assert alone.before
        for name, stage in alone.before.items():
            of_one = together.before[name].example == index
            assert torch.equal(together.before[name].position[of_one], stage.position)
            for ours, theirs in zip(together.before[name].rows, stage.rows, strict=True):
                torch.testing.assert_close(ours[of_one], theirs, rtol=1e-5, atol=1e-5)
    entered = together.rows[Stream.RESIDUAL][0][together.mask(Modality.IMAGE)]
    connected = together.before["connector"].rows[0]
    if model.architecture == "Blip2ForConditionalGeneration":  # OPT adds its embeddings of places, the same in both
        first, second = (entered - connected).view(2, family.positions, WIDTH)
        torch.testing.assert_close(first, second, rtol=0, atol=1e-6)
    elif len(entered) == len(connected):  # then the one is taken for the other
        assert torch.equal(entered, connected)


@pytest.mark.parametrize("name", filmed.FAMILIES)
def test_the_counts_of_a_picture_that_is_not_square(name, tmp_path):
    model = opened(name, tmp_path)
    captured = capture(model, model.prepare([example(size=(48, 24))]), STREAMS[:1])
    assert int(captured.mask(Modality.IMAGE).sum()) == filmed.FAMILIES[name].wide


@pytest.mark.parametrize("name", [name for name, family in filmed.FAMILIES.items() if family.video])
def test_videos_are_a_modality_with_torchvision_and_named_without(name, tmp_path):
    model = opened(name, tmp_path)
    frames = example(size=(24, 24)).images * 4
    filmed_example = example(size=None, videos=(frames,))
    assert isinstance(model, GenericModel)
    assert lacks_video(model.processor) is not TORCHVISION
    if not TORCHVISION:
        assert model.modalities == (Modality.TEXT, Modality.IMAGE)
        assert any("videos need torchvision" in note for note in model.notes)
        with pytest.raises(BadExample, match=r"row 0: it has a video and .* takes none without torchvision"):
            model.prepare([filmed_example])
        return
    captured = capture(model, model.prepare([filmed_example]), STREAMS[:1])
    assert int(captured.mask(Modality.VIDEO).sum()) == filmed.FAMILIES[name].video
    assert int(captured.mask(Modality.IMAGE).sum()) == 0


def test_pictures_are_the_same_with_the_part_for_video_and_without(tmp_path):
    """What the processor of transformers makes of a picture, put together by hand in place of `read_processor`."""
    folder = filmed.build("qwen2_5_vl", tmp_path)
    model = open_model(str(folder))
    part = model.prepare([example(size=(48, 24))]).parts[0]
    theirs = AutoImageProcessor.from_pretrained(folder, backend="pil")([example().images[0]], return_tensors="pt")
    assert torch.equal(part.inputs["pixel_values"], theirs["pixel_values"])
    assert torch.equal(part.inputs["image_grid_thw"], theirs["image_grid_thw"])


def test_the_last_state_is_before_the_final_norm(family):
    model = family.model
    batch = model.prepare([example(size=(24, 24))])
    captured = capture(model, batch, family.streams)
    with torch.no_grad():
        output = model.forward(batch.parts[0], output_hidden_states=True)
        reported = getattr(output, "language_model_outputs", output).hidden_states
    assert torch.equal(captured.rows[Stream.RESIDUAL][0], reported[0][0])
    assert torch.equal(model.decoder.norm(captured.rows[Stream.RESIDUAL][-1]), reported[-1][0])
    assert not torch.equal(captured.rows[Stream.RESIDUAL][-1], reported[-1][0])


def test_a_padded_batch_of_four_gives_the_rows_of_single_examples(family):
    model = family.model
    four = [example(f"row {i}", words=words, size=(24, 24)) for i, words in enumerate((3, 14, 1, 8))]
    if model.text_alone:
        four[2] = example("row 2", words=1, size=None)
    batch = capture(model, model.prepare(four), family.streams)
    for index, one in enumerate(four):
        single = capture(model, model.prepare([one]), family.streams)
        of_one = batch.example == index
        assert torch.equal(batch.modality[of_one], single.modality)
        for stream in family.streams:
            for together, alone in zip(batch.rows[stream], single.rows[stream], strict=True):
                torch.testing.assert_close(together[of_one], alone, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(sure(batch.last_logits)[index], sure(single.last_logits)[0], rtol=1e-5, atol=1e-5)


TOKENS = """
    <image> <start_of_image> <image_soft_token> <fake_token_around_image> <|image_pad|> <|video_pad|> <video>
    <IMG_CONTEXT> [IMG] <|image|>
""".split()


@pytest.mark.parametrize("token", TOKENS)
def test_a_literal_placeholder_is_text(family, token):
    model = family.model
    batch = model.prepare([example(question=f"what {token} is {token}{token}", size=(24, 24))])
    captured = capture(model, batch, [Stream.RESIDUAL])
    assert int(captured.mask(Modality.IMAGE).sum()) == family.positions


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
    captured = capture(model, model.prepare([example(size=(24, 24)), example("row 1", size=(48, 24))]), STREAMS[:1])
    images = captured.example[captured.mask(Modality.IMAGE)]
    assert torch.bincount(images).tolist() == [4, 12]


def test_a_picture_in_tiles_and_as_a_whole(tmp_path):
    torch.manual_seed(0)
    model = open_model(str(build_idefics3(tmp_path, split=True)))
    pictures = [example(size=(24, 24)), example("row 1", size=(48, 24))]
    captured = capture(model, model.prepare(pictures), STREAMS, before=True)
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
    captured = capture(model, model.prepare([example(size=None)]), STREAMS)
    assert bool(captured.mask(Modality.TEXT).all())
    with pytest.raises(BadExample, match=r"row 0: it has a picture and .* takes none"):
        model.prepare([example()])


@pytest.mark.skipif(TORCHVISION, reason="torchvision is installed")
def test_a_processor_that_needs_torchvision_names_the_remedy(tmp_path, llava_next_folder):
    folder = Path(shutil.copytree(llava_next_folder, tmp_path / "pixtral"))
    config = json.loads((folder / "processor_config.json").read_text())
    config["processor_class"] = "PixtralProcessor"
    (folder / "processor_config.json").write_text(json.dumps(config))
    with pytest.raises(MicroscopeError, match="needs torchvision: install torchvision"):
        open_model(str(folder))
