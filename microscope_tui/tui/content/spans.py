"""What a line on the screen is made of: pieces of text with a colour."""

from __future__ import annotations

from typing import NamedTuple

Part = tuple[str, str, bool]
"""Text, colour, bold."""


class Span(NamedTuple):
    """A piece of a bar. `action` is what a click on it does."""

    text: str
    colour: str
    bold: bool = False
    action: str | None = None


Ends = tuple[list[Span], list[Span]]
"""What stands in a bar from its left end on, and what up to its right end."""
