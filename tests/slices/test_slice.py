from __future__ import annotations

import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from microscope_tui.errors import BadExample, MicroscopeError
from microscope_tui.slices import Slice, open_slice
from microscope_tui.slices import parquet as module
from microscope_tui.slices.columns import Columns
from microscope_tui.slices.quiet import quiet
from microscope_tui.stamps import refuse_changed
from microscope_tui.terms import SliceSpec

from . import conftest as data


def opened(source: Path, **options: object) -> Slice:
    return open_slice(SliceSpec(str(source), **options))  # type: ignore[arg-type]  # one helper for all options


def test_every_layout_gives_the_same_examples(layout: Path) -> None:
    found = opened(layout)
    assert len(found) == data.TOTAL
    assert found.keys == tuple(f"row {i}" for i in range(data.TOTAL))
    for i in range(data.TOTAL):
        example, row = found.example(i), data.a_row(i)
        assert example.key == f"row {i}"
        assert (example.question, example.hint, example.answer) == (row["question"], row["hint"], row["answer"])
        assert example.choices == tuple(row["choices"])
        names = ("task", "grade", "subject", "topic", "category", "skill")
        assert example.meta == {name: row[name] for name in names}
        assert len(example.images) == (i in data.PICTURED)
        for image in example.images:
            assert (image.mode, image.size, image.getpixel((0, 0))) == ("RGB", (8, 6), data.colour_of(i))


def test_shards_are_one_split(parquet: Path) -> None:
    found = opened(parquet)
    assert [found.example(i).question for i in range(len(found))] == [row["question"] for row in data.rows()]
    assert len(opened(parquet, split="train")) == 4


def test_a_single_file_and_a_set_saved_without_splits_are_taken_whole(parquet: Path, tmp_path: Path) -> None:
    assert len(opened(parquet / "data" / "test-00000-of-00002.parquet")) == 13
    assert len(opened(data.write_saved(tmp_path / "saved", data.rows(), split=None))) == data.TOTAL
    assert len(opened(data.write_parquet(tmp_path / "plain", data.rows(), "rows.parquet"), split="any")) == data.TOTAL


def test_the_demo_slice_opens() -> None:
    found = open_slice(SliceSpec("demo:scienceqa", filter="image", count=3))
    assert all(found.example(i).images for i in range(3))


@pytest.mark.parametrize("split", ["validation", "val", "dev", "valid"])
def test_a_split_goes_by_all_its_names(tmp_path: Path, split: str) -> None:
    folder = data.write_parquet(tmp_path, data.rows(), "validation-00000-of-00001.parquet")
    assert len(opened(folder, split=split)) == data.TOTAL


@pytest.mark.parametrize("kind", data.LAYOUTS)
def test_a_corrupt_picture_is_reported_by_its_row_and_harms_no_other(tmp_path: Path, kind: str) -> None:
    broken = {"image": {"bytes": data.png((1, 2, 3))[:40], "path": None}}
    found = opened(data.LAYOUTS[kind](tmp_path / kind, data.rows({7: broken})))
    with pytest.raises(BadExample, match=r"^row 7: its picture is corrupt \(.+\)$") as caught:
        found.example(7)
    assert caught.value.example == "row 7"
    assert [found.example(i).key for i in (6, 8)] == ["row 6", "row 8"]


