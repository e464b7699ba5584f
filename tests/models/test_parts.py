"""What the shipped models are made of: the same vision encoder and decoder, joined in two ways."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from microscope_tui.models.base import OpenModel
from microscope_tui.models.load import open_model
from microscope_tui.models.parts import designs, fingerprint_of, fingerprints


@pytest.fixture(scope="module")
def llava() -> OpenModel:
    return open_model("demo:llava-next", device="cpu")


@pytest.fixture(scope="module")
def omnifusion() -> OpenModel:
    return open_model("demo:omnifusion", device="cpu")


def test_the_pair_differs_in_its_connector_and_in_the_tokens_of_a_picture(llava: OpenModel, omnifusion: OpenModel):
    one, other = designs(llava), designs(omnifusion)
    assert {name for name in one if one[name] != other[name]} == {"connector", "tokens of a picture"}
    assert one["connector"] == "LlavaNextMultiModalProjector: Linear 64 to 96, GELUActivation, Linear 96 to 96"
    assert other["connector"] == "Projection: TransformerEncoderLayer, Linear 64 to 96"
    assert one["decoder"].startswith("MistralModel: 8 layers, width 96, 4 heads")
    assert other["tokens of a picture"] == "16"


def test_the_tokens_of_a_picture_are_those_of_its_tiles(llava: OpenModel):
    # 4 x 4 patches of the whole, and 2 x 2 tiles: 8 rows of 8 patches and a mark at the end of each
    assert designs(llava)["tokens of a picture"].startswith("88 (square)")
    assert designs(open_model("demo:llava-next", device="cpu", one_tile=True))["tokens of a picture"] == "17"


def test_a_fingerprint_is_of_the_weights_in_any_precision_that_holds_them(llava: OpenModel, omnifusion: OpenModel):
    one = fingerprints(llava)
    assert one["vision encoder"] == fingerprints(omnifusion)["vision encoder"]
    assert one["connector"] != fingerprints(omnifusion)["connector"]
    assert one == fingerprints(open_model("demo:llava-next", device="cpu", dtype="bfloat16"))
    changed = open_model("demo:llava-next", device="cpu")
    with torch.no_grad():
        for weight in changed.decoder.layers[3].parameters():
            weight.add_(0.01)
    assert {part for part, digest in fingerprints(changed).items() if digest != one[part]} == {"decoder"}


@pytest.mark.parametrize("shape", [(14336, 4096), (32064, 4096)])
def test_matrices_of_real_decoders_have_a_fingerprint_to_their_last_number(shape: tuple[int, int]):
    """They have more numbers than float32 can count."""
    one = nn.Module()
    one.register_buffer("weight", torch.zeros(shape, dtype=torch.uint8))
    before = fingerprint_of(one)
    assert before == fingerprint_of(one)
    one.get_buffer("weight")[-1, -1] = 1
    assert fingerprint_of(one) != before


def test_a_fingerprint_of_few_numbers_is_of_all_of_them_and_one_of_none_is_one():
    one = nn.Module()
    one.register_buffer("empty", torch.zeros(0))
    one.register_buffer("scale", torch.tensor(2.0))
    one.register_buffer("few", torch.zeros(64))
    found = {fingerprint_of(one)}
    for place in range(64):
        one.get_buffer("few")[place] = 1
        found.add(fingerprint_of(one))
    assert len(found) == 65
