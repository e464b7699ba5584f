"""A store that somebody tampered with: nothing is executed, nothing outside is touched, each thing is named."""

from __future__ import annotations

import os
import pickle
import sqlite3
import tarfile
from pathlib import Path

import diskcache
import pytest

from microscope_tui.errors import MicroscopeError
from microscope_tui.store import Deaths, Store
from microscope_tui.store.disk import Damage, Disk
from microscope_tui.store.seals import seal
from microscope_tui.terms import Job, JobKind, Request, SliceSpec
from tests.store.conftest import Planter, measurement
from tests.sure import sure

BIG = b"0123456789" * 10_000
PICKLE, FILE, TEXT, RAW = 4, 2, 3, 1


class Bomb:
    """Leaves a trace when it is unpickled."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.trace),)


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    return tmp_path / "executed"


def reasons(store: Store) -> dict[str, str]:
    return {each.key: each.reason for each in store.damaged()}


def test_planted_pickles_execute_nothing_inline_in_files_and_as_keys(
    store: Store, planter: Planter, trace: Path
) -> None:
    bomb = pickle.dumps(Bomb(trace))
    trace.mkdir()
    with pytest.raises(FileExistsError):  # the bomb is live
        pickle.loads(bomb)
    trace.rmdir()
    for key in ("inline", "flipped", "filed"):
        store.put_blob(key, BIG)
    planter.sql(
        "UPDATE Cache SET mode = ?, filename = NULL, value = ?, tag = ? WHERE key = 'blob/inline'",
        *(PICKLE, bomb, seal("blob/inline", bomb)),
    )
    planter.sql("UPDATE Cache SET mode = ? WHERE key = 'blob/flipped'", PICKLE)
    planter.file("blob/filed").write_bytes(bomb)
    planter.sql("UPDATE Cache SET mode = ?, tag = ? WHERE key = 'blob/filed'", PICKLE, seal("blob/filed", bomb))
    planter.sql("INSERT INTO Cache (key, raw, mode, value) VALUES (?, 0, ?, ?)", bomb, RAW, b"")
    planter.sql("INSERT INTO Cache (key, raw, mode, value) VALUES (?, 1, ?, ?)", bomb, RAW, b"")
    assert [store.blob(key) for key in ("inline", "flipped", "filed")] == [None] * 3
    assert store.entries() == []
    found = store.verify()
    assert len(found) == 2
    assert {each.reason for each in found} == {"its key is not text"}
    assert not trace.exists()
    named = reasons(store)
    assert {"blob/inline", "blob/flipped", "blob/filed"} < set(named)
    assert len(named) == 5
    assert all("mode 4" in named[f"blob/{key}"] for key in ("inline", "flipped", "filed"))
    assert store.verify() == []


@pytest.mark.parametrize("name", ["../../victim", "/etc/passwd", "00/../../../victim", "aa/bb/../../cache.db", 7, b"x"])
def test_a_planted_file_name_reads_and_removes_nothing(
    store: Store, planter: Planter, folder: Path, tmp_path: Path, name: object
) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(BIG)
    store.put_blob("b", BIG)
    size = os.stat("/etc/passwd").st_size
    plant = "UPDATE Cache SET filename = ?, size = ? WHERE key = 'blob/b'"
    planter.sql(plant, name, size)
    assert store.blob("b") is None
    assert "is not one of ours" in reasons(store)["blob/b"]
    for act in (lambda: store.put_blob("b", BIG), lambda: store.remove("blob/b"), store.clear, store.gc, store.verify):
        store.put_blob("b", BIG)
        planter.sql(plant, name, size)
        act()
    store.put_blob("b", BIG)
    store.limit_bytes = store.size() + len(BIG) // 2
    planter.sql(plant, name, size)
    store.put_blob("c", BIG)  # evicts b
    assert victim.read_bytes() == BIG
    assert os.path.exists("/etc/passwd")
    assert store.blob("c") == BIG


def test_symlinks_are_not_followed(store: Store, planter: Planter, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    secret = outside / "secret"
    secret.write_bytes(BIG)
    for key in ("file", "folder"):
        store.put_blob(key, BIG)
    file, inside = planter.file("blob/file"), planter.file("blob/folder")
    file.unlink()
    file.symlink_to(secret)
    (outside / inside.name).write_bytes(BIG)
    inside.unlink()
    inside.parent.rmdir()
    inside.parent.symlink_to(outside)
    assert store.blob("file") is None
    assert store.blob_file("folder") is None
    named = reasons(store)
    assert "cannot be opened" in named["blob/file"]
    assert "behind a link" in named["blob/folder"]
    store.gc()
    assert secret.read_bytes() == BIG
    assert (outside / inside.name).read_bytes() == BIG


def test_a_new_value_is_never_written_through_a_link(store: Store, folder: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    for number in range(256):
        (folder / "store" / f"{number:02x}").symlink_to(outside)
    with pytest.raises(MicroscopeError, match="behind a link"):
        store.put_blob("b", BIG)
    assert list(outside.iterdir()) == []


def test_truncated_changed_swapped_and_lost_values_are_set_aside_and_named(
    store: Store, planter: Planter, folder: Path
) -> None:
    for key in ("cut", "flip", "one", "two", "lost"):
        store.put_blob(key, BIG + key.encode())
    store.put_measurement("k", measurement())
    os.truncate(planter.file("blob/cut"), 5)
    data = bytearray(planter.file("blob/flip").read_bytes())
    data[77] ^= 1
    planter.file("blob/flip").write_bytes(data)
    planter.file("blob/lost").unlink()
    one, two = planter.file("blob/one"), planter.file("blob/two")
    planter.sql("UPDATE Cache SET key = 'x' WHERE key = 'blob/one'")
    planter.sql("UPDATE Cache SET key = 'blob/one' WHERE key = 'blob/two'")
    planter.sql("UPDATE Cache SET key = 'blob/two' WHERE key = 'x'")
    planter.sql("UPDATE Cache SET value = replace(value, '0.25', '0.75') WHERE key = 'measurement/k'")
    reader = Store(folder, read_only=True)
    assert [reader.blob(key) for key in ("cut", "one")] == [None, None]
    assert set(reasons(reader)) == {"blob/cut", "blob/one"}
    assert one.exists(), "read-only changes nothing"
    assert [store.blob(key) for key in ("cut", "flip", "one", "two", "lost")] == [None] * 5
    assert store.measurement("k") is None
    named = reasons(store)
    assert named["blob/cut"] == f"it has 5 bytes instead of {len(BIG) + 3}"
    assert named["blob/lost"] == "its file is gone"
    assert {named[key] for key in ("blob/flip", "blob/one", "blob/two")} == {"its digest does not match"}
    assert "measurement/k" in named
    kept = {each.key: each.kept for each in store.damaged()}
    assert Path(sure(kept["blob/flip"])).read_bytes() == bytes(data)
    assert kept["blob/lost"] is None
    assert not one.exists()
    assert not two.exists()
    assert store.entries() == []
    store.put_blob("cut", BIG)
    assert store.blob("cut") == BIG
    store.clear()
    assert store.damaged() == []
    assert not Path(sure(kept["blob/flip"])).exists()


@pytest.mark.parametrize("nonsense", [b'{"asked":7}', b'{"asked":{"kind":"eval"}}', b'{"asked":', b'{"asked":{}}'])
def test_a_look_that_says_nonsense_of_what_it_was_asked_for_is_set_aside(
    store: Store, planter: Planter, nonsense: bytes
) -> None:
    request = Request("demo:llava-next", SliceSpec("demo:scienceqa"))
    store.remember_look(request, JobKind.TOKENS, 3, {"seen": 1}, {})
    ((key,),) = planter.sql("SELECT key FROM Cache")
    planter.sql("UPDATE Cache SET value = ?, tag = ?", nonsense, seal(key, nonsense))
    assert store.looks() == {}
    assert reasons(store) == {key: "this version cannot read it"}


def test_well_sealed_nonsense_counts_as_missing(store: Store, planter: Planter) -> None:
    request = Request("demo:llava-next", SliceSpec("demo:scienceqa"))
    store.put_measurement("k", measurement())
    store.put_job(Job("j", request))
    store.put_deaths("j", Deaths("measuring 3", 1))
    store.remember(request, "k", {})
    store.remember_look(request, JobKind.TOKENS, 3, {"seen": 1}, {})
    store.put_order(["j"])
    for (key,) in planter.sql("SELECT key FROM Cache"):
        nonsense = b'{"a": [1]}'
        planter.sql("UPDATE Cache SET value = ?, tag = ? WHERE key = ?", nonsense, seal(str(key), nonsense), key)
    assert (store.measurement("k"), store.jobs(), store.deaths("j"), store.recall(request)) == (
        None,
        [],
        Deaths(),
        None,
    )
    assert (store.recall_look(request, JobKind.TOKENS, 3), store.order()) == (None, [])
    assert set(reasons(store).values()) == {"this version cannot read it"}


@pytest.mark.parametrize(
    ("statement", "name"),
    [
        ("INSERT INTO Settings VALUES ('disk_directory', '/')", "disk_directory"),
        ("INSERT INTO Settings VALUES ('sqlite_writable_schema', 1)", "sqlite_writable_schema"),
        ("CREATE TRIGGER steal AFTER INSERT ON Cache BEGIN DELETE FROM Cache; END", "steal"),
        ("CREATE VIEW peek AS SELECT * FROM Cache", "peek"),
    ],
)
def test_foreign_settings_and_objects_are_refused_by_name(
    store: Store, planter: Planter, folder: Path, statement: str, name: str
) -> None:
    planter.sql(statement)
    with pytest.raises(MicroscopeError, match=f"never puts there .{name}."):
        Store(folder)


def test_known_settings_are_taken_from_us_and_not_from_the_database(
    store: Store, planter: Planter, folder: Path
) -> None:
    planter.sql("UPDATE Settings SET value = 'least-recently-stored' WHERE key = 'eviction_policy'")
    planter.sql("UPDATE Settings SET value = 10 WHERE key = 'cull_limit'")
    planter.sql("UPDATE Settings SET value = 1 WHERE key = 'size_limit'")
    planter.sql("UPDATE Settings SET value = -1000000000 WHERE key = 'size'")
    with Store(folder) as again:
        for number in range(5):
            again.put_blob(str(number), BIG)
        assert len(again.entries()) == 5
        again.verify()
        assert again.size() > 5 * len(BIG)


def test_the_disk_stores_bytes_under_text_keys_and_nothing_else(folder: Path) -> None:
    folder.mkdir()
    disk = Disk(str(folder), min_file_size=10)
    for key in (b"bytes", 1, ("tuple",), None):
        with pytest.raises(TypeError, match="a key of the store is text"):
            disk.put(key)
    for value in ("text", 1, [1], bytearray(b"x"), None):
        with pytest.raises(TypeError, match="a value of the store is bytes"):
            disk.store(value, False, key="k")
    for row in ((RAW, None, "text"), (RAW, "aa/bb/" + "0" * 28 + ".val", b""), (TEXT, None, None), (None, None, b"")):
        with pytest.raises(Damage):
            disk.fetch(*row)
    with pytest.raises(Damage, match="not text"):
        disk.get(b"pickle", False)


def test_links_in_place_of_our_own_files_are_refused(folder: Path, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"")
    for name in ("store/cache.db", "store/cache.db-wal", "store/cache.db-shm", "store.lock"):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(victim)
        with pytest.raises(MicroscopeError, match=path.name):
            Store(folder).put_blob("b", b"")
        path.unlink()
    (folder / "store").rename(tmp_path / "elsewhere")
    (folder / "store").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(MicroscopeError, match="not a folder of your own"):
        Store(folder)
    assert victim.read_bytes() == b""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_what_belongs_to_another_user_is_refused_by_name(store: Store, planter: Planter, folder: Path) -> None:
    store.put_blob("b", BIG)
    os.chown(planter.file("blob/b"), 54321, 54321)
    assert store.blob("b") is None
    assert "not a plain file of this user" in reasons(store)["blob/b"]
    for name in ("store/cache.db", "store/cache.db-wal", "store.lock", "store"):
        os.chown(folder / name, 54321, 54321)
        with pytest.raises(MicroscopeError, match=rf"{name} in the cache is not a (plain file|folder) of your own"):
            Store(folder).put_blob("c", BIG)
        os.chown(folder / name, os.geteuid(), os.getegid())
    store.put_blob("c", BIG)
    assert store.blob("c") == BIG


def test_an_archive_cannot_write_outside_or_bring_in_what_is_no_result(store: Store, tmp_path: Path) -> None:
    for name in ("../evil", "/evil", "job/j", "blob/../x", "blob/", "alias/a"):
        archive = tmp_path / "evil.tar"
        with tarfile.open(archive, "w") as tar:
            tar.addfile(tarfile.TarInfo(name))
        with pytest.raises(MicroscopeError, match="not a result"):
            store.import_from(archive)
    link = tarfile.TarInfo("blob/link")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    with tarfile.open(archive, "w") as tar:
        tar.addfile(link)
    with pytest.raises(MicroscopeError, match="not a result"):
        store.import_from(archive)
    archive.write_bytes(b"no tar")
    with pytest.raises(MicroscopeError, match="cannot be read"):
        store.import_from(archive)
    assert store.entries() == []


def test_a_plain_diskcache_is_what_these_attacks_would_hurt(tmp_path: Path, trace: Path) -> None:
    """The attacks are real: the stock class executes the same row."""
    with diskcache.Cache(str(tmp_path / "stock")) as stock:
        stock["k"] = 1
        with sqlite3.connect(tmp_path / "stock" / "cache.db") as connection:
            connection.execute("UPDATE Cache SET mode = ?, value = ?", (PICKLE, pickle.dumps(Bomb(trace))))
        connection.close()
        _ = stock["k"]
    assert trace.exists()
