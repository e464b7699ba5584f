"""The examples of the manual do what it says."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import scipy.io.wavfile

from microscope_tui.slices import open_slice
from microscope_tui.terms import COLUMN_ROLES, SLICE_OPTIONS, SliceSpec

from . import conftest as data

MANUAL = (Path(__file__).parents[2] / "docs" / "slices.md").read_text(encoding="utf-8")


def blocks(kind: str) -> list[tuple[str, str]]:
    """The fenced blocks of a kind: what stands behind the kind, and the text."""
    return re.findall(rf"^```{kind}(?: (\S+))?\n(.*?)^```$", MANUAL, flags=re.MULTILINE | re.DOTALL)


LINES = [line.split("   #")[0].strip() for _, block in blocks("text") for line in block.splitlines()]
HERE = [line for line in LINES if line.startswith(("./", "demo:"))]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the data sets that the manual speaks of."""
    monkeypatch.chdir(tmp_path)
    red, blue = data.png((255, 0, 0)), data.png((0, 0, 255))
    for name, picture in {"a.png": red, "b.png": blue, "pictures/x.png": red, "pictures/cats/tom.png": blue}.items():
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_bytes(picture)
    for name, text in blocks("json"):
        Path(name).write_text(text)
    Path("signs").mkdir()
    Path("signs/x.png").write_bytes(blue)
    signs = {"photo": [red, None, red], "file": ["x.png", "x.png", None], "caption": ["Which?", "And here?", "So?"]}
    signs |= {"a": ["red"] * 3, "b": ["blue"] * 3, "c": ["green", None, None], "right": ["A", "blue", "red"]}
    pq.write_table(pa.table({**signs, "context": ["A sign."] * 3}), "signs/test.parquet")
    Path("clips.jsonl").write_text('{"frames": ["a.png", "b.png"], "asked": "What happens?"}\n')
    Path("sounds").mkdir()
    scipy.io.wavfile.write("sounds/a.wav", 8000, np.arange(100, dtype=np.int16))
    pq.write_table(pa.table({"heard": ["a.wav"], "asked": ["What is heard?"]}), "sounds/test.parquet")
    return tmp_path


@pytest.mark.parametrize("line", LINES)
def test_every_slice_of_the_manual_is_one(line: str) -> None:
    spec = SliceSpec.parse(line)
    assert SliceSpec.parse(str(spec)) == spec


@pytest.mark.parametrize("line", HERE)
def test_every_slice_of_data_that_is_here_opens(place: Path, line: str) -> None:
    spec = SliceSpec.parse(line)
    found = open_slice(spec)
    assert len(found) == (spec.count or len(found)) > 0
    for i in range(min(len(found), 3)):
        example = found.example(i)
        assert example.question
        for role, shown in (("video", example.videos), ("audio", example.audios)):
            assert bool(shown) == (role in dict(spec.columns))


def test_the_examples_are_what_the_manual_says(place: Path) -> None:
    """Of each kind one, in the words of the manual."""
    signs = open_slice(SliceSpec.parse(next(line for line in HERE if "choices=a,b,c" in line)))
    assert [signs.example(i).answer for i in range(3)] == [0, 1, 0]
    assert [len(signs.example(i).choices) for i in range(3)] == [3, 2, 2]
    assert open_slice(SliceSpec.parse("./pictures?prompt=x")).keys == ("cats/tom.png", "x.png")
    asked = next(line for line in HERE if "unusual" in line)
    assert open_slice(SliceSpec.parse(asked)).example(0).question == "What is unusual here?"
    for line in ("./llava.jsonl", "./chat.jsonl?filter=image"):
        example = open_slice(SliceSpec.parse(line)).example(0)
        assert (example.question, example.meta, len(example.images)) == ("What is shown?", {"answer": "A square."}, 1)
    Path("captioned").mkdir()
    for name in ("a.png", "b.png", "metadata.jsonl"):
        Path(name).rename(Path("captioned", name))
    folder = open_slice(SliceSpec("./captioned"))
    assert [folder.example(i).answer for i in range(2)] == [0, 1]


def test_every_option_is_in_the_manual() -> None:
    assert all(f"`{option}`" in MANUAL for option in (*SLICE_OPTIONS, *COLUMN_ROLES))


def test_the_python_of_the_manual_runs(capsys: pytest.CaptureFixture[str]) -> None:
    for _, code in blocks("python"):
        exec(compile(code, "docs/slices.md", "exec"), {})
    assert capsys.readouterr().out.count("\n") >= 3
