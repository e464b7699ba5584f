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
scale: compare at matched N.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from microscope_tui.errors import MicroscopeError
from microscope_tui.geometry.gride import SINGLE_SCALE, gride_estimate
from microscope_tui.geometry.links import link_inflation, positions_of, ratio_interval, usable
from microscope_tui.geometry.masks import duplicates, sinks
from microscope_tui.geometry.neighbours import nearest
from microscope_tui.geometry.rows import ArrayLike, as_rows, finite_rows, group_codes, nonfinite_reason
from microscope_tui.geometry.twonn import facco, llm_microscope, mle, scikit_dimension
from microscope_tui.terms import METHODS, Estimate, Metric

FORMULAS = {"mle": mle, "facco": facco, "dadapy": facco, "scikit-dimension": scikit_dimension}
"""What is a formula of the ratios r₂/r₁ alone."""


@dataclass(frozen=True)
class Ratios:
    """Distances to the k nearest neighbours (m, k) of the rows looked up, and what their interval needs.

    `codes` (m,): the example of each; `links` (m,): its nearest row among them, −1 for none. `n` rows of width `d`
    were searched; `scale` is the mean norm of the centred rows.
    """

    radii: Tensor
    codes: Tensor | None
    links: Tensor
    n: int
    d: int
    scale: float


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
        return Estimate(None, n=int(finite.sum()), d=d, reason=nonfinite_reason(int((~finite).sum()), n))
    keep, notes = _kept(rows, drop_sinks=drop_sinks, drop_duplicates=method in ("mle", "facco", "gride"))
    if keep is not None:
        rows = rows[keep]
        codes = None if codes is None else codes[keep.cpu()]
    blank = Estimate(None, n=len(rows), d=d, notes=notes)
    reason = _too_few(len(rows), n, codes if exclude_same_example else None)
    if reason is not None:
        return replace(blank, reason=reason)
    if queries is not None and queries < len(rows):
        blank = replace(blank, notes=(*blank.notes, f"{queries} rows looked up among {len(rows)}"))
    if exclude_same_example:
        blank = replace(blank, notes=(*blank.notes, "neighbours from other examples only"))
    k = min(2 * SINGLE_SCALE, len(rows) - 1) if method == "gride" else 2
    ratios = _look_up(rows, k, codes, queries, apart=exclude_same_example)
    if not len(ratios.radii):
        return replace(blank, reason=f"no row has {k} neighbours in other examples")
    return _estimate(ratios, method, blank)


def _kept(rows: Tensor, *, drop_sinks: bool, drop_duplicates: bool) -> tuple[Tensor | None, tuple[str, ...]]:
    """Which rows to use, bool (n,), None for all of them, and what was seen."""
    n = len(rows)
    notes = []
    keep = torch.ones(n, dtype=torch.bool, device=rows.device)
    massive = sinks(rows)
    if bool(massive.any()):
        notes.append(f"{int(massive.sum())} sink rows of {n} (massive norm){' left out' * drop_sinks}")
        keep &= ~massive | (not drop_sinks)
    if drop_duplicates:
        repeated = duplicates(rows)
        if bool(repeated.any()):
            notes.append(f"{int(repeated.sum())} duplicate rows ({int(repeated.sum()) / n:.1%}) removed")
            keep &= ~repeated
    return (None if bool(keep.all()) else keep), tuple(notes)


def _too_few(n: int, before: int, apart: Tensor | None) -> str | None:
    """Why `n` rows, of `before` that were given, have no two neighbours."""
    if n == 0:
        return "there are no rows"
    if n < 3:
        return (
            f"only {n} different rows: two neighbours need 3" if n < before else f"n = {n}: two neighbours need 3 rows"
        )
    if apart is not None and bool((apart == apart[0]).all()):
        return "all rows are of one example: none has a neighbour in another"
    return None


def _look_up(rows: Tensor, k: int, codes: Tensor | None, queries: int | None, *, apart: bool) -> Ratios:
    n, d = rows.shape
    everyone = torch.arange(n, device=rows.device)
    some = queries is not None and queries < n
    asked = everyone[:queries] * n // queries if some and queries is not None else everyone
    found = nearest(rows, k, queries=asked if some else None, apart=codes if apart else None)
    enough = found.distance.isfinite().all(1)
    asked = asked[enough]
    links = positions_of(found.index[enough, 0], asked, n)
    seen = None if codes is None else codes.to(rows.device)[asked]
    centred = rows.double() - rows.mean(0, dtype=torch.float64)
    scale = float(torch.linalg.vector_norm(centred, dim=1).mean())
    return Ratios(found.distance[enough], seen, links, n, d, scale)


def _estimate(ratios: Ratios, method: str, blank: Estimate) -> Estimate:
    r1, r2 = ratios.radii[:, 0], ratios.radii[:, 1]
    zero = int((r1 == 0).sum())
    if zero:
        blank = replace(blank, notes=(*blank.notes, f"{zero} rows have an exact duplicate"))
    if method == "dadapy" and zero:
        return replace(blank, reason=f"{zero} rows have an exact duplicate: r₂/r₁ is undefined")
    mu = r2 / r1
    inflation = 1.0 if ratios.codes is None else link_inflation(mu.log(), ratios.codes, ratios.links)
    if method == "gride":
        if ratios.radii.shape[1] < 2 * SINGLE_SCALE:
            return replace(blank, reason=f"n = {ratios.n}: needs more than {2 * SINGLE_SCALE} rows")
        return gride_estimate(ratios.radii, SINGLE_SCALE, blank, codes=ratios.codes, inflation=inflation)
    statistic: Callable[[Tensor], float]
    if method == "llm-microscope":
        if ratios.scale == 0:
            return replace(blank, reason="all rows are equal")
        statistic = lambda keep: llm_microscope(r1[keep], r2[keep], ratios.scale)  # noqa: E731
    else:
        statistic = lambda keep: FORMULAS[method](mu[keep])  # noqa: E731
    value = usable(statistic, torch.ones_like(r1, dtype=torch.bool))
    if value is None:
        return replace(blank, reason=_why_undefined(r1, r2))
    low, high = ratio_interval(value, statistic, ratios.codes, inflation)
    return replace(blank, value=value, low=low, high=high)


def _why_undefined(r1: Tensor, r2: Tensor) -> str:
    if bool((r2 == 0).all()):
        return "all rows are equal"
    if bool((r1 == r2).all()):
        return "both neighbours of every row are equally far: no scale to measure"
    return f"too few usable ratios among {len(r1)} rows"
