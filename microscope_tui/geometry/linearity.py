"""Linearity of a block: how much of its output rows the best linear map of its input rows explains.

With x (n, d) and y (n, e) column-centred, R² = 1 − min_A ‖xA − y‖²/‖y‖² = tr(C_yx C_xx⁺ C_xy)/tr C_yy
(Razzhigaev et al., arXiv 2405.12250, section 3, there called the Procrustes similarity although A is
unconstrained). Bounds: 0 to 1 in-sample; held-out it can be negative. All of it comes from moments.

A residual stream carries its input forward, so R² near 1 says little by itself: R² = 1 − ρ(1 − R²_Δ), with
ρ = tr Cov(y − x)/tr Cov(y). ρ and R²_Δ (method `update`) belong beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from microscope_tui.errors import MicroscopeError
from microscope_tui.geometry import reference
from microscope_tui.geometry.fewrows import heldout_of_few
from microscope_tui.geometry.heldout import HeldOut, Rest, Tried, heldout_of, under_all
from microscope_tui.geometry.intervals import (
    MIN_GROUPS,
    from_log_unexplained,
    influences,
    jackknife_interval,
    log_unexplained,
    shares,
)
from microscope_tui.geometry.masks import screen
from microscope_tui.geometry.moments import Moments
from microscope_tui.geometry.paired import rounding
from microscope_tui.geometry.products import CHUNK, STRIP, column_squares
from microscope_tui.geometry.rows import (
    ArrayLike,
    as_pair,
    chunks,
    consecutive_blocks,
    finite_rows,
    fold_members,
    group_codes,
    in_reach,
    nonfinite_reason,
)
from microscope_tui.geometry.solve import NO_CHANGE, Factor, overflow, varying
from microscope_tui.methods import METHODS
from microscope_tui.results import Estimate, Note, Trap
from microscope_tui.terms import Metric

SMALL_UPDATE = 0.1
"""Below this ρ the score of a block says little: lin(X→Y) = 1 − ρ (1 − lin(X→Y−X))."""


@dataclass(frozen=True)
class Fit:
    """The least-squares fit of one target on x: R² `score`, `rank` and `condition` number of x."""

    score: float
    rank: int
    condition: float


def adjusted(score: float, n: int, rank: int) -> float:
    """R² less what n rows and r directions alone explain: 1 − (1 − R²)(n − 1)/(n − r − 1), r the rank of x.

    Near 0 for independent x and y, whatever n/d; may be a little below.
    """
    return 1 - (1 - score) * (n - 1) / (n - rank - 1)


def update_share(moments: Moments) -> float:
    """ρ = tr Cov(y − x)/tr Cov(y): how large the update is beside the stream it is added to."""
    x, cross, y = (float(c.sum()) for c in (moments.xx.diagonal(), moments.xy.diagonal(), moments.squares))
    return y / (x + 2 * cross + y) if moments.is_update else max(x - 2 * cross + y, 0.0) / y


def undefined(moments: Moments) -> str | None:
    """Why no linearity can be made of these rows, whatever the method; None if it can."""
    return _undefined(moments, update=False)


def _undefined(moments: Moments, *, update: bool) -> str | None:
    """The same, `update`: of the update y − x."""
    x, y, noise = (moments.mean_x, moments.xx.diagonal()), (moments.mean_y, moments.squares), moments.noise
    if update:
        y, noise = moments.change(), NO_CHANGE * float(x[1].sum())
    if moments.nonfinite:
        return nonfinite_reason(moments.nonfinite, moments.n + moments.left_out)
    if reason := overflow(moments.xx, moments.xy):
        return reason
    return _why_undefined(moments.n, x, y, noise if update or moments.is_update else None)


def _why_undefined(
    n: int, x: tuple[Tensor, Tensor], y: tuple[Tensor, Tensor], noise: float | None = None
) -> str | None:
    """The same of `n` finite rows, of whose columns the means and the sums of squares about them are known. `noise`: y
    is an update, and its squares may be rounding up to that sum."""
    if n == 0:
        return "there are no rows"
    if n <= 2:
        return f"n = {n}: a linear map needs at least 3 rows"
    if reason := overflow(x[1], y[1]):
        return reason
    if not bool(varying(n, *x).any()):
        return "all rows of x are equal"
    if noise is not None and float(y[1].sum()) <= noise:
        return "y equals x: there is no update to explain"
    if not bool(varying(n, *y).any()):
        return "all rows of y are equal"
    return None


def linearity_of(moments: Moments, *, method: str = "in-sample", folds: Sequence[Moments] | None = None) -> Estimate:
    """Linearity from moments. `folds`: moments of disjoint groups of examples that add up to `moments`.

    Methods: `in-sample`, `held-out` (needs folds), `adjusted`, `update` (R² of the update y − x from x),
    `llm-microscope` (the in-sample score as the reference reports it: also where it is 1 whatever the data).
    Intervals are by delete-a-fold jackknife, where there are folds.
    """
    return linearities(moments, (method,), folds=folds)[method]


def linearities(
    moments: Moments,
    methods: Sequence[str],
    *,
    folds: Sequence[Moments] | None = None,
    spent: bool = False,
    carried: bool = True,
) -> dict[str, Estimate]:
    """`linearity_of` by several methods: x is factored once for all of them, and once without each fold.

    `carried`: y is x with something added to it; ρ, how much that is, stands beside the scores of no other rows.
    `spent`: the moments are not needed afterwards, and without folds their memory is used for the solution.
    """
    for method in methods:
        _check(method)
    n, d = moments.n, len(moments.mean_x)
    left_out = _left_out(moments)
    reasons = {method: _undefined(moments, update=method == "update") for method in methods}
    found = {m: Estimate(None, n=n, d=d, reason=reason) for m, reason in reasons.items() if reason}
    asked = [m for m in methods if m not in found]
    in_sample = [m for m in asked if m == "llm-microscope" or (m != "held-out" and n > d + 1)]
    refused = [m for m in asked if m not in in_sample and m != "held-out"]
    used = [f for f in folds or () if f.n]
    plan = HeldOut.of(n, d, [f.n for f in used])
    table: list[Tried | None] = []
    without: dict[str, list[float | None]] = {method: [] for method in in_sample}
    held_out = not plan.reason and ("held-out" in asked or any(m != "update" for m in refused))
    spared = bool(in_sample and used) and all(n - f.n > d + 1 for f in used)
    # One fold after the other: what a fold needs is as large as the moments themselves.
    for fold, rest in zip(used, Rest.each(moments, used), strict=True) if held_out or spared else ():
        if held_out:
            table.append(plan.score(rest, fold, d))
        for method in in_sample if spared else ():
            without[method].append(_score_without(rest, method))
    whole = Rest.whole(moments, spent=spent and not used)
    held: Estimate | None = None
    if held_out or plan.reason:
        held = plan.pooled(n, d, table, under_all(whole, used, d), moments.left_out)
    if "held-out" in asked and held is not None:
        found["held-out"] = held
    for method in refused:
        own = held
        if method == "update" and used:
            own = heldout_of(moments.difference(), [f.difference() for f in used])
        reason = _too_few(n, d, own if folds is not None else None)
        found[method] = Estimate(None, n=n, d=d, reason=reason, notes=left_out)
    if in_sample:
        # Before their memory is used for the solution.
        share = update_share(moments) if carried and _paired(moments) else None
        totals = {method: moments.change()[1] if method == "update" else moments.squares for method in in_sample}
        solved, white = whole.fitted, whole.white
        condition = solved.condition
        for method in in_sample:
            score = min(_explained(solved, white, method) / float(totals[method].sum()), 1.0)
            fitted = Fit(score, solved.rank, condition)
            rho = None if method == "update" else share
            found[method] = _in_sample(n, d, fitted, method, rho, left_out, without[method], used)
    return {method: found[method] for method in methods}


def linearity(
    x: ArrayLike,
    y: ArrayLike,
    *,
    method: str = "in-sample",
    groups: ArrayLike | None = None,
    drop_sinks: bool = False,
    drop_duplicates: bool = False,
    dtype: torch.dtype = torch.float64,
) -> Estimate:
    """Linearity of paired rows x (n, d), y (n, e), any float type; `groups` (n,): the example of each row.

    With groups the value has an interval (by example). The method `update` needs e = d. `held-out` without groups takes
    blocks of consecutive rows as folds, and says so. See `linearity_of` for the methods; `llm-microscope` follows the
    reference's own computation on the rows, in float64. Sinks and duplicates are counted in the notes, and left out on
    request (see `masks`). `dtype`: float64, or float32 for products twice as fast and about 1e-6 off. Undefined values
    come back with `value` None and a reason.
    """
    _check(method)
    rows_x, rows_y = as_pair(x, y)
    codes = group_codes(groups, len(rows_x))
    if method != "llm-microscope":
        (rows_x, rows_y), _ = in_reach(rows_x, rows_y)
    keep, found = screen(rows_x, rows_y, drop_sinks=drop_sinks, drop_duplicates=drop_duplicates)
    if keep is not None:
        rows_x, rows_y = rows_x[keep], rows_y[keep]
        codes = None if codes is None else codes[keep.cpu()]
    estimate = _of_rows(rows_x, rows_y, method, codes, dtype)
    return replace(estimate, notes=(*estimate.notes, *found))


def _check(method: str) -> None:
    if method not in METHODS[Metric.LINEARITY]:
        raise MicroscopeError(f"linearity has no method {method!r}: use {', '.join(METHODS[Metric.LINEARITY])}.")


def _of_rows(x: Tensor, y: Tensor, method: str, codes: Tensor | None, dtype: torch.dtype) -> Estimate:
    if method == "llm-microscope":
        return reference.linearity(x, y)
    blocks = codes is None and method == "held-out"
    if blocks:
        codes = consecutive_blocks(len(x))
    if codes is None:
        few = 2 < len(x) <= x.shape[1] + 1 and x.shape == y.shape and bool((finite_rows(x) & finite_rows(y)).all())
        if few:
            return _refused(x, y, method)
        moments, method = _moments(x, y, method, dtype)
        return linearities(moments, (method,), spent=True)[method]
    members = fold_members(codes.to(x.device))
    estimate = _of_few_rows(x, y, method, members) if 2 < len(x) < x.shape[1] else None
    if estimate is None:
        start, asked = _moments(x[:0], y[:0], method, dtype)
        folds = [_moments(x[where], y[where], method, dtype)[0] for where in members]
        estimate = linearity_of(sum(folds, start=start), method=asked, folds=folds)
    if blocks and estimate.value is not None:
        note = "no groups given: folds are blocks of consecutive rows, and there is no interval"
        estimate = replace(estimate, low=None, high=None, notes=(*estimate.notes, note), influence=(), shares=())
    return estimate


def _moments(x: Tensor, y: Tensor, method: str, dtype: torch.dtype) -> tuple[Moments, str]:
    """The moments of paired rows that a method needs, and by which method it is then to be found: the update is taken
    of the rows, for sums may have lost it to what is carried through."""
    make, asked = (Moments.of_update, "in-sample") if method == "update" else (Moments.of, method)
    return make(x, y, dtype=dtype, squares_only=True), asked


def _refused(x: Tensor, y: Tensor, method: str) -> Estimate:
    """n ≤ d + 1 finite rows without groups: why there is no number can be said without any product."""
    n, d = x.shape
    reason = _undefined_rows(x, y, update=method == "update")
    return Estimate(None, n=n, d=d, reason=reason or _too_few(n, d, None))


def _undefined_rows(x: Tensor, y: Tensor, *, update: bool) -> str | None:
    """`undefined` of finite rows, from their columns alone."""

    def columns(rows: Tensor) -> tuple[Tensor, Tensor]:
        mean = rows.mean(0, dtype=torch.float64)
        return mean, torch.stack([column_squares(part.double() - mean) for part in chunks(rows, CHUNK)]).sum(0)

    known = columns(x), columns(y.double() - x if update else y)
    noise = rounding(x.dtype, y.dtype) * sum(float((squares + len(x) * mean.square()).sum()) for mean, squares in known)
    return _why_undefined(len(x), *known, noise if update else None)


def _of_few_rows(x: Tensor, y: Tensor, method: str, members: Sequence[Tensor]) -> Estimate | None:
    """n < d: the held-out score, or why there is none; None where the moments have to say it."""
    n, d = x.shape
    update = method == "update"
    if not bool((finite_rows(x) & finite_rows(y)).all()) or (update and x.shape != y.shape):
        return None
    if reason := _undefined_rows(x, y, update=update):
        return Estimate(None, n=n, d=d, reason=reason)
    held = heldout_of_few(x, y.double() - x if update else y, members)
    if method == "held-out":
        return held
    return Estimate(None, n=n, d=d, reason=_too_few(n, d, held))


def _too_few(n: int, d: int, held: Estimate | None) -> str:
    reason = f"n = {n} ≤ d + 1 = {d + 1}: in-sample the score is 1 whatever the data"
    if held is None:
        return f"{reason}; see the held-out score"
    if held.value is None:
        return f"{reason}; held-out: {held.reason}"
    bounds = "" if held.low is None or held.high is None else f" ({held.low:.3g} to {held.high:.3g})"
    return f"{reason}; held-out it is {held.value:.3g}{bounds}"


def _left_out(moments: Moments) -> tuple[str, ...]:
    return (f"{moments.left_out} rows left out: not finite at another layer",) if moments.left_out else ()


def _explained(solved: Factor, white: Tensor, method: str) -> float:
    """tr C_yx C_xx⁺ C_xy; for the update the same of y − x, whose products with x are C_xy − C_xx."""
    if method != "update":
        return float(torch.linalg.vector_norm(white)) ** 2
    strips = (slice(start, start + STRIP) for start in range(0, len(white), STRIP))
    return sum(float((white[rows] - solved.own(rows)).square_().sum()) for rows in strips)


def _score_without(rest: Rest, method: str) -> float | None:
    """The method's value without one fold, None where there is nothing to explain."""
    mean, squares = rest.mean_y, rest.squares
    if method == "update":
        mean, squares = mean - rest.mean_x, squares - 2 * rest.xy.diagonal() + rest.xx.diagonal()
        if float(squares.sum()) <= NO_CHANGE * float(rest.xx.trace()):
            return None
    if float(squares.sum()) <= rest.noise or not bool(varying(rest.n, mean, squares).any()):
        return None
    score = min(_explained(rest.fitted, rest.white, method) / float(squares.sum()), 1.0)
    return adjusted(score, rest.n, rest.fitted.rank) if method == "adjusted" else score


