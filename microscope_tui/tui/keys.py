"""The one table of what the explorer can do: key bindings, help, footer and palette are made from it.

The user's settings may give other keys to it; the table in force is that of the process, which has one keyboard.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from textual.binding import Binding
from textual.keys import Keys, format_key

from microscope_tui.errors import MicroscopeError


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

    @property
    def id(self) -> str:
        return NAMES.get(self.action, self.action)


DEEDS: tuple[Deed, ...] = (
    Deed("m", "m", "pick_model", "Model", "Choose the model to look at", "Choose", footer=3),
    Deed("d", "d", "pick_slice", "Slice", "Choose the slice of a data set", "Choose", footer=4),
    Deed("1", "1", "metric('linearity')", "Linearity", "Show linearity: R² of the best linear map", "Choose"),
    Deed("2", "2", "metric('dimension')", "Dimension", "Show intrinsic dimension: TwoNN", "Choose"),
    Deed("3", "3", "metric('anisotropy')", "Anisotropy", "Show anisotropy: share of the top eigenvalue", "Choose"),
    Deed("v", "v", "variant", "Variant", "Next variant of the metric that was measured", "Variants", footer=9),
    Deed("c", "c", "compare", "Compare", "Lay another model over the first, four curves at most", "Compare", footer=5),
    Deed("C", "C", "compare_slice", "Compare slices", "Lay another slice over the first", "Compare"),
    Deed("minus,delete", "-", "take_off", "Take off", "Take off the curve on top, or the last one", "Compare"),
    Deed("p", "p", "pin", "Pin", "Pin the next curve on top", "Compare"),
    Deed("f", "f", "difference", "Difference", "The others less the first, and where that is significant", "Compare"),
    Deed("k", "k", "contrast", "Differences", "All in which the curves differ, not only in their values", "Compare"),
    Deed("S", "S", "without('sinks')", "Sinks", "Leave rows with massive norms out, or count them", "Variants"),
    Deed("D", "D", "without('duplicates')", "Duplicates", "Leave repeated rows out, or count them", "Variants"),
    Deed("R", "R", "reference", "Reference", "What the functions of LLM-Microscope give, and back", "Variants"),
    Deed("N", "N", "matched", "Matched n", "As many rows of each curve and modality for dimension", "Variants"),
    Deed("O", "O", "one_tile", "One tile", "Each picture as one tile, and back", "Variants"),
    Deed("B", "B", "before", "Before", "Vision tower and connector as layers before the decoder", "Variants"),
    Deed("i", "i", "card", "Card", "What the metric is, its source, and what can go wrong here", "Variants", footer=13),
    Deed("left,h", "← h", "layer(-1)", "Layer −", "Layer cursor one back", "Look", palette=False),
    Deed("right,l", "→ l", "layer(1)", "Layer +", "Layer cursor one on", "Look", footer=10, palette=False),
    Deed("home,0", "home 0", "layer(-10000)", "First layer", "Layer cursor to the first layer", "Look"),
    Deed("end,dollar_sign", "end $", "layer(10000)", "Last layer", "Layer cursor to the last layer", "Look"),
    Deed("tab,down", "tab", "pane(1)", "Pane", "Next pane", "Look"),
    Deed("shift+tab,up", "shift+tab", "pane(-1)", "Pane back", "Pane before", "Look"),
    Deed("z,enter", "z", "zoom", "Zoom", "One pane over the whole screen, and back", "Look", footer=6),
    Deed("u", "u", "streams", "Streams", "Next columns: main, residual, update, all three", "Look", footer=11),
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
    Deed("j", "j", "jobs", "Jobs", "What the worker does: progress, pause, order, cancel, log", "Work", footer=7),
    Deed("r", "r", "again", "Ask again", "Measure again what failed or stopped; start the worker if it died", "Work"),
    Deed("s", "s", "picture", "Screenshot", "Save the screen as SVG", "Work", footer=12),
    Deed("K", "K", "cache", "Cache", "What is kept on disk: sizes, remove, verify, tidy up", "Work"),
    Deed("e", "e", "export", "Export", "Save what is on the screen: CSV, JSON, HTML, PDF, SVG, PNG", "Work", footer=8),
    Deed("Y", "Y", "copy_value", "Copy value", "Copy the values at the cursor to the clipboard", "Work"),
    Deed("ctrl+y", "ctrl+y", "copy_table", "Copy table", "Copy what is on the screen as CSV to the clipboard", "Work"),
    Deed("question_mark", "?", "help", "Help", "This page", "Work", footer=1),
    Deed("ctrl+p", "ctrl+p", "app.command_palette", "Palette", "Every action by name", "Work", palette=False),
    Deed("q", "q", "leave", "Quit", "Leave; the worker goes on until its jobs are done", "Work", footer=2),
)

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
    "app.command_palette": "palette",
}
"""What the settings call an action that has arguments."""

SAME_KEY: Mapping[str, str] = {
    "ctrl+i": "tab",
    "ctrl+m": "enter",
    "ctrl+h": "backspace",
    "ctrl+left_square_bracket": "escape",
}
"""Keys that a terminal sends as another key."""

_in_force: tuple[Deed, ...] = DEEDS


def deeds() -> tuple[Deed, ...]:
    """The table with the keys in force."""
    return _in_force


def use(keys: Mapping[str, str]) -> None:
    """Put the keys of the user's settings into force. Raises `MicroscopeError`."""
    global _in_force
    _in_force = with_keys(keys)


