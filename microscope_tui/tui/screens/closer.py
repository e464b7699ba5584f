"""What the screens that look closer have in common: bars, the layer cursor, and sentences for what is not there yet."""

from __future__ import annotations

import json
import textwrap
from abc import abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import ClassVar

from textual import events
from textual.app import ComposeResult
from textual.strip import Strip
from textual.widgets import Static

from microscope_tui.inspection import Cloud, Preview, TokenTable, WorstTokens
from microscope_tui.results import Measurement
from microscope_tui.terms import JobKind, Request
from microscope_tui.tui.content.cards import Row, Section
from microscope_tui.tui.content.lines import header_line, keys_line
from microscope_tui.tui.content.spans import Ends, Part
from microscope_tui.tui.content.status import LEAST, is_small, status_of_look, too_small
from microscope_tui.tui.data.looks import Look, Seen
from microscope_tui.tui.errands import errand
from microscope_tui.tui.keys import key_of
from microscope_tui.tui.output.export import file_stem, saved, write
from microscope_tui.tui.output.records import Record, to_csv
from microscope_tui.tui.screens.leaving import Leaving
from microscope_tui.tui.screens.place import Place
from microscope_tui.tui.themes import MARKERS, Palette
from microscope_tui.tui.widgets.bar import Bar
from microscope_tui.tui.widgets.canvas import centred

WHOLE = 10_000
"""Cells of a line that is copied: room for all of it."""


