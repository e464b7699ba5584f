"""The explorer as an application: themes, keys and palette."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, ClassVar
from weakref import WeakKeyDictionary

from rich.console import RenderableType
from textual import events
from textual.app import App, SystemCommand
from textual.binding import Binding, BindingType
from textual.command import CommandPalette, SearchIcon
from textual.content import Content
from textual.driver import Driver
from textual.drivers.linux_driver import LinuxDriver
from textual.filter import LineFilter
from textual.notifications import Notification, Notify
from textual.screen import Screen
from textual.widgets import Input

from microscope_tui.results import Measurement
from microscope_tui.settings import Settings
from microscope_tui.terms import Request
from microscope_tui.tui import keys
from microscope_tui.tui.content.status import is_small
from microscope_tui.tui.data.source import Source
from microscope_tui.tui.errands import errand
from microscope_tui.tui.output.ascii import AsciiFilter
from microscope_tui.tui.output.clipboard import hand_over
from microscope_tui.tui.output.sparing import SparingDriver
from microscope_tui.tui.screens.dialog import STYLES, Dialog
from microscope_tui.tui.screens.explorer import Explorer
from microscope_tui.tui.session import Session
from microscope_tui.tui.state import Remembered
from microscope_tui.tui.themes import palettes, widget_theme

AROUND = 3
"""Cells on both sides of what is told, together."""
KEEP_EVERY = 5.0
"""Seconds between two looks whether the session has changed."""


class Palette(CommandPalette):
    """The palette of commands, with a cursor that stands still: each blink would go over the line. Its sign is one that
    every terminal has, and of one width."""

    CSS_PATH = STYLES

    def on_mount(self) -> None:
        self.query_one(Input).cursor_blink = False
        self.query_one(SearchIcon).icon = ">"


class ExplorerApp(App[int], inherit_bindings=False):
    """One explorer over one source. Raises `MicroscopeError` for keys and themes of the settings that cannot be."""

    TITLE = "microscope"
    CSS_PATH = "explorer.tcss"
    BINDINGS: ClassVar[list[BindingType]] = [
        *keys.bindings(app=True),
        Binding("ctrl+c", "help_quit", show=False, system=True, priority=True),  # also over a dialog
    ]

    def __init__(
        self,
        settings: Settings,
        session: Session,
        source: Source,
        *,
        known: Mapping[Request, Measurement] | None = None,
        remembered: Remembered | None = None,
        note: str = "",
        keep: Callable[[Session, Remembered], None] | None = None,
    ) -> None:
        """`known` are results that are at hand already, `remembered` names of other times, `note` is a sentence to show
        at the start; `keep` stores session and names now and then."""
        keys.use(settings.keys)
        super().__init__()
        self._note, self._keep = note, keep
        for name, palette in palettes(settings.themes).items():
            self.register_theme(widget_theme(name, palette))
        self._begin_in(session.theme)
        self._last_filters = [AsciiFilter()] if settings.ascii else []
        self.set_keymap(keys.keymap())
        self.explorer = Explorer(settings, session, source, known or {}, remembered)
        self._keys: deque[events.Key] = deque()
        self._sent_to: WeakKeyDictionary[events.Key, Screen[Any]] = WeakKeyDictionary()
        self._kept = self.explorer.session, self.explorer.remembered
        self._warned: Notification | None = None

    def _begin_in(self, theme: str) -> None:
        """Choose the first theme. Where nothing but its colours is another than in Textual's own first one, the rules
        of the screen are read once, with these: a theme that is put in the place of another reads them again."""
        first, now = self.available_themes[self.theme], self.available_themes[theme]
        if (now.dark, now.ansi) == (first.dark, first.ansi):
            self.set_reactive(App.theme, theme)
            self.stylesheet.set_variables(self.get_css_variables())
        else:
            self.theme = theme

    async def on_event(self, event: events.Event) -> None:
        """A key is for the screen that the keys before it have opened, however fast they come.

        Over a slow line several come at once: `m` and a name. All of them are sent to the screen that is on top when
        they come, and are back, for nobody there wanted them, when the picker is on top that the first one opened.
        """
        if isinstance(event, events.Key):
            if event.is_forwarded and self._sent_to.get(event) is self.screen:
                await super().on_event(event)
            else:
                self._keys.append(events.Key(event.key, event.character) if event.is_forwarded else event)
                await self._send_keys()
        else:
            await super().on_event(event)

    def on_notify(self, event: Notify) -> None:
        """One thing is told at a time, the last one, for there is room for no more; but a warning is not lost behind
        what is told while it stands: that is told beside it. One line lies over the keys; what needs more stands above
        the values at the cursor."""
        if not self.screen_stack:  # it leaves, and nobody reads that any more
            return
        told = event.notification
        warned = self._warned
        if told.severity != "information":
            self._warned = replace(told)
        elif warned and not warned.has_expired:
            told.message, told.severity, told.markup = f"{warned.message}\n{told.message}", warned.severity, False
        self._notifications.clear()
        for holder in self.screen.query("ToastHolder"):
            holder.remove()
        lines = len(Content(told.message).wrap(max(self.size.width - AROUND, 1)))
        above = self.explorer.read_below if lines > 1 else 0
        self.explorer.query("ToastRack").set_styles(margin=(0, 0, above, 0))

    async def on_dialog_opened(self) -> None:
        await self._send_keys()

    async def _send_keys(self) -> None:
        """Send the keys that wait to the screen on top, once it can take them."""
        while self._keys and not (isinstance(self.screen, Dialog) and self.screen.opening):
            key = self._keys.popleft()
            self._sent_to[key] = self.screen
            await super().on_event(key)

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
        self._heed_the_shell(loop)
        if self._note:
            self.notify(self._note, severity="warning", markup=False)
        if self._keep:
            # A connection that is lost ends the screen without a word: what is on it is kept before that.
            self.set_interval(KEEP_EVERY, self.keep_session)

    def on_resize(self, event: events.Resize) -> None:
        """In a window that is too small dialogs give way to the sentence that says so."""
        self.set_class(is_small(*event.size), "-tiny")
        self.action_redraw()  # a terminal may move and cut what stood on it, also when it gets its old size back

    def action_redraw(self) -> None:
        """Paint everything anew, whatever stands on the terminal."""
        SparingDriver.PAPER.forget()
        self.screen.refresh()

    def action_help_quit(self) -> None:
        """What ctrl+c does: it copies what is selected, or says how to leave; pressed by habit, it ends nothing."""
        field = self.focused.selected_text if isinstance(self.focused, Input) else ""
        if selected := field or self.screen.get_selected_text():
            self.copy_to_clipboard(selected)
            return
        leave, anywhere = keys.key_of("leave"), keys.key_of("app.quit")
        self.notify(f"{leave} leaves from the panes, {anywhere} from anywhere; the worker goes on.")

    def action_suspend_process(self) -> None:
        """Stop, and give the terminal back to the shell until that lets us go on.

        The signal goes to all of our group, for the shell may wait for what has started us. Where there is no shell
        that could wake us, the system does not stop us.
        """
        loop = asyncio.get_running_loop()
        with self.suspend():
            loop.remove_signal_handler(signal.SIGTSTP)
            loop.remove_signal_handler(signal.SIGCONT)
            os.killpg(os.getpgrp(), signal.SIGTSTP)
            self._heed_the_shell(loop)  # from here on: `bg` stops us again while we take the terminal
        self.action_redraw()

    def _heed_the_shell(self, loop: asyncio.AbstractEventLoop) -> None:
        """What Textual does in signal handlers is done between two steps of the loop: a handler that comes late would
        take the terminal a second time, and every key would be read twice."""
        loop.add_signal_handler(signal.SIGTSTP, self.action_suspend_process)
        loop.add_signal_handler(signal.SIGCONT, self._come_back)

    def _come_back(self) -> None:
        """After a stop that nobody announced the shell has left its own modes and lines on the terminal."""
        loop = asyncio.get_running_loop()
        loop.remove_signal_handler(signal.SIGCONT)  # `bg` wakes us, and the terminal stops us, any number of times
        with self.suspend():
            self._heed_the_shell(loop)
        self.action_redraw()

    def exit(self, result: int | None = None, return_code: int = 0, message: RenderableType | None = None) -> None:
        """Leave; from here on the terminal is not taken again, whatever signal comes."""
        with contextlib.suppress(RuntimeError):  # without a loop nothing is heeded
            loop = asyncio.get_running_loop()
            for number in (signal.SIGTSTP, signal.SIGCONT):
                loop.remove_signal_handler(number)
        super().exit(result, return_code, message)

    def action_command_palette(self) -> None:
        """Every action by name."""
        if not isinstance(self.screen, Palette):
            self.push_screen(Palette(id="--command-palette"))

    def action_help_on(self, screen: str) -> None:
        """The keys of a screen, over it."""
        from microscope_tui.tui.screens.help import Help  # the screens that wait are imported when they come

        self.push_screen(Help(screen))

    def keep_session(self) -> None:
        """Store session and names if they have changed; in a thread, for the disk may be slow."""
        now, keep = (self.explorer.session, self.explorer.remembered), self._keep
        if keep and now != self._kept:
            self._kept, explorer = now, self.explorer
            # What is there when the thread comes to it: it may be late, and must not undo what was kept since.
            errand(explorer, lambda: keep(explorer.session, explorer.remembered), lambda _: None, lambda _: None)

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
