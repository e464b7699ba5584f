"""Where a worker is found: its socket, its record, its lock."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import pytest

from microscope_tui.worker import place
from microscope_tui.worker.offline import at_rest
from tests.sure import sure
from tests.worker.conftest import DEADLINE, Box


def test_the_socket_lies_in_a_short_private_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    with tempfile.TemporaryDirectory() as short:
        monkeypatch.setattr(tempfile, "tempdir", short)
        path = place.socket_path(Path("/some/cache"))
        assert path.parent.parent == Path(short)
        assert stat.S_IMODE(path.parent.lstat().st_mode) == 0o700
        assert path == place.socket_path(Path("/some/cache"))
        assert path != place.socket_path(Path("/other/cache"))
        path.parent.chmod(0o755)  # as if somebody else had made it first
        other = place.socket_path(Path("/some/cache"))
        assert other.parent != path.parent
        assert place.is_private(other.parent)
        path.parent.rmdir()
        path.parent.symlink_to(other.parent)
        assert not place.is_private(path.parent)
        assert place.socket_path(Path("/some/cache")).parent != path.parent


def test_a_temporary_folder_with_a_long_name_is_passed_over(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / ("x" * 100)))
    path = place.socket_path(Path("/some/cache"))
    assert path.is_relative_to("/tmp")
    assert len(os.fsencode(path)) <= 107


def test_a_record_names_one_process_for_ever(tmp_path: Path) -> None:
    record = place.Record.of_this_process(tmp_path)
    assert record.lives
    assert not replace(record, start=record.start + 1).lives
    assert not replace(record, boot="other").lives
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    assert place.process_start(process.pid) is None
    for text in ("", "[]", "{}", '{"pid": 1}'):
        (tmp_path / "worker.lock").write_text(text)
        assert place.Record.read(tmp_path) is None
    assert place.Record.read(tmp_path / "none") is None
    assert not place.is_held(tmp_path)


def test_a_forked_child_does_not_keep_the_lock(tmp_path: Path) -> None:
    """As a data loader would, when the worker is killed."""
    script = (
        "import os, sys; from pathlib import Path; from microscope_tui.worker.place import *;"
        "keep_from_children(take_lock(Path(sys.argv[1]))); child = os.fork();"
        "(print('ready', flush=True), sys.stdin.read()) if child == 0 else os._exit(0)"
    )
    cache = tmp_path / "cache"
    cache.mkdir()
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(cache)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert sure(process.stdout).readline() == b"ready\n"
    process.wait(DEADLINE)
    assert not place.is_held(cache)
    sure(process.stdin).close()
    sure(process.stdout).close()


def test_a_queue_that_a_worker_serves_is_not_waited_for(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    with box.client(), monkeypatch.context() as patched:
        patched.setattr(time, "sleep", lambda seconds: pytest.fail("it waits for the lock of who lives"))
        with at_rest(box.cache, 10**9) as queue:
            assert queue is None
