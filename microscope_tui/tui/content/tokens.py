"""The tokens of one example as the screen shows them: which fold into a line, and what stands at each layer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property

from microscope_tui.inspection import Patch, TokenTable
from microscope_tui.terms import Modality
from microscope_tui.tui.content.ramp import Range, range_of

Values = tuple[float | None, ...]
Owners = tuple[tuple[tuple[int, ...], ...], ...]
"""The tokens of each pixel, row by row."""


class Quantity(StrEnum):
    """What is shown of each token at each layer: see `TokenTable`."""

    RESIDUAL = "residual"
    NORM = "norm"
    UPDATE = "update"

    @property
    def said(self) -> str:
        """Its name on the screen, where the stream is called residual."""
        return "linearity residual" if self is Quantity.RESIDUAL else str(self)

    @property
    def short(self) -> str:
        """The same where there is little room."""
        return "lin. res." if self is Quantity.RESIDUAL else str(self)


class Scale(StrEnum):
    """How values become steps: evenly, by equal factors, or evenly over the values of each layer by itself."""

    LOG = "log"
    LINEAR = "linear"
    LAYER = "each layer"


MEANING = {
    Quantity.RESIDUAL: "‖ỹ − x̃A‖²/mean‖ỹ‖² (0: linear, 1: no better than the mean), "
    "A the pooled linear map of the residual stream, rows centred",
    Quantity.NORM: "‖h_l‖, of the residual stream",
    Quantity.UPDATE: "‖h_{l+1} − h_l‖/‖h_l‖, of the residual stream",
}
BY_FOLD = "linearity residual by fold"
"""The name of a worst token's: what is left by a map without all examples of its fold, where the token view's is one
without its example alone. The two differ, so that they are not called the same."""
BY_FOLD_SHORT = "res. by fold"
"""The same where there is little room."""
BRIEF = MEANING | {Quantity.RESIDUAL: "‖ỹ − x̃A‖²/mean‖ỹ‖² (0 linear, 1 no better than the mean)"}
"""The same where there is little room."""


@dataclass(frozen=True)
class Block:
    """A run of the tokens of one view of one picture (or of a video, a sound), which fold into a line.

    `view` is the group that they are in, empty where the model has no parts of a picture.
    """

    start: int
    end: int
    modality: Modality
    picture: int | None
    view: str

    @property
    def length(self) -> int:
        return self.end - self.start

    @property
    def name(self) -> str:
        number = "" if self.picture is None else f" {self.picture + 1}"
        return f"{self.modality}{number}" + (f" {self.view}" if self.view else "")


@dataclass(frozen=True)
class Line:
    """A line of the list: one token, or a block. `open` tells a block whose tokens follow."""

    start: int
    end: int
    block: Block | None = None
    open: bool = False


class Tokens:
    """A table with what is made of it once: blocks, their means, ranges and lines."""

    def __init__(self, table: TokenTable) -> None:
        self.table = table
        self._lines: dict[frozenset[int], tuple[Line, ...]] = {}
        self._ranges: dict[tuple[Quantity, Scale, int], Range] = {}
        self._means: dict[tuple[Quantity, Block], Values] = {}
        self._owners: dict[tuple[int, int, int], Owners] = {}
        self._known: dict[Quantity, bool] = {}

    @property
    def count(self) -> int:
        return len(self.table.tokens)

    @property
    def last(self) -> int:
        """The last layer, L."""
        return len(self.table.norm) - 1

    def values(self, quantity: Quantity) -> Sequence[Values]:
        """(layers, tokens); without layers where it is not known."""
        return getattr(self.table, quantity)  # type: ignore[no-any-return]

    def known(self, quantity: Quantity) -> bool:
        """Whether there is any value of it."""
        if quantity not in self._known:
            self._known[quantity] = any(value is not None for row in self.values(quantity) for value in row)
        return self._known[quantity]

    def value(self, quantity: Quantity, layer: int, token: int) -> float | None:
        rows = self.values(quantity)
        return rows[layer][token] if 0 <= layer < len(rows) else None

    def shown(self, quantity: Quantity, line: Line) -> Values:
        """What stands in a line, a value for each layer: of its token, or the mean over its block."""
        if line.block is None:
            return tuple(row[line.start] for row in self.values(quantity))
        key = quantity, line.block
        if key not in self._means:
            self._means[key] = tuple(_mean(row[line.start : line.end]) for row in self.values(quantity))
        return self._means[key]

    def range(self, quantity: Quantity, scale: Scale, layer: int) -> Range:
        """The range of all its values, or of those at a layer."""
        rows = self.values(quantity)
        layer = min(layer, len(rows) - 1) if scale is Scale.LAYER else -1
        if (quantity, scale, layer) not in self._ranges:
            values = (value for row in (rows[layer : layer + 1] if layer >= 0 else rows) for value in row)
            self._ranges[quantity, scale, layer] = range_of(values, log=scale is Scale.LOG)
        return self._ranges[quantity, scale, layer]

    @cached_property
    def blocks(self) -> tuple[Block, ...]:
        """What folds, in the order of the tokens."""
        table, found = self.table, list[Block]()
        for t, modality in enumerate(table.modality):
            if modality is Modality.TEXT:
                continue
            patch = table.patches[t]
            key = None if patch is None else (patch.picture, table.group[t])
            before = found[-1] if found and found[-1].end == t and found[-1].modality is modality else None
            # What is no part of the picture (the mark at the end of a row) belongs to what it follows.
            if before and (key is None or key == (before.picture, before.view)):
                found[-1] = Block(before.start, t + 1, modality, before.picture, before.view)
            else:
                picture, view = key or (None, table.group[t])
                found.append(Block(t, t + 1, modality, picture, view))
        return tuple(block for block in found if block.length > 1)

    def block_of(self, token: int) -> Block | None:
        """The block that a token is in."""
        return next((block for block in self.blocks if block.start <= token < block.end), None)

    def lines(self, opened: frozenset[int]) -> tuple[Line, ...]:
        """The lines of the list; `opened` are the blocks that are unfolded, by their first token."""
        if opened not in self._lines:
            at = {block.start: block for block in self.blocks}
            lines, t = list[Line](), 0
            while t < self.count:
                block = at.get(t)
                if block is None:
                    lines.append(Line(t, t + 1))
                    t += 1
                    continue
                lines.append(Line(block.start, block.end, block, block.start in opened))
                if block.start in opened:
                    lines += [Line(i, i + 1) for i in range(block.start, block.end)]
                t = block.end
            self._lines[opened] = tuple(lines)
        return self._lines[opened]

    def parts(self) -> tuple[int, ...]:
        """Where another modality, picture or view begins: the first token of each."""
        starts = {block.start for block in self.blocks} | {block.end for block in self.blocks}
        changes = {t for t in range(1, self.count) if self.table.modality[t] is not self.table.modality[t - 1]}
        return tuple(sorted(({0} | starts | changes) - {self.count}))

    def lens(self, layer: int, token: int) -> Sequence[tuple[str, float]]:
        """The likeliest words at a layer and a token, empty where they are not known."""
        return self.table.lens[layer][token] if 0 <= layer < len(self.table.lens) else ()

    def frequent(self, layer: int, block: Block) -> list[tuple[str, int]]:
        """The words that are the likeliest of most tokens of a block, with how many."""
        words = Counter(found[0][0] for t in range(block.start, block.end) if (found := self.lens(layer, t)))
        return words.most_common(5)

    @cached_property
    def views(self) -> tuple[tuple[int, str], ...]:
        """The views that can be laid over a picture: its number, and the group of the tokens."""
        pairs = zip(self.table.patches, self.table.group, strict=True)
        return tuple(dict.fromkeys((patch.picture, group) for patch, group in pairs if patch is not None))

    def owners(self, view: int, across: int, down: int) -> Owners:
        """The tokens that each of `across` × `down` pixels of a view shows, row by row."""
        if (view, across, down) not in self._owners:
            pairs = zip(self.table.patches, self.table.group, strict=True)
            boxes = [
                (t, patch)
                for t, (patch, group) in enumerate(pairs)
                if patch is not None and (patch.picture, group) == self.views[view]
            ]
            self._owners = {(view, across, down): owners(boxes, across, down)}
        return self._owners[view, across, down]


def line_of(lines: Sequence[Line], token: int) -> int:
    """The line in which a token stands: its own, else that of its folded block."""
    found = 0
    for number, line in enumerate(lines):
        if line.start > token:
            break
        found = number
    return found


def owners(boxes: Sequence[tuple[int, Patch]], across: int, down: int) -> Owners:
    """Which tokens each of `across` × `down` pixels shows: those whose middle lies in it, else the one it lies in."""
    inside: list[list[list[int]]] = [[[] for _ in range(across)] for _ in range(down)]
    around: list[list[list[int]]] = [[[] for _ in range(across)] for _ in range(down)]
    for token, box in boxes:
        x, y = (box.left + box.right) / 2 * across, (box.top + box.bottom) / 2 * down
        if 0 <= x < across and 0 <= y < down:
            inside[int(y)][int(x)].append(token)
        for line in range(*_covered(box.top, box.bottom, down)):
            for column in range(*_covered(box.left, box.right, across)):
                around[line][column].append(token)
    return tuple(
        tuple(tuple(middle or whole) for middle, whole in zip(*lines, strict=True))
        for lines in zip(inside, around, strict=True)
    )


def _covered(start: float, end: float, count: int) -> tuple[int, int]:
    """The pixels whose middle lies between two edges, given as shares of the whole."""
    first, after = (round(edge * count) for edge in (start, end))
    return max(first, 0), min(after, count)


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
