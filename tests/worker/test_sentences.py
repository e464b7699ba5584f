"""What a user is told when there is no worker, or one that will not answer; and what others can see of it."""

from __future__ import annotations

import os
import signal
import stat
import time
from dataclasses import replace
from pathlib import Path

import pytest

from microscope_tui.cli import main
from microscope_tui.errors import MicroscopeError
from microscope_tui.worker import client as workers
from microscope_tui.worker import place, protocol, wire
from microscope_tui.worker.client import Client
from microscope_tui.worker.logs import put_aside
from microscope_tui.worker.place import Record, is_held
from tests.sure import sure
from tests.worker.conftest import Box, until


def test_without_a_worker_the_remedy_is_named(box: Box) -> None:
    with pytest.raises(MicroscopeError, match=r"No worker runs .*`microscope-tui worker start`"):
        Client.connect(box.cache, start=False)
    assert not box.cache.exists()
    assert workers.status(box.cache) is None
    assert workers.stop(box.cache) is False
    assert workers.log_tail(box.cache) == ""


def test_a_cache_that_is_a_file_is_one_sentence(box: Box) -> None:
    box.cache.write_text("")
    with pytest.raises(MicroscopeError, match="not a folder"):
        box.client()


def test_the_workers_own_sentence_reaches_the_starter(box: Box) -> None:
    (box.cache / "store").mkdir(parents=True)
    (box.cache / "store" / "cache.db").write_bytes(b"not a database at all" * 100)
    with pytest.raises(MicroscopeError, match=r"database of the store .* is damaged"):
        box.client()
    assert not is_held(box.cache)


