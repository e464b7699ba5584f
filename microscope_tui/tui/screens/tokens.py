"""One example token by token: a heat map over the layers, the picture with its patches, and the words of the lens."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal
from textual.strip import Strip

from microscope_tui.inspection import TokenTable
from microscope_tui.terms import JobKind, Modality
from microscope_tui.tui.content.cards import Section
from microscope_tui.tui.content.closer_cards import tokens_card
from microscope_tui.tui.content.detail import Detail
from microscope_tui.tui.content.ramp import SHADES, Range, colours
from microscope_tui.tui.content.reading import Reading
from microscope_tui.tui.content.spans import Ends, Span
from microscope_tui.tui.content.tokens import Quantity, Scale, Tokens
from microscope_tui.tui.data.looks import Look
from microscope_tui.tui.keys import bindings
from microscope_tui.tui.output.records import Record, token_record, token_records
from microscope_tui.tui.screens.closer import WHOLE
from microscope_tui.tui.screens.onemodel import OneModel
from microscope_tui.tui.screens.place import Place
from microscope_tui.tui.widgets.canvas import Canvas, row, scrolled
from microscope_tui.tui.widgets.heat import HEAD, Heat
from microscope_tui.tui.widgets.patches import Patches
from microscope_tui.tui.widgets.picturefield import BARE, TINTED, VALUES, PictureField

WIDE = 100
"""Columns from which the tokens and the picture stand side by side."""
NAMED = 76
"""Columns from which all quantities are named, and not only the one that is shown."""
BOTH, LIST, PICTURE = "both", "tokens", "picture"


class TokenScreen(OneModel):
    """The tokens of the explorer's example in one of its models."""

    BINDINGS: ClassVar[list[BindingType]] = [*bindings("tokens")]
    KEYS = "tokens"
    NAME = "tokens"
    DEFAULT_CSS = """
    TokenScreen #picture { width: 2fr; }
    TokenScreen #heat { width: 3fr; }
    TokenScreen #detail { height: 5; }
    """

    def __init__(self, place: Place, model: int = 0, token: int | None = None) -> None:
        """`token` is where the cursor starts; its picture is unfolded."""
        super().__init__(place, model)
        self.quantity = Quantity.RESIDUAL
        self._instead = False
        """Whether another quantity is shown until that one is known."""
        self.scale = Scale.LOG
        self.layout_ = BOTH
        self.tint = TINTED
        self._wanted = token
        self._top = 0
        self._reading: Reading | None = None

    def body(self) -> ComposeResult:
        with Horizontal(id="body"):
            yield Canvas(id="heat")
            yield Canvas(id="picture")
        yield Canvas(id="detail")

    @property
    def saved_as(self) -> str:
        return f"{self.NAME}-example-{self.example}"

    @property
    def asked(self) -> Sequence[Look]:
        return [Look(self.request, JobKind.TOKENS, self.example)]

    @property
    def reading(self) -> Reading | None:
        """The tokens with the place in them, None while they are not there. Those of another example are begun at the
        token that was asked for, else at the top; one that was made anew is read on where one was."""
        table = self.see(self.asked[0]).value
        if not isinstance(table, TokenTable):
            return None
        if self._reading is None or self._reading.tokens.table is not table:
            if self._reading and self._wanted is None and same_tokens(self._reading.tokens.table, table):
                self._reading.tokens = Tokens(table)
            else:
                self._reading = Reading(Tokens(table), self._wanted)
                self._wanted, self._top = None, 0
            known = self._reading.tokens.known(Quantity.RESIDUAL)
            if self.quantity is Quantity.RESIDUAL and not known:
                self.quantity, self._instead = Quantity.NORM, True
            elif self._instead and known:
                self.quantity, self._instead = Quantity.RESIDUAL, False
        return self._reading

    def range(self, tokens: Tokens) -> Range:
        """What the scale goes over."""
        return tokens.range(self.quantity, self.scale, self.at_layer)

    # Showing it

    def show_body(self) -> None:
        reading, wide = self.reading, self.size.width >= WIDE
        with_picture = reading is not None and bool(reading.tokens.views)
        with_picture = with_picture and (self.layout_ == PICTURE or (self.layout_ == BOTH and wide))
        with_list = not with_picture or self.layout_ == BOTH
        for name, wanted, draw in (
            ("heat", with_list, self._heat),
            ("picture", with_picture, self._picture),
            ("detail", reading is not None, self._detail),
        ):
            canvas = self.query_one(f"#{name}", Canvas)
            if canvas.display != wanted:
                canvas.display = wanted
            if wanted:
                canvas.show(draw, self.palette.background)

    def title_line(self) -> Ends:
        palette, reading = self.palette, self.reading
        left = [*self.model_spans(), Span(f"example {self.example}", palette.text, True)]
        of = "" if self.last_example is None or self.size.width < WIDE else f"of 0–{self.last_example:,} "
        left.append(Span(f" {of}", palette.faint))
        if reading is None:
            return left, []
        card = reading.tokens.table.card
        if card.right is not None:
            left.append(Span("✓ " if card.right else "✗ ", palette.good if card.right else palette.error, True))
        for quantity in Quantity:
            chosen, action = quantity is self.quantity, f"quantity('{quantity}')"
            left.append(Span(f" {self.key(action)} ", palette.key, False, action))
            if chosen or self.size.width >= NAMED:
                left.append(
                    Span(
                        f"{quantity.said if self.size.width >= WIDE else quantity.short} ",
                        palette.cursor_line if chosen else palette.faint,
                        chosen,
                        action,
                    )
                )
        return left, self._legend(reading.tokens)

    def _legend(self, tokens: Tokens) -> list[Span]:
        """The scale, from its least to its largest value."""
        palette, scale = self.palette, self.range(tokens)
        if not tokens.known(self.quantity):
            return []
        steps = [Span("█", colour) for colour in colours(palette)] if self.coloured else [Span(SHADES, palette.text)]
        return [
            Span(f"{self.key('scale')} {self.scale}  ", palette.faint, False, "scale"),
            Span(f"{short(scale.low)} ", palette.text),
            *steps,
            Span(f" {short(scale.high)} ", palette.text),
        ]

    def _heat(self, width: int, height: int) -> list[Strip]:
        if (reading := self.reading) is None:
            return self.waiting_for(self.asked[0], width, height)
        tokens = reading.tokens
        if not tokens.known(self.quantity):
            why = " · ".join(tokens.table.notes) or "no value is known"
            return self.message(f"{self.quantity.said}: {why}", False, width, height)
        return self.heat(reading, height).rows(width, height)

    def heat(self, reading: Reading, height: int) -> Heat:
        """The heat map as it is scrolled in a field of this height."""
        lines, at = reading.lines, reading.at
        self._top = scrolled(self._top, at, height - HEAD, len(lines))
        shown = self.quantity, self.scale, lines, self._top, at
        return Heat(reading.tokens, *shown, self.at_layer, self.palette, self.coloured)

    def field(self, reading: Reading) -> PictureField:
        """The picture with its patches, at the layer and the token of the cursor."""
        tokens, line = reading.tokens, reading.line
        patches = Patches(
            tokens,
            reading.view,
            self.quantity,
            self.range(tokens),
            min(self.at_layer, max(len(tokens.values(self.quantity)) - 1, 0)),
            line.start if line.block is None else None,
            self.palette,
            coloured=self.coloured,
            ascii=self.ascii,
            plain=self.thin or self.tint == VALUES,
        )
        return PictureField(patches, self.tint, self.key("view"), thin=self.thin)

    def _picture(self, width: int, height: int) -> list[Strip]:
        reading = self.reading
        return self.field(reading).rows(width, height) if reading and reading.tokens.views else []

    def _detail(self, width: int, height: int) -> list[Strip]:
        """The exact values at the cursor, and the words of the lens."""
        if (reading := self.reading) is None:
            return []
        return [row(parts, width, self.palette.background) for parts in self.detail(reading).lines(width)][:height]

    def detail(self, reading: Reading) -> Detail:
        measured = self.place.desk.of(self.request).complete
        return Detail(reading.tokens, reading.line, self.at_layer, self.quantity, self.palette, measured)

    def card(self) -> Sequence[Section]:
        if (reading := self.reading) is None:
            return self.no_card(self.asked[0])
        return tokens_card(reading.tokens, reading.line, self.at_layer, self.quantity)

    def records(self, *, everything: bool) -> Iterable[Record]:
        """Every token at every layer, or at that of the cursor."""
        if (reading := self.reading) is None:
            return ()
        tokens = reading.tokens
        if everything:
            return token_records(tokens.table)
        layer = min(self.at_layer, tokens.last)
        return [token_record(tokens.table, layer, t) for t in range(tokens.count)]

    def at_cursor(self) -> str:
        if (reading := self.reading) is None:
            return ""
        lines = self.detail(reading).lines(WHOLE)
        return "\n".join("".join(text for text, _, _ in parts).strip() for parts in lines)

    # What the user does

    def action_move(self, by: int) -> None:
        if reading := self.reading:
            reading.to_line(reading.at + by)
            self.show()

    def action_page(self, by: int) -> None:
        self.action_move(by * max(self.query_one("#heat", Canvas).size.height - HEAD - 1, 1))

    def action_layer(self, by: int) -> None:
        if reading := self.reading:
            self.move_layer(by, reading.tokens.last)

    def action_part(self, by: int) -> None:
        if reading := self.reading:
            reading.to_part(by)
            self.show()

    def action_quantity(self, name: str) -> None:
        self.quantity, self._instead = Quantity(name), False
        self.show()

    def action_scale(self) -> None:
        scales = tuple(Scale)
        self.scale = scales[(scales.index(self.scale) + 1) % len(scales)]
        self.show()

    def action_fold(self) -> None:
        if reading := self.reading:
            reading.fold()
            self.show()

    def action_fold_all(self) -> None:
        if reading := self.reading:
            reading.fold_all()
            self.show()

    def action_lay_over(self) -> None:
        if (reading := self.reading) and not reading.tokens.views:
            self._tell_no_picture(reading)
            return
        layouts = (BOTH, LIST, PICTURE) if self.size.width >= WIDE else (LIST, PICTURE)
        now = self.layout_ if self.layout_ in layouts else LIST
        self.layout_ = layouts[(layouts.index(now) + 1) % len(layouts)]
        self.show()

    def _tell_no_picture(self, reading: Reading) -> None:
        if Modality.IMAGE in reading.tokens.table.modality:
            self.notify("No picture to lay them over: where the image tokens come from is not known here.")
        else:
            self.notify("This example has no picture to lay its tokens over.")

    def action_view(self) -> None:
        if reading := self.reading:
            if not reading.tokens.views:
                self._tell_no_picture(reading)
                return
            if len(reading.tokens.views) < 2:
                self.notify("There is only one view of the picture.")
            reading.next_view()
            self.show()

    def action_tint(self) -> None:
        """What is shown of the picture."""
        if not self.coloured:
            self.notify("The picture itself cannot be shown: this terminal shows too few colours for it.")
            return
        tints = (TINTED, VALUES, BARE)
        self.tint = tints[(tints.index(self.tint) + 1) % len(tints)]
        self.show()

    def action_example(self, by: int) -> None:
        """The next example of the slice, as far as it is known how many there are."""
        number, last = self.example + by, self.last_example
        self.place.example = max(0, number if last is None else min(number, last))
        self.show()

    def on_canvas_clicked(self, message: Canvas.Clicked) -> None:
        if (reading := self.reading) is None:
            return
        size = message.canvas.size
        if message.canvas.id == "heat" and message.y >= HEAD:
            heat = self.heat(reading, size.height)
            if (layer := heat.columns(size.width).layer_at(message.x)) is not None:
                self.move_layer(layer - self.at_layer, reading.tokens.last)
            reading.to_line(self._top + message.y - HEAD)
        elif message.canvas.id == "picture":
            token = self.field(reading).token_at(message.x, message.y, size.width, size.height)
            if token is not None:
                reading.to_token(token)
        self.show()

    def on_canvas_wheeled(self, message: Canvas.Wheeled) -> None:
        self.action_move(message.by)


def same_tokens(one: TokenTable, other: TokenTable) -> bool:
    """Whether two tables are of the same tokens."""
    return (one.model, one.card.key, one.tokens) == (other.model, other.card.key, other.tokens)


def short(value: float) -> str:
    """A limit of the scale."""
    return f"{value:.3g}"
