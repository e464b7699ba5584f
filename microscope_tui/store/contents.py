"""What the values of a store are, in words: for people who look for what can go.

Sums and the rows of batches are called as `names` says, linear maps `maps-SUMS-…`; the provenance of what
is made of them has SUMS as `state`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from microscope_tui.results import Measurement
from microscope_tui.store.names import RowsName, StateName, is_older, parsed
from microscope_tui.store.rows import Asked, Entry, Kind
from microscope_tui.store.store import Store
from microscope_tui.terms import KIND_WORDS, JobKind

SORTS: Final[Mapping[str, str]] = {
    Kind.MEASUREMENT: "result",
    Kind.PARTIAL: "part of a run",
    Kind.BLOB: "bytes",
    Kind.ALIAS: "name of a result",
    Kind.LOOK: "look",
    Kind.JOB: "job",
    Kind.DEATHS: "deaths of the worker at a job",
    Kind.ORDER: "order of jobs",
}
"""What people call a value of each kind, where there is no better word for it."""

INNER: Final = frozenset({Kind.ALIAS, Kind.JOB, Kind.DEATHS, Kind.ORDER})
"""Values that take next to nothing, and that nobody would carry or remove by hand."""


@dataclass(frozen=True)
class Content:
    """An entry of a store: of which `sort` it is in a word or two, `what` it is in a sentence, and its model and slice
    (empty where there is none, or it is not known)."""

    entry: Entry
    sort: str
    what: str
    model: str = ""
    slice: str = ""

    @property
    def inner(self) -> bool:
        """Whether it only serves the worker and the store themselves."""
        return self.entry.kind in INNER


def contents(store: Store) -> list[Content]:
    """Everything in a store, the least recently used first. One that is read-only is read without a trace, so that
    looking makes nothing seem used."""
    entries = store.entries()
    found, looks = dict(_measurements(store, entries)), store.looks()
    made_of: dict[str, list[Measurement]] = {}
    for measurement in found.values():
        made_of.setdefault(str(measurement.provenance.get("state")), []).append(measurement)
    return [
        _of_measurement(entry, found[entry.key])
        if entry.key in found
        else _of_look(entry, looks[entry.key])
        if entry.key in looks
        else _of_another(entry, made_of)
        for entry in entries
    ]


def _measurements(store: Store, entries: list[Entry]) -> Iterator[tuple[str, Measurement]]:
    reading = {str(Kind.MEASUREMENT): store.measurement, str(Kind.PARTIAL): store.partial}
    for entry in entries:
        kind, _, name = entry.key.partition("/")
        if kind in reading and (measurement := reading[kind](name)) is not None:
            yield entry.key, measurement


def _of_measurement(entry: Entry, measurement: Measurement) -> Content:
    of = f"{measurement.model} on {measurement.slice}"
    metrics = ", ".join(dict.fromkeys(profile.metric for profile in measurement.profiles))
    what = f"{of}: {metrics}" + ("" if measurement.complete else ", so far")
    return Content(entry, SORTS[entry.kind], what, measurement.model, str(measurement.slice))


def _of_look(entry: Entry, asked: Asked) -> Content:
    sort, spec = KIND_WORDS[asked.kind], str(asked.request.slice)
    model = "" if asked.kind is JobKind.PREVIEW else asked.request.model  # examples are read without one
    example = "" if asked.example is None else f" of example {asked.example}"
    return Content(entry, sort, f"{sort}{example} of {f'{model} on ' if model else ''}{spec}", model, spec)


def _of_another(entry: Entry, made_of: Mapping[str, list[Measurement]]) -> Content:
    kind, _, name = entry.key.partition("/")
    found = parsed(name) if kind == Kind.BLOB else None
    if isinstance(found, StateName):
        made = made_of.get(found.base, [])
        return Content(entry, "sums", _of_state(found, made), *_whose(made))
    if isinstance(found, RowsName):
        of = _whose(made_of.get(found.base, []))
        batch = f"rows of the {found.end - found.start} examples behind the first {found.start}"
        return Content(entry, "rows", f"{batch}: work that was stopped need not do them again", *of)
    form, *parts = name.split("-")
    if kind == Kind.BLOB and is_older(name):
        sort = "sums" if form == "state" else "rows"
        return Content(entry, sort, f"{sort} of an older version, which nothing reads: `cache gc` removes them")
    if kind == Kind.BLOB and parts and form == "maps":
        of = _whose(made_of.get(parts[0], []))
        return Content(entry, "linear maps", "linear maps" + (f" of {' on '.join(of)}" if of else ""), *of)
    sort = SORTS.get(kind, kind)
    return Content(entry, sort, f"{sort} {name}")


def _of_state(state: StateName, made: list[Measurement]) -> str:
    of = f" of {' on '.join(_whose(made))}" if made else ""
    if state.done == state.draw:
        return f"sums after all {state.end} examples{of}"
    return f"sums after {state.end} examples{of}: a larger slice, or work that was stopped, goes on from here"


def _whose(made: list[Measurement]) -> tuple[str, ...]:
    """Model and source of the slice: sums have no name of their own, but that of the first measurement made of them."""
    return (made[0].model, made[0].slice.source) if made else ()
