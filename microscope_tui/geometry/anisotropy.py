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

import functools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from microscope_tui.errors import MicroscopeError
from microscope_tui.geometry.intervals import from_logit, influences, jackknife_interval, logit, shares
from microscope_tui.geometry.kernel import (
    centred_rows,
    compact,
    smaller_gram,
    top_eigenvalue_of_rows,
)
from microscope_tui.geometry.masks import screen
from microscope_tui.geometry.moments import Spread
from microscope_tui.geometry.paired import without_each
from microscope_tui.geometry.products import cancels, column_squares, combination
from microscope_tui.geometry.rows import (
    FOLDS,
    ArrayLike,
    as_rows,
    finite_rows,
    fold_members,
    group_codes,
    in_reach,
    nonfinite_reason,
)
from microscope_tui.geometry.solve import overflow, varying
from microscope_tui.geometry.spectrum import SMALL, top_eigenvalue
from microscope_tui.methods import METHODS
from microscope_tui.results import Estimate
from microscope_tui.terms import Metric

HELD = 1_000_000
"""Numbers of the scatters without one fold that are held at once, where one has fewer."""


class Spectra:
    """Scatters or covariances (b, m, m) of rows of width `d`, and what the formulas need of their eigenvalues, made
    when it is first asked for. Eigenvalues of 0 may be missing from the scatters: then m is less than d.

    `every`: all the eigenvalues will be needed, so that the largest need not be sought by itself.
    """

    def __init__(self, scatters: Tensor, d: int, *, every: bool = False) -> None:
        self.scatters, self.d = scatters, d
        self.every = every or scatters.shape[-1] <= SMALL

    @functools.cached_property
    def total(self) -> Tensor:
        """Σλ (b,)."""
        return self.scatters.diagonal(dim1=-2, dim2=-1).sum(-1)

    @functools.cached_property
    def squares(self) -> Tensor:
        """Σλ² (b,)."""
        squares: Tensor = torch.linalg.vector_norm(self.scatters, dim=(-2, -1)).square()
        return squares

    @functools.cached_property
    def eigenvalues(self) -> Tensor:
        """λ (b, m), ascending."""
        values: Tensor = torch.linalg.eigvalsh(self.scatters).clamp(min=0)
        return values

    @functools.cached_property
    def top(self) -> Tensor:
        """λ₁ (b,)."""
        if self.every:
            return self.eigenvalues[:, -1]
        tops = [top_eigenvalue(one) for one in self.scatters]
        return torch.tensor(tops, dtype=torch.float64, device=self.scatters.device)


def top_share(of: Spectra) -> Tensor:
    """λ₁/Σλ."""
    return (of.top / of.total).clamp(max=1)


def participation_ratio(of: Spectra) -> Tensor:
    """(Σλ)²/Σλ²: 1 to d."""
    return of.total.square() / of.squares


def effective_rank(of: Spectra) -> Tensor:
    """exp(−Σ p log p) with p = λ/Σλ: 1 to d. Needs all eigenvalues."""
    entropy: Tensor = torch.special.entr(of.eigenvalues / of.eigenvalues.sum(-1, keepdim=True)).sum(-1)
    return entropy.exp()


def isoscore(of: Spectra) -> Tensor:
    """(participation ratio − 1)/(d − 1); 1 when d = 1."""
    ratio = participation_ratio(of)
    return (ratio - 1) / (of.d - 1) if of.d > 1 else torch.ones_like(ratio)


FORMULAS: dict[str, Callable[[Spectra], Tensor]] = {
    "top-eigenvalue": top_share,
    "llm-microscope": top_share,
    "participation-ratio": participation_ratio,
    "effective-rank": effective_rank,
    "isoscore": isoscore,
}
"""What is a formula of the eigenvalues alone."""


def mean_cosine(unit_sum: Tensor, n: int) -> float:
    """Mean cosine of two different rows, from the sum of the `n` rows scaled to length 1: −1/(n − 1) to 1."""
    return float((unit_sum.square().sum() - n) / (n * (n - 1)))


def spread_anisotropy(
    spread: Spread, *, method: str = "top-eigenvalue", folds: Sequence[Spread] | None = None, width: int | None = None
) -> Estimate:
    """Anisotropy of one layer from its moments.

    `folds`: moments of disjoint groups of examples that add up to `spread`: they give the interval. `width`: d, if
    the rows were turned into fewer coordinates (see `kernel.compact`).
    """
    return spread_anisotropies(spread, (method,), folds=folds, width=width)[method]


