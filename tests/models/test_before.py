"""The stages before the decoder: against the vision tower's own hidden states and what enters the decoder."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from microscope_tui.models.base import Captured
from microscope_tui.models.before import CONNECTOR, TOWER
from microscope_tui.models.capture import capture
from microscope_tui.models.load import open_model
from microscope_tui.models.selfcheck import check
from microscope_tui.terms import Modality, Stream
from tests.models.builders import PATCHES, example
from tests.models.families import FAMILIES, build, build_qwen2_audio


@pytest.fixture(scope="module", params=[*FAMILIES, "llava_next", "omnifusion"])
def any_model(request, tmp_path_factory) -> Any:
    if request.param in FAMILIES:
        return open_model(str(build(request.param, tmp_path_factory.mktemp(request.param))))
    return request.getfixturevalue(request.param)


def captured(model, *examples) -> Captured:
    done: Captured = capture(model, model.prepare(list(examples)), [Stream.RESIDUAL], before=True)
    return done


def own_states(model, batch) -> list[torch.Tensor]:
    """The hidden states that the tower itself reports for the views of a batch, each (V, S, w)."""
    seen: list[Any] = []
    inner = model.network.model if hasattr(model.network, "model") else model.network
    tower = model.vision.tower if hasattr(model, "vision") else getattr(inner, "vision_tower", None)
    tower = inner.vision_model if tower is None else tower
    handle = tower.register_forward_pre_hook(lambda _m, args, kwargs: seen.append((args, kwargs)), with_kwargs=True)
    with torch.no_grad():
        for part in batch.parts:
            model.forward(part)
        handle.remove()
        ((args, kwargs),) = seen
        return list(tower(*args, **{**kwargs, "output_hidden_states": True}).hidden_states)


def test_the_towers_layers_are_its_own_hidden_states(any_model):
    batch = any_model.prepare([example(size=(24, 24)), example("row 1", words=5, size=(24, 24))])
    found = capture(any_model, batch, [Stream.RESIDUAL], before=True).before[TOWER]
    reported = own_states(any_model, batch)
    if any_model.architecture.lower().startswith(("llava", "vipllava", "omnifusion")):
        reported = [state[:, 1:] for state in reported[:-1]]  # the connector reads up to state −2, no class token
    elif any_model.architecture.startswith("Blip2"):
        reported = [state[:, 1:] for state in reported]
    assert len(found.rows) == len(reported)
    for ours, theirs in zip(found.rows, reported, strict=True):
        assert torch.equal(ours, theirs.flatten(0, 1))


def test_stages_have_their_own_widths_and_rows(any_model):
    assert any_model.before == (TOWER, CONNECTOR)
    rows = captured(any_model, example(size=(24, 24)), example("row 1", size=(24, 24)))
    for stage in rows.before.values():
        assert {len(layer) for layer in stage.rows} == {len(stage.example)} == {len(stage.position)}
        for index in range(2):
            of_one = stage.position[stage.example == index]
            assert of_one.tolist() == list(range(len(stage.example) // 2))
    assert {layer.shape[-1] for layer in rows.before[TOWER].rows} == {32}
    assert [layer.shape[-1] for layer in rows.before[CONNECTOR].rows] == [any_model.width]


@pytest.mark.parametrize("name", ["llava", "idefics3", "omnifusion"])
def test_what_leaves_the_connector_enters_the_decoder(request, tmp_path, name):
    model = open_model(str(build(name, tmp_path))) if name in FAMILIES else request.getfixturevalue(name)
    rows = captured(model, example(size=(24, 24)), example("row 1", words=9, size=(24, 24)))
    (connector,) = rows.before[CONNECTOR].rows
    assert torch.equal(connector, rows.rows[Stream.RESIDUAL][0][rows.mask(Modality.IMAGE)])
    assert torch.equal(rows.before[CONNECTOR].example, rows.example[rows.mask(Modality.IMAGE)])


def test_the_base_view_of_llava_next_leaves_the_connector_first(llava_next):
    examples = [example(size=(48, 48)), example("row 1", size=(96, 30)), example("row 2", size=None)]
    rows = captured(llava_next, *examples)
    stage = rows.before[CONNECTOR]
    assert torch.equal(torch.bincount(stage.example, minlength=3), torch.tensor([5, 3, 0]) * PATCHES)
    base = rows.group == llava_next.groups.index("base")
    assert torch.equal(stage.rows[0][stage.position < PATCHES], rows.rows[Stream.RESIDUAL][0][base])
    assert torch.equal(stage.example[stage.position < PATCHES], rows.example[base])


def test_a_batch_has_the_stages_of_single_examples(any_model):
    examples = [example(f"row {i}", words=3 + i, size=size) for i, size in enumerate([(24, 24), (48, 48), (30, 60)])]
    if getattr(any_model, "text_alone", True):
        examples.insert(1, example("text", size=None))
    together = captured(any_model, *examples)
    for index, one in enumerate(examples):
        alone = captured(any_model, one)
        assert set(alone.before) == ({TOWER, CONNECTOR} if one.images else set())
        for name, stage in alone.before.items():
            of_one = together.before[name].example == index
            assert torch.equal(together.before[name].position[of_one], stage.position)
            for ours, theirs in zip(together.before[name].rows, stage.rows, strict=True):
                torch.testing.assert_close(ours[of_one], theirs, rtol=1e-4, atol=1e-5)


def test_several_pictures_of_one_example(model):
    picture = example(size=(24, 48)).images[0]
    two = example(images=(picture, picture))
    rows = captured(model, two, example("row 1", size=(24, 48)))
    for stage in rows.before.values():
        counts = torch.bincount(stage.example)
        assert counts[0] == 2 * counts[1]
        assert stage.position[stage.example == 0].tolist() == list(range(int(counts[0])))


def test_nothing_changes_for_those_who_do_not_ask(any_model):
    one = example(size=(24, 24))
    plain = capture(any_model, any_model.prepare([one]), [Stream.RESIDUAL])
    asked = captured(any_model, one)
    assert plain.before == {}
    for ours, theirs in zip(plain.rows[Stream.RESIDUAL], asked.rows[Stream.RESIDUAL], strict=True):
        assert torch.equal(ours, theirs)
    hooks = sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in any_model.network.modules())
    captured(any_model, one)
    assert sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in any_model.network.modules()) == hooks


def test_one_tile_is_one_view(llava_next_folder):
    model = open_model(str(llava_next_folder), one_tile=True)
    rows = captured(model, example(size=(48, 48)))
    assert len(rows.before[TOWER].example) == len(rows.before[CONNECTOR].example) == PATCHES


def test_a_tower_that_cannot_be_followed_is_not_shown(llava_next_folder, monkeypatch):
    model: Any = open_model(str(llava_next_folder))
    monkeypatch.setattr(model.packing, "views", lambda inputs: torch.tensor([7]))
    check(model)
    assert model.before == ()
    assert captured(model, example()).before == {}


def test_sound_has_no_stages_yet(tmp_path):
    torch.manual_seed(0)
    assert open_model(str(build_qwen2_audio(tmp_path))).before == ()