def _in_sample(
    n: int,
    d: int,
    fitted: Fit,
    method: str,
    share: float | None,
    left_out: tuple[str, ...],
    without: Sequence[float | None],
    folds: Sequence[Moments],
) -> Estimate:
    """`share`: ρ, None where y − x means nothing."""
    value = adjusted(fitted.score, n, fitted.rank) if method == "adjusted" else fitted.score
    known = [v for v in without if v is not None]
    low: float | None = None
    high: float | None = None
    moved: tuple[float, ...] = ()
    if folds and len(known) == len(folds):
        sizes = [f.n for f in folds]
        low, high = jackknife_interval(value, known, sizes, forward=log_unexplained, back=from_log_unexplained)
        moved = influences(value, known, sizes)
    notes = [*left_out, *_notes(n, d, fitted, method, share)]
    if folds and not moved and len(folds) >= MIN_GROUPS:
        notes.append("no interval: without one fold of examples there is no score")
    if n <= d + 1:
        notes.insert(len(left_out), f"n = {n} ≤ d + 1 = {d + 1}: this score says nothing about the data")
    # What always stands beside the score: ρ and the rank of x.
    facts = (*(() if share is None else (f"ρ {share:.3g}",)), f"rank {fitted.rank} of {d}")
    estimate = Estimate(value, low, high, n, d, notes=tuple(notes), facts=facts)
    return replace(estimate, influence=moved, shares=shares([f.n for f in folds])) if moved else estimate


def _notes(n: int, d: int, fitted: Fit, method: str, share: float | None) -> list[str]:
    notes: list[str] = []
    if fitted.condition > 1e4:
        notes.append(f"condition number {fitted.condition:.1e}")
    if method != "adjusted" and n < 10 * d:
        chance = f"n/d = {n / d:.1f}: independent rows would score {fitted.rank / (n - 1):.2g}"
        notes.append(Note(chance, Trap.FEW_ROWS))
    if share is not None and share < SMALL_UPDATE:
        noise = f"ρ = {share:.2g}: y is nearly x, so that even an update of pure noise would score {1 - share:.3g}"
        notes.append(Note(noise, Trap.SMALL_UPDATE))
    return notes


def _paired(moments: Moments) -> bool:
    """Whether y − x means anything: x and y are two states of one stream."""
    return moments.xy.shape[0] == moments.xy.shape[1] and not moments.is_update
