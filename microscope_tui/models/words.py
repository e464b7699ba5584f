"""Tokens as people read them."""

from __future__ import annotations

from typing import Any

SPACES = ("▁", "Ġ")
"""How tokenizers write the space before a word: SentencePiece, and byte-level BPE."""

UNREADABLE = "\N{REPLACEMENT CHARACTER}"


def word(tokenizer: Any, token: int) -> str:
    """A token as it stands in a text, with the space before it, on one line; `<17>` for an id that has no word."""
    piece = tokenizer.convert_ids_to_tokens(token) if 0 <= token < len(tokenizer) else None
    if piece is None:
        return f"<{token}>"
    text = str(tokenizer.decode([token], clean_up_tokenization_spaces=False))
    # A part of a character's bytes cannot be decoded alone: then the tokenizer's own name of it is all there is.
    if not text or UNREADABLE in text:
        return printable(piece)
    # Decoders leave out the space at the beginning of a text.
    space = " " if piece.startswith(SPACES) and not text.startswith(" ") else ""
    return printable(space + text)


def printable(text: str) -> str:
    """A text whose control characters are escaped: one line, and nothing that a terminal could take for a command."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
