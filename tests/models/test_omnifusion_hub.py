"""OmniFusion from the hub's own layout, its vision tower as the hub has it: one pickled state dict."""

from __future__ import annotations

import io
import os
import pickle
import shutil
import zipfile
from collections import Counter, OrderedDict
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from microscope_tui.engine.open_models import OpenModels
from microscope_tui.errors import MicroscopeError
from microscope_tui.models.capture import capture
from microscope_tui.models.fetch import fetch_tower
from microscope_tui.models.load import open_model
from microscope_tui.models.unpickle import PICKLE_LIMIT, read_state_dict
from microscope_tui.terms import Request, SliceSpec, Stream
from tests.models.builders import example
from tests.models.hub import put_in_hub
from tests.models.test_omnifusion import Trap, archive, traps

REPO, TOWER = "AIRI-Institute/OmniFusion", "openai/clip-vit-large-patch14-336"
COMMIT, OLD, TOWER_COMMIT = "a1" * 20, "b2" * 20, "c3" * 20
RELEASE = "OmniMistral-v1_1"


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """An empty hub cache, and no way to the hub."""
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    return tmp_path / "hub"


@pytest.fixture
def published(tmp_path, omnifusion_folder) -> Path:
    """The model's folder as it is published: without its tower and without settings of its own."""
    folder = Path(shutil.copytree(omnifusion_folder, tmp_path / "published"))
    shutil.rmtree(folder / "vision-tower")
    (folder / "omnifusion.json").unlink()
    return folder


@pytest.fixture
def tower(tmp_path, omnifusion_folder) -> Path:
    """The tower's folder as the hub has it: a state dict with names and a buffer of an older transformers."""
    folder: Path = shutil.copytree(omnifusion_folder / "vision-tower", tmp_path / "tower")
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    state = OrderedDict((f"vision_model.{name.removeprefix('vision_model.')}", t) for name, t in weights.items())
    state["vision_model.embeddings.position_ids"] = torch.arange(17)[None]
    state["logit_scale"] = nn.Parameter(torch.tensor(2.6))
    torch.save(state, folder / "pytorch_model.bin")
    return folder


@pytest.fixture
def cached(hub, published, tower):
    put_in_hub(hub, REPO, published, COMMIT, below=RELEASE)
    put_in_hub(hub, TOWER, tower, TOWER_COMMIT)
    return hub


def rows(model):
    return capture(model, model.prepare([example(words=5)]), [Stream.RESIDUAL]).rows[Stream.RESIDUAL]


def test_the_published_layout_is_opened_offline(cached, omnifusion):
    model = open_model(REPO)
    assert model.identity == f"{REPO}@{COMMIT}/{RELEASE}+{TOWER}@{TOWER_COMMIT}"
    assert model.streams == tuple(Stream)
    for ours, theirs in zip(rows(model), rows(omnifusion), strict=True):
        assert torch.equal(ours, theirs)
    assert {"projection.pt", "special_embeddings.pt", "pytorch_model.bin"} <= {file.name for file in model.files}
    assert all(file.is_file() for file in model.files)


def test_what_says_which_commits_are_meant_is_watched(cached):
    """A new commit of the tower is a new model, also where OmniFusion's own has not moved."""
    _, files = OpenModels().open(Request(REPO, SliceSpec("x")), on_progress=lambda _: None)
    for repo in (REPO, TOWER):
        assert cached / f"models--{repo.replace('/', '--')}" / "refs" / "main" in files


def test_a_revision_is_pinned(cached, published):
    put_in_hub(cached, REPO, published, OLD, below=RELEASE, ref="old")
    assert open_model(f"{REPO}@{OLD}").identity.startswith(f"{REPO}@{OLD}/{RELEASE}+")
    assert open_model(f"{REPO}@old").identity.startswith(f"{REPO}@{OLD}/{RELEASE}+")
    with pytest.raises(MicroscopeError, match="is not in the local hub cache"):
        open_model(f"{REPO}@{'d4' * 20}")


def test_of_several_releases_in_a_repository_the_named_one_is_read(cached, published):
    put_in_hub(cached, REPO, published, COMMIT, below="another")
    snapshot = cached / f"models--{REPO.replace('/', '--')}" / "snapshots" / COMMIT
    for part in ("tokenizer", "tuned-model"):
        (snapshot / part).mkdir()
    assert f"/{RELEASE}+" in open_model(REPO).identity


