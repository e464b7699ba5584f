"""What a number is, where it comes from and what can go wrong with it here: the card of a metric, as plain text."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from microscope_tui.errors import Fault
from microscope_tui.methods import METHODS, REFERENCE, method_of
from microscope_tui.results import Measurement, Note, Profile, Trap, about
from microscope_tui.tables import counted, interval, number, unlike
from microscope_tui.terms import Metric, Stream
from microscope_tui.tui.content.measured import Shown, repeated
from microscope_tui.tui.content.readout import at, ratio, share
from microscope_tui.tui.content.status import paused_at
from microscope_tui.tui.content.view import PaneView, Series, said_of
from microscope_tui.tui.keys import key_of
from microscope_tui.tui.themes import MARKERS


@dataclass(frozen=True)
class Row:
    """One line of a card: what is told, after what it is about. `severe` is to be careful about.

    `slot` is the curve that it is about; `signed`: its sign stands before the text, because the name does not say it.
    """

    name: str
    text: str
    severe: bool = False
    slot: int | None = None
    signed: bool = False


@dataclass(frozen=True)
class Section:
    """A heading and its lines."""

    heading: str
    rows: tuple[Row, ...]


NAMED = 8
"""Examples that a card names of those that were skipped."""

MANY = 0.05
"""A share of repeated rows above which they can make a difference to a value."""

MEANINGS: Mapping[str, str] = {
    "ρ": "tr Cov(update)/tr Cov(what leaves the block): how much of the stream a block adds. R² = 1 − ρ (1 − R² of the "
    "update), so that near ρ = 0 the score is near 1 whatever the block does",
    "rank": "the directions, of d, in which the rows that enter the block vary",
    "shrunk by": "the factor, from fold to fold, by which the map is drawn towards the mean, so that it says as little "
    "as it knows: 1 for not at all",
}
"""What the facts are that stand beside a value, by how they begin."""

STREAMS: Mapping[Stream, str] = {
    Stream.RESIDUAL: "hidden states h_0 … h_L, the last one before the final norm",
    Stream.UPDATE: "what block l adds: h_{l+1} − h_l",
    Stream.MAIN: "the chained forward without residuals m ← MLP(norm(Attn(norm(m)))): it never occurs in the model",
}


def metric_card(
    view: PaneView, position: int, metric: Metric, method: str, shown: Mapping[int, Shown]
) -> tuple[Section, ...]:
    """The card of what a pane shows, with the cursor at a position. `shown` are the curves by their slots."""
    how = method_of(metric, method)
    what = [
        Row("formula", how.formula),
        Row("estimator", how.estimator),
        Row("source", how.source),
        *_meanings(view, position),
        Row("rows", f"{view.modality} tokens; {counted(next(iter(shown.values())).of)}"),
        Row("stream", STREAMS[view.stream]),
    ]
    numbers: list[Row] = []
    traps: list[Row] = []
    known: list[Row] = []
    whole: list[Row] = []
    for series in view.series:
        of = shown[series.number]
        name = f"{MARKERS[series.number % len(MARKERS)]} {series.label}"
        why = said_of(view, series, position)[0][1]
        numbers += _numbers(series, name, position, of.measurement, bool(view.less), why)
        profile = of.measurement.profile(metric, view.modality, view.stream, method) if of.measurement else None
        found = list(_traps(profile, series.layer(position), of)) if profile and of.measurement else []
        traps += _named(name, (trap for trap in found if trap[0]), series.number)
        known += _named(name, (trap for trap in found if not trap[0]), series.number)
        whole += _named(name, _of_all(of.measurement) if of.measurement else (), series.number)
    traps += [Row("", text, True) for text in _between(view, position, metric)]
    traps += [Row("", view.otherwise, True)] * bool(view.otherwise)
    sections = (
        Section("At the cursor", tuple(numbers)),
        *by_harm((*traps, *known)),
        Section("Of the whole measurement", tuple(whole)),
        Section(f"{metric} · {method}", tuple(row for row in what if row.text)),
    )
    return tuple(section for section in sections if section.rows)


def by_harm(rows: Iterable[Row]) -> list[Section]:
    """What to be careful about here, and apart from it what is looked at and does no harm."""
    told = list(rows)
    severe, harmless = (tuple(row for row in told if row.severe is wrong) for wrong in (True, False))
    sections = (Section("What can go wrong here", severe), Section("To know here", harmless))
    return [section for section in sections if section.rows]


def _meanings(view: PaneView, position: int) -> Iterator[Row]:
    """What the facts beside the values at the cursor are."""
    facts = [
        fact
        for series in view.series
        if series.profile and (i := at(series.profile, series.layer(position))) is not None
        for fact in series.profile.facts[i]
    ]
    yield from (Row(name, text) for name, text in MEANINGS.items() if any(fact.startswith(name) for fact in facts))


def _named(name: str, told: Iterable[tuple[bool, str]], slot: int) -> Iterator[Row]:
    """What is told of a curve, whose name stands before the first line alone."""
    for i, (severe, text) in enumerate(told):
        yield Row("" if i else name, text, severe, slot)


def _of_all(measurement: Measurement) -> Iterator[tuple[bool, str]]:
    """Which examples could not be used and why, how it was measured, and what else is to know at any layer."""
    skipped, made = measurement.skipped, measurement.provenance
    yield from ((True, f"skipped {each.example}: {each.reason}") for each in skipped[:NAMED])
    if len(skipped) > NAMED:
        yield True, f"{len(skipped) - NAMED:,} more examples were skipped: {key_of('examples')} names each of them"
    yield from ((True, f"no {stream} stream: {reason}") for stream, reason in measurement.refused.items())
    if "dtype" in made and "device" in made:
        yield False, f"measured in {made['dtype']} on {made['device']}"
    yield from ((False, note) for note in measurement.notes)


def _numbers(
    series: Series, name: str, position: int, measurement: Measurement | None, difference: bool, why: str
) -> Iterator[Row]:
    """What is known of a curve at the cursor; `why` is said where it has nothing there."""
    profile, layer = series.profile, series.layer(position)
    i = at(profile, layer) if profile else None
    slot = series.number
    if profile is None or i is None:
        nothing = f"layer {layer}: {why}" if profile and layer >= 0 else why
        yield Row(name, series.status or nothing, series.severe, slot)
        return
    value, width = profile.value[i], profile.widths[i]
    where = profile.stages[i] or f"layer {layer}"
    if value is None:
        yield Row(name, f"{where}: undefined: {next(iter(profile.notes[i]), 'no reason given')}", True, slot)
    else:
        bounds = interval(profile.low[i], profile.high[i], profile.metric, signed=difference)
        told = f"{bounds} (95 %, by example)" if bounds else "no interval"
        yield Row(name, f"{where}: {number(value, profile.metric, signed=difference)}  {told}", False, slot)
    size = f"n {profile.n[i]:,}  d {width:,}  n/d {ratio(profile.n[i], width)}  {profile.examples:,} examples"
    yield Row("", "  ".join((size, *profile.facts[i])), False, slot)
    if measurement and not difference:
        others = (
            f"{p.method} {number(other, p.metric)}"
            for p in measurement.profiles
            if (p.metric, p.modality, p.stream) == (profile.metric, profile.modality, profile.stream)
            if p.method != profile.method and (j := at(p, layer)) is not None and (other := p.value[j]) is not None
        )
        if told := "  ".join(others):
            yield Row("", f"other variants: {told}", False, slot)


def _traps(profile: Profile, layer: int, of: Shown) -> Iterator[tuple[bool, str]]:
    """What can go wrong with a number, from the numbers themselves; and whether it does here."""
    measurement, i = of.measurement, at(profile, layer)
    if measurement is None or i is None:
        return
    own = list(_of_the_number(profile, layer, of))
    yield from ((True, note) for note in profile.notes[i] if not _again(note, profile.metric, own))
    if not measurement.complete:
        yield True, f"only {measurement.examples:,} examples so far: {_until(of)}"
    if of.of != of.request:
        shown, wanted = unlike(of.of, of.request), unlike(of.request, of.of)
        yield True, f"shown: {shown}; still being measured: {wanted}"
    if profile.stages[i]:
        yield True, f"rows of the {profile.stages[i]}, {profile.widths[i]:,} wide: another space than the decoder's"
    yield from own


def _until(of: Shown) -> str:
    """What becomes of a number of a part of the slice."""
    if of.of == of.request and of.known.paused:
        return f"{paused_at(of.known.paused)}, {key_of('again')} goes on"
    if of.of == of.request and of.known.fault is Fault.WORKER and of.known.error:
        return of.known.error
    return "the number still changes"


def _again(note: str, metric: Metric, own: Iterable[tuple[bool, str]]) -> bool:
    """Whether the card's `own` words tell what a note of the estimate tells, and more: they know the other profiles."""
    trap = about(note)
    if trap is Trap.SINKS and metric is Metric.DIMENSION:
        return False  # it counts the sinks of its sample, which are others
    return trap is not None and any(about(told) is trap for _, told in own)


