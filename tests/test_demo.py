"""The whole house, as a newcomer meets it: the real explorer in a real terminal, on the demo, with a real worker.

Every wait ends before pytest's own limit, so that a failure shows what stood on the screen.
"""

import contextlib
import os
import signal
import time

import pytest

from microscope_tui.store import Store
from microscope_tui.terms import JobState
from microscope_tui.worker import client
from microscope_tui.worker.place import Record
from tests.sure import sure
from tests.terminal import Terminal
from tests.worker.conftest import until

PANES = ("text · main", "text · residual", "image · main", "image · residual")
PATIENCE = 150.0

# No test waits more often than four times for the worker, beside what the screen does at once.
pytestmark = pytest.mark.timeout(900)


@pytest.fixture
def cache(tmp_path):
    """A cache folder whose worker is stopped at the end."""
    folder = tmp_path / "cache"
    yield folder
    client.stop(folder)


@contextlib.contextmanager
def explorer(cache, *arguments, **options):
    terminal = Terminal("microscope_tui", *arguments, "--cache", str(cache), **options)
    try:
        yield terminal
    finally:
        terminal.close()


def leave(terminal):
    terminal.child.send("q")
    assert terminal.end() == 0
    assert terminal.is_clean()
    assert b"Traceback" not in terminal.raw


@contextlib.contextmanager
def standing_still(cache):
    """The worker does nothing meanwhile."""
    pid = sure(Record.read(cache)).pid
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def jobs(cache):
    with Store(cache) as store:
        return store.jobs()


def test_the_demo_lays_the_shipped_pair_over_each_other_the_first_named_first(cache):
    """`demo` and nothing else: both models, all four panes, while the worker is still at the first one."""
    with explorer(cache, "demo", width=120, height=40) as terminal:
        terminal.until(lambda: all(pane in terminal.text for pane in PANES))
        for pane in PANES:
            terminal.until(lambda pane=pane: terminal.braille_below(pane, 50, 14) > 10, PATIENCE)
        assert terminal.text.index("llava-next") < terminal.text.index("omnifusion")
        first, second = jobs(cache)
        assert [str(job.request.slice) for job in (first, second)] == ["demo:scienceqa"] * 2
        assert [job.request.model for job in (first, second)] == ["demo:llava-next", "demo:omnifusion"]
        assert first.started is not None
        assert second.started is None or first.started < second.started
        leave(terminal)


def test_four_panes_fill_without_a_key_press_and_at_once_the_second_time(cache):
    small = ("--model", "demo:omnifusion", "--slice", "demo:scienceqa?count=40")
    with explorer(cache, *small, width=120, height=40) as terminal:
        terminal.until(lambda: all(pane in terminal.text for pane in PANES))
        terminal.until(lambda: "worker idle" in terminal.text and terminal.braille > 200, PATIENCE)
        assert "n/d" in terminal.text
        linearity = terminal.text
        terminal.press("3", lambda: "λ₁/Σλ" in terminal.text)
        assert terminal.text != linearity
        terminal.press("c", lambda: "Model to lay over" in terminal.text)
        terminal.press("llava\r", lambda: "◆" in terminal.text and "Model to lay over" not in terminal.text)
        terminal.until(lambda: "worker idle" in terminal.text and terminal.text.count("◆") > 4, PATIENCE)
        terminal.press("z", lambda: "image · main" not in terminal.text)
        terminal.press("z", lambda: "image · main" in terminal.text)  # the next start shows what this one left
        leave(terminal)
    assert [job.state for job in jobs(cache)] == [JobState.DONE] * 2
    client.stop(cache)
    with explorer(cache, *small, width=120, height=40) as terminal:
        terminal.until(lambda: terminal.braille > 200)
        leave(terminal)
    assert not client.is_running(cache), "what is in the cache needs no worker"


def test_quitting_leaves_the_worker_alive_until_its_job_ends(cache):
    with explorer(cache, "--model", "demo:llava-next", "--slice", "demo:scienceqa?count=120") as terminal:
        terminal.until(lambda: "measuring" in terminal.text, PATIENCE)
        with standing_still(cache):  # so that the job is not over before the screen is
            leave(terminal)
            left = time.time()
    assert client.is_running(cache)
    until(lambda: jobs(cache)[0].state.ended, "the job to end", PATIENCE)
    (job,) = jobs(cache)
    assert job.state is JobState.DONE
    assert job.ended is not None
    assert job.ended > left
    assert job.progress.done == job.progress.total == 120


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--model", "demo:gpt"), ("demo:gpt", "demo:llava-next")),
        (("--model", "/nowhere/model"), ("/nowhere/model",)),
        (("--slice", "demo:scienceqa?filter=subject:alchemy"), ("alchemy",)),
    ],
)
def test_what_is_wrong_is_said_in_place_and_the_app_goes_on(cache, arguments, words):
    with explorer(cache, *arguments, width=120, height=40) as terminal:
        terminal.until(lambda: all(word in " ".join(terminal.text.split()) for word in words), PATIENCE)
        terminal.press("?", lambda: "finds everything by name" in terminal.text)
        terminal.press("\x1b", lambda: "finds everything by name" not in terminal.text)
        leave(terminal)


def test_the_screens_process_never_loads_what_computes(cache):
    """Measured on the living process: its memory maps name no library of torch, and it stays small."""
    small = ("--model", "demo:omnifusion", "--slice", "demo:scienceqa?count=8")
    with explorer(cache, *small) as terminal:
        terminal.until(lambda: "worker idle" in terminal.text and terminal.braille > 50, PATIENCE)
        with open(f"/proc/{terminal.child.pid}/maps") as maps:
            loaded = maps.read()
        leave(terminal)
    assert not [name for name in ("libtorch", "numpy", "pyarrow", "PIL") if name in loaded]
