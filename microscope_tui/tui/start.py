"""How the explorer starts: what it shows first is read from the store while the screen itself is imported."""

from __future__ import annotations

import gc
import os
import signal
import stat
import termios
import threading
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from microscope_tui.results import Measurement
from microscope_tui.settings import THEMES, Settings
from microscope_tui.terms import Request
from microscope_tui.tui.session import Session
from microscope_tui.tui.state import Keeper, Remembered, restore

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from microscope_tui.tui.data.source import Source

OFF = ("?2004l", "?7h", "?2048l", "?1000l", "?1003l", "?1015l", "?1006l", "<u", "?1049l", "?25h", "?1004l")
AS_BEFORE = b"".join(b"\x1b[" + each.encode() for each in OFF)
"""Switches off what the screen switches on: pasting, mouse, keyboard protocol, other screen, hidden cursor, focus."""

STDIN, STDERR = 0, 2
"""Where the screen reads keys from, and where it is painted."""

MADE = 10_000
"""Objects that are made between two looks for those that only hold each other. A repaint makes thousands and leaves
hardly any of that kind; after the usual 700 the looks took a tenth of its time, and some keys waited for a long one."""

SEALED = "The cache folder {} is read-only: what it holds is shown, and nothing is measured."

PATIENCE = 0.3
"""Seconds that a screen, imported and ready, waits for the first results. They are nearly always there by then, and
panes without them are painted for nothing; a disk that is slower is not waited for."""


class ReadAhead:
    """Reads what a source has of some requests, in a thread. What it has nothing of, or cannot read, the screen asks
    for again, and says so."""

    def __init__(self, source: Source, requests: Sequence[Request]) -> None:
        self._source, self._requests = source, requests
        self._found: dict[Request, Measurement] = {}
        self._awaited = True
        self._thread = threading.Thread(target=self._read, daemon=True, name="read ahead")
        self._thread.start()

    def found(self) -> Mapping[Request, Measurement]:
        """What has been read by now, or is in a moment."""
        self._thread.join(PATIENCE)
        self._awaited = False
        return dict(self._found)

    def _read(self) -> None:
        for request in self._requests:
            if not self._awaited:
                return
            with suppress(Exception):
                self._source.check(request)
                if measurement := self._source.recall(request):
                    self._found[request] = measurement


def run(settings: Settings, session: Session, *, given: Collection[str] = (), source: Source | None = None) -> int:
    """Show the explorer until the user leaves; returns the exit code. The worker goes on by itself.

    What was on the screen last time is there again, but for the fields of `session` that are named in `given`. A cache
    that cannot be written is looked at, which is said.
    """
    # Not ignored, as under nohup: a vanished terminal would make Textual spin.
    signal.signal(signal.SIGHUP, partial(_hung_up, _modes()))
    for name in ("COLUMNS", "LINES"):  # a shell's, of the size that its window had once
        os.environ.pop(name, None)
    if source is not None:
        return _shown(settings, session, source)
    if settings.theme != THEMES[0]:
        given = {*given, "theme"}
    session, remembered, note = restore(settings.cache, session, given)
    if session.theme not in settings.theme_names:
        session = replace(session, theme=settings.theme)
    if sealed := not settings.read_only and is_sealed(settings.cache):
        note = " ".join(filter(None, (SEALED.format(settings.cache), note)))
    if settings.read_only or sealed:
        from microscope_tui.tui.data.archive import ArchiveSource

        archive = ArchiveSource(settings)
        return _shown(settings, archive.start(session, given), archive, remembered, note)
    from microscope_tui.tui.data.live import WorkerSource  # here, so that a screen over another source never loads it

    store = Keeper(settings.cache, remembered).keep
    return _shown(settings, session, WorkerSource(settings), remembered, note, store)


def is_sealed(folder: Path) -> bool:
    """Whether a folder of ours with a store in it may not be written, as `store.folder.prepare` would say (which takes
    too long to import here): it can be looked at."""
    try:
        found = folder.stat()
        writable = found.st_mode & stat.S_IWUSR and os.access(folder, os.W_OK | os.X_OK)
        return not writable and found.st_uid == os.geteuid() and (folder / "store").is_dir()
    except OSError:
        return False


def _shown(
    settings: Settings,
    session: Session,
    source: Source,
    remembered: Remembered | None = None,
    note: str = "",
    store: Callable[[Session, Remembered], None] | None = None,
) -> int:
    gc.disable()  # what an import makes is no garbage: to look for it takes a twentieth of the start
    ahead = ReadAhead(source, session.requests(settings))
    try:
        from microscope_tui.tui.app import ExplorerApp

        app = ExplorerApp(settings, session, source, known=ahead.found(), remembered=remembered, note=note, keep=store)
        gc.freeze()  # nor will it be any: later looks need not go through it
        gc.set_threshold(MADE)
        gc.enable()
        try:
            return app.run() or app.return_code or 0
        finally:
            if store:
                store(app.explorer.session, app.explorer.remembered)
    finally:
        source.close()


def _modes() -> list[Any] | None:
    """How the terminal takes input now, None where there is none."""
    try:
        return termios.tcgetattr(STDIN)
    except termios.error:
        return None


def _hung_up(modes: list[Any] | None, number: int, _: object) -> None:
    """End by the signal. The terminal is left as it was where it is still there; one that is gone is not waited for."""
    with suppress(OSError, termios.error):
        if modes is not None and os.tcgetpgrp(STDIN) == os.getpgrp():
            os.set_blocking(STDERR, False)
            os.write(STDERR, AS_BEFORE)
            termios.tcsetattr(STDIN, termios.TCSANOW, modes)
            os.set_blocking(STDERR, True)  # it may be the shell's too
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
