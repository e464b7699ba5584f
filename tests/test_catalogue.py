import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from microscope_tui.catalogue.checkpoints import omnifusion_folder
from microscope_tui.catalogue.listing import describe_model, describe_slice, known_models, known_slices
from microscope_tui.catalogue.locate import full_name, hub_cache, locate_model, locate_slice, moving_reference, namesake
from microscope_tui.errors import MicroscopeError
from tests.sure import sure


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
    assert sure(locate_model("demo:llava-next")).is_dir()
    assert sure(locate_model("demo:omnifusion")).is_dir()
    assert sure(locate_slice("demo:scienceqa")).is_dir()
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
    assert sure(locate_slice("bob/rows")).name == "abc123"
    assert ("ann/small", "TinyForX") in {(e.name, e.title) for e in known_models()}
    assert "bob/rows" in {e.name for e in known_slices()}


def test_the_papers_models_are_offered_before_they_are_here(hub):
    offered = {e.name: e for e in known_models() if not e.here}
    assert {"llava-hf/llava-v1.6-mistral-7b-hf", "AIRI-Institute/OmniFusion"} == set(offered)


def test_a_full_name_means_the_same_from_any_folder(tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path)
    assert full_name("here") == full_name("./here") == str(tmp_path / "here")
    assert full_name("~/there").startswith("/")
    assert full_name("demo:llava-next") == "demo:llava-next"
    assert full_name("owner/name@main") == "owner/name@main"


def test_what_has_the_form_of_a_hub_id_or_a_demo_means_that_whatever_lies_here(hub, tmp_path, monkeypatch):
    here = tmp_path / "here"
    for name in ("ann/small", "bob/rows/train@main", "demo:llava-next", "data/rows.parquet", "a/b/c/d"):
        (here / name).mkdir(parents=True)
    monkeypatch.chdir(here)
    assert full_name("ann/small") == "ann/small"
    assert locate_model("ann/small") == hub / "models--ann--small" / "snapshots" / "abc123"
    assert full_name("bob/rows/train@main") == "bob/rows/train@main"
    assert full_name("demo:llava-next") == "demo:llava-next"
    assert sure(locate_model("demo:llava-next")).parent.name == "models"
    assert full_name("a/b/c/d") == str(here / "a/b/c/d")  # no hub id has so many parts
    assert namesake("data/rows.parquet") == " There is a data/rows.parquet here: write ./data/rows.parquet to mean it."
    assert [namesake(name) for name in ("./ann/small", "a/b/c/d", "ann/other")] == ["", "", ""]


def test_what_a_hub_id_means_now_can_be_watched(hub):
    assert sure(moving_reference("ann/small")).read_text() == "abc123"
    assert moving_reference("ann/small@abc123") is None
    assert moving_reference("demo:llava-next") is None
    assert moving_reference("/tmp") is None


def test_a_name_too_long_for_a_path_is_refused_like_any_other():
    with pytest.raises(MicroscopeError, match="hub id"):
        locate_model("x" * 5000)


def put(hub, kind, repo, files, commit="abc123", ref="main"):
    """A repository in the hub cache, its files as links to blobs; one whose content is None is a link to nothing."""
    folder = hub / f"{kind}--{repo.replace('/', '--')}"
    (folder / "blobs").mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        link = folder / "snapshots" / commit / name
        link.parent.mkdir(parents=True, exist_ok=True)
        blob = folder / "blobs" / hashlib.sha256(f"{name}{content}".encode()).hexdigest()
        if content is not None:
            blob.write_text(content)
        link.symlink_to(os.path.relpath(blob, link.parent))
    if ref:
        (folder / "refs").mkdir(exist_ok=True)
        (folder / "refs" / ref).write_text(commit)


def config(model_type, architecture="SomeForX", **more):
    return json.dumps({"model_type": model_type, "architectures": [architecture], **more})


