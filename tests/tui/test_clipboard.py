"""Text on its way to the clipboard, through multiplexers too."""

import base64
import os
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from microscope_tui.tui.output.clipboard import LIMIT, hand_over, osc52, wrapped
from tests.tui.driving import DEADLINE, explorer, filled
from tests.tui.fake import MODELS, SLICE, FakeSource, Shape, made_up

needs_tmux = pytest.mark.skipif(shutil.which("tmux") is None, reason="tmux is not installed")


def test_the_sequence_is_that_of_xterm():
    assert osc52("héllo") == "\x1b]52;c;" + base64.b64encode("héllo".encode()).decode() + "\x07"
    assert len(osc52("x" * LIMIT)) <= 100_000


def test_screen_gets_short_pieces_that_it_joins():
    text = osc52("x" * 1000)
    pieces = re.findall(r"\x1bP(.*?)\x1b\\", wrapped(text), flags=re.DOTALL)
    assert "".join(pieces) == text
    assert max(map(len, pieces)) < 128


def test_without_a_multiplexer_nothing_is_handed_over(tmp_path: Path):
    tty = tmp_path / "tty"
    assert not hand_over("x", {}, tty)
    assert not tty.exists()
    assert hand_over("x", {"STY": "1234.pts"}, tty)
    assert tty.read_text() == wrapped(osc52("x"))


@pytest.fixture
def tmux(tmp_path: Path) -> Iterator[dict[str, str]]:
    """The environment of a program in a tmux of our own, as its server gives it."""
    base = {k: v for k, v in os.environ.items() if k not in ("TMUX", "TMUX_TMPDIR")} | {"TMUX_TMPDIR": str(tmp_path)}
    told = tmp_path / "told"
    start = ["tmux", "-f", "/dev/null", "new-session", "-d", f"echo $TMUX > {told}.part; mv {told}.part {told}; cat"]
    subprocess.run(start, env=base, check=True)
    end = time.monotonic() + DEADLINE
    while not told.exists():
        assert time.monotonic() < end
        threading.Event().wait(0.01)
    try:
        yield base | {"TMUX": told.read_text().strip()}
    finally:
        subprocess.run(["tmux", "kill-server"], env=base, check=False)


@needs_tmux
def test_tmux_takes_it_with_its_default_settings(tmux: dict[str, str], monkeypatch: pytest.MonkeyPatch):
    for name, value in tmux.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("microscope_tui.tui.output.clipboard.SECONDS", DEADLINE)
    assert hand_over("a value\tand é", tmux)
    shown = subprocess.run(["tmux", "show-buffer"], env=tmux, capture_output=True, text=True, check=True)
    assert shown.stdout == "a value\tand é"


@needs_tmux
def test_a_tmux_that_is_gone_is_no_trouble(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TMUX", "/nowhere/at/all,1,0")
    assert not hand_over("x", {"TMUX": "/nowhere/at/all,1,0"})


async def test_the_values_and_the_table_are_copied(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("TMUX", raising=False)
    monkeypatch.delenv("STY", raising=False)
    source = FakeSource([made_up(shape=Shape(gap=(13,)))])
    async with explorer(source) as e:
        await filled(e)
        profile = source.stored[MODELS[0], str(SLICE)].profiles[0]
        await e.press("Y")
        await e.until(lambda: e.app.clipboard)
        assert e.app.clipboard.startswith("llava-next\ttext · main\tlinearity (in-sample)\tlayer 12\t")
        assert f"n={profile.n[12]}" in e.app.clipboard
        await e.press("right", "Y")
        await e.until(lambda: "layer 13" in e.app.clipboard)
        assert e.app.clipboard.endswith("undefined")
        await e.press("ctrl+y")
        await e.until(lambda: e.app.clipboard.startswith("model,slice"))
        assert len(e.app.clipboard.splitlines()) == 1 + 4 * 24


async def test_there_may_be_nothing_to_copy():
    async with explorer(FakeSource()) as e:
        await e.press("Y")
        await e.until(lambda: "nothing to save or copy yet" in e.notes)
        assert e.app.clipboard == ""
