"""Many processes at once, processes that are killed, and a disk that is full."""

from __future__ import annotations

import errno
import json
import os
import random
import select
import shutil
import sqlite3
import subprocess
import sys
from hashlib import blake2b
from pathlib import Path

import pytest

from microscope_tui.store import Store, StoreFull
from microscope_tui.store.shelf import Shelf
from tests.store.actors import SHARED, genuine, value
from tests.store.conftest import measurement
from tests.sure import sure

ACTORS = str(Path(__file__).with_name("actors.py"))
ENVIRONMENT = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}


def actor(*arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, ACTORS, *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT)


def test_a_thousand_random_operations_of_four_processes_lose_nothing(folder: Path) -> None:
    actors = [actor("random", str(folder), name, str(seed), "250") for seed, name in enumerate("abcd")]
    outputs = [each.communicate(timeout=240) for each in actors]
    assert [each.returncode for each in actors] == [0] * 4, outputs
    models = [json.loads(output) for output, _ in outputs]
    with Store(folder) as store:
        for key, digest in (item for model in models for item in model.items()):
            assert blake2b(sure(store.blob(key))).hexdigest() == digest
        shared = {f"blob/shared.{number}" for number in range(SHARED)}
        assert all(genuine(store.blob(key.removeprefix("blob/")) or value("none", 0, 64)) for key in shared)
        assert {entry.key for entry in store.entries()} - shared == {f"blob/{key}" for model in models for key in model}
        assert store.verify() == []
        assert store.gc().files == 0


def test_killed_twenty_times_in_the_middle_of_storing(folder: Path) -> None:
    """What was committed is there, pairs are whole, and one collection leaves no orphan."""
    chance, committed = random.Random(7), 0
    Store(folder).close()
    for round_ in range(1, 21):
        process = actor("pairs", str(folder), str(round_))
        told = sure(process.stdout)
        for _ in range(chance.randrange(1, 5)):
            committed = int(told.readline())
        # At some moment of the next one: after so many files have appeared, or a little later.
        select.select([told], [], [], chance.random() * 0.004)
        process.kill()
        rest, _ = process.communicate()
        committed = max([committed, *map(int, rest.split())])
        with Store(folder) as store:
            left, right = store.blob("left"), store.blob("right")
            number = int(sure(left).split(b" ", 2)[1])
            assert number in (committed, committed + 1)
            assert (left, right) == (value("l", number, 300_000), value("r", number, 500_000))
    with Store(folder) as store:
        store.gc()
        files = list((folder / "store").rglob("*.val"))
        assert len(files) == 2
        assert store.damaged() == []
        assert store.verify() == []


def test_orphans_are_counted_and_collected_and_nothing_else(folder: Path) -> None:
    with Store(folder) as store:
        store.put_blob("b", b"x" * 100)
        orphan = folder / "store" / "ab" / "cd" / ("0" * 28 + ".val")
        orphan.parent.mkdir(parents=True)
        orphan.write_bytes(b"12345")
        foreign = folder / "store" / "notes.txt"
        foreign.write_text("mine")
        assert (store.gc().files, orphan.exists(), orphan.parent.parent.exists()) == (1, False, False)
        assert store.gc().size == 0
        assert foreign.read_text() == "mine"
        assert store.blob("b") == b"x" * 100


@pytest.mark.skipif(
    shutil.which("unshare") is None or subprocess.run(["unshare", "-rm", "true"], capture_output=True).returncode != 0,
    reason="needs user namespaces to mount a small disk",
)
def test_a_full_disk_is_a_sentence_and_work_goes_on_when_there_is_room(folder: Path) -> None:
    folder.mkdir()
    mount = 'mount -t tmpfs -o size=3m,mode=700 tmpfs "$0" && exec "$@"'
    command = ["unshare", "-rm", "sh", "-c", mount, str(folder), sys.executable, ACTORS, "fill", str(folder)]
    answer = subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT, timeout=240)
    assert (answer.returncode, answer.stdout) == (0, "went on\n"), answer.stderr


def test_a_disk_that_fills_up_in_a_value_or_in_the_commit_leaves_the_old_value(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = b"old" * 20_000, b"new" * 3_000_000
    with Store(folder) as store:
        store.put_blob("b", old)
        write = os.write
        written: list[int] = []

        def full(descriptor: int, data: bytes) -> int:
            if written:
                raise OSError(errno.ENOSPC, "No space left on device")
            written.append(write(descriptor, data[: len(data) // 2]))
            return written[0]

        with monkeypatch.context() as patch:
            patch.setattr(os, "write", full)
            with pytest.raises(StoreFull, match="is full: make room on it"):
                store.put_blob("b", new)
        with monkeypatch.context() as patch:
            patch.setattr(
                Shelf, "_put", lambda *_: (_ for _ in ()).throw(sqlite3.OperationalError("database or disk is full"))
            )
            with pytest.raises(StoreFull, match="is full: make room on it"):
                store.put_blob("b", new)
        assert store.blob("b") == old
        assert store.gc().files == 0
        store.put_blob("b", new)
        assert store.blob("b") == new


def test_a_write_that_others_keep_from_happening_is_a_sentence(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("microscope_tui.store.shelf.BUSY_SECONDS", 0.05)
    with Store(folder) as store:
        other = sqlite3.connect(folder / "store" / "cache.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(Exception, match="kept busy by other processes"):
            store.put_measurement("k", measurement())
        other.execute("ROLLBACK")
        other.close()
        store.put_measurement("k", measurement())
        assert store.measurement("k") == measurement()
