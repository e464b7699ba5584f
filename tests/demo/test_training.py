"""The trainer: a run that is broken off and resumed ends bit for bit as one that was not; recipes do not mix."""

import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file

from microscope_tui.demo.arms import Arm
from microscope_tui.demo.build import load_parts
from microscope_tui.demo.decoder import Course, new_joint, train_arm, train_decoder
from microscope_tui.demo.export import write_model
from microscope_tui.demo.loop import Loop, Schedule
from microscope_tui.demo.questions import Split, balanced
from microscope_tui.demo.train import Recipe, Workshop, main
from microscope_tui.demo.vision import read_features, train_vision, write_features
from microscope_tui.errors import MicroscopeError

CPU = torch.device("cpu")
SHORT = Schedule(4, warmup=2, save_every=2)


def silent(text: str) -> None:
    """Progress that nobody reads."""


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """A folder with a barely trained encoder, decoder and features."""
    folder = tmp_path_factory.mktemp("work")
    rows = balanced(Split.TRAIN, 28, 0)
    train_vision(folder / "vision.safetensors", rows, SHORT, 0, CPU, silent)
    train_decoder(folder / "decoder.safetensors", Schedule(1, save_every=9), 4, 0, CPU, silent)
    write_features(folder / "features.safetensors", folder / "vision.safetensors", [*rows, *rows[:14]], CPU)
    return folder


def course(folder):
    rows = balanced(Split.TRAIN, 28, 0)
    return Course(rows, rows[:14], read_features(folder / "features.safetensors"))


def arm_weights(work, path, arm):
    model = new_joint(arm, work / "decoder.safetensors", 1)
    train_arm(path, model, course(work), SHORT, 6, 1, CPU, silent)
    return load_file(path)


@pytest.mark.parametrize("arm", list(Arm))
def test_a_resumed_arm_ends_bit_for_bit_like_an_unbroken_one(work, tmp_path, monkeypatch, arm):
    whole = arm_weights(work, tmp_path / "whole.safetensors", arm)
    run = Loop.run
    monkeypatch.setattr(Loop, "run", lambda self, learn, **kw: run(self, learn, **kw | {"until": 2}))
    arm_weights(work, tmp_path / "broken.safetensors", arm)
    monkeypatch.setattr(Loop, "run", run)
    broken = arm_weights(work, tmp_path / "broken.safetensors", arm)
    assert whole.keys() == broken.keys()
    assert all(torch.equal(whole[name], broken[name]) for name in whole)
    assert any(name.startswith("exp_avg.fusion") for name in whole)


def test_arms_of_one_seed_begin_with_the_same_decoder(work):
    first, other = (new_joint(arm, work / "decoder.safetensors", 1) for arm in (Arm.LLAVA_NEXT, Arm.OMNIFUSION))
    for (name, a), (_, b) in zip(first.decoder.named_parameters(), other.decoder.named_parameters(), strict=True):
        assert torch.equal(a, b), name


def test_a_checkpoint_of_another_recipe_is_refused(work, tmp_path):
    path = tmp_path / "arm.safetensors"
    arm_weights(work, path, Arm.OMNIFUSION)
    model = new_joint(Arm.OMNIFUSION, work / "decoder.safetensors", 1)
    with pytest.raises(MicroscopeError, match="another recipe"):
        train_arm(path, model, course(work), SHORT, 5, 1, CPU, silent)


def test_the_rate_rises_then_falls_to_little():
    schedule = Schedule(1000, peak=1.0, warmup=100)
    assert schedule.rate(0) == pytest.approx(0.01, rel=0.01)
    assert max(map(schedule.rate, range(1000))) == pytest.approx(1.0, abs=0.03)
    assert schedule.rate(999) == pytest.approx(0.02, abs=0.001)


def test_a_missing_stage_is_named(tmp_path, capsys):
    assert main(["--work", str(tmp_path), "--tiny", "--stages", "features"]) == 2
    assert "run the stage vision first" in capsys.readouterr().err


def test_training_and_validation_rows_come_from_their_splits(tmp_path):
    workshop = Workshop(tmp_path, Recipe.tiny(), CPU)
    assert {q.split for q in workshop.training(40)} == {Split.TRAIN}
    assert {q.split for q in workshop.validation()} == {Split.VALIDATION}
    assert workshop.training(20) == workshop.training(40)[:20]


def test_models_trained_twice_are_the_same_byte_for_byte(tmp_path):
    """From nothing to the files that are shipped, each time in processes of their own."""
    made: list[dict[str, bytes]] = []
    for name in ("first", "again"):
        work, into = tmp_path / name, tmp_path / f"{name}-models"
        told = ("--work", str(work), "--tiny", "--seeds", "0", "--arms", "llava-next", "omnifusion", "--device", "cpu")
        subprocess.run([sys.executable, "-m", "microscope_tui.demo.train", *told], check=True, capture_output=True)
        for arm in (Arm.LLAVA_NEXT, Arm.OMNIFUSION):
            write_model(arm, load_parts(Workshop(work, Recipe.tiny(), CPU), arm, 0), into / arm.value)
        files = sorted(path for path in into.rglob("*") if path.is_file())
        made.append({str(path.relative_to(into)): path.read_bytes() for path in files})
    first, again = made
    assert list(first) == list(again)
    assert [name for name in first if first[name] != again[name]] == []
    assert sum(name.endswith(".safetensors") for name in first) >= 4
