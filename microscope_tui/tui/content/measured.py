"""What is known of each curve, and what its measurement has: pure functions of the desk and of measurements."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from microscope_tui.methods import METHODS
from microscope_tui.results import Measurement, Profile
from microscope_tui.tables import unlike
from microscope_tui.terms import Metric, Modality, Request, Stream
from microscope_tui.tui.content.readout import at
from microscope_tui.tui.data.apart import apart
from microscope_tui.tui.data.desk import Desk, Known
from microscope_tui.tui.data.variants import Variant, variant_of
from microscope_tui.tui.session import Session


class Shown(NamedTuple):
    """What is known of one curve. `measurement` answers the request `of`: until the one that is asked for is there,
    that is one of the same model and slice with other rows left out, if there is any."""

    request: Request
    known: Known
    measurement: Measurement | None
    of: Request


OTHERWISE: Mapping[str, str] = {
    "dtype": "in {}",
    "device": "on {}",
    "attention": "{} attention",
    "folds": "{} folds",
    "sample_tokens": "{:,} sampled rows",
    "max_batch": "batches of {}",
    "reader": "reader {}",
    "prompt": "prompt {}",
    "capture": "capture {}",
    "estimators": "estimators {}",
    "scoring": "scored by the {}",
}
"""How it is said what a measurement was made with."""


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
    return {variant_of(other): other for other in desk.stand_ins(request)}


def _apart(variant: Variant, request: Request) -> int:
    """In how many properties a variant differs from that of a request."""
    (without, *others), (asked, *wanted) = variant, variant_of(request)
    return len({*without} ^ {*asked}) + sum(one != other for one, other in zip(others, wanted, strict=True))


def made_otherwise(request: Request, measurement: Measurement) -> str:
    """How a measurement of the rows of a request was made where that is not as it asks, in few words; empty where it
    is."""
    other = apart(request, measurement)
    variant = {name: other.pop(name) for name in ("before", "reference") if name in other}
    words = [OTHERWISE[name].format(made) for name, made in other.items() if name in OTHERWISE]
    return ", ".join(filter(None, (*words, unlike(replace(request, **variant), request))))


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


def repeated(sampled: Profile | None, layer: int) -> float | None:
    """The share of the sampled rows at a layer that repeat others, as dimension, `sampled`, has counted them; None
    where it was not measured."""
    i = at(sampled, layer) if sampled else None
    return None if sampled is None or i is None else sampled.repeated[i]


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
