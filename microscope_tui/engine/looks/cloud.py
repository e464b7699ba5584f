"""A sample of rows on a plane, layer by layer: that of their two main axes, or t-SNE's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from microscope_tui.engine.accumulate import example_hash
from microscope_tui.engine.looks.looking import Tell, rounded
from microscope_tui.engine.looks.pooled import counting
from microscope_tui.engine.looks.tsne import embedding, perplexity
from microscope_tui.engine.sums import Sums
from microscope_tui.errors import BadExample, MicroscopeError
from microscope_tui.geometry.masks import sinks
from microscope_tui.geometry.sample import Sample
from microscope_tui.inspection import Cloud, Projection
from microscope_tui.models.base import OpenModel
from microscope_tui.models.capture import capture
from microscope_tui.slices import Slice
from microscope_tui.terms import Modality, Progress, Request, Stream, captured_streams

POINTS = 500
"""Rows on the map, of all modalities together."""

EXAMPLES = 32
"""Examples that go through the model for the map of a slice that no walk has kept a sample of."""


LEAST = 3
"""Rows that a plane needs."""


@dataclass(frozen=True)
class SampledRows:
    """Sampled rows of one modality: the key of each one's example, and `at(layer)` the rows (k, d) at a layer."""

    modality: Modality
    example: tuple[str, ...]
    at: Callable[[int], Tensor]


def cloud(
    request: Request,
    model: OpenModel,
    slice_: Slice,
    stream: Stream,
    sums: Sums | None,
    tell: Tell,
    projection: Projection,
    walked: int,
    keep: Callable[[Cloud], None],
    begun: Cloud | None,
) -> Cloud:
    """The map of a stream: of the rows that a walk has sampled, or without one of examples that are run now.

    `keep` gets the layers so far, of a projection that takes its time, after each but the last; a map of the same rows
    that was `begun` so is gone on with. For `walked` see `Cloud`. Raises `MicroscopeError` when there are too few rows
    for a plane, and for a projection whose library is not there.
    """
    embed = embedding() if projection is Projection.TSNE else None
    (captured,) = captured_streams([stream])
    if sums is None:
        sampled = _from_model(request, model, slice_, captured, tell)
    else:
        sampled = _from_walk(request, sums, captured, slice_.keys)
    count = sum(len(rows.example) for rows in sampled)
    if count < LEAST:
        raise MicroscopeError(f"{count} rows of {request.slice} make no map: take a slice with more examples.")
    modality = tuple(rows.modality for rows in sampled for _ in rows.example)
    example = tuple(key for rows in sampled for key in rows.example)
    points: list[Tensor] = []
    if embed and begun and (begun.modality, begun.example, begun.walked) == (modality, example, walked):
        points = [torch.tensor(layer, dtype=torch.float64) for layer in begun.points]
    given = len(points)
    share: list[float] = []
    massive: dict[str, list[int]] = {str(each.modality): [] for each in sampled}
    layers = model.layers + (stream is not Stream.UPDATE)

    def so_far() -> Cloud:
        return Cloud(
            model=request.model,
            slice=request.slice,
            stream=stream,
            modality=modality,
            example=example,
            points=tuple(tuple((x, y) for x, y in map(rounded, plane.tolist())) for plane in points),
            share=rounded(share),
            notes=(*([_run_note(sampled, slice_)] if sums is None else []), *([_tsne_note(count)] if embed else [])),
            projection=projection,
            massive={modality: tuple(counts) for modality, counts in massive.items()},
            walked=walked,
            layers=layers,
        )

    for layer in range(layers):
        tell(Progress("t-SNE" if embed else "main axes", layer, layers, unit="layers"))
        apart = [_rows(each, stream, layer) for each in sampled]
        for each, own in zip(sampled, apart, strict=True):
            massive[str(each.modality)].append(int(sinks(own).sum()))
        if layer < given:
            continue
        rows = torch.cat(apart)
        plane, of_all = plane_of(rows)
        if embed:
            places = embed(rows, points[-1] if points else plane)
            # As they are kept: so a map that is gone on with is the same as one that was made at once.
            points.append(torch.tensor([rounded(place) for place in places.tolist()], dtype=torch.float64))
            if layer + 1 < layers:
                keep(so_far())
        else:
            points.append(turned(plane, points[-1]) if points else plane)
            share.append(of_all)
    return so_far()


