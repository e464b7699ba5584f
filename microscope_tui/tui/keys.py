"""The one table of what the explorer can do: key bindings, help and palette are made from it."""

from __future__ import annotations

from dataclasses import dataclass

from textual.binding import Binding


@dataclass(frozen=True)
class Deed:
    """Something the user can do. `keys` are names as Textual gives them, `shown` how people call them.

    `footer` is the rank in the line of keys at the bottom (1: shown first, 0: not there).
    """

    keys: str
    shown: str
    action: str
    label: str
    help: str
    group: str
    footer: int = 0
    palette: bool = True


DEEDS: tuple[Deed, ...] = (
    Deed("m", "m", "pick_model", "Model", "Choose the model to look at", "Choose", footer=1),
    Deed("d", "d", "pick_slice", "Slice", "Choose the slice of a data set", "Choose", footer=2),
    Deed("1", "1", "metric('linearity')", "Linearity", "Show linearity: R² of the best linear map", "Choose"),
    Deed("2", "2", "metric('dimension')", "Dimension", "Show intrinsic dimension: TwoNN", "Choose"),
    Deed("3", "3", "metric('anisotropy')", "Anisotropy", "Show anisotropy: share of the top eigenvalue", "Choose"),
    Deed("v", "v", "variant", "Variant", "Next variant of the metric that was measured", "Choose", footer=9),
    Deed("c", "c", "compare", "Compare", "Lay a second model over the first; again to take it off", "Choose", footer=3),
    Deed("left,h", "← h", "layer(-1)", "Layer −", "Layer cursor one back", "Look", palette=False),
    Deed("right,l", "→ l", "layer(1)", "Layer +", "Layer cursor one on", "Look", footer=10, palette=False),
    Deed("home,0", "home 0", "layer(-10000)", "First layer", "Layer cursor to the first layer", "Look"),
    Deed("end,dollar_sign", "end $", "layer(10000)", "Last layer", "Layer cursor to the last layer", "Look"),
    Deed("tab,down", "tab", "pane(1)", "Pane", "Next pane", "Look"),
    Deed("shift+tab,up", "shift+tab", "pane(-1)", "Pane back", "Pane before", "Look"),
    Deed("z,enter", "z", "zoom", "Zoom", "One pane over the whole screen, and back", "Look", footer=4),
    Deed("u", "u", "streams", "Streams", "Next columns: main, residual, update, all three", "Look", footer=11),
    Deed("y", "y", "same_y", "Y axes", "The same y axis in all panes, or each its own", "Look"),
    Deed("t", "t", "theme", "Theme", "Dark or light", "Look"),
    Deed("j", "j", "jobs", "Jobs", "What the worker does: progress, cancel, log", "Work", footer=5),
    Deed("r", "r", "again", "Ask again", "Measure again what failed or stopped; start the worker if it died", "Work"),
    Deed("s", "s", "picture", "Screenshot", "Save the screen as SVG", "Work", footer=12),
    Deed("e", "e", "export", "Export", "Save what is on the screen as CSV and JSON", "Work", footer=8),
    Deed("question_mark", "?", "help", "Help", "This page", "Work", footer=7),
    Deed("ctrl+p", "ctrl+p", "app.command_palette", "Palette", "Every action by name", "Work", palette=False),
    Deed("q", "q", "leave", "Quit", "Leave; the worker goes on until its jobs are done", "Work", footer=6),
)

GROUPS: tuple[str, ...] = tuple(dict.fromkeys(deed.group for deed in DEEDS))


def bindings() -> list[Binding]:
    """The table as Textual bindings; ids let a keymap move them."""
    return [
        Binding(
            deed.keys,
            deed.action,
            deed.label,
            show=bool(deed.footer),
            key_display=deed.shown.split(" ")[0],
            id=deed.action,
        )
        for deed in DEEDS
        if not deed.action.startswith("app.")
    ]
