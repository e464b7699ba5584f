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


class Terminal:
    """A program in a pseudo-terminal and the screen that it paints."""

    def __init__(self, module: str, *arguments: str, width: int = 80, height: int = 24, **environment: str) -> None:
        env = {k: v for k, v in os.environ.items() if k not in ("COLORTERM", "NO_COLOR")}
        env |= {"TERM": "xterm-256color", "PYTHONPATH": str(ROOT), **environment}
        command = ["-m", module, *arguments]
        self.child = pexpect.spawn(sys.executable, command, cwd=ROOT, env=env, dimensions=(height, width), timeout=None)
        self.raw = b""
        self.screen = pyte.Screen(width, height)
        self.stream = pyte.ByteStream(self.screen)

    @property
    def text(self) -> str:
        return "\n".join(self.screen.display)

    @property
    def braille(self) -> int:
        """How many cells hold dots of a curve."""
        return sum(ord(char) > 0x2800 for char in self.text)

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
        """Whether all that was switched on is off again: other screen, hidden cursor, mouse, pasting, focus."""
        for mode in (1049, 1000, 1003, 1006, 2004, 1004):
            last_on, last_off = self.raw.rfind(b"\x1b[?%dh" % mode), self.raw.rfind(b"\x1b[?%dl" % mode)
            if last_on > last_off:
                return False
        return self.raw.rfind(b"\x1b[?25l") < self.raw.rfind(b"\x1b[?25h")
