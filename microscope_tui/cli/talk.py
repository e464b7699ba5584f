"""What the command line says: data on stdout as columns or JSON, progress on stderr."""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from microscope_tui.terms import Progress


@contextlib.contextmanager
def talk() -> Iterator[Callable[[Progress], None]]:
    """Progress on stderr: one line rewritten in a terminal, else a line every few seconds."""
    live = sys.stderr.isatty()
    every = 0.2 if live else 5.0
    last, last_phase, width = 0.0, "", 0

    def show(progress: Progress) -> None:
        nonlocal last, last_phase, width
        now, phase = time.monotonic(), progress.stage
        if now - last < every and phase == last_phase:
            return
        last, last_phase = now, phase
        text = describe(progress)
        print(f"\r{text:<{width}}" if live else text, end="" if live else "\n", file=sys.stderr, flush=True)
        width = len(text)

    try:
        yield show
    finally:
        if live and width:
            print(f"\r{'':<{width}}\r", end="", file=sys.stderr, flush=True)


def describe(progress: Progress) -> str:
    """One line for people: `measuring 120/600 examples · 9,812 tokens · 12.3/s · 0:39 left`."""
    parts = [progress.phase]
    if progress.stage != progress.phase:  # it counts by itself, and something else than examples
        return parts[0]
    if progress.done:
        parts[0] += f" {progress.done}/{progress.total} {progress.unit}"
        parts += [f"{progress.tokens:,} tokens"] if progress.tokens else []
    if progress.done and progress.rate:
        parts.append(f"{progress.rate:.1f}/s")
    if progress.eta is not None and progress.done < progress.total:
        parts.append(f"{int(progress.eta) // 60}:{int(progress.eta) % 60:02d} left")
    return " · ".join(parts)


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Aligned columns on stdout; never cut, so that it can be piped."""
    lines = [tuple(header), *(tuple(map(str, row)) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        print("  ".join(f"{cell:<{width}}" for cell, width in zip(line, widths, strict=True)).rstrip())


def print_json(data: Any) -> None:
    """Data as JSON on stdout; a number that is none raises `ValueError`."""
    json.dump(data, sys.stdout, indent=1, ensure_ascii=False, allow_nan=False)
    print()
