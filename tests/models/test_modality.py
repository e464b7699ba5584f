"""Which position is what, against counts worked out by hand."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from microscope_tui.errors import MicroscopeError
from microscope_tui.models.capture import capture
from microscope_tui.models.modality import (
    CODES,
    check_counts,
    check_embeddings,
    modality_codes,
    placeholder_ids,
)
from microscope_tui.terms import Modality, Stream
from tests.models.builders import PATCHES, example, picture


@pytest.mark.parametrize(
    ("size", "rows", "columns"),
    [
        # Patches of 6 pixels that are left of the tiles when the padding of the best grid is cut off again.
        ((48, 24), 4, 8),
        ((24, 48), 8, 4),
        ((40, 40), 8, 8),
        ((200, 50), 2, 8),
    ],
)
def test_llava_next_has_a_thumbnail_a_grid_and_a_newline_a_row(llava_next, size, rows, columns):
    captured = capture(llava_next, llava_next.prepare([example(size=size)]), [Stream.RESIDUAL])
    assert int(captured.mask(Modality.IMAGE).sum()) == PATCHES + rows * (columns + 1)
    newline = llava_next.network.model.image_newline
    assert int((captured.rows[Stream.RESIDUAL][0] == newline).all(-1).sum()) == rows


@pytest.mark.parametrize("pictures", [0, 1, 3])
def test_omnifusion_has_one_row_a_patch(omnifusion, pictures):
    one = example(images=tuple(picture(seed=i) for i in range(pictures)))
    captured = capture(omnifusion, omnifusion.prepare([one]), [Stream.RESIDUAL])
    assert int(captured.mask(Modality.IMAGE).sum()) == PATCHES * pictures


def test_ids_come_from_the_first_place_that_names_them():
    class Grumpy:
        image_token_id = 7

        @property
        def video_token_id(self):
            raise KeyError("not for you")

    assert placeholder_ids(Grumpy()) == {Modality.IMAGE: 7}
    omni = SimpleNamespace(thinker_config=SimpleNamespace(image_token_id=1, video_token_id=2, audio_token_id=3))
    assert placeholder_ids(omni) == {Modality.IMAGE: 1, Modality.VIDEO: 2, Modality.AUDIO: 3}
    phi = SimpleNamespace(
        image_token_id=None,
        vision_config=SimpleNamespace(image_token_id=5),
        audio_config=SimpleNamespace(audio_token_id=6),
    )
    assert placeholder_ids(phi) == {Modality.IMAGE: 5, Modality.AUDIO: 6}
    assert placeholder_ids(SimpleNamespace(image_token_id=4, video_token_id=4)) == {Modality.IMAGE: 4}
    assert placeholder_ids(SimpleNamespace(image_token_id=None)) == {}


def test_padding_is_neither_text_nor_picture():
    ids = torch.tensor([[9, 9, 1, 9], [1, 2, 9, 3]])
    valid = torch.tensor([[False, False, True, True], [True, True, True, True]])
    codes = modality_codes(ids, valid, {Modality.IMAGE: 9, Modality.AUDIO: 3})
    assert codes.tolist() == [[-1, -1, 0, 1], [0, 0, 1, 3]]
    check_counts(codes, valid)


def test_positions_that_do_not_add_up_are_refused():
    valid = torch.tensor([[True, True, False]])
    for codes in ([[0, -1, -1]], [[0, 0, 0]]):
        with pytest.raises(MicroscopeError, match="cannot be told apart"):
            check_counts(torch.tensor(codes, dtype=torch.int8), valid)


def test_embeddings_that_contradict_the_ids_are_refused():
    table = torch.randn(5, 3)
    entered = table.clone()
    entered[1] += 1
    check_embeddings(entered, table, torch.tensor([False, True, False, False, False]))
    with pytest.raises(MicroscopeError, match=r"By its token ids 0 of 5 .* by its embeddings 1 do \(1 disagree\)"):
        check_embeddings(entered, table, torch.zeros(5, dtype=torch.bool))


def test_the_cross_check_runs_on_every_batch(llava_next):
    batch = llava_next.prepare([example()])
    (part,) = batch.parts
    batch = replace(batch, parts=(replace(part, replaced=torch.zeros_like(part.replaced)),))
    with pytest.raises(MicroscopeError, match="does not take them in as tokens"):
        capture(llava_next, batch, [Stream.RESIDUAL])


def test_codes_follow_the_order_of_modalities():
    assert list(CODES) == list(Modality)
    assert list(CODES.values()) == [0, 1, 2, 3]
