"""What is on the screen, for other programs and for papers: apart from the screen, and written in threads."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from html import unescape
from itertools import accumulate
from pathlib import Path
from typing import Any

from rich.cells import cell_len

from microscope_tui import figures
from microscope_tui.errors import MicroscopeError
from microscope_tui.figures import Figure, Panel, Track
from microscope_tui.results import Measurement, Profile
from microscope_tui.tables import interval, number, profile_csv
from microscope_tui.terms import Request
from microscope_tui.tui.content.difference import Difference
from microscope_tui.tui.content.measured import methods_measured, shown
from microscope_tui.tui.content.names import short_name, slice_names
from microscope_tui.tui.content.view import PaneView, pane_views
from microscope_tui.tui.data.desk import Desk
from microscope_tui.tui.output import records
from microscope_tui.tui.session import Session


@dataclass(frozen=True)
class Seen:
    """What the screen shows: its panes (the zoomed one alone), and by slot the measurement behind each curve."""

    session: Session
    views: tuple[PaneView, ...]
    measurements: Mapping[int, Measurement]
    method: str

    @property
    def profiles(self) -> list[tuple[Measurement, Profile]]:
        """Each curve of each pane with the measurement it is of."""
        series = [series for view in self.views for series in view.series]
        return [(self.measurements[each.number], each.profile) for each in series if each.profile]

    @property
    def differences(self) -> list[tuple[Measurement, Measurement, Difference]]:
        """Each difference of each pane with the measurement taken off, and that which it is taken off from."""
        first = self.measurements.get(self.session.slots[0])
        series = [series for view in self.views for series in view.series]
        return [(first, self.measurements[s.number], s.difference) for s in series if s.difference and first]


def seen(session: Session, desk: Desk, requests: Sequence[Request]) -> Seen | None:
    """What the screen shows, None while there is nothing on it."""
    found = {slot: each.measurement for slot, each in zip(session.slots, shown(desk, requests), strict=True)}
    views = pane_views(session, desk, requests)
    views = (views[session.pane],) if session.zoomed else views
    if not any(series.profile for view in views for series in view.series):
        return None
    method = session.method(methods_measured(session, tuple(found.values())))
    return Seen(session, views, {slot: each for slot, each in found.items() if each}, method)


def to_csv(seen: Seen) -> str:
    """One row for each layer of each curve shown."""
    if seen.session.differing:
        return records.to_csv(row for found in seen.differences for row in records.difference_records(*found))
    return profile_csv(seen.profiles)


def to_json(seen: Seen) -> str:
    """A list with one object a curve, as `microscope-tui measure --json` prints it, with the profiles shown.

    A difference has both measurements so, without profiles, as `a` and `b`, and lists beside those of its profiles.
    """
    objects: dict[str, dict[str, Any]] = {}
    if seen.session.differing:
        for a, b, found in seen.differences:
            both = {"a": {**a.to_json(), "profiles": []}, "b": {**b.to_json(), "profiles": []}}
            data = objects.setdefault(f"{b.model} on {b.slice}", {**both, "profiles": []})
            data["profiles"].append(_difference_json(found))
        return _written(objects)
    for measurement, profile in seen.profiles:
        name = f"{measurement.model} on {measurement.slice}"
        data = objects.setdefault(name, {**measurement.to_json(), "profiles": []})
        data["profiles"].append(profile.to_json())
    return _written(objects)


def _written(objects: Mapping[str, Any]) -> str:
    return json.dumps(list(objects.values()), indent=2, ensure_ascii=False) + "\n"


def _difference_json(found: Difference) -> dict[str, Any]:
    """The profile of a difference with its test: lists with one entry a layer, but for `tested` and `paired`."""
    data = found.profile.to_json()
    for name in ("n", "n_over_d"):  # of which of the two?
        del data[name]
    bounded = [low is not None for low in found.profile.low]
    return {
        **data,
        "n_a": [n for n, _ in found.rows],
        "n_b": [n for _, n in found.rows],
        "p": list(found.p),
        "significant": [s if known else None for s, known in zip(found.significant, bounded, strict=True)],
        "tested": found.tested,
        "paired": found.paired,
    }


def to_figure(seen: Seen) -> Figure:
    """What the screen shows, to be drawn."""
    session = seen.session
    panels = tuple(
        Panel(
            view.title,
            tuple(Track(s.label, s.number, s.places, s.profile) for s in view.series if s.profile),
            view.axes.log,
        )
        for view in seen.views
    )
    of = "; ".join(f"{m.model} on {m.slice}, {m.examples:,} examples" for m in seen.measurements.values())
    sign = "difference in " if session.differing else ""
    return Figure(
        panels,
        1 if session.zoomed else len(session.streams),
        ylabel=f"{sign}{session.metric} ({seen.method})",
        xlabel="relative depth" if session.depth else "layer",
        caption=of + ".",
    )


def value_text(seen: Seen, view: PaneView) -> str:
    """The values at the cursor of a pane, a line for each curve."""
    lines = []
    signed = bool(view.less)  # as on the screen: of a difference, to which side matters most
    for series in view.series:
        if (p := series.profile) is None:
            continue
        layer = series.layer(seen.session.layer)
        i = p.layers.index(layer) if layer in p.layers else None
        if i is None or (value := p.value[i]) is None:
            said = "undefined" if i is not None else "not measured"
        else:
            bounds = interval(p.low[i], p.high[i], p.metric, signed=signed)
            said = f"{number(value, p.metric, signed=signed)} {bounds}".rstrip() + f" n={p.n[i]}"
        lines.append(f"{series.label}\t{view.title}\t{p.metric} ({p.method})\tlayer {layer}\t{said}")
    return "\n".join(lines)


@dataclass(frozen=True)
class Format:
    """Something that can be written: the end of the file's name, what it is for people, and the suffix that decides
    what must be installed for it (empty: nothing)."""

    ending: str
    what: str
    needs: str = ""

    @property
    def missing(self) -> str:
        """The command that installs what is missing, empty when nothing is."""
        return figures.missing(self.needs) if self.needs else ""


FORMATS: tuple[Format, ...] = (
    Format(".csv", "a row for each layer of each curve"),
    Format(".json", "the same as `measure --json`, with what the numbers depend on"),
    Format(".html", "a page with charts and every number, complete in itself"),
    Format("-figure.pdf", "a figure for a paper", "pdf"),
    Format("-figure.svg", "the same figure, for editing", "svg"),
    Format("-screen.svg", "the screen as it is"),
    Format("-screen.png", "the screen as a picture", "png"),
)


def save(format: Format, seen: Seen, screen: str, folder: Path, stem: str) -> Path:
    """Write what is seen in a format; `screen` is Textual's SVG of it. Blocks. Raises `MicroscopeError`."""
    file = folder / f"{stem}{format.ending}"
    if format.ending.startswith("-figure"):
        figures.write_figure(to_figure(seen), file)
    elif format.needs == "png":
        figures.write_png(bare(screen), file)
    else:
        write(folder, {file.name: _text(format, seen, screen)})
    return file


