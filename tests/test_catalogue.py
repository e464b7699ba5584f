import pytest

from microscope_tui.catalogue import hub_cache, known_models, known_slices, locate_model, locate_slice
from microscope_tui.errors import MicroscopeError


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A local hub cache with one model and one data set in the layout of huggingface_hub."""
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    for kind, repo, config in (
        ("models", "ann/small", '{"architectures": ["TinyForX"]}'),
        ("datasets", "bob/rows", None),
    ):
        folder = tmp_path / f"{kind}--{repo.replace('/', '--')}"
        snapshot = folder / "snapshots" / "abc123"
        snapshot.mkdir(parents=True)
        (folder / "refs").mkdir()
        (folder / "refs" / "main").write_text("abc123")
        if config:
            (snapshot / "config.json").write_text(config)
    return tmp_path


def test_demo_names_are_folders_of_the_package():
    assert locate_model("demo:llava-next").is_dir()
    assert locate_model("demo:omnifusion").is_dir()
    assert locate_slice("demo:scienceqa").is_dir()
    assert {"demo:llava-next", "demo:omnifusion"} <= {e.name for e in known_models()}
    assert "demo:scienceqa" in {e.name for e in known_slices()}


@pytest.mark.parametrize("name", ["demo:nothing", "demo:../models/llava-next", "demo:", "demo:llava-next/.."])
def test_a_wrong_demo_name_is_answered_with_the_right_ones(name):
    with pytest.raises(MicroscopeError, match="demo:llava-next"):
        locate_model(name)


def test_a_path_is_a_folder_that_must_exist(tmp_path):
    assert locate_model(str(tmp_path)) == tmp_path
    with pytest.raises(MicroscopeError, match="/nowhere/at/all"):
        locate_model("/nowhere/at/all")


@pytest.mark.parametrize("name", ["justaword", "a/b/c", "https://example.org/x", ""])
def test_what_is_neither_is_refused(name):
    with pytest.raises(MicroscopeError, match="hub id"):
        locate_model(name)


def test_a_cached_hub_id_is_its_snapshot_and_listed(hub):
    assert hub_cache() == hub
    assert locate_model("ann/small") == hub / "models--ann--small" / "snapshots" / "abc123"
    assert locate_model("ann/small@abc123") == locate_model("ann/small")
    assert locate_model("ann/small@other") is None
    assert locate_model("ann/absent") is None
    assert locate_slice("bob/rows").name == "abc123"
    assert ("ann/small", "TinyForX") in {(e.name, e.title) for e in known_models()}
    assert "bob/rows" in {e.name for e in known_slices()}


def test_the_papers_models_are_offered_before_they_are_here(hub):
    offered = {e.name: e for e in known_models() if not e.here}
    assert {"llava-hf/llava-v1.6-mistral-7b-hf", "AIRI-Institute/OmniFusion"} == set(offered)
