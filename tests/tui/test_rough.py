"""A rough terminal: every size, few colours, no UTF-8, a mouse, a paste, keys faster than they can be shown, a stop."""

from __future__ import annotations

import os
import random
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pexpect
import pytest
from textual.app import App

from tests.terminal import LEFT, RIGHT, ROOT, Terminal

SERVED = "tests.tui.served"
CLICK = "\x1b[<0;{x};{y}M\x1b[<0;{x};{y}m"
WHEEL_DOWN = "\x1b[<65;{x};{y}M"


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    terminal = Terminal(SERVED, "compare")
    terminal.until(lambda: terminal.braille > 100)
    terminal.settle()
    yield terminal
    assert b"Traceback" not in terminal.raw
    assert b"cannot be drawn" not in terminal.raw
    terminal.close()


def test_a_window_of_one_cell_and_back_shows_what_it_showed(terminal: Terminal):
    shown = terminal.text
    for sizes in ([(1, 1), (80, 24)], [(1, 1)], [(80, 24)], [(400, 120), (80, 24)]):
        for size in sizes:
            terminal.resize(*size)
        terminal.settle()
    assert terminal.text == shown


def test_sizes_that_change_while_it_paints_leave_nothing_behind(terminal: Terminal):
    draw = random.Random(1)
    keys = [RIGHT, LEFT, *"123zfu?ETMij\x1b\x1b\x1b\x1b"]
    for _ in range(60):
        terminal.resize(draw.randint(1, 200), draw.randint(1, 60))
        terminal.child.send(draw.choice(keys))
        terminal.read(0.02)
    terminal.resize(80, 24)
    terminal.settle(1.2 * App.NOTIFICATION_TIMEOUT)  # what was told does not go between the two looks
    shown = terminal.text
    terminal.child.send("\x0c")  # everything is painted anew: it must be what stood there
    terminal.settle()
    assert terminal.text == shown


def test_a_window_that_shrinks_keeps_nothing_of_the_larger_one():
    for size in ((99, 40), (99, 44), (90, 40)):
        terminal = Terminal(SERVED, "compare", width=160, height=45)
        try:
            terminal.until(lambda terminal=terminal: terminal.braille > 400)  # type: ignore[misc]
            terminal.settle()
            terminal.resize(*size)
            terminal.settle()
            shown = terminal.text
            terminal.child.send("\x0c")  # everything is painted anew: it must be what stood there
            terminal.settle()
            assert terminal.text == shown
        finally:
            terminal.close()


def test_a_huge_window():
    terminal = Terminal(SERVED, "compare", width=400, height=120)
    try:
        terminal.until(lambda: terminal.braille > 1000)
        terminal.settle()
        assert terminal.cost(RIGHT).bytes < 20_000
        assert "layer 13 " in terminal.text
    finally:
        terminal.close()


@pytest.mark.parametrize(
    "environment",
    [
        {"TERM": "xterm"},
        {"TERM": "linux", "MICROSCOPE_ASCII": "0"},
        {"TERM": "screen"},
        {"TERM": "tmux-256color", "COLORTERM": "truecolor"},
        {"TERM": "xterm-16color"},
        {"TERM": ""},
        {"NO_COLOR": "1"},
        {"LANG": "C", "LC_ALL": "C"},
        {"COLUMNS": "10", "LINES": "5"},
    ],
    ids=lambda environment: "-".join(f"{name}={value}" for name, value in environment.items()),
)
def test_whatever_the_terminal_calls_itself(environment: dict[str, str]):
    terminal = Terminal(SERVED, "compare", width=80, height=24, cwd=ROOT, **environment)
    try:
        terminal.until(lambda: terminal.braille > 100)
        assert "◆" in terminal.text
        terminal.press(RIGHT, lambda: "layer 13 " in terminal.text)
        terminal.child.send("q")
        assert terminal.end() == 0
        assert terminal.is_clean()
    finally:
        terminal.close()


def test_the_console_of_linux_gets_ascii():
    terminal = Terminal(SERVED, "compare", TERM="linux")
    try:
        terminal.until(lambda: all(terminal.text.count(sign) > 12 for sign in "OX"))
        terminal.press(RIGHT, lambda: "layer 13 " in terminal.text)
        assert terminal.raw.isascii()
    finally:
        terminal.close()


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_a_terminal_without_utf_8_gets_ascii(encoding: str, tmp_path: Path):
    options = ("--cache", str(tmp_path / "cache"), "--model", "/nowhere/model")
    terminal = Terminal("microscope_tui", *options, cwd=tmp_path, PYTHONIOENCODING=encoding)
    try:
        terminal.until(lambda: "There is no folder" in " ".join(terminal.text.split()))
        assert terminal.raw.isascii()
        assert b"\\u" not in terminal.raw
    finally:
        terminal.close()


@pytest.mark.parametrize("elsewhere", ["<&-", ">&-", "2>&-", "</dev/null", ">/dev/null", "2>/dev/null"])
def test_a_stream_that_is_no_terminal_is_said(elsewhere: str, tmp_path: Path):
    command = f'"{sys.executable}" -m microscope_tui --cache "{tmp_path}/c" {elsewhere}; echo code=$?'
    env = {**os.environ, "TERM": "xterm", "PYTHONPATH": str(ROOT)}
    child = pexpect.spawn("/bin/sh", ["-c", command], env=env, dimensions=(24, 80), timeout=240)
    child.expect(rb"code=(\d+)")
    assert child.match[1] == b"2"
    assert elsewhere.startswith("2>") or b"needs a terminal" in child.before
    child.expect(pexpect.EOF)
    child.wait()


def test_five_hundred_cursor_keys_at_once_are_one_move(terminal: Terminal):
    before = terminal.settle()
    terminal.child.send(LEFT * 500)
    terminal.until(lambda: "layer 0 " in terminal.text)
    assert terminal.settle() - before < 60_000


def test_a_long_paste_into_a_picker(terminal: Terminal):
    terminal.press("m", lambda: "Model to look at" in terminal.text)
    terminal.child.send("\x1b[200~" + ("x" * 100 + "\r\n") * 100 + "\x1b[201~")
    terminal.until(lambda: "use xxx" in terminal.text)
    terminal.press("\x1b", lambda: "Model to look at" not in terminal.text)
    terminal.press(RIGHT, lambda: "layer 13 " in terminal.text)


def test_the_mouse_moves_the_cursor(terminal: Terminal):
    terminal.child.send(CLICK.format(x=35, y=8))
    terminal.until(lambda: "layer 12 " not in terminal.text and "layer" in terminal.text)
    layer = int(terminal.text.split("layer ")[1].split()[0])
    assert layer > 18
    terminal.child.send(WHEEL_DOWN.format(x=35, y=8))
    terminal.until(lambda: f"layer {layer + 1} " in terminal.text)


def test_a_stop_and_a_start(terminal: Terminal):
    """Without a shell, and by the one signal that nobody can announce; those that a shell sends: `test_suspended`."""
    shown = terminal.text
    terminal.child.kill(signal.SIGSTOP)
    terminal.until(lambda: _state(terminal) == "T")
    terminal.screen.reset()  # whatever stands there meanwhile
    terminal.child.kill(signal.SIGCONT)
    terminal.until(lambda: terminal.text == shown)
    terminal.press(RIGHT, lambda: "layer 13 " in terminal.text)
    terminal.child.send("q")
    assert terminal.end() == 0
    assert terminal.is_clean()


def _state(terminal: Terminal) -> str:
    terminal.read(0.02)
    return Path(f"/proc/{terminal.child.pid}/stat").read_text().rpartition(")")[2].split()[0]
