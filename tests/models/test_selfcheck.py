"""A model that is not what the hooks assume: the failure names the layer and refuses only the streams concerned."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from microscope_tui.errors import MicroscopeError, OutOfMemory
from microscope_tui.models.load import open_model
from microscope_tui.models.selfcheck import check
from microscope_tui.terms import Modality, Stream
from tests.models.builders import LAYERS, build_llava_next


@pytest.fixture
def opened(tmp_path):
    """A model of our own to break."""
    return open_model(str(build_llava_next(tmp_path)))


def test_a_sound_model_keeps_all_streams(model):
    assert model.streams == tuple(Stream)
    assert model.refused == {}


def test_a_block_that_scales_its_attention_has_no_main_stream(opened):
    opened.decoder.layers[2].self_attn.o_proj.register_forward_hook(lambda module, args, output: output * 1.0)
    check(opened)
    assert opened.refused == {}, "a hook that changes nothing is no reason"
    layer = opened.decoder.layers[2]
    plain = layer.forward
    layer.forward = lambda *args, **options: plain(*args, **options) * 1.001
    check(opened)
    assert opened.streams == (Stream.RESIDUAL, Stream.UPDATE)
    assert "block 2 is not its input + attention + feed-forward" in opened.refused[Stream.MAIN]


def test_the_sum_is_checked_to_one_in_a_hundred_thousand(opened):
    layer = opened.decoder.layers[1]
    plain = layer.forward
    layer.forward = lambda hidden, **options: (out := plain(hidden, **options)) + 1e-4 * (out - hidden)
    check(opened)
    assert list(opened.refused) == [Stream.MAIN]
    assert "off by 1.0e-04" in opened.refused[Stream.MAIN]


def test_blocks_of_another_shape_have_no_main_stream(opened):
    opened.decoder = replace(opened.decoder, roles=(*opened.decoder.roles[:1], *(None,) * (LAYERS - 1)))
    check(opened)
    assert list(opened.refused) == [Stream.MAIN]
    assert "block 1 is not attention, norm and feed-forward by name" in opened.refused[Stream.MAIN]


def test_what_is_added_between_blocks_refuses_update_and_main(opened):
    # As deepstack does: features are added to what a block gave, before the next one reads it.
    opened.decoder.layers[3].register_forward_pre_hook(lambda module, args: (args[0] + 0.5, *args[1:]))
    check(opened)
    assert opened.streams == (Stream.RESIDUAL,)
    for stream in (Stream.UPDATE, Stream.MAIN):
        assert "what leaves block 2 is not what enters block 3" in opened.refused[stream]


def test_a_last_state_that_does_not_fit_the_final_norm_refuses_residual(opened):
    norm = torch.nn.LayerNorm(opened.width)
    opened.decoder = replace(opened.decoder, norm=norm)
    check(opened)
    assert opened.streams == (Stream.MAIN,)
    assert f"at layer {LAYERS} the final norm" in opened.refused[Stream.RESIDUAL]
    assert opened.refused[Stream.UPDATE] == opened.refused[Stream.RESIDUAL]


def test_a_hook_that_sees_another_state_than_transformers_refuses_residual(opened, monkeypatch):
    plain = opened.forward

    def altered(part, **options):
        output = plain(part, **options)
        if states := output.hidden_states:
            output.hidden_states = (*states[:1], states[1] + 1, *states[2:])
        return output

    monkeypatch.setattr(opened, "forward", altered)
    check(opened)
    assert "at layer 1 the residual stream at the hook is not" in opened.refused[Stream.RESIDUAL]


def test_a_model_of_which_nothing_can_be_trusted_is_refused(opened):
    opened.decoder = replace(opened.decoder, norm=torch.nn.LayerNorm(opened.width), roles=(None,) * LAYERS)
    with pytest.raises(MicroscopeError, match=r"No stream of .* can be trusted: at layer 4"):
        check(opened)


def test_a_stream_that_overflows_is_refused(opened):
    with torch.no_grad():
        opened.decoder.layers[1].mlp.down_proj.weight.fill_(3e38)
    with pytest.raises(MicroscopeError, match="not finite in float32; its numbers grow too large"):
        check(opened)


def test_memory_that_runs_out_over_the_probe_is_told_as_such(opened, monkeypatch):
    def full(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(opened.decoder.layers[0].mlp, "forward", full)
    with pytest.raises(OutOfMemory, match="cpu has no room for one small example in "):
        check(opened)


def test_pictures_that_do_not_enter_as_tokens_are_refused(opened):
    opened.placeholders = {Modality.IMAGE: opened.tokenizer.convert_tokens_to_ids("?")}
    with pytest.raises(MicroscopeError, match="its configuration and its processor do not belong together"):
        check(opened)
    opened.packing = None  # as in families whose pictures have no parts
    with pytest.raises(MicroscopeError, match="does not take them in as tokens"):
        check(opened)


def test_the_check_leaves_no_hooks(opened):
    count = sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in opened.network.modules())
    check(opened)
    assert sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in opened.network.modules()) == count
