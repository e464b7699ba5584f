"""A real program in a pseudo-terminal, looked at through a terminal emulator, with what it sends and when."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pexpect
import pyte

ROOT = Path(__file__).parents[1]
DEADLINE = 120.0
"""Seconds after which what did not come is taken to come no more: many, for other work may go on on the machine."""
QUIET = 0.5
"""Seconds without a byte after which a repaint is taken to be over."""
LOOK = 0.02
"""Seconds that one waits for the next byte before one looks around."""
RIGHT, LEFT, UP, DOWN = "\x1b[C", "\x1b[D", "\x1b[A", "\x1b[B"

# pyte knows neither private modes with a final p, > or < nor the pointer shape: left out, as terminals do
UNKNOWN = re.compile(rb"\x1b\[[<>=][\d;]*[a-zA-Z]|\x1b\[\?[\d;]*\$p|\x1b\][^\x07]*\x07")
NOT_OURS = ("COLORTERM", "NO_COLOR", "PYTHONDONTWRITEBYTECODE")
"""What a user's terminal need not have; without bytecode every start would compile all there is."""
MOVE = re.compile(rb"\x1b\[(\d+);\d+H")


def dots(text: str) -> int:
    """How many characters are braille with at least one dot."""
    return sum(0x2800 < ord(char) < 0x2900 for char in text)


def _as_a_terminal_does() -> None:
    """No signal is ignored, whoever runs the tests, also below nohup and in the background of a script."""
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT):
        signal.signal(number, signal.SIG_DFL)


@dataclass(frozen=True)
class Cost:
    """What the answer to some keys was: bytes, and seconds until the last of them."""

    bytes: int
    seconds: float


class Terminal:
    """A program in a pseudo-terminal and the screen that it paints."""

    def __init__(
        self, module: str, *arguments: str, width: int = 80, height: int = 24, cwd: Path = ROOT, **environment: str
    ) -> None:
        env = {k: v for k, v in os.environ.items() if k not in NOT_OURS}
        env |= {"TERM": "xterm-256color", "PYTHONPATH": str(ROOT), **environment}
        command = ["-m", module, *arguments]
        self.started = time.monotonic()
        options = {"cwd": cwd, "env": env, "dimensions": (height, width), "preexec_fn": _as_a_terminal_does}
        self.child = pexpect.spawn(sys.executable, command, timeout=None, **options)
        self.child.delaybeforesend = None
        self.raw = bytearray()
        self.chunks: list[tuple[float, int]] = []
        """When something came, and how many bytes there were then."""
        self._shown = 0
        self._screen = pyte.Screen(width, height)
        self._stream = pyte.ByteStream(self._screen)

    @property
    def screen(self) -> pyte.Screen:
        """What is painted now. The emulator is slower than a program: it takes in what came when somebody looks."""
        if len(self.raw) > self._shown:
            self._stream.feed(UNKNOWN.sub(b"", bytes(self.raw[self._shown :])))
            self._shown = len(self.raw)
        return self._screen

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

    def resize(self, width: int, height: int) -> None:
        """Give the window another size; the program is told."""
        self.screen.resize(height, width)
        self.child.setwinsize(height, width)

    def read(self, seconds: float) -> bool:
        """Take in what came; False at the end."""
        try:
            data = self.child.read_nonblocking(1 << 16, timeout=seconds)
        except pexpect.TIMEOUT:
            return True
        except pexpect.EOF:
            return False
        self.raw += data
        self.chunks.append((time.monotonic(), len(self.raw)))
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

    def settle(self, quiet: float = QUIET, seconds: float = DEADLINE) -> int:
        """Take in what comes until nothing does for a while, in which the program has nothing to do either: on a busy
        machine one that has work and no turn is as silent as one that is done. The bytes so far."""
        end = time.monotonic() + seconds
        looks = 0  # counted, for the time may have passed without a turn for anybody
        while looks < quiet / LOOK:
            assert time.monotonic() < end, f"does not come to rest:\n{self.text}"
            before = len(self.raw)
            assert self.read(LOOK), f"ended:\n{self.text}"
            looks = looks + 1 if len(self.raw) == before and self._waits() else 0
        return len(self.raw)

    def _waits(self) -> bool:
        """Whether no thread of the program, nor of what it has started in this terminal, could go on now."""
        processes = [self.child.pid]
        for pid in processes:  # which grows as it is walked
            for task in Path(f"/proc/{pid}/task").glob("*"):
                with contextlib.suppress(OSError):  # it has just ended
                    if (task / "stat").read_text().rpartition(") ")[2][0] in "RD":
                        return False
                    processes += map(int, (task / "children").read_text().split())
        return True

    def cost(self, keys: str, quiet: float = QUIET) -> Cost:
        """What the answer to some keys is; there must be one."""
        start, pressed = len(self.raw), time.monotonic()
        self.child.send(keys)
        self.until(lambda: len(self.raw) > start)
        end = self.settle(quiet)
        return Cost(end - start, self.chunks[-1][0] - pressed)

    def cost_below(self, keys: str, quiet: float = QUIET, head: int = 1) -> Cost:
        """What the answer to some keys is without what is painted in the first `head` lines, where something else goes
        on; there must be one."""
        start, pressed = len(self.raw), time.monotonic()
        self.child.send(keys)
        last = pressed + DEADLINE
        spans: list[tuple[int, int]] = []
        while (now := time.monotonic()) < last + quiet * bool(spans):
            assert now < pressed + DEADLINE, f"no answer to {keys!r}:\n{self.text}"
            assert self.read(LOOK), f"ended:\n{self.text}"
            moves = [*MOVE.finditer(self.raw, start)]
            ends = [*(move.start() for move in moves[1:]), len(self.raw)]
            spans = [(move.start(), end) for move, end in zip(moves, ends, strict=False) if int(move[1]) > head]
            last = self._when(spans[-1][1]) if spans else pressed + DEADLINE
        return Cost(sum(end - begin for begin, end in spans), last - pressed)

    def since_start(self, holds: Callable[[], object]) -> float:
        """Seconds from the start of the program to the first moment in which a condition holds. What came is looked at
        only when the program has come to rest, so that looking costs it nothing."""
        end = self.started + DEADLINE
        self.settle()
        while not holds():
            assert time.monotonic() < end, f"waited too long:\n{self.text}"
            self.settle()
        self._screen.reset()
        came, self.raw, self._shown = self.raw, bytearray(), 0
        for when, size in self.chunks:
            self.raw += came[len(self.raw) : size]
            if holds():
                return when - self.started
        raise AssertionError("it was seen and is not seen again")

    def _when(self, size: int) -> float:
        """When so many bytes were there."""
        return next(when for when, had in self.chunks if had >= size)

    def forget(self) -> None:
        """Forget what came so far; what is painted stays."""
        self.screen.dirty.clear()
        self.raw.clear()
        self.chunks.clear()
        self._shown = 0

    def end(self) -> int:
        """Wait for the end; the exit code."""
        end = time.monotonic() + DEADLINE
        while self.read(0.05):
            assert time.monotonic() < end, "does not end"
        self.child.wait()
        return self.child.exitstatus if self.child.exitstatus is not None else -(self.child.signalstatus or 0)

    def close(self) -> None:
        """End the program, if it has not ended, and wait for that: pexpect itself gives it but tenths of a second."""
        if self.child.isalive():
            self.child.kill(signal.SIGKILL)
            self.child.wait()
        self.child.close()

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
