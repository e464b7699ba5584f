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


def shown(desk: Desk, request: Request) -> Shown:
    """What there is to show for a request."""
    known = desk.of(request)
    if known.measurement is None:
        stand_ins = [
            Shown(request, known, stood_in.measurement, other)
            for other, stood_in in reversed(desk.known.items())
            if stood_in.measurement and _same_but_for_rows(other, request)
        ]
        if stand_ins:
            return next((s for s in stand_ins if s.measurement and s.measurement.complete), stand_ins[0])
    return Shown(request, known, known.measurement, request)


def _same_but_for_rows(one: Request, other: Request) -> bool:
    """Whether two requests differ in nothing but which rows count and what stands beside them."""
    return one == replace(
        other,
        without=one.without,
        one_tile=one.one_tile,
        before=one.before,
        reference=one.reference,
        sample_tokens=one.sample_tokens,
    )


def counted(request: Request) -> str:
    """Which rows a request counts, in few words: `all rows`, `without sinks, one tile`."""
    said = [f"without {', '.join(request.without)}"] if request.without else []
    said += ["one tile"] * request.one_tile
    return ", ".join(said) or "all rows"


def unlike(one: Request, other: Request) -> str:
    """What a request counts or measures, in few words, by which it differs from another one."""
    said = [counted(one)] if counted(one) != counted(other) else []
    if one.sample_tokens != other.sample_tokens:
        said.append(f"{one.sample_tokens:,} rows at most")
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


def fewest_rows(measurements: Sequence[Measurement | None]) -> int | None:
    """The tokens of the modality and curve that have the fewest, None where nothing is measured."""
    return min((n for m in measurements if m for n in m.tokens.values() if n), default=None)


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
