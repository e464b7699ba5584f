"""What the store keeps and finds again."""

from __future__ import annotations

import hashlib
import io
import json
import os
import stat
import subprocess
import sys
import tarfile
import threading
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import pytest
import xxhash

from microscope_tui.errors import MicroscopeError
from microscope_tui.results import Measurement, Skipped
from microscope_tui.stamps import stamps_of
from microscope_tui.store import Deaths, Store, StoreFull, content_key, keys, libraries
from microscope_tui.store.seals import seal
from microscope_tui.terms import Job, JobKind, JobState, Metric, Modality, Progress, Request, SliceSpec, Stream
from tests.store.conftest import Planter, measurement
from tests.sure import sure

REQUEST = Request("demo:llava-next", SliceSpec("demo:scienceqa", count=7))
BIG = bytes(range(256)) * 40_000  # 10 MB: three pieces


def test_measurements_partials_and_blobs_come_back_as_they_were(store: Store, folder: Path) -> None:
    store.put_measurement("k", measurement())
    store.put_partial("job", measurement())
    store.put_blobs({"small": b"", "big": BIG})
    for reader in (store, Store(folder), Store(folder, read_only=True)):
        assert reader.measurement("k") == measurement()
        assert reader.partial("job") == replace(measurement(), complete=False)
        assert (reader.blob("small"), reader.blob("big")) == (b"", BIG)
        assert reader.measurement("other") is None
        assert reader.partial("other") is None
        assert reader.blob("other") is None
    store.put_blob("big", b"less")
    assert store.blob("big") == b"less"
    store.remove_partial("job")
    assert store.partial("job") is None


def test_a_blob_is_a_plain_file_that_can_be_mapped(store: Store) -> None:
    store.put_blob("tiny", b"safetensors")
    file = sure(store.blob_file("tiny"))
    assert file.read_bytes() == b"safetensors"
    assert store.blob_file("other") is None


def test_content_keys_depend_on_every_part_and_on_nothing_else() -> None:
    key = content_key(model="a", layers=(1, 2), nested={"x": 1, "y": None})
    assert key == content_key(nested={"y": None, "x": 1}, layers=[1, 2], model="a")
    canonical = b'{"layers":[1,2],"model":"a","nested":{"x":1,"y":null}}'
    assert key == hashlib.blake2b(canonical, digest_size=16).hexdigest()
    assert len({content_key(a=1), content_key(a="1"), content_key(b=1), content_key(a=None), content_key()}) == 5
    with pytest.raises(TypeError):
        content_key(a=object())
    with pytest.raises(ValueError, match="JSON"):
        content_key(a=float("nan"))


