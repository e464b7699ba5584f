"""Rows that do not count: groups of positions, sinks and duplicates, as a request names them in `without`."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from microscope_tui.errors import MicroscopeError
from microscope_tui.geometry.masks import massive
from microscope_tui.geometry.sample import token_hash
from microscope_tui.models.base import Captured, OpenModel
from microscope_tui.models.modality import CODES
from microscope_tui.models.selfcheck import is_causal
from microscope_tui.slices import Example
from microscope_tui.terms import Modality

SINKS, DUPLICATES = "sinks", "duplicates"

ALIKE = 8
"""With fewer words than this in an example, they are compared with all its rows too."""

FEW = 65_536
"""Hashes that are looked up in a list of their own before they are sorted in among the others."""


@dataclass(frozen=True)
class LeftOut:
    """What does not count: positions with these group `codes`, sinks, duplicates."""

    codes: tuple[int, ...] = ()
    sinks: bool = False
    duplicates: bool = False

    @classmethod
    def of(cls, model: OpenModel, without: Sequence[str]) -> LeftOut:
        """What the names mean for a model. Raises `MicroscopeError` for a name that it does not have."""
        unknown = [name for name in without if name not in (SINKS, DUPLICATES, *model.groups)]
        if unknown:
            raise MicroscopeError(
                f"{model.name} has no rows called {unknown[0]!r} that could be left out: use "
                f"{', '.join((SINKS, DUPLICATES, *model.groups))}."
            )
        groups = [name for name in without if name in model.groups]
        return cls(model.group_codes(groups), SINKS in without, DUPLICATES in without)


def sink_rows(layers: Sequence[Tensor], example: Tensor, modality: Tensor | None = None) -> Tensor:
    """Which rows are sinks, bool (n,) on the CPU: massive among their like at any layer (n, d).

    Their like are the rows of the same `example` (n,) and, where it is given, of the same `modality` (n,): where a
    connector hands out longer rows than the table of words holds, no picture is a sink for that. Where an example has
    fewer than `ALIKE` words, the first token may be most of them: it is a sink too if it is massive among all the rows
    of its example. Few rows of a picture have no such second look: they may be longer than the words, and no sinks.
    """
    lengths = torch.stack([torch.linalg.vector_norm(rows, dim=1, dtype=torch.float64).cpu() for rows in layers])
    if modality is None:
        return massive(lengths, example).any(0)
    alike = example * len(Modality) + modality.long()
    found = massive(lengths, alike)
    few = (modality == CODES[Modality.TEXT]) & (torch.bincount(alike)[alike] < ALIKE)
    if bool(few.any()):
        found |= few & massive(lengths, example)
    return found.any(0)


class Prefixes:
    """Beginnings of examples that were seen: a position is a duplicate when all up to it, itself included, was before.

    In a causal decoder its rows are then the same at every layer. Where a model is not `causal`, only a whole example
    repeats. Each beginning is kept as a hash of 8 bytes.
    """

    def __init__(self, *, causal: bool) -> None:
        self.causal = causal
        self._seen = torch.empty(0, dtype=torch.int64)  # sorted
        self._late: set[int] = set()

    @classmethod
    def of(cls, model: OpenModel) -> Prefixes:
        """No beginnings yet, for a model that is looked at (see `is_causal`)."""
        return cls(causal=is_causal(model))

    def repeated(self, captured: Captured, examples: Sequence[Example]) -> Tensor:
        """(n,) bool on the CPU: which rows of a captured batch repeat an earlier one. All are seen from then on."""
        return self._look_up(self.hashes(captured, examples))

    def repeated_in(self, stage: str, examples: Sequence[Example], number: Tensor, position: Tensor) -> Tensor:
        """(n,) bool: which rows of a stage before the decoder are of pictures that were seen before.

        `number`, `position` (n,): the index of each row's example, and its place among the example's own.
        """
        name = int.from_bytes(hashlib.blake2b(stage.encode(), digest_size=8).digest(), "big", signed=True)
        shown = torch.tensor([media_hash(each) for each in examples], dtype=torch.int64)[number]
        return self._look_up(token_hash(shown, position) ^ name)

    def hashes(self, captured: Captured, examples: Sequence[Example]) -> Tensor:
        """(n,) int64: a hash of each row's beginning, from its ids and the pictures, videos and sounds so far.

        The first position of a picture stands for all that an example shows, so that two examples whose first
        pictures are the same and whose second are not have less in common than they could: too few duplicates are
        found then, never too many.
        """
        example, position = captured.example.cpu(), captured.position.cpu()
        shown = torch.tensor([media_hash(each) for each in examples], dtype=torch.int64)[example]
        foreign = captured.modality.cpu() != CODES[Modality.TEXT]
        own = token_hash(captured.ids.cpu(), position)
        own = torch.where(foreign, token_hash(shown, own), own)
        grid = torch.zeros(len(examples), int(position.max()) + 1, dtype=torch.int64)
        grid[example, position] = own
        # Sums of well-mixed terms that carry their position, wrapping: equal for equal beginnings, whatever the batch.
        sums = grid.cumsum(1)
        if self.causal:
            return sums[example, position]
        return token_hash(sums[:, -1][example], position)

    def _look_up(self, hashes: Tensor) -> Tensor:
        """(n,) bool: which hashes were seen before, also earlier among these."""
        repeated = torch.zeros(len(hashes), dtype=torch.bool)
        if len(self._seen):
            at = torch.searchsorted(self._seen, hashes).clamp_(max=len(self._seen) - 1)
            repeated = self._seen[at] == hashes
        for i in (~repeated).nonzero().squeeze(1).tolist():
            value = int(hashes[i])
            repeated[i] = value in self._late
            self._late.add(value)
        if len(self._late) > max(FEW, len(self._seen) // 4):
            self._settle()
        return repeated

    def state(self) -> Tensor:
        """All hashes, int64, for `load`."""
        self._settle()
        return self._seen

    def load(self, state: Tensor) -> None:
        """Take over what `state` gave."""
        self._seen, self._late = state, set()

    def _settle(self) -> None:
        late = torch.tensor(sorted(self._late), dtype=torch.int64)
        self._seen = torch.cat([self._seen, late]).sort().values
        self._late = set()


def media_hash(example: Example) -> int:
    """A hash of all that an example shows, in [−2⁶³, 2⁶³)."""
    digest = hashlib.blake2b(digest_size=8)
    for picture in (*example.images, *(frame for film in example.videos for frame in film)):
        digest.update(f"{picture.mode} {picture.size} ".encode())
        digest.update(picture.tobytes())
    for audio in example.audios:
        digest.update(f"{audio.rate} {len(audio.samples)} ".encode())
        digest.update(audio.samples.tobytes())
    return int.from_bytes(digest.digest(), "big", signed=True)
