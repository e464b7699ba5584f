"""One profile less another, layer by layer, with its interval and where it is significant. Pure functions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from microscope_tui.results import Estimate, Profile
from microscope_tui.student import t_quantile
from microscope_tui.tables import number
from microscope_tui.terms import Metric

LEVEL = 0.95

DIFFERS, MAY_BE_ZERO = "differs", "not significant"
"""What the correction makes of a layer."""


@dataclass(frozen=True)
class Difference:
    """B − A at the layers of B. `significant[i]`: the interval, corrected for the `tested` layers, is clear of 0."""

    profile: Profile
    significant: tuple[bool, ...]
    tested: int


def difference(
    a: Profile, b: Profile, places_a: Sequence[float], places_b: Sequence[float], *, groups: int
) -> Difference:
    """B − A of two profiles of one metric, `places` being where their layers stand on a common axis.

    Where A has no layer at a place of B, its value and interval are interpolated between the neighbours of that
    place. The two are taken as independent, and their intervals combined by squares on each side (MOVER: Zou & Donner
    2008, Stat. Med. 27, 1693), so that the interval of a difference is as lopsided as theirs. Each is a t-interval
    from `groups` groups of examples; a layer is significant when 0 is outside after Bonferroni's correction for all
    layers of the profile that have an interval.
    """
    estimates = [_less(b, i, _at(a, places_a, place, b.stages[i])) for i, place in enumerate(places_b)]
    tested = sum(e.low is not None for e in estimates)
    widening = _widening(tested, max(groups - 1, 1))
    significant = tuple(_clear_of_zero(e, widening) for e in estimates)
    facts = tuple(
        (DIFFERS if clear else MAY_BE_ZERO, *e.facts) if e.low is not None else e.facts
        for e, clear in zip(estimates, significant, strict=True)
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
    )
    return Difference(profile, significant, tested)


def _at(a: Profile, places: Sequence[float], place: float, stage: str) -> Estimate:
    """What A is at a place, interpolated where it has no layer there."""
    for i, here in enumerate(places):
        if abs(here - place) < 1e-6:
            if a.stages[i] != stage:
                return Estimate(None, reason=f"the first has another stage here: {a.stages[i] or 'the decoder'}")
            return _estimate(a, i)
        after = i + 1
        if place >= 0 and here >= 0 and after < len(places) and here < place < places[after]:
            return _between(_estimate(a, i), _estimate(a, after), (place - here) / (places[after] - here), a.layers[i])
    return Estimate(None, reason="the first has no such layer")


def _estimate(profile: Profile, i: int) -> Estimate:
    value = profile.value[i]
    reason = None if value is not None else next(iter(profile.notes[i]), "undefined")
    return Estimate(value, profile.low[i], profile.high[i], profile.n[i], profile.d, reason)


def _between(one: Estimate, other: Estimate, share: float, layer: int) -> Estimate:
    """Interpolated; the interval as if the errors of neighbouring layers were one, which is never too narrow."""
    if one.value is None or other.value is None:
        return one if one.value is None else other

    def mixed(low: float | None, high: float | None) -> float | None:
        return None if low is None or high is None else low + share * (high - low)

    return Estimate(
        mixed(one.value, other.value),
        mixed(one.low, other.low),
        mixed(one.high, other.high),
        min(one.n, other.n),
        one.d,
        facts=(f"between layers {layer} and {layer + 1} of the first",),
    )


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
    return Estimate(value - a.value, low, high, n, b.d, notes=notes, facts=facts)


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
