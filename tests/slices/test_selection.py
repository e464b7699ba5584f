from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from microscope_tui.errors import MicroscopeError
from microscope_tui.slices import open_slice
from microscope_tui.slices.selection import rank
from microscope_tui.terms import SliceSpec

from . import conftest as data


def keys(source: Path, **options: object) -> tuple[str, ...]:
    return open_slice(SliceSpec(str(source), **options)).keys  # type: ignore[arg-type]  # one helper for all options


def names(rows: list[int]) -> tuple[str, ...]:
    return tuple(f"row {row}" for row in rows)


def test_the_draw_is_the_same_everywhere() -> None:
    """The values are those of coreutils: printf 3:0 | b2sum -l 128."""
    assert [rank(row, 3).hex() for row in range(3)] == [
        "6e680bc2c6d4a5c5c4df85fc2e14b02e",
        "a7c0584d96f7bc7e3bf1b582811324e6",
        "e48c090e847fa70b9d8c9022dc86e29a",
    ]


def test_a_draw_is_written_down(parquet: Path) -> None:
    """Frozen: another order would measure other rows under the same name."""
    assert keys(parquet, count=6, seed=3) == names([9, 15, 20, 14, 23, 8])


@given(seed=st.integers(), smaller=st.integers(1, data.TOTAL), larger=st.integers(1, data.TOTAL))
def test_a_smaller_slice_is_the_beginning_of_a_larger_one(parquet: Path, seed: int, smaller: int, larger: int) -> None:
    smaller, larger = sorted((smaller, larger))
    less, more = keys(parquet, count=smaller, seed=seed), keys(parquet, count=larger, seed=seed)
    assert more[:smaller] == less
    assert len(set(more)) == larger


def test_seeds_draw_differently_and_evenly(parquet: Path) -> None:
    """Of 400 draws of 6 of 24 rows each row is in 100 on average, with a standard deviation of 8.7."""
    drawn = [keys(parquet, count=6, seed=seed) for seed in range(400)]
    counts = [sum(f"row {row}" in some for some in drawn) for row in range(data.TOTAL)]
    assert sum(counts) == 2400
    assert min(counts) > 100 - 5 * 8.7
    assert max(counts) < 100 + 5 * 8.7


def test_a_filtered_draw_is_the_draw_of_what_passes(parquet: Path) -> None:
    everything = keys(parquet, count=data.TOTAL, seed=5)
    pictured = set(names(list(data.PICTURED)))
    assert keys(parquet, filter="image", count=4, seed=5) == tuple(k for k in everything if k in pictured)[:4]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("image", list(data.PICTURED)),
        ("text-only", [row for row in range(data.TOTAL) if row not in data.PICTURED]),
        ("subject:social science", [row for row in range(data.TOTAL) if row % 3 == 1]),
        ("subject:Social-Science", [row for row in range(data.TOTAL) if row % 3 == 1]),
        ("grade:grade3", [2, 14]),
        ("grade:3", [2, 14]),
        ("grade:3,grade:4", [2, 3, 14, 15]),
        ("topic:units and measurement", [0, 1, 2]),
        ("image, grade:1, subject:natural science", [0, 12]),
        (" , ", list(range(data.TOTAL))),
    ],
)
def test_filters(layout: Path, text: str, expected: list[int]) -> None:
    assert keys(layout, filter=text) == names(expected)


@pytest.mark.parametrize("text", ["pictures", "subject", "subject:", "image:yes", "lecture:x", ":x", "image;grade:1"])
def test_an_unknown_filter_is_refused(parquet: Path, text: str) -> None:
    with pytest.raises(
        MicroscopeError, match=r"^There is no filter .*: use image, video, audio, text-only, or one of task, grade,"
    ):
        keys(parquet, filter=text)


@pytest.mark.parametrize(
    ("text", "end"),
    [
        ("subject:maths", "of subject there is language science, natural science, social science."),
        ("grade:13", "of grade there is grade1, grade2, grade3,"),
        ("image,text-only", "all that are left have a picture, video or sound."),
        ("subject:language science,image", "none that is left has a picture."),
    ],
)
def test_a_filter_that_leaves_nothing_says_what_there_is(parquet: Path, text: str, end: str) -> None:
    with pytest.raises(MicroscopeError) as caught:
        keys(parquet, filter=text)
    assert f"passes the filter {text!r}: {end}" in str(caught.value)


def test_a_filter_by_a_column_that_is_not_there(tmp_path: Path) -> None:
    some = [{name: row[name] for name in ("image", "question")} for row in data.rows()]
    with pytest.raises(MicroscopeError, match="has no column grade to filter by"):
        keys(data.write_parquet(tmp_path, some), filter="grade:1")
