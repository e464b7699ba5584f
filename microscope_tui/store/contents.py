"""What the values of a store are, in words: for people who look for what can go.

Sums are kept as `state-SUMS-EXAMPLES-DRAW`, linear maps as `maps-SUMS-…`; the provenance of what is made of them has
SUMS as `state`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from microscope_tui.results import Measurement
from microscope_tui.store.rows import Entry, Kind
from microscope_tui.store.store import Store

MEANING: Final[Mapping[str, str]] = {
    Kind.PARTIAL: "profiles so far of job",
    Kind.ALIAS: "name of a result",
    Kind.LOOK: "look at examples",
    Kind.JOB: "job",
    Kind.DEATHS: "deaths of the worker at job",
    Kind.ORDER: "order of",
}
"""What a value of each kind is; its name follows."""


@dataclass(frozen=True)
class Content:
    """An entry of a store, and what it is."""

    entry: Entry
    what: str


def contents(store: Store) -> list[Content]:
    """Everything in a store, the least recently used first. One that is read-only is read without a trace, so that
    looking makes nothing seem used."""
    entries = store.entries()
    found = dict(_measurements(store, entries))
    made_of: dict[str, list[Measurement]] = {}
    for measurement in found.values():
        made_of.setdefault(str(measurement.provenance.get("state")), []).append(measurement)
    return [
        Content(entry, _of_measurement(found[entry.key]) if entry.key in found else _of_another(entry.key, made_of))
        for entry in entries
    ]


def _measurements(store: Store, entries: list[Entry]) -> Iterator[tuple[str, Measurement]]:
    reading = {str(Kind.MEASUREMENT): store.measurement, str(Kind.PARTIAL): store.partial}
    for entry in entries:
        kind, _, name = entry.key.partition("/")
        if kind in reading and (measurement := reading[kind](name)) is not None:
            yield entry.key, measurement


def _of_measurement(measurement: Measurement) -> str:
    metrics = ", ".join(dict.fromkeys(profile.metric for profile in measurement.profiles))
    return f"{measurement.model} on {measurement.slice}: {metrics}" + ("" if measurement.complete else ", so far")


def _of_another(key: str, made_of: Mapping[str, list[Measurement]]) -> str:
    kind, _, name = key.partition("/")
    form, *parts = name.split("-")
    if kind == Kind.BLOB and len(parts) == 3 and form == "state":
        return _of_state(parts[1], made_of.get(parts[0], []))
    if kind == Kind.BLOB and parts and form == "maps":
        return " ".join(("linear maps", *_whose(made_of.get(parts[0], []))))
    return f"{MEANING.get(kind, kind)} {name}"


def _of_state(count: str, made: list[Measurement]) -> str:
    whole = any(m.complete and str(m.examples + len(m.skipped)) == count for m in made)
    said = " ".join((f"sums after {'all ' if whole else ''}{count} examples", *_whose(made)))
    return said if whole else f"{said}: a larger slice, or work that was stopped, goes on from here"


def _whose(made: list[Measurement]) -> list[str]:
    """Sums have no name of their own: that of the first measurement made of them."""
    return [f"of {m.model} on {m.slice.source}" for m in made[:1]]