@pytest.mark.parametrize("kind", data.LAYOUTS)
def test_no_picture_is_decoded_that_is_not_asked_for(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = data.LAYOUTS[kind](tmp_path / kind, data.rows())
    decoded: list[int] = []
    really = Image.open

    def counting(*args: object, **options: object) -> Image.Image:
        decoded.append(1)
        return really(*args, **options)  # type: ignore[arg-type]  # passed through as it came

    monkeypatch.setattr(Image, "open", counting)
    found = opened(folder, filter="image,subject:natural science", count=3)
    assert found.digest
    assert found.rows.holding("image")
    assert not decoded
    found.example(0)
    assert len(decoded) == 1


def test_a_corrupt_picture_outside_the_selection_is_never_seen(tmp_path: Path) -> None:
    drawn = opened(data.write_parquet(tmp_path / "good", data.rows()), filter="image", count=5)
    spared = next(row for row in data.PICTURED if f"row {row}" not in drawn.keys)
    broken = {spared: {"image": {"bytes": b"no picture", "path": None}}}
    again = opened(data.write_parquet(tmp_path / "bad", data.rows(broken)), filter="image", count=5)
    assert again.keys == drawn.keys
    assert [again.example(i).key for i in range(5)] == list(drawn.keys)


def test_rows_that_cannot_be_questions_are_named(tmp_path: Path) -> None:
    changes: dict[int, data.Row] = {
        0: {"answer": 5},
        1: {"question": None},
        2: {"question": "  "},
        3: {"answer": -1},
        4: {"choices": [str(i) for i in range(27)]},
        5: {"answer": None},
        6: {"choices": [], "answer": None},
        7: {"image": {"bytes": b"", "path": None}},
        8: {"hint": None, "grade": None},
    }
    found = opened(data.write_parquet(tmp_path, data.rows(changes)))
    reasons = {
        0: "its answer is choice number 5, counted from 0, and it has 2",
        1: "it has no question",
        2: "it has no question",
        3: "its answer is choice number -1, counted from 0, and it has 2",
        4: "it has 27 choices, and there are letters for 26",
        7: "its picture is empty (0 bytes)",
    }
    for row, reason in reasons.items():
        with pytest.raises(BadExample) as caught:
            found.example(row)
        assert str(caught.value) == f"row {row}: {reason}"
    assert found.example(5).answer is None
    assert found.example(6).choices == ()
    assert found.example(8).hint == ""
    assert "grade" not in found.example(8).meta


def test_answers_that_pandas_made_floating_are_whole_numbers(tmp_path: Path) -> None:
    table = pa.table(
        {
            "image": pa.array([data.png((1, 2, 3)), None], pa.binary()),
            "question": ["a?", "b?"],
            "choices": [["x", "y"], ["x", "y"]],
            "answer": pa.array([1.0, float("nan")]),
        }
    )
    pq.write_table(table, tmp_path / "test.parquet")
    found = opened(tmp_path)
    assert [found.example(i).answer for i in (0, 1)] == [1, None]
    assert [len(found.example(i).images) for i in (0, 1)] == [1, 0]
    assert opened(tmp_path, filter="image").keys == ("row 0",)


def test_an_empty_picture_struct_is_no_picture(tmp_path: Path) -> None:
    """As pandas writes a missing picture: a struct whose fields are null. The filter must see through it."""
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    cells = [{"bytes": None, "path": None}, {"bytes": data.png((1, 2, 3)), "path": None}, None]
    table = pa.table({"image": pa.array(cells, kind), "question": ["a?", "b?", "c?"]})
    pq.write_table(table, tmp_path / "test.parquet")
    assert opened(tmp_path, filter="image").keys == ("row 1",)
    assert opened(tmp_path, filter="text-only").keys == ("row 0", "row 2")
    assert opened(tmp_path).example(0).images == ()


def test_several_pictures_a_row(tmp_path: Path) -> None:
    cells = [[{"bytes": data.png((9, 9, 9)), "path": None}] * 2, [], None]
    kind = pa.list_(pa.struct([("bytes", pa.binary()), ("path", pa.string())]))
    pq.write_table(pa.table({"images": pa.array(cells, kind), "question": ["a?"] * 3}), tmp_path / "test.parquet")
    found = opened(tmp_path)
    assert [len(found.example(i).images) for i in range(3)] == [2, 0, 0]
    assert opened(tmp_path, filter="image").keys == ("row 0",)


def test_a_picture_that_is_only_a_path_is_named(tmp_path: Path) -> None:
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    cell = pa.array([{"bytes": None, "path": "/elsewhere/x.png"}], kind)
    pq.write_table(pa.table({"image": cell, "question": ["a?"]}), tmp_path / "test.parquet")
    with pytest.raises(BadExample, match=r"^row 0: its picture is not in the data set, only its path /elsewhere/x.png"):
        opened(tmp_path).example(0)


def test_pictures_of_an_imagefolder_that_are_missing_or_outside(tmp_path: Path) -> None:
    folder = data.write_imagefolder(tmp_path / "set", data.rows())
    (folder / "test" / "0.png").unlink()
    metadata = folder / "test" / "metadata.jsonl"
    metadata.write_text(metadata.read_text().replace('"1.png"', '"../../1.png"'))
    found = opened(folder)
    with pytest.raises(BadExample, match=r"^row 0: its picture 0.png cannot be read \(No such file or directory\)$"):
        found.example(0)
    with pytest.raises(BadExample, match=r"^row 1: its picture '../../1.png' is outside the data set's folder$"):
        found.example(1)
    assert found.example(3).images


def test_the_digest_is_of_content_and_choice(parquet: Path, tmp_path: Path) -> None:
    found = opened(parquet)
    copy = tmp_path / "elsewhere"
    for file in (parquet / "data").glob("test-*"):
        copy.mkdir(exist_ok=True)
        (copy / file.name).write_bytes(file.read_bytes())
    assert opened(copy).digest == found.digest
    assert opened(parquet, filter="image").content == found.content
    assert opened(parquet, filter=" image ,").digest == opened(parquet, filter="image").digest
    others = [opened(parquet, **options) for options in ({"filter": "image"}, {"count": 5}, {"count": 5, "seed": 1})]
    assert len({found.digest, *(other.digest for other in others)}) == 4


@pytest.mark.parametrize("kind", data.LAYOUTS)
def test_one_changed_pixel_changes_the_digest(tmp_path: Path, kind: str) -> None:
    before = opened(data.LAYOUTS[kind](tmp_path / "a", data.rows()))
    other = {4: {"image": {"bytes": data.png((0, 0, 1)), "path": "image.png"}}}
    after = opened(data.LAYOUTS[kind](tmp_path / "b", data.rows(other)))
    assert before.digest != after.digest


def test_a_file_that_changes_in_place_is_read_anew(tmp_path: Path) -> None:
    before = opened(data.write_parquet(tmp_path, data.rows())).digest
    after = opened(data.write_parquet(tmp_path, data.rows({0: {"question": "Another?"}}))).digest
    assert before != after


def test_files_are_all_that_the_digest_rests_on(layout: Path) -> None:
    files = opened(layout).files
    assert files
    assert all(file.exists() for file in files)
    there = {file for pattern in ("*.parquet", "*.arrow", "*.png", "*.jsonl") for file in layout.rglob(pattern)}
    assert there <= set(files)


def test_stamps_are_of_the_files_as_they_were_before_they_were_read(
    layout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse_changed(opened(layout).rows.stamps)
    files = [file for pattern in ("*.parquet", "*.arrow", "*.jsonl") for file in layout.rglob(pattern)]
    columns_of = Columns.of

    def rewritten(*given: Any) -> Columns:
        for file in files:
            os.utime(file, ns=(1, 1))
        return columns_of(*given)

    monkeypatch.setattr(Columns, "of", rewritten)  # what the readers ask for when they have read, or begun to
    found = opened(layout)
    assert set(found.rows.stamps) <= set(found.files)
    with pytest.raises(MicroscopeError, match="was changed while it was in use: ask once more"):
        refuse_changed(found.rows.stamps)


def test_stamps_of_a_stream_are_taken_before_it_is_read(parquet: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    columns_of = Columns.of

    def rewritten(*given: Any) -> Columns:
        for file in parquet.rglob("*.parquet"):
            os.utime(file, ns=(1, 1))
        return columns_of(*given)

    monkeypatch.setattr(Columns, "of", rewritten)
    with pytest.raises(MicroscopeError, match="was changed while it was in use"):
        refuse_changed(opened(parquet, count=3, stream=True).stamps)


def test_opening_writes_nothing_beside_the_data(layout: Path) -> None:
    before = sorted(layout.rglob("*"))
    opened(layout, count=3).example(0)
    assert sorted(layout.rglob("*")) == before


def test_reading_is_silent_and_needs_no_torch(layout: Path) -> None:
    code = (
        "import sys; from microscope_tui.slices import open_slice; from microscope_tui.terms import SliceSpec\n"
        "s = open_slice(SliceSpec(sys.argv[1], filter='image', count=3)); s.digest; s.example(0)\n"
        "assert 'torch' not in sys.modules and 'transformers' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code, str(layout)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_what_quiet_silences_speaks_again_afterwards() -> None:
    level = logging.getLogger("datasets").level
    datasets.enable_progress_bars()
    try:
        with quiet(datasets):
            assert datasets.are_progress_bars_disabled()
            assert not logging.getLogger("datasets").isEnabledFor(logging.CRITICAL)
        assert not datasets.are_progress_bars_disabled()
    finally:
        datasets.disable_progress_bars()
    assert logging.getLogger("datasets").level == level


def test_row_groups_are_held_within_bounds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "HELD_BYTES", 1)
    found = opened(data.write_parquet(tmp_path, data.rows()))
    assert isinstance(found.rows, module.ParquetRows)
    for i in (0, 23, 0, 12):
        assert bool(found.example(i).images) == (i in data.PICTURED)
        assert len(found.rows._held_groups) == 1


def test_a_damaged_page_of_pictures_spares_the_other_row_groups(tmp_path: Path) -> None:
    folder = data.write_parquet(tmp_path, data.rows())
    file = next(folder.glob("data/*"))
    column = pq.read_metadata(file).row_group(0).column(0)
    assert column.path_in_schema == "image.bytes"
    damaged = bytearray(file.read_bytes())
    start = column.dictionary_page_offset or column.data_page_offset
    damaged[start : start + 20] = b"\xff" * 20
    file.write_bytes(damaged)
    found = opened(folder)
    with pytest.raises(BadExample, match=r"^row 0: its image cannot be read from test-00000-of-00001.parquet \("):
        found.example(0)
    assert found.example(6).images


def test_an_index_outside_is_an_index_error(parquet: Path) -> None:
    with pytest.raises(IndexError):
        opened(parquet, count=2).example(2)


def test_a_slice_larger_than_the_data_is_all_of_it(parquet: Path) -> None:
    assert len(opened(parquet, count=10_000)) == data.TOTAL


def test_errors_are_sentences_of_ours(tmp_path: Path) -> None:
    with pytest.raises(MicroscopeError, match=r"^The split 'test' of .* is empty: choose another split=\.$"):
        opened(data.write_parquet(tmp_path, []))
