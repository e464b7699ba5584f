"""Colours: each theme is one palette, of which both the charts and Textual's widgets are made.

The series colours keep the largest distance under simulated colour blindness. Everything else is taken
from the 256 colours of a terminal without COLORTERM (the rule over SSH), so nothing shifts there; the
tints of the intervals and the cursor are the exception: others stand for them there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from rich.color import Color, ColorParseError
from textual.theme import BUILTIN_THEMES, Theme

from microscope_tui.errors import MicroscopeError
from microscope_tui.settings import THEMES
from microscope_tui.terms import Modality

DARK, LIGHT, CONTRAST, ANSI = THEMES

MARKERS: tuple[str, ...] = ("●", "◆", "▲", "■")
"""The sign of each series: it tells them apart where colour cannot."""

KINDS: Mapping[Modality, str] = {modality: modality[0].upper() for modality in Modality}
"""The sign of each modality: neither a sign nor a colour of a series means one."""


@dataclass(frozen=True)
class Palette:
    """Colours of a theme. `series` and `tints` (of the intervals) are indexed by series; `overlap` is the tint where
    several intervals meet, `cursor` the background under the layer cursor."""

    background: str
    text: str
    faint: str
    grid: str
    cursor: str
    cursor_line: str
    bar: str
    key: str
    warn: str
    error: str
    good: str
    series: tuple[str, ...]
    tints: tuple[str, ...]
    kinds: tuple[str, ...]
    """The colours of the modalities, in their order."""
    overlap: str
    surface: str
    """Background of what opens over the panes."""
    line: str
    """Frames."""
    dark: bool = True
    ansi: bool = False
    """Whether the colours are the terminal's own 16."""
    marked: bool = False
    """Whether the signs of the series are drawn along the lines (few colours, or none)."""

    def of(self, series: int) -> str:
        return self.series[series % len(self.series)]

    def kind(self, modality: Modality) -> str:
        return self.kinds[tuple(Modality).index(modality) % len(self.kinds)]

    def tint(self, series: int) -> str:
        return self.tints[series % len(self.tints)]

    @property
    def tinted(self) -> bool:
        """Whether a tint can be seen."""
        return set(self.tints) != {self.background}


PALETTES: Mapping[str, Palette] = {
    DARK: Palette(
        background="#121212",
        text="#e4e4e4",
        faint="#8a8a8a",
        grid="#3a3a3a",
        cursor="#4e4e2f",
        cursor_line="#d7d787",
        bar="#262626",
        key="#ffd787",
        warn="#ffaf5f",
        error="#ff8787",
        good="#87d787",
        series=("#56b4e9", "#e69f00", "#ffffff", "#b2b2b2"),
        tints=("#1d3442", "#3d2e10", "#3a3a3a", "#303030"),
        kinds=("#afff87", "#af5fff", "#ffd7ff", "#d7d75f"),
        overlap="#464636",
        surface="#1c1c1c",
        line="#4e4e4e",
    ),
    LIGHT: Palette(
        background="#ffffff",
        text="#121212",
        faint="#6c6c6c",
        grid="#d0d0d0",
        cursor="#fdf0a0",
        cursor_line="#5f5f00",
        bar="#e4e4e4",
        key="#005f87",
        warn="#875f00",
        error="#af0000",
        good="#005f00",
        series=("#0072b2", "#d55e00", "#882255", "#000000"),
        tints=("#cfe4f1", "#f7dfcf", "#ead3de", "#dadada"),
        kinds=("#005f00", "#8700d7", "#4e4e4e", "#875f00"),
        overlap="#d9d4d0",
        surface="#eeeeee",
        line="#b2b2b2",
        dark=False,
    ),
    CONTRAST: Palette(
        background="#000000",
        text="#ffffff",
        faint="#d0d0d0",
        grid="#6c6c6c",
        cursor="#5f5f5f",
        cursor_line="#ffff00",
        bar="#000000",
        key="#ffff00",
        warn="#ffd700",
        error="#ffafaf",
        good="#afffaf",
        series=("#5fafff", "#ff8700", "#ffffff", "#808080"),
        tints=("#00304f", "#4a2800", "#444444", "#303030"),
        kinds=("#afff87", "#d787af", "#ffffff", "#d7d75f"),
        overlap="#3a3a3a",
        surface="#000000",
        line="#ffffff",
        marked=True,
    ),
    ANSI: Palette(
        background="default",
        text="default",
        faint="default",
        grid="bright_black",
        cursor="bright_black",
        cursor_line="bright_cyan",
        bar="default",
        key="bright_blue",
        warn="yellow",
        error="bright_red",
        good="green",
        series=("bright_blue", "yellow", "default", "bright_magenta"),
        tints=("default",),
        kinds=("green", "magenta", "cyan", "default"),
        overlap="default",
        surface="default",
        line="bright_black",
        ansi=True,
        marked=True,
    ),
}

