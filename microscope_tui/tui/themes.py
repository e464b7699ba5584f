"""Colours: two themes for the widgets, and the palette of the charts in each.

The series colours keep the largest distance under simulated colour blindness. Everything else is taken
from the 256 colours of a terminal without COLORTERM (the rule over SSH), so nothing shifts there; the
tints of the intervals are the one exception and have a second set for such terminals.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from textual.theme import Theme

from microscope_tui.tui.session import DARK, LIGHT

MARKERS: tuple[str, ...] = ("●", "◆", "▲", "■")
"""The sign of each series: it tells them apart where colour cannot."""


@dataclass(frozen=True)
class Palette:
    """Colours of a chart. `series`, `tints` and `lit` (tint under the cursor) are indexed by series."""

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
    overlap: str
    marked: bool = False
    """Whether the signs of the series are drawn along the lines (few colours, or none)."""

    def of(self, series: int) -> str:
        return self.series[series % len(self.series)]

    def tint(self, series: int) -> str:
        return self.tints[series % len(self.tints)]


_DARK = Palette(
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
    tints=("#1d3442", "#3d2e10", "#303030", "#262626"),
    overlap="#464636",
)
_LIGHT = Palette(
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
    series=("#0072b2", "#d55e00", "#882255", "#4e4e4e"),
    tints=("#cfe4f1", "#f7dfcf", "#ead3de", "#e4e4e4"),
    overlap="#d9d4d0",
)
_TINTS_256 = {
    DARK: {"tints": ("#303030", "#262626", "#1c1c1c", "#262626"), "overlap": "#444444", "cursor": "#5f5f00"},
    LIGHT: {"tints": ("#d7d7ff", "#ffd7d7", "#eeeeee", "#e4e4e4"), "overlap": "#dadada", "cursor": "#ffff87"},
}


def palette(theme: str, colours: str | None = "truecolor") -> Palette:
    """The chart colours of a theme on a terminal with `truecolor`, `256` or fewer colours (None: none)."""
    base = _LIGHT if theme == LIGHT else _DARK
    if colours == "truecolor":
        return base
    few = _TINTS_256[LIGHT if theme == LIGHT else DARK]
    base = replace(base, tints=tuple(few["tints"]), overlap=str(few["overlap"]), cursor=str(few["cursor"]))
    if colours == "256":
        return base
    bare = (base.background,)
    return replace(base, tints=bare, overlap=base.background, marked=True)


THEMES: tuple[Theme, ...] = (
    Theme(
        name=DARK,
        dark=True,
        primary="#56b4e9",
        secondary="#e69f00",
        accent="#d7d787",
        warning="#e69f00",
        error="#ff8787",
        success="#87d787",
        foreground="#e4e4e4",
        background="#121212",
        surface="#1c1c1c",
        panel="#262626",
        variables={
            "faint": "#8a8a8a",
            "line": "#4e4e4e",
            "bar": "#262626",
            "block-cursor-background": "#56b4e9",
            "block-cursor-foreground": "#121212",
            "footer-background": "#262626",
            "footer-key-foreground": "#e69f00",
            "footer-description-foreground": "#d0d0d0",
        },
    ),
    Theme(
        name=LIGHT,
        dark=False,
        primary="#0072b2",
        secondary="#d55e00",
        accent="#875f00",
        warning="#af5f00",
        error="#af0000",
        success="#005f00",
        foreground="#121212",
        background="#ffffff",
        surface="#eeeeee",
        panel="#e4e4e4",
        variables={
            "faint": "#6c6c6c",
            "line": "#b2b2b2",
            "bar": "#e4e4e4",
            "block-cursor-background": "#0072b2",
            "block-cursor-foreground": "#ffffff",
            "footer-background": "#e4e4e4",
            "footer-key-foreground": "#0072b2",
            "footer-description-foreground": "#303030",
        },
    ),
)
