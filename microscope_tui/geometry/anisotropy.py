"""Anisotropy: how unevenly the centred rows spread over directions. All from moments.

With λ the eigenvalues of the centred covariance C (d, d):

* `top-eigenvalue`  λ₁/Σλ, from 1/d to 1 (Razzhigaev et al., arXiv 2311.05928)
* `mean-cosine`  mean cosine of two different rows, uncentred: (‖Σ x̂‖² − N)/(N(N − 1)) (Ethayarajh 2019)
* `participation-ratio`  (Σλ)²/Σλ² = (tr C)²/‖C‖_F², from 1 to d: how many directions take part
* `effective-rank`  exp of the entropy of λ/Σλ, from 1 to d (Roy & Vetterli 2007)
* `isoscore`  (Rudman et al. 2022), from 0 (one direction) to 1 (all alike). On covariance eigenvalues its chain
  of normalisations reduces to (PR − 1)/(d − 1), PR the participation ratio.

High anisotropy is a large `top-eigenvalue` or `mean-cosine`, and a small value of the other three.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from microscope_tui.errors import MicroscopeError
from microscope_tui.geometry.intervals import from_logit, jackknife_interval, logit
from microscope_tui.geometry.kernel import compact, smaller_gram, top_eigenvalue_of_rows
from microscope_tui.geometry.masks import screen
from microscope_tui.geometry.moments import Spread
from microscope_tui.geometry.rows import ArrayLike, as_rows, finite_rows, fold_members, group_codes, nonfinite_reason
from microscope_tui.geometry.solve import varying
from microscope_tui.geometry.spectrum import top_eigenvalue
from microscope_tui.terms import Estimate


def top_share(scatter: Tensor) -> float:
    """λ₁/Σλ of a scatter or covariance matrix (d, d)."""
    return min(top_eigenvalue(scatter) / float(scatter.trace()), 1.0)


def participation_ratio(scatter: Tensor) -> float:
    """(Σλ)²/Σλ² of a scatter or covariance matrix (d, d): 1 to d."""
    return float(scatter.trace().square() / scatter.square().sum())


def isoscore(scatter: Tensor, d: int | None = None) -> float:
    """IsoScore of a covariance: (participation ratio − 1)/(d − 1); 1 when d = 1. `d`: its size, if it is not (d, d)."""
    d = d or len(scatter)
    return (participation_ratio(scatter) - 1) / (d - 1) if d > 1 else 1.0


def effective_rank(scatter: Tensor) -> float:
    """exp(−Σ p log p) with p = λ/Σλ: 1 to d. Needs all eigenvalues."""
    values = torch.linalg.eigvalsh(scatter).clamp(min=0)
    return float(torch.special.entr(values / values.sum()).sum().exp())


def mean_cosine(unit_sum: Tensor, n: int) -> float:
    """Mean cosine of two different rows, from the sum of the `n` rows scaled to length 1: −1/(n − 1) to 1."""
    return float((unit_sum.square().sum() - n) / (n * (n - 1)))


def _log_between(d: int) -> tuple[Callable[[float], float], Callable[[float], float]]:
    """A scale for numbers from 1 to d: the logit of (v − 1)/(d − 1)."""
    return lambda v: logit((v - 1) / (d - 1)), lambda v: 1 + (d - 1) * from_logit(v)


_OF_SPECTRUM: dict[str, Callable[[Tensor, int], float]] = {
    "top-eigenvalue": lambda scatter, _: top_share(scatter),
    "llm-microscope": lambda scatter, _: top_share(scatter),
    "participation-ratio": lambda scatter, _: participation_ratio(scatter),
    "effective-rank": lambda scatter, _: effective_rank(scatter),
    "isoscore": isoscore,
}
"""What a matrix (m, m) with the eigenvalues of the scatter, zeros apart, and d give."""


def anisotropy_of(
    n: int,
    scatter: Tensor,
    *,
    method: str = "top-eigenvalue",
    folds: Sequence[Spread] | None = None,
    mean: Tensor | None = None,
    unit_sum: Tensor | None = None,
    units: int | None = None,
    nonfinite: int = 0,
    left_out: int = 0,
    width: int | None = None,
) -> Estimate:
    """Anisotropy of `n` rows from their centred scatter (d, d).

    `folds`: moments of disjoint groups of examples that add up to all rows: they give the interval. `mean` (d,)
    lets rounding be told from spread where all rows are equal. `width`: d, if the rows were turned into fewer
    coordinates (see `kernel.compact`). `mean-cosine` needs `unit_sum` and `units` (see `Spread`);
    `spread_anisotropy` passes them all.
    """
    _check(method)
    d = width or len(scatter)
    reason = _undefined(n, scatter.diagonal(), mean, method, nonfinite, left_out)
    if reason is not None:
        return Estimate(None, n=n, d=d, reason=reason)
    notes = [f"{left_out} rows left out: not finite at another layer"] if left_out else []
    if method == "mean-cosine":
        if unit_sum is None or units is None:
            return Estimate(None, n=n, d=d, reason="the mean cosine of these rows was not accumulated")
        if units < 2:
            return Estimate(None, n=n, d=d, reason="fewer than 2 rows are not zero: no cosine")
        if units < n:
            notes.append(f"{n - units} zero rows have no direction and are left out")
        value = mean_cosine(unit_sum, units)
    else:
        value = _OF_SPECTRUM[method](scatter, d)
        notes += _too_few(n, d)
    low, high = _interval(value, d, method, folds)
    return Estimate(value, low, high, n, d, notes=tuple(notes))


def spread_anisotropy(
    spread: Spread, *, method: str = "top-eigenvalue", folds: Sequence[Spread] | None = None, width: int | None = None
) -> Estimate:
    """Anisotropy of one layer's moments; see `anisotropy_of`."""
    return anisotropy_of(
        spread.n,
        spread.scatter,
        method=method,
        folds=folds,
        mean=spread.mean,
        unit_sum=spread.unit_sum,
        units=spread.units,
        nonfinite=spread.nonfinite,
        left_out=spread.left_out,
        width=width,
    )


