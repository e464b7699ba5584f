"""Profiles as text: CSV with one row per layer, and a table for people. Shared by the command line and the screen."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable

from microscope_tui.terms import Measurement, Profile

COLUMNS = (
    "model", "slice", "metric", "method", "modality", "stream", "layer", "value", "low", "high", "n", "d", "n_over_d",
    "examples", "complete", "notes", "facts",
)  # fmt: skip


def profile_csv(profiles: Iterable[tuple[Measurement, Profile]]) -> str:
    """CSV of profiles, each with the measurement it is of: a header, then one row per layer.

    An undefined value is empty, and its reason is in `notes`.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for m, p in profiles:
        for i, layer in enumerate(p.layers):
            over = f"{p.n[i] / p.d:.6g}" if p.d else None
            said = ("; ".join(p.notes[i]), "; ".join(p.facts[i]))
            row = (p.value[i], p.low[i], p.high[i], p.n[i], p.d, over, p.examples, m.complete, *said)
            writer.writerow((m.model, m.slice, p.metric, p.method, p.modality, p.stream, layer, *row))
    return text.getvalue()


def profile_lines(profile: Profile) -> list[str]:
    """A profile for people: what it is, then a line a layer: value, interval, n, n/d, and what to know about it."""
    lines = [f"{profile.metric} ({profile.method}) · {profile.modality} · {profile.stream} · d = {profile.d}"]
    lines.append(f"  {'layer':>5} {'value':>8}  {'95 % interval':<17} {'n':>9} {'n/d':>7}")
    for i, layer in enumerate(profile.layers):
        low, high = profile.low[i], profile.high[i]
        interval = "" if low is None else f"[{number(low)}, {number(high)}]"
        over = f"{profile.n[i] / profile.d:.1f}" if profile.d else ""
        notes = "".join(f"  {said}" for said in (*profile.facts[i], *(f"! {note}" for note in profile.notes[i])))
        lines.append(f"  {layer:>5} {number(profile.value[i]):>8}  {interval:<17} {profile.n[i]:>9,} {over:>7}{notes}")
    return lines


def measurement_text(measurement: Measurement) -> str:
    """A whole measurement for people."""
    tokens = ", ".join(f"{count:,} {modality}" for modality, count in measurement.tokens.items())
    lines = [f"{measurement.model} on {measurement.slice}: {measurement.examples} examples, tokens: {tokens}"]
    if measurement.accuracy is not None:
        lines.append(f"accuracy: {measurement.accuracy:.1%}")
    lines += [f"note: {note}" for note in measurement.notes]
    for profile in measurement.profiles:
        lines += ["", *profile_lines(profile)]
    return "\n".join(lines)


def number(value: float | None) -> str:
    """A value in at most six characters that keep what can be read off a chart; `–` for undefined."""
    if value is None:
        return "–"
    size = abs(value)
    return (
        f"{value:.3f}"
        if size < 10
        else f"{value:.2f}"
        if size < 100
        else f"{value:.1f}"
        if size < 1e4
        else f"{value:.1e}"
    )
