"""The explorer as an application: themes, palette and how it starts and ends."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterable
from functools import partial
from typing import Any

from textual.app import App, SystemCommand
from textual.screen import Screen

from microscope_tui.settings import Settings
from microscope_tui.tui.keys import DEEDS
from microscope_tui.tui.screens.explorer import Explorer
from microscope_tui.tui.session import Session
from microscope_tui.tui.source import Source
from microscope_tui.tui.themes import THEMES


class ExplorerApp(App[int]):
    """One explorer over one source."""

    TITLE = "microscope"
    CSS_PATH = "explorer.tcss"
    ENABLE_COMMAND_PALETTE = True

    def __init__(self, settings: Settings, session: Session, source: Source) -> None:
        super().__init__()
        for theme in THEMES:
            self.register_theme(theme)
        self.theme = session.theme
        self.explorer = Explorer(settings, session, source)

    def get_default_screen(self) -> Screen[int]:
        return self.explorer

    def on_mount(self) -> None:
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, partial(self.exit, 143))

    def get_system_commands(self, screen: Screen[Any]) -> Iterable[SystemCommand]:
        """The palette: every deed of the table."""
        for deed in DEEDS:
            if deed.palette:
                run = partial(self.explorer.run_action, deed.action)
                yield SystemCommand(f"{deed.label}  ({deed.shown})", deed.help, run)


def run(settings: Settings, session: Session, source: Source | None = None) -> int:
    """Show the explorer until the user leaves; returns the exit code. The worker goes on by itself."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # ignored (nohup), a vanished terminal would make Textual spin
    own = source or _live(settings)
    try:
        app = ExplorerApp(settings, session, own)
        return app.run() or app.return_code or 0
    finally:
        own.close()


def _live(settings: Settings) -> Source:
    from microscope_tui.tui.live import WorkerSource  # here, so that a screen over another source never loads it

    return WorkerSource(settings)