def test_all_parts_have_the_precision_of_the_language_model(cached):
    model: Any = open_model(REPO, dtype="bfloat16")
    assert {model.network.dtype, model.vision.tower.dtype, model.projection.linear.weight.dtype} == {torch.bfloat16}
    assert bool(torch.isfinite(rows(model)[-1]).all())


def test_safetensors_go_before_the_state_dict(cached, tower, omnifusion_folder):
    snapshot = cached / f"models--{TOWER.replace('/', '--')}" / "snapshots" / TOWER_COMMIT
    weights = load_file(omnifusion_folder / "vision-tower" / "model.safetensors")
    save_file({name: t + 1 for name, t in weights.items()}, snapshot / "model.safetensors", metadata={"format": "pt"})
    (snapshot / "pytorch_model.bin").unlink()
    (snapshot / "pytorch_model.bin").write_bytes(b"never opened")
    model: Any = open_model(REPO)
    embedding = model.vision.tower.state_dict()["embeddings.class_embedding"]
    expected = next(t for name, t in weights.items() if name.endswith("class_embedding")) + 1
    assert torch.equal(embedding, expected)
    assert "pytorch_model.bin" not in {file.name for file in model.files}


def refusal(hub: Path, published: Path, tower: Path) -> str:
    put_in_hub(hub, REPO, published, COMMIT, below=RELEASE)
    put_in_hub(hub, TOWER, tower, TOWER_COMMIT)
    with pytest.raises(MicroscopeError) as caught:
        open_model(REPO)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("name", list(traps(Path("x"))))
def test_a_hostile_state_dict_executes_nothing_and_is_refused(hub, published, tower, tmp_path, name):
    marker = tmp_path / "executed"
    archive(tower / "pytorch_model.bin", traps(marker)[name])
    text = refusal(hub, published, tower)
    assert not marker.exists()
    assert "nothing in it was run" in text


def test_a_trap_among_tensors_is_refused(hub, published, tower, tmp_path):
    marker = tmp_path / "executed"
    state = torch.load(tower / "pytorch_model.bin", weights_only=True)
    torch.save({**state, "trap": Trap(os.system, f"touch {marker}")}, tower / "pytorch_model.bin")
    assert "asks for posix.system" in refusal(hub, published, tower)
    assert not marker.exists()


@pytest.mark.parametrize("name", ["torch.nn.modules.linear.Linear", "collections.Counter"])
def test_only_what_tensors_need_may_be_asked_for(tmp_path, name):
    """Not the names that the projection may ask for, nor all that torch's own unpickler knows."""
    value = {"torch.nn.modules.linear.Linear": nn.Linear(2, 2), "collections.Counter": Counter("a")}[name]
    torch.save({"weight": torch.zeros(2), "more": value}, tmp_path / "state.bin")
    with pytest.raises(MicroscopeError, match=r"asks for [\w.]+, which its tensors do not need"):
        read_state_dict(tmp_path / "state.bin")


@pytest.mark.parametrize("saved", [[torch.zeros(2)], {"weight": "text"}, {1: torch.zeros(2)}, {"a": {"b": 1}}])
def test_what_is_no_state_dict_is_refused(tmp_path, saved):
    torch.save(saved, tmp_path / "state.bin")
    with pytest.raises(MicroscopeError, match="is not a plain state dict"):
        read_state_dict(tmp_path / "state.bin")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.uint8, torch.bool])
def test_tensors_of_every_kind_are_read_as_they_are(tmp_path, dtype):
    state = {"a": torch.arange(6).reshape(2, 3).to(dtype), "b": torch.ones(4, 2).to(dtype).T}
    torch.save(state, tmp_path / "state.bin")
    read = read_state_dict(tmp_path / "state.bin")
    assert {name: (t.dtype, t.tolist()) for name, t in read.items()} == {
        name: (t.dtype, t.tolist()) for name, t in state.items()
    }


