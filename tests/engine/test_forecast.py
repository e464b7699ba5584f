"""What is told before a model is loaded, against what it takes when it is."""

import json
from typing import Any

import pytest
import torch

from microscope_tui import cli, measure
from microscope_tui.engine.forecast import ACTIVATIONS, MOMENTS, SAMPLE, WEIGHTS, forecast
from microscope_tui.engine.open_models import MODELS
from microscope_tui.engine.provenance import plan_of
from microscope_tui.errors import MicroscopeError
from microscope_tui.models.capture import capture
from microscope_tui.models.load import open_model
from microscope_tui.models.omnifusion import OmniFusion
from microscope_tui.models.sketch import sketch
from microscope_tui.slices import open_slice
from microscope_tui.terms import Request, SliceSpec, captured_streams
from tests.models.builders import example

CPU = torch.device("cpu")


@pytest.fixture
def free(monkeypatch):
    """Sets the free memory of the host, in bytes."""

    def set_free(size):
        for place in ("microscope_tui.engine.forecast", "microscope_tui.engine.plan"):
            monkeypatch.setattr(f"{place}.free_memory", lambda _device: {CPU: size})

    return set_free


@pytest.fixture(params=["tiny_next", "tiny_fusion"])
def name(request):
    return request.getfixturevalue(request.param)


def test_a_sketch_makes_the_inputs_of_the_loaded_model(name):
    examples = [example(size=(96, 30)), example("row 1", words=9), example("row 2", size=None)]
    drawn, loaded = sketch(name).prepare(examples), open_model(name).prepare(examples)
    assert drawn.tokens == loaded.tokens
    for ours, theirs in zip(drawn.parts, loaded.parts, strict=True):
        assert torch.equal(ours.ids, theirs.ids)
        assert torch.equal(ours.group, theirs.group)


def test_one_tile_is_shorter(tiny_next, small_slice):
    spec = SliceSpec(small_slice)
    tiles, one = (forecast(Request(tiny_next, spec, one_tile=flag)).length for flag in (False, True))
    assert one.most < tiles.most
    assert tiles.examples == tiles.looked_at == 10


def test_the_weights_positions_and_sums_are_those_of_the_measurement(name, small_slice):
    request = Request(name, SliceSpec(small_slice), folds=3, before=True)
    (fit,) = forecast(request).fits[:1]
    model: Any = open_model(name)
    parts = [model.network, model.projection, model.vision.tower] if hasattr(model, "vision") else [model.network]
    parameters = sum(p.numel() for part in parts for p in part.parameters())
    marks = sum(rows.numel() for rows in getattr(model, "special", {}).values())
    assert fit.needs[WEIGHTS] == 4 * (parameters + marks)
    planned = plan_of(request, model)
    assert (fit.needs[MOMENTS], fit.needs[SAMPLE], fit.folds) == (planned.moments, planned.sample, planned.folds)
    slice_ = open_slice(request.slice)
    batch = model.prepare([slice_.example(i) for i in range(8)])
    rows = capture(model, batch, captured_streams(request.streams)).rows
    captured = sum(layer.nbytes for layers in rows.values() for layer in layers)
    assert captured < fit.needs[ACTIVATIONS] < 6 * captured


def test_what_does_not_fit_is_said(tiny_next, small_slice, free):
    request = Request(tiny_next, SliceSpec(small_slice))
    needs = forecast(request).fits[0].needs
    free(needs[WEIGHTS] - 1)
    (fit, *_) = forecast(request).fits
    assert "its weights take" in fit.reason
    free(needs[WEIGHTS] + needs[MOMENTS] // 20)
    assert "moments" in forecast(request).fits[0].reason
    free(sum(needs.values()) * 4)
    assert forecast(request).fits[0].reason == ""


def test_a_batch_is_halved_in_advance(tiny_next, small_slice, free):
    request = Request(tiny_next, SliceSpec(small_slice), folds=1, sample_tokens=1, max_batch=512)
    needs = forecast(request).fits[0].needs
    free(needs[WEIGHTS] + 2 * needs[MOMENTS] + needs[ACTIVATIONS] // 3)
    fit = forecast(request).fits[0]
    assert (fit.batch, fit.reason) in [(128, ""), (256, "")]
    assert "instead of 512" in fit.notes[-1]


def test_a_model_that_cannot_fit_is_refused_and_no_weight_is_read(tiny_next, small_slice, free, monkeypatch):
    def fail(*_, **__):
        raise AssertionError("loaded")

    MODELS.clear()
    monkeypatch.setattr("microscope_tui.models.load.open_model", fail)
    free(100_000)
    with pytest.raises(MicroscopeError, match=r"does not fit: its weights take .* in float32 and cpu has 100\.0 kB"):
        measure(tiny_next, small_slice)
    free(2_000_000)
    with pytest.raises(MicroscopeError, match=r"The moments of 4 pairs.*memory_check = false"):
        measure(tiny_next, small_slice)
    monkeypatch.setenv("MICROSCOPE_MEMORY_CHECK", "false")
    with pytest.raises(AssertionError, match="loaded"):
        measure(tiny_next, small_slice)


def test_the_command_prints_a_table_or_json(tiny_fusion, small_slice, capsys, monkeypatch):
    monkeypatch.setattr(OmniFusion, "forward", lambda *_, **__: pytest.fail("a forward pass"))
    assert cli.main(["plan", tiny_fusion, small_slice, "--before"]) == 0
    table = capsys.readouterr().out
    for word in ("vision tower", "total", "10 examples", "cpu in float32: fits", WEIGHTS, MOMENTS):
        assert word in table
    assert cli.main(["plan", tiny_fusion, small_slice, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["parameters"]["total"] == sum(told["parameters"].values()) // 2
    assert told["devices"][0]["fits"] is True
    assert (told["layers"], told["d"]) == (4, 48)
    assert cli.main(["plan", "nobody/nothing", small_slice]) == 2
    assert "not in the local hub cache" in capsys.readouterr().err
