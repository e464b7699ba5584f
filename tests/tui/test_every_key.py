"""Every key of the help page, pressed in a real terminal that must be clean afterwards."""

from __future__ import annotations

import unicodedata
from functools import partial
from pathlib import Path

from microscope_tui.tui.keys import DEEDS, names_of
from tests.terminal import Terminal

SENT = {
    "left": "\x1b[D",
    "right": "\x1b[C",
    "up": "\x1b[A",
    "down": "\x1b[B",
    "home": "\x1b[H",
    "end": "\x1b[F",
    "delete": "\x1b[3~",
    "tab": "\t",
    "shift+tab": "\x1b[Z",
    "enter": "\r",
    "space": " ",
    "minus": "-",
    "plus": "+",
}
LAST = 24
"""Layers of the models that are shown."""
QUIET = 0.1
"""Seconds; longer than the program waits for what may belong to an escape."""


def sent(key: str) -> str:
    """What a terminal sends for a key."""
    if key in SENT:
        return SENT[key]
    if key.startswith("ctrl+"):
        return chr(ord(key[-1]) & 31)
    return key if len(key) == 1 else unicodedata.lookup(key.replace("_", " "))


def test_every_key_of_the_help_page(tmp_path: Path):
    terminal = Terminal("tests.tui.served", cwd=tmp_path, ESCDELAY="20")
    try:
        terminal.until(lambda: terminal.braille > 80)
        pressed = 0
        for deed in DEEDS:
            for key in names_of(deed.keys):
                if deed.action == "leave":
                    continue
                terminal.child.send(sent(key))
                _back_to_the_panes(terminal)
                pressed += 1
        assert pressed > 50
        terminal.child.send("q")
        assert terminal.end() == 0
        assert terminal.is_clean()
        assert b"Traceback" not in terminal.raw
        assert b"cannot be drawn" not in terminal.raw
        assert b"internal error" not in terminal.raw
    finally:
        terminal.child.close(force=True)


def _back_to_the_panes(terminal: Terminal) -> None:
    """Leave whatever has opened; then the cursor must go to either end of the layers."""
    for patience in (2.0, 10.0, 30.0):
        _settle(terminal)
        terminal.child.send("\x1b")
        _settle(terminal)
        try:
            for key, layer in (("$", LAST), ("0", 0)):
                terminal.child.send(key)
                terminal.until(partial(_shows, terminal, f"layer {layer} "), patience)
        except AssertionError:
            if patience == 30.0:
                raise
        else:
            return


def _shows(terminal: Terminal, text: str) -> bool:
    return text in terminal.text


def _settle(terminal: Terminal) -> None:
    """Take in what comes until nothing does: an escape and what follows at once are one key for a terminal."""
    size = -1
    while len(terminal.raw) > size:
        size = len(terminal.raw)
        assert terminal.read(QUIET), f"ended:\n{terminal.text}"
