"""What an open model is, and what it takes and gives: examples, batches, captured rows."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from PIL.Image import Image
from torch import Tensor, nn

from microscope_tui.errors import MicroscopeError
from microscope_tui.inspection import Patch
from microscope_tui.models.before import CONNECTOR, CONNECTORS, TOWER, TOWERS, Stage, Tower, named
from microscope_tui.models.blocks import Decoder
from microscope_tui.models.identity import identify
from microscope_tui.models.modality import CODES
from microscope_tui.models.patches import placed
from microscope_tui.models.words import word
from microscope_tui.slices.examples import Example
from microscope_tui.terms import Modality, Stream


@dataclass(frozen=True)
class Part:
    """Examples that go through the model in one forward pass, B of them, padded to T positions.

    `inputs` are the model's own arguments, on its device. `example` (B,) int64 is each row's index in the batch.
    `valid` (B, T) is False on padding. `modality` (B, T) int8 has the code of each position, −1 on padding; `group`
    (B, T) int8 the index into the model's `groups`, −1 outside of all groups.
    `ids` (B, T) int64 are token ids, negative where the position is not a row of the embedding table.
    `replaced` (B, T) is True where the embedding is expected to differ from the table's row of its id. `views` (B,)
    int64 are the views that the vision tower gets of each example's pictures, None where all give equally many
    positions.
    """

    inputs: Mapping[str, Any]
    example: Tensor
    valid: Tensor
    modality: Tensor
    group: Tensor
    ids: Tensor
    replaced: Tensor
    views: Tensor | None = None

    @property
    def rows(self) -> Tensor:
        """(n,) int64: the flat indices of the n valid positions, row by row."""
        return self.valid.flatten().nonzero().squeeze(1)

    @property
    def last(self) -> Tensor:
        """(B,) int64: the last valid position of each example, wherever its padding is."""
        positions = torch.arange(self.valid.shape[1], device=self.valid.device)
        return (self.valid * positions).argmax(1)


@dataclass(frozen=True)
class Batch:
    """Examples ready on the model's device. Those with and without pictures go through in separate parts."""

    keys: tuple[str, ...]
    parts: tuple[Part, ...]

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def tokens(self) -> int:
        """Positions that are not padding."""
        return sum(int(part.valid.sum()) for part in self.parts)


@dataclass(frozen=True)
class Captured:
    """The rows of a batch's n unpadded positions.

    `example` (n,) int64 indexes the batch, `position` (n,) int64 counts from 0 within its example, `modality` (n,)
    int8 holds codes in the order of `Modality`, `group` (n,) int8 indexes the model's `groups`, −1 for a position in
    none of them, `ids` (n,) int64 are as those of `Part`. `rows[stream]` are L+1 tensors (n, d) in the model's dtype
    for `residual` (h_0 … h_L, h_L before the final norm) and `main` (m_0 … m_L). `last_logits` (B, V) float32 are those
    at the last position of each example, None for a model without an output head. `before` are the stages before the
    decoder by name, empty if they were not asked for or the batch has no picture.
    """

    example: Tensor
    position: Tensor
    modality: Tensor
    group: Tensor
    ids: Tensor
    rows: Mapping[Stream, Sequence[Tensor]]
    last_logits: Tensor | None
    before: Mapping[str, Stage] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.example)

    def mask(self, modality: Modality, *, without: Sequence[int] = ()) -> Tensor:
        """(n,) bool: which rows are of the modality and in none of the groups `without` (see `group_codes`)."""
        mask = self.modality == CODES[modality]
        for code in without:
            mask &= self.group != code
        return mask