def deed(action: str) -> Deed:
    """What an action is, with the keys in force."""
    return next(deed for deed in _in_force if deed.action == action)


def key_of(action: str) -> str:
    """The first key of an action, for sentences: `r`."""
    return deed(action).shown.split(" ")[0]


def with_keys(keys: Mapping[str, str]) -> tuple[Deed, ...]:
    """The table with other keys for some of it, several joined by commas.

    Raises `MicroscopeError` for an unknown action, a key that there is not, and a key that would do two things.
    """
    known = [deed.id for deed in DEEDS]
    if unknown := next((name for name in keys if name not in known), None):
        raise MicroscopeError(
            f"[keys] in the settings names no action {unknown!r}: the actions are {', '.join(known)}."
        )
    table = tuple(_moved(deed, keys[deed.id]) if deed.id in keys else deed for deed in DEEDS)
    taken: dict[str, Deed] = {}
    for deed in table:
        for key in names_of(deed.keys):
            if (other := taken.setdefault(key, deed)) is not deed:
                raise MicroscopeError(
                    f"[keys] in the settings gives the key {key} to both {other.id!r} and {deed.id!r}: "
                    "give one of them another key."
                )
    return table


def names_of(keys: str) -> list[str]:
    """Keys joined by commas, each by the name that Textual gives it: `?` is `question_mark`."""
    return [binding.key for binding in Binding.make_bindings([Binding(keys, "none")])]


def _moved(deed: Deed, keys: str) -> Deed:
    where = f"{deed.id} = {keys!r} in [keys] of the settings"
    typed = [key.strip() for key in keys.split(",")]
    if not all(typed):
        raise MicroscopeError(f"{where} names no key: write one like {deed.keys.split(',')[0]!r}.")
    for key, name in zip(typed, names_of(keys), strict=True):
        if name in SAME_KEY:
            raise MicroscopeError(f"{where}: a terminal sends {key} as {SAME_KEY[name]}, so it cannot be told from it.")
        if len(key) > 1 and name not in KNOWN_KEYS:
            raise MicroscopeError(f"{where}: there is no key {key!r}; write it like x, X, ?, f5, ctrl+x or shift+tab.")
    return replace(deed, keys=keys, shown=" ".join(key if "+" in key else format_key(key) for key in typed))


KNOWN_KEYS = frozenset(key.value for key in Keys) | {
    *(name for deed in DEEDS for name in names_of(deed.keys)),
    *(f"alt+{char}" for char in "abcdefghijklmnopqrstuvwxyz0123456789"),
}


def bindings(*, app: bool = False) -> list[Binding]:
    """The table as Textual bindings, of the explorer or of the app; their ids are what a keymap calls them."""
    return [
        Binding(
            deed.keys,
            deed.action.removeprefix("app."),
            deed.label,
            show=bool(deed.footer),
            key_display=deed.shown.split(" ")[0],
            id=deed.id,
            priority=app,
        )
        for deed in DEEDS
        if deed.action.startswith("app.") == app
    ]


def keymap() -> dict[str, str]:
    """The keys in force that are not the usual ones, by binding, as Textual takes them."""
    return {
        deed.id: ",".join(names_of(deed.keys))
        for deed, usual in zip(_in_force, DEEDS, strict=True)
        if deed.keys != usual.keys
    }