def test_a_request_is_recalled_until_a_file_behind_it_changes(store: Store, tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    file.write_bytes(b"weights")
    store.put_measurement("k", measurement())
    store.remember(REQUEST, "k", stamps_of([file]))
    assert store.recall(REQUEST) == measurement()
    assert store.recall(replace(REQUEST, dtype="float16")) is None
    os.utime(file, ns=(0, 1))
    assert store.recall(REQUEST) is None
    store.remember(REQUEST, "k", stamps_of([file]))
    assert store.recall(REQUEST) == measurement()
    file.unlink()
    assert store.recall(REQUEST) is None


def wide(**other: Any) -> Measurement:
    """Both of two modalities in both of two streams; `main` was refused."""
    (text,) = measurement().profiles
    of = [(modality, stream) for modality in ("text", "image") for stream in ("residual", "update")]
    profiles = tuple(replace(text, modality=Modality(m), stream=Stream(s)) for m, s in of)
    made = {"folds": 10, "streams": ["main", "residual", "update"]}
    return replace(
        measurement(),
        profiles=profiles,
        sinks={"text": 1, "image": 2},
        refused={"main": "why"},
        provenance=made,
        **other,
    )


def test_a_request_for_less_is_answered_by_a_measurement_of_more(store: Store, tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    file.write_bytes(b"weights")
    store.put_measurement("k", wide())
    store.remember(REQUEST, "k", stamps_of([file]))
    assert store.recall(replace(REQUEST, metrics=tuple(reversed(REQUEST.metrics)))) == wide()
    less = replace(REQUEST, metrics=(Metric.LINEARITY,), modalities=(Modality.IMAGE,), streams=(Stream.UPDATE,))
    found = store.recall(less)
    assert found is not None
    assert [(p.modality, p.stream) for p in found.profiles] == [("image", "update")]
    assert (found.sinks, found.refused, found.tokens) == ({"image": 2}, {}, wide().tokens)
    assert found.provenance == wide().provenance
    assert store.recall(replace(less, modalities=(Modality.VIDEO,))) is None
    assert store.recall(replace(less, metrics=(Metric.DIMENSION,))) is None  # it has no profile of it
    assert store.recall(replace(less, streams=(Stream.MAIN,))) is None  # refused: an error, not an empty result
    assert store.recall(replace(less, without=("sinks",))) is None
    os.utime(file, ns=(0, 1))
    assert store.recall(less) is None


def test_a_request_for_less_is_measured_where_the_numbers_could_be_others(store: Store) -> None:
    store.remember(REQUEST, "k", {})
    less = replace(REQUEST, streams=(Stream.RESIDUAL,))
    store.put_measurement("k", wide(skipped=(Skipped("row 3", "its rows are not finite"),)))
    assert store.recall(less) is None
    assert store.recall(replace(REQUEST, modalities=(Modality.TEXT,))) is not None
    store.put_measurement("k", replace(wide(), provenance={"folds": 3}))
    assert store.recall(less) is None
    assert store.recall(REQUEST) is not None


def test_a_new_version_of_the_package_recalls_nothing_of_the_old_one(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.put_measurement("k", measurement())
    store.remember(REQUEST, "k", {})
    monkeypatch.setattr(keys, "__version__", "99")
    assert store.recall(REQUEST) is None


def test_what_was_made_with_another_version_of_a_library_is_made_anew(
    store: Store, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Except for who may only look: at somebody else's results, made with somebody else's libraries."""
    assert libraries.versions().keys() == {"torch", "transformers", "tokenizers", "pillow"}
    store.put_measurement("k", measurement())
    store.remember(REQUEST, "k", {})
    store.remember_look(REQUEST, JobKind.PREVIEW, None, {"seen": 1}, {})
    monkeypatch.setattr("microscope_tui.store.store.versions", lambda: {"torch": "99"})
    assert store.recall(REQUEST) is None
    assert store.recall_look(REQUEST, JobKind.PREVIEW, None) is None
    assert store.damaged() == []
    reader = Store(folder, read_only=True)
    assert reader.recall(REQUEST) == measurement(REQUEST.model)
    assert reader.recall_look(REQUEST, JobKind.PREVIEW, None) == {"seen": 1}
    store.remember(REQUEST, "k", {})
    assert store.recall(REQUEST) is not None


def test_jobs_keep_their_order_and_the_oldest_ended_ones_go(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("microscope_tui.store.store.ENDED_JOBS_KEPT", 2)
    queued = Job("z", REQUEST, created=1.0)
    store.put_job(queued)
    for number in range(4):
        job = Job(f"j{number}", REQUEST, JobState.RUNNING, Progress("measuring", 3, 7), created=2.0 + number)
        store.put_job(job)
        store.put_job(replace(job, state=JobState.DONE, ended=9.0))
    assert [job.id for job in store.jobs()] == ["j2", "j3", "z"]
    assert store.jobs()[-1] == queued
    store.put_deaths("z", Deaths("measuring 3", 2))
    assert (store.deaths("z"), store.deaths("j3")) == (Deaths("measuring 3", 2), Deaths())
    store.remove_job("z")
    assert [job.id for job in store.jobs()] == ["j2", "j3"]
    assert store.deaths("z") == Deaths()


def test_many_looks_push_no_measurement_out_of_the_list_and_the_last_to_end_stays(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("microscope_tui.store.store.ENDED_JOBS_KEPT", 2)
    monkeypatch.setattr("microscope_tui.store.store.ENDED_LOOKS_KEPT", 3)
    long, *others = (Job(f"m{number}", REQUEST, JobState.DONE, created=number, ended=5.0) for number in range(3))
    gone = [store.put_job(job) for job in (*others, replace(long, ended=9.0))]
    assert gone == [[], [], ["m1"]], "the one that ended first, not the one that was asked for first"
    for number in range(5):
        look = Job(f"l{number}", REQUEST, created=20.0 + number, kind=JobKind.TOKENS, example=number)
        assert store.put_job(look) == []
        gone.append(store.put_job(replace(look, state=JobState.DONE, ended=30.0 + number)))
    assert gone[3:] == [[], [], [], ["l0"], ["l1"]]
    assert {job.id for job in store.jobs()} == {"m0", "m2", "l2", "l3", "l4"}


def test_jobs_that_wait_stand_in_the_order_in_which_they_are_run(store: Store) -> None:
    """First what has ended, then what runs, then looks, then measurements as a user put them, then the others."""
    jobs = [
        Job("moved first", REQUEST, created=9.0),
        Job("old", REQUEST, created=1.0),
        Job("look", REQUEST, created=8.0, kind=JobKind.TOKENS, example=3),
        Job("runs", REQUEST, JobState.RUNNING, created=7.0),
        Job("moved second", REQUEST, JobState.PAUSED, created=2.0),
        Job("new", REQUEST, created=10.0),
        Job("failed", REQUEST, JobState.FAILED, created=6.0, ended=7.0),
        Job("done", REQUEST, JobState.DONE, created=5.0, ended=8.0),
    ]
    for job in jobs:
        store.put_job(job)
    store.put_order(["gone", "runs", "moved first", "moved second"])
    expected = ["done", "failed", "runs", "look", "moved first", "moved second", "old", "new"]
    assert [job.id for job in store.jobs()] == expected
    assert {job.id: job for job in store.jobs()} == {job.id: job for job in jobs}
    store.clear()
    assert [job.id for job in store.jobs() if not job.state.ended] == expected[2:], "the order is no result"


def test_a_look_is_recalled_by_request_kind_and_example_until_a_file_changes(store: Store, tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    file.write_bytes(b"weights")
    value = {"tokens": ["«a»", "\u0000"], "norm": [[0.1, 2.5e-300]], "lens": None, "large": "x" * 100_000}
    store.remember_look(REQUEST, JobKind.TOKENS, 3, value, stamps_of([file]))
    assert store.recall_look(REQUEST, JobKind.TOKENS, 3) == value
    for request, kind, example in (
        (replace(REQUEST, dtype="float16"), JobKind.TOKENS, 3),
        (REQUEST, JobKind.MAP, 3),
        (REQUEST, JobKind.TOKENS, 4),
        (REQUEST, JobKind.TOKENS, None),
    ):
        assert store.recall_look(request, kind, example) is None
    os.utime(file, ns=(0, 1))
    assert store.recall_look(REQUEST, JobKind.TOKENS, 3) is None
    store.remember_look(REQUEST, JobKind.TOKENS, 3, {"again": 1}, stamps_of([file]))
    assert store.recall_look(REQUEST, JobKind.TOKENS, 3) == {"again": 1}
    with Store(store.folder, read_only=True) as reader:
        assert reader.recall_look(REQUEST, JobKind.TOKENS, 3) == {"again": 1}
    file.unlink()
    assert store.recall_look(REQUEST, JobKind.TOKENS, 3) is None


def test_entries_removal_and_clearing(store: Store, folder: Path) -> None:
    store.put_measurement("k", measurement())
    store.put_blob("b", BIG)
    store.put_job(Job("done", REQUEST, JobState.DONE))
    store.put_job(Job("waits", REQUEST))
    store.put_deaths("waits", Deaths("measuring 3", 1))
    with Store(folder, job="waits") as used:
        used.put_blob("needed", b"n")
    sizes = {entry.key: entry.size for entry in store.entries()}
    assert sizes["blob/b"] == len(BIG)
    assert store.size() > len(BIG)
    with Store(folder, read_only=True) as reader:
        assert reader.size() == store.size()
    store.remove("blob/b")
    assert store.blob("b") is None
    assert store.size() < len(BIG)
    for key in ("blob/needed", "job/waits", "deaths/waits"):
        with pytest.raises(MicroscopeError, match="in use by a waiting or running job"):
            store.remove(key)
    assert store.clear() == 2
    assert {entry.key for entry in store.entries()} == {"blob/needed", "job/waits", "deaths/waits"}


def test_read_only_changes_no_byte_and_an_absent_store_is_an_empty_one(folder: Path, tmp_path: Path) -> None:
    with Store(tmp_path / "nowhere", read_only=True) as absent:
        assert absent.jobs() == []
        assert absent.recall(REQUEST) is None
        assert (absent.size(), absent.entries(), absent.damaged()) == (0, [], [])
    assert not (tmp_path / "nowhere").exists()

    with Store(folder) as store:
        store.put_measurement("k", measurement())
        store.put_blob("b", BIG)
        store.put_job(Job("j", REQUEST))
    for path in sorted(folder.rglob("*"), reverse=True):
        path.chmod(0o500 if path.is_dir() else 0o400)
    folder.chmod(0o500)
    before = {path: (path.lstat().st_mtime_ns, path.lstat().st_mode) for path in (folder, *folder.rglob("*"))}
    try:
        with Store(folder, read_only=True) as reader:
            assert reader.measurement("k") == measurement()
            assert reader.blob("b") == BIG
            assert [job.id for job in reader.jobs()] == ["j"]
            assert len(reader.entries()) == 3
            for change in (lambda: reader.put_blob("b", b""), lambda: reader.remove("blob/b"), reader.clear, reader.gc):
                with pytest.raises(MicroscopeError, match="opened read-only"):
                    change()
        after = {path: (path.lstat().st_mtime_ns, path.lstat().st_mode) for path in (folder, *folder.rglob("*"))}
        assert after == before
    finally:
        for path in (folder, *folder.rglob("*")):
            path.chmod(0o700)


def test_a_reader_sees_what_a_writer_has_just_stored(store: Store, folder: Path) -> None:
    reader = Store(folder, read_only=True)
    for number in range(30):
        store.put_measurement("k", replace(measurement(), examples=number))
        if number % 3 == 0:
            store.close()  # the log is written back, and the reader goes on without it
        assert sure(reader.measurement("k")).examples == number


def test_readers_and_writers_at_once_never_see_a_torn_or_missing_value(store: Store, folder: Path) -> None:
    store.put_blob("b", b"0" * 50_000)
    stop, wrong = threading.Event(), []

    def read(reader: Store) -> None:
        while not stop.is_set():
            value = reader.blob("b")
            if value is None or len(set(value)) != 1 or reader.damaged():
                wrong.append(value)
                return

    threads = [threading.Thread(target=read, args=[Store(folder, read_only=only)]) for only in (True, False)]
    for thread in threads:
        thread.start()
    for number in range(150):
        store.put_blob("b", bytes([48 + number % 10]) * 50_000)
    stop.set()
    for thread in threads:
        thread.join(10)
    assert wrong == []


def test_everything_is_private_to_the_user(store: Store, folder: Path) -> None:
    store.put_blob("b", BIG)
    store.put_measurement("k", measurement())
    paths = [folder, *folder.rglob("*")]
    assert len(paths) > 5
    for path in paths:
        assert stat.S_IMODE(path.lstat().st_mode) == (0o700 if path.is_dir() else 0o600), path


def test_opening_takes_as_many_steps_with_many_values_as_with_none_and_not_many(store: Store, folder: Path) -> None:
    def steps() -> int:
        """How often something is called while a store is opened and closed."""
        called = 0

        def count(frame: FrameType, event: str, argument: object) -> None:
            nonlocal called
            called += event in ("call", "c_call")

        sys.setprofile(count)
        try:
            Store(folder).close()
        finally:
            sys.setprofile(None)
        return called

    steps()  # with what is done once a process
    empty = steps()
    for number in range(100):
        store.put_blob(str(number), BIG)
    assert steps() < 1.01 * empty
    assert empty < 10_000


def test_the_store_imports_nothing_heavy() -> None:
    code = (
        "import sys, microscope_tui.store, microscope_tui.worker.client;"
        "print(sorted({'torch','numpy','transformers','datasets','PIL','pyarrow'} & set(sys.modules)))"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"


def test_results_travel_in_an_archive(store: Store, folder: Path, tmp_path: Path) -> None:
    store.put_measurement("k", measurement())
    store.put_blobs({"b": BIG, "c": b"c"})
    store.put_job(Job("j", REQUEST))
    archive = tmp_path / "results.tar"
    assert store.export_to(archive) == 3
    with Store(tmp_path / "other") as other:
        assert other.import_from(archive) == 3
        assert (other.measurement("k"), other.blob("b"), other.blob("c")) == (measurement(), BIG, b"c")
        assert other.jobs() == []
        assert other.export_to(tmp_path / "one.tar", ["blob/c"]) == 1
        with pytest.raises(MicroscopeError, match="no result blob/zzz"):
            other.export_to(tmp_path / "none.tar", ["blob/zzz"])
    data = bytearray(archive.read_bytes())
    data[data.index(BIG[:1000]) + 500] ^= 1
    archive.write_bytes(data)
    with Store(tmp_path / "third") as third, pytest.raises(MicroscopeError, match=r"blob/b in .* is damaged"):
        third.import_from(archive)


def test_the_values_on_disk_are_json_and_sealed_with_length_and_xxh3(store: Store, planter: Planter) -> None:
    store.put_measurement("k", measurement())
    ((value, tag),) = planter.sql("SELECT value, tag FROM Cache WHERE key = 'measurement/k'")
    assert json.loads(value)["model"] == "demo:llava-next"
    assert tag == f"{len(value)}:{xxhash.xxh3_128_hexdigest(b'measurement/k' + bytes(1) + value)}"


def test_a_value_in_pieces_is_the_value(store: Store, planter: Planter) -> None:
    whole = np.arange(50_000)
    store.put_blobs({"pieces": (memoryview(b"head"), whole[:20_000].data.cast("B"), whole[20_000:].data.cast("B"))})
    store.put_blob("tiny", (memoryview(b"a"), memoryview(b"b")))
    assert store.blob("pieces") == b"head" + whole.tobytes()
    assert store.blob("tiny") == b"ab"
    ((size, tag),) = planter.sql("SELECT size, tag FROM Cache WHERE key = 'blob/pieces'")
    assert (size, tag) == (
        400_004,
        f"400004:{xxhash.xxh3_128_hexdigest(b'blob/pieces' + bytes(1) + sure(store.blob('pieces')))}",
    )
    store.limit_bytes = 400_003
    with pytest.raises(StoreFull, match="larger than the whole cache may be"):
        store.put_blob("again", (memoryview(b"head"), whole.data.cast("B")))


def test_a_look_that_travels_takes_no_paths_along_and_replaces_none(store: Store, tmp_path: Path) -> None:
    """It cannot answer for the files here, also where the archive claims that it depends on none."""
    file = tmp_path / "model.safetensors"
    file.write_bytes(b"weights")
    store.remember_look(REQUEST, JobKind.TOKENS, 3, {"v": "theirs"}, stamps_of([file]))
    store.remember_look(REQUEST, JobKind.TOKENS, 4, {"v": "theirs"}, {})
    archive = tmp_path / "looks.tar"
    assert store.export_to(archive) == 2
    assert str(tmp_path).encode() not in archive.read_bytes()
    with Store(tmp_path / "other") as other:
        other.remember_look(REQUEST, JobKind.TOKENS, 3, {"v": "mine"}, stamps_of([file]))
        assert other.import_from(archive) == 1
        assert other.recall_look(REQUEST, JobKind.TOKENS, 3) == {"v": "mine"}
        assert other.recall_look(REQUEST, JobKind.TOKENS, 4) is None
        shown = {asked.example: other.look(key) for key, asked in other.looks().items()}
        assert shown == {3: {"v": "mine"}, 4: {"v": "theirs"}}
        assert other.damaged() == []
    with Store(store.folder, read_only=True) as reader:
        assert reader.export_to(tmp_path / "again.tar") == 2


@pytest.mark.parametrize("files", [[], [["/etc/hostname", 1, 1]]])
def test_a_look_of_an_archive_that_names_files_is_recalled_for_nothing(
    store: Store, tmp_path: Path, files: list[object]
) -> None:
    """As one that was written before they were left out, or by somebody who would have it believed."""
    store.remember_look(REQUEST, JobKind.TOKENS, 3, {"v": "theirs"}, {})
    ((key, asked),) = store.looks().items()
    value = keys.canonical({"asked": asked.to_json(), "files": files, "value": {"v": "theirs"}})
    archive = tmp_path / "looks.tar"
    for content in (value, b"[1]", b"no JSON", b"[" * 200_000):
        with tarfile.open(archive, "w", format=tarfile.PAX_FORMAT) as tar:
            member = tarfile.TarInfo(key)
            member.size, member.pax_headers = len(content), {"MICROSCOPE.seal": seal(key, content)}
            tar.addfile(member, io.BytesIO(content))
        with Store(tmp_path / "other") as other:
            if content is value:
                assert other.import_from(archive) == 1
            else:
                with pytest.raises(MicroscopeError, match="is no look"):
                    other.import_from(archive)
            assert other.recall_look(REQUEST, JobKind.TOKENS, 3) is None
            assert other.look(key) == {"v": "theirs"}
