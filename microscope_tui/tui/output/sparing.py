"""What goes to the terminal in as few bytes as it can: only cells that change, and only colours that change.

Textual repaints a line of a widget from its left edge to the last change, and sends each piece of it with all of its
attributes before it and a reset behind it. Here the driver knows what stands on the terminal, so that what is painted
again as it is is not sent, and each piece gets the colours in which it differs from the piece before. What is painted
is the same.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

from rich.cells import cell_len
from textual.drivers.linux_driver import LinuxDriver

TOKEN = re.compile(r"\x1b\[(?P<pen>[\d;]*)m|\x1b\[(?P<y>\d+);(?P<x>\d+)H|(?P<line>\n)|(?P<text>[^\x00-\x1f\x7f]+)")
ALONE = re.compile(r"(\x1b\[[?<>=]?[\d;]*[$ ]?[hlncupqt]|\x1b\][^\x07\x1b]*(\x07|\x1b\\)|\x07)*")
"""What switches modes, asks or tells something, and paints nothing."""
WIPES = re.compile(r"\x1b\[\?(1049|47)[hl]|\x1b\[\d*J|\x1bc")
"""What shows another screen, or an empty one."""
OFF = {"1": "22", "2": "22", "3": "23", "4": "24", "5": "25", "7": "27", "8": "28", "9": "29"}
"""What takes each attribute back."""
ON_BLANKS = {"4", "5", "7", "9"}
"""Attributes that show where there is no character."""


class Pen(NamedTuple):
    """How a terminal writes: attributes and colours as their codes, empty for its own."""

    attributes: frozenset[str] = frozenset()
    front: str = ""
    back: str = ""

    @property
    def blank(self) -> Pen:
        """What shows of it where there is no character."""
        return self if self.attributes & ON_BLANKS else Pen(back=self.back)


PLAIN = Pen()


@lru_cache(maxsize=4096)
def taken(pen: Pen, codes: str) -> Pen | None:
    """The pen after these codes; None for codes that are not known here."""
    attributes, front, back = set(pen.attributes), pen.front, pen.back
    rest = iter(codes.split(";"))
    for code in rest:
        if code in ("", "0"):
            attributes, front, back = set(), "", ""
        elif code in OFF:
            attributes.add(code)
        elif code in ("38", "48"):
            kind = next(rest, "")
            values = [next(rest, "") for _ in range({"5": 1, "2": 3}.get(kind, 0))]
            if not values or "" in values:
                return None
            colour = ";".join((code, kind, *values))
            front, back = (colour, back) if code == "38" else (front, colour)
        elif code in ("39", "49"):
            front, back = ("", back) if code == "39" else (front, "")
        elif code.isdecimal() and (30 <= int(code) <= 37 or 90 <= int(code) <= 97):
            front = code
        elif code.isdecimal() and (40 <= int(code) <= 47 or 100 <= int(code) <= 107):
            back = code
        else:
            return None
    return Pen(frozenset(attributes), front, back)


@lru_cache(maxsize=16384)
def change(now: Pen, wanted: Pen) -> str:
    """The shortest sequence from one pen to another."""
    if now == wanted:
        return ""
    off = {OFF[each] for each in now.attributes - wanted.attributes}
    lost = {each for each in now.attributes if OFF[each] in off}
    codes = [*sorted(off), *sorted(wanted.attributes - (now.attributes - lost))]
    codes += [wanted.front or "39"] * (wanted.front != now.front) + [wanted.back or "49"] * (wanted.back != now.back)
    anew = ["0" if wanted != PLAIN else "", *sorted(wanted.attributes), wanted.front, wanted.back]
    return f"\x1b[{min((';'.join(codes), ';'.join(filter(None, anew))), key=len)}m"


class Piece(NamedTuple):
    """Text in one pen from a cell on, counted from 1 as terminals do."""

    y: int
    x: int
    text: str
    pen: Pen


def pieces(data: str) -> tuple[list[Piece], str] | None:
    """What a repaint paints, and the move of the cursor behind it; None for what is no repaint."""
    found: list[Piece] = []
    pen, at, place, move = PLAIN, 0, (0, 0), ""
    for token in TOKEN.finditer(data):
        if token.start() != at:
            return None
        at, kind = token.end(), token.lastgroup
        if kind == "text":
            if not place[0]:
                return None
            found.append(Piece(*place, token[0], pen))
            place, move = (place[0], place[1] + cell_len(token[0])), ""
        elif kind == "pen":
            after = taken(pen, token["pen"])
            if after is None:
                return None
            pen = after
        elif kind == "x":
            place, move = (int(token["y"]), int(token["x"])), token[0]
        else:
            place = (0, 0)
    return (found, move) if at == len(data) and pen == PLAIN else None


Cell = tuple[str, Pen]


class Paper:
    """What stands on the terminal, as far as it is known: cells by row and column."""

    def __init__(self) -> None:
        self._rows: dict[int, list[Cell | None]] = {}
        self._left = ""
        """The move to where the cursor was left."""

    def forget(self) -> None:
        """Something else may have been painted."""
        self._rows.clear()
        self._left = ""

    def spared(self, data: str, size: tuple[int, int] | None = None) -> str:
        """What must be sent of this, so that all of it is painted.

        `size` is how many columns and rows the terminal has, if that is known. What is painted outside of it, of a
        frame that was made for a larger window, lands in its last column and row: nothing is known of it after that.
        """
        if (found := pieces(data)) is None:
            if WIPES.search(data) or not ALONE.fullmatch(data):
                self.forget()
            return data
        painted, move = found
        line = Line(self._rows)
        for piece in painted:
            for part in self._changed(piece):
                line.put(part)
        sent = line.end()
        if size and any(piece.y > size[1] or piece.x - 1 + cell_len(piece.text) > size[0] for piece in painted):
            self.forget()
            return sent + move
        if not sent and move == self._left:
            return ""
        self._left = move
        return sent + move

    def _changed(self, piece: Piece) -> Iterator[Piece]:
        """The parts of a piece that do not stand there yet; they do afterwards."""
        y, x, text, pen = piece
        row = self._rows.setdefault(y, [])
        start, end = x - 1, x - 1 + cell_len(text)
        row += [None] * (end - len(row))
        if not narrow(text):  # not every terminal agrees on how wide this is
            row[start:end] = [None] * (end - start)
            yield piece
            return
        blank = pen.blank
        cells: list[Cell | None] = [(char, blank if char == " " else pen) for char in text]
        before = row[start:end]
        if before == cells:
            return
        row[start:end] = cells
        if not any(before):  # as all of the first repaint
            yield piece
            return
        first = None
        for i, (old, new) in enumerate(zip(before, cells, strict=True)):
            if old != new:
                first = i if first is None else first
            elif first is not None:
                yield Piece(y, x + first, text[first:i], pen)
                first = None
        if first is not None:
            yield Piece(y, x + first, text[first:], pen)


class Line:
    """What is sent, piece by piece."""

    def __init__(self, rows: dict[int, list[Cell | None]]) -> None:
        self._rows = rows
        self._sent: list[str] = []
        self._pen = PLAIN
        self._at = (0, 0)

    def put(self, piece: Piece) -> None:
        """Go there and write."""
        y, x, text, pen = piece
        if self._at != (y, x):
            self._sent.append(self._way(y, x))
        blank = not text.strip(" ") and not (self._pen.attributes | pen.attributes) & ON_BLANKS
        wanted = self._pen._replace(back=pen.back) if blank else pen
        self._sent += [change(self._pen, wanted), text]
        self._pen = wanted
        self._at = (y, x + len(text)) if narrow(text) else (0, 0)

    def end(self) -> str:
        """All that is to be sent; it ends in the terminal's own pen."""
        return "".join(self._sent) + change(self._pen, PLAIN)

    def _way(self, y: int, x: int) -> str:
        """To a cell: over what stands between if that is short and in the same colours, else by a move."""
        row, column = self._at
        if row != y or x <= column:
            return f"\x1b[{y};{x}H"
        move = f"\x1b[{x - column}C" if x - column > 1 else "\x1b[C"
        between = self._rows[y][column - 1 : x - 1]
        if len(between) <= len(move):
            text = "".join(cell[0] for cell in between if cell and self._fits(cell))
            if len(text) == len(between) and len(text.encode()) <= len(move):
                return text
        return move

    def _fits(self, cell: Cell) -> bool:
        char, pen = cell
        if char == " " and not self._pen.attributes & ON_BLANKS:
            return not pen.attributes and pen.front == "" and pen.back == self._pen.back
        return pen == self._pen


@lru_cache(maxsize=4096)
def narrow(text: str) -> bool:
    """Whether each character takes one cell."""
    return text.isascii() or all(cell_len(char) == 1 for char in text)


class SparingDriver(LinuxDriver):
    """Writes to the terminal what it needs to be told, and no more."""

    PAPER = Paper()
    """Of the process, which has one terminal. To be forgotten when something else may have painted there."""

    @property
    def _writes(self) -> bool:
        """Not while the terminal is not ours, as after `bg`: nobody empties the queue then, and a full one blocks."""
        return self._writer_thread is not None and self._writer_thread.is_alive()

    def close(self) -> None:
        if self._writes:
            super().close()

    def write(self, data: str) -> None:
        if self._writes and (spared := self.PAPER.spared(data, self._get_terminal_size())):
            super().write(spared)
