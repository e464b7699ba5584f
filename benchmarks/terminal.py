"""The explorer as a user at a terminal has it: start, keys, bytes on the line, memory; the shipped demo, a full cache.

All of it is the real program in a pseudo-terminal of 120x40 with 256 colours, and its worker. Every figure of time is
a median; what a bare Textual application needs is measured in turns with ours, for the speed of a machine that others
use changes from one second to the next. A repaint is over with its last byte: what the busy worker tells meanwhile in
the first line of the screen is not counted to the answer to a key.
"""

from __future__ import annotations

import argparse
import itertools
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from microscope_tui.terms import Request, SliceSpec
from microscope_tui.worker.client import Client, stop
from tests.terminal import LEFT, RIGHT, Cost, Terminal

OURS, HELLO = "microscope_tui", "benchmarks._hello"
MODELS, SLICE = ("demo:llava-next", "demo:omnifusion"), "demo:scienceqa"
WIDTH, HEIGHT = 120, 40
HEAVY = ("torch", "transformers", "datasets", "numpy", "PIL", "pyarrow", "pandas", "scipy")
ESCAPE = "\x1b"
RESULT = Path(__file__).parent / "results" / "terminal.md"


@dataclass(frozen=True)
class Figure:
    """A line of the table: what was seen, beside the goal (None: no goal), in a unit."""

    name: str
    seen: float
    unit: str
    goal: float | None = None
    remark: str = ""

    @property
    def missed(self) -> bool:
        return self.goal is not None and self.seen > self.goal

    def cells(self) -> tuple[str, str, str, str, str]:
        digits = 2 if self.unit == "×" else 0
        kept = "" if self.goal is None else "NO" if self.missed else "yes"
        goal = "" if self.goal is None else f"≤ {self.goal:,.0f} {self.unit}"
        return self.name, f"{self.seen:,.{digits}f} {self.unit}", goal, kept, self.remark


@contextmanager
def opened(cache: Path) -> Iterator[Terminal]:
    """The demo as `make demo` opens it for the first time, settled."""
    forget_session(cache)
    terminal = Terminal(OURS, "--cache", str(cache), "demo", width=WIDTH, height=HEIGHT)
    try:
        terminal.until(lambda: full(terminal))
        terminal.settle()
        yield terminal
    finally:
        terminal.close()


def forget_session(cache: Path) -> None:
    """Begin as at the first time: not where the last part was left."""
    (cache / "session.json").unlink(missing_ok=True)


