"""The keys in force: those of the tables of `deeds`, or what the user's settings give instead.

They are those of the process, which has one keyboard.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from textual.binding import Binding
from textual.keys import Keys, format_key

from microscope_tui.errors import MicroscopeError
from microscope_tui.tui.deeds import TABLES, Deed

EXPLORER = "explorer"

SAME_KEY: Mapping[str, str] = {
    "ctrl+i": "tab",
    "ctrl+m": "enter",
    "ctrl+h": "backspace",
    "ctrl+left_square_bracket": "escape",
}
"""Keys that a terminal sends as another key."""

PAIRS: Mapping[str, tuple[str, str, str]] = {
    "layer(1)": ("layer(-1)", "←→", "Layer"),
    "move(1)": ("move(-1)", "↑↓", ""),
    "example(1)": ("example(-1)", "n p", ""),
    "reorder(1)": ("reorder(-1)", "+ -", "Order"),
}
"""Deeds that stand in a footer for the one in the other direction as well, and what is shown of both together: their
keys, and what they are called if that is not the label of the one."""

_in_force: Mapping[str, tuple[Deed, ...]] = TABLES


def deeds(screen: str = EXPLORER) -> tuple[Deed, ...]:
    """The table of a screen with the keys in force."""
    return _in_force[screen]


def use(keys: Mapping[str, str]) -> None:
    """Put the keys of the user's settings into force. Raises `MicroscopeError`."""
    global _in_force
    _in_force = with_keys(keys)


def deed(action: str, screen: str = EXPLORER) -> Deed:
    """What an action of a screen is, with the keys in force."""
    return next(deed for deed in deeds(screen) if deed.action == action)


def key_of(action: str, screen: str = EXPLORER) -> str:
    """The first key of an action, for sentences: `r`."""
    return deed(action, screen).shown.split(" ")[0]


def short_keys(deed: Deed, screen: str = EXPLORER) -> str:
    """What a footer shows of a deed, and of its opposite where it stands for both: `←→`."""
    opposite, usual, _ = PAIRS.get(deed.action, ("", "", ""))
    if not opposite:
        return deed.shown.split(" ")[0]
    moved = any(key_of(action, screen) != _usual(action, screen) for action in (deed.action, opposite))
    return f"{key_of(opposite, screen)} {key_of(deed.action, screen)}" if moved else usual


def short_label(deed: Deed) -> str:
    """What a footer calls a deed, and its opposite where it stands for both: `Layer`."""
    return PAIRS.get(deed.action, ("", "", ""))[2] or deed.label


def hint(screen: str, actions: Iterable[str]) -> str:
    """Deeds of a screen with their keys, as a line: `x Remove · v Verify`."""
    return " · ".join(f"{key_of(action, screen)} {deed(action, screen).label.lower()}" for action in actions)


def with_keys(keys: Mapping[str, str]) -> dict[str, tuple[Deed, ...]]:
    """The tables with other keys for some of what is in them, several joined by commas.

    What has one name on several screens gets the keys on all of them. Raises `MicroscopeError` for an unknown action,
    a key that there is not, and a key that would do two things on a screen.
    """
    known = dict.fromkeys(deed.id for table in TABLES.values() for deed in table)
    if unknown := next((name for name in keys if name not in known), None):
        raise MicroscopeError(
            f"[keys] in the settings names no action {unknown!r}: the actions are {', '.join(known)}."
        )
    return {screen: _table(screen, keys) for screen in TABLES}


def _table(screen: str, keys: Mapping[str, str]) -> tuple[Deed, ...]:
    of_app = () if screen == EXPLORER else tuple(deed for deed in TABLES[EXPLORER] if deed.of_app)
    table = [_moved(deed, keys[deed.id]) if deed.id in keys else deed for deed in (*TABLES[screen], *of_app)]
    taken: dict[str, Deed] = {}
    for deed in table:
        for key in names_of(deed.keys):
            if (other := taken.setdefault(key, deed)) is not deed:
                where = "" if screen == EXPLORER else f" (screen {screen})"
                raise MicroscopeError(
                    f"[keys] in the settings gives the key {key} to both {other.id!r} and {deed.id!r}{where}: "
                    "give one of them another key."
                )
    return tuple(table[: len(TABLES[screen])])


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
    *(name for table in TABLES.values() for deed in table for name in names_of(deed.keys)),
    *(f"alt+{char}" for char in "abcdefghijklmnopqrstuvwxyz0123456789"),
}


def bindings(screen: str = EXPLORER, *, app: bool = False) -> list[Binding]:
    """The table of a screen as Textual bindings, of the screen or of the app, by the ids that a keymap has."""
    return [
        Binding(
            deed.keys,
            deed.action.removeprefix("app."),
            deed.label,
            show=bool(deed.footer),
            key_display=deed.shown.split(" ")[0],
            id=deed.id,
            priority=app or deed.first,
        )
        for deed in TABLES[screen]
        if deed.of_app == app
    ]


def keymap() -> dict[str, str]:
    """The keys in force that are not the usual ones, by binding, as Textual takes them."""
    return {
        deed.id: ",".join(names_of(deed.keys))
        for screen, usual_table in TABLES.items()
        for deed, usual in zip(_in_force[screen], usual_table, strict=True)
        if deed.keys != usual.keys
    }


def _usual(action: str, screen: str) -> str:
    return next(deed for deed in TABLES[screen] if deed.action == action).shown.split(" ")[0]
