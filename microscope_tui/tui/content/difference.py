"""One profile less another, layer by layer, with its interval and where it is significant. Pure functions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from microscope_tui.pairing import adjusted_p, difference_by_group, groups_in, parts, reach
from microscope_tui.results import Estimate, Profile
from microscope_tui.student import LEVEL, t_quantile
from microscope_tui.tables import number
from microscope_tui.terms import Metric

DIFFERS, MAY_BE_ZERO = "differs", "not significant"
"""What the correction makes of a layer."""

ALONE = "the two are taken as independent at this layer: which examples its error is of is not known"
"""Said of a layer that cannot be paired where others are."""


@dataclass(frozen=True)
class Difference:
    """B − A at the layers of B. `significant[i]`: it is not 0, corrected for the `tested` layers; by max-T where the
    curves are `paired` by example, by Bonferroni otherwise, and at single layers that cannot be paired.

    `p[i]` is the p of max-T, None where that is not what decides. `rows[i]` are the n of A and that of B.
    """

    profile: Profile
    significant: tuple[bool, ...]
    tested: int
    paired: bool
    p: tuple[float | None, ...]
    rows: tuple[tuple[int, int], ...]


def difference(
    a: Profile,
    b: Profile,
    places_a: Sequence[float],
    places_b: Sequence[float],
    *,
    groups: int,
    same_examples: bool = False,
) -> Difference:
    """B − A of two profiles of one metric, `places` being where their layers stand on a common axis.

    Where A has no layer at a place of B, its value and interval are interpolated between the neighbours of that
    place. Of the `same_examples`, what each group of them does to A is taken off from what it does to B: the interval
    is that of the pairs, and a layer is significant when its p, adjusted for all layers by max-T, is at most 5 % (see
    `pairing`). At k of m tested layers where the groups are known, p is m/k times that: with Bonferroni's correction
    for m at the others, no more than 5 % of profiles without a difference are marked anywhere.

    Otherwise, or where the groups are known nowhere or too few, the two are taken as independent, and their intervals
    combined by squares on each side (MOVER: Zou & Donner 2008, Stat. Med. 27, 1693), so that the interval of a
    difference is as lopsided as theirs. Each is a t-interval from `groups` groups of examples; a layer is significant
    when 0 is outside after Bonferroni's correction for all layers of the profile that have an interval.
    """
    taken_off = [_at(a, places_a, place, b.stages[i]) for i, place in enumerate(places_b)]
    estimates = [_less(b, i, each.estimate) for i, each in enumerate(taken_off)]
    tested = [i for i, e in enumerate(estimates) if e.low is not None]
    known = [i for i in tested if estimates[i].influence] if same_examples else []
    held = groups_in((*a.influence, *b.influence), (*a.shares, *b.shares))
    found = _paired_p([difference_by_group(taken_off[i].parts, _estimate(b, i).parts) for i in known], held)
    p: dict[int, float] = {}
    if found is not None:
        p = {i: min(1.0, each * len(tested) / len(known)) for i, each in zip(known, found, strict=True)}
        for i in tested:
            e = estimates[i]
            estimates[i] = _by_pairs(e, len(held)) if i in p else replace(e, notes=(*e.notes, ALONE))
    widening = _widening(len(tested), max(groups - 1, 1))
    significant = tuple(p[i] <= 1 - LEVEL if i in p else _clear_of_zero(e, widening) for i, e in enumerate(estimates))
    said = {i: f" (p {p[i]:.2g})" if i in p else "" for i in tested}
    facts = tuple(
        ((DIFFERS if significant[i] else MAY_BE_ZERO) + said[i], *e.facts) if i in said else e.facts
        for i, e in enumerate(estimates)
    )
    profile = replace(
        b,
        value=tuple(e.value for e in estimates),
        low=tuple(e.low for e in estimates),
        high=tuple(e.high for e in estimates),
        n=tuple(e.n for e in estimates),
        examples=min(a.examples, b.examples),
        notes=tuple(((e.reason,) if e.reason else ()) + e.notes for e in estimates),
        facts=facts,
        influence=tuple(e.influence for e in estimates),
        shares=(),
    )
    rows = tuple((one.estimate.n, n) for one, n in zip(taken_off, b.n, strict=True))
    return Difference(profile, significant, len(tested), found is not None, tuple(map(p.get, range(len(b.n)))), rows)


def _paired_p(differences: Sequence[tuple[float, ...]], held: Sequence[int]) -> tuple[float, ...] | None:
    """The adjusted p of differences of parts, by the groups `held` that have rows; None where there is none, or they
    are not of the same groups or of too few."""
    if len({len(each) for each in differences}) != 1:
        return None
    return adjusted_p(tuple(tuple(each[k] for k in held) for each in differences))


def _by_pairs(estimate: Estimate, groups: int) -> Estimate:
    """The estimate with the interval of the pairs."""
    half = reach(estimate.influence, groups)
    return replace(estimate, low=(estimate.value or 0.0) - half, high=(estimate.value or 0.0) + half)


@dataclass(frozen=True)
class _Known:
    """A value as it is known, and what of it is each group's (see `pairing.parts`)."""

    estimate: Estimate
    parts: tuple[float, ...] = ()


