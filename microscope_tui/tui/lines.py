"""The one-line bars around the panes: pure functions from session and desk to spans."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from microscope_tui.terms import FORMULAS, Metric, Request
from microscope_tui.tui.desk import Desk
from microscope_tui.tui.keys import DEEDS, Deed
from microscope_tui.tui.readout import at, interval, number, pieces, ratio, short_name, shorten, shorten_end
from microscope_tui.tui.session import Session
from microscope_tui.tui.themes import MARKERS, Palette
from microscope_tui.tui.view import STREAM_TITLES, PaneView, Series, labels_of, worker_state
from microscope_tui.tui.widgets.bar import Span

Line = tuple[list[Span], list[Span]]


def header_line(session: Session, desk: Desk, requests: Sequence[Request], colours: Palette, width: int) -> Line:
    """Models and slice on the left, the worker on the right."""
    state, how = worker_state(desk, requests, width // 2)
    colour = {"idle": colours.faint, "busy": colours.good, "waiting": colours.warn, "failed": colours.error}[how]
    right = [Span(f" {shorten_end(state, width // 2)} ", colour, action="jobs")]
    room = width - len(right[0].text)
    options = str(session.slice).removeprefix(session.slice.source).lstrip("?")
    slice_name = short_name(session.slice.source) + (f" {options.replace('&', ' ')}" if options else "")
    slice_name = shorten(slice_name, max(room // 3, 8))
    each = max((room - len(slice_name) - 4) // len(session.models) - 4, 6)
    left = [
        Span(
            f" {MARKERS[i % len(MARKERS)]} {shorten(label, each)} ",
            colours.of(i),
            True,
            "pick_model" if not i else "compare",
        )
        for i, label in enumerate(labels_of(session.models))
    ]
    left += [Span(" on ", colours.faint), Span(slice_name, colours.text, True, "pick_slice")]
    return left, right


BRIEF = {Metric.LINEARITY: "lin", Metric.DIMENSION: "dim", Metric.ANISOTROPY: "aniso"}
SHORT_FORMULAS: Mapping[Metric | tuple[Metric, str], str] = {
    (Metric.LINEARITY, "update"): "1 − min‖XA − Δ‖²",
    Metric.LINEARITY: "1 − min‖XA − Y‖²",
    Metric.DIMENSION: "TwoNN, μ = r₂/r₁",
    (Metric.ANISOTROPY, "top-eigenvalue"): "λ₁/Σλ",
}
"""The formula where there is no room for its whole line."""


def metric_line(session: Session, method: str, methods: Sequence[str], colours: Palette, width: int) -> Line:
    """The metrics, the variant and its formula on the left, the streams of the columns on the right."""
    left: list[Span] = []
    for i, metric in enumerate(Metric, start=1):
        chosen = metric is session.metric
        name = str(metric) if chosen or width >= 100 else BRIEF[metric]
        left.append(Span(f" {i} ", colours.key, False, f"metric('{metric}')"))
        left.append(Span(f"{name} ", colours.text if chosen else colours.faint, chosen, f"metric('{metric}')"))
    streams = " │ ".join(STREAM_TITLES[stream] for stream in session.streams)
    right = [Span(" u ", colours.key, False, "streams"), Span(f"{streams} ", colours.faint, False, "streams")]
    variant = f"v {method}" if len(methods) > 1 else method
    left.append(Span(f"│ {variant} ", colours.cursor_line, False, "variant"))
    room = width - sum(len(span.text) for span in (*left, *right))
    formula = FORMULAS.get((session.metric, method), "")
    if len(formula) > room:
        formula = SHORT_FORMULAS.get((session.metric, method), SHORT_FORMULAS.get(session.metric, ""))
    left.append(Span(formula, colours.faint))
    return left, right


def inspector_lines(view: PaneView, layer: int, colours: Palette) -> list[list[Span]]:
    """Everything at the cursor in the focused pane, a line for each model, traps spelled out."""
    head = [Span(f" {view.title} ", colours.text, True)]
    if any(series.profile for series in view.series):
        head.insert(0, Span(f" layer {layer}", colours.cursor_line, True))
    indent = [Span(" " * sum(len(span.text) for span in head), colours.text)]
    return [[*(indent if i else head), *_everything(series, layer, colours)] for i, series in enumerate(view.series)]


def _everything(series: Series, layer: int, colours: Palette) -> list[Span]:
    sign = Span(f" {MARKERS[series.number % len(MARKERS)]} ", colours.of(series.number), True)
    p = series.profile
    i = at(p, layer) if p else None
    if p is None or i is None:
        said = series.status if p is None else pieces(p, layer)[0][1]
        return [sign, Span(said, colours.error if series.severe else colours.faint)]
    notes, value = " · ".join(p.notes[i]), p.value[i]
    if value is None:
        return [sign, Span(f"undefined: {notes}" if notes else "undefined", colours.warn)]
    bounds = interval(p.low[i], p.high[i], p.metric)
    spans = [sign, Span(f"{number(value, p.metric)} ", colours.text, True)]
    if bounds:
        spans.append(Span(f"{bounds} 95 %  ", colours.faint))
    if notes:
        spans.append(Span(f"* {notes}  ", colours.warn))
    size = f"n {p.n[i]:,}  d {p.d:,}  n/d {ratio(p.n[i], p.d)}  {p.examples:,} ex"
    return [*spans, Span("  ".join((size, *p.facts[i])), colours.faint)]


def footer_line(session: Session, colours: Palette, width: int) -> Line:
    """The keys most used, as many as fit, and the palette."""
    right = [
        Span(" ^p ", colours.key, True, "app.command_palette"),
        Span("palette ", colours.text, False, "app.command_palette"),
    ]
    room = width - sum(len(span.text) for span in right)
    fits: set[str] = set()
    for deed in sorted((deed for deed in DEEDS if deed.footer), key=lambda deed: deed.footer):
        room -= len(_key(deed)) + len(_label(deed, session)) + 3
        if room < 0:
            break
        fits.add(deed.action)
    left: list[Span] = []
    for deed in (deed for deed in DEEDS if deed.action in fits):
        key, label = _key(deed), _label(deed, session)
        left += [Span(f" {key} ", colours.key, True, deed.action), Span(f"{label} ", colours.text, False, deed.action)]
    return left, right


def _key(deed: Deed) -> str:
    return "←→" if deed.action == "layer(1)" else deed.shown


def _label(deed: Deed, session: Session) -> str:
    if deed.action == "compare" and session.comparing:
        return "Single"
    if deed.action == "zoom" and session.zoomed:
        return "Unzoom"
    return "Layer" if deed.action == "layer(1)" else deed.label
