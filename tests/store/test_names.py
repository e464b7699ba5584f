"""What blobs of work in the middle are called, and those that nobody needs."""

from pathlib import Path

import pytest

from microscope_tui.store import Store, StoreFull
from microscope_tui.store.contents import contents
from microscope_tui.store.names import RowsName, StateName, held_by_sums, parsed

ODD = (
    "rows-a-x-y-z-z",
    "rows-a-8-4-z-z",
    "rows-a-8-8-z-z",
    "rows-a-²-4-z-z",
    "rows-a--1-4-z-z",
    f"rows-a-0-{'9' * 5000}-z-z",
    "rows-a-8-z",
    "state-a-x-z-z",
    "state-a-z",
    "state-a-8-z-z\n",
    "state-a-8-z-z-y",
)


@pytest.mark.parametrize("name", [StateName("a", 8, "y", "z"), RowsName("a", 8, 16, "y", "z")])
def test_names_are_read_as_they_were_made(name: StateName | RowsName) -> None:
    assert parsed(str(name)) == name


@pytest.mark.parametrize("name", ODD)
def test_an_odd_name_is_that_of_bytes(folder: Path, name: str) -> None:
    assert parsed(name) is None
    with Store(folder) as store:
        store.put_blob(name, b"1")
        (content,) = contents(store)
    assert (content.sort, content.what) == ("bytes", f"bytes {name}")


def test_what_an_older_version_kept_is_named_and_collected_but_not_from_a_job(folder: Path) -> None:
    older, own = ("rows-a-0-8-z", "state-a-8-z"), ("state-a-8-y-z", "maps-a-1")
    with Store(folder) as store, Store(folder, job="a") as used:
        for name in (*older, *own):
            assert (parsed(name) is None) == (name not in own[:1])
            store.put_blob(name, b"123")
        used.put_blob("state-b-8-z", b"1")
        said = {of.entry.key: (of.sort, of.what) for of in contents(store)}
        for name, sort in zip(older, ("rows", "sums"), strict=True):
            why = f"{sort} of an older version, which nothing reads: `cache gc` removes them"
            assert said[f"blob/{name}"] == (sort, why)
        collected = store.gc()
        assert (collected.files, collected.size) == (2, 6)
        assert {entry.key for entry in store.entries()} == {f"blob/{name}" for name in (*own, "state-b-8-z")}


def test_sums_say_whether_they_are_of_all_examples(folder: Path) -> None:
    with Store(folder) as store:
        for name in (StateName("a", 8, "y", "z"), StateName("a", 9, "z", "z")):
            store.put_blob(str(name), b"1")
        said = [content.what for content in contents(store)]
    assert said == [
        "sums after 8 examples: a larger slice, or work that was stopped, goes on from here",
        "sums after all 9 examples",
    ]


def test_rows_that_sums_of_their_draw_hold_are_collected(folder: Path) -> None:
    """Left where two processes walked over the same examples. Others are read wherever a walk comes by."""
    further = ("rows-a-16-24-y-z", "rows-a-32-40-y-z")
    alive = ("state-a-8-y-z", "state-a-16-y-z", *further, "rows-b-0-8-y-z", "rows-a-8-16-y-x", "maps-a-1", *ODD)
    gone = ("rows-a-0-8-y-z", "rows-a-8-16-y-z")
    assert set(held_by_sums([*gone, *alive])) == set(gone)
    with Store(folder) as store:
        store.put_blobs(dict.fromkeys((*gone, *alive), b"123"))
        collected = store.gc()
        assert (collected.files, collected.size) == (2, 6)
        assert {entry.key for entry in store.entries()} == {f"blob/{name}" for name in alive}
        assert store.gc().files == 0


def test_rows_that_a_job_uses_are_not_collected(folder: Path) -> None:
    with Store(folder, job="a") as store:
        store.put_blobs({"rows-a-8-16-y-z": b"1", "state-a-16-y-z": b"2"})
        assert store.gc().files == 0
        assert store.blob("rows-a-8-16-y-z") == b"1"


def test_several_blobs_are_removed_in_one_step(folder: Path) -> None:
    with Store(folder) as store:
        store.put_blobs(dict.fromkeys(("a", "b", "c"), b"1"))
        store.remove_blobs(["a", "b", "none"])
        store.remove_blobs([])
        assert [entry.key for entry in store.entries()] == ["blob/c"]


def test_a_blob_comes_in_the_place_of_others_or_they_stay(folder: Path) -> None:
    big = bytes(100_000)
    with Store(folder, limit_bytes=3 * len(big), job="a") as store:
        store.put_blobs({"a": big, "b": big})
        with pytest.raises(StoreFull):
            store.put_blob("c", big + big, instead_of=["a"])
        assert [entry.key for entry in store.entries()] == ["blob/a", "blob/b"]
        store.put_blob("c", big + big[:50_000], instead_of=["a", "b", "none"])
        assert [entry.key for entry in store.entries()] == ["blob/c"]
        assert store.gc().files == 0, "their files went too"
