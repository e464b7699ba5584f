"""Sums and samples in, profiles out: every method that is made of the same sums, or of the same neighbours."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from microscope_tui.engine.accumulate import Accumulator
from microscope_tui.engine.rows import KeptRows
from microscope_tui.engine.stages import Stages
from microscope_tui.engine.threads import side_by_side
from microscope_tui.geometry import anisotropy, linearity
from microscope_tui.geometry.anisotropy import spread_anisotropies
from microscope_tui.geometry.dimension import DIFFERENT_ROWS, dimensions
from microscope_tui.geometry.linearity import linearities
from microscope_tui.geometry.masks import duplicate_of
from microscope_tui.geometry.moments import ChainMoments, Moments, Spread
from microscope_tui.geometry.rows import FOLDS
from microscope_tui.methods import METHODS, REFERENCE
from microscope_tui.results import Estimate, Note, Profile, Trap
from microscope_tui.terms import SINK_RATIO, Metric, Modality, Stream, captured_streams

EIGENVALUES = 1024
"""Up to this width all eigenvalues of a covariance are computed: above it they would take longer than all the rest."""

Estimates = Mapping[str, Estimate]
"""One estimate a method."""


@dataclass(frozen=True)
class Making:
    """How profiles are made.

    `places` has the place in the slice of each example, by its hash: an example is in the fold of its place, whatever
    the metric, so that folds are as even as can be and the same for all models. `points` bounds the rows that dimension
    looks at (None: all of the sample), `matched` those that each method counts: the different ones, or
    all for a method that keeps copies. Without `intervals` each moment is solved once instead of once a fold, there is
    no held-out score and one dimension. With `reference` the methods of LLM-Microscope are among them. `heed` is called
    before the estimates of each layer are taken, in the thread that asks for profiles, and may raise to stop. Where
    layers are worked on at the same time (`threads`), later ones are under way then and go on meanwhile; after a stop
    none is begun.
    """

    metrics: Sequence[Metric]
    places: Mapping[int, int]
    points: int | None = None
    intervals: bool = True
    reference: bool = False
    matched: int | None = None
    heed: Callable[[], None] = lambda: None


class Layers:
    """The rows of one modality in one stream, and what each metric makes of them at a layer."""

    def __init__(self, rows: KeptRows, stream: Stream, making: Making, device: torch.device, tasks: int) -> None:
        self.stream, self.making, self.device, self.tasks = stream, making, device, tasks
        self.sample = rows.sample
        used = [fold for fold in rows.folds if fold.n] or rows.folds[:1]
        self.whole = functools.reduce(ChainMoments.merge, used)
        self.folds = used if making.intervals else None
        self.places = tuple(k for k, fold in enumerate(rows.folds) if fold.n)
        self.count = len(rows.folds)

    def __len__(self) -> int:
        """States; a block's update belongs to the layer that enters the block."""
        return self.whole.layers - (self.stream is Stream.UPDATE)

    def at(self, metric: Metric) -> Iterator[Estimates]:
        """The estimates of a metric, layer by layer."""
        make = {
            Metric.LINEARITY: self._linearity,
            Metric.DIMENSION: self._dimension,
            Metric.ANISOTROPY: self._anisotropy,
        }[metric]
        layers = range(self.whole.layers - 1 if metric is Metric.LINEARITY else len(self))
        with closing(side_by_side([functools.partial(make, layer) for layer in layers], self.tasks)) as made:
            for _ in layers:
                self.making.heed()
                yield next(made)

    def _linearity(self, layer: int) -> Estimates:
        methods = [m for m in METHODS[Metric.LINEARITY] if m != REFERENCE]
        if self.stream is not Stream.RESIDUAL:
            methods.remove("update")  # the stream is one already, or nothing is added to it
        if self.folds is None:
            methods.remove("held-out")
        folds = None if self.folds is None else [block_of(fold, self.stream, layer) for fold in self.folds]
        carried = self.stream is not Stream.MAIN  # there each block's output takes the place of its input
        rows = block_of(self.whole, self.stream, layer)
        found = self._by_fold(linearities(rows, methods, folds=folds, carried=carried))
        if not self.making.reference:
            return found
        x, y = self._rows(layer, Stream.RESIDUAL), self._rows(layer + 1, Stream.RESIDUAL)
        if self.stream is Stream.UPDATE:
            y = y.double() - x.double()
        return {**found, REFERENCE: linearity(x.to(self.device), y.to(self.device), method=REFERENCE)}

    def _anisotropy(self, layer: int) -> Estimates:
        methods = [m for m in METHODS[Metric.ANISOTROPY] if m != REFERENCE]
        if self.whole.width > EIGENVALUES:
            methods = [m for m in methods if m != "effective-rank"]
        folds = None if self.folds is None else [spread_of(fold, self.stream, layer) for fold in self.folds]
        found = self._by_fold(spread_anisotropies(spread_of(self.whole, self.stream, layer), methods, folds=folds))
        rows = self._rows(layer, self.stream)
        if self.stream is Stream.UPDATE:
            found["mean-cosine"] = self._mean_cosine(rows)
        if self.making.reference:
            found[REFERENCE] = anisotropy(rows.to(self.device), method=REFERENCE)
        return found

    def _mean_cosine(self, rows: Tensor) -> Estimate:
        """That of updates, whose directions are not summed up: those of the sample have to do. Their folds need no
        memory, so that there are never too few for an interval."""
        if self.examples is None:
            return anisotropy(rows, method="mean-cosine")
        count = max(self.count, FOLDS)
        fold = self.examples % count
        found = anisotropy(rows, method="mean-cosine", groups=fold, folds=count)
        return placed(found, sorted(set(fold.tolist())), count)

    def _dimension(self, layer: int) -> Estimates:
        points = self.making.points
        rows = self._rows(layer, self.stream)[:points].to(self.device)
        methods = METHODS[Metric.DIMENSION] if self.making.intervals else METHODS[Metric.DIMENSION][:1]

        def found(end: int, methods: Sequence[str]) -> Estimates:
            examples = None if self.examples is None else self.examples[:end]
            return dimensions(rows[:end], methods, groups=examples, piles=examples) if methods else {}

        matched = self.making.matched
        if not matched:
            return found(len(rows), methods)
        # The sample is in the order of a hash: its beginning is a smaller sample of the same rows. What removes copies
        # takes more of it than what counts them, such that n is the same for both.
        end = _end_of_different(rows, matched)
        if end <= matched:  # none repeats: one search does for all
            return found(end, methods)
        different = found(end, [method for method in methods if method in DIFFERENT_ROWS])
        counting = found(matched, [method for method in methods if method not in DIFFERENT_ROWS])
        both = {**different, **counting}
        return {method: both[method] for method in methods}

    def _by_fold(self, found: Estimates) -> dict[str, Estimate]:
        return {method: placed(each, self.places, self.count) for method, each in found.items()}

    def _rows(self, layer: int, stream: Stream) -> Tensor:
        """The sample's rows at a layer, or what is added there."""
        if not len(self.sample):
            return torch.empty(0, self.whole.width)
        rows = self.sample.rows(layer)
        return self.sample.rows(layer + 1).double() - rows.double() if stream is Stream.UPDATE else rows

    @functools.cached_property
    def examples(self) -> Tensor | None:
        """The place in the slice of each sampled row's example, int64 (k,); None where there are no intervals."""
        if not self.making.intervals:
            return None
        return torch.tensor([self.making.places[each] for each in self.sample.groups.tolist()], dtype=torch.int64)


