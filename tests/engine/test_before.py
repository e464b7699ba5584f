"""The stages before the decoder as negative layers, against the modules called by hand."""

import itertools

import numpy as np
import pytest
import torch
from transformers import AutoModelForImageTextToText, AutoProcessor

from microscope_tui import measure
from microscope_tui.engine.measure import run
from microscope_tui.engine.plan import Plan, stage_bytes
from microscope_tui.engine.stages import Stages
from microscope_tui.engine.walk import stages_before
from microscope_tui.errors import Cancelled
from microscope_tui.models.before import CONNECTOR, TOWER
from microscope_tui.models.load import open_model
from microscope_tui.results import Measurement
from microscope_tui.slices import open_slice
from microscope_tui.store import Store
from microscope_tui.terms import Metric, Modality, Progress, Request, SliceSpec, Stream
from tests.models.families import build
from tests.sure import sure


@pytest.fixture(scope="module")
def llava(tmp_path_factory):
    return str(build("llava", tmp_path_factory.mktemp("llava")))


@pytest.fixture(scope="module")
def measured(llava, small_slice) -> Measurement:
    return measure(llava, small_slice, before=True)


def of_images(measurement, metric, method=None):
    return measurement.profile(metric, Modality.IMAGE, Stream.RESIDUAL, method)


@pytest.fixture(scope="module")
def states(llava, small_slice):
    """The tower's two states that are used and the connector's output, (n, w) each, picture by picture."""
    model = AutoModelForImageTextToText.from_pretrained(llava, dtype=torch.float32).eval().model
    pictures = AutoProcessor.from_pretrained(llava, backend="pil").image_processor
    slice_ = open_slice(SliceSpec(small_slice))
    found: list[list[np.ndarray]] = []
    for i in range(len(slice_)):
        images = list(slice_.example(i).images)
        if images:
            with torch.no_grad():
                pixels = pictures(images, return_tensors="pt")["pixel_values"]
                seen = model.vision_tower(pixels, output_hidden_states=True).hidden_states[:-1]
                patches = [state[:, 1:] for state in seen]
                stages = [*patches, model.multi_modal_projector(patches[-1])]
            found.append([stage[0].double().numpy() for stage in stages])
    return [np.concatenate(stage) for stage in zip(*found, strict=True)]


def r2(x, y):
    x, y = x - x.mean(0), y - y.mean(0)
    # Rows that leave a layer norm lie in a hyperplane, up to float32 rounding, which explains nothing.
    residual = y - x @ np.linalg.lstsq(x, y, rcond=1e-6)[0]
    return 1 - (residual**2).sum() / (y**2).sum()


def test_each_stage_is_a_negative_layer_with_its_width(measured):
    for metric in Metric:
        profile = of_images(measured, metric)
        assert profile.layers[:4] == (-3, -2, -1, 0)
        assert profile.stages[:4] == (TOWER, TOWER, CONNECTOR, "")
        assert profile.widths[:4] == (32, 32, 48, 48)
        assert profile.n[:4] == (128,) * 4 if metric is not Metric.DIMENSION else min(profile.n) > 50
        for other in (
            measured.profile(metric, Modality.TEXT, Stream.RESIDUAL),
            measured.profile(metric, Modality.IMAGE, Stream.MAIN),
        ):
            assert other.layers[0] == 0


def test_the_numbers_are_those_of_the_modules_own_rows(measured, states):
    spectra = [np.linalg.svd(x - x.mean(0), compute_uv=False) ** 2 for x in states]
    top = of_images(measured, Metric.ANISOTROPY).value[:3]
    assert top == pytest.approx([s[0] / s.sum() for s in spectra], rel=1e-5)
    steps = of_images(measured, Metric.LINEARITY).value[:3]
    assert steps[:2] == pytest.approx([r2(x, y) for x, y in itertools.pairwise(states)], rel=1e-5)
    assert steps[2] == pytest.approx(1.0)


def test_widths_that_differ_have_no_update(measured):
    update = of_images(measured, Metric.LINEARITY, "update")
    assert update.value[0] is not None
    assert update.value[1] is None
    assert "different widths" in update.notes[1][0]
    assert "no update" in update.notes[2][0]


@pytest.mark.parametrize("family", ["idefics3", "next"])
def test_rows_that_are_packed_or_pooled_are_not_paired(request, tmp_path, small_slice, family):
    model = request.getfixturevalue("tiny_next") if family == "next" else str(build(family, tmp_path))
    profile = of_images(measure(model, small_slice, before=True, metrics=["linearity"]), Metric.LINEARITY)
    tower, connector = profile.stages.index(CONNECTOR) - 1, profile.stages.index(CONNECTOR)
    assert profile.value[0] is not None
    apart = {"idefics3": tower, "next": connector}[family]
    assert profile.value[apart] is None
    assert "packed or pooled" in profile.notes[apart][0]
    assert "packed or pooled" not in str(profile.notes[tower + connector - apart])


def test_stages_go_on_and_pictures_that_repeat_can_be_left_out(llava, small_slice, tmp_path, monkeypatch):
    monkeypatch.setattr("microscope_tui.engine.state.SHARE", float("inf"))
    request = Request(llava, SliceSpec(small_slice), max_batch=3, folds=2, before=True, without=("duplicates",))
    whole = run(request, None, on_progress=lambda _: None)
    # Of eight pictures the first three are one, but in two sizes.
    assert set(of_images(whole, Metric.ANISOTROPY).n[:3]) == {7 * 16}
    progress: list[Progress] = []
    with Store(tmp_path) as store:
        with pytest.raises(Cancelled):
            run(request, store, on_progress=progress.append, should_stop=lambda: progress[-1].done >= 3)
        assert run(request, store, on_progress=lambda _: None).profiles == whole.profiles


def test_what_is_planned_for_is_what_is_kept(llava):
    model = open_model(llava)
    request = Request(llava, SliceSpec("x"), before=True, folds=1, sample_tokens=1)
    shapes = stages_before(request, model)
    assert shapes == {TOWER: (2, 32), CONNECTOR: (1, 48)}
    kept = Stages(shapes, plan=Plan(1, torch.device("cpu"), torch.float64), budget=1)
    assert kept.nbytes == stage_bytes(shapes) + 4 * (2 * 32 + 48)


def test_nothing_is_added_where_nothing_was_asked_for_or_can_be(llava, small_slice, tiny_fusion):
    plain = measure(llava, small_slice, metrics=["anisotropy"], streams=["residual"])
    assert of_images(plain, Metric.ANISOTROPY).layers[0] == 0
    text = measure(tiny_fusion, small_slice, metrics=["anisotropy"], modalities=["text"], before=True)
    assert sure(text.profile(Metric.ANISOTROPY, Modality.TEXT, Stream.RESIDUAL)).layers[0] == 0
    assert any("before the decoder" in note for note in text.notes)