def spread_anisotropies(
    spread: Spread, methods: Sequence[str], *, folds: Sequence[Spread] | None = None, width: int | None = None
) -> dict[str, Estimate]:
    """`spread_anisotropy` by several methods: the moments without each fold, and their eigenvalues, are made once."""
    for method in methods:
        _check(method)
    d = width or len(spread.mean)
    reasons = {method: _undefined(spread, method) for method in methods}
    spectral = [method for method in methods if method in FORMULAS and reasons[method] is None]
    values = _of_scatters(spread.scatter[None], d, spectral)
    used = [fold for fold in folds or () if fold.n]
    without = _without_each(spread, used, d, spectral) if len(used) > 1 and spectral else {}
    left_out = (f"{spread.left_out} rows left out: not finite at another layer",) if spread.left_out else ()
    found = {}
    for method, reason in reasons.items():
        if reason is not None:
            found[method] = Estimate(None, n=spread.n, d=d, reason=reason)
        elif method == "mean-cosine":
            found[method] = _mean_cosine(spread, used, d, left_out)
        else:
            value = values[method][0]
            estimate = Estimate(value, n=spread.n, d=d, notes=(*left_out, *_too_few(spread.n, d)))
            found[method] = _with_interval(estimate, without.get(method), used, method)
    return found


def anisotropy(
    x: ArrayLike,
    *,
    method: str = "top-eigenvalue",
    groups: ArrayLike | None = None,
    folds: int = FOLDS,
    drop_sinks: bool = False,
    drop_duplicates: bool = False,
) -> Estimate:
    """Anisotropy of rows x (n, d), any float type; `groups` (n,), the example of each row, give the interval: they are
    dealt in turn to at most so many `folds`, of which one at a time is left out.

    Methods: see the module. Sinks and duplicates are counted in the notes, and left out on request (see
    `masks`). Undefined values come back with `value` None and a reason.
    """
    (rows,), _ = in_reach(as_rows(x))
    codes = group_codes(groups, len(rows))
    _check(method)
    if folds < 1:
        raise MicroscopeError(f"{folds} folds hold no rows: deal the groups to 3 or more for an interval.")
    keep, found = screen(rows, drop_sinks=drop_sinks, drop_duplicates=drop_duplicates)
    if keep is not None:
        rows = rows[keep]
        codes = None if codes is None else codes[keep.cpu()]
    estimate = _of_rows(rows, method, codes, folds)
    return replace(estimate, notes=(*estimate.notes, *found))


def _of_rows(rows: Tensor, method: str, codes: Tensor | None, folds: int) -> Estimate:
    n, d = rows.shape
    plain = method in FORMULAS and bool(finite_rows(rows).all())
    if plain and codes is None:
        return _of_spectrum(rows, method)
    if plain and 2 < 2 * n <= d:
        turned = compact(rows)
        if turned.shape[1]:
            estimate = _of_folds(turned, method, codes, folds, d)
            return replace(estimate, d=d)
    return _of_folds(rows, method, codes, folds, d)


def _of_spectrum(rows: Tensor, method: str) -> Estimate:
    """Without an interval there is no need for the scatter: any matrix with its eigenvalues will do, or none."""
    n, d = rows.shape
    centred, mean = centred_rows(rows)
    squares = column_squares(centred)
    reason = _too_alike(n, mean, squares, method)
    if reason is not None:
        return Estimate(None, n=n, d=d, reason=reason)
    if method in ("top-eigenvalue", "llm-microscope"):
        value = min(top_eigenvalue_of_rows(centred) / float(squares.sum()), 1.0)
    else:
        value = _of_scatters(smaller_gram(centred)[None], d, (method,))[method][0]
    return Estimate(value, n=n, d=d, notes=_too_few(n, d))


def _of_folds(rows: Tensor, method: str, codes: Tensor | None, count: int, d: int) -> Estimate:
    if codes is None:
        return spread_anisotropy(Spread.of(rows), method=method)
    folds = [Spread.of(rows[where]) for where in fold_members(codes.to(rows.device), count)]
    return spread_anisotropy(sum(folds, start=Spread.of(rows[:0])), method=method, folds=folds, width=d)


def _of_scatters(scatters: Tensor, d: int, methods: Sequence[str]) -> dict[str, list[float]]:
    """Each method's value for each of the scatters (b, m, m)."""
    spectra = Spectra(scatters, d, every="effective-rank" in methods)
    return {method: FORMULAS[method](spectra).tolist() for method in methods}


def _without_each(spread: Spread, folds: Sequence[Spread], d: int, methods: Sequence[str]) -> dict[str, list[float]]:
    """Each method's values without one fold at a time; nothing where one of them is undefined."""
    found: dict[str, list[float]] = {method: [] for method in methods}
    for scatters, sound in _scatters_without_each(spread, folds):
        if not sound:
            return {}
        for method, values in _of_scatters(scatters, d, methods).items():
            found[method] += values
    return found


