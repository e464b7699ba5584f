"""Everything in which the curves laid over each other differ: the card of a comparison, as plain text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from microscope_tui.results import Measurement, Profile
from microscope_tui.tables import counted
from microscope_tui.terms import Metric, Modality, Stream
from microscope_tui.tui.content.cards import Row, Section
from microscope_tui.tui.content.measured import Shown, depth_of
from microscope_tui.tui.content.readout import ratio
from microscope_tui.tui.keys import key_of

NAMES: Mapping[str, str] = {
    "model": "identity of the checkpoint",
    "slice": "data",
    "chat_template": "template",
    "prompt": "words of the question",
    "reader": "version of the reader of data",
    "products": "precision of sums",
    "max_batch": "examples in a batch",
    "scoring": "scoring of answers",
    "estimators": "version of the estimators",
    "capture": "version of the capture",
    "sample_tokens": "rows in the sample",
}
"""What the screen calls an entry of the provenance."""

FIRST = ("vision encoder", "connector", "tokens of a picture", "decoder", "dtype", "template", "data")
"""What people look for first, in this order."""

NO_DIFFERENCE = ("key", "state", "tiles", "one_tile")
"""Entries of the provenance that only say again what the others say, or which rows are counted."""

WEIGHTS = "weights of the "
"""How the name of a part's weights begins."""

PARTS: Mapping[str, str] = {"parts": "", "weights": WEIGHTS}
"""Entries of the provenance that tell of each part, and how the name of what they tell begins."""

FOLLOWS = (
    "architecture",
    "identity of the checkpoint",
    "width d",
    "layers L",
    "trusted",
    "streams refused",
    "examples",
)
"""What differs because a part, the template or the data does."""
PER_EXAMPLE = "tokens an example"
"""How the name of a count of tokens begins, which follows as well."""

ALIGNED_BY: Mapping[str, str] = {
    "data": "choose the same slice for both",
    "dtype": "set dtype in the settings, or --dtype",
    "attention": "set attention in the settings",
    "device": "measure both on one device",
    "rows counted": "leave out the same rows",
    "tokens of a picture": "pictures cut into tiles can be measured as one tile each",
    "template": "each model is asked by what its own files hold; how the words differ is not recorded, look there",
}
"""How both can be made alike in what differs, without another model."""

APART = 1.1
"""One n that is this many times another one moves a score by itself."""


@dataclass(frozen=True)
class Fact:
    """What something is for each of the curves; None where it is not known. One that `follows` from others differs
    because they do; `weights` are what training made, of one part."""

    name: str
    values: tuple[str | None, ...]
    follows: bool = False

    @property
    def differs(self) -> bool:
        return len(set(self.values)) > 1

    @property
    def weights(self) -> bool:
        return self.name.startswith(WEIGHTS)


def contrast(shown: Sequence[Shown]) -> tuple[Fact, ...]:
    """All that is known of each curve, side by side: the parts of the models first."""
    tables = [dict(_facts_of(each)) for each in shown]
    data = [table.get("data") for table in tables]
    for table, each in zip(tables, shown, strict=True):  # the same data may be named in several ways
        spec = each if len(set(data)) > 1 else shown[0]
        table["data"] = f"{spec.of.slice} (digest {table['data']})" if "data" in table else str(each.of.slice)
    known = dict.fromkeys(name for table in tables for name in table)
    names = sorted(known, key=lambda name: FIRST.index(name) if name in FIRST else len(FIRST))
    # Where the parts of a model are not recorded, what follows from them is all there is to tell it by.
    parts = all("decoder" in table for table in tables)
    return tuple(
        Fact(
            name,
            tuple(table.get(name) for table in tables),
            parts and (name in FOLLOWS or name.startswith(PER_EXAMPLE)),
        )
        for name in names
    )


def contrast_card(shown: Sequence[Shown], labels: Sequence[str], slots: Sequence[int]) -> tuple[Section, ...]:
    """The differences of what is measured, what follows from their number, and what is the same."""
    each = list(zip(labels, shown, slots, strict=True))
    here = [(of, slot) for _, of, slot in each if of.measurement]
    slots = [slot for _, slot in here]
    facts = contrast([of for of, _ in here]) if len(here) > 1 else ()
    causes = [fact for fact in facts if fact.differs and not fact.follows and not fact.weights]
    others = [fact for fact in facts if fact.differs and (fact.follows or fact.weights)]
    same = [fact for fact in facts if not fact.differs]
    verdict = []
    if partial := [label for label, of, _ in each if of.measurement and not of.measurement.complete]:
        verdict.append(Row("", f"still being measured, so that counts will change: {', '.join(partial)}", True))
    if waiting := [label for label, of, _ in each if of.measurement is None]:
        verdict.append(Row("", f"not measured yet, so that it cannot be compared: {', '.join(waiting)}", True))
    if facts:
        rows = tuple(_rows_apart([of.measurement for of, _ in here if of.measurement]))
        verdict += _verdict(causes, [fact.name.removeprefix(WEIGHTS) for fact in others if fact.weights], rows)
    verdict += [Row(fact.name, remedy) for fact in causes if (remedy := ALIGNED_BY.get(fact.name))]
    sections = (
        Section("What the difference can be put down to", tuple(verdict)),
        Section(f"{len(causes)} differ{'s' * (len(causes) == 1)}", tuple(_rows(causes, slots))),
        Section("Differs with them", tuple(_rows(others, slots))),
        Section(f"{len(same)} are the same", tuple(Row(fact.name, _told(fact.values[0])) for fact in same)),
    )
    return tuple(section for section in sections if section.rows)