INDEX = json.dumps({"weight_map": {f"w{i}": f"model-0000{1 + i % 4}-of-00004.safetensors" for i in range(8)}})
SHARDS = {f"model-0000{i}-of-00004.safetensors": "0" * 1000 for i in range(1, 5)}


def entry(hub, name):
    return {e.name: e for e in (*known_models(), *known_slices())}[name]


def test_a_whole_model_is_described(hub):
    shown = config("llava_next", "LlavaNextForConditionalGeneration", vision_config={})
    put(hub, "models", "ann/whole", {"config.json": shown, "model.safetensors.index.json": INDEX, **SHARDS})
    found = entry(hub, "ann/whole")
    assert (found.architecture, found.model_type, found.tried) == (
        "LlavaNextForConditionalGeneration",
        "llava_next",
        True,
    )
    assert found.size == 4000 + len(shown) + len(INDEX)
    assert (found.missing, found.refused, found.here) == ((), "", True)
    assert found.detail == "in the local hub cache, 4.5 kB"


def test_missing_shards_are_named(hub):
    """Also those whose link is there while the file behind it is not: a download that was broken off."""
    shards = {**SHARDS, "model-00003-of-00004.safetensors": None}
    del shards["model-00002-of-00004.safetensors"]
    put(
        hub,
        "models",
        "ann/part",
        {"config.json": config("llava", vision_config={}), "model.safetensors.index.json": INDEX, **shards},
    )
    found = entry(hub, "ann/part")
    assert found.missing == ("model-00002-of-00004.safetensors", "model-00003-of-00004.safetensors")
    assert "incomplete: model-00002-of-00004.safetensors and 1 more missing" in found.detail
    put(hub, "models", "ann/bare", {"config.json": config("llava", vision_config={})})
    assert entry(hub, "ann/bare").missing == ("model.safetensors",)


@pytest.mark.parametrize(
    ("model_type", "more", "reason"),
    [
        ("mllama", {"vision_config": {}}, "cross-attention"),
        ("mistral3", {"image_token_id": 7, "vision_config": {}}, "install torchvision"),
        ("llama4", {"vision_config": {}}, "install torchvision"),
        ("idefics", {"vision_config": {}}, "names no token"),
        ("clip", {"vision_config": {}}, "not a language model"),
        ("mistral", {}, "takes text only"),
        ("llava", {"vision_config": {}}, ""),
        ("qwen2_5_vl", {"vision_config": {}}, ""),
        ("ovis2", {"vision_config": {}}, ""),
        ("voxtral", {"audio_token_id": 7}, ""),
    ],
)
def test_what_cannot_be_measured_says_why(hub, monkeypatch, model_type, more, reason):
    monkeypatch.setattr("microscope_tui.catalogue.families.find_spec", lambda name: None)
    put(hub, "models", "ann/some", {"config.json": config(model_type, **more), "model.safetensors": "0"})
    found = entry(hub, "ann/some")
    assert reason in found.refused
    assert bool(found.refused) == bool(reason)
    assert found.refused in found.detail
    assert found.tried == (model_type in ("llava", "mistral3", "qwen2_5_vl"))


def test_torchvision_lifts_a_refusal(hub, monkeypatch):
    monkeypatch.setattr("microscope_tui.catalogue.families.find_spec", lambda name: name)
    put(hub, "models", "ann/some", {"config.json": config("mistral3"), "model.safetensors": "0"})
    assert entry(hub, "ann/some").refused == ""


def test_omnifusion_is_known_by_its_layout(hub):
    tuned = "OmniMistral-v1_1/tuned-model"
    files = {
        f"{tuned}/config.json": config("mistral"),
        f"{tuned}/model.safetensors.index.json": INDEX,
        **{f"{tuned}/{name}": content for name, content in SHARDS.items()},
        "OmniMistral-v1_1/tokenizer/tokenizer.json": "{}",
        "OmniMistral-v1_1/projection.pt": "0",
    }
    put(hub, "models", "AIRI-Institute/OmniFusion", files)
    found = entry(hub, "AIRI-Institute/OmniFusion")
    assert (found.architecture, found.here, found.tried, found.refused) == ("OmniFusion", True, True, "")
    assert found.missing == ("special_embeddings.pt",)


