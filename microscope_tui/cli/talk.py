"""What the command line says: data on stdout as columns or JSON, progress on stderr."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import textwrap
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
        now, phase = time.monotonic(), progress.phase
        if now - last < every and phase == last_phase:
            return
        last, last_phase = now, phase
        text = describe(progress)
        say(f"\r{text:<{width}}" if live else text, end="" if live else "\n")
        width = len(text)

    try:
        yield show
    finally:
        if live and width:
            say(f"\r{'':<{width}}\r", end="")


def describe(progress: Progress) -> str:
    """One line for people, as the screen has it, and how many tokens went through."""
    from microscope_tui.tables import progress_pieces  # here, for every start of the screen comes by this module

    parts = [text for _, text in progress_pieces(progress)]
    if progress.tokens and progress.percent is None:
        parts.insert(1, f"{progress.tokens:,} tokens")
    return " · ".join(parts)


def say(text: str, *, end: str = "\n") -> None:
    """Talk, on stderr. When nobody reads it any more it goes nowhere: the data on stdout are not lost for that."""
    try:
        print(text, end=end, file=sys.stderr, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())


def complain(text: str) -> None:
    """A sentence on stderr, in a terminal broken between its words rather than at its edge."""
    try:
        width = os.get_terminal_size(sys.stderr.fileno()).columns
    except (OSError, ValueError):  # no terminal: whoever reads it finds a sentence in a line
        width = 0
    say(textwrap.fill(text, width, break_long_words=False, break_on_hyphens=False) if width > 0 else text)


LEAST_NAME = 24
"""Letters of a name that a table keeps in any case."""


def table(header: Sequence[str], rows: Sequence[Sequence[str]], *, names: Sequence[str] = ()) -> None:
    """Aligned columns on stdout; in a terminal the columns of `names` are cut to what room it has for them. Never cut
    where it goes elsewhere, so that it can be piped."""
    lines = [tuple(header), *(tuple(map(str, row)) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    try:
        room = os.get_terminal_size(sys.stdout.fileno()).columns
    except (OSError, ValueError):  # no terminal
        room = 0
    if room > 0 and names:
        from microscope_tui.tui.content.readout import shorten  # here, for a start of the screen does not cut

        # What is said in the last column may go on in the next line.
        room -= sum(width + 2 for name, width in zip(header[:-1], widths[:-1], strict=True) if name not in names)
        room -= len(header[-1]) + 2 * len(names)
        places = sorted(map(header.index, names), key=widths.__getitem__)
        for left, place in zip(range(len(places), 0, -1), places, strict=True):
            widths[place] = min(widths[place], max(room // left, LEAST_NAME))
            room -= widths[place]
        lines = [tuple(shorten(c, widths[i]) if i in places else c for i, c in enumerate(line)) for line in lines]
    for line in lines:
        print("  ".join(f"{cell:<{width}}" for cell, width in zip(line, widths, strict=True)).rstrip())


def print_json(data: Any) -> None:
    """Data as JSON on stdout; a number that is none raises `ValueError`."""
    json.dump(data, sys.stdout, indent=1, ensure_ascii=False, allow_nan=False)
    print()