def _rows(facts: Sequence[Fact], slots: Sequence[int]) -> Iterator[Row]:
    """A line for each curve, the name before the first."""
    for fact in facts:
        for number, (slot, value) in enumerate(zip(slots, fact.values, strict=True)):
            yield Row("" if number else fact.name, _told(value), slot=slot, signed=True)


def _rows_apart(measurements: Sequence[Measurement]) -> Iterator[str]:
    """Of each modality whose n is another one for some of them: n of each, with n/d."""
    for modality in Modality:
        profiles = [_counting(measurement, modality) for measurement in measurements]
        sizes = [(p.n[-1], p.widths[-1]) for p in profiles if p and p.n]
        if sizes and max(sizes)[0] > APART * min(sizes)[0]:
            yield f"{modality} " + " against ".join(f"{n:,} rows (n/d {ratio(n, d)})" for n, d in sizes)


def _counting(measurement: Measurement, modality: Modality) -> Profile | None:
    """A profile that every row of a modality went into: dimension has a sample of them."""
    of_modality = [p for p in measurement.profiles if p.modality is modality and p.metric is not Metric.DIMENSION]
    return next(iter(sorted(of_modality, key=lambda p: p.stream is not Stream.RESIDUAL)), None)


def _verdict(causes: Sequence[Fact], trained: Sequence[str], rows: Sequence[str]) -> Iterator[Row]:
    """What follows from what differs. `trained` are the parts whose weights differ, `rows` the counts that do."""
    names = ", ".join(fact.name for fact in causes)
    if len(causes) > 1:
        told = f"{len(causes)} things differ at once: {names}. No difference between the curves can be put down to any "
        yield Row("", f"{told}one of them. Change one at a time for a causal reading.", True)
    elif causes and rows:
        told = f"Only one thing differs ({names}), but with it the number of rows, which moves scores by itself: "
        yield Row("", f"{told}what of the difference is due to it cannot be told from the curves as they are.", True)
    elif causes:
        yield Row("", f"Only one thing differs ({names}): on these examples, the difference can be put down to it.")
    elif trained:
        yield Row("", f"Only weights differ ({', '.join(trained)}): the design, the data and the method are the same.")
    else:
        yield Row("", "Nothing that is recorded differs: the curves should be the same but for rounding.")
    if rows:
        variant, matched = key_of("variant"), key_of("matched")
        told = "In-sample linearity falls with n, up to where n/d is large; dimension depends on n as well."
        remedy = f"Held-out linearity ({variant}) is not inflated, {matched} matches n for dimension, the same number "
        yield Row("different n", "; ".join(rows), True)
        yield Row("", f"{told} {remedy}of examples (count=) matches it for all.", True)
    if causes and trained:
        *first, last = trained
        parts = " and the ".join((", the ".join(first), last)) if first else last
        yield Row(
            "",
            f"Weights of the {parts} differ as well: with one training of each, what another training run alone would "
            "change is not known.",
            True,
        )


def _told(value: str | None) -> str:
    return "not known" if value is None else value or "none"


def _facts_of(shown: Shown) -> Iterator[tuple[str, str]]:
    """Names and values of what is measured."""
    measurement = shown.measurement
    assert measurement is not None
    yield "rows counted", counted(shown.of)
    yield from _provenance(measurement.provenance)
    widths = {profile.d for profile in measurement.profiles}
    yield "width d", ", ".join(f"{width:,}" for width in sorted(widths))
    yield "layers L", str(depth_of(measurement))
    yield "examples", f"{measurement.examples:,}"
    for modality, tokens in measurement.tokens.items():
        each = tokens / measurement.examples if measurement.examples else 0.0
        yield f"{PER_EXAMPLE} · {modality}", f"{each:,.1f}"
    if measurement.refused:
        yield "streams refused", ", ".join(measurement.refused)
    if measurement.skipped:
        yield "examples skipped", f"{len(measurement.skipped):,}"


def _provenance(entries: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for name, value in entries.items():
        if name in NO_DIFFERENCE:
            continue
        if name in PARTS:
            yield from ((f"{PARTS[name]}{part}", str(told)) for part, told in value.items())
            continue
        if isinstance(value, Mapping):
            yield from _provenance(value, f"{NAMES.get(name, name).replace('_', ' ')} · ")
            continue
        told = ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
        yield prefix + NAMES.get(name, name.replace("_", " ")), told
