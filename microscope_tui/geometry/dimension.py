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

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from microscope_tui.errors import MicroscopeError
from microscope_tui.geometry.gride import SINGLE_SCALE, gride_estimate
from microscope_tui.geometry.links import link_inflation, positions_of, ratio_interval, usable
from microscope_tui.geometry.masks import duplicates, sinks
from microscope_tui.geometry.neighbours import Neighbours, nearest
from microscope_tui.geometry.rows import ArrayLike, as_rows, finite_rows, group_codes, lengths_of, nonfinite_reason
from microscope_tui.geometry.twonn import facco, llm_microscope, marked_ratios, mle, scikit_dimension
from microscope_tui.results import Estimate
from microscope_tui.terms import METHODS, Metric

FORMULAS = {"mle": mle, "facco": facco, "dadapy": facco, "scikit-dimension": scikit_dimension}
"""What is a formula of log r₂/r₁ alone."""

DIFFERENT_ROWS = ("mle", "facco", "gride")
"""The methods that first remove rows which repeat an earlier one."""


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
    `queries` bounds the rows whose neighbours are sought, spread evenly over the rows: the error is about
    d̂/√queries. Sinks are counted in the notes, and left out on request (see `masks`). Undefined values come back
    with `value` None and a reason.
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
) -> dict[str, Estimate]:
    """`dimension` by several methods from one search for neighbours; from two where there are duplicates, and some
    methods remove them and some do not."""
    for method in methods:
        if method not in METHODS[Metric.DIMENSION]:
            raise MicroscopeError(f"dimension has no method {method!r}: use {', '.join(METHODS[Metric.DIMENSION])}.")
    if queries is not None and queries < 3:
        raise MicroscopeError(f"{queries} rows to look up are too few: a dimension needs 3 or more.")
    rows = as_rows(x)
    codes = group_codes(groups, len(rows))
    if exclude_same_example and codes is None:
        raise MicroscopeError("Leaving out neighbours of the same example needs groups: the example of each row.")
    n, d = rows.shape
    finite = finite_rows(rows)
    if not bool(finite.all()):
        bad = Estimate(None, n=int(finite.sum()), d=d, reason=nonfinite_reason(int((~finite).sum()), n))
        return dict.fromkeys(methods, bad)
    search = Search(rows, codes, queries, exclude_same_example)
    massive = sinks(rows)
    if bool(massive.any()):
        search = search.noting(f"{int(massive.sum())} sink rows of {n} (massive norm){' left out' * drop_sinks}")
        search = search.without(massive) if drop_sinks else search
    different = search
    if any(method in DIFFERENT_ROWS for method in methods):
        repeated = duplicates(search.rows)
        count = int(repeated.sum())
        if count:
            different = search.without(repeated).noting(f"{count} duplicate rows ({count / n:.1%}) removed")
    found: dict[str, Estimate] = {}
    for rows_used in dict.fromkeys((search, different)):
        own = [m for m in methods if (different if m in DIFFERENT_ROWS else search) is rows_used]
        found |= rows_used.estimates(own, n) if own else {}
    return {method: found[method] for method in methods}


