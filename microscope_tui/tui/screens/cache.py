"""What the cache holds: what takes the most, and what can go."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import ClassVar, TypeVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.widgets import DataTable, Static

from microscope_tui.tables import size_text
from microscope_tui.terms import SliceSpec
from microscope_tui.tui.content.names import short_name, slice_names
from microscope_tui.tui.content.readout import shorten
from microscope_tui.tui.content.work import moment
from microscope_tui.tui.data.source import Held, Source, Stock
from microscope_tui.tui.errands import errand
from microscope_tui.tui.keys import bindings, key_of
from microscope_tui.tui.screens.dialog import Dialog

T = TypeVar("T")

SIZE, KIND, USED = 8, 13, 11
"""Widths of the columns that need no more."""
PADDING = 8
"""Cells beside the texts of the columns."""
METER = 24
"""Cells of the meter of the quota."""


class Cache(Dialog[None]):
    """The largest first. What is removed is measured again when it is asked for."""

    BINDINGS: ClassVar[list[BindingType]] = [*bindings("cache")]
    KEYS: ClassVar[str] = "cache"

    def __init__(self, source: Source) -> None:
        super().__init__("Cache")
        self._source = source
        self._stock: Stock | None = None
        self._doomed = ""

    def body(self) -> ComposeResult:
        yield Static("reading …", id="total", markup=False)
        yield DataTable(id="held", cursor_type="row")
        yield Static(id="detail", markup=False)

    def on_mount(self) -> None:
        self.action_reload()

    def on_resize(self) -> None:
        self.call_after_refresh(self._show)

    def on_data_table_row_highlighted(self) -> None:
        held = self._chosen()
        self.query_one("#detail", Static).update(f"key {held.key}\n{held.what}" if held else "")
        if self._doomed and (held is None or held.key != self._doomed):
            self._doomed = ""
            self.say("")

    def action_move(self, by: int) -> None:
        table = self.query_one(DataTable)
        table.move_cursor(row=table.cursor_row + by)

    def action_reload(self) -> None:
        errand(self, self._source.stock, self._read, self.refuse)

    def action_remove(self) -> None:
        """Remove the value under the cursor, when asked twice."""
        held = self._chosen()
        if held is None:
            self.say("There is nothing to remove.")
        elif held.in_use:
            self.refuse("A waiting or running job needs it: cancel the job first.")
        elif self._doomed != held.key:
            self._doomed = held.key
            self.refuse(f"{key_of('remove', 'cache')} once more removes {size_text(held.size)}: {held.what}")
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
            self.say(tell(result))
            self.action_reload()

        self._doomed = ""
        self.say(meanwhile)
        errand(self, work, done, self.refuse)

    def _read(self, stock: Stock) -> None:
        self._stock = stock
        self._show()

    def _show(self) -> None:
        """What was read, in columns that fit."""
        if self._stock is None:
            return
        self.query_one("#total", Static).update(total_text(self._stock))
        table = self.query_one(DataTable)
        row, room = table.cursor_row, self.query_one("#detail").size.width - 1  # 1: to scroll
        wanted = {"size": SIZE, "kind": KIND, "of": max(room - SIZE - KIND - USED - PADDING, 8), "last used": USED}
        table.clear(columns=True)
        for name, width in wanted.items():
            table.add_column(name, width=width)
        for held in self._stock.held:
            used, of = "in use" if held.in_use else moment(held.used), shorten(of_whom(held), wanted["of"])
            table.add_row(f"{size_text(held.size):>{SIZE}}", held.kind, of, used)
        if self._stock.held:
            table.move_cursor(row=min(row, len(self._stock.held) - 1))
        self.on_data_table_row_highlighted()

    def _chosen(self) -> Held | None:
        held, row = self._stock.held if self._stock else (), self.query_one(DataTable).cursor_row
        return held[row] if 0 <= row < len(held) else None


def of_whom(held: Held) -> str:
    """The model and slice of a value as people call them; what it is where they are not known."""
    spec = slice_names([SliceSpec.parse(held.slice)])[0] if held.slice else ""
    return " on ".join(filter(None, (held.model and short_name(held.model), spec))) or held.what


def total_text(stock: Stock) -> str:
    """How full the cache is, and what takes the most by kind; the bookkeeping is what says what belongs to what."""
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
    rest = stock.size - kinds.total()
    bookkeeping = [f"bookkeeping {size_text(rest)}"] if rest > 0 else []
    lines.append(" · ".join((f"{len(stock.held)} values", *by_kind, *bookkeeping, *damaged)))
    return "\n".join(lines)