def profiles(sums: Accumulator, making: Making) -> Iterator[Profile]:
    """The profiles of all rows so far, one by one."""
    for modality in sums.modalities:
        for captured in captured_streams(sums.streams):
            for stream in sums.streams:
                if captured_streams([stream]) == (captured,):
                    yield from _of(sums, modality, captured, stream, making)


def _of(sums: Accumulator, modality: Modality, captured: Stream, stream: Stream, making: Making) -> Iterator[Profile]:
    layers = Layers(sums.rows[modality, captured], stream, making, sums.device, sums.tasks)
    sinks = sums.sinks[modality, captured]
    with_stages = (modality, stream) == (Modality.IMAGE, Stream.RESIDUAL)
    for metric in making.metrics:
        found = [
            _about_sinks(each, metric, sinks, sums.tokens[modality], left_out=sums.left_out.sinks)
            for each in layers.at(metric)
        ]
        earlier = list(_before(sums, metric, making)) if with_stages else []
        for method in found[0]:
            estimates = [*(each.of.get(method, NOT_THERE) for each in earlier), *(each[method] for each in found)]
            profile = Profile.of(
                metric, method, modality, stream, estimates, d=sums.width, examples=sums.examples[modality]
            )
            yield replace(
                profile,
                layers=tuple(range(-len(earlier), len(found))),
                stages=(*(each.stage for each in earlier), *("" for _ in found)),
                widths=(*(each.width for each in earlier), *(sums.width for _ in found)),
            )


