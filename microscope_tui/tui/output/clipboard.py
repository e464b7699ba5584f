"""Text to the clipboard of the terminal that the user sits at, through a multiplexer that keeps OSC 52 to itself.

A bare terminal, local or over SSH, takes the sequence that Textual's `App.copy_to_clipboard` writes.
"""

from __future__ import annotations

import base64
import contextlib
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Final

LIMIT: Final = 74_994
"""Bytes of text whose base64 still fits into what xterm takes in one sequence (100,000)."""

SECONDS: Final = 2.0
PIECE: Final = 76


def hand_over(text: str, environ: Mapping[str, str] = os.environ, tty: Path = Path("/dev/tty")) -> bool:
    """Put a text on the clipboard by way of the multiplexer around us. False when there is none, or it will not.

    tmux takes OSC 52 from its programs only where `set-clipboard` is `on`, and passes it on only where
    `allow-passthrough` is; by default neither. Its own command works always, and with -w also sets the clipboard of
    the terminal that it is in. GNU screen passes on what is wrapped, in short pieces. May take a moment.
    """
    if "TMUX" in environ and (tmux := shutil.which("tmux")):
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            command = [tmux, "load-buffer", "-w", "-"]
            done = subprocess.run(command, input=text.encode(), capture_output=True, timeout=SECONDS, check=False)
            return done.returncode == 0
    if "STY" in environ:
        with contextlib.suppress(OSError):
            tty.write_text(wrapped(osc52(text)))
            return True
    return False


def osc52(text: str) -> str:
    """The sequence that sets a terminal's clipboard."""
    return f"\x1b]52;c;{base64.b64encode(text.encode()).decode()}\a"


def wrapped(sequence: str) -> str:
    """A sequence as GNU screen passes it through to its terminal."""
    pieces = (sequence[i : i + PIECE] for i in range(0, len(sequence), PIECE))
    return "".join(f"\x1bP{piece}\x1b\\" for piece in pieces)
