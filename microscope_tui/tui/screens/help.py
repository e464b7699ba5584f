"""What every key does, made from the table of deeds."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import ClassVar

from rich.table import Table
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import VerticalScroll
from textual.widgets import Static

from microscope_tui.methods import METHODS, method_of
from microscope_tui.settings import config_file
from microscope_tui.terms import Metric
from microscope_tui.tui.content.cards import MEANINGS
from microscope_tui.tui.keys import EXPLORER, bindings, deeds, key_of
from microscope_tui.tui.screens.dialog import Dialog

WORDS = (
    ("text · image", "whose token positions the rows come from"),
    ("main", "the chained forward without residuals: a counterfactual that never occurs in the model"),
    ("residual", "the hidden states h₀ … h_L, before the final norm"),
    ("update", "what each block adds, h_{l+1} − h_l"),
    ("tints, bars ┆", "the 95 % interval, by example; left out where thinner than half a cell; bars without colours"),
    (
        "B − A",
        "the others less the first; a filled sign: not 0, corrected for all layers (max-T on shared examples)",
    ),
    (
        "max-T × 8",
        "the difference must exceed what the largest of 8 layers reaches by chance, groups of examples' signs flipped; "
        "Bonferroni × 8: at 5 % shared among 8 layers",
    ),
    ("n  d  n/d", "rows (one a token), their width, and rows for each of its dimensions; ex: examples"),
    *MEANINGS.items(),
    ("sinks", "the share of rows with a massive norm: over ten times the median of their modality in their example"),
    ("duplicates", "the share of the sampled rows at this layer that repeat another one"),
    ("gap in a line", "undefined at that layer; the reason stands above when the cursor is there"),
    ("● ★ ◦ ✓", "in a list: what is shown, a favourite, looked at lately, measured with what else is chosen"),
    ("*", "there is a note or a trap at this layer: it is spelled out above the keys"),
)


class Help(Dialog[None]):
    """The keys, the words on the screen and the formulas."""

    BINDINGS: ClassVar[list[BindingType]] = [*bindings("help")]

    KEYS: ClassVar[str] = "help"
    OF_WIDGETS: ClassVar[tuple[str, ...]] = ("↑ ↓ scroll",)

    def __init__(self, screen: str = EXPLORER) -> None:
        """`screen` names the table of the screen that asks."""
        super().__init__(f"Keys   (a click does it too; {key_of('app.command_palette')} finds everything by name)")
        everywhere = () if screen == EXPLORER else (deed for deed in deeds(EXPLORER) if deed.of_app)
        self._table = (*deeds(screen), *(replace(deed, group="On every screen") for deed in everywhere))

    def body(self) -> ComposeResult:
        with VerticalScroll(id="page"):
            for group in dict.fromkeys(deed.group for deed in self._table):
                yield Static(group, classes="group")
                yield Static(_table([(deed.shown, deed.help) for deed in self._table if deed.group == group]))
            place = config_file(os.environ)
            yield Static(f"Other keys and themes of your own: [keys] and [themes.NAME] in {place}", markup=False)
            yield Static("What is on the screen", classes="heading")
            yield Static(_table(WORDS))
            yield Static("Formulas", classes="heading")
            known = [(metric, name) for metric in Metric for name in METHODS[metric]]
            yield Static(_table([(f"{metric} · {name}", method_of(metric, name).formula) for metric, name in known]))


def _table(rows: list[tuple[str, str]] | tuple[tuple[str, str], ...]) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold", no_wrap=True, min_width=12)
    table.add_column()
    for key, text in rows:
        table.add_row(key, text)
    return table
