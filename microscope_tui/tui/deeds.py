"""The tables of keys of the screens that look closer; `keys` has that of the explorer itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from textual.binding import Binding

from microscope_tui.tui.keys import Deed

_BACK = Deed("escape,q", "esc", "back", "Back", "Back to where you came from", "Screen", footer=2)
_COMMON = (
    Deed("r", "r", "again", "Ask again", "Ask the worker once more, also for what is there", "Screen"),
    Deed("e", "e", "export", "Export", "Save what this screen has as CSV and JSON", "Screen"),
    Deed("Y", "Y", "copy_value", "Copy value", "Copy what is at the cursor to the clipboard", "Screen"),
    Deed("ctrl+y", "ctrl+y", "copy_table", "Copy table", "Copy what is shown as CSV to the clipboard", "Screen"),
    Deed("t", "t", "theme", "Theme", "Next theme", "Screen"),
    Deed("s", "s", "picture", "Screenshot", "Save the screen as SVG", "Screen"),
    Deed("question_mark", "?", "help", "Help", "The keys of this screen", "Screen", footer=9),
    _BACK,
)
_LAYERS = (
    Deed("left,h", "← h", "layer(-1)", "Layer −", "Layer cursor one back", "Cursor"),
    Deed("right,l", "→ l", "layer(1)", "Layer", "Layer cursor one on", "Cursor", footer=3),
    Deed("home,0", "home 0", "layer(-10000)", "First layer", "Layer cursor to the first layer", "Cursor"),
    Deed("end,dollar_sign", "end $", "layer(10000)", "Last layer", "Layer cursor to the last layer", "Cursor"),
)
_EXAMPLES = (
    Deed("n", "n", "example(1)", "Example", "Next example", "Cursor", footer=5),
    Deed("p", "p", "example(-1)", "Previous", "Previous example", "Cursor"),
)


def _list(what: str) -> tuple[Deed, ...]:
    return (
        Deed("up,k", "↑ k", "move(-1)", "Up", f"{what} before", "Cursor"),
        Deed("down,j", "↓ j", "move(1)", what, f"Next {what.lower()}", "Cursor", footer=4),
        Deed("pageup", "pgup", "page(-1)", "Page up", "A page back", "Cursor"),
        Deed("pagedown", "pgdn", "page(1)", "Page down", "A page on", "Cursor"),
        Deed("g", "g", "move(-1000000)", "Top", "To the top", "Cursor"),
        Deed("G", "G", "move(1000000)", "Bottom", "To the bottom", "Cursor"),
    )


EXAMPLES: tuple[Deed, ...] = (
    *_list("Example"),
    *(replace(deed, footer=0) for deed in _EXAMPLES),
    Deed("enter", "enter", "open", "Tokens", "The tokens of this example", "Example", footer=1),
    Deed("f", "f", "filter", "Filter", "All examples, those answered right, wrong, differently, skipped", "Example", 3),
    *_COMMON,
)
TOKENS: tuple[Deed, ...] = (
    *_list("Token"),
    *_LAYERS,
    Deed("tab", "tab", "part(1)", "Part", "Next modality, picture or tiles", "Cursor", footer=8),
    Deed("shift+tab", "shift+tab", "part(-1)", "Part back", "Modality, picture or tiles before", "Cursor"),
    Deed("1", "1", "quantity('residual')", "Residual", "What the linear map leaves of each token", "Show"),
    Deed("2", "2", "quantity('norm')", "Norm", "Norm of the hidden state", "Show"),
    Deed("3", "3", "quantity('update')", "Update", "What a block adds, by the size of what it is added to", "Show"),
    Deed("y", "y", "scale", "Scale", "Next scale: logarithmic, linear, each layer by itself", "Show", footer=10),
    Deed("enter,space", "enter", "fold", "Unfold", "Unfold the tokens of a picture, or fold them", "Show", footer=6),
    Deed("f", "f", "fold_all", "Fold all", "Unfold or fold all pictures", "Show"),
    Deed("o", "o", "lay_over", "Picture", "Tokens, the picture with its patches, or both", "Show", footer=7),
    Deed("v", "v", "tint", "Tint", "The picture tinted by its values, the values alone, the picture alone", "Show"),
    Deed("b", "b", "view", "Base/tiles", "Next view of the picture: base, tiles", "Show", footer=12),
    *_EXAMPLES,
    Deed("c", "c", "model", "Model", "The same example in the next model", "Example", footer=13),
    Deed("w", "w", "worst", "Worst", "The tokens that this layer's linear map explains worst", "Example", footer=11),
    *_COMMON,
)
WORST: tuple[Deed, ...] = (
    *_list("Token"),
    *_LAYERS,
    Deed("enter", "enter", "open", "Tokens", "The example that the token is in", "Token", footer=1),
    Deed("f", "f", "filter", "Filter", "All modalities, or one of them", "Token", footer=7),
    Deed("c", "c", "model", "Model", "The next model", "Token", footer=8),
    *_COMMON,
)
MAP: tuple[Deed, ...] = (
    *_LAYERS,
    Deed("u", "u", "stream", "Stream", "Next stream: residual, update, main", "Show", footer=6),
    Deed("z", "z", "whole", "Whole", "All rows, or the plane without the most extreme ones", "Show", footer=7),
    Deed("c", "c", "colour", "Colour", "Colour by modality, or by model", "Show", footer=8),
    Deed("f", "f", "filter", "Filter", "All modalities, or one of them", "Show", footer=9),
    *_COMMON,
)


def bindings(table: Sequence[Deed]) -> list[Binding]:
    """A table as Textual bindings."""
    return [Binding(deed.keys, deed.action, deed.label, show=bool(deed.footer)) for deed in table]
