"""Leaving for a while: the shell has its terminal back, and `fg` the screen."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.terminal import Terminal
from tests.tui.shell import PROMPT

pytestmark = pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Terminal]:
    terminal = Terminal("tests.tui.shell", cwd=tmp_path)
    try:
        terminal.until(lambda: PROMPT in terminal.text)
        yield terminal
    finally:
        terminal.child.close(force=True)


STRAIGHT = f"{sys.executable} -m tests.tui.served\r"
WRAPPED = f"sh -c '{sys.executable} -m tests.tui.served; echo over'\r"


def prompted(shell: Terminal) -> bool:
    """Whether the shell waits for a line."""
    return shell.raw.endswith(PROMPT.encode())


@pytest.mark.parametrize("command", [STRAIGHT, WRAPPED])
@pytest.mark.parametrize("over", ["", "?"])
def test_the_shell_comes_and_the_screen_comes_back(shell: Terminal, command: str, over: str):
    shell.press(command, lambda: shell.braille > 80)
    if over:
        shell.press(over, lambda: "Keys" in shell.text)
    for _ in range(2):
        shell.press("\x1a", lambda: b"Stopped" in shell.raw and prompted(shell))
        assert shell.is_clean()
        shell.press("echo $((40 + 2))e\r", lambda: b"42e" in shell.raw and prompted(shell))
        shell.forget()
        shell.screen.reset()  # whatever stood there
        shell.press("fg\r", lambda: "layer 12" in shell.text or "Keys" in shell.text)
        shell.settle()
        assert ("Keys" in shell.text) == bool(over)
        assert shell.braille > 80 or over
        assert b"\x1b[?1049h" in shell.raw
    if over:
        shell.press("\x1b", lambda: "Keys" not in shell.text)
        shell.settle()
    shell.press("\x1b[C", lambda: "layer 13" in shell.text)
    shell.press("q", lambda: prompted(shell))
    assert shell.is_clean()
    assert b"Traceback" not in shell.raw


def test_without_a_shell_nothing_stops():
    terminal = Terminal("tests.tui.served")
    try:
        terminal.until(lambda: terminal.braille > 80)
        terminal.child.send("\x1a")
        terminal.press("\x1b[C", lambda: "layer 13" in terminal.text)
        terminal.child.send("\x11")
        assert terminal.end() == 0
        assert terminal.is_clean()
    finally:
        terminal.child.close(force=True)
