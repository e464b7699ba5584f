"""What is no data set, or not one that can be used: one sentence each."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from microscope_tui.errors import MicroscopeError
from microscope_tui.slices import open_slice
from microscope_tui.terms import SliceSpec

from . import conftest as data


def sentence(source: Path | str, **options: object) -> str:
    with pytest.raises(MicroscopeError) as caught:
        open_slice(SliceSpec(str(source), **options))  # type: ignore[arg-type]  # one helper for all options
    text = str(caught.value)
    assert "\n" not in text
    assert text.endswith(".")
    return text


def without(*names: str) -> list[data.Row]:
    return [{name: value for name, value in row.items() if name not in names} for row in data.rows()]


def test_a_missing_folder(tmp_path: Path) -> None:
    assert str(tmp_path / "nowhere") in sentence(tmp_path / "nowhere")


def test_a_folder_without_data(tmp_path: Path) -> None:
    assert f"The folder {tmp_path} holds no data set" in sentence(tmp_path)


def test_a_file_of_another_kind(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("notes")
    assert "is not a data set: give a .parquet, .jsonl or .json file, or a folder" in sentence(tmp_path / "notes.txt")


@pytest.mark.parametrize("content", [b"", b"PAR1", b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n"])
def test_a_file_that_is_no_parquet(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "test.parquet").write_bytes(content)
    assert "test.parquet is not a readable parquet file (" in sentence(tmp_path)


def test_a_parquet_file_that_is_cut_short(parquet: Path, tmp_path: Path) -> None:
    whole = (parquet / "data" / "test-00000-of-00002.parquet").read_bytes()
    (tmp_path / "test.parquet").write_bytes(whole[: len(whole) // 2])
    assert "is not a readable parquet file (" in sentence(tmp_path)


@pytest.mark.parametrize("kind", ["parquet", "saved"])
def test_a_data_set_without_a_column_it_needs(tmp_path: Path, kind: str) -> None:
    write: Callable[..., Path] = data.LAYOUTS[kind]
    text = sentence(write(tmp_path / "image", without("image")))
    assert "has no image column (image or images): its columns are question, choices, answer" in text
    text = sentence(write(tmp_path / "question", without("question")))
    assert "has no question column: its columns are image, choices, answer" in text


def test_an_imagefolder_without_a_column_it_needs(tmp_path: Path) -> None:
    (tmp_path / "metadata.jsonl").write_text(json.dumps({"question": "a?"}) + "\n")
    assert "has no image column (file_name or image or images): its columns are question. " in sentence(tmp_path)
    (tmp_path / "metadata.jsonl").write_text(json.dumps({"file_name": "a.png", "caption": "a"}) + "\n")
    assert "has no question column: its columns are file_name, caption." in sentence(tmp_path)


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ('{"file_name": "a.png"}\n{"file_name', "Line 2 of"),
        ("[1]", "Line 1 of"),
        ('{"file_name": null, "question": 3}\n{"question": "x"}', "of several kinds"),
        (b"\xff\xfe\x00", "cannot be read"),
    ],
)
def test_a_damaged_metadata_file(tmp_path: Path, lines: str | bytes, expected: str) -> None:
    (tmp_path / "metadata.jsonl").write_bytes(lines if isinstance(lines, bytes) else lines.encode())
    assert expected in sentence(tmp_path)


@pytest.mark.parametrize("kind", data.LAYOUTS)
def test_a_missing_split_names_those_there_are(tmp_path: Path, kind: str) -> None:
    folder = data.LAYOUTS[kind](tmp_path / kind, data.rows())
    assert "has no split 'train': it has test." in sentence(folder, split="train")


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        (
            {"image": ["a.png"], "question": ["a?"]},
            "The column image .* holds names of files, and none of them, like 'a.png', is in ",
        ),
        ({"image": [None], "question": [3]}, "The column question .* holds int64: it should hold text."),
        (
            {"image": [None], "question": ["a?"], "choices": ["['a', 'b']"]},
            "choices .* holds string: it should hold a list of texts; if each spells out a list, say choices=choices.$",
        ),
        (
            {"image": [None], "question": ["a?"], "choices": [{"label": [1], "text": ["a"]}]},
            "choices .* holds a structure: name the part .* holds a list of texts, like choices=choices.label.$",
        ),
        (
            {"image": [None], "question": [{"id": 1, "text": "a?"}]},
            "question .* holds a structure: name the part of it that holds text, like question=question.text.$",
        ),
        ({"image": [None], "question": ["a?"], "hint": [1]}, "The column hint .* holds int64: it should hold text."),
    ],
)
def test_columns_of_another_kind(tmp_path: Path, columns: dict[str, list[object]], expected: str) -> None:
    pq.write_table(pa.table(columns), tmp_path / "test.parquet")
    assert re.search(expected, sentence(tmp_path))


def test_two_columns_of_one_name(tmp_path: Path) -> None:
    pq.write_table(pa.table([["a?"], [None], ["b?"]], ["question", "image", "question"]), tmp_path / "test.parquet")
    assert sentence(tmp_path).endswith("has several columns question: rename all but one.")


def test_texts_that_are_none(tmp_path: Path) -> None:
    broken = pa.Array.from_buffers(
        pa.string(), 1, [None, pa.py_buffer(bytes([0, 0, 0, 0, 1, 0, 0, 0])), pa.py_buffer(b"\xff")]
    )
    pq.write_table(pa.table({"image": [None], "question": broken}), tmp_path / "test.parquet")
    assert re.search(r"The texts of the data set .* are damaged \(.*UTF8", sentence(tmp_path))


def test_shards_of_different_columns(tmp_path: Path) -> None:
    data.write_parquet(tmp_path, data.rows(), "test-00000-of-00002.parquet")
    data.write_parquet(tmp_path, without("hint"), "test-00001-of-00002.parquet")
    assert "differ in their columns: see test-00001-of-00002.parquet" in sentence(tmp_path)


@pytest.mark.parametrize("damage", ["missing", "cut", "state"])
def test_a_damaged_saved_data_set(tmp_path: Path, damage: str) -> None:
    folder = data.write_saved(tmp_path / "saved", data.rows())
    arrow = next(folder.glob("test/*.arrow"))
    if damage == "missing":
        arrow.unlink()
    elif damage == "cut":
        arrow.write_bytes(arrow.read_bytes()[:100])
    else:
        (folder / "test" / "state.json").write_text("{")
    assert "cannot be read (" in sentence(folder)


def test_rows_without_any_picture_are_still_a_data_set(tmp_path: Path) -> None:
    pq.write_table(pa.table({"image": pa.nulls(2), "question": ["a?", "b?"]}), tmp_path / "test.parquet")
    found = open_slice(SliceSpec(str(tmp_path)))
    assert [found.example(i).images for i in (0, 1)] == [(), ()]
    assert "none that is left has a picture" in sentence(tmp_path, filter="image")
