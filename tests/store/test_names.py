"""What blobs of work in the middle are called, and those that lead nowhere."""

from pathlib import Path

import pytest

from microscope_tui.store import Store
from microscope_tui.store.contents import contents
from microscope_tui.store.names import RowsName, StateName, dead, parsed, rows_name, state_name

ODD = (
    "rows-a-x-y-z",
    "rows-a-8-4-z",
    "rows-a-8-8-z",
    "rows-a-²-4-z",
    "rows-a--1-4-z",
    f"rows-a-0-{'9' * 5000}-z",
    "rows-a-0-8",
    "state-a-x-z",
    "state-a-8",
    "state-a-8-z\n",
    "state-a-8-z-y",
)


def test_names_are_read_as_they_were_made() -> None:
    assert parsed(state_name("a", 8, "z")) == StateName("a", 8)
    assert parsed(rows_name("a", 8, 16, "z")) == RowsName("a", 8, 16)


@pytest.mark.parametrize("name", ODD)
def test_an_odd_name_is_that_of_bytes(folder: Path, name: str) -> None:
    assert parsed(name) is None
    with Store(folder) as store:
        store.put_blob(name, b"1")
        (content,) = contents(store)
    assert (content.sort, content.what) == ("bytes", f"bytes {name}")


def test_rows_to_which_nothing_leads_are_collected(folder: Path) -> None:
    alive = ("state-a-8-z", "rows-a-8-16-z", "rows-a-16-24-z", "rows-b-0-8-z", "rows-b-8-16-z", "maps-a-1", *ODD)
    gone = ("rows-a-32-40-z", "rows-a-40-48-z", "rows-b-24-32-z", "rows-c-8-16-z")
    assert set(dead([*gone, *alive])) == set(gone)
    with Store(folder) as store:
        store.put_blobs(dict.fromkeys((*gone, *alive), b"123"))
        collected = store.gc()
        assert (collected.files, collected.size) == (4, 12)
        assert {entry.key for entry in store.entries()} == {f"blob/{name}" for name in alive}
        assert store.gc().files == 0


def test_rows_that_a_job_uses_are_not_collected(folder: Path) -> None:
    with Store(folder, job="a") as store:
        store.put_blob("rows-a-8-16-z", b"1")
        assert store.gc().files == 0
        assert store.blob("rows-a-8-16-z") == b"1"


def test_several_blobs_are_removed_in_one_step(folder: Path) -> None:
    with Store(folder) as store:
        store.put_blobs(dict.fromkeys(("a", "b", "c"), b"1"))
        store.remove_blobs(["a", "b", "none"])
        store.remove_blobs([])
        assert [entry.key for entry in store.entries()] == ["blob/c"]
