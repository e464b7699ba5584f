"""What a checkpoint is, told from its files."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from microscope_tui.errors import MicroscopeError
from microscope_tui.models.identity import identify, omnifusion_settings
from tests.models.builders import build_omnifusion


def test_identity_follows_contents_and_nothing_else(tmp_path, llava_next_folder):
    first = Path(shutil.copytree(llava_next_folder, tmp_path / "a"))
    second = Path(shutil.copytree(llava_next_folder, tmp_path / "b"))
    (second / "README.md").write_text("words")
    assert identify(first)[0] == identify(second)[0]
    files = {path.name for path in identify(first)[1]}
    assert {
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "processor_config.json",
        "chat_template.jinja",
    } <= files
    with (second / "model.safetensors").open("r+b") as stream:
        stream.seek(-1, 2)
        stream.write(b"\x01")
    assert identify(first)[0] != identify(second)[0]


@pytest.mark.parametrize("changed", ["projection.pt", "tokenizer/tokenizer.json", "vision-tower/model.safetensors"])
def test_every_part_of_omnifusion_counts(tmp_path, omnifusion_folder, changed):
    folder = Path(shutil.copytree(omnifusion_folder, tmp_path / "o"))
    before, files = identify(folder)
    assert folder / changed in files
    with (folder / changed).open("ab") as stream:
        stream.write(b" ")
    assert identify(folder)[0] != before


def test_a_snapshot_is_known_by_its_commit(tmp_path, monkeypatch):
    snapshot = tmp_path / "hub" / "models--AIRI--Omni" / "snapshots" / "c0ffee"
    layout = build_omnifusion(snapshot / "OmniMistral-v1_1")
    assert identify(snapshot)[0] == identify(layout)[0] == "AIRI--Omni".replace("--", "/") + "@c0ffee/OmniMistral-v1_1"
    tower = tmp_path / "hub" / "models--openai--clip" / "snapshots" / "beef"
    tower.parent.mkdir(parents=True)
    shutil.move(layout / "vision-tower", tower)
    (tower.parent.parent / "refs").mkdir()
    (tower.parent.parent / "refs" / "main").write_text("beef")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    (layout / "omnifusion.json").write_text('{"vision_tower": "openai/clip"}')
    identity, files = identify(snapshot)
    assert identity == "AIRI/Omni@c0ffee/OmniMistral-v1_1+openai/clip@beef"
    assert tower / "model.safetensors" in files


def test_published_settings_and_their_overrides(tmp_path):
    assert omnifusion_settings(tmp_path)["vision_tower"] == "openai/clip-vit-large-patch14-336"
    (tmp_path / "omnifusion.json").write_text(json.dumps({"vision_feature_layer": -1}))
    assert omnifusion_settings(tmp_path)["vision_feature_layer"] == -1
    assert omnifusion_settings(tmp_path)["prompt"] == "This is a dialog with AI assistant.\n"


@pytest.mark.parametrize(
    ("own", "sentence"),
    [({"heads": 3}, "sets 'heads'"), ({"nhead": "4"}, "must be of type int"), ([], "holds no JSON object")],
)
def test_settings_that_make_no_sense(tmp_path, own, sentence):
    (tmp_path / "omnifusion.json").write_text(json.dumps(own))
    with pytest.raises(MicroscopeError, match=sentence):
        omnifusion_settings(tmp_path)


def test_identity_needs_no_torch(llava_next_folder):
    code = (
        "import sys; from pathlib import Path; from microscope_tui.models.identity import check_files, identify;"
        "folder = Path(sys.argv[1]); check_files(folder); identify(folder);"
        "print(sorted({'torch', 'transformers', 'numpy', 'PIL', 'datasets'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(llava_next_folder)], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
