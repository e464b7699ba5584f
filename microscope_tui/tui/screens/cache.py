"""What the cache holds: what takes the most, and what can go."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import ClassVar, TypeVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import DataTable, Label, Static

from microscope_tui.catalogue import size_text
from microscope_tui.tui.content.readout import shorten
from microscope_tui.tui.data.source import Held, Source, Stock
from microscope_tui.tui.errands import Returned, errand
from microscope_tui.tui.keys import bindings, hint, key_of
from microscope_tui.tui.screens.leaving import Leaving

T = TypeVar("T")

COLUMNS = ("size", "of", "last used", "")
HINTED = ("remove", "verify", "tidy", "reload", "back")
"""The keys in the last line."""
METER = 24
"""Cells of the meter of the quota."""


class Cache(ModalScreen[None], Leaving[None]):
    """The largest first. What is removed is measured again when it is asked for."""

    BINDINGS: ClassVar[list[BindingType]] = [*bindings("cache")]
    KEYS: ClassVar[str] = "cache"

    def __init__(self, source: Source) -> None:
        super().__init__()
        self._source = source
        self._held: Sequence[Held] = ()
        self._doomed = ""

    def compose(self) -> ComposeResult:
        with Vertical(id="dialog"):
            yield Label("Cache", id="title", markup=False)
            yield Static("reading …", id="total", markup=False)
            yield DataTable(id="held", cursor_type="row")
            yield Static(id="detail", markup=False)
            yield Label(id="said", markup=False)

    def on_mount(self) -> None:
        self.query_one(DataTable).add_columns(*COLUMNS)
        self._say("")
        self.action_reload()

    def on_returned(self, message: Returned) -> None:
        message.tell()

    def on_data_table_row_highlighted(self) -> None:
        held = self._chosen()
        self.query_one("#detail", Static).update(f"{held.kind}: {held.what}\n{held.key}" if held else "")
        if held is None or held.key != self._doomed:
            self._doomed = ""

    def action_move(self, by: int) -> None:
        table = self.query_one(DataTable)
        table.move_cursor(row=table.cursor_row + by)

    def action_back(self) -> None:
        self.dismiss(None)

    def action_help(self) -> None:
        from microscope_tui.tui.screens.help import Help

        self.app.push_screen(Help(self.KEYS))

    def action_reload(self) -> None:
        errand(self, self._source.stock, self._show, self._refuse)

    def action_remove(self) -> None:
        """Remove the value under the cursor, when asked twice."""
        held = self._chosen()
        if held is None:
            self._say("There is nothing to remove.")
        elif held.in_use:
            self._refuse("A waiting or running job needs it: cancel the job first.")
        elif self._doomed != held.key:
            self._doomed = held.key
            self._refuse(f"{key_of('remove', 'cache')} once more removes {size_text(held.size)}: {held.what}")
        else:
            self._do("removing …", lambda: self._source.remove(held.key), lambda _: "removed")

    def action_verify(self) -> None:
        def found(damaged: Sequence[str]) -> str:
            return "\n".join(damaged) if damaged else "Every value is as it was stored."

        self._do("reading and checking everything …", self._source.verify, found)

    def action_tidy(self) -> None:
        self._do("tidying up …", self._source.tidy, str)

    def _do(self, meanwhile: str, work: Callable[[], T], tell: Callable[[T], str]) -> None:
        def done(result: T) -> None:
            self._say(tell(result))
            self.action_reload()

        self._doomed = ""
        self._say(meanwhile)
        errand(self, work, done, self._refuse)

    def _show(self, stock: Stock) -> None:
        self._held = stock.held
        self.query_one("#total", Static).update(total_text(stock))
        table = self.query_one(DataTable)
        row = table.cursor_row
        table.clear()
        room = max(min(self.size.width * 9 // 10, 110) - 42, 16)
        for held in stock.held:
            used = datetime.fromtimestamp(held.used).strftime("%m-%d %H:%M") if held.used else "–"
            in_use = "in use" if held.in_use else ""
            table.add_row(f"{size_text(held.size):>8}", shorten(held.what, room), used, in_use)
        if stock.held:
            table.move_cursor(row=min(row, len(stock.held) - 1))
        self.on_data_table_row_highlighted()

    def _chosen(self) -> Held | None:
        row = self.query_one(DataTable).cursor_row
        return self._held[row] if 0 <= row < len(self._held) else None

    def _say(self, sentence: str) -> None:
        said = self.query_one("#said", Label)
        said.set_class(False, "-error")
        said.update(sentence or hint("cache", HINTED))

    def _refuse(self, sentence: str) -> None:
        self._say(sentence)
        self.query_one("#said", Label).set_class(True, "-error")


def total_text(stock: Stock) -> str:
    """How full the cache is, and what takes the most by kind."""
    share = stock.size / stock.limit if stock.limit else 0.0
    full = min(round(share * METER), METER)
    lines = [
        stock.folder,
        f"{'█' * full}{'░' * (METER - full)} {size_text(stock.size)} of {size_text(stock.limit)} ({share:.0%})",
    ]
    kinds: Counter[str] = Counter()
    for held in stock.held:
        kinds[held.kind] += held.size
    by_kind = [f"{kind} {size_text(size)}" for kind, size in kinds.most_common(4)]
    damaged = [f"{stock.damaged} damaged, set aside"] if stock.damaged else []
    lines.append(" · ".join((f"{len(stock.held)} values", *by_kind, *damaged)))
    return "\n".join(lines)
