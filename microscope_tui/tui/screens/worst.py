"""The tokens that a layer's linear map explains worst, and the way to the examples that they are in."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.strip import Strip

from microscope_tui.inspection import WorstToken, WorstTokens
from microscope_tui.terms import JobKind, Modality, Request
from microscope_tui.tui.content.readout import shorten
from microscope_tui.tui.data.looks import Look
from microscope_tui.tui.keys import bindings, key_of
from microscope_tui.tui.output.records import Record, worst_records
from microscope_tui.tui.screens.closer import Closer, scrolled
from microscope_tui.tui.themes import MARKERS
from microscope_tui.tui.widgets.bar import Span
from microscope_tui.tui.widgets.canvas import Canvas, row

if TYPE_CHECKING:
    from microscope_tui.tui.screens.explorer import Explorer

HEAD = 1
"""Lines above the list."""


class Worst(Closer):
    """A list for the layer under the cursor."""

    BINDINGS: ClassVar[list[BindingType]] = [*bindings("worst")]
    KEYS = "worst"
    NAME = "worst-tokens"

    def __init__(self, explorer: Explorer, model: int = 0) -> None:
        super().__init__(explorer)
        self.model = model
        self.modality: Modality | None = None
        self.at = 0
        self._top = 0

    def body(self) -> ComposeResult:
        yield Canvas(id="body")

    @property
    def request(self) -> Request:
        return self.requests[min(self.model, len(self.requests) - 1)]

    @property
    def asked(self) -> Sequence[Look]:
        return [Look(self.request, JobKind.WORST)]

    @property
    def value(self) -> WorstTokens | None:
        value = self.see(self.asked[0]).value
        return value if isinstance(value, WorstTokens) else None

    @property
    def listed(self) -> Sequence[WorstToken]:
        """The tokens of this layer, of the modality chosen."""
        value = self.value
        if value is None or self.at_layer >= len(value.layers):
            return ()
        return [t for t in value.layers[self.at_layer] if self.modality in (None, t.modality)]

    def title_line(self) -> tuple[list[Span], list[Span]]:
        palette, value = self.palette, self.value
        left = [
            Span(f" {self.sign(self.request)} ", palette.of(self.slot(self.request)), True, "model"),
            Span("Worst tokens ", palette.text, True),
            Span(f" layer {self.at_layer} ", palette.cursor_line, True),
        ]
        if value:
            rows = ", ".join(f"{count:,} {modality}" for modality, count in value.rows.items())
            left.append(Span(f" of {rows} rows in the sample ", palette.faint))
        right = [
            Span(f" {self.key('filter')} ", palette.key, False, "filter"),
            Span(f"{self.modality or 'all'} ", palette.cursor_line),
        ]
        return left, right

    def show_body(self) -> None:
        self.query_one("#body", Canvas).show(self._rows, self.palette.background)

    def _rows(self, width: int, height: int) -> list[Strip]:
        value = self.value
        if value is None:
            return self.message(*self.standing(self.see(self.asked[0])), width, height)
        notes = " · ".join(value.notes)
        if self.at_layer >= len(value.layers):
            why = "no block starts here" if value.layers else notes or "no linear map is at hand"
            return self.message(f"layer {self.at_layer}: {why}", False, width, height)
        tokens = self.listed
        if not tokens:
            what = f"no {self.modality} tokens" if self.modality else "no tokens"
            return self.message(f"layer {self.at_layer}: {what} in the sample. {notes}", False, width, height)
        palette = self.palette
        self.at = min(self.at, len(tokens) - 1)
        room = height - HEAD - bool(notes)
        self._top = scrolled(self._top, self.at, room, len(tokens))
        rows = [row([(f"{'residual':>10}    {'example':<28} token", palette.faint, False)], width, palette.background)]
        shown = tokens[self._top : self._top + room]
        rows += [self._row(token, number == self.at, width) for number, token in enumerate(shown, self._top)]
        if notes:
            blank = row([], width, palette.background)
            rows += [blank] * (height - 1 - len(rows))
            rows.append(row([(f" {notes}", palette.faint, False)], width, palette.background))
        return rows

    def _row(self, token: WorstToken, here: bool, width: int) -> Strip:
        palette, series = self.palette, tuple(Modality).index(token.modality)
        where = f"{token.index} · {shorten(token.example, 18)}"
        group = f" · {token.group}" if token.group else ""
        return row(
            [
                (
                    f"{'▌' if here else ' '}{token.residual:>9.4g}  ",
                    palette.cursor_line if here else palette.text,
                    True,
                ),
                (f"{MARKERS[series]} ", palette.of(series), True),
                (f"{where:<28} ", palette.faint, False),
                (f"{token.position:>5} ", palette.faint, False),
                (f"“{token.token}”", palette.text, here),
                (f"  {token.modality}{group}", palette.faint, False),
            ],
            width,
            palette.cursor if here else palette.background,
        )

    def records(self, *, everything: bool) -> Iterable[Record]:
        if (value := self.value) is None:
            return ()
        return worst_records(value, range(len(value.layers)) if everything else [self.at_layer])

    def at_cursor(self) -> str:
        if not self.listed:
            return ""
        token = self.listed[min(self.at, len(self.listed) - 1)]
        where = f"example {token.index} ({token.example}), token {token.position} “{token.token}”, {token.modality}"
        return f"{self.request.model}, layer {self.at_layer}: residual {token.residual:.6g} at {where}"

    # What the user does

    def action_move(self, by: int) -> None:
        self.at = max(0, min(self.at + by, len(self.listed) - 1))
        self.show()

    def action_page(self, by: int) -> None:
        self.action_move(by * max(self.query_one("#body", Canvas).size.height - HEAD - 1, 1))

    def action_layer(self, by: int) -> None:
        if value := self.value:
            self.move_layer(by, max(len(value.layers) - 1, 0))

    def action_filter(self) -> None:
        if value := self.value:
            found = dict.fromkeys(token.modality for layer in value.layers for token in layer)
            choices = (None, *found)
            self.modality = choices[(choices.index(self.modality) + 1) % len(choices)]
            self.at = 0
            self.show()

    def action_model(self) -> None:
        if len(self.requests) < 2:
            self.notify(f"Only one model is looked at: {key_of('compare')} in the explorer lays another one over it.")
        self.model = (self.model + 1) % len(self.requests)
        self.show()

    def action_open(self) -> None:
        if not self.listed:
            return
        from microscope_tui.tui.screens.tokens import TokenScreen

        token = self.listed[self.at]
        self.explorer.example = token.index
        self.app.push_screen(TokenScreen(self.explorer, self.model, token.position), self.returned)

    def on_canvas_clicked(self, message: Canvas.Clicked) -> None:
        if message.y >= HEAD and self._top + message.y - HEAD < len(self.listed):
            self.action_move(self._top + message.y - HEAD - self.at)

    def on_canvas_wheeled(self, message: Canvas.Wheeled) -> None:
        self.action_move(message.by)
