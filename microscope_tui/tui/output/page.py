"""The view as one HTML page that needs nothing else: charts as SVG, every number in a table, what they depend on.

No script, no font and no picture from elsewhere, so the page can be mailed and opened in ten years.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from types import MappingProxyType
from typing import Self, TypeGuard

from microscope_tui import __version__
from microscope_tui.figures import COLOURS, DASHES, Figure, Panel, Track
from microscope_tui.results import Measurement, Profile, unbroken
from microscope_tui.tables import accuracy_text
from microscope_tui.tui.content.difference import Difference

WIDTH, HEIGHT = 480, 280
LEFT, RIGHT, TOP, BOTTOM = 52, 10, 10, 34
LINE = 1.6
"""The width of a line."""

CSS = """
:root { color-scheme: light dark; font: 15px/1.45 system-ui, sans-serif; }
body { margin: 2rem auto; max-width: 76rem; padding: 0 1rem; background: #fff; color: #121212; }
h1 { font-size: 1.3rem; } h2 { font-size: 1.05rem; margin: 2rem 0 .5rem; } figcaption { font-weight: 600; }
.charts { display: grid; grid-template-columns: repeat(var(--columns), minmax(18rem, 1fr)); gap: 1rem; }
figure { margin: 0; } svg { width: 100%; height: auto; } svg text { font-size: 11px; fill: currentColor; }
.axis { stroke: currentColor; stroke-opacity: .55; } .grid { stroke: currentColor; stroke-opacity: .12; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .85rem; }
th, td { padding: .15rem .6rem; text-align: right; border-bottom: 1px solid #8884; }
th:last-child, td:last-child, .facts th, .facts td { text-align: left; }
.table { overflow-x: auto; } .legend span { margin-right: 1.2rem; white-space: nowrap; }
@media (max-width: 50rem) { .charts { grid-template-columns: 1fr; } }
@media (prefers-color-scheme: dark) { body { background: #121212; color: #e4e4e4; } svg { filter: brightness(1.4); } }
"""


Differences = Mapping[tuple[str, int], Difference]
"""What is a difference among the curves: by the title of its pane, and its number."""

NONE: Differences = MappingProxyType({})


def page(title: str, figure: Figure, measurements: Sequence[Measurement], differences: Differences = NONE) -> str:
    """The page of a view: its panes as charts, and the profiles and measurements behind them."""
    tracks = {track.number: track for panel in figure.panels for track in panel.tracks}
    parts = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{escape(title)}</title><style>{CSS}</style></head><body>",
        f"<h1>{escape(title)}</h1>",
        f"<p>{escape(figure.ylabel)}. Bands are 95&#8239;% intervals, by example. {escape(figure.caption)}</p>",
        _legend(list(tracks.values())),
        f'<div class="charts" style="--columns: {max(figure.columns, 1)}">',
        *(_chart(panel, figure.xlabel, differences) for panel in figure.panels),
        "</div>",
        *(
            _table(panel.title, track, differences.get((panel.title, track.number)))
            for panel in figure.panels
            for track in panel.tracks
        ),
        *(_facts(measurement) for measurement in measurements),
        f"<p>Made by microscope_tui {escape(__version__)}.</p></body></html>",
    ]
    return "\n".join(parts) + "\n"


def _legend(tracks: Sequence[Track]) -> str:
    signs = (
        f'<span><svg viewBox="0 0 30 8" style="width:30px" aria-hidden="true">{_line("0,4 30,4", track)}</svg> '
        f"{escape(track.label)}</span>"
        for track in tracks
    )
    return f'<p class="legend">{"".join(signs)}</p>'


@dataclass(frozen=True)
class _Plane:
    """Where numbers stand in a chart: x from `first` to `last`, y from `bottom` to `top` (logarithms if `log`)."""

    first: float
    last: float
    bottom: float
    top: float
    log: bool

    @classmethod
    def of(cls, panel: Panel) -> Self | None:
        """The plane that all of a pane fits into, None when nothing is defined in it."""
        plane = cls(0, 0, 0, 0, panel.log)
        profiles = [track.profile for track in panel.tracks]
        levels = [plane.level(n) for p in profiles for n in (*p.value, *p.low, *p.high) if plane.holds(n)]
        places = [place for track in panel.tracks for place in track.places]
        if not levels or not places:
            return None
        bottom, top = min(levels), max(levels)
        margin = (top - bottom) * 0.04 or abs(top) * 0.05 or 0.5
        return cls(min(places), max(places), bottom - margin, top + margin, panel.log)

    def holds(self, number: float | None) -> TypeGuard[float]:
        """Whether there is a number that can be drawn."""
        return number is not None and math.isfinite(number) and (number > 0 or not self.log)

    def level(self, number: float) -> float:
        return math.log10(number) if self.log else number

    def x(self, place: float) -> float:
        share = (place - self.first) / (self.last - self.first) if self.last > self.first else 0.5
        return LEFT + (WIDTH - LEFT - RIGHT) * share

    def y(self, level: float) -> float:
        return TOP + (HEIGHT - TOP - BOTTOM) * (self.top - level) / (self.top - self.bottom)


def _chart(panel: Panel, xlabel: str, differences: Differences) -> str:
    """A pane as SVG; a circle at each layer says its exact value when it is pointed at."""
    title = f"<figcaption>{escape(panel.title)}</figcaption>"
    plane = _Plane.of(panel)
    if plane is None:
        return f"<figure>{title}<p>Nothing is defined here.</p></figure>"
    drawn = [f'{title}<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(panel.title)}">']
    for tick in ticks(plane.bottom, plane.top, 6):
        y, said = plane.y(tick), f"{10**tick if panel.log else tick:.4g}"
        drawn.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        drawn.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{said}</text>')
    for tick in ticks(plane.first, plane.last, 9):
        drawn.append(f'<text x="{plane.x(tick):.1f}" y="{HEIGHT - 18}" text-anchor="middle">{tick:g}</text>')
    drawn.append(f'<line class="axis" x1="{LEFT}" x2="{LEFT}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>')
    drawn.append(f'<text x="{WIDTH - RIGHT}" y="{HEIGHT - 4}" text-anchor="end">{escape(xlabel)}</text>')
    for track in panel.tracks:
        drawn += _marks(track, plane, differences.get((panel.title, track.number)))
    return f"<figure>{''.join(drawn)}</svg></figure>"


def _marks(track: Track, plane: _Plane, difference: Difference | None) -> Iterator[str]:
    """The band, the line and the points of a curve."""
    profile, colour = track.profile, COLOURS[track.number % len(COLOURS)]
    at = {
        i: (plane.x(track.places[i]), plane.y(plane.level(value)))
        for i, value in enumerate(profile.value)
        if plane.holds(value)
    }
    bounds = {
        i: (plane.y(plane.level(low)), plane.y(plane.level(high)))
        for i, (low, high) in enumerate(zip(profile.low, profile.high, strict=True))
        if i in at and plane.holds(low) and plane.holds(high)
    }
    for run in unbroken((i in bounds for i in range(len(profile.layers))), profile.stages):
        edge = [*((at[i][0], bounds[i][1]) for i in run), *((at[i][0], bounds[i][0]) for i in reversed(run))]
        yield f'<polygon points="{_points(edge)}" fill="{colour}" fill-opacity=".16"/>'
    for run in unbroken((i in at for i in range(len(profile.layers))), profile.stages):
        yield _line(_points([at[i] for i in run]), track)
    for i, (x, y) in at.items():
        said = escape(_said(track, i, difference))
        yield f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.6" fill="{colour}"><title>{said}</title></circle>'


def ticks(low: float, high: float, most: int) -> list[float]:
    """At most `most` + 1 round numbers from `low` to `high`: multiples of 1, 2, 2.5 or 5 times a power of ten."""
    span = (high - low) or 1.0
    power = 10.0 ** math.floor(math.log10(span / most))
    step = next(power * m for m in (1, 2, 2.5, 5, 10) if span / (power * m) <= most)
    return [n * step for n in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]


def _line(points: str, track: Track) -> str:
    colour, dashes = COLOURS[track.number % len(COLOURS)], DASHES[track.number % len(DASHES)]
    dash = " ".join(f"{LINE * part:g}" for part in dashes) or "none"
    return (
        f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="{LINE}" stroke-dasharray="{dash}"/>'
    )


def _points(places: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in places)


def _said(track: Track, i: int, difference: Difference | None) -> str:
    profile = track.profile
    low, high = profile.low[i], profile.high[i]
    interval = "" if low is None or high is None else f" [{low:.6g}, {high:.6g}]"
    n = " and ".join(f"{n:,}" for n in _counts(profile, i, difference))
    return f"{track.label}, layer {profile.layers[i]}: {profile.value[i]:.6g}{interval}, n = {n}"


def _counts(profile: Profile, i: int, difference: Difference | None) -> tuple[int, ...]:
    """The rows behind a value, of a difference those of the first and of the other."""
    return difference.rows[i] if difference else (profile.n[i],)


def _table(title: str, track: Track, difference: Difference | None) -> str:
    """Every number of a curve; of a difference with its test, and the rows on both sides."""
    profile = track.profile
    counted = ("n", "n/d") if difference is None else ("p", "differs", "n of A", "n of B", "n/d of A", "n/d of B")
    head = "".join(f"<th>{name}</th>" for name in ("layer", "value", "low", "high", *counted, "to know"))
    rows = []
    for i, layer in enumerate(profile.layers):
        bare = (profile.value[i], profile.low[i], profile.high[i])
        cells = [str(layer), *map(_short, bare)]
        if difference:
            known = profile.low[i] is not None
            cells += [_short(difference.p[i]), ("yes" if difference.significant[i] else "no") if known else "–"]
        counts, width = _counts(profile, i, difference), profile.widths[i]
        cells += [f"{n:,}" for n in counts] + [f"{n / width:.1f}" if width else "–" for n in counts]
        cells.append(escape("; ".join((*profile.notes[i], *profile.facts[i]))))
        rows.append("<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")
    what = (
        f"{track.label} · {title} · {profile.metric} ({profile.method}), d = {profile.d}, {profile.examples:,} examples"
    )
    if difference:
        test = "max-T, paired by example" if difference.paired else "Bonferroni"
        what += f"; B − A, tested at {difference.tested} layers ({test})"
    body = "".join(rows)
    return f'<h2>{escape(what)}</h2><div class="table"><table><tr>{head}</tr>{body}</table></div>'


def _short(number: float | None) -> str:
    """As many digits as the circles of the charts say; the CSV has all of them."""
    return "–" if number is None else f"{number:.6g}"


def _facts(measurement: Measurement) -> str:
    """What the numbers of a measurement depend on."""
    said: Mapping[str, object] = {
        "model": measurement.model,
        "slice": measurement.slice,
        "examples": measurement.examples,
        "accuracy": accuracy_text(measurement) or None,
        "complete": measurement.complete,
        **{f"tokens, {modality}": count for modality, count in measurement.tokens.items()},
        **{f"refused, {stream}": why for stream, why in measurement.refused.items()},
        **measurement.provenance,
    }
    rows = (f"<tr><th>{escape(str(k))}</th><td>{escape(str(v))}</td></tr>" for k, v in said.items() if v is not None)
    return f'<h2>{escape(measurement.model)}</h2><div class="table"><table class="facts">{"".join(rows)}</table></div>'
