"""What can happen to the program in a real terminal and is no fault of its own: one sentence each, and it goes on."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from microscope_tui.errors import MicroscopeError
from microscope_tui.worker.client import stop
from microscope_tui.worker.place import Record
from tests.sure import sure
from tests.terminal import RIGHT, Terminal

PATIENCE = 120.0
"""Seconds for a worker to start and to load a model, with other work on the machine."""


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[Path]:
    """A cache folder without a worker, before and after."""
    folder = tmp_path / "cache"
    yield folder
    with contextlib.suppress(MicroscopeError):
        stop(folder)


@contextlib.contextmanager
def opened(*arguments: str, module: str = "microscope_tui") -> Iterator[Terminal]:
    """The program, which must not end with an error."""
    terminal = Terminal(module, *arguments, OMP_NUM_THREADS="1")
    try:
        yield terminal
        terminal.child.send("q")
        assert terminal.end() == 0
        assert terminal.is_clean()
        assert b"Traceback" not in terminal.raw
        assert b"internal error" not in terminal.raw
    finally:
        terminal.close()


def pid_of(cache: Path) -> int:
    return sure(Record.read(cache)).pid


def another(cache: Path, killed: int) -> bool:
    """Whether there is another worker; while one starts the record says nothing."""
    now = Record.read(cache)
    return now is not None and now.pid != killed


def test_a_worker_that_is_killed_is_said_and_a_key_starts_one_that_goes_on(cache: Path):
    with opened("--cache", str(cache)) as terminal:
        shown = ("partial", "measuring")
        terminal.until(lambda: terminal.braille > 20 and all(word in terminal.text for word in shown), PATIENCE)
        killed = pid_of(cache)
        os.kill(killed, signal.SIGKILL)
        terminal.until(lambda: "worker gone: r starts it again" in terminal.text)
        assert terminal.braille > 20  # what was measured stays
        terminal.press("2", lambda: "TwoNN" in terminal.text)
        terminal.press("j", lambda: "✗ cut off" in terminal.text)
        assert "r starts one, which goes on with it" in terminal.text
        terminal.press("\x1b", lambda: "cut off" not in terminal.text)
        terminal.settle()
        terminal.press("r", lambda: "worker gone" not in terminal.text)
        terminal.until(partial(another, cache, killed), PATIENCE)
        terminal.until(lambda: "resuming" in terminal.text or "measuring" in terminal.text, PATIENCE)


def test_a_worker_that_is_killed_is_started_from_the_list_of_jobs(cache: Path):
    with opened("--cache", str(cache)) as terminal:
        terminal.until(lambda: "measuring" in terminal.text, PATIENCE)
        terminal.press("j", lambda: "▶ running" in terminal.text)
        killed = pid_of(cache)
        os.kill(killed, signal.SIGKILL)
        terminal.until(lambda: "✗ cut off" in terminal.text)
        terminal.child.send("r")
        terminal.until(partial(another, cache, killed), PATIENCE)
        terminal.until(lambda: "▶ running" in terminal.text and "measuring" in terminal.text, PATIENCE)
        terminal.press("\x1b", lambda: "▶ running" not in terminal.text)
        terminal.settle()


def is_open(terminal: Terminal, title: str) -> bool:
    """Whether a dialog stands there."""
    return f"│ {title} " in terminal.text


def is_closed(terminal: Terminal, title: str) -> bool:
    return not is_open(terminal, title)


def test_a_cache_that_cannot_be_written_is_said_and_another_is_named(tmp_path: Path):
    folder = tmp_path / "cache"
    folder.mkdir()
    folder.chmod(0o500)
    try:
        with opened("--cache", str(folder)) as terminal:
            terminal.until(lambda: all(word in terminal.text for word in ("read-only:", "--read-only", "--cache")))
            terminal.press("2", lambda: "dimension" in terminal.text)
            for key, title in (("j", "Jobs"), ("K", "Cache")):
                terminal.press(key, partial(is_open, terminal, title))
                terminal.until(lambda: "read-only" in terminal.text or "0 values" in terminal.text)
                terminal.press("\x1b", partial(is_closed, terminal, title))
                terminal.settle()
            assert list(folder.iterdir()) == []
    finally:
        folder.chmod(0o700)


def test_a_cache_on_a_file_system_that_takes_nothing_is_said():
    with opened("--cache", "/proc/microscope/cache") as terminal:
        terminal.until(lambda: "cannot be opened" in " ".join(terminal.text.split()))
        terminal.press("m", lambda: "Model to look at" in terminal.text)
        terminal.until(lambda: "demo:omnifusion" in terminal.text)
        terminal.press("\x1b", lambda: "Model to look at" not in terminal.text)
        terminal.settle()


def test_keys_that_come_at_once_go_to_what_the_first_of_them_opens(tmp_path: Path):
    """Over a slow line a key and the words after it arrive together."""
    with opened(module="tests.tui.served") as terminal:
        terminal.until(lambda: terminal.braille > 80)
        terminal.press("momfu\r", lambda: "● omnifusion" in terminal.text)
        terminal.press("m\x1b[B\r", lambda: "● llava-next" in terminal.text)
        terminal.child.send(f"e\t{tmp_path}\r")
        terminal.settle()
        terminal.press("\r", lambda: "saved" in terminal.text)
        assert [file.suffix for file in tmp_path.iterdir()] == [".csv"]
        terminal.press("\x1b", lambda: "Save what is on" not in terminal.text)
        terminal.settle()


def test_files_that_find_no_room_are_said_and_the_next_one_can_go_elsewhere(tmp_path: Path):
    """No file may become larger than a few bytes: the system says of the rest what it says of a full quota."""
    with opened("cramped", module="tests.tui.served") as terminal:
        terminal.until(lambda: terminal.braille > 80)
        terminal.press("e", lambda: "Save what is on" in terminal.text)
        terminal.child.send(f"\t{tmp_path}\r")
        terminal.settle()
        terminal.press("\r", lambda: "name another folder" in terminal.text)
        assert "(File too large)" in " ".join(terminal.text.replace("│", " ").split())
        assert list(tmp_path.iterdir()) == []
        terminal.press("\x1b", lambda: "Save what is on" not in terminal.text)
        terminal.settle()
        terminal.press(RIGHT, lambda: "layer 13" in terminal.text)