def _at(a: Profile, places: Sequence[float], place: float, stage: str) -> _Known:
    """What A is at a place, interpolated where it has no layer there."""
    for i, here in enumerate(places):
        if abs(here - place) < 1e-6:
            if a.stages[i] != stage:
                return _Known(
                    Estimate(None, reason=f"the first has another stage here: {a.stages[i] or 'the decoder'}")
                )
            return _estimate(a, i)
        after = i + 1
        if place >= 0 and here >= 0 and after < len(places) and here < place < places[after]:
            return _between(_estimate(a, i), _estimate(a, after), (place - here) / (places[after] - here), a.layers[i])
    return _Known(Estimate(None, reason="the first has no such layer"))


def _estimate(profile: Profile, i: int) -> _Known:
    value, influence = profile.value[i], profile.influence[i]
    reason = None if value is not None else next(iter(profile.notes[i]), "undefined")
    known = Estimate(value, profile.low[i], profile.high[i], profile.n[i], profile.d, reason, influence=influence)
    return _Known(known, () if value is None else parts(value, influence, profile.shares[i]))


def _between(one: _Known, other: _Known, share: float, layer: int) -> _Known:
    """Interpolated; the interval as if the errors of neighbouring layers were one, which is never too narrow."""
    a, b = one.estimate, other.estimate
    if a.value is None or b.value is None:
        return one if a.value is None else other

    def mixed(low: float | None, high: float | None) -> float | None:
        return None if low is None or high is None else low + share * (high - low)

    def by_group(low: tuple[float, ...], high: tuple[float, ...]) -> tuple[float, ...]:
        moved = difference_by_group(low, high)
        return tuple(u + share * change for u, change in zip(low, moved, strict=True)) if moved else ()

    estimate = Estimate(
        mixed(a.value, b.value),
        mixed(a.low, b.low),
        mixed(a.high, b.high),
        min(a.n, b.n),
        a.d,
        facts=(f"between layers {layer} and {layer + 1} of the first",),
        influence=by_group(a.influence, b.influence),
    )
    return _Known(estimate, by_group(one.parts, other.parts))


def _less(b: Profile, i: int, a: Estimate) -> Estimate:
    value = b.value[i]
    n = min(a.n, b.n[i])
    if value is None:
        return Estimate(None, n=n, d=b.d, reason=next(iter(b.notes[i]), "undefined"))
    if a.value is None:
        return Estimate(None, n=n, d=b.d, reason=f"the first is undefined here: {a.reason}" if a.n else a.reason)
    facts = (f"{number(value, b.metric)} against {number(a.value, b.metric)}", *a.facts)
    notes: tuple[str, ...] = ()
    if b.metric is Metric.DIMENSION and a.n != b.n[i]:
        notes = (f"n = {b.n[i]:,} against {a.n:,} rows: dimension depends on n",)
    low = high = None
    bounds = (b.low[i], b.high[i], a.low, a.high)
    if all(bound is not None and math.isfinite(bound) for bound in bounds):
        low_b, high_b, low_a, high_a = (bound for bound in bounds if bound is not None)
        low = value - a.value - math.hypot(value - low_b, high_a - a.value)
        high = value - a.value + math.hypot(high_b - value, a.value - low_a)
    moved = difference_by_group(a.influence, b.influence[i])
    return Estimate(value - a.value, low, high, n, b.d, notes=notes, facts=facts, influence=moved)


def _widening(tested: int, degrees: int) -> float:
    """By how much Bonferroni's correction for so many layers lengthens a t-interval."""
    plain = (1 + LEVEL) / 2
    corrected = 1 - (1 - LEVEL) / (2 * max(tested, 1))
    return t_quantile(corrected, degrees) / t_quantile(plain, degrees)


def _clear_of_zero(estimate: Estimate, widening: float) -> bool:
    value, low, high = estimate.value, estimate.low, estimate.high
    if value is None or low is None or high is None:
        return False
    return value - widening * (value - low) > 0 or value + widening * (high - value) < 0
