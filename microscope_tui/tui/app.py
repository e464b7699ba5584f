"""The explorer as an application: themes, keys, palette and how it starts and ends."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Callable, Collection, Iterable
from dataclasses import replace
from functools import partial
from typing import Any, ClassVar

from textual import events
from textual.app import App, SystemCommand
from textual.binding import BindingType
from textual.command import CommandPalette
from textual.driver import Driver
from textual.drivers.linux_driver import LinuxDriver
from textual.filter import LineFilter
from textual.screen import Screen
from textual.widgets import Input

from microscope_tui.settings import THEMES, Settings
from microscope_tui.tui import keys
from microscope_tui.tui.data.source import Source
from microscope_tui.tui.errands import errand
from microscope_tui.tui.output.ascii import AsciiFilter
from microscope_tui.tui.output.clipboard import hand_over
from microscope_tui.tui.output.sparing import SparingDriver
from microscope_tui.tui.screens.explorer import LEAST, Explorer
from microscope_tui.tui.session import Session
from microscope_tui.tui.state import Recent, keep, restore
from microscope_tui.tui.themes import palettes, widget_theme

KEEP_EVERY = 5.0
"""Seconds between two looks whether the session has changed."""


class Palette(CommandPalette):
    """The palette of commands, with a cursor that stands still: each blink would go over the line."""

    def on_mount(self) -> None:
        self.query_one(Input).cursor_blink = False


class ExplorerApp(App[int]):
    """One explorer over one source. Raises `MicroscopeError` for keys and themes of the settings that cannot be."""

    TITLE = "microscope"
    CSS_PATH = "explorer.tcss"
    ENABLE_COMMAND_PALETTE = True
    BINDINGS: ClassVar[list[BindingType]] = [*keys.bindings(app=True)]

    def __init__(
        self,
        settings: Settings,
        session: Session,
        source: Source,
        *,
        recent: Recent | None = None,
        note: str = "",
        keep: Callable[[Session], None] | None = None,
    ) -> None:
        """`recent` is what was looked at before, `note` a sentence to show at the start; `keep` stores the session,
        now and then and at the end."""
        keys.use(settings.keys)
        super().__init__()
        self._note, self._keep, self._kept = note, keep, session
        for name, palette in palettes(settings.themes).items():
            self.register_theme(widget_theme(name, palette))
        self.theme = session.theme
        self._last_filters = [AsciiFilter()] if settings.ascii else []
        self.set_keymap(keys.keymap())
        self.explorer = Explorer(settings, session, source, recent)

    def get_line_filters(self) -> list[LineFilter]:
        """What every line goes through on its way to the terminal."""
        return [*super().get_line_filters(), *self._last_filters]

    def get_driver_class(self) -> type[Driver]:
        """What reads and writes the terminal."""
        usual = super().get_driver_class()
        return SparingDriver if usual is LinuxDriver else usual

    def get_default_screen(self) -> Screen[int]:
        return self.explorer

    def on_mount(self) -> None:
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, partial(self.exit, 143))
        if self._note:
            self.notify(self._note, severity="warning", markup=False)
        if self._keep:
            # A connection that is lost ends the screen without a word: what is on it is kept before that.
            self.set_interval(KEEP_EVERY, self.keep_session)

    def on_resize(self, event: events.Resize) -> None:
        """In a window that is too small dialogs give way to the sentence that says so."""
        width, height = event.size
        self.set_class(width < LEAST[0] or height < LEAST[1], "-tiny")
        self.action_redraw()  # a terminal may move and cut what stood on it, also when it gets its old size back

    def action_redraw(self) -> None:
        """Paint everything anew, whatever stands on the terminal."""
        SparingDriver.PAPER.forget()
        self.screen.refresh()

    def action_command_palette(self) -> None:
        """Every action by name."""
        if not isinstance(self.screen, Palette):
            self.push_screen(Palette(id="--command-palette"))

    def keep_session(self) -> None:
        """Store the session if it has changed; in a thread, for the disk may be slow."""
        session, keep = self.explorer.session, self._keep
        if keep and session != self._kept:
            self._kept = session
            errand(self.explorer, lambda: keep(session), lambda _: None, lambda _: None)

    def copy_to_clipboard(self, text: str) -> None:
        """Put a text on the terminal's clipboard, by way of the multiplexer around us as well; that may take a moment,
        so it is asked in a thread."""
        super().copy_to_clipboard(text)
        threading.Thread(target=hand_over, args=(text,), daemon=True, name="clipboard").start()

    def get_system_commands(self, screen: Screen[Any]) -> Iterable[SystemCommand]:
        """The palette: every deed of the table, of the screen's own where it has one."""
        name = getattr(screen, "KEYS", keys.EXPLORER)
        for deed in keys.deeds(name):
            if deed.palette:
                run = partial(screen.run_action, deed.action)
                yield SystemCommand(f"{deed.label}  ({deed.shown})", deed.help, run)
        if name == keys.EXPLORER:
            for name in self.explorer.settings.theme_names:
                yield SystemCommand(f"Theme {name}", "Colours of the screen", partial(self._choose_theme, name))

    def _choose_theme(self, name: str) -> None:
        self.explorer.change(replace(self.explorer.session, theme=name))


def run(settings: Settings, session: Session, *, given: Collection[str] = (), source: Source | None = None) -> int:
    """Show the explorer until the user leaves; returns the exit code. The worker goes on by itself.

    What was on the screen last time is there again, but for the fields of `session` that are named in `given`.
    """
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # ignored (nohup), a vanished terminal would make Textual spin
    for name in ("COLUMNS", "LINES"):  # a shell's, of the size that its window had once
        os.environ.pop(name, None)
    if source is not None:
        return _shown(ExplorerApp(settings, session, source), source)
    if settings.theme != THEMES[0]:
        given = {*given, "theme"}
    session, recent, note = restore(settings.cache, session, given)
    if session.theme not in settings.theme_names:
        session = replace(session, theme=settings.theme)
    if settings.read_only:
        from microscope_tui.tui.data.archive import ArchiveSource

        archive = ArchiveSource(settings)
        return _shown(ExplorerApp(settings, archive.start(session, given), archive, recent=recent, note=note), archive)
    from microscope_tui.tui.data.live import WorkerSource  # here, so that a screen over another source never loads it

    live, store = WorkerSource(settings), partial(keep, settings.cache, recent=recent)
    app = ExplorerApp(settings, session, live, recent=recent, note=note, keep=store)
    try:
        return _shown(app, live)
    finally:
        store(app.explorer.session)


def _shown(app: ExplorerApp, source: Source) -> int:
    try:
        return app.run() or app.return_code or 0
    finally:
        source.close()