def anisotropy(
    x: ArrayLike,
    *,
    method: str = "top-eigenvalue",
    groups: ArrayLike | None = None,
    drop_sinks: bool = False,
    drop_duplicates: bool = False,
) -> Estimate:
    """Anisotropy of rows x (n, d), any float type; `groups` (n,), the example of each row, give the interval.

    Methods: see the module. Sinks and duplicates are counted in the notes, and left out on request (see
    `masks`). Undefined values come back with `value` None and a reason.
    """
    rows = as_rows(x)
    codes = group_codes(groups, len(rows))
    _check(method)
    keep, found = screen(rows, drop_sinks=drop_sinks, drop_duplicates=drop_duplicates)
    if keep is not None:
        rows = rows[keep]
        codes = None if codes is None else codes[keep.cpu()]
    estimate = _of_rows(rows, method, codes)
    return replace(estimate, notes=(*estimate.notes, *found))


def _of_rows(rows: Tensor, method: str, codes: Tensor | None) -> Estimate:
    n, d = rows.shape
    plain = method in _OF_SPECTRUM and bool(finite_rows(rows).all())
    if plain and codes is None:
        return _of_spectrum(rows, method)
    if plain and 2 < 2 * n <= d:
        turned = compact(rows)
        if turned.shape[1]:
            estimate = _of_folds(turned, method, codes, d)
            return replace(estimate, d=d)
    return _of_folds(rows, method, codes, d)


def _of_spectrum(rows: Tensor, method: str) -> Estimate:
    """Without an interval there is no need for the scatter: any matrix with its eigenvalues will do, or none."""
    n, d = rows.shape
    mean = rows.mean(0, dtype=torch.float64)
    centred = rows - mean
    squares = torch.linalg.vector_norm(centred, dim=0).square()
    reason = _undefined(n, squares, mean, method, 0, 0)
    if reason is not None:
        return Estimate(None, n=n, d=d, reason=reason)
    if method in ("top-eigenvalue", "llm-microscope"):
        value = min(top_eigenvalue_of_rows(centred) / float(squares.sum()), 1.0)
    else:
        value = _OF_SPECTRUM[method](smaller_gram(centred), d)
    return Estimate(value, n=n, d=d, notes=_too_few(n, d))


def _of_folds(rows: Tensor, method: str, codes: Tensor | None, d: int) -> Estimate:
    if codes is None:
        return spread_anisotropy(Spread.of(rows), method=method)
    folds = [Spread.of(rows[where]) for where in fold_members(codes.to(rows.device))]
    return spread_anisotropy(sum(folds, start=Spread.of(rows[:0])), method=method, folds=folds, width=d)


def _too_few(n: int, d: int) -> tuple[str, ...]:
    return (f"n = {n} ≤ d = {d}: few rows make anisotropy look larger than it is",) if n <= d else ()


def _check(method: str) -> None:
    known = ("mean-cosine", *_OF_SPECTRUM)
    if method not in known:
        raise MicroscopeError(f"anisotropy has no method {method!r}: use {', '.join(known)}.")


def _undefined(n: int, squares: Tensor, mean: Tensor | None, method: str, nonfinite: int, left_out: int) -> str | None:
    if nonfinite:
        return nonfinite_reason(nonfinite, n + left_out)
    if n == 0:
        return "there are no rows"
    if n == 1:
        return "n = 1: one row has no spread"
    if method == "mean-cosine":
        return None
    if n == 2 and method != "llm-microscope":
        return "n = 2: two rows always lie on one line"
    if not bool(varying(n, torch.zeros_like(squares) if mean is None else mean, squares).any()):
        return "all rows are equal"
    return None


def _interval(value: float, d: int, method: str, folds: Sequence[Spread] | None) -> tuple[float | None, float | None]:
    used = [f for f in folds or () if f.n]
    if len(used) < 2:
        return None, None
    total = used[0]
    for fold in used[1:]:
        total = total + fold
    without = []
    for fold in used:
        rest = total - fold
        if _undefined(rest.n, rest.scatter.diagonal(), rest.mean, method, 0, 0):
            return None, None
        if method == "mean-cosine":
            if rest.units is None or rest.units < 2:
                return None, None
            without.append(mean_cosine(rest.unit_sum, rest.units))
        else:
            without.append(_OF_SPECTRUM[method](rest.scatter, d))
    sizes = [f.n for f in used]
    if method == "mean-cosine":
        return jackknife_interval(value, without, sizes, forward=math.atanh, back=math.tanh)
    if method in ("participation-ratio", "effective-rank"):
        forward, back = _log_between(d)
        return jackknife_interval(value, without, sizes, forward=forward, back=back)
    return jackknife_interval(value, without, sizes, forward=logit, back=from_logit)
