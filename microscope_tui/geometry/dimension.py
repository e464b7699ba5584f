"""Intrinsic dimension from the distances to the two nearest neighbours (TwoNN; Facco et al. 2017).

Where points are locally uniform on a d-dimensional set, μ = r₂/r₁ follows P(μ > m) = m^−d. The conventions
differ in which ratios they use, how they number them, and what they do with exact duplicates (r₁ = 0):

| method | estimator | ratios used | duplicates |
|---|---|---|---|
| `mle` | (N − 1)/Σ log μ | all | removed first |
| `facco` | slope of −log(1 − i/N) on log μ₍ᵢ₎ through 0 | lowest 90 % | removed first |
| `dadapy` | the same | lowest 90 % | kept; undefined where r₁ = 0 |
| `scikit-dimension` | the same (0.5.0) | lowest 90 % | ratios with r₁ = 0 left out |
| `llm-microscope` | the same with F = (i + u)/(N + u) | lowest 20 % | u ratios left out, their ranks kept |
| `gride` | maximum likelihood of r₂ₖ/rₖ, k = 8 (Denti et al. 2022) | all | removed first |

`mle` on rows without duplicates is DADApy's `compute_id_2NN(algorithm="ml")`. The answer depends on N and on
scale: compare at matched N. `dimensions` gives several of them from one search.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial

import torch
from torch import Tensor

from microscope_tui.errors import MicroscopeError
from microscope_tui.geometry.gride import SINGLE_SCALE, gride_estimate
from microscope_tui.geometry.links import PILES, Bounds, link_inflation, positions_of, ratio_interval, usable
from microscope_tui.geometry.masks import duplicate_of, sinks
from microscope_tui.geometry.neighbours import nearest
from microscope_tui.geometry.rows import (
    DISTANCES,
    ArrayLike,
    as_rows,
    as_tensor,
    chunks,
    finite_rows,
    group_codes,
    in_reach,
    lengths_of,
    nonfinite_reason,
)
from microscope_tui.geometry.twonn import FORMULAS, Formula, marked_ratios
from microscope_tui.methods import METHODS
from microscope_tui.results import Estimate, Note, Trap
from microscope_tui.terms import Metric

DIFFERENT_ROWS = ("mle", "facco", "gride")
"""The methods that first remove rows which repeat an earlier one."""

_CENTRED = 1024
"""Rows centred at once for their norms."""


def dimension(
    x: ArrayLike,
    *,
    method: str = "mle",
    groups: ArrayLike | None = None,
    exclude_same_example: bool = False,
    queries: int | None = None,
    drop_sinks: bool = False,
) -> Estimate:
    """Intrinsic dimension of rows x (n, d), any float type; see the module for the methods.

    `groups` (n,), the example of each row, give a 95 % interval by leaving out examples (their ratios; the
    neighbour graph stays, see `links`). `exclude_same_example` looks for neighbours in other examples only.
    `queries` bounds the rows whose neighbours are sought. They are drawn at random, the same ones whenever there are as
    many rows: the error is about d̂/√queries, in whatever order the rows come. Sinks are counted in the notes,
    and left out on request (see `masks`). Undefined values come back with `value` None and a reason.
    """
    return dimensions(
        x,
        (method,),
        groups=groups,
        exclude_same_example=exclude_same_example,
        queries=queries,
        drop_sinks=drop_sinks,
    )[method]


def dimensions(
    x: ArrayLike,
    methods: Sequence[str],
    *,
    groups: ArrayLike | None = None,
    exclude_same_example: bool = False,
    queries: int | None = None,
    drop_sinks: bool = False,
    piles: ArrayLike | None = None,
) -> dict[str, Estimate]:
    """`dimension` by several methods from one search for neighbours among the different rows. From two where rows
    repeat, some methods keep them, and `queries` or `exclude_same_example` make them ask for something else.

    `piles` (n,), whole numbers: rows of examples with the same one, modulo 100, are left out together for the interval,
    for which `groups` are needed too. By default examples are dealt to 100 piles in turn.
    """
    for method in methods:
        if method not in METHODS[Metric.DIMENSION]:
            raise MicroscopeError(f"dimension has no method {method!r}: use {', '.join(METHODS[Metric.DIMENSION])}.")
    if queries is not None and queries < 3:
        raise MicroscopeError(f"{queries} rows to look up are too few: a dimension needs 3 or more.")
    (rows,), _ = in_reach(as_rows(x), most=DISTANCES)
    codes = group_codes(groups, len(rows))
    if exclude_same_example and codes is None:
        raise MicroscopeError("Leaving out neighbours of the same example needs groups: the example of each row.")
    n, d = rows.shape
    dealt = codes if piles is None else _dealt(piles, codes, n)
    finite = finite_rows(rows)
    if not bool(finite.all()):
        bad = Estimate(None, n=int(finite.sum()), d=d, reason=nonfinite_reason(int((~finite).sum()), n))
        return dict.fromkeys(methods, bad)
    search = Search(rows, codes, None if dealt is None else dealt % PILES, queries, exclude_same_example)
    massive = sinks(rows)
    heavy = int(massive.sum())
    if heavy:
        said = f"{heavy} sink {'row' if heavy == 1 else 'rows'} of {n} (massive norm){' left out' * drop_sinks}"
        search = search.noting(Note(said, Trap.SINKS))
        search = search.without(massive) if drop_sinks else search
    first = duplicate_of(search.rows)
    repeated = first != torch.arange(len(first), device=first.device)
    count = int(repeated.sum())
    if not count:
        return search.estimates(methods, n)
    search = replace(search, repeated=count / n)
    said = f"{count} duplicate {'row' if count == 1 else 'rows'} ({count / n:.1%}) removed"
    different = search.without(repeated).noting(Note(said, Trap.DUPLICATES))
    removing = [method for method in methods if method in DIFFERENT_ROWS]
    keeping = [method for method in methods if method not in DIFFERENT_ROWS]
    if queries is None and not exclude_same_example and len(different.rows) >= 3:
        near = different.look(removing)
        found = different.estimates(removing, n, near) | search.estimates(keeping, n, near.with_copies(first))
    else:
        found = different.estimates(removing, n) | search.estimates(keeping, n)
    return {method: found[method] for method in methods}


def _dealt(piles: ArrayLike, codes: Tensor | None, n: int) -> Tensor:
    """The pile that was given for each row, on the CPU like the codes."""
    given = as_tensor(piles, "piles").cpu()
    if codes is None or given.shape != (n,) or given.is_floating_point() or given.is_complex():
        raise MicroscopeError(f"piles need groups beside them, and one whole number for each row, shape ({n},).")
    return given


@dataclass(frozen=True, eq=False)
class Search:
    """The rows (n, d) among which neighbours are sought, and how; `notes` say what is missing from those given.

    `codes` (n,): the example of each row, `piles` (n,) the pile it is in. `apart`: neighbours are of other examples.
    `repeated` is the share of the rows given that repeat others.
    """

    rows: Tensor
    codes: Tensor | None
    piles: Tensor | None
    queries: int | None
    apart: bool
    notes: tuple[str, ...] = ()
    repeated: float = 0.0

    def noting(self, note: str) -> Search:
        return replace(self, notes=(*self.notes, note))

    def without(self, left_out: Tensor) -> Search:
        """The search without some rows, bool (n,)."""
        keep = ~left_out
        codes, piles = (None if of is None else of[keep.cpu()] for of in (self.codes, self.piles))
        return replace(self, rows=self.rows[keep], codes=codes, piles=piles)

    def estimates(self, methods: Sequence[str], given: int, near: Near | None = None) -> dict[str, Estimate]:
        """The dimension by each method; `given` is the number of rows before any were left out, `near` what `look` gave
        or would give."""
        if not methods:
            return {}
        n, d = self.rows.shape
        blank = Estimate(None, n=n, d=d, notes=self.notes, repeated=self.repeated)
        reason = self._too_few(given)
        if reason is not None:
            return dict.fromkeys(methods, replace(blank, reason=reason))
        near = near or self.look(methods)
        if len(near.asked) < n:
            blank = replace(blank, notes=(*blank.notes, f"{self.queries} rows looked up among {n}"))
        if self.apart:
            blank = replace(blank, notes=(*blank.notes, "neighbours from other examples only"))
        scale = self._mean_length() if "llm-microscope" in methods else 1.0
        two = self._ratios(near, 2, scale)
        wide = self._ratios(near, near.radii.shape[1], scale) if "gride" in methods else two
        return {m: _estimate(wide if m == "gride" else two, m, blank) for m in methods}

    def look(self, methods: Sequence[str]) -> Near:
        """As many neighbours as the methods need, or as there are; at least 3 rows."""
        n = len(self.rows)
        asked = torch.arange(n, device=self.rows.device)
        if self.queries is not None and self.queries < n:
            # Not at even distances: those may all be the same patch of pictures that are equally large.
            drawn = torch.randperm(n, generator=torch.Generator().manual_seed(n))[: self.queries]
            asked = drawn.sort().values.to(asked.device)
        found = nearest(
            self.rows,
            min(2 * SINGLE_SCALE, n - 1) if "gride" in methods else 2,
            queries=asked if len(asked) < n else None,
            apart=self.codes if self.apart else None,
        )
        return Near(asked, found.distance, found.index[:, 0])

    def _too_few(self, given: int) -> str | None:
        """Why these rows have no two neighbours."""
        n = len(self.rows)
        if n == 0:
            return "there are no rows"
        if n < 3:
            only = f"only {n} different {'row' if n == 1 else 'rows'}: two neighbours need 3"
            return only if n < given else f"n = {n}: two neighbours need 3 rows"
        if self.apart and self.codes is not None and bool((self.codes == self.codes[0]).all()):
            return "all rows are of one example: none has a neighbour in another"
        return None

    def _ratios(self, near: Near, k: int, scale: float) -> Ratios:
        """What is made of the k nearest neighbours of those rows that have as many."""
        enough = near.radii[:, :k].isfinite().all(1)
        asked, radii = near.asked[enough], near.radii[enough, :k]
        if self.codes is None or self.piles is None or not len(asked):
            return Ratios(radii, None, scale, self.apart)
        seen = self.codes.to(radii.device)[asked]
        links = positions_of(near.nearest[enough], asked, len(self.rows))
        inflation = link_inflation((radii[:, 1] / radii[:, 0]).log(), seen, links)
        return Ratios(radii, self.piles.to(radii.device)[asked], scale, self.apart, inflation)

    def _mean_length(self) -> float:
        """The mean norm of the centred rows, to about 7 digits."""
        mean = self.rows.mean(0, dtype=torch.promote_types(self.rows.dtype, torch.float32))
        lengths = mean.new_empty(len(self.rows))
        for part, out in zip(chunks(self.rows, _CENTRED), chunks(lengths, _CENTRED), strict=True):
            out.copy_(lengths_of(part - mean))
        return float(lengths.mean())


@dataclass(frozen=True, eq=False)
class Near:
    """Distances `radii` (q, k) of the rows `asked` (q,) to their k nearest neighbours, and `nearest` (q,), the first of
    those."""

    asked: Tensor
    radii: Tensor
    nearest: Tensor

    def with_copies(self, first: Tensor) -> Near:
        """The two nearest of all n rows, where this is of those that differ; `first` (n,): see `duplicate_of`.

        A copy is at distance 0, and a neighbour that has copies counts as often as it is there.
        """
        everyone = torch.arange(len(first), device=first.device)
        different = (first == everyone).nonzero()[:, 0]
        place = torch.searchsorted(different, first)
        there = torch.bincount(place)
        r1, r2 = self.radii[place, 0], self.radii[place, 1]
        copies, beside = there[place], self.nearest[place]
        radii = torch.stack([r1, torch.where(there[beside] > 1, r1, r2)], 1)
        radii = torch.where(copies[:, None] == 2, torch.stack([torch.zeros_like(r1), r1], 1), radii)
        radii[copies > 2] = 0
        last = torch.zeros_like(different).scatter_reduce_(0, place, everyone, "amax")
        copy = torch.where(first == everyone, last[place], first)
        return Near(everyone, radii, torch.where(copies > 1, copy, different[beside]))


@dataclass(frozen=True, eq=False)
class Ratios:
    """Distances to the k nearest neighbours (m, k) of the rows looked up, and what their interval needs.

    `piles` (m,): the pile of examples of each; `scale`: the mean norm of the centred rows; `apart`: neighbours are
    of other examples; `inflation`: by how much links between examples lengthen the interval (see `links`).
    """

    radii: Tensor
    piles: Tensor | None
    scale: float
    apart: bool
    inflation: float = 1.0

    @cached_property
    def logs(self) -> tuple[Tensor, Tensor | None]:
        """log r₂/r₁ in ascending order, and the pile of each."""
        return self.ascending((self.radii[:, 1] / self.radii[:, 0]).log())

    def ascending(self, mu: Tensor) -> tuple[Tensor, Tensor | None]:
        """Ratios (m,) in ascending order, and the pile of each."""
        mu, order = mu.sort()
        return mu, None if self.piles is None else self.piles[order]

    def by(self, formula: Formula, mu: Tensor, piles: Tensor | None) -> tuple[float, Bounds]:
        """The dimension of ascending ratios, and its interval."""
        value = formula.of(mu)
        bounds = ratio_interval(value, partial(formula.without, mu), piles, self.inflation) if usable(value) else None
        return value, bounds or Bounds()

    @cached_property
    def facco(self) -> tuple[float, Bounds]:
        """What three methods have in common where no ratio is infinite."""
        return self.by(FORMULAS["facco"], *self.logs)


def _estimate(ratios: Ratios, method: str, blank: Estimate) -> Estimate:
    k = ratios.radii.shape[1]
    if not len(ratios.radii):
        return replace(blank, reason=f"no row has {k} neighbours in other examples")
    r1, r2 = ratios.radii[:, 0], ratios.radii[:, 1]
    zero = int((r1 == 0).sum())
    if zero and method in DIFFERENT_ROWS:
        return replace(
            blank, reason=f"{zero} rows differ from others by too little beside the largest: squares underflow"
        )
    if zero:
        blank = replace(blank, notes=(*blank.notes, Note(f"{zero} rows have an exact duplicate", Trap.DUPLICATES)))
    if method == "dadapy" and zero:
        return replace(blank, reason=f"{zero} rows have an exact duplicate: r₂/r₁ is undefined")
    if method == "gride":
        if k < 2 * SINGLE_SCALE:
            return replace(blank, reason=f"n = {blank.n}: needs more than {2 * SINGLE_SCALE} rows")
        return gride_estimate(ratios.radii, SINGLE_SCALE, blank, piles=ratios.piles, inflation=ratios.inflation)
    if method == "llm-microscope":
        if ratios.scale == 0:
            return replace(blank, reason="all rows are equal")
        value, bounds = ratios.by(FORMULAS[method], *ratios.ascending(marked_ratios(r1, r2, ratios.scale)))
    elif method == "mle" or zero:
        value, bounds = ratios.by(FORMULAS[method], *ratios.logs)
    else:
        value, bounds = ratios.facco
    if not usable(value):
        return replace(blank, reason=_why_undefined(r1, r2))
    return replace(blank, value=value, **bounds._asdict())


def _why_undefined(r1: Tensor, r2: Tensor) -> str:
    if bool((r2 == 0).all()):
        return "all rows are equal"
    if bool((r1 == r2).all()):
        return "both neighbours of every row are equally far: no scale to measure"
    return f"too few usable ratios among {len(r1)} rows"