@dataclass(frozen=True)
class Earlier:
    """The estimates `of` one state of a stage before the decoder, or of the step that leaves it."""

    stage: str
    width: int
    of: Estimates


NOT_THERE = Estimate(None, reason="it is not computed for rows of this width")


def _before(sums: Accumulator, metric: Metric, making: Making) -> Iterator[Earlier]:
    """The states of all stages in order; for linearity the steps from each state to the next."""
    for name, rows in sums.stages.rows.items():
        layers = Layers(rows, Stream.RESIDUAL, making, sums.device, sums.tasks)
        for of in layers.at(metric):
            yield Earlier(name, layers.whole.width, of)
        if metric is Metric.LINEARITY:
            making.heed()
            yield Earlier(name, layers.whole.width, _leaving(sums.stages, name, making))


def _leaving(stages: Stages, name: str, making: Making) -> Estimates:
    """The linearity of the step that leaves a stage."""
    step = stages.steps[name]
    folds = [fold for fold in step.folds if fold.n] or step.folds[:1]
    whole = functools.reduce(Moments.merge, folds)
    methods = METHODS[Metric.LINEARITY]
    if step.apart:
        apart = f"the rows of the {name} are not those that follow, one by one: they are packed or pooled in between"
        return dict.fromkeys(methods, Estimate(None, d=len(whole.mean_x), reason=apart))
    blank = Estimate(None, n=whole.n, d=len(whole.mean_x))
    unknown = {REFERENCE: replace(blank, reason="the samples on both sides of this step are of different rows")}
    if len(whole.mean_x) != len(whole.mean_y):
        unknown["update"] = replace(blank, reason="there is no update between rows of different widths")
    asked = [method for method in methods if method not in unknown]
    found = linearities(whole, asked, folds=folds if making.intervals else None)
    places = [k for k, fold in enumerate(step.folds) if fold.n]
    return unknown | {method: placed(each, places, len(step.folds)) for method, each in found.items()}


def _about_sinks(found: Estimates, metric: Metric, sinks: int, of: int, *, left_out: bool) -> Estimates:
    """What to know about massive rows beside each estimate; dimension counts those of its sample itself."""
    if not sinks or (metric is Metric.DIMENSION and not left_out):
        return found
    rows = f"{sinks:,} sink {'row' if sinks == 1 else 'rows'}"
    if left_out:
        return {m: replace(e, facts=(*e.facts, f"{rows} left out")) for m, e in found.items()}
    median = "the median of their modality in their example"
    note = Note(f"{rows} of {of:,} (norm over {SINK_RATIO:g}× {median}) may rule this number", Trap.SINKS)
    return {m: replace(e, notes=(*e.notes, note)) for m, e in found.items()}


def _end_of_different(rows: Tensor, count: int) -> int:
    """How many of the first rows hold `count` different ones; all where there are fewer."""
    first = duplicate_of(rows)
    different = (first == torch.arange(len(rows), device=first.device)).nonzero()[:, 0]
    return int(different[count - 1]) + 1 if len(different) >= count else len(rows)


def placed(estimate: Estimate, places: Sequence[int], count: int) -> Estimate:
    """The estimate with the influence of all `count` folds, of which only those at `places` have rows: one without
    rows has none. Then fold k is of the same examples for every model, whatever rows it has."""

    def spread(values: Sequence[float]) -> tuple[float, ...]:
        known = dict(zip(places, values, strict=True)) if len(values) == len(places) else {}
        return tuple(known.get(k, 0.0) for k in range(count)) if known else ()

    return replace(estimate, influence=spread(estimate.influence), shares=spread(estimate.shares))


def block_of(chain: ChainMoments, stream: Stream, layer: int) -> Moments:
    """Moments of the rows of block `layer`: (input, output), or (input, update) for the update stream."""
    block = chain.block(layer)
    return block.difference() if stream is Stream.UPDATE else block


def spread_of(chain: ChainMoments, stream: Stream, layer: int) -> Spread:
    """Moments of the rows at `layer`, or of what the block that it enters adds."""
    return chain.update_of(layer) if stream is Stream.UPDATE else chain.layer(layer)
