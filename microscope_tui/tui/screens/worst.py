"""The tokens that a layer's linear map explains worst, and the way to the examples that they are in."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import ClassVar

from rich.cells import cell_len
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.strip import Strip

from microscope_tui.inspection import WorstToken, WorstTokens
from microscope_tui.terms import JobKind, Modality
from microscope_tui.tui.content.cards import Section
from microscope_tui.tui.content.closer_cards import worst_card
from microscope_tui.tui.content.readout import figure, shorten
from microscope_tui.tui.content.spans import Ends, Span
from microscope_tui.tui.content.tokens import BY_FOLD, BY_FOLD_SHORT
from microscope_tui.tui.data.looks import Look
from microscope_tui.tui.keys import bindings
from microscope_tui.tui.output.records import Record, worst_records
from microscope_tui.tui.screens.onemodel import OneModel
from microscope_tui.tui.screens.place import Place
from microscope_tui.tui.themes import KINDS
from microscope_tui.tui.widgets.canvas import Canvas, row, scrolled

HEAD = 1
"""Lines above the list."""


class Worst(OneModel):
    """A list for the layer under the cursor."""

    BINDINGS: ClassVar[list[BindingType]] = [*bindings("worst")]
    KEYS = "worst"
    NAME = "worst-tokens"

    def __init__(self, place: Place, model: int = 0) -> None:
        super().__init__(place, model)
        self.modality: Modality | None = None
        self.at = 0
        self._top = 0
        self._too_early: set[Look] = set()
        """What was asked for before the slice was measured."""

    def body(self) -> ComposeResult:
        yield Canvas(id="body")

    @property
    def asked(self) -> Sequence[Look]:
        return [Look(self.request, JobKind.WORST)]

    @property
    def value(self) -> WorstTokens | None:
        value = self.see(self.asked[0]).value
        return value if isinstance(value, WorstTokens) else None

    @property
    def listed(self) -> Sequence[WorstToken]:
        """The tokens of this layer, of the modality chosen or the worst of all of them."""
        value = self.value
        if value is None or self.at_layer >= len(value.layers):
            return ()
        return value.worst_of(self.at_layer, self.modality)

    def title_line(self) -> Ends:
        palette, value = self.palette, self.value
        left = [
            *self.model_spans(),
            Span("Worst tokens ", palette.text, True),
            Span(f" layer {self.at_layer} ", palette.cursor_line, True),
        ]
        if value:
            rows = ", ".join(f"{count:,} {modality}" for modality, count in value.rows.items())
            left.append(Span(f" of {rows} rows of the residual stream ", palette.faint))
        right = [
            Span(f" {self.key('filter')} ", palette.key, False, "filter"),
            Span(f"{self.modality or 'all'} ", palette.cursor_line),
        ]
        return left, right

    def show_body(self) -> None:
        self._ask_when_measured()
        self.query_one("#body", Canvas).show(self._rows, self.palette.background)

    def _ask_when_measured(self) -> None:
        """Ask once more when the measurement is there whose maps and sample were missing."""
        look = self.asked[0]
        if not self.place.desk.of(self.request).complete:
            self._too_early.add(look)
        elif look in self._too_early:
            self._too_early.remove(look)
            if self.see(look).error:
                self.place.looks.again(look)

    def _rows(self, width: int, height: int) -> list[Strip]:
        value = self.value
        if value is None:
            return self.waiting_for(self.asked[0], width, height)
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
        shown = tokens[self._top : self._top + room]
        names = [where(token) for token in tokens]
        wide = max(map(cell_len, names))
        which = f"the {len(tokens)} worst of {self.modality or 'all modalities together'}"
        head = f"{BY_FOLD_SHORT:>12}  {'example':<{wide}}  token     {which}"
        rows = [row([(head, palette.faint, False)], width, palette.background)]
        for number, token in enumerate(shown, self._top):
            name = names[number] + " " * (wide - cell_len(names[number]))
            rows.append(self._row(token, name, number == self.at, width))
        if notes:
            blank = row([], width, palette.background)
            rows += [blank] * (height - 1 - len(rows))
            rows.append(row([(f" {notes}", palette.faint, False)], width, palette.background))
        return rows

    def _row(self, token: WorstToken, name: str, here: bool, width: int) -> Strip:
        palette = self.palette
        group = f" · {token.group}" if token.group else ""
        return row(
            [
                (
                    f"{'▌' if here else ' '}{figure(token.residual):>10} ",
                    palette.cursor_line if here else palette.text,
                    True,
                ),
                (f"{KINDS[token.modality]} ", palette.kind(token.modality), True),
                (f"{name} ", palette.faint, False),
                (f"{token.position:>5} ", palette.faint, False),
                (f"“{token.token}”", palette.text, here),
                (f"  {token.modality}{group}", palette.faint, False),
            ],
            width,
            palette.cursor if here else palette.background,
        )

    def card(self) -> Sequence[Section]:
        if (value := self.value) is None:
            return self.no_card(self.asked[0])
        return worst_card(value, self.at_layer, self.listed[self.at] if self.at < len(self.listed) else None)

    def records(self, *, everything: bool) -> Iterable[Record]:
        if (value := self.value) is None:
            return ()
        if everything:
            return worst_records(value, range(len(value.layers)))
        of_layer = worst_records(value, [self.at_layer])
        return [r for r in of_layer if (r["modality"] == self.modality if self.modality else r["rank"] is not None)]

    def at_cursor(self) -> str:
        if not self.listed:
            return ""
        token = self.listed[min(self.at, len(self.listed) - 1)]
        where = f"example {token.index} ({token.example}), token {token.position} “{token.token}”, {token.modality}"
        return f"{self.request.model}, layer {self.at_layer}: {BY_FOLD} {token.residual:.6g} at {where}"

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
        """All modalities, or one of them: also before the tokens are there, of those that were asked for."""
        value, asked = self.value, self.request.modalities
        found = dict.fromkeys(token.modality for layer in value.layers for token in layer) if value else asked
        choices = (None, *found)
        now = choices.index(self.modality) if self.modality in choices else 0
        self.modality = choices[(now + 1) % len(choices)]
        self.at = 0
        self.show()

    def action_open(self) -> None:
        if self.listed:
            token = self.listed[self.at]
            self.place.example = token.index
            self.app.push_screen(self.place.closer("tokens", self.model, token.position))

    def on_canvas_clicked(self, message: Canvas.Clicked) -> None:
        if message.y >= HEAD and self._top + message.y - HEAD < len(self.listed):
            self.action_move(self._top + message.y - HEAD - self.at)

    def on_canvas_wheeled(self, message: Canvas.Wheeled) -> None:
        self.action_move(message.by)


def where(token: WorstToken) -> str:
    """The example that a token is in, by its number and its key, which is often the number itself."""
    key = "" if token.example == str(token.index) else f" · {shorten(token.example, 18)}"
    return f"{token.index}{key}"
