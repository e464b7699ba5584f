"""Leaving for a while: the shell has its terminal back, and `fg` the screen."""

from __future__ import annotations

import io
import os
import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from textual.app import App
from textual.drivers._writer_thread import MAX_QUEUED_WRITES, WriterThread

from microscope_tui.tui.output.sparing import SparingDriver
from tests.terminal import Terminal
from tests.tui.driving import explorer
from tests.tui.fake import FakeSource, made_up
from tests.tui.shell import PROMPT

pytestmark = pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Terminal]:
    terminal = Terminal("tests.tui.shell", cwd=tmp_path)
    try:
        terminal.until(lambda: PROMPT in terminal.text)
        yield terminal
    finally:
        terminal.close()


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
        terminal.close()


def started(shell: Terminal) -> int:
    """The process that the shell has started."""
    pid = shell.child.pid
    (child,) = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return int(child)


def is_stopped(process: int) -> bool:
    return Path(f"/proc/{process}/stat").read_text().rpartition(") ")[2].startswith("T")


def go_on_behind(shell: Terminal) -> None:
    """`bg`: once more where the shell has not heard yet that the program has stopped."""
    shell.forget()
    while b"&\r\n" not in shell.raw:
        shell.forget()
        shell.press("bg\r", lambda: prompted(shell))


needs_proc = pytest.mark.skipif(not Path("/proc").is_dir(), reason="processes are found in /proc")


@needs_proc
def test_behind_and_to_the_fore_again(shell: Terminal):
    shell.press(STRAIGHT, lambda: shell.braille > 80)
    shell.press("\x1a", lambda: b"Stopped" in shell.raw and prompted(shell))
    process = started(shell)
    for _ in range(4):
        go_on_behind(shell)
        shell.until(lambda: is_stopped(process))  # again, for it reached for the terminal
    before = len(shell.raw)
    shell.settle()
    assert shell.raw[before:] in (b"", PROMPT.encode())
    shell.screen.reset()
    shell.press("fg\r", lambda: "layer 12" in shell.text and shell.braille > 80)
    shell.settle()  # what is typed while the terminal is taken is dropped with what was typed for the shell
    assert shell.raw.count(b"\x1b[?1049h") == 1
    shell.press("\x1b[C", lambda: "layer 13" in shell.text)
    shell.press("q", lambda: prompted(shell))
    assert shell.is_clean()


async def test_who_leaves_takes_the_terminal_no_more():
    signals = (signal.SIGTSTP, signal.SIGCONT)
    async with explorer(FakeSource([made_up()])) as e:
        assert signal.SIG_DFL not in map(signal.getsignal, signals)
        e.pilot.app.exit(0)
        assert {signal.SIG_DFL} == {*map(signal.getsignal, signals)}


async def test_a_terminal_that_is_not_ours_is_written_to_by_nobody():
    heeded = {number: signal.getsignal(number) for number in (signal.SIGTSTP, signal.SIGCONT)}
    driver = SparingDriver(App())
    for number, before in heeded.items():  # which it has taken
        signal.signal(number, before)
    driver._writer_thread = thread = WriterThread(io.StringIO())
    thread.start()
    driver.write("x")
    for _ in range(3 * MAX_QUEUED_WRITES):  # more than the queue of a thread that has ended would hold
        driver.close()
        driver.write("x")
    assert not thread.is_alive()


@needs_proc
@pytest.mark.parametrize("stop", [signal.SIGSTOP, signal.SIGTSTP, signal.SIGCONT])
def test_a_signal_from_elsewhere(shell: Terminal, stop: signal.Signals):
    """Stopped by somebody else, or told to go on while it runs: the terminal is taken once, and given back once."""
    shell.press(STRAIGHT, lambda: shell.braille > 80)
    shell.settle()
    os.kill(started(shell), stop)
    if stop != signal.SIGCONT:
        shell.until(lambda: b"Stopped" in shell.raw and prompted(shell))
        shell.screen.reset()
        shell.child.send("fg\r")
    shell.until(lambda: shell.raw.count(b"\x1b[?1049h") == 2 and shell.braille > 80)
    shell.settle()
    shell.press("\x1b[C", lambda: "layer 13" in shell.text)
    shell.press("\x1b[C", lambda: "layer 14" in shell.text)
    shell.press("q", lambda: prompted(shell))
    assert shell.is_clean()
