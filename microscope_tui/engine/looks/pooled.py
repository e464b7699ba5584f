"""What pooled linear maps leave unexplained of the tokens of one example.

The map of a block is fitted on the rows of a whole slice, from the sums of a walk: one example has fewer tokens than
dimensions. Its own rows are taken out of the sums first, so that no token helps to explain itself.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from microscope_tui.engine.left_out import DUPLICATES, LeftOut, sink_rows
from microscope_tui.engine.looks.looking import Tell, known
from microscope_tui.engine.sums import Sums
from microscope_tui.geometry.linearity import undefined
from microscope_tui.geometry.moments import Moments
from microscope_tui.geometry.solve import factor
from microscope_tui.models.base import Captured, OpenModel
from microscope_tui.terms import Modality, Progress, Request, Stream

FEW = 10
"""With fewer rows a dimension a map is fitted to noise as well."""


@dataclass(frozen=True)
class Unexplained:
    """`errors` (L, T) of the tokens, empty without a map; how many examples the map was `fitted` on; notes."""

    errors: tuple[tuple[float | None, ...], ...] = ()
    fitted: int = 0
    notes: tuple[str, ...] = ()


def unexplained(
    request: Request, model: OpenModel, sums: Sums, captured: Captured, index: int, tell: Tell
) -> Unexplained:
    """How much of each of the T tokens of one example the maps leave, by block.

    `captured` is the example number `index` of the slice alone. Where rows that repeat earlier ones do not count, it
    is not known which of the example's rows were counted: then all examples of its fold are left out with it.
    """
    states = captured.rows[Stream.RESIDUAL]
    errors = torch.full((len(states) - 1, len(captured)), torch.nan, dtype=torch.float64)
    counted = index in sums.examples()
    fold = index % sums.folds if counted and DUPLICATES in request.without and sums.folds > 1 else None
    own = torch.zeros(len(captured), dtype=torch.bool)
    if counted and fold is None:
        own = counting(request, model, captured, Stream.RESIDUAL)
    notes = [] if fold is None else [f"the linear maps leave out all examples of this one's fold, 1 of {sums.folds}"]
    for modality in request.modalities:
        of_modality = captured.mask(modality).cpu()
        if not bool(of_modality.any()):
            continue
        at, left_out = (mask.nonzero()[:, 0] for mask in (of_modality, of_modality & own))
        fits = Fits(sums, modality)
        for layer, (moments, pair) in enumerate(zip(fits.blocks(fold), pairwise(states), strict=False)):
            tell(Progress(f"linear maps of {modality} tokens", layer, len(errors), unit="maps"))
            if len(left_out):
                moments = moments - Moments.of(*(taken(h, left_out, sums.device) for h in pair))
            if fits.trusts(layer, moments):
                errors[layer, at] = left_by(moments, *(taken(h, at, sums.device) for h in pair)).cpu()
        notes += fits.notes()
    fitted = sums.examples(without_fold=fold)
    return Unexplained(told(errors), len(fitted) - (index in fitted), tuple(notes))


class Fits:
    """The moments that the maps of one modality are made of; and, once they were looked at, what is wrong with them."""

    def __init__(self, sums: Sums, modality: Modality) -> None:
        self._sums, self._modality = sums, modality
        self._reasons: dict[str, set[int]] = {}
        self._short: dict[int, list[int]] = {}
        """The rows that are too few, of each set of them that was looked at, by block."""
        self._d = 0
        self._fewest = float("inf")

    def blocks(self, without_fold: int | None = None) -> Iterator[Moments]:
        """The moments of block after block, of all folds but one; nothing where there are no rows."""
        if self._sums.has(self._modality, Stream.RESIDUAL):
            return self._sums.blocks(self._modality, Stream.RESIDUAL, without_fold=without_fold)
        self._reasons["there are no rows"] = set()
        return iter(())

    def trusts(self, layer: int, moments: Moments) -> bool:
        """Whether a map made of these moments means anything for other rows."""
        n, d = moments.n, len(moments.mean_x)
        self._d = d
        if (reason := undefined(moments)) is not None:
            self._reasons.setdefault(reason, set()).add(layer)
        elif n <= d + 1:
            self._short.setdefault(layer, []).append(n)
        else:
            self._fewest = min(self._fewest, n / d)
            return True
        return False

    def notes(self) -> tuple[str, ...]:
        reasons = dict(self._reasons)
        if self._short:
            counts = [n for of_block in self._short.values() for n in of_block]
            n = f"{min(counts)}" + (f" to {max(counts)}" if max(counts) > min(counts) else "")
            reasons[f"n = {n} ≤ d + 1 = {self._d + 1}, so it fits them whatever they are"] = set(self._short)
        said = []
        for reason, layers in reasons.items():
            where = f" of blocks {ranges(layers)}" if layers else ""
            said.append(f"no linear maps of {self._modality} tokens{where}: {reason}")
        if self._fewest < FEW:
            few = f"n/d = {self._fewest:.1f}: the linear maps of {self._modality} tokens are fitted to noise as well"
            said.append(few)
        return tuple(said)


def ranges(numbers: Collection[int]) -> str:
    """Numbers as people write them: `0 to 7, 9`."""
    found: list[list[int]] = []
    for number in sorted(numbers):
        if found and found[-1][-1] == number - 1:
            found[-1].append(number)
        else:
            found.append([number])
    return ", ".join(f"{run[0]} to {run[-1]}" if len(run) > 2 else ", ".join(map(str, run)) for run in found)


def counting(request: Request, model: OpenModel, captured: Captured, stream: Stream) -> Tensor:
    """(n,) bool: which rows of a captured stream count for a request, repeated ones among them."""
    left_out = LeftOut.of(model, request.without)
    counts = torch.ones(len(captured), dtype=torch.bool)
    for code in left_out.codes:
        counts &= captured.group.cpu() != code
    if left_out.sinks:
        counts &= ~sink_rows(captured.rows[stream], captured.example.cpu(), captured.modality.cpu())
    return counts


def left_by(moments: Moments, x: Tensor, y: Tensor) -> Tensor:
    """‖ỹ − x̃A‖²/mean‖ỹ‖² of rows x, y (t, d), with the map A, the centres and the scale of the moments; (t,)."""
    cx, cy = x.double() - moments.mean_x, y.double() - moments.mean_y
    # x̃A = (G⁺x̃ᵀ)ᵀC: a solve for the few rows instead of one for all columns of C.
    predicted = factor(moments.n, moments.mean_x, moments.xx).solve(cx.T).T @ moments.xy
    scale = moments.yy.trace() / moments.n
    error: Tensor = (cy - predicted).square().sum(1) / scale
    return error


def taken(rows: Tensor, at: Tensor, device: torch.device) -> Tensor:
    """Some of the rows, on a device."""
    return rows.index_select(0, at.to(rows.device)).to(device)


def told(errors: Tensor) -> tuple[tuple[float | None, ...], ...]:
    """(L, T) errors as a table holds them."""
    return tuple(known(row) for row in errors.tolist())
