"""Every key of every table, pressed in a real terminal that must be clean afterwards; those of the panes in tmux."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path

import pytest

from microscope_tui.tui.deeds import TABLES
from microscope_tui.tui.keys import names_of
from tests.terminal import DEADLINE, ROOT, Terminal

SENT = {
    "left": "\x1b[D",
    "right": "\x1b[C",
    "up": "\x1b[A",
    "down": "\x1b[B",
    "shift+up": "\x1b[1;2A",
    "shift+down": "\x1b[1;2B",
    "home": "\x1b[H",
    "end": "\x1b[F",
    "pageup": "\x1b[5~",
    "pagedown": "\x1b[6~",
    "delete": "\x1b[3~",
    "f5": "\x1b[15~",
    "tab": "\t",
    "shift+tab": "\x1b[Z",
    "enter": "\r",
    "escape": "\x1b",
    "space": " ",
    "minus": "-",
    "plus": "+",
    "slash": "/",
}
WAYS: Mapping[str, tuple[str, str]] = {
    "explorer": ("", "^p palette"),
    "examples": ("E", "Examples"),
    "tokens": ("T", "example"),
    "worst": ("X", "Worst"),
    "map": ("M", "Map"),
    "jobs": ("j", "Jobs"),
    "cache": ("K", "Cache"),
    "card": ("i", "At the cursor"),
    "help": ("?", "Choose"),
    "picker": ("m", "Model to look at"),
    "save": ("e", "Save what is on"),
    "find": ("E/", "Find an example"),
}
"""The key that opens each screen from the panes, and what is then to be read."""
DIALOGS = ("jobs", "cache", "card", "help", "picker", "save", "find")
ENDS = ("leave", "app.quit", "app.suspend_process")
"""What ends the program, or stops it: tested in the terminal tests."""
LAST = 24
"""Layers of the models that are shown."""
QUIET = 0.08
"""Seconds; longer than the program waits for what may belong to an escape."""


def sent(key: str) -> str:
    """What a terminal sends for a key."""
    if key in SENT:
        return SENT[key]
    if key.startswith("ctrl+"):
        return chr(ord(key[-1]) & 31)
    return key if len(key) == 1 else unicodedata.lookup(key.replace("_", " "))


def test_every_screen_is_reached():
    assert WAYS.keys() == TABLES.keys()


def is_at(screen: str, text: str) -> bool:
    """Whether a screen is on top: a dialog has a frame, the others have none in a window of this size."""
    return WAYS[screen][1] in text and ("╭" in text) == (screen in DIALOGS)


def pressed(screen: str) -> Iterator[tuple[str, str]]:
    """All keys of a screen, but for that which ends the program, and what each does."""
    deeds = (deed for deed in TABLES[screen] if deed.action not in ENDS)
    return ((key, deed.action) for deed in deeds for key in names_of(deed.keys))


@pytest.mark.timeout(900)
@pytest.mark.parametrize("screen", TABLES)
def test_every_key_of_every_screen(tmp_path: Path, screen: str):
    """Each in a program of its own, for the keys of one choose what others show."""
    terminal = Terminal("tests.tui.served", cwd=tmp_path, ESCDELAY="20")
    try:
        terminal.until(lambda: terminal.braille > 80)
        for key, action in pressed(screen):
            if not is_at(screen, terminal.text):
                _back_to_the_panes(terminal)
                for opening in WAYS[screen][0]:
                    terminal.child.send(opening)
                    terminal.settle(QUIET)  # there must be examples before one can be found
                terminal.until(partial(_is_at, terminal, screen))
            before = terminal.text
            terminal.child.send(sent(key))
            if action == "back":  # else the next key could be one for the screen below
                terminal.until(lambda: not is_at(screen, terminal.text))
            elif action == "help":  # which may look like the screen below
                terminal.until(lambda before=before: terminal.text != before)  # type: ignore[misc]
                _back_to_the_panes(terminal)
            terminal.settle(QUIET)
        _back_to_the_panes(terminal)
        terminal.child.send("q")
        assert terminal.end() == 0
        assert terminal.is_clean()
        for wrong in (b"Traceback", b"cannot be drawn", b"internal error"):
            assert wrong not in terminal.raw
    finally:
        terminal.close()


def _is_at(terminal: Terminal, screen: str) -> bool:
    return is_at(screen, terminal.text)


def cursor_at(layer: int, text: str) -> bool:
    """Whether the panes are on top, with their cursor at this layer."""
    said = re.search(rf"layer {layer}\b", text) or (layer == LAST and "no block starts here" in text)
    return bool(said) and is_at("explorer", text)


def _back_to_the_panes(terminal: Terminal) -> None:
    """Leave whatever has opened; then the cursor must go to either end of the layers."""
    for quiet, patience in ((QUIET, 0.5), (0.2, 2.0), (0.5, 10.0), (1.0, DEADLINE)):  # on a busy machine too
        terminal.child.send("\x1b")
        terminal.settle(quiet)  # what follows at once would be one key with it
        try:
            for key, layer in (("$", LAST), ("0", 0)):
                terminal.child.send(key)
                terminal.until(lambda layer=layer: cursor_at(layer, terminal.text), patience)  # type: ignore[misc]
        except AssertionError:
            if patience == DEADLINE:
                raise
        else:
            return


TMUX = {"left": "Left", "right": "Right", "up": "Up", "down": "Down", "home": "Home", "end": "End", "delete": "DC"}
TMUX |= {"tab": "Tab", "shift+tab": "BTab", "enter": "Enter", "escape": "Escape", "space": "Space", "minus": "-"}


class Tmux:
    """A program in a tmux of our own."""

    def __init__(self, folder: Path) -> None:
        self._command = ["tmux", "-S", str(folder / "socket")]
        self._folder = folder

    def run(self, *arguments: str) -> str:
        done = subprocess.run([*self._command, *arguments], capture_output=True, text=True, check=True)
        return done.stdout

    def start(self, *command: str) -> None:
        """In 80x24, with the settings that tmux has by itself."""
        size = ("-x", "80", "-y", "24")
        where = ("-c", str(self._folder), "-e", f"PYTHONPATH={ROOT}")
        self.run("-f", "/dev/null", "new-session", "-d", *size, *where, "--", *command)

    @property
    def text(self) -> str:
        return self.run("capture-pane", "-p")

    def press(self, key: str) -> None:
        name = TMUX.get(key, "C-" + key[-1] if key.startswith("ctrl+") else sent(key))
        self.run("send-keys", *(() if key in TMUX or "+" in key[:-1] else ("-l",)), name)

    def until(self, holds: Callable[[str], object], seconds: float = DEADLINE) -> None:
        end = time.monotonic() + seconds
        while not holds(text := self.text):
            assert time.monotonic() < end, text

    def rest(self) -> None:
        """Until nothing changes for a while, longer than the program waits for what may belong to an escape."""
        text, since = self.text, time.monotonic()
        while time.monotonic() < since + 4 * QUIET:
            if (now := self.text) != text:
                text, since = now, time.monotonic()

    def kill(self) -> None:
        subprocess.run([*self._command, "kill-server"], check=False, capture_output=True)


@pytest.fixture
def tmux(tmp_path: Path) -> Iterator[Tmux]:
    tmux = Tmux(tmp_path)
    yield tmux
    tmux.kill()


@pytest.mark.timeout(900)
@pytest.mark.skipif(shutil.which("tmux") is None, reason="tmux is not installed")
def test_every_key_of_the_help_page_in_tmux(tmux: Tmux):
    environment = [
        "env",
        "-u",
        "PYTHONDONTWRITEBYTECODE",
        "-u",
        "NO_COLOR",
        "ESCDELAY=20",
        f"HOME={os.environ['HOME']}",
    ]
    # The shell says how it ended: tmux may leave a program that has ended without a word when the machine is busy.
    shell = ("sh", "-c", '"$@"; echo "ended with $?"; read -r line', "sh")
    tmux.start(*shell, *environment, sys.executable, "-m", "tests.tui.served")
    tmux.until(lambda text: "layer 12 " in text)
    for key, _ in pressed("explorer"):
        tmux.press(key)
        if not is_at("explorer", tmux.text):
            _panes(tmux)
    _panes(tmux)
    tmux.press("q")
    tmux.until(lambda text: "ended with" in text)
    assert "ended with 0" in tmux.text
    assert "Traceback" not in tmux.text


def _panes(tmux: Tmux) -> None:
    """Back to the panes, where the cursor goes to either end."""
    for key, layer in (("dollar_sign", LAST), ("0", 0)):
        for patience in (1, 2, 4, 8, DEADLINE):  # keys sent faster than they are read would be one
            tmux.press("escape")
            tmux.rest()
            tmux.press(key)
            try:
                tmux.until(partial(cursor_at, layer), patience)
            except AssertionError:
                if patience == DEADLINE:
                    raise
            else:
                break