IN_256: Mapping[str, str] = {
    "#1d3442": "#00005f",
    "#3d2e10": "#5f0000",
    "#464636": "#4e4e4e",
    "#4e4e2f": "#626262",
    "#cfe4f1": "#afd7ff",
    "#f7dfcf": "#ffd7af",
    "#ead3de": "#ffd7ff",
    "#d9d4d0": "#d0d0d0",
    "#fdf0a0": "#ffff87",
    "#00304f": "#005f87",
    "#4a2800": "#5f5f00",
}
"""What stands in 256 colours for the backgrounds of the shipped themes that are none of them. On the ground of the dark
theme no other blue and no other warm colour is much darker than a curve: their hues are not quite those of the curves,
but they tell the intervals from each other, and from the grey where they meet, by more than brightness."""

LISTS = ("series", "tints", "kinds")


def palettes(own: Mapping[str, Mapping[str, Any]]) -> dict[str, Palette]:
    """The shipped palettes and those of the user's settings. Raises `MicroscopeError`."""
    found = dict(PALETTES)
    for name, colours in own.items():
        if name in PALETTES:
            raise MicroscopeError(f"[themes.{name}] in the settings is the name of a shipped theme: choose another.")
        found[name] = _own(name, colours)
    return found


def in_colours(palette: Palette, colours: str | None) -> Palette:
    """The palette on a terminal with `truecolor`, `256` or fewer colours (None: none)."""
    if colours == "truecolor" or palette.ansi:
        return palette
    tints = tuple(IN_256.get(tint, tint) for tint in palette.tints)
    overlap, cursor = (IN_256.get(colour, colour) for colour in (palette.overlap, palette.cursor))
    base = replace(palette, tints=tints, overlap=overlap, cursor=cursor)
    if colours == "256":
        return base
    return replace(base, tints=(base.background,), overlap=base.background, marked=True)


def widget_theme(name: str, palette: Palette) -> Theme:
    """The theme of Textual's widgets in the colours of a palette."""
    named = {f.name: _textual(getattr(palette, f.name)) for f in fields(palette) if f.type == "str"}
    first, second = (_textual(colour) for colour in palette.series[:2])
    on_first = "ansi_black" if palette.ansi else palette.background
    return Theme(
        name=name,
        dark=palette.dark,
        ansi=palette.ansi,
        primary=first,
        secondary=second,
        accent=named["cursor_line"],
        warning=named["warn"],
        error=named["error"],
        success=named["good"],
        foreground=named["text"],
        background=named["background"],
        surface=named["surface"],
        panel=named["bar"],
        boost=named["surface"],
        variables={
            **(BUILTIN_THEMES["ansi-dark"].variables if palette.ansi else {}),
            "faint": named["faint"],
            "line": named["line"],
            "bar": named["bar"],
            "block-cursor-background": first,
            "block-cursor-foreground": on_first,
            "block-cursor-blurred-background": first,
            "block-cursor-blurred-foreground": on_first,
        },
    )


def _textual(colour: str) -> str:
    """A colour as Textual names it: `ansi_blue` where rich says `blue`."""
    return colour if colour.startswith("#") else f"ansi_{colour}"


def _own(name: str, colours: Mapping[str, Any]) -> Palette:
    where = f"[themes.{name}] in the settings"
    given = dict(colours)
    base = given.pop("base", DARK)
    if base not in PALETTES or base == ANSI:
        bases = ", ".join(each for each in PALETTES if each != ANSI)
        raise MicroscopeError(f"base = {base!r} of {where} is no theme to start from: choose one of {bases}.")
    known = {f.name: f for f in fields(Palette) if f.name not in ("ansi", "dark")}
    for each, value in given.items():
        if each not in known:
            raise MicroscopeError(f"{where} has no colour {each!r}: the colours are {', '.join(known)}.")
        if each == "marked":
            if not isinstance(value, bool):
                raise MicroscopeError(f"marked = {value!r} of {where} is not true or false.")
            continue
        texts = value if each in LISTS and isinstance(value, list) and value else [value]
        if bad := [text for text in texts if not _is_colour(text)]:
            raise MicroscopeError(f"{each} = {bad[0]!r} of {where} is no colour: write it like #56b4e9.")
        given[each] = tuple(texts) if each in LISTS else value
    return replace(PALETTES[base], **given)


def _is_colour(text: object) -> bool:
    try:
        return isinstance(text, str) and text.startswith("#") and bool(Color.parse(text))
    except ColorParseError:
        return False
