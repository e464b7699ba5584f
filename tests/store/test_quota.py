"""The size limit: what goes first, and what never goes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from microscope_tui.store import Store, StoreFull
from microscope_tui.terms import Job, JobState, Request, SliceSpec
from tests.store.conftest import measurement

SIZE = 100_000
REQUEST = Request("demo:llava-next", SliceSpec("demo:scienceqa"))
JOB = Job("j", REQUEST, JobState.RUNNING)


@pytest.fixture
def limited(folder: Path) -> Store:
    """Room for three values of `SIZE`."""
    store = Store(folder)
    store.limit_bytes = store.size() + 3 * SIZE + SIZE // 2
    return store


@pytest.fixture
def of_job(limited: Store, folder: Path) -> Callable[[], Store]:
    limited.put_job(JOB)
    return lambda: Store(folder, limit_bytes=limited.limit_bytes, job=JOB.id)


def blobs(store: Store) -> list[str]:
    return sorted(entry.key.removeprefix("blob/") for entry in store.entries() if entry.kind == "blob")


def test_the_least_recently_used_goes_first_and_only_as_much_as_is_needed(limited: Store) -> None:
    for key in "abc":
        limited.put_blob(key, bytes(SIZE))
    assert limited.blob("a") is not None
    limited.put_blob("d", bytes(SIZE))
    assert blobs(limited) == ["a", "c", "d"]
    assert limited.size() <= limited.limit_bytes
    limited.put_blobs({"e": bytes(SIZE), "f": bytes(SIZE)})
    assert blobs(limited) == ["d", "e", "f"]


def test_a_value_larger_than_the_limit_is_refused_and_removes_nothing(limited: Store, folder: Path) -> None:
    for key in "abc":
        limited.put_blob(key, bytes(SIZE))
    limited.limit_bytes = 349_000
    with pytest.raises(StoreFull, match=r"350.0 kB is larger than the whole cache may be .* cache_limit_gb") as caught:
        limited.put_blob("d", bytes(350_000))
    assert str(caught.value).endswith(".")
    assert blobs(limited) == ["a", "b", "c"]
    assert len(list((folder / "store").rglob("*.val"))) == 3


def test_what_a_job_wrote_or_read_stays_until_the_job_has_ended(limited: Store, of_job: Callable[[], Store]) -> None:
    limited.put_blob("read", bytes(SIZE))
    with of_job() as store:
        store.put_blob("written", bytes(SIZE))
        assert store.blob("read") is not None
    for number in range(4):
        limited.put_blob(f"other {number}", bytes(SIZE))
    assert blobs(limited) == ["other 3", "read", "written"]
    limited.put_job(replace(JOB, state=JobState.QUEUED))
    limited.put_blob("next", bytes(SIZE))
    assert blobs(limited) == ["next", "read", "written"], "waiting counts as well"
    limited.put_job(replace(JOB, state=JobState.DONE))
    limited.put_blobs({"x": bytes(SIZE), "y": bytes(SIZE)})
    assert blobs(limited) == ["next", "x", "y"]


def test_when_jobs_use_everything_it_is_said_and_nothing_is_lost(
    limited: Store, of_job: Callable[[], Store], folder: Path
) -> None:
    with of_job() as store:
        for key in "abc":
            store.put_blob(key, bytes(SIZE))
        with pytest.raises(StoreFull, match="in use by waiting and running jobs: raise the setting cache_limit_gb"):
            limited.put_blob("d", bytes(SIZE))
        assert blobs(limited) == ["a", "b", "c"]
        assert store.blob("a") == bytes(SIZE)
    assert len(list((folder / "store").rglob("*.val"))) == 3


def test_jobs_find_room_in_a_full_store_and_never_make_room(limited: Store) -> None:
    for number in range(20):
        limited.put_job(replace(JOB, id=f"job {number}"))
    limited.limit_bytes = 1
    limited.put_job(replace(JOB, id="last"))
    assert len(limited.jobs()) == 21
    limited.limit_bytes = limited.size() + 2 * SIZE
    for number in range(5):
        limited.put_blob(str(number), bytes(SIZE))
    assert len(limited.jobs()) == 21


def test_small_results_in_the_database_count_and_go_as_well(limited: Store) -> None:
    limited.limit_bytes = limited.size() + 200_000
    for number in range(60):
        limited.put_measurement(str(number), measurement(points=200))
    kept = [entry.key for entry in limited.entries()]
    assert 0 < len(kept) < 60
    assert kept[-1] == "measurement/59"
    assert limited.size() <= limited.limit_bytes
