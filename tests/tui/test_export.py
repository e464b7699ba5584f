"""What is on the screen, as CSV and JSON."""

import csv
import io
import json
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest

from microscope_tui.errors import MicroscopeError
from microscope_tui.terms import Profile
from microscope_tui.tui.export import file_stem, to_csv, to_json, write
from microscope_tui.tui.session import Session
from tests.tui.fake import MODELS, SLICE, Shape, made_up

SESSION = Session(MODELS, SLICE)
BOTH = [made_up(shape=Shape(layers=6, gap=(2,))), made_up(MODELS[1], shape=Shape(layers=6))]


def test_csv_has_a_row_for_each_layer_of_each_pane():
    rows = list(csv.DictReader(io.StringIO(to_csv(SESSION, BOTH, "in-sample"))))
    assert len(rows) == 2 * 4 * 6
    assert {row["model"] for row in rows} == set(MODELS)
    assert {(row["modality"], row["stream"]) for row in rows} == {
        (modality, stream) for modality in ("text", "image") for stream in ("main", "residual")
    }
    profile = BOTH[0].profiles[0]
    assert [float(row["value"]) for row in rows[:2]] == list(profile_of(rows[0]).value[:2])
    assert profile.metric == rows[0]["metric"]


def profile_of(row: dict[str, str]) -> Profile:
    return next(p for p in BOTH[0].profiles if (p.method, p.modality, p.stream) == ("in-sample", "text", row["stream"]))


def test_an_undefined_value_is_empty_and_says_why():
    rows = list(csv.DictReader(io.StringIO(to_csv(SESSION, BOTH, "in-sample"))))
    gap = rows[2]
    assert gap["value"] == gap["low"] == ""
    assert "too few" in gap["notes"]
    assert (gap["n"], gap["d"]) == ("4812", "64")


def test_a_zoomed_pane_is_exported_alone():
    rows = list(csv.DictReader(io.StringIO(to_csv(replace(SESSION, zoomed=True, pane=3), BOTH[:1], "held-out"))))
    assert {(row["modality"], row["stream"], row["method"]) for row in rows} == {("image", "residual", "held-out")}


def test_json_holds_the_profiles_as_the_command_line_prints_them():
    data = json.loads(to_json(SESSION, BOTH, "in-sample"))
    assert [m["model"] for m in data] == list(MODELS)
    assert len(data[0]["profiles"]) == 4
    again = Profile.from_json(data[0]["profiles"][0])
    assert again in BOTH[0].profiles
    assert data[0]["profiles"][0]["value"][2] is None


def test_names_are_safe_on_every_file_system():
    odd = Session(("/data/my models/<x>:y",), replace(SLICE, source="a/b?c*d"))
    assert file_stem(odd, datetime(2026, 1, 2, 3, 4, 5)) == "x-y-b-c-d-linearity-20260102-030405"
    assert len(file_stem(Session(("m" * 500,), SLICE), datetime(2026, 1, 2))) < 160


def test_a_missing_folder_is_said(tmp_path: Path):
    with pytest.raises(MicroscopeError, match="cannot be written"):
        write(tmp_path / "missing", {"a.csv": "x"})


def test_files_are_written(tmp_path: Path):
    assert write(tmp_path, {"a.csv": "x", "b.json": "y"}) == [tmp_path / "a.csv", tmp_path / "b.json"]
    assert (tmp_path / "b.json").read_text() == "y"
