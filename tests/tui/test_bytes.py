"""What a key costs on a thin line, in bytes to the terminal: 120x40, 256 colours, two models in four panes."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests.terminal import Terminal

QUIET = 0.8
"""Seconds without a byte after which a repaint is taken to be over."""


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    terminal = Terminal("tests.tui.served", "compare", width=120, height=40)
    terminal.until(lambda: terminal.braille > 200)
    _settled(terminal)
    yield terminal
    terminal.child.close(force=True)


def _settled(terminal: Terminal) -> int:
    """Bytes so far, when nothing more comes."""
    end = time.monotonic() + QUIET
    while time.monotonic() < end:
        before = len(terminal.raw)
        terminal.read(0.05)
        if len(terminal.raw) != before:
            end = time.monotonic() + QUIET
    return len(terminal.raw)


def _cost(terminal: Terminal, key: str) -> int:
    before = _settled(terminal)
    terminal.press(key, lambda: len(terminal.raw) > before)
    return _settled(terminal) - before


def test_a_key_costs_few_bytes_and_doing_nothing_none(terminal: Terminal):
    cursor = [_cost(terminal, "\x1b[C") for _ in range(3)]
    metric = [_cost(terminal, key) for key in "231"]
    assert max(cursor) <= 8_000
    assert max(metric) <= 30_000
    assert "layer 15" in terminal.text
    before = _settled(terminal)
    terminal.read(1.0)
    assert len(terminal.raw) == before
    terminal.press("b", lambda: "thin line" in terminal.text)
    assert max(_cost(terminal, "\x1b[D") for _ in range(2)) <= 4_000
    assert max(_cost(terminal, key) for key in "231") <= 20_000