def _scatters_without_each(spread: Spread, folds: Sequence[Spread]) -> Iterator[tuple[Tensor, bool]]:
    """The scatters (b, m, m) without one fold at a time, and whether there is spread left in all of them."""
    size = max(1, HELD // spread.scatter.numel())
    lost = [k for k, fold in enumerate(folds) if _loses(spread, fold)]
    others = without_each(folds, lost)
    for start in range(0, len(folds), size):
        part = folds[start : start + size]
        rest = [spread.n - fold.n for fold in part]
        if min(rest) < 3:
            yield spread.scatter[None], False
            return
        # S − S_f − (n n_f/(n − n_f)) δδᵀ, δ = m_f − m: see `moments`.
        delta = torch.stack([fold.mean for fold in part]) - spread.mean
        count = torch.tensor(rest, dtype=torch.float64, device=delta.device)[:, None]
        taken = spread.n - count
        scatters = torch.stack([fold.scatter for fold in part])
        torch.sub(spread.scatter, scatters, out=scatters)
        scatters.baddbmm_((-spread.n * taken / count * delta)[:, :, None], delta[:, None, :])
        means = spread.mean - taken / count * delta
        for i, k in enumerate(range(start, start + len(part))):
            if k in lost:  # one fold holds nearly all there is: the others are added up instead
                other = next(others)
                scatters[i], means[i] = other.scatter, other.mean
        yield scatters, bool(varying(count, means, scatters.diagonal(dim1=-2, dim2=-1)).any(1).all())


def _loses(spread: Spread, fold: Spread) -> bool:
    """Whether too few digits are left when `fold` is subtracted: told from the diagonals."""
    weight = combination(spread.n, fold.n, -1)[2]
    whole, delta = spread.scatter.diagonal(), fold.mean - spread.mean
    return cancels(whole, whole - fold.scatter.diagonal() + weight * delta.square())


def _mean_cosine(spread: Spread, folds: Sequence[Spread], d: int, notes: tuple[str, ...]) -> Estimate:
    n = spread.n
    if spread.units is None:
        return Estimate(None, n=n, d=d, reason="the mean cosine of these rows was not accumulated")
    if spread.units < 2:
        return Estimate(None, n=n, d=d, reason="fewer than 2 rows are not zero: no cosine")
    if spread.units < n:
        notes = (*notes, f"{n - spread.units} zero rows have no direction and are left out")
    value = mean_cosine(spread.unit_sum, spread.units)
    without: list[float] = []
    for fold in folds if len(folds) > 1 else ():
        units = spread.units - (fold.units or 0)
        if units < 2:
            without = []
            break
        without.append(mean_cosine(spread.unit_sum - fold.unit_sum, units))
    return _with_interval(Estimate(value, n=n, d=d, notes=notes), without, folds, "mean-cosine")


def _too_few(n: int, d: int) -> tuple[str, ...]:
    return (f"n = {n} ≤ d = {d}: few rows make anisotropy look larger than it is",) if n <= d else ()


def _check(method: str) -> None:
    if method not in METHODS[Metric.ANISOTROPY]:
        raise MicroscopeError(f"anisotropy has no method {method!r}: use {', '.join(METHODS[Metric.ANISOTROPY])}.")


def _undefined(spread: Spread, method: str) -> str | None:
    if spread.nonfinite:
        return nonfinite_reason(spread.nonfinite, spread.n + spread.left_out)
    return _too_alike(spread.n, spread.mean, spread.scatter.diagonal(), method)


def _too_alike(n: int, mean: Tensor, squares: Tensor, method: str) -> str | None:
    """Why `n` rows with that mean (d,) and those sums of squares of each centred column have no anisotropy."""
    if n == 0:
        return "there are no rows"
    if n == 1:
        return "n = 1: one row has no spread"
    if method == "mean-cosine":
        return None
    if n == 2 and method != "llm-microscope":
        return "n = 2: two rows always lie on one line"
    # Of eigenvalues the squares are needed too.
    return overflow(squares.sum().square()) or (None if bool(varying(n, mean, squares).any()) else "all rows are equal")


def _with_interval(
    estimate: Estimate, without: Sequence[float] | None, folds: Sequence[Spread], method: str
) -> Estimate:
    """The estimate with its interval, from its values without each fold, if there are any."""
    value = estimate.value
    if not without or value is None:
        return estimate
    forward, back = _scale(method, estimate.d)
    sizes = [fold.n for fold in folds]
    low, high = jackknife_interval(value, without, sizes, forward=forward, back=back)
    moved = influences(value, without, sizes)
    return replace(estimate, low=low, high=high, influence=moved, shares=shares(sizes) if moved else ())


def _scale(method: str, d: int) -> tuple[Callable[[float], float], Callable[[float], float]]:
    """The scale on which the interval is made, and back: it keeps the interval inside the quantity's range."""
    if method == "mean-cosine":
        return math.atanh, math.tanh
    if method in ("participation-ratio", "effective-rank"):
        return lambda v: logit((v - 1) / (d - 1)), lambda v: 1 + (d - 1) * from_logit(v)
    return logit, from_logit