@pytest.mark.parametrize("lacking", ["tokenizer", "tuned-model"])
def test_the_list_and_who_opens_a_model_agree_on_what_is_one_of_omnifusion(hub, lacking):
    """What an interrupted download left: the list calls it incomplete, and who would open it downloads the rest."""
    files = {
        "tuned-model/config.json": config("mistral"),
        "tuned-model/model.safetensors": "0",
        "tokenizer/tokenizer.json": "{}",
        "projection.safetensors": "0",
        "special_embeddings.safetensors": "0",
    }
    put(hub, "models", "ann/whole", {f"release/{name}": content for name, content in files.items()})
    assert entry(hub, "ann/whole").missing == ()
    assert sure(omnifusion_folder(sure(locate_model("ann/whole")))).name == "release"
    put(hub, "models", "ann/deep", {f"a/b/{name}": content for name, content in files.items()})
    assert omnifusion_folder(sure(locate_model("ann/deep"))) is None
    assert "ann/deep" not in {e.name for e in known_models()}
    put(hub, "models", "ann/begun", {name: text for name, text in files.items() if not name.startswith(lacking)})
    found = {e.name: e for e in known_models()}.get("ann/begun")
    assert omnifusion_folder(sure(locate_model("ann/begun"))) is None
    assert (found.missing if found else None) == {"tokenizer": ("tokenizer",), "tuned-model": None}[lacking]


def test_weights_and_precision_tell_what_a_load_takes(hub):
    files = {"config.json": config("llava", dtype="bfloat16"), "model.safetensors.index.json": INDEX, **SHARDS}
    put(hub, "models", "ann/whole", files)
    assert (entry(hub, "ann/whole").weights, entry(hub, "ann/whole").dtype) == (4000, "bfloat16")
    inner = config("llava", text_config={"torch_dtype": "float16"})
    put(hub, "models", "ann/older", {"config.json": inner, "model.safetensors": "0" * 10, "extra.bin": "0" * 99})
    assert (entry(hub, "ann/older").weights, entry(hub, "ann/older").dtype) == (10, "float16")
    put(hub, "models", "ann/silent", {"config.json": config("llava")})
    assert (entry(hub, "ann/silent").weights, entry(hub, "ann/silent").dtype) == (0, "")


def test_any_name_of_a_model_is_described(hub, tmp_path):
    listed = {e.name: e for e in known_models()}
    for name in ("demo:llava-next", "demo:llava-next@init", "ann/small", "AIRI-Institute/OmniFusion"):
        assert describe_model(name) == listed[name]
    assert (describe_model("some/other").here, describe_model("some/other").detail) == (False, "on the hub")
    folder = tmp_path / "mine"
    folder.mkdir()
    assert "no checkpoint in it" in describe_model(str(folder)).refused
    for damaged, why in (
        ("{\n no", "damaged: it cannot be read (Expecting"),
        ("[]", "damaged: it holds no JSON object"),
    ):
        (folder / "config.json").write_text(damaged)
        assert f"its config.json is {why}" in describe_model(str(folder)).refused
        assert describe_model(str(folder)).detail.endswith(describe_model(str(folder)).refused)
    (folder / "config.json").write_text("{}")
    assert "no checkpoint in it" in describe_model(str(folder)).refused
    (folder / "config.json").write_text(config("llava", "MineForX"))
    assert describe_model(str(folder)).architecture == "MineForX"
    assert describe_model(str(folder)).detail.startswith("a folder, ")
    assert describe_model(str(folder)).missing == ("model.safetensors",)
    with pytest.raises(MicroscopeError, match="no folder"):
        describe_model(str(tmp_path / "none"))