def test_a_state_dict_of_torch_before_1_6_or_a_plain_pickle_is_refused(hub, published, tower, tmp_path):
    torch.save({"weight": torch.zeros(2)}, tower / "pytorch_model.bin", _use_new_zipfile_serialization=False)
    assert "saved by PyTorch before 1.6" in refusal(hub, published, tower)
    marker = tmp_path / "executed"
    data = io.BytesIO()
    pickle.dump(Trap(os.system, f"touch {marker}"), data)
    (tmp_path / "plain.bin").write_bytes(data.getvalue())
    with pytest.raises(MicroscopeError, match=r"before 1\.6"):
        read_state_dict(tmp_path / "plain.bin")
    assert not marker.exists()


def test_a_pickle_that_unpacks_to_a_mass_is_not_unpacked(tmp_path):
    with zipfile.ZipFile(tmp_path / "state.bin", "w", zipfile.ZIP_DEFLATED) as zipped:
        zipped.writestr("state/data.pkl", bytes(PICKLE_LIMIT + 1))
    assert (tmp_path / "state.bin").stat().st_size < PICKLE_LIMIT / 100
    with pytest.raises(MicroscopeError, match="its pickle is larger than"):
        read_state_dict(tmp_path / "state.bin")


def test_a_state_dict_that_lacks_a_tensor(hub, published, tower):
    state = torch.load(tower / "pytorch_model.bin", weights_only=True)
    del state["vision_model.embeddings.class_embedding"]
    torch.save(state, tower / "pytorch_model.bin")
    assert "lack embeddings.class_embedding" in refusal(hub, published, tower)


def test_the_language_model_is_never_read_from_a_pickle(cached):
    tuned = cached / f"models--{REPO.replace('/', '--')}" / "snapshots" / COMMIT / RELEASE / "tuned-model"
    (tuned / "model.safetensors").unlink()
    torch.save({}, tuned / "pytorch_model.bin")
    with pytest.raises(MicroscopeError, match="only pickled weights"):
        open_model(REPO)


def test_a_tower_that_is_not_here_is_named(hub, published):
    put_in_hub(hub, REPO, published, COMMIT, below=RELEASE)
    with pytest.raises(MicroscopeError, match=f"{TOWER} is not in the local hub cache and HF_HUB_OFFLINE forbids"):
        open_model(REPO)


def test_what_is_downloaded(hub, monkeypatch, published, tower):
    asked = []

    def download(repo, *, revision, allow_patterns, tqdm_class):
        asked.append((repo, allow_patterns))
        if repo == REPO:
            return str(put_in_hub(hub, REPO, published, COMMIT, below=RELEASE))
        if allow_patterns != ["pytorch_model.bin"]:
            weights = (tower / "pytorch_model.bin").read_bytes()
            (tower / "pytorch_model.bin").unlink()
            snapshot = put_in_hub(hub, TOWER, tower, TOWER_COMMIT)
            (tower / "pytorch_model.bin").write_bytes(weights)
            return str(snapshot)
        shutil.copy(tower / "pytorch_model.bin", snapshot_of_tower(hub))
        return str(snapshot_of_tower(hub))

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    open_model(REPO)
    assert [repo for repo, _ in asked] == [REPO, TOWER, TOWER]
    assert all(pattern.startswith(f"{RELEASE}/") for pattern in asked[0][1])
    assert not any(pattern.endswith((".bin", ".py", "/*")) for pattern in (*asked[0][1], *asked[1][1]))
    assert asked[2][1] == ["pytorch_model.bin"]


def snapshot_of_tower(hub: Path) -> Path:
    return hub / f"models--{TOWER.replace('/', '--')}" / "snapshots" / TOWER_COMMIT


def test_an_interrupted_download_goes_on(cached, monkeypatch, omnifusion_folder):
    (cached / f"models--{REPO.replace('/', '--')}" / "snapshots" / COMMIT / RELEASE / "projection.pt").unlink()
    with pytest.raises(MicroscopeError, match=r"has no projection\.pt or projection\.safetensors"):
        open_model(REPO)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *_args, **_options: str(omnifusion_folder))
    assert open_model(REPO).identity.startswith("blake2b:")


def test_a_tower_with_safetensors_needs_no_state_dict(hub, monkeypatch, omnifusion_folder):
    asked = []

    def download(repo, *, allow_patterns, **_):
        asked.append(allow_patterns)
        return str(omnifusion_folder / "vision-tower")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    assert fetch_tower("someone/tower", lambda _: None) == omnifusion_folder / "vision-tower"
    assert len(asked) == 1