def full(terminal: Terminal) -> bool:
    """Whether all four panes have their curves, and the keys stand below them."""
    titles = ("text · main", "text · residual", "image · main", "image · residual")
    last = terminal.screen.display[-1]
    return "Quit" in last and all(
        terminal.braille_below(title, WIDTH // 2, HEIGHT // 2 - 4) > WIDTH // 4 for title in titles
    )


def fill(cache: Path) -> None:
    """Measure both models of the demo, unless the cache has them."""
    for model in MODELS:
        command = [sys.executable, "-m", OURS, "measure", model, SLICE, "--cache", str(cache), "--json"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


# Start


def start(cache: Path, rounds: int) -> Iterator[Figure]:
    ours, hello, help_ = [], [], []
    for _ in range(rounds):
        forget_session(cache)
        ours.append(once(OURS, ["--cache", str(cache), "demo"], full))
        hello.append(once(HELLO, [], lambda terminal: "Hello" in terminal.text))
        begun = time.monotonic()
        subprocess.run([sys.executable, "-m", OURS, "--help"], check=True, stdout=subprocess.DEVNULL)
        help_.append(time.monotonic() - begun)
    (wall, own, sent), (bare_wall, bare_own, _) = (tuple(zip(*each, strict=True)) for each in (ours, hello))
    yield Figure("process start to usable screen", 1000 * statistics.median(wall), "ms", 500, spread(wall))
    yield Figure(
        "… a Textual application that says hello", 1000 * statistics.median(bare_wall), "ms", None, spread(bare_wall)
    )
    yield Figure("… ratio", statistics.median(a / b for a, b in zip(wall, bare_wall, strict=True)), "×", 2)
    yield Figure("… processor time of ours", 1000 * statistics.median(own), "ms", None, spread(own))
    yield Figure("… processor time of the other", 1000 * statistics.median(bare_own), "ms", None, spread(bare_own))
    yield Figure("… bytes of ours", statistics.median(sent), "B")
    yield Figure("--help", 1000 * statistics.median(help_), "ms", 200, spread(help_))


def once(module: str, arguments: Sequence[str], usable: Callable[[Terminal], bool]) -> tuple[float, float, int]:
    """Seconds from the start of a program until it can be used, those that it computed until it came to rest, and the
    bytes that it sent until it could be used."""
    terminal = Terminal(module, *arguments, width=WIDTH, height=HEIGHT)
    try:
        seconds = terminal.since_start(lambda: usable(terminal))
        fields = Path(f"/proc/{terminal.child.pid}/stat").read_text().rpartition(")")[2].split()
        return seconds, (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK"), len(terminal.raw)
    finally:
        terminal.close()


def spread(seconds: Sequence[float]) -> str:
    return f"{1000 * min(seconds):,.0f} … {1000 * max(seconds):,.0f} ms in {len(seconds)}"


def modules(cache: Path) -> Iterator[Figure]:
    """What is loaded when the demo has been painted and left."""
    with tempfile.TemporaryDirectory() as folder:
        names = Path(folder) / "modules"
        arguments = ["--loaded", str(names), "--cache", str(cache), "demo"]
        terminal = Terminal("benchmarks.terminal", *arguments, width=WIDTH, height=HEIGHT)
        terminal.until(lambda: full(terminal))
        terminal.child.send("q")
        terminal.end()
        loaded = names.read_text().split()
    heavy = [name for name in HEAVY if name in loaded]
    yield Figure("modules after the first paint", len(loaded), "modules")
    yield Figure(f"… of {', '.join(HEAVY)}", len(heavy), "modules", 0, ", ".join(heavy))


# Keys


def keys(cache: Path) -> Iterator[Figure]:
    with opened(cache) as terminal:
        cursor = [terminal.cost(key) for key in [RIGHT] * 8 + [LEFT] * 8]
        metric = [terminal.cost(key) for key in "231231"]
        yield from figures("cursor key", cursor, 40, 8_000)
        yield from figures("metric switch", metric, 100, 30_000)
        terminal.cost("b")
        yield from figures("cursor key, thin line", [terminal.cost(key) for key in [RIGHT] * 4 + [LEFT] * 4])
        yield from figures("metric switch, thin line", [terminal.cost(key) for key in "231"])


def closer(cache: Path) -> Iterator[Figure]:
    """The token view and the map."""
    with opened(cache) as terminal:
        terminal.press("T", lambda: "residual" in terminal.text and "image" in terminal.text and "▶" in terminal.text)
        terminal.settle()
        terminal.cost("\t")
        yield from figures("token view, layer", [terminal.cost(key) for key in [RIGHT] * 6 + [LEFT] * 4], 40, 8_000)
        yield from figures("token view, quantity", [terminal.cost(key) for key in "231231"], 100, 30_000)
        terminal.press(ESCAPE, lambda: full(terminal))
        terminal.settle()
        terminal.press("M", lambda: terminal.text.count("of the variance") == len(MODELS))
        terminal.settle()
        yield from figures("map, layer", [terminal.cost(key) for key in [RIGHT] * 6 + [LEFT] * 4], 40, 8_000)


def busy(cache: Path) -> Iterator[Figure]:
    """Keys while the worker measures something else, for as long as the keys take."""
    seed = time.time_ns()
    others = [SliceSpec.parse(f"{SLICE}?count=600&seed={seed + number}") for number in range(3)]
    with Client.connect(cache, start=True) as client:
        jobs = [client.submit(Request(MODELS[0], other)) for other in others]
        try:
            yield from keys_while_busy(cache)
            assert any(job.id == jobs[-1].id and not job.state.ended for job in client.jobs()), "all was done too early"
        finally:
            for job in jobs:
                client.cancel(job.id)


def keys_while_busy(cache: Path) -> Iterator[Figure]:
    with opened(cache) as terminal:
        terminal.until(lambda: "measuring" in terminal.screen.display[0], 120)
        cursor = [terminal.cost_below(key) for key in ([RIGHT] * 6 + [LEFT] * 6) * 3]
        metric = [terminal.cost_below(key) for key in "231231231"]
    yield from figures("cursor key, worker busy", cursor, 40)
    yield from figures("metric switch, worker busy", metric, 100)


def figures(
    name: str, costs: Sequence[Cost], milliseconds: float | None = None, most: float | None = None
) -> Iterator[Figure]:
    """The median of the time, the largest of the bytes."""
    seconds = [cost.seconds for cost in costs]
    yield Figure(f"{name} to last byte", 1000 * statistics.median(seconds), "ms", milliseconds, spread(seconds))
    sizes = [cost.bytes for cost in costs]
    yield Figure("… bytes, most", max(sizes), "B", most, f"median {statistics.median(sizes):,.0f}")


# Rest


def rest(cache: Path, seconds: float, redraws: int) -> Iterator[Figure]:
    with opened(cache) as terminal:
        before, end = len(terminal.raw), time.monotonic() + seconds
        while time.monotonic() < end:
            terminal.read(0.5)
        yield Figure(f"bytes in {seconds:.0f} s without a key", len(terminal.raw) - before, "B", 0)
        yield Figure("resident memory", resident(terminal), "MB", 100)
        redraw(terminal, 240)
        warm = resident(terminal)
        redraw(terminal, redraws)
        yield Figure(f"… more after {redraws:,} redraws", resident(terminal) - warm, "MB", 10)


def resident(terminal: Terminal) -> float:
    """Resident memory of the screen's process in MB."""
    status = Path(f"/proc/{terminal.child.pid}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS:")) * 1024 / 1e6


def redraw(terminal: Terminal, count: int) -> None:
    """Cursor keys to and fro, each after the answer to the one before it."""
    for number in range(count):
        terminal.cost(RIGHT if number % 12 < 6 else LEFT, quiet=0.004)
        terminal.forget()


# The table


def table(found: Iterable[Figure]) -> Iterator[str]:
    heads = ("", "seen", "goal", "kept", "")
    yield "| " + " | ".join(heads) + " |"
    yield "|---|--:|--:|---|---|"
    for figure in found:
        yield "| " + " | ".join(figure.cells()) + " |"


def noted(figures: Iterable[Figure], found: list[Figure]) -> Iterator[Figure]:
    """The figures as they come, each put into `found`."""
    for figure in figures:
        found.append(figure)
        yield figure


def main() -> int:
    """0 where every goal is kept, else 1."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks terminal --", description=__doc__)
    parser.add_argument("--rounds", type=int, default=7, help="starts of each program")
    parser.add_argument("--idle", type=float, default=60, help="seconds without a key")
    parser.add_argument("--redraws", type=int, default=10_000)
    parser.add_argument("--write", action="store_true", help=f"write the table to {RESULT.name} in results/ as well")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="microscope-bench-") as folder:
        cache = Path(folder)
        fill(cache)
        lines: list[str] = []
        found: list[Figure] = []
        try:
            parts = (
                start(cache, options.rounds),
                modules(cache),
                keys(cache),
                busy(cache),
                closer(cache),
                rest(cache, options.idle, options.redraws),
            )
            for line in table(noted(itertools.chain.from_iterable(parts), found)):
                print(line, flush=True)
                lines.append(line)
        finally:
            stop(cache)
    if options.write:
        versions = f"Textual {version('textual')}, Python {platform.python_version()}"
        heading = f"{WIDTH}x{HEIGHT}, 256 colours, {versions}, {os.cpu_count()} cores."
        RESULT.write_text("\n".join(["# The explorer in a terminal", "", heading, "", *lines, ""]))
    return 1 if any(figure.missed for figure in found) else 0


def loaded(names: Path, arguments: Sequence[str]) -> int:
    """Run the program, and write down the modules that it has loaded when it ends."""
    from microscope_tui.cli import main

    code = main(arguments)
    names.write_text("\n".join(sys.modules))
    return code


if __name__ == "__main__":
    if sys.argv[1:2] == ["--loaded"]:
        sys.exit(loaded(Path(sys.argv[2]), sys.argv[3:]))
    sys.exit(main())