def test_a_worker_that_dies_at_its_start_shows_the_end_of_its_log(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    (box.gates / "diskcache.py").write_text("raise ImportError('diskcache is broken here')")
    monkeypatch.setenv("PYTHONPATH", str(box.gates))
    with pytest.raises(MicroscopeError, match=r"ended while it started.*diskcache is broken here") as caught:
        box.client()
    assert str(workers.log_file(box.cache)) in str(caught.value)


def test_another_version_is_refused_with_a_remedy_and_can_still_be_stopped(
    box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    box.client().close()
    monkeypatch.setattr(wire, "Hello", lambda: protocol.Hello(protocol=99, version="9.9"))
    with pytest.raises(MicroscopeError, match=r"version 9\.9 \(protocol 99\).*microscope-tui worker stop"):
        Client.connect(box.cache)
    assert is_held(box.cache)
    assert workers.stop(box.cache) is True
    assert not is_held(box.cache)


def test_a_worker_that_does_not_answer_is_named(box: Box) -> None:
    box.client().close()
    os.kill(box.pid, signal.SIGSTOP)
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(wire, "ANSWER_SECONDS", 0.2)
            with pytest.raises(MicroscopeError, match=f"process {box.pid}.*did not answer"):
                Client.connect(box.cache, timeout=0.3)
    finally:
        os.kill(box.pid, signal.SIGCONT)


def test_everything_in_the_cache_is_private(box: Box) -> None:
    with box.client() as client:
        box.ended(client, client.submit(box.request("quick")).id)
        status = client.status()
        assert (status.running, status.queued, status.cache) == (0, 0, str(box.cache))
        assert status.log == str(workers.log_file(box.cache))
        for path in (box.cache, *box.cache.rglob("*")):
            assert stat.S_IMODE(path.lstat().st_mode) == (0o700 if path.is_dir() else 0o600), path


def test_the_log_is_put_aside_when_it_is_large_also_while_a_job_runs(box: Box) -> None:
    with box.client() as client:
        box.running(client, client.submit(box.request("gate")).id)
        with open(workers.log_file(box.cache), "ab") as log:
            log.write(b"x" * 4_000_001)
        until((box.cache / "worker.log.1").exists, "the log to be put aside")
        assert (box.cache / "worker.log.1").stat().st_size > 4_000_000
        box.open()
        until(lambda: "is done" in workers.log_tail(box.cache), "the new log")
        assert workers.log_file(box.cache).stat().st_size < 1000


def test_what_was_written_while_a_job_was_done_is_found_by_its_id(box: Box) -> None:
    with box.client() as client:
        fine = client.submit(box.request("quick"))
        bug = client.submit(replace(box.request("bug", "b"), without=("sinks",), one_tile=True))
        for job in (fine, bug):
            box.ended(client, job.id)
        until(lambda: f"job {bug.id} failed" in workers.log_tail(box.cache), "the last line")
    said = workers.job_log(box.cache, bug.id)
    first = said.splitlines()[0]
    assert f"job {bug.id}: measure of bug" in first
    assert first.endswith(f"{bug.request.slice}, without sinks, one tile")
    assert "Traceback" in said
    assert said.endswith(f"see the log {workers.log_file(box.cache)}")
    assert fine.id not in said
    assert workers.job_log(box.cache, "nothing") == ""


def test_a_worker_that_died_is_told_from_one_that_ended(box: Box, capsys: pytest.CaptureFixture[str]) -> None:
    with box.client() as client:
        box.running(client, client.submit(box.request("gate")).id)
        pid = box.pid
        assert workers.died(box.cache) is None
        box.kill()
    assert workers.died(box.cache) == pid
    box.cache.chmod(0o500)  # it can be looked at all the same
    assert main(["jobs", "--cache", str(box.cache)]) == 0
    assert " interrupted " in capsys.readouterr().out
    box.cache.chmod(0o700)
    assert main(["worker", "status", "--cache", str(box.cache)]) == 0
    said = capsys.readouterr().out
    assert f"No worker runs on {box.cache}. The last one (process {pid}) died or was killed" in said
    assert said.endswith("1 job(s) go on with `microscope-tui worker start`.\n")
    box.client().stop()
    assert workers.died(box.cache) is None


def test_a_socket_that_others_can_reach_is_refused_at_once_with_a_remedy(
    box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(box.gates))  # not the folder of all workers of this user
    box.client().close()
    folder = Path(sure(Record.read(box.cache)).socket).parent
    folder.chmod(0o755)
    try:
        with pytest.raises(MicroscopeError, match=f"Other users can enter {folder}.*`chmod 700"):
            Client.connect(box.cache)
    finally:
        folder.chmod(0o700)
    assert Client.connect(box.cache, start=False).status().pid == box.pid


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_no_process_is_ended_for_another_users_word(box: Box) -> None:
    """The lock is held, and the record names a process of ours that lives: this one."""
    box.cache.mkdir()
    lock = sure(place.take_lock(box.cache))
    Record.of_this_process(box.gates / "no socket").write(lock)
    assert sure(Record.read(box.cache)).lives
    os.chown(box.cache, 54321, 54321)
    for act in (workers.stop, workers.status, workers.is_running, workers.died):
        with pytest.raises(MicroscopeError, match="belongs to the user with number 54321"):
            act(box.cache)
    os.chown(box.cache, os.geteuid(), os.getegid())
    os.close(lock)


def test_the_log_says_nothing_that_a_terminal_would_obey(box: Box) -> None:
    box.cache.mkdir()
    workers.log_file(box.cache).write_text("job 7 begins\n\x1b]0;mine\x07 «é»\x9b31m\tjob 7 ends\r\n")
    assert workers.log_tail(box.cache) == "job 7 begins\n]0;mine «é»31m\tjob 7 ends"
    assert workers.job_log(box.cache, "7") == workers.log_tail(box.cache)


def test_a_log_is_put_aside_for_all_who_append_to_it(box: Box) -> None:
    """Also for another GPU's process, which inherited its descriptor and hears of nothing."""
    box.cache.mkdir()
    log = workers.log_file(box.cache)
    with open(log, "ab", buffering=0) as ours, open(log, "ab", buffering=0) as inherited:
        ours.write(b"first\nbefore\n")
        put_aside(log)
        assert log.stat().st_size == 0
        assert stat.S_IMODE((box.cache / "worker.log.1").lstat().st_mode) == 0o600
        assert workers.log_tail(box.cache) == "first\nbefore", "what was put aside is still read"
        inherited.write(b"after\n")
        ours.write(b"last\n")
        assert log.read_bytes() == b"after\nlast\n"
        assert workers.log_tail(box.cache) == "first\nbefore\nafter\nlast"
        assert workers.log_tail(box.cache, size=20) == "before\nafter\nlast"
        assert workers.log_tail(box.cache, 6) == "last"
        assert workers.log_tail(box.cache, 1000) == "after\nlast", "it was longer when one began to watch"
        put_aside(log)
        assert (box.cache / "worker.log.1").read_bytes() == b"after\nlast\n", "in place of the one before"


def test_a_job_is_found_by_its_whole_id(box: Box) -> None:
    box.cache.mkdir()
    workers.log_file(box.cache).write_text(
        "job 12 begins\njob 1-2 begins\njob 1: measure\njob 1 is done\njob 12 ends\n"
    )
    assert workers.job_log(box.cache, "1") == "job 1: measure\njob 1 is done"


def test_a_worker_older_than_the_code_says_so_where_its_results_are_not_found(
    box: Box, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert workers.outdated(box.cache) is None, "there is none"
    package = tmp_path / "microscope_tui"
    for name in ("engine/measure.py", "tui/app.py", "cli/main.py"):
        file = package / name
        file.parent.mkdir(parents=True)
        file.touch()
        os.utime(file, (0, 0))
    with box.client():
        monkeypatch.setattr("microscope_tui.__file__", str(package / "__init__.py"))
        later = time.time() + 60
        for name in ("tui/app.py", "cli/main.py"):
            os.utime(package / name, (later, later))
        assert workers.outdated(box.cache) is None, "what a worker does not run may have changed"
        os.utime(package / "engine/measure.py", (later, later))
        assert workers.outdated(box.cache) == (
            "The worker was started before the program was changed: run `microscope-tui worker stop` and start again; "
            "its job goes on from the queue."
        )
        monkeypatch.setattr("microscope_tui.worker.protocol.versions", lambda: {"torch": "1.0"})
        assert "makes numbers otherwise than the program (torch " in sure(workers.outdated(box.cache))
