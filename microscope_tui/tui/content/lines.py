"""The one-line bars around the panes: pure functions from session and desk to spans."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from microscope_tui.methods import method_of
from microscope_tui.results import Trap, about
from microscope_tui.tables import counted, interval, number
from microscope_tui.terms import Metric, Request
from microscope_tui.tui.content.measured import repeated
from microscope_tui.tui.content.names import labels_of, short_names, slice_names, told_apart
from microscope_tui.tui.content.readout import at, choose, ratio, share, shorten, shorten_end
from microscope_tui.tui.content.spans import Ends, Span
from microscope_tui.tui.content.status import LEAST_NAME, worker_state
from microscope_tui.tui.content.view import PaneView, Series, said_of
from microscope_tui.tui.data.desk import Desk
from microscope_tui.tui.deeds import OPENING
from microscope_tui.tui.keys import EXPLORER, deeds, key_of, short_keys, short_label
from microscope_tui.tui.session import Session
from microscope_tui.tui.themes import MARKERS, Palette

MARKED_BY: Mapping[frozenset[bool], str] = {
    frozenset(): "",
    frozenset({True}): "paired, marked by max-T",
    frozenset({False}): "marked by Bonferroni",
    frozenset({True, False}): "marked by max-T or Bonferroni",
}
"""How layers are marked where curves differ, by which of them are paired by example."""


NAMES, LEAST_STATE = 40, 20
"""Cells of the header that the worker leaves to the names where there are few, and those it has in any case."""
SHORT = 12
"""Letters of a name that are not cut for that of the slice."""


def header_line(session: Session, desk: Desk, requests: Sequence[Request], colours: Palette, width: int) -> Ends:
    """Models and slices on the left, the worker on the right."""
    labels = labels_of(session.curves)
    share = min(width * 9 // 20, max(width - NAMES, LEAST_STATE))
    state, how = worker_state(desk, requests, share)
    colour = {"idle": colours.faint, "busy": colours.good, "waiting": colours.warn, "failed": colours.error}[how]
    right = [Span(f" {shorten_end(state, share)} ", colour, action="jobs")]
    # While it works its share is fixed: else the names would be shortened anew with every word that it says.
    room = width - (len(right[0].text) if how == "idle" or desk.read_only else share + 2)
    models = short_names([curve.model for curve in session.curves])
    slices = slice_names([curve.slice for curve in session.curves])
    common = slices[0] if not session.others else models[0] if len(session.models) == 1 else ""
    # What tells the curves apart is cut last: the first letters of names before what is common to all of them.
    whole, least = (sum(min(len(label), most) + 4 for label in labels) for most in (width, SHORT))
    common = shorten(common, max(room - 4 - whole, min(room // 3, room - 4 - least), LEAST_NAME))
    room -= len(common) + 4
    each = width if whole <= room else max(room // len(labels) - 4, LEAST_NAME)
    curves = [
        Span(
            f" {MARKERS[curve.slot % len(MARKERS)]} {text} ",
            colours.of(curve.slot),
            curve.slot == session.top or not session.comparing,
            "pick_slice" if label in slices and session.others else "pick_model" if not i else "compare",
        )
        for i, (curve, label, text) in enumerate(zip(session.curves, labels, told_apart(labels, each), strict=True))
    ]
    if not session.others:
        return [*curves, Span(" on ", colours.faint), Span(common, colours.text, True, "pick_slice")], right
    if common:
        return [Span(f" {common}", colours.text, True, "pick_model"), Span(" on ", colours.faint), *curves], right
    return curves, right


BRIEF = {Metric.LINEARITY: "lin", Metric.DIMENSION: "dim", Metric.ANISOTROPY: "aniso"}


def metric_line(
    session: Session,
    views: Sequence[PaneView],
    method: str,
    methods: Sequence[str],
    requests: Sequence[Request],
    colours: Palette,
    width: int,
) -> Ends:
    """The metrics, the variant, which rows count and its formula on the left, the streams on the right."""
    left: list[Span] = []
    for metric in Metric:
        chosen = metric is session.metric
        name = str(metric) if chosen or width >= 100 else BRIEF[metric]
        key = key_of(f"metric('{metric}')")
        left.append(Span(f" {key} ", colours.key, False, f"metric('{metric}')"))
        left.append(Span(f"{name} ", colours.text if chosen else colours.faint, chosen, f"metric('{metric}')"))
    streams = " │ ".join(session.streams)
    right = [
        Span(f" {key_of('streams')} ", colours.key, False, "streams"),
        Span(f"{streams} ", colours.faint, False, "streams"),
    ]
    variant = f"{key_of('variant')} {method}" if len(methods) > 1 else method
    left.append(Span(f"│ {variant} ", colours.cursor_line, False, "variant"))
    waiting = any(view.stand_in for view in views)
    chips = _chips(session, requests[0], views)
    for text, action in chips:
        left.append(Span(f"· {text} ", colours.warn if waiting else colours.cursor_line, False, action))
    room = width - sum(len(span.text) for span in (*left, *right))
    if room < 0:  # what is not as usual matters more than the streams, whose names stand above the panes
        right, room = [], 0
    between = "· " if chips else ""
    how = method_of(session.metric, method)
    formula = next((between + text for text in (how.formula, how.short) if len(between + text) <= room), "")
    left.append(Span(formula, colours.faint))
    return left, right


def _chips(session: Session, request: Request, views: Sequence[PaneView]) -> list[tuple[str, str]]:
    """What is not as usual, in few words, each with the key that changes it back."""
    chips = []
    if counted(request) != "all rows":
        rows = request.without[0] if request.without else ""
        chips.append((counted(request), f"without('{rows}')" if rows in ("sinks", "duplicates") else "one_tile"))
    if request.before:
        chips.append(("before", "before"))
    if request.reference:
        chips.append(("reference", "reference"))
    if session.rows:
        chips.append((f"matched n ≤ {session.rows:,}", "matched"))
    if session.differing:
        tested = max((sum(low is not None for low in line.low) for v in views for line in v.lines), default=0)
        by = MARKED_BY[frozenset(paired for view in views for paired in view.paired)]
        less = f"{', '.join('BCD'[: len(session.slots) - 1])} − A"
        chips.append((f"{less}, {by} × {tested}" if tested else less, "difference"))
    if session.log_y:
        chips.append(("log y", "log"))
    if session.same_y:
        chips.append(("same y", "same_y"))
    if session.depth:
        chips.append(("depth", "depth"))
    if session.thin:
        chips.append(("thin line", "thin"))
    curves = views[0].series
    if any(curve.skipped for curve in curves):
        counts = dict.fromkeys(f"{curve.skipped:,}" for curve in curves)
        chips.append((f"{' and '.join(counts)} skipped", "card"))
    if notes := sum(curve.noted for curve in curves):
        chips.append(("1 note" if notes == 1 else f"{notes} notes", "card"))
    return chips


ROOMY = 100
"""Cells from which on a line of values says of which pane it is: that one has a mark besides."""


def inspector_lines(view: PaneView, layer: int, colours: Palette, width: int) -> list[list[Span]]:
    """Everything at the cursor in the focused pane, a line for each curve, the pinned one first: the numbers, and as
    much of the traps as there is room for."""
    head = [Span(f" {view.title} ", colours.text, True)] if width >= ROOMY else []
    if any(series.profile for series in view.series):
        name = view.axes.label(layer)
        where = name if layer < 0 else f"depth {name}" if view.axes.depth else f"layer {name}"
        head.insert(0, Span(f" {where}", colours.cursor_line, True))
    taken = sum(len(span.text) for span in head)
    indent = [Span(" " * taken, colours.text)]
    series = sorted(view.series, key=lambda s: not s.pinned)
    said = [_numbers(view, s, layer) for s in series]
    gap = 2 if all(len("  ".join(text for _, text in each)) <= width - taken - SIGN for each in said) else 1
    return [
        [*(indent if i else head), *_everything(view, s, layer, each, colours, width - taken - SIGN, gap)]
        for i, (s, each) in enumerate(zip(series, said, strict=True))
    ]


SIGN = 3
"""Cells that the sign of a curve takes."""
LEAST_TRAP = 12
"""Letters of a trap that say something."""
TRAPS = 20
"""The rank of the traps at a layer: what is said last."""


def _numbers(view: PaneView, series: Series, position: int) -> list[tuple[int, str]]:
    """All there is to say of a value under the cursor, in reading order, each with its rank: first the numbers, then
    the traps. Nothing where there is no value."""
    p, layer = series.profile, series.layer(position)
    i = at(p, layer) if p else None
    if p is None or i is None or (value := p.value[i]) is None:
        return []
    signed, copies = bool(view.less), repeated(series.sampled, layer)
    bounds = interval(p.low[i], p.high[i], p.metric, signed=signed)
    facts = [
        (2 if signed else 6, fact) for fact in p.facts[i]
    ]  # of a difference, whether it is one matters more than n
    traps = " · ".join(sorted(p.notes[i], key=lambda note: about(note) is not Trap.DUPLICATES))
    said = [
        (0, number(value, p.metric, signed=signed)),
        (1, bounds),
        (9, "95 %" if bounds else ""),
        (10, f"layer {layer}" if view.axes.depth else ""),
        *(facts if signed else ()),
        (3, f"n {p.n[i]:,}"),
        (4, f"d {p.widths[i]}"),
        (5, f"n/d {ratio(p.n[i], p.widths[i])}"),
        (8, f"{p.examples:,} ex"),
        *(() if signed else facts),
        (7, "" if series.sinks is None else f"sinks {share(series.sinks)}"),
        (7, f"duplicates {share(copies)}" if copies else ""),
        (TRAPS, f"* {traps}" if traps else ""),
    ]
    return [(rank, text) for rank, text in said if text]


def _everything(
    view: PaneView,
    series: Series,
    position: int,
    said: Sequence[tuple[int, str]],
    colours: Palette,
    room: int,
    gap: int,
) -> list[Span]:
    """The line of a curve with what is `said` of its value, in so many cells; where something is missing, the key that
    shows it."""
    sign = Span(f" {MARKERS[series.number % len(MARKERS)]} ", colours.of(series.number), True)
    if not said:
        why = said_of(view, series, position)[0][1]
        usual = colours.warn if why.startswith("undefined") else colours.faint
        return [sign, Span(why, colours.error if series.severe else usual)]
    numbers, traps = [each for each in said if each[0] != TRAPS], next((t for rank, t in said if rank == TRAPS), "")
    if len((" " * gap).join(text for _, text in said)) > room:
        card = key_of("card")
        more = f"* {card}" if traps else f"… {card}"
        numbers = choose(numbers, room - gap - len(more), gap)
        left = room - sum(len(text) + gap for _, text in numbers) - len(card) - 1
        traps = f"{shorten_end(traps, left)} {card}" if traps and left > LEAST_TRAP else more
    spans = [sign]
    for rank, text in [*numbers, *([(TRAPS, traps)] if traps else [])]:
        shade = colours.warn if rank == TRAPS and traps[0] == "*" else colours.faint if rank else colours.text
        spans.append(Span((" " * gap if len(spans) > 1 else "") + text, shade, not rank))
    return spans


def footer_line(session: Session, colours: Palette, width: int, *, alone: bool = False) -> Ends:
    """The keys most used, as many as fit, and the palette. Where a pane is `alone`, nothing else has room: only keys
    for the pane."""
    if alone:
        return keys_line(EXPLORER, colours, width, but={*OPENING, "zoom"}), []
    palette = key_of("app.command_palette").replace("ctrl+", "^")
    right = [
        Span(f" {palette} ", colours.key, True, "app.command_palette"),
        Span("palette ", colours.text, False, "app.command_palette"),
    ]
    return keys_line(EXPLORER, colours, width - sum(len(span.text) for span in right), zoomed=session.zoomed), right


def keys_line(
    screen: str, colours: Palette, width: int, *, zoomed: bool = False, but: Collection[str] = ()
) -> list[Span]:
    """The keys most used of a screen, as many as fit, in the order of its table; `but` for some of its deeds."""
    names = {"zoom": "Unzoom"} if zoomed else {}
    said = [
        (f" {short_keys(d, screen)} ", f"{names.get(d.action, short_label(d))} ", d)
        for d in deeds(screen)
        if d.footer and d.action not in but
    ]
    fits: set[str] = set()
    for key, label, deed in sorted(said, key=lambda each: each[2].footer):
        width -= len(key) + len(label)
        if width < 0:
            break
        fits.add(deed.action)
    return [
        span
        for key, label, deed in said
        if deed.action in fits
        for span in (Span(key, colours.key, True, deed.action), Span(label, colours.text, False, deed.action))
    ]
