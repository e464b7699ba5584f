"""A real program in a pseudo-terminal, looked at through a terminal emulator."""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pexpect
import pyte

ROOT = Path(__file__).parents[1]
DEADLINE = 30.0


def dots(text: str) -> int:
    """How many characters are braille with at least one dot."""
    return sum(0x2800 < ord(char) < 0x2900 for char in text)


class Terminal:
    """A program in a pseudo-terminal and the screen that it paints."""

    def __init__(
        self, module: str, *arguments: str, width: int = 80, height: int = 24, cwd: Path = ROOT, **environment: str
    ) -> None:
        env = {k: v for k, v in os.environ.items() if k not in ("COLORTERM", "NO_COLOR")}
        env |= {"TERM": "xterm-256color", "PYTHONPATH": str(ROOT), **environment}
        command = ["-m", module, *arguments]
        self.child = pexpect.spawn(sys.executable, command, cwd=cwd, env=env, dimensions=(height, width), timeout=None)
        self.raw = b""
        self.screen = pyte.Screen(width, height)
        self.stream = pyte.ByteStream(self.screen)

    @property
    def text(self) -> str:
        return "\n".join(self.screen.display)

    @property
    def braille(self) -> int:
        """How many cells hold dots of a curve."""
        return dots(self.text)

    def braille_below(self, title: str, width: int, height: int) -> int:
        """How many cells of a pane hold dots of a curve: in a box that begins with its title; -1 without one."""
        for y, line in enumerate(self.screen.display):
            if (x := line.find(title)) >= 0:
                return dots("".join(row[x : x + width] for row in self.screen.display[y : y + height]))
        return -1

    def read(self, seconds: float) -> bool:
        """Take in what came; False at the end."""
        try:
            data = self.child.read_nonblocking(1 << 16, timeout=seconds)
        except pexpect.TIMEOUT:
            return True
        except pexpect.EOF:
            return False
        self.raw += data
        # pyte knows neither private modes with a final p, > or < nor the pointer shape: left out, as terminals do
        self.stream.feed(re.sub(rb"\x1b\[[<>=][\d;]*[a-zA-Z]|\x1b\[\?[\d;]*\$p|\x1b\][^\x07]*\x07", b"", data))
        return True

    def until(self, holds: Callable[[], object], seconds: float = DEADLINE) -> None:
        """Take in what comes until a condition holds; fail after a while, or when the program ends."""
        end = time.monotonic() + seconds
        while not holds():
            assert time.monotonic() < end, f"waited too long:\n{self.text}"
            assert self.read(0.05), f"ended:\n{self.text}"

    def press(self, keys: str, holds: Callable[[], object]) -> None:
        self.child.send(keys)
        self.until(holds)

    def end(self) -> int:
        """Wait for the end; the exit code."""
        end = time.monotonic() + DEADLINE
        while self.read(0.05):
            assert time.monotonic() < end, "does not end"
        self.child.close()
        return self.child.exitstatus if self.child.exitstatus is not None else -(self.child.signalstatus or 0)

    def is_clean(self) -> bool:
        """Whether all that was switched on is off again: other screen, hidden cursor, mouse, pasting, focus, and the
        keyboard protocol, which is put on a stack and taken off it."""
        pushed, popped = (re.findall(form, self.raw) for form in (rb"\x1b\[>\d+u", rb"\x1b\[<\d*u"))
        if len(pushed) != len(popped):
            return False
        for mode in (1049, 1000, 1003, 1006, 1015, 2004, 1004):
            last_on, last_off = self.raw.rfind(b"\x1b[?%dh" % mode), self.raw.rfind(b"\x1b[?%dl" % mode)
            if last_on > last_off:
                return False
        return self.raw.rfind(b"\x1b[?25l") < self.raw.rfind(b"\x1b[?25h")