@dataclass(frozen=True, eq=False)
class Search:
    """The rows (n, d) among which neighbours are sought, and how; `notes` say what is missing from those given.

    `codes` (n,): the example of each row. `apart`: neighbours are of other examples.
    """

    rows: Tensor
    codes: Tensor | None
    queries: int | None
    apart: bool
    notes: tuple[str, ...] = ()

    def noting(self, note: str) -> Search:
        return replace(self, notes=(*self.notes, note))

    def without(self, left_out: Tensor) -> Search:
        """The search without some rows, bool (n,)."""
        keep = ~left_out
        return replace(self, rows=self.rows[keep], codes=None if self.codes is None else self.codes[keep.cpu()])

    def estimates(self, methods: Sequence[str], given: int) -> dict[str, Estimate]:
        """The dimension by each method; `given` is the number of rows before any were left out."""
        n, d = self.rows.shape
        blank = Estimate(None, n=n, d=d, notes=self.notes)
        reason = self._too_few(given)
        if reason is not None:
            return dict.fromkeys(methods, replace(blank, reason=reason))
        asked = torch.arange(n, device=self.rows.device)
        if self.queries is not None and self.queries < n:
            asked = asked[: self.queries] * n // self.queries
            blank = replace(blank, notes=(*blank.notes, f"{self.queries} rows looked up among {n}"))
        if self.apart:
            blank = replace(blank, notes=(*blank.notes, "neighbours from other examples only"))
        wide = min(2 * SINGLE_SCALE, n - 1)
        found = nearest(
            self.rows,
            wide if "gride" in methods else 2,
            queries=asked if len(asked) < n else None,
            apart=self.codes if self.apart else None,
        )
        scale = self._mean_length() if "llm-microscope" in methods else 1.0
        two = self._ratios(found, asked, 2, scale)
        return {
            m: _estimate(self._ratios(found, asked, wide, scale) if m == "gride" else two, m, blank) for m in methods
        }

    def _too_few(self, given: int) -> str | None:
        """Why these rows have no two neighbours."""
        n = len(self.rows)
        if n == 0:
            return "there are no rows"
        if n < 3:
            only = f"only {n} different rows: two neighbours need 3"
            return only if n < given else f"n = {n}: two neighbours need 3 rows"
        if self.apart and self.codes is not None and bool((self.codes == self.codes[0]).all()):
            return "all rows are of one example: none has a neighbour in another"
        return None

    def _ratios(self, found: Neighbours, asked: Tensor, k: int, scale: float) -> Ratios:
        """What is made of the k nearest neighbours of those rows `asked` that have as many."""
        enough = found.distance[:, :k].isfinite().all(1)
        asked, radii = asked[enough], found.distance[enough, :k]
        if self.codes is None or not len(asked):
            return Ratios(radii, None, scale)
        seen = self.codes.to(radii.device)[asked]
        links = positions_of(found.index[enough, 0], asked, len(self.rows))
        return Ratios(radii, seen, scale, link_inflation((radii[:, 1] / radii[:, 0]).log(), seen, links))

    def _mean_length(self) -> float:
        """The mean norm of the centred rows, to about 7 digits."""
        mean = self.rows.mean(0, dtype=torch.promote_types(self.rows.dtype, torch.float32))
        return float(lengths_of(self.rows - mean).mean())


@dataclass(frozen=True, eq=False)
class Ratios:
    """Distances to the k nearest neighbours (m, k) of the rows looked up, and what their interval needs.

    `codes` (m,): the example of each; `scale`: the mean norm of the centred rows; `inflation`: by how much links
    between examples lengthen the interval (see `links`).
    """

    radii: Tensor
    codes: Tensor | None
    scale: float
    inflation: float = 1.0


def _estimate(ratios: Ratios, method: str, blank: Estimate) -> Estimate:
    k = ratios.radii.shape[1]
    if not len(ratios.radii):
        return replace(blank, reason=f"no row has {k} neighbours in other examples")
    r1, r2 = ratios.radii[:, 0], ratios.radii[:, 1]
    zero = int((r1 == 0).sum())
    if zero:
        blank = replace(blank, notes=(*blank.notes, f"{zero} rows have an exact duplicate"))
    if method == "dadapy" and zero:
        return replace(blank, reason=f"{zero} rows have an exact duplicate: r₂/r₁ is undefined")
    if method == "gride":
        if k < 2 * SINGLE_SCALE:
            return replace(blank, reason=f"n = {blank.n}: needs more than {2 * SINGLE_SCALE} rows")
        return gride_estimate(ratios.radii, SINGLE_SCALE, blank, codes=ratios.codes, inflation=ratios.inflation)
    formula: Callable[[Tensor], float]
    if method == "llm-microscope":
        if ratios.scale == 0:
            return replace(blank, reason="all rows are equal")
        formula, mu = llm_microscope, marked_ratios(r1, r2, ratios.scale)
    else:
        formula, mu = FORMULAS[method], (r2 / r1).log()
    mu, order = mu.sort()
    codes = None if ratios.codes is None else ratios.codes[order]

    def without(piles: Tensor, count: int) -> list[float]:
        return [formula(mu[piles != pile]) for pile in range(count)]

    value = formula(mu)
    if not usable(value):
        return replace(blank, reason=_why_undefined(r1, r2))
    low, high = ratio_interval(value, without, codes, ratios.inflation)
    return replace(blank, value=value, low=low, high=high)


def _why_undefined(r1: Tensor, r2: Tensor) -> str:
    if bool((r2 == 0).all()):
        return "all rows are equal"
    if bool((r1 == r2).all()):
        return "both neighbours of every row are equally far: no scale to measure"
    return f"too few usable ratios among {len(r1)} rows"