class OpenModel(ABC):
    """A loaded model that can say which of its positions is what, and hand out its streams.

    `layers` is L, `width` d, `context` the most positions of one example (None: unbounded). `template` names how an
    example becomes a prompt. `groups` are the names of groups of positions that may be counted apart, a part of one
    modality each, and disjoint. `before` names the stages before the decoder that can be captured too, `shapes` has the
    number of states and the width of each. `streams` may be captured; `refused` says of each other one why it cannot be
    trusted.
    """

    name: str
    folder: Path
    architecture: str
    template: str
    modalities: tuple[Modality, ...]
    groups: tuple[str, ...]
    context: int | None
    attention: str
    tiles: bool = False
    """Whether it cuts pictures into tiles."""
    one_tile: bool = False
    """Whether it gets each as one that it would cut else."""
    notes: tuple[str, ...] = ()
    refused: Mapping[Stream, str]
    shapes: Mapping[str, tuple[int, int]]

    # transformers types neither its models' attributes nor its tokenizers.
    network: Any
    tokenizer: Any
    decoder: Decoder
    tower: Tower | None = None

    def __init__(self) -> None:
        self.refused, self.shapes = {}, {}

    @property
    def identity(self) -> str:
        """What the checkpoint is, wherever it lies; see `identity.identify`."""
        return self._identified[0]

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that must be unchanged for `identity` to hold."""
        return self._identified[1]

    @property
    def sources(self) -> tuple[str, ...]:
        """The names of all that the model is made of: a hub id among them may mean another commit tomorrow."""
        return (self.name,)

    @cached_property
    def _identified(self) -> tuple[str, tuple[Path, ...]]:
        return identify(self.folder)

    @property
    def streams(self) -> tuple[Stream, ...]:
        """The streams that passed the self-check."""
        return tuple(stream for stream in Stream if stream not in self.refused)

    @property
    def layers(self) -> int:
        return len(self.decoder.layers)

    @property
    def modules(self) -> tuple[nn.Module | None, nn.Module | None, nn.Module]:
        """The vision encoder, the connector and the decoder; None for what it has not, or not by a known name."""
        return named(self.network, TOWERS), named(self.network, CONNECTORS), self.decoder.module

    @property
    def before(self) -> tuple[str, ...]:
        """Stages before the decoder, in order; empty for a model whose tower cannot be followed."""
        return () if self.tower is None else (TOWER, CONNECTOR)

    @cached_property
    def width(self) -> int:
        return int(self.embed(torch.zeros(1, dtype=torch.int64)).shape[-1])

    @property
    def dtype(self) -> str:
        """The precision that the decoder computes in, as torch names it."""
        return str(next(self.decoder.module.parameters()).dtype).removeprefix("torch.")

    @property
    def device(self) -> str:
        return str(self.input_device)

    @property
    @abstractmethod
    def input_device(self) -> torch.device:
        """Where inputs go."""

    @abstractmethod
    def prepare(self, examples: Sequence[Example]) -> Batch:
        """The examples as inputs on the device. Raises `BadExample`, which names the one that cannot be used."""

    @abstractmethod
    def forward(self, part: Part, **options: Any) -> Any:
        """One plain forward pass; `options` go to the model. Returns its output object."""

    @abstractmethod
    def embed(self, ids: Tensor) -> Tensor:
        """Rows of the embedding table as the model itself looks them up: int64 (…) to (…, d)."""

    @property
    def head(self) -> nn.Module | None:
        """The output head, whose input is cut to the last position."""
        head = self.network.get_output_embeddings()
        return head if isinstance(head, nn.Module) else None

    def group_codes(self, names: Sequence[str]) -> tuple[int, ...]:
        """The codes of groups by name. Raises `MicroscopeError` for a name that the model has not."""
        if unknown := [name for name in names if name not in self.groups]:
            raise MicroscopeError(f"{self.name} has no group {unknown[0]!r}: use {', '.join(self.groups)}.")
        return tuple(self.groups.index(name) for name in names)

    def boxes(self, part: Part, pictures: Sequence[Image]) -> Tensor | None:
        """(m, 5): where each of the m image positions of one example comes from (see `groups.Packing.boxes`).

        `part` holds that example alone, `pictures` are its own, at least one. None where it is not known.
        """
        return None

    def patches(self, part: Part, pictures: Sequence[Image]) -> tuple[Patch | None, ...]:
        """Where each of the T positions of one example comes from, None for what is no part of a picture."""
        return placed(part.modality[0], self.boxes(part, pictures) if pictures else None)

    def word(self, token: int) -> str:
        """An id of a position as people read it."""
        return word(self.tokenizer, token)

    def token_ids(self, text: str) -> list[int]:
        """The ids of a plain text, without special tokens: to score an answer at the last position."""
        return [int(i) for i in self.tokenizer(text, add_special_tokens=False)["input_ids"]]
