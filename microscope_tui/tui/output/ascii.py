"""The whole screen in ASCII, for terminals and fonts without braille, box lines and signs: one filter at the end.

Every character keeps its width, so nothing moves. A braille cell becomes the character whose ink lies where its dots
are; the signs of the series become letters, which tell them apart as before: large ones, and small ones for hollow
signs.
"""

from __future__ import annotations

import unicodedata
from functools import lru_cache

from rich.cells import cell_len
from rich.segment import Segment
from textual.color import Color
from textual.filter import LineFilter

BRAILLE = range(0x2800, 0x2900)
UPPER, LOWER = 0b00011011, 0b11100100
"""The dots of the upper and the lower half of a braille cell."""

PLAIN = str.maketrans(
    {
        **dict(zip("●◆▲■○◇△□", "OXAHoxah", strict=True)),
        **dict.fromkeys(map(chr, range(0x2500, 0x2580)), "+"),
        **dict.fromkeys("─━┄┅┈┉╌╍═╴╶╸╺╼╾", "-"),
        **dict.fromkeys("│┃┆┇┊┋╎╏║╵╷╹╻╽╿", "|"),
        **dict.fromkeys((*map(chr, range(0x2580, 0x25A0)), "▣"), "#"),
        **dict.fromkeys("▌▍▎▏▐▕", "|"),
        **dict(zip("▔▁▂▃", "-___", strict=True)),
        **dict(zip("←→↑↓↦⏎▶◀▼▽", "<>^v>\\><vv", strict=True)),
        **dict(zip("⟨⟩⁻₋·…–—−×÷≤≥≈≠±∓√∞‖²³₀₁₂₃₄₅₆₇₈₉ˡ", "<>--.~---x/<>~!++v8|23" + "0123456789l", strict=True)),
        **dict(zip("\N{LEFT SINGLE QUOTATION MARK}’“”«»•✓✗✕★☆◦", "''\"\"<>*ynn**o", strict=True)),
        **dict(zip("αβγδεηθκλμνπρστφχψω", "abgdehqklmnprstfcpw", strict=True)),
        **dict(zip("ΔΣΠΩΛ∑", "DSPOLS", strict=True)),
    }
)


@lru_cache(maxsize=4096)
def ascii_char(char: str) -> str:
    """The ASCII that stands for a character, as wide as it: one cell, or two for a wide one."""
    if char.isascii():
        return char
    if ord(char) in BRAILLE:
        dots = ord(char) - BRAILLE.start
        return " " if not dots else ":" if dots & UPPER and dots & LOWER else "'" if dots & UPPER else "."
    plain = char.translate(PLAIN)
    if not plain.isascii():
        plain = "".join(part for part in unicodedata.normalize("NFKD", char) if part.isascii())
    width = cell_len(char)
    return plain if len(plain) == width else "?" * width


def ascii_text(text: str) -> str:
    """A text in ASCII, of the same width."""
    return text if text.isascii() else "".join(map(ascii_char, text))


class AsciiFilter(LineFilter):
    """Puts every line of the screen into ASCII."""

    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:
        return [
            segment if segment.text.isascii() else Segment(ascii_text(segment.text), segment.style, segment.control)
            for segment in segments
        ]