def _text(format: Format, seen: Seen, screen: str) -> str:
    if format.ending == ".csv":
        return to_csv(seen)
    if format.ending == ".json":
        return to_json(seen)
    if format.ending == "-screen.svg":
        return bare(screen)
    from microscope_tui.tui.output.page import page  # here, because few ever need it

    names = " and ".join(dict.fromkeys(short_name(m.model) for m in seen.measurements.values()))
    title = f"{names}: {seen.session.metric} by layer"
    differences = {(view.title, s.number): s.difference for view in seen.views for s in view.series if s.difference}
    return page(title, to_figure(seen), list(seen.measurements.values()), differences)


def bare(svg: str) -> str:
    """Textual's picture of a screen, such that it is the same wherever it is drawn.

    It asks no server for its font: without one it is drawn in any monospace font. And each sign stands in its own cell:
    braille comes from another font, mostly a wider one, in which a long line would end beside its last layer.
    """
    svg = re.sub(r'\s*(,\s*)?url\("https?://[^"]*"\)\s*format\("[^"]*"\)', "", svg)
    return re.sub(r' x="([\d.]+)" (y="[\d.]+") textLength="([\d.]+)"([^>]*)>([^<]*)<', _in_cells, svg)


def _in_cells(run: re.Match[str]) -> str:
    left, y, length, rest, said = run.groups()
    text = unescape(said)
    if all(sign <= "ÿ" for sign in text):  # in every font that has letters
        return run[0]
    width = float(length) / cell_len(text)
    at = accumulate((cell_len(sign) * width for sign in text), initial=float(left))
    return f' x="{" ".join(f"{x:g}" for x in list(at)[:-1])}" {y}{rest}>{said}<'


def file_stem(session: Session, now: datetime, what: str = "") -> str:
    """A file name that says what is in it, the slices with their options and the variant, safe on every file system.

    `what` a screen that looks closer shows stands for the metric: dimension's rows and a difference are none of it.
    """
    models = dict.fromkeys(short_name(curve.model) for curve in session.curves)
    slices = dict.fromkeys(slice_names([curve.slice])[0] for curve in session.curves)
    variant = [what] if what else [session.metric, session.method()]
    variant += [*(f"without-{rows}" for rows in session.without or ()), *["one-tile"] * session.one_tile]
    if not what:
        variant += [f"n-{session.rows}"] * bool(session.rows) + ["difference"] * session.differing
    parts = (re.sub(r"[^A-Za-z0-9.]+", "-", "-".join(words)).strip("-.") for words in (models, slices, variant))
    name = "-".join(part[:60].strip("-.") for part in parts if part)
    return f"{name}-{now:%Y%m%d-%H%M%S}"


def write(folder: Path, files: dict[str, str]) -> list[Path]:
    """Write texts under names in a folder, each as a whole or not at all. Raises `MicroscopeError` when it cannot be
    written to, or is full."""
    written = []
    for name, text in files.items():
        path, part = folder / name, folder / f".{name}.part"
        try:
            part.write_text(text, encoding="utf-8")
            part.replace(path)
        except OSError as error:
            with suppress(OSError):
                part.unlink(missing_ok=True)
            raise MicroscopeError(f"{path} cannot be written ({error.strerror}): name another folder.") from error
        written.append(path)
    return written


def saved(files: Sequence[Path]) -> str:
    """That files were written, in a sentence of one line where it fits."""
    return "saved " + " and ".join(map(_near, files))


def _near(file: Path) -> str:
    """A path from the current folder on where it is in that, which is shorter."""
    with suppress(OSError, ValueError):
        return f"./{file.relative_to(Path.cwd())}"
    return str(file)
