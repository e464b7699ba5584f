"""Where a model is and how it computes: what must not change a number, and what may."""

from __future__ import annotations

import gc
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from microscope_tui.errors import MicroscopeError
from microscope_tui.models.capture import capture
from microscope_tui.models.load import open_model
from microscope_tui.models.loading import Place, computes_on
from microscope_tui.terms import Stream
from tests.models.builders import LAYERS, example
from tests.sure import sure

STREAMS = (Stream.RESIDUAL, Stream.MAIN)


def offload(prefix: str, *others: str) -> Mapping[str, str | int]:
    """A device map with the language model's layers in memory and on disk by turns, and `others` in memory."""
    layers = {f"{prefix}layers.{i}": ("cpu", "disk")[i % 2] for i in range(LAYERS)}
    rest = {f"{prefix}{name}": "disk" for name in ("embed_tokens", "norm", "rotary_emb")}
    return {**layers, **rest, **dict.fromkeys(others, "cpu")}


MAPS: Mapping[str, Mapping[str, str | int]] = {
    "llava_next": offload(
        "model.language_model.",
        "model.vision_tower",
        "model.multi_modal_projector",
        "model.image_newline",
        "lm_head",
    ),
    "omnifusion": offload("model.", "lm_head"),
}


@pytest.mark.parametrize("name", list(MAPS))
def test_offloading_to_disk_changes_nothing(request, name):
    whole = request.getfixturevalue(name)
    split: Any = open_model(whole.name, device_map=MAPS[name])
    layers = split.decoder.layers
    assert next(layers[1].parameters()).device.type == "meta"
    assert next(layers[0].parameters()).device.type == "cpu"
    assert (split.device, split.dtype, split.width) == (whole.device, whole.dtype, whole.width)
    assert split.streams == tuple(Stream)
    examples = [example(), example("row 1", words=7, size=None)]
    ours, theirs = (capture(m, m.prepare(examples), STREAMS) for m in (split, whole))
    for stream in STREAMS:
        for a, b in zip(ours.rows[stream], theirs.rows[stream], strict=True):
            assert torch.equal(a, b)
    assert torch.equal(sure(ours.last_logits), sure(theirs.last_logits))
    assert torch.equal(ours.group, theirs.group)


def test_what_is_on_disk_is_there_as_long_as_the_model(llava_next_folder):
    model: Any = open_model(str(llava_next_folder), device_map=MAPS["llava_next"])
    folder = Path(model.place.offload.name)
    assert folder.is_dir()
    assert computes_on(model.network.get_input_embeddings()) == torch.device("cpu")
    del model

    gc.collect()
    assert not folder.exists()


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_attention_implementations_agree(model, attention):
    one = [example(words=5), example("row 1", size=None)]
    chosen = open_model(model.name, attention=attention)
    assert chosen.attention == attention
    assert chosen.streams == tuple(Stream)
    ours, theirs = (capture(m, m.prepare(one), STREAMS) for m in (chosen, model))
    for stream in STREAMS:
        for a, b in zip(ours.rows[stream], theirs.rows[stream], strict=True):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_rows_have_the_chosen_precision(model, dtype):
    opened = open_model(model.name, dtype=dtype)
    captured = capture(opened, opened.prepare([example()]), [Stream.RESIDUAL])
    assert opened.dtype == dtype
    assert {rows.dtype for rows in captured.rows[Stream.RESIDUAL]} == {getattr(torch, dtype)}


def test_auto_takes_a_gpu_when_there_is_one(monkeypatch):
    def place(gpus: int, device: str) -> Place:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
        return Place.of(dtype="auto", device=device, attention="auto")

    assert (place(0, "auto").device, place(0, "auto").dtype) == (torch.device("cpu"), torch.float32)
    assert (place(1, "auto").device, place(1, "auto").dtype) == (torch.device("cuda"), None)
    balanced = place(2, "balanced")
    assert (balanced.device, balanced.device_map) == (torch.device("cuda:0"), "balanced")
    assert place(2, "cuda:1").device_map is None
    with pytest.raises(MicroscopeError, match="no cuda:2 here"):
        place(2, "cuda:2")
    with pytest.raises(MicroscopeError, match="no GPU here that a model could be spread over"):
        place(0, "balanced")


def test_a_device_map_says_where_inputs_go(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)

    def main(**parts: str | int) -> torch.device:
        return Place.of(dtype="auto", device="auto", attention="auto", device_map=parts).device

    assert main(a="cpu", b=1, c=0) == torch.device("cuda:1")
    assert main(a="disk", b="cuda:0") == torch.device("cuda:0")
    assert main(a="disk", b="cpu") == torch.device("cpu")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("where", [{"device": "cuda"}, {"device": "balanced"}])
def test_a_gpu_agrees_with_the_cpu(model, where):
    examples = [example(), example("row 1", words=7, size=None)]
    there = open_model(model.name, dtype="float32", **where)
    assert there.device.startswith("cuda")
    assert there.streams == tuple(Stream)
    ours, theirs = (capture(m, m.prepare(examples), STREAMS) for m in (there, model))
    for stream in STREAMS:
        for a, b in zip(ours.rows[stream], theirs.rows[stream], strict=True):
            torch.testing.assert_close(a.cpu(), b, rtol=1e-3, atol=1e-3)
    assert torch.equal(ours.group.cpu(), theirs.group)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("name", list(MAPS))
def test_offloading_from_a_gpu_changes_nothing(request, name):
    whole = open_model(request.getfixturevalue(name).name, dtype="float32", device="cuda")
    places = {key: 0 if value == "cpu" else value for key, value in MAPS[name].items()}
    split = open_model(whole.name, dtype="float32", device_map=places)
    ours, theirs = (capture(m, m.prepare([example()]), STREAMS) for m in (split, whole))
    for stream in STREAMS:
        for a, b in zip(ours.rows[stream], theirs.rows[stream], strict=True):
            assert torch.equal(a, b)
