"""The sums of a walk, a block at a time: of a state that was committed, or of a walk that is in memory.

A committed state may be many gigabytes; a look needs one layer of it after another. So its file is mapped, never
loaded: at most a few matrices of d × d are held at once.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from microscope_tui.engine.accumulate import Accumulator, example_hash
from microscope_tui.engine.rows import KeptRows
from microscope_tui.engine.tensors import head_of
from microscope_tui.geometry.moments import Moments
from microscope_tui.terms import Modality, Stream

FOLD = re.compile(r"\.fold(\d+)\.counts$")


class Sums(ABC):
    """The sums of the examples `keys`, in their order, but for those that were `skipped`, by name.

    `folds` is how many groups of examples there are: example number i is in fold i mod `folds`. Solving is for
    `device`.
    """

    def __init__(self, keys: Sequence[str], skipped: Collection[str], folds: int, device: torch.device) -> None:
        self._keys, self._skipped, self.folds, self.device = keys, frozenset(skipped), folds, device

    def examples(self, without_fold: int | None = None) -> list[int]:
        """The numbers of the examples that were counted, but for those of one fold."""
        usable = (i for i, key in enumerate(self._keys) if key not in self._skipped)
        return [i for i in usable if without_fold is None or i % self.folds != without_fold]

    def blocks(self, modality: Modality, stream: Stream, *, without_fold: int | None = None) -> Iterator[Moments]:
        """Moments of (h_l, h_{l+1}) for each block l, of all folds together but for one.

        Several sets of rows combine as S = Σ_k S_k + Σ_k n_k δ_k δ_kᵀ, δ_k = m_k − m (Chan, Golub & LeVeque 1983).
        """
        chosen = [k for k in range(self.folds) if k != without_fold]
        counts = [self.count(modality, stream, k) for k in chosen]
        weights = torch.tensor(counts, dtype=torch.float64, device=self.device)
        nonfinite = torch.stack([self.tensor(modality, stream, k, "nonfinite") for k in chosen]).sum(0)
        means = torch.stack([self.tensor(modality, stream, k, "mean").to(self.device) for k in chosen])
        mean = torch.einsum("k,kld->ld", weights, means) / max(1, sum(counts))
        apart = means - mean

        def together(name: str, layer: int, other: int) -> Tensor:
            total = (weights[:, None] * apart[:, layer]).T @ apart[:, other]
            for k in chosen:
                total += self.tensor(modality, stream, k, name, layer).to(self.device)
            return total

        here = together("gram", 0, 0)
        for layer in range(len(mean) - 1):
            cross, there = together("cross", layer, layer + 1), together("gram", layer + 1, layer + 1)
            bad = int(nonfinite[layer : layer + 2].max())
            yield Moments(sum(counts), mean[layer], mean[layer + 1], here, cross, there, bad)
            here = there

    def has(self, modality: Modality, stream: Stream) -> bool:
        """Whether there are sums of this modality in this stream, of one row or more."""
        return any(self.count(modality, stream, k) for k in range(self.folds))

    def sample(self, modality: Modality, stream: Stream) -> tuple[list[int], list[int]]:
        """Of each sampled row the number of its example, and its position there."""
        number = {example_hash(key): i for i, key in enumerate(self._keys)}
        example, position = self.sampled(modality, stream)
        return [number[each] for each in example.tolist()], position.tolist()

    @abstractmethod
    def count(self, modality: Modality, stream: Stream, fold: int) -> int:
        """The rows of one fold, 0 where there are none of that modality and stream at all."""

    @abstractmethod
    def tensor(self, modality: Modality, stream: Stream, fold: int, name: str, layer: int | None = None) -> Tensor:
        """A tensor of one fold's `ChainMoments` by name, or one layer of it."""

    @abstractmethod
    def sampled(self, modality: Modality, stream: Stream) -> tuple[Tensor, Tensor]:
        """(k,) int64 twice: of each sampled row the hash of its example, and its position."""

    @abstractmethod
    def sample_rows(self, modality: Modality, stream: Stream, layer: int, rows: slice = slice(None)) -> Tensor:
        """The sampled rows at one layer (k, d), or some of them."""


class Committed(Sums):
    """The sums in the opened file of a state. See `engine.state` for what it holds."""

    def __init__(self, file: Any, keys: Sequence[str], device: torch.device) -> None:
        self._file, self._names = file, frozenset(file.keys())
        head = head_of(file)
        folds = len({found[1] for name in self._names if (found := FOLD.search(name))})
        super().__init__(keys[: head["consumed"]], [each["example"] for each in head["skipped"]], folds, device)

    def count(self, modality: Modality, stream: Stream, fold: int) -> int:
        name = f"{modality}.{stream}.fold{fold}.counts"
        return int(self._file.get_tensor(name)[0]) if name in self._names else 0

    def tensor(self, modality: Modality, stream: Stream, fold: int, name: str, layer: int | None = None) -> Tensor:
        full = f"{modality}.{stream}.fold{fold}.{name}"
        found: Tensor = self._file.get_tensor(full) if layer is None else self._file.get_slice(full)[layer]
        return found

    def sampled(self, modality: Modality, stream: Stream) -> tuple[Tensor, Tensor]:
        prefix = f"{modality}.{stream}.sample."
        return self._file.get_tensor(prefix + "example"), self._file.get_tensor(prefix + "position")

    def sample_rows(self, modality: Modality, stream: Stream, layer: int, rows: slice = slice(None)) -> Tensor:
        found: Tensor = self._file.get_slice(f"{modality}.{stream}.sample.rows")[layer, rows]
        return found


class Running(Sums):
    """The sums of a walk that has not let go of them yet."""

    def __init__(self, accumulator: Accumulator, keys: Sequence[str], skipped: Collection[str]) -> None:
        folds = next(iter(accumulator.rows.values())).folds
        super().__init__(keys, skipped, len(folds), accumulator.device)
        self._rows = accumulator.rows

    def count(self, modality: Modality, stream: Stream, fold: int) -> int:
        rows = self._rows.get((modality, stream))
        return rows.folds[fold].n if rows else 0

    def tensor(self, modality: Modality, stream: Stream, fold: int, name: str, layer: int | None = None) -> Tensor:
        found: Tensor = getattr(self._of(modality, stream).folds[fold], name)
        return found if layer is None else found[layer]

    def sampled(self, modality: Modality, stream: Stream) -> tuple[Tensor, Tensor]:
        sample = self._of(modality, stream).sample
        return sample.groups, sample.positions

    def sample_rows(self, modality: Modality, stream: Stream, layer: int, rows: slice = slice(None)) -> Tensor:
        return self._of(modality, stream).sample.rows(layer)[rows]

    def _of(self, modality: Modality, stream: Stream) -> KeptRows:
        return self._rows[modality, stream]
