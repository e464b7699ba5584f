"""The store against plain files: 1 GB in entries of 16 MB, written, and read back from the page cache.

Both sides wait until each entry is on the disk (fsync), so that it would outlive a power cut; whatever the store
reads has its length and digest checked, each time. `read` is what a fresh process reads and keeps; `in warm memory`
lets each value go before the next, so that reading costs no new pages and the check is all the difference; `mapped`
copies every byte out of a memory map. The sides take turns at every entry, for the speed of a disk and of a machine
that others use changes from one second to the next; of each entry the quickest of all rounds counts.
"""

from __future__ import annotations

import json
import mmap
import os
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from microscope_tui.store import Store

SIZE = 16_000_000
COUNT = 64
ROUNDS = 5

GOALS = {"write": 1.3, "read": 1.5}

Act = Callable[[int], object]
Times = list[tuple[float, float]]
"""Seconds of the store and of plain files, for each entry."""


class Sides:
    """One folder with a store and plain files beside it."""

    def __init__(self, root: Path) -> None:
        self.store, self._plain = Store(root / "store"), root / "plain"
        self._plain.mkdir(exist_ok=True)

    def write(self, value: bytes) -> tuple[Act, Act]:
        def plain(number: int) -> None:
            with open(self._plain / str(number), "wb", buffering=0) as file:
                file.write(value)
                os.fsync(file.fileno())

        return lambda number: self.store.put_blob(str(number), value), plain

    def read(self) -> tuple[Act, Act]:
        def plain(number: int) -> bytes:
            with open(self._plain / str(number), "rb", buffering=0) as file:
                return file.read()

        return lambda number: self.store.blob(str(number)), plain

    def mapped(self) -> tuple[Act, Act]:
        def copied(path: Path | None) -> bytes:
            assert path is not None
            with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as mapped:
                return mapped[:]

        return lambda number: copied(self.store.blob_file(str(number))), lambda number: copied(
            self._plain / str(number)
        )


def in_turns(sides: tuple[Act, Act], kept: list[object] | None = None) -> Times:
    """One round over all entries; what is read goes into `kept`."""
    times: Times = []
    for number in range(COUNT):
        took = [0.0, 0.0]
        for side in (number % 2, 1 - number % 2):
            started = time.perf_counter()
            value = sides[side](number)
            took[side] = time.perf_counter() - started
            if kept is not None:
                kept.append(value)
            del value
        times.append((took[0], took[1]))
    return times


def in_fresh_process(root: Path) -> Times:
    command = [sys.executable, "-m", "benchmarks.store", str(root)]
    return [tuple(times) for times in json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)]


def quickest(rounds: list[Times]) -> tuple[float, float]:
    """Seconds for all entries, of the store and of plain files."""
    ours, theirs = (sum(min(times[number][side] for times in rounds) for number in range(COUNT)) for side in (0, 1))
    return ours, theirs


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="microscope-bench-", dir=Path.cwd()) as folder:
        root = Path(folder)
        sides = Sides(root)
        found = {
            "write": quickest([in_turns(sides.write(secrets.token_bytes(SIZE)))]),
            "read": quickest([in_fresh_process(root) for _ in range(ROUNDS)]),
            "in warm memory": quickest([in_turns(sides.read()) for _ in range(ROUNDS)]),
            "mapped": quickest([in_turns(sides.mapped()) for _ in range(ROUNDS)]),
        }
    print(f"{'':<14} {'store':>12} {'plain files':>12} {'ratio':>7} {'goal':>6}   ({COUNT} × {SIZE / 1e6:.0f} MB)")
    for name, (ours, theirs) in found.items():
        speeds = " ".join(f"{SIZE * COUNT / 1e6 / each:>7.0f} MB/s" for each in (ours, theirs))
        print(f"{name:<14} {speeds} {ours / theirs:>7.2f} {f'≤ {GOALS[name]}' if name in GOALS else '':>6}")


if __name__ == "__main__":
    if sys.argv[1:]:
        print(json.dumps(in_turns(Sides(Path(sys.argv[1])).read(), [])))
    else:
        main()
