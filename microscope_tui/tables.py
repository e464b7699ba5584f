"""Profiles as text: CSV with one row per layer, and a table for people. Shared by the command line and the screen."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from microscope_tui.terms import Measurement, Profile

COLUMNS = (
    "metric", "method", "modality", "stream", "layer", "value", "low", "high", "n", "d", "n_over_d", "examples", "notes"
)  # fmt: skip


def profile_csv(profiles: Sequence[Profile], **labels: str) -> str:
    """CSV of profiles, one row per layer, with a header. `labels` are extra first columns (model, slice, …)."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow((*labels, *COLUMNS))
    for p in profiles:
        for i, layer in enumerate(p.layers):
            over = p.n[i] / p.d if p.d else None
            row = (p.value[i], p.low[i], p.high[i], p.n[i], p.d, over, p.examples, "; ".join(p.notes[i]))
            writer.writerow((*labels.values(), p.metric, p.method, p.modality, p.stream, layer, *row))
    return text.getvalue()


def profile_lines(profile: Profile) -> list[str]:
    """A profile for people: what it is, then value and interval by layer, wrapped at eight layers a line."""
    head = f"{profile.metric} ({profile.method}) · {profile.modality} · {profile.stream}"
    smallest = min(profile.n, default=0)
    size = f"n ≥ {smallest:,}, d = {profile.d}, n/d ≥ {smallest / profile.d:.1f}" if profile.d else "no rows"
    cells = [f"{layer}: {number(value)}" for layer, value in zip(profile.layers, profile.value, strict=True)]
    lines = [f"{head} · {size}"]
    lines += ["  " + "".join(f"{cell:<13}" for cell in cells[i : i + 8]).rstrip() for i in range(0, len(cells), 8)]
    reasons = {note[0] for note, value in zip(profile.notes, profile.value, strict=True) if value is None and note}
    return lines + [f"  –: {reason}" for reason in sorted(reasons)]


def measurement_text(measurement: Measurement) -> str:
    """A whole measurement for people."""
    tokens = ", ".join(f"{count:,} {modality}" for modality, count in measurement.tokens.items())
    lines = [f"{measurement.model} on {measurement.slice}: {measurement.examples} examples, tokens: {tokens}"]
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