def plane_of(rows: Tensor) -> tuple[Tensor, float]:
    """(n, 2): rows (n, d) on their two main axes, about their mean; and the share of the variance there.

    With few rows of large width the eigenvectors of the n × n products X̃X̃ᵀ = UΛUᵀ are all that is needed: U√Λ.
    """
    centred = rows.double() - rows.double().mean(0)
    values, vectors = torch.linalg.eigh(centred @ centred.T)
    top = values[-2:].flip(0).clamp(min=0)
    total = float(centred.square().sum())
    return vectors[:, -2:].flip(1) * top.sqrt(), float(top.sum()) / total if total else 0.0


def turned(plane: Tensor, before: Tensor) -> Tensor:
    """The plane with each axis in the direction that fits the plane before it better: an axis has no sign."""
    agree = (plane * before).sum(0)
    return plane * torch.where(agree < 0, -1.0, 1.0)


def _rows(sampled: SampledRows, stream: Stream, layer: int) -> Tensor:
    here = sampled.at(layer)
    return sampled.at(layer + 1).double() - here.double() if stream is Stream.UPDATE else here.double()


def _from_walk(request: Request, sums: Sums, stream: Stream, keys: Sequence[str]) -> list[SampledRows]:
    """Of the sample that a walk keeps, equally many rows of each modality: those with the smallest hashes."""
    modalities = [modality for modality in request.modalities if sums.has(modality, stream)]
    sampled = []
    for modality in modalities:
        first = slice(POINTS // len(modalities))
        examples, _ = sums.sample(modality, stream)
        at = partial(sums.sample_rows, modality, stream, rows=first)
        sampled.append(SampledRows(modality, tuple(keys[i] for i in examples[first]), at))
    return sampled


def _from_model(request: Request, model: OpenModel, slice_: Slice, stream: Stream, tell: Tell) -> list[SampledRows]:
    """The same of examples from all over the slice, run now: what a walk would keep of them."""
    samples = {modality: Sample(POINTS) for modality in request.modalities}
    number = {example_hash(key): key for key in slice_.keys}
    indices = range(0, len(slice_), -(-len(slice_) // EXAMPLES))
    for done, i in enumerate(indices):
        tell(Progress("running the model", done, len(indices)))
        try:
            captured = capture(model, model.prepare([slice_.example(i)]), [stream])
        except BadExample:
            continue
        counted = counting(request, model, captured, stream)
        for modality, sample in samples.items():
            at = (captured.mask(modality).cpu() & counted).nonzero()[:, 0]
            rows = [layer.index_select(0, at.to(layer.device)) for layer in captured.rows[stream]]
            sample.update(torch.full_like(at, example_hash(slice_.keys[i])), captured.position.cpu()[at], rows)
    there = {modality: sample for modality, sample in samples.items() if len(sample)}
    share = POINTS // max(1, len(there))

    def first(sample: Sample, layer: int) -> Tensor:
        return sample.rows(layer)[:share]

    return [
        SampledRows(modality, tuple(number[key] for key in sample.groups[:share].tolist()), partial(first, sample))
        for modality, sample in there.items()
    ]


def _tsne_note(count: int) -> str:
    return (
        f"t-SNE of perplexity {perplexity(count):.3g}: who is near whom means something, sizes of groups and distances "
        "between them do not"
    )


def _run_note(sampled: Sequence[SampledRows], slice_: Slice) -> str:
    """Where rows come from that no walk has sampled."""
    examples = len({key for rows in sampled for key in rows.example})
    return (
        f"rows of {examples:,} of {len(slice_):,} examples, run for this map, as no measurement had kept a sample when "
        "it was made: once one has, the map is made anew"
    )