def test_any_slice_is_described_by_its_source(hub, tmp_path):
    found = describe_slice("demo:scienceqa?count=5")
    assert (found.name, found.here) == ("demo:scienceqa?count=5", True)
    assert found.size > 0
    file = tmp_path / "rows.jsonl"
    file.write_text("{}")
    assert (describe_slice(str(file)).title, describe_slice(str(file)).size) == ("rows.jsonl", 2)
    assert not describe_slice("some/data?count=3").here
    with pytest.raises(MicroscopeError, match="'cuont'"):
        describe_slice("demo:scienceqa?cuont=3")


def test_what_is_no_model_is_left_out_and_damage_is_survived(hub):
    put(hub, "models", "ann/notes", {"README.md": "text"})
    put(hub, "models", "ann/torn", {"config.json": "{", "model.safetensors": "0"})
    put(hub, "models", "ann/odd", {"config.json": "[1]"})
    put(hub, "models", "ann/odder", {"config.json": config("llava"), "model.safetensors.index.json": "[]"})
    (hub / "models--ann--empty").mkdir()
    names = {e.name for e in known_models()}
    assert not names & {"ann/notes", "ann/empty"}
    assert "ann/odder" in names
    assert all(entry(hub, name).refused.startswith("its config.json is damaged") for name in ("ann/torn", "ann/odd"))


def test_a_revision_alone_is_listed_with_its_commit(hub):
    put(hub, "models", "ann/pinned", {"config.json": config("llava"), "model.safetensors": "0"}, "f" * 40, ref="")
    name = f"ann/pinned@{'f' * 40}"
    assert entry(hub, name).tried
    assert sure(locate_model(name)).name == "f" * 40


def test_data_sets_have_a_size_and_may_lack_their_data(hub):
    put(hub, "datasets", "bob/whole", {"data/test-0.parquet": "0" * 500, "README.md": ""})
    assert (entry(hub, "bob/whole").size, entry(hub, "bob/whole").missing) == (500, ())
    put(hub, "datasets", "bob/lacking", {"README.md": "text", "dataset_infos.json": "{}"})
    assert entry(hub, "bob/lacking").missing == ("every data file",)
    put(hub, "datasets", "bob/script", {"script.py": "raise SystemExit", "README.md": ""})
    assert "a script of its own, which is never run" in entry(hub, "bob/script").refused


LISTING = """
import json, sys
from microscope_tui.catalogue.listing import known_models, known_slices
opened = []
sys.addaudithook(lambda event, about: opened.append(str(about[0])) if event == "open" else None)
entries = (*known_models(), *known_slices())
heavy = {"torch", "transformers", "datasets", "numpy", "pyarrow", "PIL", "huggingface_hub"} & set(sys.modules)
print(json.dumps([[e.name for e in entries], sorted(heavy), opened]))
"""


def test_33_repositories_are_listed_without_heavy_imports_from_the_few_files_that_describe_them(hub):
    for number in range(33):
        kind = "models" if number % 3 else "datasets"
        files = {"config.json": config("llava"), "model.safetensors.index.json": INDEX, "a.parquet": "0", **SHARDS}
        put(hub, kind, f"many/repo-{number}", {**files, **{f"file-{i}.json": "{}" for i in range(10)}})
    ran = subprocess.run([sys.executable, "-c", LISTING], capture_output=True, text=True, check=True)
    names, heavy, opened = json.loads(ran.stdout)
    assert {f"many/repo-{number}" for number in range(33)} <= set(names)
    assert heavy == []
    read = sorted(path for path in opened if "many--repo" in path and Path(path).parent.parent.name == "snapshots")
    assert {Path(path).name for path in read} == {"config.json", "model.safetensors.index.json"}
    assert read == sorted(set(read)), "each is read once"
