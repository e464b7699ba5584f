"""The untrained twins of the demo models: made when first asked for, the same every time, opened like any model."""

import os
import subprocess
import sys

import pytest
import torch

from microscope_tui.catalogue.listing import known_models
from microscope_tui.catalogue.locate import locate_model, twin_folder
from microscope_tui.errors import MicroscopeError
from microscope_tui.models.load import open_model
from microscope_tui.models.skeleton import skeleton
from microscope_tui.terms import Progress, Stream

NAME = "demo:llava-next@init"


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_a_twin_is_made_once_and_opens_with_the_shape_of_its_trained_model():
    assert locate_model(NAME) is None
    told: list[Progress] = []
    twin = open_model(NAME, on_progress=told.append)
    assert Progress("making the untrained twin") in told
    assert locate_model(NAME) == twin_folder(NAME)
    trained = open_model("demo:llava-next")
    assert (twin.layers, twin.width, twin.architecture) == (trained.layers, trained.width, trained.architecture)
    assert twin.identity != trained.identity
    assert set(twin.streams) == set(Stream), twin.refused
    told.clear()
    assert open_model(NAME, on_progress=told.append).identity == twin.identity
    assert Progress("making the untrained twin") not in told


def test_a_twin_made_elsewhere_has_the_same_weights(tmp_path):
    open_model(NAME)
    code = f"from microscope_tui.models.load import open_model; print(open_model({NAME!r}).identity)"
    environ = os.environ | {"XDG_CACHE_HOME": str(tmp_path / "other")}
    done = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == open_model(NAME).identity


def test_twins_share_their_decoder_and_differ_in_how_they_join():
    llava, omnifusion = open_model(NAME), open_model("demo:omnifusion@init")
    one, other = (dict(model.network.named_parameters()) for model in (llava, omnifusion))
    shared = [name for name in one if name.endswith("layers.3.mlp.up_proj.weight") and "vision" not in name]
    match = [name for name in other if name.endswith("layers.3.mlp.up_proj.weight") and "vision" not in name]
    assert torch.equal(one[shared[0]], other[match[0]])


def test_twins_are_offered_and_known_by_their_shape_before_they_are_made():
    assert NAME in {entry.name for entry in known_models()}
    assert skeleton(NAME).layers == skeleton("demo:llava-next").layers
    assert locate_model(NAME) is None


def test_what_has_no_twin_is_refused_in_one_sentence(tmp_path, monkeypatch):
    with pytest.raises(MicroscopeError, match="no demo model 'demo:other'"):
        open_model("demo:other@init")
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(MicroscopeError, match="set XDG_CACHE_HOME"):
        open_model(NAME)
