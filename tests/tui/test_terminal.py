"""The real application in a pseudo-terminal, looked at through a terminal emulator."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from tests.terminal import Terminal

SERVED = "tests.tui.served"


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    terminal = Terminal(SERVED)
    yield terminal
    terminal.close()


def test_start_metric_compare_zoom_quit(terminal: Terminal):
    terminal.until(lambda: terminal.braille > 80)
    assert all(title in terminal.text for title in ("text · main", "text · residual", "image · main"))
    terminal.press("2", lambda: "TwoNN" in terminal.text)
    terminal.press("3", lambda: "λ₁/Σλ" in terminal.text)
    terminal.press("\x1b[C", lambda: "layer 13" in terminal.text)
    terminal.press("c", lambda: "Model to lay over" in terminal.text and "demo:omnifusion" in terminal.text)
    terminal.press("omni", lambda: "omni" in terminal.text)
    terminal.press("\r", lambda: "◆" in terminal.text and "Model to lay over" not in terminal.text)
    terminal.press("z", lambda: "image · main" not in terminal.text)
    terminal.press("z", lambda: "image · main" in terminal.text)
    terminal.child.send("q")
    assert terminal.end() == 0
    assert b"\x1b[?1049h" in terminal.raw
    assert terminal.is_clean()
    assert b"Traceback" not in terminal.raw


@pytest.mark.parametrize("number", [signal.SIGTERM])
def test_a_signal_leaves_the_terminal_clean(terminal: Terminal, number: int):
    terminal.until(lambda: terminal.braille > 80)
    terminal.child.kill(number)
    assert terminal.end() == 128 + number
    assert terminal.is_clean()


def test_a_terminal_that_goes_away_ends_the_screen(terminal: Terminal):
    terminal.until(lambda: terminal.braille > 80)
    terminal.child.kill(signal.SIGHUP)
    assert terminal.end() == -signal.SIGHUP
    assert terminal.is_clean()


def test_without_colours_series_differ_by_their_signs():
    terminal = Terminal(SERVED, NO_COLOR="1")
    try:
        terminal.until(lambda: terminal.braille > 80)
        terminal.press("c", lambda: "demo:omnifusion" in terminal.text)
        terminal.press("omni", lambda: "omni" in terminal.text)
        terminal.press("\r", lambda: terminal.text.count("◆") > 12)
        assert terminal.text.count("●") > 12
    finally:
        terminal.close()


def test_what_was_told_twice_is_gone_from_the_terminal_when_its_time_is_over(terminal: Terminal):
    terminal.until(lambda: terminal.braille > 80)
    terminal.press("Y", lambda: "copied" in terminal.text and "(CSV)" not in terminal.text)
    terminal.press("\x19", lambda: "copied the table (CSV)" in terminal.text)
    terminal.until(lambda: "copied" not in terminal.text)
    assert "worker idle" in terminal.text
