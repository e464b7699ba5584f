"""What can be done on each screen: one table a screen, of which its key bindings, help, footer and palette are made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

NAMES: Mapping[str, str] = {
    "metric('linearity')": "linearity",
    "metric('dimension')": "dimension",
    "metric('anisotropy')": "anisotropy",
    "without('sinks')": "sinks",
    "without('duplicates')": "duplicates",
    "layer(-1)": "layer_back",
    "layer(1)": "layer_on",
    "layer(-10000)": "first_layer",
    "layer(10000)": "last_layer",
    "pane(1)": "pane_on",
    "pane(-1)": "pane_back",
    "app.redraw": "redraw",
    "app.command_palette": "palette",
    "app.suspend_process": "suspend",
    "app.quit": "quit",
    "move(-1)": "up",
    "move(1)": "down",
    "page(-1)": "page_up",
    "page(1)": "page_down",
    "move(-1000000)": "top",
    "move(1000000)": "bottom",
    "example(1)": "next_example",
    "example(-1)": "previous_example",
    "part(1)": "part_on",
    "part(-1)": "part_back",
    "quantity('residual')": "show_residual",
    "quantity('norm')": "show_norm",
    "quantity('update')": "show_update",
    "model": "next_model",
    "stream": "next_stream",
    "view": "next_view",
    "reorder(-1)": "earlier",
    "reorder(1)": "later",
    "step(1)": "next_offer",
    "step(-1)": "previous_offer",
    "step(8)": "offers_on",
    "step(-8)": "offers_back",
}
"""What the settings call an action that has arguments."""


@dataclass(frozen=True)
class Deed:
    """Something the user can do. `keys` are names as Textual gives them, `shown` how people call them.

    `footer` is the rank in the line of keys at the bottom (1: shown first, 0: not there). `id` is what the settings
    call it.
    """

    keys: str
    shown: str
    action: str
    label: str
    help: str
    group: str
    footer: int = 0
    palette: bool = True
    first: bool = False
    """Whether it goes before what the widget in focus makes of the key."""

    @property
    def id(self) -> str:
        return NAMES.get(self.action, self.action)

    @property
    def of_app(self) -> bool:
        """Whether it is there on every screen."""
        return self.action.startswith("app.")


EXPLORER: tuple[Deed, ...] = (
    Deed("m", "m", "pick_model", "Model", "Choose the model to look at", "Choose", footer=3),
    Deed("d", "d", "pick_slice", "Slice", "Choose the slice of a data set", "Choose", footer=4),
    Deed("1", "1", "metric('linearity')", "Linearity", "Show linearity: R² of the best linear map", "Choose"),
    Deed("2", "2", "metric('dimension')", "Dimension", "Show intrinsic dimension: TwoNN", "Choose"),
    Deed("3", "3", "metric('anisotropy')", "Anisotropy", "Show anisotropy: share of the top eigenvalue", "Choose"),
    Deed("v", "v", "variant", "Variant", "Next variant of the metric that was measured", "Variants", footer=8),
    Deed("c", "c", "compare", "Compare", "Lay another model over the first, four curves at most", "Compare", footer=5),
    Deed("C", "C", "compare_slice", "Compare slices", "Lay another slice over the first", "Compare"),
    Deed("minus,delete", "-", "take_off", "Take off", "Take off the curve on top, or the last one", "Compare"),
    Deed("p", "p", "pin", "Pin", "Pin the next curve on top", "Compare"),
    Deed("f", "f", "difference", "Difference", "The others less the first, and where that is significant", "Compare"),
    Deed("k", "k", "contrast", "Differences", "All in which the curves differ, not only in their values", "Compare"),
    Deed("S", "S", "without('sinks')", "Sinks", "Leave rows with massive norms out, or count them", "Variants"),
    Deed("D", "D", "without('duplicates')", "Duplicates", "Leave repeated rows out, or count them", "Variants"),
    Deed("R", "R", "reference", "Reference", "What the functions of LLM-Microscope give, and back", "Variants"),
    Deed("N", "N", "matched", "Matched n", "As many different rows of all that is compared, for dimension", "Variants"),
    Deed("O", "O", "one_tile", "One tile", "Each picture as one tile, and back", "Variants"),
    Deed("B", "B", "before", "Before", "Vision tower and connector as layers before the decoder", "Variants"),
    Deed("i", "i", "card", "Card", "What the metric is, its source, and what can go wrong here", "Variants", footer=6),
    Deed("left,h", "← h", "layer(-1)", "Layer −", "Layer cursor one back", "Look", palette=False),
    Deed("right,l", "→ l", "layer(1)", "Layer +", "Layer cursor one on", "Look", footer=7, palette=False),
    Deed("home,0", "home 0", "layer(-10000)", "First layer", "Layer cursor to the first layer", "Look"),
    Deed("end,dollar_sign", "end $", "layer(10000)", "Last layer", "Layer cursor to the last layer", "Look"),
    Deed("tab,down", "tab", "pane(1)", "Pane", "Next pane", "Look"),
    Deed("shift+tab,up", "shift+tab", "pane(-1)", "Pane back", "Pane before", "Look"),
    Deed("z,enter", "z", "zoom", "Zoom", "One pane over the whole screen, and back", "Look", footer=9),
    Deed("u", "u", "streams", "Streams", "Next columns: main, residual, update, all three", "Look", footer=12),
    Deed("y", "y", "same_y", "Y axes", "The same y axis in all panes, or each its own", "Look"),
    Deed("g", "g", "log", "Log y", "A logarithmic y axis, or a linear one", "Look"),
    Deed("x", "x", "depth", "X axis", "Layers, or the share of the depth", "Look"),
    Deed("w", "w", "hide_row", "Hide row", "Hide the row of the pane in focus", "Look"),
    Deed("W", "W", "hide_column", "Hide column", "Hide the column of the pane in focus", "Look"),
    Deed("a", "a", "show_all", "Show all", "All rows and columns of panes", "Look"),
    Deed("b", "b", "thin", "Thin line", "Draw little, for a slow line, or everything", "Look"),
    Deed("t", "t", "theme", "Theme", "Next theme: dark, light, high contrast, the terminal's own, yours", "Look"),
    Deed("E", "E", "examples", "Examples", "The examples of the slice, and what the models answer", "Closer"),
    Deed("T", "T", "tokens", "Tokens", "The tokens of an example at every layer, with the logit lens", "Closer"),
    Deed("X", "X", "worst", "Worst tokens", "The tokens that the linear map of this layer explains worst", "Closer"),
    Deed("M", "M", "map", "Map", "A sample of rows on the plane of their two main axes", "Closer"),
    Deed("j", "j", "jobs", "Jobs", "What the worker does: progress, pause, order, cancel, log", "Work", footer=10),
    Deed(
        "r",
        "r",
        "again",
        "Ask again",
        "Measure what failed or stopped, go on with what is paused; start the worker if it died",
        "Work",
    ),
    Deed("s", "s", "picture", "Screenshot", "Save the screen as SVG", "Work", footer=13),
    Deed("K", "K", "cache", "Cache", "What is kept on disk: sizes, remove, verify, tidy up", "Work"),
    Deed("e", "e", "export", "Export", "Save what is on the screen: CSV, JSON, HTML, PDF, SVG, PNG", "Work", footer=11),
    Deed("Y", "Y", "copy_value", "Copy value", "Copy the values at the cursor to the clipboard", "Work"),
    Deed("ctrl+y", "ctrl+y", "copy_table", "Copy table", "Copy what is on the screen as CSV to the clipboard", "Work"),
    Deed("ctrl+l", "ctrl+l", "app.redraw", "Redraw", "Paint the screen anew when something has written on it", "Work"),
    Deed("ctrl+z", "ctrl+z", "app.suspend_process", "Suspend", "Back to the shell; `fg` there comes back", "Work"),
    Deed("question_mark", "?", "help", "Help", "This page", "Work", footer=1),
    Deed("ctrl+p", "ctrl+p", "app.command_palette", "Palette", "Every action by name", "Work", palette=False),
    Deed("q", "q", "leave", "Quit", "Leave; the worker goes on until its jobs are done", "Work", footer=2),
    Deed("ctrl+q", "ctrl+q", "app.quit", "Quit at once", "Leave from any screen, as from the panes", "Work"),
)

OPENING = frozenset(
    """
    pick_model pick_slice compare compare_slice contrast card examples tokens worst map jobs cache export help
    """.split()
)
"""The deeds of the explorer that open something over the panes, which takes more room than a pane alone."""

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
_CARD = Deed("i", "i", "card", "Card", "What is shown, how it is made, and what can go wrong here", "Screen", footer=8)
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


def _elsewhere(own: str) -> tuple[Deed, ...]:
    """The ways from one of the screens that look closer to the others."""
    return tuple(replace(deed, footer=20) for deed in EXPLORER if deed.group == "Closer" and deed.action != own)


EXAMPLES: tuple[Deed, ...] = (
    *_list("Example"),
    *(replace(deed, footer=0) for deed in _EXAMPLES),
    Deed("enter", "enter", "open", "Tokens", "The tokens of this example", "Example", footer=1),
    Deed("f", "f", "filter", "Filter", "All examples, those answered right, wrong, differently, skipped", "Example", 3),
    Deed("slash", "/", "find", "Find", "Find words in questions and choices, or go to a number", "Example", footer=2),
    *_elsewhere("examples"),
    _CARD,
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
    *_elsewhere("tokens"),
    _CARD,
    *_COMMON,
)
WORST: tuple[Deed, ...] = (
    *_list("Token"),
    *_LAYERS,
    Deed("enter", "enter", "open", "Tokens", "The example that the token is in", "Token", footer=1),
    Deed("f", "f", "filter", "Filter", "All modalities, or one of them", "Token", footer=7),
    Deed("c", "c", "model", "Model", "The next model", "Token", footer=8),
    *_elsewhere("worst"),
    _CARD,
    *_COMMON,
)
MAP: tuple[Deed, ...] = (
    *_LAYERS,
    Deed("p", "p", "projection", "PCA/t-SNE", "The plane of the two main axes, or t-SNE", "Show", footer=5),
    Deed("u", "u", "stream", "Stream", "Next stream: residual, update, main", "Show", footer=6),
    Deed("z", "z", "whole", "Core/whole", "All rows, or the plane without the most extreme ones", "Show", footer=7),
    Deed("c", "c", "model", "Model", "The next model in front; two are shown at a time", "Show", footer=8),
    Deed("v", "v", "colour", "Colour", "Colour by modality, or by model", "Show", footer=8),
    Deed("f", "f", "filter", "Filter", "All modalities, or one of them", "Show", footer=9),
    *_elsewhere("map"),
    _CARD,
    *_COMMON,
)
JOBS: tuple[Deed, ...] = (
    *(replace(deed, footer=0) for deed in _list("Job")[:2]),
    Deed("p,space", "p", "pause", "Pause", "Set the job aside, or let it go on", "Job", footer=1),
    Deed("plus,K,shift+up", "+", "reorder(-1)", "Earlier", "One place earlier in the queue", "Job"),
    Deed("minus,J,shift+down", "-", "reorder(1)", "Later", "One place later in the queue", "Job", footer=4),
    Deed("x,delete", "x", "cancel", "Cancel", "Stop the job; one that runs when asked twice", "Job", footer=3),
    Deed("r", "r", "retry", "Again", "Ask once more for what the job was asked for", "Job", footer=6),
    Deed("enter", "enter", "open", "Look", "Look at its model and slice in the explorer", "Job", footer=5),
    Deed("o", "o", "own_log", "Log", "What the log says of this job alone, or all of it", "Screen", footer=7),
    Deed("f5", "f5", "reload", "Read again", "Read the list of jobs and the log again", "Screen"),
    Deed("question_mark", "?", "help", "Help", "The keys of this screen", "Screen", footer=8),
    _BACK,
)
CACHE: tuple[Deed, ...] = (
    *(replace(deed, footer=0) for deed in _list("Value")[:2]),
    Deed("x,delete", "x", "remove", "Remove", "Remove the value, when asked twice", "Value", footer=1),
    Deed("v", "v", "verify", "Verify", "Read and check every value", "Cache", footer=2),
    Deed("g", "g", "tidy", "Tidy up", "Remove what killed processes and older versions have left", "Cache", footer=3),
    Deed("r", "r", "reload", "Read again", "Read what the cache holds again", "Cache", footer=5),
    Deed("question_mark", "?", "help", "Help", "The keys of this screen", "Screen", footer=6),
    replace(_BACK, keys="escape,q,K", footer=4),
)
CARD: tuple[Deed, ...] = (
    *_LAYERS[:2],
    replace(_BACK, keys="escape,i,k,q,enter"),
)
HELP: tuple[Deed, ...] = (replace(_BACK, keys="escape,question_mark,q,enter"),)
PICKER: tuple[Deed, ...] = (
    Deed("down", "↓", "step(1)", "Next", "The next line", "Cursor", palette=False),
    Deed("up", "↑", "step(-1)", "Previous", "The line before", "Cursor", palette=False),
    Deed("pagedown", "pgdn", "step(8)", "Page on", "Eight lines on", "Cursor", palette=False),
    Deed("pageup", "pgup", "step(-8)", "Page back", "Eight lines back", "Cursor", palette=False),
    Deed("tab", "tab", "take_over", "Take over", "Take the line over, to edit it", "Choose", footer=1, first=True),
    Deed(
        "ctrl+f", "ctrl+f", "favourite", "Favourite", "Let the line stand first, or no longer", "Choose", 3, first=True
    ),
    replace(_BACK, keys="escape"),
)
SAVE: tuple[Deed, ...] = (
    Deed("tab", "tab", "folder", "Folder", "Between the formats and the folder", "Choose", footer=1, first=True),
    replace(_BACK, keys="escape"),
)

FIND: tuple[Deed, ...] = (replace(_BACK, keys="escape"),)

TABLES: Mapping[str, tuple[Deed, ...]] = {
    "explorer": EXPLORER,
    "examples": EXAMPLES,
    "tokens": TOKENS,
    "worst": WORST,
    "map": MAP,
    "jobs": JOBS,
    "cache": CACHE,
    "card": CARD,
    "help": HELP,
    "picker": PICKER,
    "save": SAVE,
    "find": FIND,
}
"""The table of each screen by its name."""
