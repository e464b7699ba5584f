"""Profiles as text: CSV with one row per layer, a table for people; and how numbers, sizes, times, progress and what
a request counts are written, here and on the screen."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable
from dataclasses import replace

from microscope_tui.results import Measurement, Profile
from microscope_tui.terms import Metric, Progress, Request

DECIMALS = {Metric.LINEARITY: 4, Metric.DIMENSION: 2, Metric.ANISOTROPY: 4}

COLUMNS = (
    "model", "slice", "metric", "method", "modality", "stream", "layer", "stage", "value", "low", "high", "n", "d",
    "width", "n_over_d", "examples", "complete", "accuracy", "questions", "scored", "notes", "facts",
)  # fmt: skip


def number(value: float | None, metric: Metric, *, signed: bool = False) -> str:
    """A value of a metric: as many decimals as mean something, powers of ten only where it must be; `–` for None."""
    if value is None:
        return "–"
    if not math.isfinite(value):
        return str(value)
    plus = "+" if signed else ""
    if (value and abs(value) < 0.001 and not signed) or abs(value) >= 100_000:
        return f"{value:{plus}.2e}"
    return f"{value:{plus}.{DECIMALS[metric]}f}"


def interval(low: float | None, high: float | None, metric: Metric, *, signed: bool = False) -> str:
    """The bounds of an interval, empty where there is none."""
    if low is None or high is None:
        return ""
    return f"[{number(low, metric, signed=signed)}, {number(high, metric, signed=signed)}]"


def counted(request: Request) -> str:
    """Which rows a request counts, in few words: `all rows`, `without sinks, one tile`."""
    said = [f"without {', '.join(request.without)}"] if request.without else []
    said += ["one tile"] * request.one_tile
    return ", ".join(said) or "all rows"


def unlike(one: Request, other: Request) -> str:
    """What a request counts or measures, in few words, by which it differs from another one."""
    said = [counted(replace(one, one_tile=False))] if one.without != other.without else []
    if one.one_tile != other.one_tile:
        said.append("one tile" if one.one_tile else "every tile")
    if one.matched != other.matched:
        said.append(f"{one.matched:,} different rows at most" if one.matched else "all different rows")
    if one.before != other.before:
        said.append("from the vision tower on" if one.before else "the decoder alone")
    if one.reference != other.reference:
        said.append("with the reference's values" if one.reference else "without the reference's values")
    return ", ".join(said)


def variant_of(request: Request) -> str:
    """What a request counts or measures that is not as usual, in few words; empty for nothing."""
    return unlike(request, replace(request, without=(), one_tile=False, matched=None, before=False, reference=False))


def size_text(size: int) -> str:
    """Bytes for people: `14.5 GB`, `350.0 kB`."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= factor:
            return f"{size / factor:.1f} {unit}"
    return f"{size} bytes"


def duration(seconds: float) -> str:
    """Seconds as 0:41, 12:05 or 3:07:00."""
    whole = max(0, round(seconds))
    hours, rest = divmod(whole, 3600)
    minutes, rest = divmod(rest, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def progress_pieces(now: Progress) -> list[tuple[int, str]]:
    """What there is to say of work under way, in reading order, each with its rank (0: say it first):
    `measuring 120/600 ex`, `12.3 ex/s`, `ETA 0:41`, `2 skipped`."""
    unit = "ex" if now.unit == "examples" else now.unit
    far = f" {now.done:,}/{now.total:,} {unit}" if now.total else ""
    said = [(0, now.phase + (far if now.percent is None else f" {now.percent} %"))]
    if now.rate and now.percent is None:
        said.append((2, f"{now.rate:.3g} ex/s"))
    if now.eta is not None and now.percent is None:
        said.append((1, f"ETA {duration(now.eta)}"))
    if now.skipped:
        said.append((3, f"{now.skipped} skipped"))
    return said


def profile_csv(profiles: Iterable[tuple[Measurement, Profile]]) -> str:
    """CSV of profiles, each with the measurement it is of: a header, then one row per layer.

    An undefined value is empty, and its reason is in `notes`. `width` is that of the layer's own rows: d, but for the
    stages before the decoder, which `stage` names.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for m, p in profiles:
        of = (m.model, m.slice, p.metric, p.method, p.modality, p.stream)
        all_over = (p.examples, m.complete, m.accuracy, m.questions, m.scored)
        for i, layer in enumerate(p.layers):
            width = p.widths[i]
            over = f"{p.n[i] / width:.6g}" if width else None
            said = ("; ".join(p.notes[i]), "; ".join(p.facts[i]))
            own = (layer, p.stages[i], p.value[i], p.low[i], p.high[i], p.n[i], p.d, width, over)
            writer.writerow((*of, *own, *all_over, *said))
    return text.getvalue()


def profile_lines(profile: Profile) -> list[str]:
    """A profile for people: what it is, then a line a layer: value, interval, n, n/d, and what to know about it."""
    rows = [("layer", "value", "95 % interval", "n", "n/d", "")]
    for i, layer in enumerate(profile.layers):
        width, stage = profile.widths[i], profile.stages[i]
        over = f"{profile.n[i] / width:.1f}" if width else ""
        said = (stage and f"{stage}, d = {width}", *profile.facts[i], *(f"! {note}" for note in profile.notes[i]))
        bounds = interval(profile.low[i], profile.high[i], profile.metric)
        value = number(profile.value[i], profile.metric)
        rows.append((str(layer), value, bounds, f"{profile.n[i]:,}", over, "  ".join(filter(None, said))))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [f"{profile.metric} ({profile.method}) · {profile.modality} · {profile.stream} · d = {profile.d}"]
    for layer_, value, bounds, n, over, notes in rows:
        aligned = (f"{layer_:>{widths[0]}}", f"{value:>{widths[1]}}", f"{bounds:<{widths[2]}}")
        lines.append("  ".join(("", *aligned, f"{n:>{widths[3]}}", f"{over:>{widths[4]}}", notes)).rstrip())
    return lines


def accuracy_text(measurement: Measurement) -> str:
    """How many of the questions were answered right; empty where there are none."""
    scored, left = measurement.scored, measurement.questions - measurement.scored
    alike = "options that no first token tells apart"
    if measurement.accuracy is None:
        return f"not known, for all {left:,} questions have {alike}" if left else ""
    return f"{measurement.accuracy:.1%} of {scored:,} questions" + (f"; {left:,} have {alike}" if left else "")


def measurement_text(measurement: Measurement) -> str:
    """A whole measurement for people."""
    tokens = ", ".join(f"{count:,} {modality}" for modality, count in measurement.tokens.items())
    lines = [f"{measurement.model} on {measurement.slice}: {measurement.examples} examples, tokens: {tokens}"]
    if said := accuracy_text(measurement):
        lines.append(f"accuracy: {said}")
    lines += [f"note: {note}" for note in measurement.notes]
    for profile in measurement.profiles:
        lines += ["", *profile_lines(profile)]
    return "\n".join(lines)
