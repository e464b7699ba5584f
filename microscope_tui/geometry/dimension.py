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

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from microscope_tui.errors import MicroscopeError
from microscope_tui.geometry.gride import SINGLE_SCALE, gride_estimate
from microscope_tui.geometry.intervals import jackknife_interval
from microscope_tui.geometry.masks import duplicates, sinks
from microscope_tui.geometry.neighbours import nearest
from microscope_tui.geometry.rows import ArrayLike, as_rows, finite_rows, group_codes, nonfinite_reason
from microscope_tui.terms import METHODS, Estimate, Metric

MAX_GROUPS = 100
"""Groups left out one by one for an interval; more examples than this share piles."""


def mle(mu: Tensor) -> float:
    """(N − 1)/Σ log μ: the unbiased maximum-likelihood exponent of N ratios (DADApy's `ml`)."""
    return float((len(mu) - 1) / mu.log().sum())


def slope(mu: Tensor, cumulative: Tensor) -> float:
    """Least-squares slope through the origin of −log(1 − F) on log μ."""
    log_mu = mu.log()
    return float(-((1 - cumulative).log() * log_mu).sum() / log_mu.square().sum())


def facco(mu: Tensor) -> float:
    """Facco et al. 2017, and DADApy's `base`: F = i/N, the highest 10 % of the ratios left out."""
    kept = int(0.9 * len(mu))
    ranks = torch.arange(1, kept + 1, dtype=torch.float64, device=mu.device)
    return slope(mu.sort().values[:kept], ranks / len(mu))


