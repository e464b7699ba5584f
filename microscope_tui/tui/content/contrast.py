"""Everything in which the curves laid over each other differ: the card of a comparison, as plain text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from microscope_tui.tui.content.cards import Row, Section
from microscope_tui.tui.content.view import Shown, counted, depth_of

NAMES: Mapping[str, str] = {
    "model": "weights",
    "slice": "data",
    "prompt": "prompt template",
    "products": "precision of sums",
    "max_batch": "examples in a batch",
    "scoring": "scoring of answers",
    "estimators": "version of the estimators",
    "capture": "version of the capture",
    "sample_tokens": "rows in the sample",
}
"""What the screen calls an entry of the provenance."""

NO_DIFFERENCE = ("key",)
"""Entries of the provenance that only say again what the others say."""

REMEDIES: Mapping[str, str] = {
    "data": "choose the same slice for both",
    "dtype": "set dtype in the settings, or --dtype",
    "attention": "set attention in the settings",
    "device": "measure both on one device",
    "rows counted": "leave out the same rows",
}
"""How a difference can be made to go away, without another model."""


@dataclass(frozen=True)
class Fact:
    """What something is for each of the curves; None where it is not known."""

    name: str
    values: tuple[str | None, ...]

    @property
    def differs(self) -> bool:
        return len(set(self.values)) > 1


def contrast(shown: Sequence[Shown]) -> tuple[Fact, ...]:
    """All that is known of each curve, side by side."""
    tables = [dict(_facts_of(each)) for each in shown]
    names = dict.fromkeys(name for table in tables for name in table)
    return tuple(Fact(name, tuple(table.get(name) for table in tables)) for name in names)


def contrast_card(shown: Sequence[Shown], labels: Sequence[str], slots: Sequence[int]) -> tuple[Section, ...]:
    """The differences, what follows from their number, and what is the same."""
    facts = contrast(shown)
    differ = [fact for fact in facts if fact.differs]
    same = [fact for fact in facts if not fact.differs]
    waiting = [label for label, each in zip(labels, shown, strict=True) if each.measurement is None]
    rows: list[Row] = []
    for fact in differ:
        for number, (slot, value) in enumerate(zip(slots, fact.values, strict=True)):
            rows.append(Row("" if number else fact.name, _told(value), slot=slot, signed=True))
    verdict = [Row("", _verdict(differ), len(differ) != 1)]
    if waiting:
        verdict.insert(0, Row("", f"not measured yet, so that little is known: {', '.join(waiting)}", True))
    partial = [
        label for label, each in zip(labels, shown, strict=True) if each.measurement and not each.measurement.complete
    ]
    if partial:
        verdict.insert(0, Row("", f"still being measured, so that counts will change: {', '.join(partial)}", True))
    for fact in differ:
        remedy = _remedy(fact.name)
        if remedy:
            verdict.append(Row(fact.name, remedy))
    return (
        Section("What the difference can be put down to", tuple(verdict)),
        Section(f"{len(differ)} differ", tuple(rows)),
        Section(f"{len(same)} are the same", tuple(Row(fact.name, _told(fact.values[0])) for fact in same)),
    )


def _verdict(differ: Sequence[Fact]) -> str:
    if not differ:
        return "Nothing that is recorded differs: the curves should be the same but for rounding."
    if len(differ) == 1:
        return f"Only one thing differs ({differ[0].name}): on these examples, the difference can be put down to it."
    return (
        f"{len(differ)} things differ at once: no difference between the curves can be put down to any one of them. "
        "Change one at a time for a causal reading."
    )


def _told(value: str | None) -> str:
    return "not known" if value is None else value or "none"


def _remedy(name: str) -> str | None:
    if name.startswith("tokens an example · image"):
        return "pictures cut into tiles can be measured as one tile each"
    return REMEDIES.get(name)


def _facts_of(shown: Shown) -> Iterator[tuple[str, str]]:
    """Names and values, from the measurement where there is one, else from the request alone."""
    request, measurement = shown.of, shown.measurement
    yield "rows counted", counted(request)
    if measurement is None:
        yield "slice", str(request.slice)
        return
    yield from _provenance(measurement.provenance)
    widths = {profile.d for profile in measurement.profiles}
    yield "width d", ", ".join(f"{width:,}" for width in sorted(widths))
    yield "layers L", str(depth_of(measurement))
    yield "examples", f"{measurement.examples:,}"
    for modality, tokens in measurement.tokens.items():
        each = tokens / measurement.examples if measurement.examples else 0.0
        yield f"tokens an example · {modality}", f"{each:,.1f}"
    if measurement.refused:
        yield "streams refused", ", ".join(measurement.refused)
    if measurement.skipped:
        yield "examples skipped", f"{len(measurement.skipped):,}"


def _provenance(entries: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for name, value in entries.items():
        if name in NO_DIFFERENCE:
            continue
        if isinstance(value, Mapping):
            yield from _provenance(value, f"{NAMES.get(name, name).replace('_', ' ')} · ")
            continue
        told = ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
        yield prefix + NAMES.get(name, name.replace("_", " ")), told
