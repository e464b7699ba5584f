"""What the hooks give, against transformers' own hidden states and against a residual-free loop written out here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from microscope_tui.errors import BadExample, MicroscopeError, OutOfMemory
from microscope_tui.models.base import OpenModel
from microscope_tui.models.capture import capture
from microscope_tui.models.load import open_model
from microscope_tui.terms import Modality, Stream
from tests.models.builders import LAYERS, WIDTH, build_llava_next, example
from tests.sure import sure

STREAMS = (Stream.RESIDUAL, Stream.UPDATE, Stream.MAIN)
FOUR = (
    example("row 0", words=3),
    example("row 1", words=17, size=(30, 60)),
    example("row 2", words=1, size=(40, 40)),
    example("row 3", words=9, size=None),
)


def hooks_of(model: OpenModel) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.network.modules())


def reference_states(model: OpenModel, part) -> list[Tensor]:
    """transformers' own hidden states, flattened to the valid rows."""
    with torch.no_grad():
        output = model.forward(part, output_hidden_states=True)
    return [state.flatten(0, 1)[part.rows] for state in output.hidden_states]


def residual_free_loop(model: OpenModel, h: Tensor) -> list[Tensor]:
    """m ← MLP(norm(Attn(norm(m)))) for one unpadded example, h (1, T, d), without any hook."""
    decoder: Any = model.decoder.module
    positions = torch.arange(h.shape[1])[None]
    rotary = decoder.rotary_emb(h, position_ids=positions)
    mask = None
    if model.attention == "eager":  # eager attention has no causality of its own
        mask = torch.full((h.shape[1], h.shape[1]), torch.finfo(h.dtype).min).triu(1)[None, None]
    states = [h[0]]
    with torch.no_grad():
        for layer in decoder.layers:
            attended, _ = layer.self_attn(
                hidden_states=layer.input_layernorm(h), position_embeddings=rotary, attention_mask=mask
            )
            h = layer.mlp(layer.post_attention_layernorm(attended))
            states.append(h[0])
    return states


@pytest.mark.parametrize("words", [2, 15])
@pytest.mark.parametrize("size", [(48, 24), None])
def test_residual_is_output_hidden_states_bit_for_bit(model, size, words):
    batch = model.prepare([example(words=words, size=size)])
    captured = capture(model, batch, STREAMS)
    reported = reference_states(model, batch.parts[0])
    residual = captured.rows[Stream.RESIDUAL]
    assert len(residual) == len(reported) == LAYERS + 1
    for ours, theirs in zip(residual[:-1], reported[:-1], strict=True):
        assert torch.equal(ours, theirs)
    assert not torch.equal(residual[-1], reported[-1]), "h_L is taken before the final norm"
    assert torch.equal(model.decoder.norm(residual[-1]), reported[-1])


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_main_is_the_explicit_residual_free_loop_bit_for_bit(llava_next_folder, omnifusion_folder, attention):
    for folder in (llava_next_folder, omnifusion_folder):
        model = open_model(str(folder), attention=attention)
        assert model.attention == attention
        captured = capture(model, model.prepare([example(words=11)]), STREAMS)
        expected = residual_free_loop(model, captured.rows[Stream.RESIDUAL][0][None])
        main = captured.rows[Stream.MAIN]
        assert len(main) == LAYERS + 1
        for ours, theirs in zip(main, expected, strict=True):
            assert torch.equal(ours, theirs)


