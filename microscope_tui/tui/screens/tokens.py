"""One example token by token: a heat map over the layers, the picture with its patches, and the words of the lens."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal
from textual.strip import Strip

from microscope_tui.inspection import TokenTable
from microscope_tui.terms import JobKind, Request
from microscope_tui.tui.content.detail import Detail
from microscope_tui.tui.content.ramp import SHADES, Range, colours
from microscope_tui.tui.content.tokens import Line, Quantity, Scale, Tokens, line_of
from microscope_tui.tui.data.looks import Look
from microscope_tui.tui.keys import bindings, key_of
from microscope_tui.tui.output.records import Record, token_record, token_records
from microscope_tui.tui.screens.closer import Closer, scrolled
from microscope_tui.tui.widgets.bar import Span
from microscope_tui.tui.widgets.canvas import Canvas, row
from microscope_tui.tui.widgets.heat import HEAD, Heat
from microscope_tui.tui.widgets.patches import Patches
from microscope_tui.tui.widgets.picturefield import BARE, TINTED, VALUES, PictureField

if TYPE_CHECKING:
    from microscope_tui.tui.screens.explorer import Explorer

WIDE = 100
"""Columns from which the tokens and the picture stand side by side."""
NAMED = 76
"""Columns from which all quantities are named, and not only the one that is shown."""
BOTH, LIST, PICTURE = "both", "tokens", "picture"


class TokenScreen(Closer):
    """The tokens of the explorer's example in one of its models."""

    BINDINGS: ClassVar[list[BindingType]] = [*bindings("tokens")]
    KEYS = "tokens"
    NAME = "tokens"
    DEFAULT_CSS = """
    TokenScreen #picture { width: 2fr; }
    TokenScreen #heat { width: 3fr; }
    TokenScreen #detail { height: 5; }
    """

    def __init__(self, explorer: Explorer, model: int = 0, token: int | None = None) -> None:
        """`token` is where the cursor starts; its picture is unfolded."""
        super().__init__(explorer)
        self.model = model
        self.quantity = Quantity.RESIDUAL
        self.scale = Scale.LOG
        self.shown_ = BOTH
        self.opened: frozenset[int] = frozenset()
        self.view = 0
        self.tint = TINTED
        self._wanted = token
        self._cursor = (0, 1)
        self._top = 0
        self._tokens: Tokens | None = None

    def body(self) -> ComposeResult:
        with Horizontal(id="body"):
            yield Canvas(id="heat")
            yield Canvas(id="picture")
        yield Canvas(id="detail")

    @property
    def request(self) -> Request:
        return self.requests[min(self.model, len(self.requests) - 1)]

    @property
    def asked(self) -> Sequence[Look]:
        return [Look(self.request, JobKind.TOKENS, self.example)]

    @property
    def tokens(self) -> Tokens | None:
        """What is shown, None while it is not there."""
        value = self.see(self.asked[0]).value
        if not isinstance(value, TokenTable):
            return None
        if self._tokens is None or self._tokens.table is not value:
            self._tokens = Tokens(value)
            self._begin(self._tokens)
        return self._tokens

    def _begin(self, tokens: Tokens) -> None:
        """The cursor in another table: on the token that was asked for, else at the top."""
        self.opened, self._top, self.view = frozenset(), 0, 0
        if not tokens.values(Quantity.RESIDUAL) and self.quantity is Quantity.RESIDUAL:
            self.quantity = Quantity.NORM
        token, self._wanted = self._wanted, None
        if token is not None and token < tokens.count:
            around = tokens.block_of(token)
            self.opened = frozenset({around.start}) if around else frozenset()
            self._cursor = (0, 1)
            self._to(tokens, token, token + 1)
        else:
            first = tokens.lines(self.opened)[0]
            self._cursor = (first.start, first.end)

    @property
    def at(self) -> int:
        """The number of the line of the cursor."""
        assert self._tokens is not None
        lines = self._tokens.lines(self.opened)
        found = line_of(lines, self._cursor[0])
        # The line of an open block and that of its first token begin at the same token.
        if found and (lines[found].start, lines[found].end) != self._cursor and lines[found - 1].end == self._cursor[1]:
            found -= 1
        return found

    @property
    def line(self) -> Line:
        assert self._tokens is not None
        return self._tokens.lines(self.opened)[self.at]

    @property
    def range(self) -> Range:
        assert self._tokens is not None
        return self._tokens.range(self.quantity, self.scale, self.at_layer)

    # Showing it

    def show_body(self) -> None:
        tokens = self.tokens
        wide = self.size.width >= WIDE
        with_picture = tokens is not None and bool(tokens.views) and self.shown_ != LIST
        with_list = (
            self.shown_ == LIST
            or not with_picture
            or (wide and self.shown_ == BOTH)
            or (not wide and self.shown_ == BOTH)
        )
        heat, picture, detail = (self.query_one(f"#{name}", Canvas) for name in ("heat", "picture", "detail"))
        for canvas, wanted in (
            (heat, with_list),
            (picture, with_picture and (wide or self.shown_ == PICTURE)),
            (detail, tokens is not None),
        ):
            if canvas.display != wanted:
                canvas.display = wanted
        for canvas, draw in ((heat, self._heat), (picture, self._picture), (detail, self._detail)):
            if canvas.display:
                canvas.show(draw, self.palette.background)

    def title_line(self) -> tuple[list[Span], list[Span]]:
        palette, tokens = self.palette, self._tokens if self.tokens else None
        left = [
            Span(f" {self.sign(self.request)} ", palette.of(self.slot(self.request)), True, "model"),
            Span(f"example {self.example}", palette.text, True),
            Span(
                " " if self.last_example is None or self.size.width < WIDE else f" of {self.last_example + 1:,} ",
                palette.faint,
            ),
        ]
        if tokens is None:
            return left, []
        card = tokens.table.card
        if card.right is not None:
            left.append(Span("✓ " if card.right else "✗ ", palette.good if card.right else palette.error, True))
        for quantity in Quantity:
            chosen, action = quantity is self.quantity, f"quantity('{quantity}')"
            left.append(Span(f" {self.key(action)} ", palette.key, False, action))
            if chosen or self.size.width >= NAMED:
                left.append(Span(f"{quantity} ", palette.cursor_line if chosen else palette.faint, chosen, action))
        return left, self._legend()

    def _legend(self) -> list[Span]:
        """The scale, from its least to its largest value."""
        palette, scale = self.palette, self.range
        if not self._tokens or not self._tokens.values(self.quantity):
            return []
        steps = [Span("█", colour) for colour in colours(palette)] if self.coloured else [Span(SHADES, palette.text)]
        return [
            Span(f"{self.key('scale')} {self.scale}  ", palette.faint, False, "scale"),
            Span(f"{short(scale.low)} ", palette.text),
            *steps,
            Span(f" {short(scale.high)} ", palette.text),
        ]

    def _heat(self, width: int, height: int) -> list[Strip]:
        tokens = self.tokens
        if tokens is None:
            return self.message(*self.standing(self.see(self.asked[0])), width, height)
        if not tokens.values(self.quantity):
            why = next(iter(tokens.table.notes), "no value is known")
            return self.message(f"{self.quantity}: {why}", False, width, height)
        return self.heat(tokens, height).rows(width, height)

    def heat(self, tokens: Tokens, height: int) -> Heat:
        """The heat map as it is scrolled in a field of this height."""
        lines, at = tokens.lines(self.opened), self.at
        self._top = scrolled(self._top, at, height - HEAD, len(lines))
        return Heat(tokens, self.quantity, self.scale, lines, self._top, at, self.at_layer, self.palette, self.coloured)

    def field(self, tokens: Tokens) -> PictureField:
        """The picture with its patches, at the layer and the token of the cursor."""
        line = self.line
        patches = Patches(
            tokens,
            self.view % len(tokens.views),
            self.quantity,
            self.range,
            min(self.at_layer, max(len(tokens.values(self.quantity)) - 1, 0)),
            line.start if line.block is None else None,
            self.palette,
            coloured=self.coloured,
            ascii=self.ascii,
            plain=self.thin or self.tint == VALUES,
        )
        return PictureField(patches, self.tint, self.key("view"), thin=self.thin)

    def _picture(self, width: int, height: int) -> list[Strip]:
        tokens = self.tokens
        return self.field(tokens).rows(width, height) if tokens and tokens.views else []

    def _detail(self, width: int, height: int) -> list[Strip]:
        """The exact values at the cursor, and the words of the lens."""
        tokens = self.tokens
        if tokens is None:
            return []
        return [row(parts, width, self.palette.background) for parts in self.detail(tokens).lines()][:height]

    def detail(self, tokens: Tokens) -> Detail:
        measured = self.explorer.desk.of(self.request).complete
        return Detail(tokens, self.line, self.at_layer, self.quantity, self.palette, measured)

    def records(self, *, everything: bool) -> Iterable[Record]:
        """Every token at every layer, or at that of the cursor."""
        if (tokens := self.tokens) is None:
            return ()
        if everything:
            return token_records(tokens.table)
        layer = min(self.at_layer, tokens.last)
        return [token_record(tokens.table, layer, t) for t in range(tokens.count)]

    def at_cursor(self) -> str:
        if (tokens := self.tokens) is None:
            return ""
        return "\n".join("".join(text for text, _, _ in parts).strip() for parts in self.detail(tokens).lines())

    # What the user does

    def go(self, line: int) -> None:
        """The cursor on a line."""
        tokens = self.tokens
        if tokens is not None:
            lines = tokens.lines(self.opened)
            chosen = lines[max(0, min(line, len(lines) - 1))]
            self._to(tokens, chosen.start, chosen.end)
            self.show()

    def to_token(self, token: int) -> None:
        """The cursor on a token, unfolded if need be."""
        tokens = self.tokens
        if tokens is not None:
            around = tokens.block_of(token)
            self.opened |= {around.start} if around else set()
            self._to(tokens, token, token + 1)
            self.show()

    def _to(self, tokens: Tokens, start: int, end: int) -> None:
        """The cursor on a token or a block; in another block the picture shows its view."""
        before, after = (tokens.block_of(t) for t in (self._cursor[0], start))
        if after and after != before and (after.picture, after.view) in tokens.views:
            self.view = tokens.views.index((after.picture, after.view))
        self._cursor = (start, end)

    def action_move(self, by: int) -> None:
        if self.tokens:
            self.go(self.at + by)

    def action_page(self, by: int) -> None:
        self.action_move(by * max(self.query_one("#heat", Canvas).size.height - HEAD - 1, 1))

    def action_layer(self, by: int) -> None:
        if tokens := self.tokens:
            self.move_layer(by, tokens.last)

    def action_part(self, by: int) -> None:
        """To the next place where another modality or picture begins."""
        if (tokens := self.tokens) is None:
            return
        parts, start = tokens.parts(), self._cursor[0]
        after = [p for p in parts if (p > start if by > 0 else p < start)]
        if after:
            self.go(line_of_start(tokens.lines(self.opened), after[0] if by > 0 else after[-1]))

    def action_quantity(self, name: str) -> None:
        self.quantity = Quantity(name)
        self.show()

    def action_scale(self) -> None:
        scales = tuple(Scale)
        self.scale = scales[(scales.index(self.scale) + 1) % len(scales)]
        self.show()

    def action_fold(self) -> None:
        """Unfold the block under the cursor, or fold the one that the cursor is in."""
        if (tokens := self.tokens) is None:
            return
        around = tokens.block_of(self._cursor[0])
        if around:
            self.opened ^= {around.start}
            self._cursor = (around.start, around.end)
            self.show()

    def action_fold_all(self) -> None:
        if tokens := self.tokens:
            token = self._cursor[0]
            self.opened = frozenset() if self.opened else frozenset(block.start for block in tokens.blocks)
            self.go(line_of_start(tokens.lines(self.opened), token))

    def action_lay_over(self) -> None:
        if (tokens := self.tokens) and not tokens.views:
            self.notify("No picture to lay them over: where the image tokens come from is not known here.")
            return
        layouts = (BOTH, LIST, PICTURE) if self.size.width >= WIDE else (LIST, PICTURE)
        now = self.shown_ if self.shown_ in layouts else LIST
        self.shown_ = layouts[(layouts.index(now) + 1) % len(layouts)]
        self.show()

    def action_view(self) -> None:
        if tokens := self.tokens:
            if len(tokens.views) < 2:
                self.notify("There is only one view of the picture.")
            self.view = (self.view + 1) % max(len(tokens.views), 1)
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
        number = max(0, number if last is None else min(number, last))
        if number != self.example:
            self.explorer.looks.drop(self.asked[0])
        self.explorer.example = number
        self.show()

    def action_model(self) -> None:
        if len(self.requests) < 2:
            self.notify(f"Only one model is looked at: {key_of('compare')} in the explorer lays another one over it.")
        self.model = (self.model + 1) % len(self.requests)
        self.show()

    def action_worst(self) -> None:
        from microscope_tui.tui.screens.worst import Worst

        self.app.push_screen(Worst(self.explorer, self.model), self.returned)

    def on_canvas_clicked(self, message: Canvas.Clicked) -> None:
        tokens = self.tokens
        if tokens is None:
            return
        size = message.canvas.size
        if message.canvas.id == "heat" and message.y >= HEAD:
            heat = self.heat(tokens, size.height)
            if (layer := heat.columns(size.width).layer_at(message.x)) is not None:
                self.move_layer(layer - self.at_layer, tokens.last)
            self.go(self._top + message.y - HEAD)
        elif message.canvas.id == "picture":
            token = self.field(tokens).token_at(message.x, message.y, size.width, size.height)
            if token is not None:
                self.to_token(token)

    def on_canvas_wheeled(self, message: Canvas.Wheeled) -> None:
        self.action_move(message.by)


def line_of_start(lines: Sequence[Line], token: int) -> int:
    """The first line that begins at a token: that of its block before its own."""
    found = line_of(lines, token)
    return found - 1 if found and lines[found - 1].start == lines[found].start else found


def short(value: float) -> str:
    """A limit of the scale."""
    return f"{value:.3g}"