class Closer(Leaving[None]):
    """A screen over the explorer, whose session, desk and looks it shows."""

    DEFAULT_CSS = """
    Closer { layout: vertical; background: $background; }
    Closer #body { height: 1fr; }
    Closer #footer { background: $bar; }
    Closer #small {
        width: 1fr;
        height: 1fr;
        content-align: center middle;
        text-align: center;
        color: $warning;
    }
    """
    KEYS: ClassVar[str]
    """The name of its table of keys."""
    NAME: ClassVar[str] = ""
    """What a file is called that holds what is shown."""

    LAYERED: ClassVar[bool] = True
    """Whether it is about one layer after another."""

    @property
    def saved_as(self) -> str:
        """What the files are called in which this is saved."""
        return self.NAME

    def __init__(self, place: Place, model: int = 0) -> None:
        """`model` is the number, among those on the slice, of the one that a screen of one model shows."""
        super().__init__()
        self.place = place
        self.model = model
        self._small = False

    @abstractmethod
    def body(self) -> ComposeResult:
        """The widgets between the bars."""

    @abstractmethod
    def title_line(self) -> Ends:
        """The second line, left and right."""

    @abstractmethod
    def show_body(self) -> None:
        """Show what there is."""

    @property
    @abstractmethod
    def asked(self) -> Sequence[Look]:
        """What this screen shows."""

    @abstractmethod
    def card(self) -> Sequence[Section]:
        """What is shown, how it is made, and what can go wrong with it."""

    def action_layer(self, by: int) -> None:
        """Move the cursor of layers."""

    @abstractmethod
    def records(self, *, everything: bool) -> Iterable[Record]:
        """What there is as rows of a table: `everything`, or only what stands on the screen now."""

    @abstractmethod
    def at_cursor(self) -> str:
        """What stands at the cursor, as text; empty when nothing does."""

    def compose(self) -> ComposeResult:
        yield Bar(id="header")
        yield Bar(id="title")
        yield from self.body()
        yield Bar(id="footer")
        yield Static(id="small")

    def on_mount(self) -> None:
        self.place.watchers.append(self.show)
        self.call_after_refresh(self.show)

    def on_unmount(self) -> None:
        self.place.watchers.remove(self.show)
        self.place.looks.wait(self, ())

    def on_resize(self, event: events.Resize) -> None:
        width, height = event.size
        small = is_small(width, height)
        for widget in self.query("#header, #title, #body, #detail, #footer, #small"):
            widget.display = (widget.id == "small") == small
        self._small = small
        if small:
            said = too_small((width, height), "What is open", LEAST, f"{self.key('back')} goes back")
            self.query_one("#small", Static).update(said)
        self.call_after_refresh(self.show)

    def show(self) -> None:
        """Show what there is; every widget paints only what has changed."""
        if not self.is_mounted or not self.is_current or self._small or not self.app.is_running:
            return  # while the program leaves, widgets go before their screen, one by one
        place, colours, width = self.place, self.palette, self.size.width
        header = header_line(place.session, place.desk, place.requests, colours, width)
        self.query_one("#header", Bar).show(*header, colours.bar)
        self.show_body()
        place.looks.wait(self, self.asked)
        self._renew()
        self.query_one("#title", Bar).show(*self.title_line(), colours.background)
        self.query_one("#footer", Bar).show(keys_line(self.KEYS, colours, width), (), colours.bar)

    def on_screen_resume(self) -> None:
        """What lay over it has gone."""
        self.call_after_refresh(self.show)

    # What all of them look at

    @property
    def palette(self) -> Palette:
        return self.place.palette

    @property
    def coloured(self) -> bool:
        """Whether the terminal has colours enough for a scale of them."""
        many = self.app.console.color_system in ("truecolor", "256")
        return many and not self.app.no_color and not self.palette.ansi

    @property
    def ascii(self) -> bool:
        return self.place.settings.ascii

    @property
    def thin(self) -> bool:
        """Whether the user wants little to be drawn, for a slow line."""
        return self.place.session.thin

    @property
    def requests(self) -> tuple[Request, ...]:
        """The requests on the slice that is looked at, one a model."""
        return tuple(r for r in self.place.requests if r.slice == self.place.session.slice)

    def slot(self, request: Request) -> int:
        """The number that gives a model its colour and its sign."""
        session = self.place.session
        return session.slots[self.place.requests.index(request)] if request in self.place.requests else 0

    def sign(self, request: Request) -> str:
        return MARKERS[self.slot(request) % len(MARKERS)]

    @property
    def at_layer(self) -> int:
        return max(self.place.session.layer, 0)

    @property
    def last_example(self) -> int | None:
        """The number of the slice's last example, None while it is not known."""
        request = self.requests[0]
        preview, measured = self.place.looks.of(Look(request, JobKind.PREVIEW)).value, self.place.desk.of(request)
        if isinstance(preview, Preview):
            return preview.total - 1
        if (measurement := measured.measurement) and measurement.complete:
            return measurement.examples + len(measurement.skipped) - 1
        return None

    @property
    def example(self) -> int:
        """The number of the example that is looked at; another slice may have fewer than the one before."""
        wanted, last = self.place.example, self.last_example
        return wanted if last is None else max(0, min(wanted, last))

    def key(self, action: str) -> str:
        """The key of something that can be done here, for sentences."""
        return key_of(action, self.KEYS)

    def see(self, look: Look) -> Seen:
        """What is known of a look; it is asked for."""
        return self.place.looks.ask(look)

    def _renew(self) -> None:
        """What was made of fewer examples than are measured by now is made anew."""
        for look in self.asked:
            value, measured = self.place.looks.of(look).value, self.measured(look)
            if measured and isinstance(value, (TokenTable, WorstTokens, Cloud)) and value.walked < measured.examples:
                self.place.looks.renew(look, measured.examples)

    def measured(self, look: Look) -> Measurement | None:
        """The whole measurement of the rows that are looked at, None while there is none."""
        for request in self.requests:
            if Look(replace(request, streams=look.request.streams), look.kind, look.example) == look:
                known = self.place.desk.of(request)
                return known.measurement if known.complete else None
        return None

    def message(self, said: str, severe: bool, width: int, height: int) -> list[Strip]:
        """A sentence in the middle of a field; below a severe one what can be done."""
        palette = self.palette
        colour = palette.error if severe else palette.faint
        lines: list[Part] = [
            (line, colour, False) for line in textwrap.wrap(said, max(width - 4, 8), break_on_hyphens=False)
        ]
        if severe:
            again = "" if self.place.desk.read_only else f"{self.key('again')} asks again · "
            hint = f"{again}{self.key('back')} goes back"
            lines += [("", palette.faint, False), (hint, palette.faint, False)]
        return centred(lines, width, height, palette.background)

    def waiting_for(self, look: Look, width: int, height: int) -> list[Strip]:
        """Why a look has no value yet, in the middle of a field."""
        return self.message(*status_of_look(self.place.looks.of(look), self.place.desk), width, height)

    def no_card(self, look: Look) -> Sequence[Section]:
        """What a card says of what is not there yet."""
        why, severe = status_of_look(self.place.looks.of(look), self.place.desk)
        return [Section("Nothing to see yet", (Row("", why, severe),))]

    # What the user does

    def move_layer(self, by: int, last: int) -> None:
        """Move the cursor of layers, which is the explorer's own."""
        session = self.place.session
        self.place.session = replace(session, layer=max(0, min(self.at_layer + by, last)))
        self.show()

    def action_back(self) -> None:
        self.dismiss()

    def action_examples(self) -> None:
        self._jump("examples")

    def action_tokens(self) -> None:
        self._jump("tokens")

    def action_worst(self) -> None:
        self._jump("worst")

    def action_map(self) -> None:
        self._jump("map")

    def _jump(self, screen: str) -> None:
        """To another screen of this kind: back to the one below that is it, else in the place of this one."""
        if self.app.screen is not self:
            return
        below = next((each for each in self.app.screen_stack if isinstance(each, Closer) and screen == each.KEYS), None)
        if below is None:
            self.app.switch_screen(self.place.closer(screen, self.model))
            return
        below.model = self.model
        while self.app.screen is not below:
            self.app.pop_screen()

    def action_card(self) -> None:
        from microscope_tui.tui.screens.card import Card

        title = f"{self.NAME.replace('-', ' ')} of {self.place.session.slice}"
        self.app.push_screen(Card(title, self.card, self.action_layer if self.LAYERED else None, self.palette))

    def action_again(self) -> None:
        for look in self.asked:
            self.place.looks.again(look)
        self.show()

    def action_export(self) -> None:
        """Save all that the screen has, in a thread: it can be 100,000 rows."""
        values = [value for look in self.asked if (value := self.see(look).value)]
        if not values:
            self.notify("There is nothing to save yet.", severity="warning")
            return
        stem, records = file_stem(self.place.session, datetime.now(), self.saved_as), self.records(everything=True)

        def save() -> list[Path]:
            data = json.dumps([value.to_json() for value in values], ensure_ascii=False)
            return write(self.place.saves_to, {f"{stem}.csv": to_csv(records), f"{stem}.json": data + "\n"})

        errand(
            self.place,
            save,
            lambda paths: self.app.notify(saved(paths), markup=False),
            lambda sentence: self.app.notify(sentence, severity="error", markup=False),
        )

    def action_copy_value(self) -> None:
        self._copy(self.at_cursor(), "what is at the cursor")

    def action_copy_table(self) -> None:
        self._copy(to_csv(self.records(everything=False)), "what is shown (CSV)")

    def _copy(self, text: str, what: str) -> None:
        if text:
            self.place.copy(text, what)
        else:
            self.notify("There is nothing to copy yet.", severity="warning")

    def action_theme(self) -> None:
        self.place.action_theme()
        self.show()

    def action_picture(self) -> None:
        self.place.action_picture(self.saved_as)

    async def action_help(self) -> None:
        await self.run_action(f"app.help_on('{self.KEYS}')")
