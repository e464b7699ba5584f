"""The tokens that linear maps explain worst, among the sampled rows of a walk."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

import torch
from torch import Tensor

from microscope_tui.engine.looks.looking import Tell, rounded
from microscope_tui.engine.looks.pooled import Fits, left_by, taken
from microscope_tui.engine.sums import Sums
from microscope_tui.inspection import WorstToken, WorstTokens
from microscope_tui.models.base import OpenModel
from microscope_tui.models.groups import NO_GROUP
from microscope_tui.slices import Slice
from microscope_tui.terms import Modality, Progress, Request, Stream

WORST = 20
"""Tokens of each modality and block: as many are the worst of all modalities together."""

ALIKE = 1e-3
"""Of rows that differ by less than this share of their length one stands for all: every prompt begins the same."""

ONE_FOLD = ("there is one fold of examples: the linear maps are fitted on the tokens themselves as well",)

Row = tuple[int, int, float]
"""The number of an example, a position in it, and the residual there."""


@dataclass(frozen=True)
class WorstRows:
    """Of one modality the worst rows of each block, the worst first, among `rows` sampled ones; and notes."""

    layers: tuple[tuple[Row, ...], ...]
    rows: int
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        layers = tuple(tuple((i, at, error) for i, at, error in layer) for layer in data["layers"])
        return cls(layers, data["rows"], tuple(data["notes"]))


def worst_of(sums: Sums, modality: Modality, layers: int, tell: Tell) -> WorstRows:
    """The worst sampled rows of a modality, each under the maps of the folds that its example is not in."""
    examples, positions = sums.sample(modality, Stream.RESIDUAL)
    errors, notes = _errors(sums, modality, torch.tensor(examples), layers, tell)
    found = []
    for layer, of_layer in enumerate(errors):
        at = _largest(of_layer, sums.sample_rows(modality, Stream.RESIDUAL, layer))
        found.append(tuple((examples[i], positions[i], float(of_layer[i])) for i in at))
    return WorstRows(tuple(found), len(examples), notes)


def worst_tokens(
    request: Request,
    model: OpenModel,
    slice_: Slice,
    found: Mapping[Modality, WorstRows],
    fitted: int,
    tell: Tell,
) -> WorstTokens:
    """The worst rows of each modality as people read them. `fitted` examples made the maps."""
    wanted = {(i, at) for worst in found.values() for layer in worst.layers for i, at, _ in layer}
    spelt = _spelt(model, slice_, wanted, tell)

    def token(modality: Modality, row: Row) -> WorstToken:
        i, at, error = row
        word, group = spelt[i, at]
        return WorstToken(slice_.keys[i], i, at, word, modality, group, *rounded([error]))

    layers = []
    for layer in range(model.layers):
        tokens = [token(modality, row) for modality, worst in found.items() for row in worst.layers[layer]]
        layers.append(tuple(sorted(tokens, key=lambda token: -token.residual)))
    return WorstTokens(
        model=request.model,
        slice=request.slice,
        layers=tuple(layers),
        rows={str(modality): worst.rows for modality, worst in found.items()},
        fitted=fitted,
        notes=tuple(dict.fromkeys(note for worst in found.values() for note in worst.notes)),
    )


def _errors(sums: Sums, modality: Modality, example: Tensor, layers: int, tell: Tell) -> tuple[Tensor, tuple[str, ...]]:
    """(L, n): what the maps leave of each sampled row, NaN without a map; and notes."""
    errors = torch.full((layers, len(example)), torch.nan, dtype=torch.float64)
    fits = Fits(sums, modality)
    fold = example % sums.folds
    folds = sorted(set(fold.tolist()))
    for done, k in enumerate(folds):
        at = (fold == k).nonzero()[:, 0]
        for layer, moments in enumerate(fits.blocks(k if sums.folds > 1 else None)):
            tell(Progress(f"linear maps of {modality} tokens", done * layers + layer, len(folds) * layers, unit="maps"))
            if fits.trusts(layer, moments):
                x, y = (sums.sample_rows(modality, Stream.RESIDUAL, number) for number in (layer, layer + 1))
                errors[layer, at] = left_by(moments, taken(x, at, sums.device), taken(y, at, sums.device)).cpu()
    return errors, (*(ONE_FOLD if sums.folds == 1 else ()), *fits.notes())


def _largest(errors: Tensor, rows: Tensor) -> list[int]:
    """The `WORST` rows (n, d) with the largest errors (n,), no two of them alike."""
    found: list[int] = []
    for i in errors.nan_to_num(-1).argsort(descending=True).tolist():
        if len(found) == WORST or not bool(errors[i] >= 0):
            break
        row = rows[i].double()
        apart = (rows[found].double() - row).norm(dim=1)
        if not bool((apart <= ALIKE * row.norm()).any()):
            found.append(i)
    return found


def _spelt(
    model: OpenModel, slice_: Slice, wanted: set[tuple[int, int]], tell: Tell
) -> Mapping[tuple[int, int], tuple[str, str]]:
    """The word and the group of the tokens at these positions of examples."""
    spelt = {}
    examples = sorted({i for i, _ in wanted})
    for done, i in enumerate(examples):
        tell(Progress("reading examples", done, len(examples)))
        (part,) = model.prepare([slice_.example(i)]).parts
        ids, groups = part.ids[0][part.valid[0]].tolist(), part.group[0][part.valid[0]].tolist()
        for at in sorted(at for example, at in wanted if example == i):
            spelt[i, at] = model.word(ids[at]), "" if groups[at] == NO_GROUP else model.groups[groups[at]]
    return spelt