def _of_the_number(profile: Profile, layer: int, of: Shown) -> Iterator[tuple[bool, str]]:
    """What can go wrong with a number because of how large it is, of how many rows, and which."""
    measurement, i = of.measurement, at(profile, layer)
    if measurement is None or i is None or (value := profile.value[i]) is None:
        return
    n, d = profile.n[i], profile.widths[i]
    if profile.metric is Metric.LINEARITY:
        yield from _of_linearity(profile, layer, measurement, value, n, d)
    elif profile.metric is Metric.DIMENSION:
        yield False, f"it depends on n and on the scale: compare only at n near {n:,}"
        yield n < 400, f"by chance alone it is off by about {value / math.sqrt(n):.2g} (value/√n)"
        if profile.method == REFERENCE:
            yield True, "fitted on a fifth of the ratios: twice the standard error; repeated rows bend it"
    elif profile.method in ("top-eigenvalue", REFERENCE) and n > 1:
        even = (1 + math.sqrt(d / n)) ** 2 / d
        yield (
            value < 2 * even,
            f"rows alike in all directions would give about {even:.2g} at n/d = {ratio(n, d)}",
        )
    elif profile.method == "mean-cosine":
        yield False, "not centred: a mean vector that all rows share raises it"
    yield from _of_sinks(profile, measurement, of)
    yield from _of_copies(profile, layer, measurement, of)
    if profile.stream is Stream.MAIN:
        yield True, "a counterfactual stream: with random weights its linearity rises with depth as well"


