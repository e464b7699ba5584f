"""What is known of each curve, and what its measurement has: pure functions of the desk and of measurements."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from microscope_tui.results import Measurement, Profile
from microscope_tui.terms import METHODS, Metric, Modality, Request, Stream
from microscope_tui.tui.data.desk import Desk, Known
from microscope_tui.tui.session import Session


@dataclass(frozen=True)
class Shown:
    """What is known of one curve. `measurement` answers the request `of`: until the one that is asked for is there,
    that is one of the same model and slice with other rows left out, if there is any."""

    request: Request
    known: Known
    measurement: Measurement | None
    of: Request


Variant = tuple[tuple[str, ...], bool, bool, bool, int | None]
"""Which rows count and what stands beside them: what requests of the same model and slice may differ in."""


def shown(desk: Desk, requests: Sequence[Request]) -> tuple[Shown, ...]:
    """What there is to show for the requests of a screen.

    What stands in is of the same variant for as many of them as can be, of those the nearest to what is asked for, a
    complete one before a partial one and a later one before an earlier.
    """
    stand_ins = [{} if desk.of(request).measurement else _stand_ins(desk, request) for request in requests]

    def worth(variant: Variant) -> tuple[int, bool, int]:
        found = [found[variant] for found in stand_ins if variant in found]
        return -len(found), not all(desk.of(request).complete for request in found), _apart(variant, requests[0])

    latest = dict.fromkeys(variant for found in stand_ins for variant in reversed(found))
    order = sorted(latest, key=worth)
    answers = []
    for request, found in zip(requests, stand_ins, strict=True):
        of = next((found[variant] for variant in order if variant in found), request)
        answers.append(Shown(request, desk.of(request), desk.of(of).measurement, of))
    return tuple(answers)


def _stand_ins(desk: Desk, request: Request) -> dict[Variant, Request]:
    """What is measured that differs from a request in its variant alone, in the order in which it was asked for."""
    return {
        _variant(other): other
        for other, known in desk.known.items()
        if known.measurement and _same_but_for_rows(other, request)
    }


def _variant(request: Request) -> Variant:
    return request.without, request.one_tile, request.before, request.reference, request.matched


def _apart(variant: Variant, request: Request) -> int:
    """In how many properties a variant differs from that of a request."""
    (without, *others), (asked, *wanted) = variant, _variant(request)
    return len({*without} ^ {*asked}) + sum(one != other for one, other in zip(others, wanted, strict=True))


def _same_but_for_rows(one: Request, other: Request) -> bool:
    """Whether two requests differ in nothing but their variant."""
    without, one_tile, before, reference, matched = _variant(one)
    return one == replace(
        other, without=without, one_tile=one_tile, before=before, reference=reference, matched=matched
    )


def counted(request: Request) -> str:
    """Which rows a request counts, in few words: `all rows`, `without sinks, one tile`."""
    said = [f"without {', '.join(request.without)}"] if request.without else []
    said += ["one tile"] * request.one_tile
    return ", ".join(said) or "all rows"


def unlike(one: Request, other: Request) -> str:
    """What a request counts or measures, in few words, by which it differs from another one."""
    said = [counted(one)] if counted(one) != counted(other) else []
    if one.matched != other.matched:
        said.append(f"{one.matched:,} different rows at most" if one.matched else "all different rows")
    if one.before != other.before:
        said.append("from the vision tower on" if one.before else "the decoder alone")
    if one.reference != other.reference:
        said.append("with the reference's values" if one.reference else "without the reference's values")
    return ", ".join(said)


def methods_measured(session: Session, measurements: Sequence[Measurement | None]) -> tuple[str, ...]:
    """The variants of the session's metric that any of the measurements has, in their order."""
    have = {p.method for m in measurements if m for p in m.profiles if p.metric is session.metric}
    known = METHODS[session.metric]
    return (*(method for method in known if method in have), *sorted(have - set(known)))


def modalities_measured(measurements: Sequence[Measurement | None]) -> tuple[Modality, ...]:
    """The modalities that any of the measurements has tokens of."""
    return tuple(m for m in Modality if any(found and found.tokens.get(m, 0) for found in measurements))


def different_rows(measurements: Sequence[Measurement | None]) -> tuple[int, int] | None:
    """The fewest and the most different rows that dimension had of a modality, stream and curve: at the middle one of
    its layers, for the first of them may have few. None until all that is shown is measured."""
    if not all(found and found.complete for found in measurements):
        return None
    defined = (
        sorted(n for n, value in zip(p.n, p.value, strict=True) if value is not None)
        for found in measurements
        if found
        for p in found.profiles
        if (p.metric, p.method) == (Metric.DIMENSION, METHODS[Metric.DIMENSION][0])
    )
    middles = [rows[len(rows) // 2] for rows in defined if rows]
    return (min(middles), max(middles)) if middles else None


def last_layer(measurements: Sequence[Measurement | None]) -> int:
    """L of the deepest model: the end of every x axis."""
    return max((depth_of(m) for m in measurements if m), default=0)


def first_layer(measurements: Sequence[Measurement | None]) -> int:
    """The first layer of any profile, below 0 where there are stages before the decoder."""
    return min((p.layers[0] for m in measurements if m for p in m.profiles if p.layers), default=0)


def depth_of(measurement: Measurement) -> int:
    """L: the last state, which is one more than the last block."""
    return max((p.layers[-1] + _of_blocks(p) for p in measurement.profiles if p.layers), default=0)


def _of_blocks(profile: Profile) -> bool:
    return profile.metric is Metric.LINEARITY or profile.stream is Stream.UPDATE
