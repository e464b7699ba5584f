from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from microscope_tui.errors import MicroscopeError
from microscope_tui.slices import Slice, open_slice, streaming
from microscope_tui.terms import SliceSpec

from . import conftest as data


def streamed(source: Path | str, count: int, **options: object) -> Slice:
    return open_slice(SliceSpec(str(source), count=count, stream=True, **options))  # type: ignore[arg-type]  # for all


def test_the_first_rows_in_order_over_the_shards(parquet: Path) -> None:
    found, whole = streamed(parquet, 17), open_slice(SliceSpec(str(parquet)))
    assert found.keys == tuple(f"row {i}" for i in range(17))
    for i in range(17):
        one, other = found.example(i), whole.example(i)
        assert (one.key, one.question, one.choices, one.answer, one.hint, one.meta) == (
            (other.key, other.question, other.choices, other.answer, other.hint, other.meta)
        )
        assert [image.tobytes() for image in one.images] == [image.tobytes() for image in other.images]


def test_the_filter_is_applied_on_the_way(parquet: Path) -> None:
    for text in ("image", "text-only", "subject:social science,image", "grade:3"):
        passing = open_slice(SliceSpec(str(parquet), filter=text)).keys
        for count in (1, 2, 1000):
            assert streamed(parquet, count, filter=text).keys == passing[:count]


def test_a_stream_is_the_same_each_time_and_a_shorter_one_its_beginning(parquet: Path) -> None:
    one, again = streamed(parquet, 5, filter="image"), streamed(parquet, 5, filter="image")
    assert (one.digest, one.content, one.keys) == (again.digest, again.content, again.keys)
    longer, other = streamed(parquet, 9, filter="image"), streamed(parquet, 5, filter="text-only")
    assert longer.keys[:5] == one.keys
    assert longer.content == one.content
    assert len({one.digest, longer.digest, other.digest, streamed(parquet, 5).digest}) == 4


def test_another_pixel_is_another_stream(tmp_path: Path) -> None:
    before = streamed(data.write_parquet(tmp_path / "a", data.rows()), 3).digest
    assert streamed(data.write_parquet(tmp_path / "b", data.rows()), 3).digest == before
    changed = {1: {"image": {"bytes": data.png((0, 0, 1)), "path": None}}}
    assert streamed(data.write_parquet(tmp_path / "c", data.rows(changed)), 3).digest != before


def test_mapped_columns_a_single_file_and_named_pictures_stream_too(parquet: Path, tmp_path: Path) -> None:
    file = parquet / "data" / "test-00000-of-00002.parquet"
    found = streamed(file, 2, columns=(("question", "lecture"), ("hint", "skill")))
    assert (found.example(0).question, found.example(0).hint) == ("A long lecture.", "Identify")
    assert file in found.files
    (tmp_path / "a.png").write_bytes(data.png((5, 6, 7)))
    pq.write_table(pa.table({"photo": ["a.png"] * 3, "question": ["a?"] * 3}), tmp_path / "test.parquet")
    named = streamed(tmp_path, 2, columns=(("image", "photo"),))
    assert named.example(1).images[0].getpixel((0, 0)) == (5, 6, 7)
    digest = named.digest
    (tmp_path / "a.png").write_bytes(data.png((5, 6, 8)))
    assert streamed(tmp_path, 2, columns=(("image", "photo"),)).digest != digest


def test_nothing_is_left_behind(parquet: Path, tmp_path: Path) -> None:
    """Neither a temporary file, nor a word on stderr, nor a cache."""
    code = (
        "import sys; from microscope_tui.slices import open_slice; from microscope_tui.terms import SliceSpec\n"
        "s = open_slice(SliceSpec(sys.argv[1], count=3, stream=True)); s.digest; print(len(s.example(0).images))"
    )
    environ = {"TMPDIR": str(tmp_path), "HF_HOME": str(tmp_path / "hf"), "HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", code, str(parquet)], capture_output=True, text=True, env=environ, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "1\n", "")
    assert [file for file in tmp_path.rglob("*") if file.is_file()] == []


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"filter": "subject:maths"}, "passes the filter 'subject:maths': the whole stream was read."),
        ({"filter": "colour:red"}, "There is no filter 'colour:red'"),
        ({"split": "validation"}, "has no split 'validation': it has test, train."),
        ({"columns": (("image", "photo"),)}, "has no column photo (image=photo)"),
    ],
)
def test_what_is_wrong_is_a_sentence(parquet: Path, options: dict[str, object], expected: str) -> None:
    with pytest.raises(MicroscopeError) as caught:
        streamed(parquet, 3, **options)
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


def test_only_whole_parquet_files_are_streamed(tmp_path: Path) -> None:
    with pytest.raises(MicroscopeError, match=r"holds no parquet files, and only those are streamed: leave out str"):
        streamed(data.write_imagefolder(tmp_path / "set", data.rows()), 3)
    (tmp_path / "cut").mkdir()
    (tmp_path / "cut" / "test.parquet").write_bytes(b"PAR1")
    with pytest.raises(MicroscopeError, match=r"^The data set .*cut cannot be streamed \(.*\)\.$"):
        streamed(tmp_path / "cut", 3)
    with pytest.raises(MicroscopeError, match="is empty"):
        streamed(data.write_parquet(tmp_path / "empty", []), 3)


def test_what_cannot_be_kept_names_the_place(parquet: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(streaming, "_keep", full)
    with pytest.raises(MicroscopeError, match=r"cannot be kept in .*No space left on device\): give a smaller count"):
        streamed(parquet, 3)
