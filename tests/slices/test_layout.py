from __future__ import annotations

import pytest

from microscope_tui.errors import MicroscopeError
from microscope_tui.slices.layout import MissingSplit, parquet_files

HUB = ("README.md", "data/test-00000-of-00001-f0e719df791966ff.parquet", "data/train-00000-of-00001-ab.parquet")


@pytest.mark.parametrize(
    ("names", "split", "expected"),
    [
        (HUB, "test", [HUB[1]]),
        (HUB, "train", [HUB[2]]),
        (("test-00001-of-00002.parquet", "test-00000-of-00002.parquet"), "test", ["test-00000-of-00002.parquet"]),
        (("test.parquet", "train.parquet"), "train", ["train.parquet"]),
        (("test/0000.parquet", "test/0001.parquet", "train/0000.parquet"), "test", ["test/0000.parquet"]),
        (("default/test/0000.parquet", "default/train/0000.parquet"), "test", ["default/test/0000.parquet"]),
        (("b.parquet", "a.parquet"), "test", ["a.parquet"]),
        (("data/val-00000-of-00001.parquet",), "validation", ["data/val-00000-of-00001.parquet"]),
        (("testmini-00000-of-00001.parquet", "test.parquet"), "testmini", ["testmini-00000-of-00001.parquet"]),
        ((".cache/test.parquet", "test.parquet"), "test", ["test.parquet"]),
    ],
)
def test_the_ways_of_the_hub_to_name_files(names: tuple[str, ...], split: str, expected: list[str]) -> None:
    found = parquet_files(names, split, "x")
    assert found is not None
    assert found[0] == expected[0]
    assert list(found) == sorted(found)


def test_no_parquet_files_at_all() -> None:
    assert parquet_files(["README.md", "data.csv"], "test", "x") is None


def test_a_missing_split_names_those_there_are() -> None:
    with pytest.raises(MissingSplit, match=r"^The data set x has no split 'validation': it has test, train\.$"):
        parquet_files(HUB, "validation", "x")


def test_a_missing_shard_is_named() -> None:
    names = ["data/test-00000-of-00003.parquet", "data/test-00002-of-00003.parquet"]
    with pytest.raises(MissingSplit, match=r"1 of its 3 files are missing, the first test-00001-of-00003\.parquet"):
        parquet_files(names, "test", "x")


@pytest.mark.parametrize(
    "names",
    [
        ("test-00000-of-00001.parquet", "test-00000-of-00002.parquet", "test-00001-of-00002.parquet"),
        ("test-00000-of-00001-aa.parquet", "test-00000-of-00001-bb.parquet"),
    ],
)
def test_two_versions_side_by_side_are_refused(names: tuple[str, ...]) -> None:
    with pytest.raises(MicroscopeError, match="mixes parquet files of several versions"):
        parquet_files(names, "test", "x")


def test_of_several_configurations_one_must_be_named() -> None:
    names = ["ScienceQA-FULL/test-00000-of-00001.parquet", "ScienceQA-IMG/test-00000-of-00001.parquet"]
    with pytest.raises(MicroscopeError, match=r"several parts \(ScienceQA-FULL, ScienceQA-IMG\).* x/ScienceQA-FULL\.$"):
        parquet_files(names, "test", "x")