def llm_microscope(r1: Tensor, r2: Tensor, scale: float) -> float:
    """LLM-Microscope 0.0.7 and the paper's code: only the lowest 20 % of the ratios.

    `scale` is the mean norm of the centred rows. Points with r₁ < 1e-8·scale or μ ≤ 1 + 1e-8 are left out,
    yet keep the lowest ranks: F of the i-th other is (i + u)/(N + u), in float32 as there.
    """
    tiny = 1e-8
    mu = torch.where(r1 / scale < tiny, -1.0, r2 / r1).sort().values
    dropped = int((mu <= 1 + tiny).sum())
    mu = mu[dropped:]
    used = min(len(mu) // 5, len(mu) - 1)
    ranks = torch.arange(1 + dropped, len(mu) + 1 + dropped, device=mu.device) / (len(mu) + dropped)
    return slope(mu[:used], ranks[:used]) if used > 0 else float("nan")


def scikit_dimension(mu: Tensor) -> float:
    """scikit-dimension 0.5.0 `TwoNN()`: as `facco`, on the finite ratios."""
    return facco(mu[mu.isfinite()])


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
    neighbour graph stays). `exclude_same_example` looks for neighbours in other examples only. `queries`
    bounds the rows whose neighbours are sought, spread evenly over the rows: the error is about d̂/√queries.
    Sinks are left out on request (see `masks`). Undefined values come back with `value` None and a reason.
    """
    if method not in METHODS[Metric.DIMENSION]:
        raise MicroscopeError(f"dimension has no method {method!r}: use {', '.join(METHODS[Metric.DIMENSION])}.")
    rows = as_rows(x)
    codes = group_codes(groups, len(rows))
    if exclude_same_example and codes is None:
        raise MicroscopeError("Leaving out neighbours of the same example needs groups: the example of each row.")
    n, d = rows.shape
    finite = finite_rows(rows)
    if not bool(finite.all()):
        return Estimate(None, n=int(finite.sum()), d=d, reason=nonfinite_reason(int((~finite).sum()), n))
    notes: list[str] = []
    massive = sinks(rows)
    if bool(massive.any()):
        notes.append(f"{int(massive.sum())} sink rows of {n} (massive norm){' left out' * drop_sinks}")
        if drop_sinks:
            rows = rows[~massive]
            codes = None if codes is None else codes[~massive.cpu()]
    removed = 0
    if method in ("mle", "facco", "gride"):
        repeated = duplicates(rows)
        if bool(repeated.any()):
            removed = int(repeated.sum())
            notes.append(f"{removed} duplicate rows ({removed / len(rows):.1%}) removed")
            rows = rows[~repeated]
            codes = None if codes is None else codes[~repeated.cpu()]
    n = len(rows)
    reason = _too_few(n, removed, codes if exclude_same_example else None)
    if reason is not None:
        return Estimate(None, n=n, d=d, reason=reason, notes=tuple(notes))
    asked = None if queries is None or queries >= n else torch.arange(queries, device=rows.device) * n // queries
    if asked is not None:
        notes.append(f"{queries} rows looked up among {n}")
    apart = codes if exclude_same_example else None
    if exclude_same_example:
        notes.append("neighbours from other examples only")
    k = min(2 * SINGLE_SCALE, n - 1) if method == "gride" else 2
    radii = nearest(rows, k, queries=asked, apart=apart).distance
    seen = codes if codes is None or asked is None else codes[asked.cpu()]
    usable = radii.isfinite().all(1)
    if not bool(usable.all()):
        notes.append(f"{int((~usable).sum())} rows have too few neighbours in other examples")
        radii = radii[usable]
        seen = None if seen is None else seen[usable.cpu()]
    return _estimate(rows, radii, seen, method, tuple(notes))


def _too_few(n: int, removed: int, apart: Tensor | None) -> str | None:
    if n == 0:
        return "there are no rows"
    if n < 3:
        return f"only {n} different rows: two neighbours need 3" if removed else f"n = {n}: two neighbours need 3 rows"
    if apart is not None and int(apart.max()) == 0:
        return "all rows are of one example: none has a neighbour in another"
    return None


def _estimate(rows: Tensor, radii: Tensor, codes: Tensor | None, method: str, notes: tuple[str, ...]) -> Estimate:
    """The estimate of one method from the distances to the k nearest neighbours (m, k)."""
    n, d = rows.shape
    blank = Estimate(None, n=n, d=d, notes=notes)
    r1, r2 = radii[:, 0], radii[:, 1]
    if method == "gride":
        if radii.shape[1] < 2 * SINGLE_SCALE:
            return Estimate(None, n=n, d=d, notes=notes, reason=f"n = {n}: needs more than {2 * SINGLE_SCALE} rows")
        inner, outer = radii[:, SINGLE_SCALE - 1], radii[:, 2 * SINGLE_SCALE - 1]
        return gride_estimate(inner, outer, SINGLE_SCALE, n=n, d=d, codes=codes, notes=notes)
    zero = int((r1 == 0).sum())
    if method == "dadapy" and zero:
        return Estimate(None, n=n, d=d, notes=notes, reason=f"{zero} rows have an exact duplicate: r₂/r₁ is undefined")
    statistic: Callable[[Tensor], float]
    if method == "llm-microscope":
        double = rows.double()
        scale = float(torch.linalg.vector_norm(double - double.mean(0), dim=1).mean())
        if scale == 0:
            return Estimate(None, n=n, d=d, notes=notes, reason="all rows are equal")
        statistic = lambda keep: llm_microscope(r1[keep], r2[keep], scale)  # noqa: E731
    else:
        formula = {"mle": mle, "facco": facco, "dadapy": facco, "scikit-dimension": scikit_dimension}[method]
        mu = r2 / r1
        statistic = lambda keep: formula(mu[keep])  # noqa: E731
    everything = torch.arange(len(r1), device=r1.device)
    value = _safely(statistic, everything)
    if value is None:
        return Estimate(None, n=n, d=d, notes=notes, reason=_why_undefined(r1, r2))
    if zero:
        notes = (*notes, f"{zero} rows have an exact duplicate")
    low, high = _interval(value, statistic, codes, r1.device)
    return Estimate(value, low, high, blank.n, d, notes=notes)


def _safely(statistic: Callable[[Tensor], float], keep: Tensor) -> float | None:
    """The statistic, None where it is not a positive finite number."""
    try:
        value = statistic(keep)
    except ZeroDivisionError:
        return None
    return value if 0 < value < float("inf") else None


def _why_undefined(r1: Tensor, r2: Tensor) -> str:
    if bool((r2 == 0).all()):
        return "all rows are equal"
    if bool((r1 == r2).all()):
        return "both neighbours of every row are equally far: no scale to measure"
    return f"too few usable ratios among {len(r1)} rows"


def _interval(
    value: float, statistic: Callable[[Tensor], float], codes: Tensor | None, device: torch.device
) -> tuple[float | None, float | None]:
    """The interval from leaving out the ratios of one pile of examples at a time, on a 1/dimension scale."""
    if codes is None:
        return None, None
    piles = torch.unique(codes, return_inverse=True)[1] % MAX_GROUPS
    without: list[float] = []
    sizes: list[int] = []
    for pile in range(int(piles.max()) + 1):
        left = (piles != pile).nonzero()[:, 0].to(device)
        rest = _safely(statistic, left)
        if rest is None:
            return None, None
        without.append(rest)
        sizes.append(len(piles) - len(left))
    return reciprocal_interval(value, without, sizes)


def reciprocal_interval(
    value: float, without: Sequence[float], sizes: Sequence[int]
) -> tuple[float | None, float | None]:
    """Jackknife on 1/d, which is a mean of log ratios; an upper end that would be infinite is None."""
    low, high = jackknife_interval(value, without, sizes, forward=lambda v: 1 / v, back=lambda v: 1 / v)
    if low is None or high is None or low < 0:
        return None, None
    return low, high
