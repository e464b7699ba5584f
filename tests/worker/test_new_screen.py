"""The real screen in a terminal beside a real worker that measures: killed, and opened anew."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import pytest

from tests.terminal import Terminal
from tests.worker.conftest import Box

pytestmark = pytest.mark.timeout(300)

PROGRESS = re.compile(r"measuring (\d+)/\d+ ex")
SCREENS = 3


@contextmanager
def screen(box: Box) -> Iterator[Terminal]:
    """The explorer on what nobody has measured yet; killed in the end, so that it can say goodbye to nobody."""
    asked = ("--model", "demo:omnifusion", "--slice", "demo:scienceqa", "--cache", str(box.cache))
    terminal = Terminal(
        "microscope_tui", *asked, width=100, height=30, OMP_NUM_THREADS="1", XDG_STATE_HOME=str(box.gates)
    )
    try:
        yield terminal
    finally:
        terminal.child.kill(signal.SIGKILL)
        terminal.close()


def done(terminal: Terminal) -> int:
    """How many examples the screen says to be done, 0 where it does not say."""
    found = PROGRESS.search(terminal.text)
    return int(found[1]) if found else 0


def test_a_new_screen_shows_how_far_the_worker_is_and_lets_it_go_on(box: Box) -> None:
    with screen(box) as first:
        first.until(lambda: done(first) >= 16)
        pid, before = box.pid, done(first)
    for _ in range(SCREENS):
        with screen(box) as again:
            again.until(partial(done, again))
            assert done(again) >= before, "the job went on"
            before = done(again)
    assert box.pid == pid, "it is the same worker"
