"""Where somebody is in a table of tokens: the line of the cursor, what is unfolded, the view of a picture."""

from __future__ import annotations

from collections.abc import Sequence

from microscope_tui.tui.content.tokens import Line, Tokens, line_of


class Reading:
    """A place in `tokens`: at first on a token, its picture unfolded, or at the top."""

    def __init__(self, tokens: Tokens, token: int | None = None) -> None:
        self.tokens = tokens
        self.opened: frozenset[int] = frozenset()
        self.view = 0
        first = tokens.lines(self.opened)[0]
        self._cursor = first.start, first.end
        if token is not None and token < tokens.count:
            self.to_token(token)

    @property
    def lines(self) -> Sequence[Line]:
        return self.tokens.lines(self.opened)

    @property
    def at(self) -> int:
        """The number of the line of the cursor."""
        lines = self.lines
        found = line_of(lines, self._cursor[0])
        # The line of an open block and that of its first token begin at the same token.
        if found and (lines[found].start, lines[found].end) != self._cursor and lines[found - 1].end == self._cursor[1]:
            found -= 1
        return found

    @property
    def line(self) -> Line:
        return self.lines[self.at]

    def to_line(self, number: int) -> None:
        """To a line, the nearest one that there is."""
        lines = self.lines
        chosen = lines[max(0, min(number, len(lines) - 1))]
        self._to(chosen.start, chosen.end)

    def to_token(self, token: int) -> None:
        """To a token, whose block is unfolded if need be."""
        around = self.tokens.block_of(token)
        self.opened |= {around.start} if around else set()
        self._to(token, token + 1)

    def to_part(self, by: int) -> None:
        """To the next place where another modality or picture begins, or to the one before; nowhere beyond the last."""
        parts, start = self.tokens.parts(), self._cursor[0]
        if by > 0:
            found = next((part for part in parts if part > start), None)
        else:
            found = next((part for part in reversed(parts) if part < start), None)
        if found is not None:
            self.to_line(line_of_start(self.lines, found))

    def next_view(self) -> None:
        """The next view of the pictures."""
        self.view = (self.view + 1) % max(len(self.tokens.views), 1)

    def fold(self) -> None:
        """Unfold the block under the cursor, or fold the one that the cursor is in."""
        around = self.tokens.block_of(self._cursor[0])
        if around:
            self.opened ^= {around.start}
            self._cursor = around.start, around.end

    def fold_all(self) -> None:
        """Fold all blocks, or unfold them when none is open."""
        token = self._cursor[0]
        self.opened = frozenset() if self.opened else frozenset(block.start for block in self.tokens.blocks)
        self.to_line(line_of_start(self.lines, token))

    def _to(self, start: int, end: int) -> None:
        """The cursor on a token or a block; in another block the picture shows its view."""
        tokens = self.tokens
        before, after = (tokens.block_of(token) for token in (self._cursor[0], start))
        if after and after != before and (after.picture, after.view) in tokens.views:
            self.view = tokens.views.index((after.picture, after.view))
        self._cursor = start, end


def line_of_start(lines: Sequence[Line], token: int) -> int:
    """The first line that begins at a token: that of its block before its own."""
    found = line_of(lines, token)
    return found - 1 if found and lines[found - 1].start == lines[found].start else found
