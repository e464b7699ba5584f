"""What stands below the heat map: the exact values at the cursor, the words of the lens, the answer, the notes."""

from __future__ import annotations

from dataclasses import dataclass

from rich.cells import cell_len

from microscope_tui.tui.content.readout import figure
from microscope_tui.tui.content.spans import Part
from microscope_tui.tui.content.tokens import BRIEF, MEANING, Line, Quantity, Tokens
from microscope_tui.tui.keys import key_of
from microscope_tui.tui.themes import Palette


@dataclass(frozen=True, eq=False)
class Detail:
    """The lines for the cursor on a line and a layer. `measured`: the slice is measured by now."""

    tokens: Tokens
    line: Line
    layer: int
    quantity: Quantity
    palette: Palette
    measured: bool

    def lines(self, width: int) -> list[list[Part]]:
        """The lines below the map, the last of them as long as `width` cells have room for."""
        palette, line, layer, table = self.palette, self.line, self.layer, self.tokens.table
        head: list[Part] = [(f" layer {layer}", palette.cursor_line, True)]
        if line.block is None:
            group = table.group[line.start]
            name = f"  token {line.start} of 0–{self.tokens.count - 1:,}  {table.modality[line.start]}" + (
                f" · {group}" if group else ""
            )
            head += [(name, palette.faint, False), (f"  “{table.tokens[line.start]}”", palette.text, True)]
            if line.start + 1 < self.tokens.count:
                head.append((f"  then “{table.tokens[line.start + 1]}”", palette.faint, False))
        else:
            head.append((f"  {line.block.name}", palette.text, True))
            head.append((f"  tokens {line.start} – {line.end - 1}, mean of {line.block.length}", palette.faint, False))
        values: list[Part] = [(" ", palette.text, False)]
        for quantity in Quantity:
            chosen = quantity is self.quantity
            values.append((f"{quantity.said} ", palette.faint, False))
            values.append((f"{value_text(self.tokens, line, layer, quantity)}   ", palette.text, chosen))
        return [
            head,
            values,
            self._lens(),
            self._answer(),
            [(f" {self._notes(width - 1)}", palette.faint, False)],
        ]

    def _notes(self, width: int) -> str:
        """What is shown, what it was made from, and what to be careful about: in as few words as the width asks for."""
        table, quantity = self.tokens.table, self.quantity
        now = f"the slice is measured by now: {key_of('again', 'tokens')} asks again"
        again = [now] if self.measured and not table.residual else []
        mapped = quantity is Quantity.RESIDUAL and table.fitted
        made_of = f" · {table.fitted:,} examples in the map" if mapped else ""
        meanings = (
            f"{quantity.said}: {MEANING[quantity]}{made_of}",
            f"{quantity.said}: {BRIEF[quantity]}{made_of}",
            f"{quantity.said}: {BRIEF[quantity]}",
        )
        said = [" · ".join((*again, *table.notes, meaning)) for meaning in meanings]
        return next((each for each in said if cell_len(each) <= width), said[-1])

    def _lens(self) -> list[Part]:
        """The likeliest words at the cursor; over a block, the words that are likeliest most often."""
        palette, line = self.palette, self.line
        parts: list[Part] = [(" lens ", palette.faint, False)]
        if not self.tokens.table.lens:
            return [*parts, ("not known for this model", palette.faint, False)]
        layer = min(self.layer, len(self.tokens.table.lens) - 1)
        if line.block is not None:
            parts.append((f"likeliest word, at how many of the {line.block.length}:", palette.faint, False))
            for word, count in self.tokens.frequent(layer, line.block):
                parts += [(f" “{word}”", palette.text, True), (f" {count}× ", palette.faint, False)]
            return parts
        for word, share in self.tokens.lens(layer, line.start):
            parts += [(f" “{word}”", palette.text, True), (f" {share:.1%} ", palette.faint, False)]
        return parts

    def _answer(self) -> list[Part]:
        """What was asked, and what the model chose."""
        palette, card = self.palette, self.tokens.table.card
        said = " ".join(card.question.split())
        chosen = "" if card.chosen is None or card.chosen >= len(card.choices) else card.choices[card.chosen]
        parts: list[Part] = []
        if chosen:
            margin = "" if card.margin is None else f" {card.margin:+.2f}"
            verdict = {True: " ✓ ", False: " ✗ ", None: " "}[card.right]
            parts = [
                (verdict, palette.good if card.right else palette.error, True),
                (f"{chosen}{margin}  ", palette.text, False),
            ]
        return [*parts, (f" {said}", palette.faint, False)]


def value_text(tokens: Tokens, line: Line, layer: int, quantity: Quantity) -> str:
    """The value of a line at a layer, or why there is none."""
    values = tokens.shown(quantity, line)
    if not values:
        return "unknown"
    if layer >= len(values):
        return "– (no block starts here)" if layer == len(values) else "–"
    value = values[layer]
    if value is not None:
        return figure(value)
    return {
        Quantity.RESIDUAL: f"undefined (no map for {tokens.table.modality[line.start]})",
        Quantity.UPDATE: "undefined (the norm before is 0)",
        Quantity.NORM: "undefined (not a finite number)",
    }[quantity]
