"""The rows of one kind at consecutive layers: their moments in groups of examples, and a bounded sample."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor

from microscope_tui.engine.plan import Plan
from microscope_tui.errors import MicroscopeError
from microscope_tui.geometry.moments import ChainMoments
from microscope_tui.geometry.rows import chunks
from microscope_tui.geometry.sample import Sample

PART = 4096
"""Rows that are copied at once on their way from a batch into the sums."""


class KeptRows:
    """What is kept of the rows of one modality in one captured stream: (L+1) layers of width d."""

    def __init__(self, layers: int, width: int, *, plan: Plan, budget: int) -> None:
        self.folds = [ChainMoments(layers + 1, width, device=plan.device, dtype=plan.dtype) for _ in range(plan.folds)]
        self.sample = Sample(budget)

    def update(self, layers: Sequence[Tensor], keep: Tensor, example: Tensor, position: Tensor, place: Tensor) -> None:
        """Add those rows of L+1 tensors (n, d) that `keep` (n,) says, bool; of each row the hash of its example, its
        position in it, and the place of the example in the slice, int64 (n,)."""
        # In parts, so that the copies of a batch's rows take constant memory.
        for index in chunks(keep.nonzero().squeeze(1), PART):
            # By place, not by hash: folds are then as even as can be, and two examples are never in one of two folds.
            fold = place[index].remainder(len(self.folds))
            fold, order = fold.sort(stable=True)
            index = index[order]
            rows = [layer.index_select(0, index.to(layer.device)) for layer in layers]
            ends = torch.bincount(fold, minlength=len(self.folds)).cumsum(0).tolist()
            for start, end, moments in zip([0, *ends], ends, self.folds, strict=False):
                if end > start:
                    moments.update([layer[start:end] for layer in rows])
            self.sample.update(example[index], position[index], rows)

    def parts(self) -> Iterator[tuple[str, dict[str, Tensor]]]:
        """The state of each fold and of the sample, by name."""
        for number, fold in enumerate(self.folds):
            yield f"fold{number}", fold.state_dict()
        yield "sample", self.sample.state_dict()

    @property
    def nbytes(self) -> int:
        """About the bytes of `parts`, the sample at its full size."""
        sample = self.sample.budget * self.folds[0].mean.numel() * 4
        return sample + sum(fold.gram.nbytes + fold.cross.nbytes for fold in self.folds)

    def load_parts(self, state: Mapping[str, Tensor]) -> None:
        """Take over what `parts` gave. `MicroscopeError` for sums of other layers."""
        folds = [
            ChainMoments.from_state_dict(below(state, f"fold{number}."), device=fold.device, dtype=fold.dtype)
            for number, fold in enumerate(self.folds)
        ]
        if any(new.mean.shape != fold.mean.shape for new, fold in zip(folds, self.folds, strict=True)):
            raise MicroscopeError(f"these saved moments are of other layers: {tuple(folds[0].mean.shape)}.")
        self.folds = folds
        self.sample = Sample.from_state_dict(below(state, "sample."))


def below(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors whose names begin with `prefix`, without it."""
    return {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}