def _of_linearity(
    profile: Profile, layer: int, measurement: Measurement, value: float, n: int, d: int
) -> Iterator[tuple[bool, str]]:
    if profile.method in ("in-sample", "update", REFERENCE) and n > d + 1:
        chance = d / (n - 1)
        adjusted = 1 - (1 - value) * (n - 1) / (n - d - 1)
        inflated = (
            f"n/d = {ratio(n, d)}: in-sample score inflated by about {value - adjusted:.2g}, "
            f"and rows without any relation would score {chance:.2g}"
        )
        yield chance > 0.05, Note(inflated, Trap.FEW_ROWS)
    held_out = _beside(measurement, profile, "held-out", profile.stream, layer)
    if held_out is not None and profile.method == "in-sample":
        yield value - held_out > 0.05, f"held out by examples it is {held_out:.4f}"
    of_update = _beside(measurement, profile, profile.method, Stream.UPDATE, layer)
    if profile.stream is Stream.RESIDUAL and of_update is not None and of_update < 1 and profile.method == "in-sample":
        rho = (1 - value) / (1 - of_update)  # lin(X→Y) = 1 − ρ (1 − lin(X→Y−X))
        carried = (
            f"ρ = {rho:.2g}: the stream carries its input on, so that an update of pure noise would score "
            f"{1 - rho:.3g}; of the update itself a linear map explains {of_update:.3g}"
        )
        yield rho < 0.1, Note(carried, Trap.SMALL_UPDATE)


def _of_sinks(profile: Profile, measurement: Measurement, of: Shown) -> Iterator[tuple[bool, str]]:
    sinks, tokens = measurement.sinks.get(profile.modality), measurement.tokens.get(profile.modality, 0)
    if sinks is None or not tokens:
        return
    told = f"{sinks:,} of {tokens:,} rows ({share(sinks / tokens)}) have a massive norm at some layer"
    if "sinks" in of.of.without:
        yield False, Note(f"{told}: they are left out", Trap.SINKS)
    elif sinks:
        key = key_of("without('sinks')")
        yield True, Note(f"{told}: a single one can make the value; {key} leaves them out", Trap.SINKS)
    else:
        yield False, "no row has a massive norm"


def _of_copies(profile: Profile, layer: int, measurement: Measurement, of: Shown) -> Iterator[tuple[bool, str]]:
    """Of dimension itself its notes tell it."""
    first = METHODS[Metric.DIMENSION][0]
    copies = repeated(measurement.profile(Metric.DIMENSION, profile.modality, profile.stream, first), layer)
    if copies is None or profile.metric is Metric.DIMENSION:
        return
    told = f"{share(copies)} of the sampled rows at this layer repeat others"
    if "duplicates" in of.of.without:
        yield False, f"{told}: positions whose beginnings were seen before are left out"
    elif copies:
        key = key_of("without('duplicates')")
        yield copies > MANY, f"{told} and count as often as they come: {key} leaves them out"
    else:
        yield False, "no sampled row repeats another"


def _beside(measurement: Measurement, profile: Profile, method: str, stream: Stream, layer: int) -> float | None:
    """Another number of the same rows at the same layer, if it was measured."""
    other = measurement.profile(profile.metric, profile.modality, stream, method)
    i = at(other, layer) if other else None
    return None if other is None or i is None else other.value[i]


def _between(view: PaneView, position: int, metric: Metric) -> Iterator[str]:
    """What can go wrong between the curves."""
    sizes = {}
    for series in view.series:
        i = at(series.profile, series.layer(position)) if series.profile else None
        if series.profile and i is not None and series.profile.value[i] is not None:
            sizes[series.label] = series.profile.n[i]
    if metric is Metric.DIMENSION and len(sizes) > 1 and max(sizes.values()) > 1.1 * min(sizes.values()):
        told = ", ".join(f"{label} {n:,}" for label, n in sizes.items())
        yield (
            f"the curves have different n ({told}): dimension depends on n, so that their difference means little; "
            f"{key_of('matched')} matches it"
        )
    if False in view.paired:
        yield (
            "the two are taken as independent; where both saw the same examples, their errors are alike and the "
            "interval of the difference is too wide rather than too narrow"
        )