def test_a_padded_batch_gives_the_rows_of_single_examples(model):
    batch = capture(model, model.prepare(FOUR), STREAMS)
    for index, one in enumerate(FOUR):
        single = capture(model, model.prepare([one]), STREAMS)
        of_one = batch.example == index
        assert torch.equal(batch.position[of_one], single.position)
        assert torch.equal(batch.modality[of_one], single.modality)
        for stream in (Stream.RESIDUAL, Stream.MAIN):
            for together, alone in zip(batch.rows[stream], single.rows[stream], strict=True):
                torch.testing.assert_close(together[of_one], alone, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(sure(batch.last_logits)[index], sure(single.last_logits)[0], rtol=1e-5, atol=1e-5)


def test_left_padding_gives_the_same_rows(llava_next, monkeypatch):
    right = llava_next.prepare(FOUR)
    monkeypatch.setattr(llava_next.tokenizer, "padding_side", "left")
    left = llava_next.prepare(FOUR)
    padded = left.parts[-1].valid
    assert not padded[:, 0].all()
    assert padded[:, -1].all()
    one, other = capture(llava_next, right, STREAMS), capture(llava_next, left, STREAMS)
    assert torch.equal(one.position, other.position)
    torch.testing.assert_close(one.last_logits, other.last_logits, rtol=1e-5, atol=1e-5)
    for stream in (Stream.RESIDUAL, Stream.MAIN):
        for a, b in zip(one.rows[stream], other.rows[stream], strict=True):
            torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


def test_rows_are_those_of_every_unpadded_position(model):
    batch = model.prepare(FOUR)
    captured = capture(model, batch, STREAMS)
    lengths = torch.cat([part.valid.sum(1)[part.example.argsort()] for part in batch.parts])
    assert len(captured) == batch.tokens == int(lengths.sum())
    assert sum(int(captured.mask(modality).sum()) for modality in Modality) == len(captured)
    for index in range(len(FOUR)):
        positions = captured.position[captured.example == index]
        assert positions.tolist() == list(range(len(positions)))
    for layers in captured.rows.values():
        assert {tuple(rows.shape) for rows in layers} == {(len(captured), WIDTH)}
        assert {rows.dtype for rows in layers} == {torch.float32}


def test_last_logits_are_those_of_a_plain_forward(model):
    batch = model.prepare([example(words=5)])
    with torch.no_grad():
        plain = model.forward(batch.parts[0]).logits[:, -1]
    torch.testing.assert_close(capture(model, batch, [Stream.RESIDUAL]).last_logits, plain, rtol=1e-5, atol=1e-5)


def test_only_the_last_position_reaches_the_output_head(model):
    seen = []
    handle = model.head.register_forward_hook(lambda module, args, output: seen.append(output.shape))
    try:
        capture(model, model.prepare(FOUR[:2]), [Stream.RESIDUAL])
    finally:
        handle.remove()
    assert [tuple(shape[:2]) for shape in seen] == [(2, 1)]


def test_only_what_is_asked_for_is_captured(model):
    batch = model.prepare([example()])
    assert set(capture(model, batch, [Stream.UPDATE]).rows) == {Stream.RESIDUAL}
    assert set(capture(model, batch, [Stream.MAIN]).rows) == {Stream.MAIN}


def test_hooks_are_removed_also_after_an_exception(model, monkeypatch):
    batch = model.prepare([example()])
    before = hooks_of(model)
    capture(model, batch, STREAMS)
    assert hooks_of(model) == before

    def fail(*_args, **_options):
        raise KeyboardInterrupt

    monkeypatch.setattr(model.decoder.layers[2].mlp, "forward", fail)
    with pytest.raises(KeyboardInterrupt):
        capture(model, batch, STREAMS)
    assert hooks_of(model) == before


def test_memory_that_runs_out_is_told_apart(model, monkeypatch):
    batch = model.prepare(FOUR[:2])

    def fail(*_args, **_options):
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(model.decoder.layers[0].mlp, "forward", fail)
    with pytest.raises(OutOfMemory, match=r"2 examples with .* tokens do not fit into the memory of cpu"):
        capture(model, batch, STREAMS)


def test_an_example_that_overflows_is_named(model, monkeypatch):
    batch = model.prepare(FOUR[:2])
    mlp = model.decoder.layers[1].mlp
    plain = mlp.forward

    def overflows(x):
        out = plain(x)
        out[1 % len(out), 0] = float("inf")
        return out

    monkeypatch.setattr(mlp, "forward", overflows)
    with pytest.raises(BadExample, match="residual stream is not finite from layer 2") as caught:
        capture(model, batch, [Stream.RESIDUAL])
    assert caught.value.example == "row 1"


def test_a_refused_stream_is_not_captured(tmp_path):
    model = open_model(str(build_llava_next(tmp_path)))
    model.refused = {Stream.MAIN: "block 3 is odd."}
    with pytest.raises(MicroscopeError, match=r"main stream .* is not shown: block 3 is odd"):
        capture(model, model.prepare([example()]), STREAMS)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_keeps_its_rows(llava_next_folder: Path, omnifusion_folder: Path, dtype: str):
    for folder in (llava_next_folder, omnifusion_folder):
        model = open_model(str(folder), dtype=dtype)
        captured = capture(model, model.prepare(FOUR), STREAMS)
        assert model.dtype == dtype
        assert model.streams == tuple(Stream)
        assert captured.rows[Stream.MAIN][1].dtype == getattr(torch, dtype)
