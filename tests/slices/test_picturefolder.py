"""Folders of pictures without any text, and one prompt for all of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from microscope_tui.errors import BadExample, MicroscopeError
from microscope_tui.slices import Slice, open_slice
from microscope_tui.terms import SliceSpec

from . import conftest as data

PROMPT = "Describe the picture."


def folder_of(folder: Path, names: list[str]) -> Path:
    for i, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data.png((i, 0, 0)))
    return folder


def opened(folder: Path, **options: object) -> Slice:
    return open_slice(SliceSpec(str(folder), prompt=PROMPT, **options))  # type: ignore[arg-type]  # for all options


def test_each_picture_is_an_example_by_its_name(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, ["b.png", "a.PNG", "cats/c.png", "cats/deep/d.png", ".hidden/e.png", ".f.png"])
    (folder / "notes.txt").write_text("no picture")
    found = open_slice(SliceSpec.parse(f"{folder}?prompt={PROMPT}"))
    assert found.keys == ("a.PNG", "b.png", "cats/c.png")
    assert [found.example(i).key for i in range(3)] == list(found.keys)
    assert [found.example(i).question for i in range(3)] == [PROMPT] * 3
    assert [found.example(i).images[0].getpixel((0, 0)) for i in range(3)] == [(1, 0, 0), (0, 0, 0), (2, 0, 0)]
    assert {folder, folder / "cats", folder / "cats" / "c.png"} <= set(found.files)


def test_a_draw_of_pictures(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, [f"{i:02}.png" for i in range(20)])
    less, more = opened(folder, count=4, seed=2).keys, opened(folder, count=9, seed=2).keys
    assert more[:4] == less
    assert len(set(more)) == 9


def test_a_damaged_picture_is_named(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, ["a.png", "b.png"])
    (folder / "a.png").write_bytes(b"no picture")
    with pytest.raises(BadExample, match=r"^a\.png: its picture is corrupt \(not in a known picture format\)$"):
        opened(folder).example(0)
    assert opened(folder).example(1).images


def test_name_prompt_and_pixels_are_content(tmp_path: Path) -> None:
    before = opened(folder_of(tmp_path / "a", ["a.png"])).content
    assert opened(folder_of(tmp_path / "b", ["a.png"])).content == before
    assert opened(folder_of(tmp_path / "c", ["b.png"])).content != before
    assert open_slice(SliceSpec(str(tmp_path / "a"), prompt="Another.")).content != before
    (tmp_path / "a" / "a.png").write_bytes(data.png((9, 9, 9)))
    assert opened(tmp_path / "a").content != before


def test_folders_of_splits_are_splits_and_other_folders_are_not(tmp_path: Path) -> None:
    splits = folder_of(tmp_path / "splits", ["train/a.png", "train/x/b.png", "val/c.png"])
    assert opened(splits, split="train").keys == ("a.png", "x/b.png")
    assert opened(splits, split="validation").keys == ("c.png",)
    with pytest.raises(MicroscopeError, match=r"has no split 'test': it has train, val\.$"):
        opened(splits)
    assert len(opened(folder_of(tmp_path / "mixed", ["train/a.png", "cats/b.png"]))) == 2


def test_without_a_prompt_it_says_how_to_give_one(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, ["a.png"])
    with pytest.raises(MicroscopeError, match=r"pictures and no questions: .*\?prompt=Describe the picture\.$"):
        open_slice(SliceSpec(str(folder)))
