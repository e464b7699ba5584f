"""Rows in, batch by batch; profiles out, whenever they are asked for.

For each modality and captured stream: moments of every row, in groups of examples (folds), and a bounded
sample of rows for what needs points. Nothing here grows with the number of examples.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor

from microscope_tui.engine.plan import Plan
from microscope_tui.geometry import dimension
from microscope_tui.geometry.anisotropy import spread_anisotropy
from microscope_tui.geometry.linearity import linearity_of
from microscope_tui.geometry.moments import ChainMoments, Moments, Spread
from microscope_tui.geometry.sample import Sample
from microscope_tui.models.base import Captured
from microscope_tui.terms import Estimate, Metric, Modality, Profile, Stream

LINEARITY_METHODS = ("in-sample", "held-out", "adjusted")
PART = 4096
"""Rows that are copied at once on their way from a batch into the sums."""

DIMENSION_METHOD = "mle"
ANISOTROPY_METHOD = "top-eigenvalue"


def example_hash(key: str) -> int:
    """A stable number of an example, in [−2⁶³, 2⁶³): decides which of its rows are sampled."""
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest(), "big", signed=True)


class Rows:
    """What is kept of the rows of one modality in one captured stream: (L+1) layers of width d."""

    def __init__(self, layers: int, width: int, *, plan: Plan, budget: int) -> None:
        self.folds = [ChainMoments(layers + 1, width, device=plan.device, dtype=plan.dtype) for _ in range(plan.folds)]
        self.sample = Sample(budget)

    def update(self, rows: Sequence[Tensor], example: Tensor, position: Tensor, place: Tensor) -> None:
        """Add rows: L+1 tensors (n, d); of each row the hash of its example, its position in it, and the place of
        the example in the slice, int64 (n,)."""
        # By place, not by hash: folds are then as even as can be, and two examples are never in one of two folds.
        fold = place.remainder(len(self.folds))
        for k in sorted(set(fold.tolist())):
            chosen = (fold == k).nonzero().squeeze(1)
            self.folds[k].update([layer.index_select(0, chosen.to(layer.device)) for layer in rows])
        self.sample.update(example, position, rows)

    def parts(self) -> Iterator[tuple[str, dict[str, Tensor]]]:
        """The state of each fold and of the sample, by name."""
        for number, fold in enumerate(self.folds):
            yield f"fold{number}", fold.state_dict()
        yield "sample", self.sample.state_dict()

    def load_parts(self, state: Mapping[str, Tensor]) -> None:
        """Take over what `parts` gave."""
        self.folds = [
            ChainMoments.from_state_dict(_below(state, f"fold{number}."), device=fold.device, dtype=fold.dtype)
            for number, fold in enumerate(self.folds)
        ]
        self.sample = Sample.from_state_dict(_below(state, "sample."))


class Accumulator:
    """All that a measurement keeps while it walks over a slice."""

    def __init__(
        self,
        layers: int,
        width: int,
        *,
        modalities: Sequence[Modality],
        streams: Sequence[Stream],
        plan: Plan,
        budget: int,
    ) -> None:
        self.layers, self.width, self.device = layers, width, plan.device
        self.streams = tuple(streams)
        self.tokens = dict.fromkeys(modalities, 0)
        self.examples = dict.fromkeys(modalities, 0)
        self.rows = {
            (modality, stream): Rows(layers, width, plan=plan, budget=budget)
            for modality in modalities
            for stream in captured_streams(streams)
        }

    def add(self, captured: Captured, keys: Sequence[str], places: Sequence[int]) -> None:
        """Add one captured batch; `keys` name its examples, `places` are theirs in the slice."""
        number = captured.example.cpu()
        example = torch.tensor([example_hash(key) for key in keys], dtype=torch.int64)[number]
        place = torch.tensor(places, dtype=torch.int64)[number]
        position = captured.position.cpu()
        for modality in self.tokens:
            mask = captured.mask(modality)
            count = int(mask.sum())
            if not count:
                continue
            self.tokens[modality] += count
            self.examples[modality] += len(set(captured.example[mask].tolist()))
            for stream, layers in captured.rows.items():
                kept = self.rows[modality, stream]
                # In parts, so that the copies of a batch's rows take constant memory.
                for index in torch.split(mask.nonzero().squeeze(1), PART):
                    rows = [layer.index_select(0, index.to(layer.device)) for layer in layers]
                    here = index.cpu()
                    kept.update(rows, example[here], position[here], place[here])

    @property
    def nbytes(self) -> int:
        """About the bytes of `state_dict`, the samples at their full size."""
        folds = [fold for rows in self.rows.values() for fold in rows.folds]
        samples = sum(rows.sample.budget for rows in self.rows.values()) * (self.layers + 1) * self.width * 4
        return sum(fold.gram.nbytes + fold.cross.nbytes for fold in folds) + samples

    def counts(self) -> dict[str, dict[str, int]]:
        """Tokens and examples of each modality."""
        return {
            "tokens": {str(m): n for m, n in self.tokens.items()},
            "examples": {str(m): n for m, n in self.examples.items()},
        }

    def state_dict(self) -> dict[str, Tensor]:
        """All moments and samples as a flat dict of tensors on the CPU, for safetensors."""
        return {
            f"{modality}.{stream}.{part}.{name}": tensor
            for (modality, stream), rows in self.rows.items()
            for part, state in rows.parts()
            for name, tensor in state.items()
        }

    def load_state(self, state: Mapping[str, Tensor], counts: Mapping[str, Mapping[str, int]]) -> None:
        """Take over what `state_dict` and `counts` gave."""
        for (modality, stream), rows in self.rows.items():
            rows.load_parts(_below(state, f"{modality}.{stream}."))
        self.tokens = {m: counts["tokens"][m] for m in self.tokens}
        self.examples = {m: counts["examples"][m] for m in self.examples}

    def profiles(
        self, metrics: Sequence[Metric], *, points: int | None = None, intervals: bool = True
    ) -> Iterator[Profile]:
        """The profiles of all rows so far, one by one.

        `points` bounds the rows that dimension looks at (all of the sample); without `intervals` each moment is
        solved once instead of once a fold, and there is no held-out score.
        """
        for modality in self.tokens:
            for captured in captured_streams(self.streams):
                kept = self.rows[modality, captured]
                folds = [fold for fold in kept.folds if fold.n] or kept.folds[:1]
                whole = functools.reduce(ChainMoments.merge, folds)
                for stream in self.streams:
                    if captured_streams([stream]) != (captured,):
                        continue
                    for metric in metrics:
                        for method, estimates in self._estimates(
                            metric, stream, whole, folds if intervals else None, kept.sample, points
                        ):
                            yield Profile.of(
                                metric,
                                method,
                                modality,
                                stream,
                                estimates,
                                d=self.width,
                                examples=self.examples[modality],
                            )

    def _estimates(
        self,
        metric: Metric,
        stream: Stream,
        whole: ChainMoments,
        folds: Sequence[ChainMoments] | None,
        sample: Sample,
        points: int | None,
    ) -> Iterator[tuple[str, list[Estimate]]]:
        """Each method of a metric with its estimate at every layer."""
        if metric is Metric.DIMENSION:
            yield DIMENSION_METHOD, [self._dimension(sample, stream, layer, points) for layer in self._at(stream)]
        elif metric is Metric.LINEARITY:
            for method in LINEARITY_METHODS if folds else LINEARITY_METHODS[:1]:
                yield (
                    method,
                    [
                        linearity_of(
                            block_of(whole, stream, layer),
                            method=method,
                            folds=[block_of(fold, stream, layer) for fold in folds] if folds else None,
                        )
                        for layer in range(self.layers)
                    ],
                )
        else:
            yield (
                ANISOTROPY_METHOD,
                [
                    spread_anisotropy(
                        spread_of(whole, stream, layer),
                        method=ANISOTROPY_METHOD,
                        folds=[spread_of(fold, stream, layer) for fold in folds] if folds else None,
                    )
                    for layer in self._at(stream)
                ],
            )

    def _at(self, stream: Stream) -> range:
        """The layers of a stream: a block's update belongs to the layer that enters the block."""
        return range(self.layers if stream is Stream.UPDATE else self.layers + 1)

    def _dimension(self, sample: Sample, stream: Stream, layer: int, points: int | None) -> Estimate:
        if not len(sample):
            return dimension(torch.empty(0, self.width), method=DIMENSION_METHOD)
        rows = sample.rows(layer)
        if stream is Stream.UPDATE:
            rows = sample.rows(layer + 1).double() - rows.double()
        return dimension(rows[:points].to(self.device), method=DIMENSION_METHOD, groups=sample.groups[:points])


def _below(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}


def captured_streams(streams: Sequence[Stream]) -> tuple[Stream, ...]:
    """The streams to capture for those asked for: the update is the difference of two residual layers."""
    captured = {Stream.RESIDUAL if stream is Stream.UPDATE else stream for stream in streams}
    return tuple(stream for stream in Stream if stream in captured)


def block_of(chain: ChainMoments, stream: Stream, layer: int) -> Moments:
    """Moments of the rows of block `layer`: (input, output), or (input, update) for the update stream."""
    block = chain.block(layer)
    return block.difference() if stream is Stream.UPDATE else block


def spread_of(chain: ChainMoments, stream: Stream, layer: int) -> Spread:
    """Moments of the rows at `layer`, or of what the block that it enters adds."""
    return chain.update_of(layer) if stream is Stream.UPDATE else chain.layer(layer)
