"""From what is chosen and what is known to what each pane shows: pure functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from microscope_tui.errors import Fault
from microscope_tui.methods import METHODS
from microscope_tui.pairing import groups_in
from microscope_tui.results import Measurement, Profile
from microscope_tui.tables import unlike
from microscope_tui.terms import Metric, Modality, Request, Stream
from microscope_tui.tui.content.curves import Axes, Line, limits, nearest
from microscope_tui.tui.content.measured import (
    Shown,
    depth_of,
    first_layer,
    last_layer,
    made_otherwise,
    methods_measured,
    repeated,
    shown,
)
from microscope_tui.tui.content.names import labels_of
from microscope_tui.tui.content.readout import NOTHING, pieces
from microscope_tui.tui.content.status import remedy_of, status_of
from microscope_tui.tui.data.desk import Desk
from microscope_tui.tui.session import Curve, Session

if TYPE_CHECKING:
    from microscope_tui.tui.content.difference import Difference

STREAM_MEANING = {
    Stream.RESIDUAL: "hidden states",
    Stream.UPDATE: "what a block adds",
    Stream.MAIN: "counterfactual",
}


@dataclass(frozen=True)
class Series:
    """One curve in one pane: its profile, or the sentence that stands where it would be.

    `places` are where its layers stand on the x axis. `sinks` is the share of rows with a massive norm, None where it
    is not known. `sampled` is the dimension of the same rows, which counts those that repeat others. `difference` is
    what the profile is of, where it is one. `remedy` is the deed of `REMEDIES` that may mend what is `severe`.
    `skipped` counts the examples that could not be used, `noted` what else is to know of the whole measurement.
    """

    number: int
    label: str
    profile: Profile | None
    status: str = ""
    severe: bool = False
    places: tuple[float, ...] = ()
    sinks: float | None = None
    sampled: Profile | None = None
    difference: Difference | None = None
    pinned: bool = False
    remedy: str = "pick_model"
    skipped: int = 0
    noted: int = 0

    @property
    def marks(self) -> tuple[bool, ...]:
        """Of a difference, which layers are significant."""
        return self.difference.significant if self.difference else ()

    def layer(self, position: int) -> int:
        """The layer of its own that the cursor means."""
        index = nearest(self.places, position)
        return position if self.profile is None or index is None else self.profile.layers[index]


@dataclass(frozen=True)
class PaneView:
    """All that a pane shows, but for the cursor. `stand_in` says what is shown until what is asked for is there,
    `otherwise` how it was made where nothing is made as it is asked for; `less` is the label of the curve that was
    subtracted from these, empty where they are shown themselves, and `paired` tells of each whose layers are tested
    whether it went over the same examples. `widest` is the length of the longest title beside it."""

    modality: Modality
    stream: Stream
    series: tuple[Series, ...]
    axes: Axes
    partial: str = ""
    stand_in: str = ""
    otherwise: str = ""
    less: str = ""
    widest: int = 0
    paired: tuple[bool, ...] = ()

    @property
    def title(self) -> str:
        return f"{self.modality} · {self.stream}"

    @property
    def meaning(self) -> str:
        return f"less {self.less}" if self.less else STREAM_MEANING[self.stream]

    @property
    def warning(self) -> str:
        """What keeps these numbers from being those that were asked for, empty for nothing."""
        return ", ".join(text for text in (self.stand_in, self.otherwise, self.partial) if text)

    @property
    def drawn(self) -> tuple[Series, ...]:
        """The series that have at least one value."""
        return tuple(s for s in self.series if s.profile and any(v is not None for v in s.profile.value))

    @property
    def lines(self) -> tuple[Line, ...]:
        """What the chart draws, the one pinned on top first."""
        lines = [
            Line(s.places, p.value, p.low, p.high, s.number, p.stages, s.marks)
            for s in sorted(self.drawn, key=lambda s: not s.pinned)
            if (p := s.profile) is not None
        ]
        return tuple(line.logarithmic() if self.axes.log else line for line in lines)


def said_of(view: PaneView, series: Series, position: int) -> list[tuple[int, str]]:
    """What there is to say of a series with the cursor at a position, in reading order, each with its rank."""
    if series.profile is None:
        return [(0, series.status)]
    layer = series.layer(position)
    if layer < 0 and layer not in series.profile.layers:
        others = any(s.profile and layer in s.profile.layers for s in view.series)
        of = "this model" if others else view.title
        return [(NOTHING, f"{view.axes.label(position)}: no {series.profile.metric} measured for {of}")]
    copies = repeated(series.sampled, layer)
    said = pieces(series.profile, layer, sinks=series.sinks, copies=copies, signed=bool(view.less))
    return [said[0], (2, f"layer {layer}"), *said[1:]] if view.axes.depth and len(said) > 1 else said


def pane_views(session: Session, desk: Desk, requests: Sequence[Request]) -> tuple[PaneView, ...]:
    """What the panes of the session show, row by row."""
    all_shown = shown(desk, requests)
    measurements = [s.measurement for s in all_shown]
    method = session.method(methods_measured(session, measurements))
    labels = labels_of(session.curves)
    axes = _axes(session, measurements)
    parts = [
        f"{m.examples:,} ex" if len(requests) == 1 else f"{label}: {m.examples:,} ex"
        for label, m in zip(labels, measurements, strict=True)
        if m and not m.complete
    ]
    unfinished = [s for s in all_shown if s.measurement and not s.measurement.complete]
    stage = "paused" if all(s.of == s.request and s.known.paused for s in unfinished) else "partial"
    views = [
        PaneView(
            modality,
            stream,
            tuple(
                _series(curve, labels[i], session, desk, all_shown[i], modality, stream, method, axes.last)
                for i, curve in enumerate(session.curves)
            ),
            axes,
            f"{stage}, {', '.join(parts)}" if parts else "",
            _stand_in(all_shown, labels),
            _otherwise(all_shown, labels) if desk.read_only else "",
        )
        for modality, stream in session.panes
    ]
    widest = max(len(view.title) for view in views)
    views = [replace(view, widest=widest) for view in views]
    if session.differing:
        views = [_differences(view, requests, measurements) for view in views]
    if not session.same_y:
        return tuple(views)
    ys = limits([line for view in views for line in view.lines], zero=session.differing)
    return tuple(replace(view, axes=view.axes._replace(ys=ys)) for view in views)


def _axes(session: Session, measurements: Sequence[Measurement | None]) -> Axes:
    names = {
        layer: stage
        for m in measurements
        if m
        for p in m.profiles
        for layer, stage in zip(p.layers, p.stages, strict=True)
        if layer < 0
    }
    starts = tuple((layer, names[layer]) for layer in sorted(names) if names.get(layer - 1) != names[layer])
    return Axes(
        last_layer(measurements),
        first_layer(measurements),
        depth=session.depth,
        log=session.log_y,
        zero=session.differing,
        stages=starts,
        plain=session.thin,
    )


def _stand_in(all_shown: Sequence[Shown], labels: Sequence[str]) -> str:
    """Says which rows are shown where those asked for are still being measured."""
    waiting = {
        label: unlike(s.of, s.request)
        for label, s in zip(labels, all_shown, strict=True)
        if s.of != s.request and s.measurement
    }
    return _of_curves("still", waiting, len(all_shown))


def _otherwise(all_shown: Sequence[Shown], labels: Sequence[str]) -> str:
    """Says how the numbers were made where that is not as was asked."""
    made = {
        label: words
        for label, s in zip(labels, all_shown, strict=True)
        if s.measurement and (words := made_otherwise(s.of, s.measurement))
    }
    return _of_curves("here only", made, len(all_shown))


def _of_curves(what: str, told: Mapping[str, str], curves: int) -> str:
    """What is told of curves by their labels, once where it is the same of all."""
    if len(told) == curves and len(set(told.values())) == 1:
        return f"{what} {next(iter(told.values()))}"
    return ", ".join(f"{label}: {what} {text}" for label, text in told.items())


def _series(
    curve: Curve,
    label: str,
    session: Session,
    desk: Desk,
    shown: Shown,
    modality: Modality,
    stream: Stream,
    method: str,
    last: int,
) -> Series:
    measurement = shown.measurement
    series = Series(
        curve.slot,
        label,
        None,
        pinned=session.comparing and curve.slot == session.top,
        remedy=remedy_of(shown.known),
        skipped=len(measurement.skipped) if measurement else 0,
        noted=len(measurement.notes) if measurement else 0,
    )
    profile = measurement.profile(session.metric, modality, stream, method) if measurement else None
    if measurement is None or profile is None:
        status, severe = status_of(session, desk, shown.known, measurement, modality, stream, method)
        return replace(series, status=status, severe=severe)
    stretch = last / depth_of(measurement) if session.depth and depth_of(measurement) else 1.0
    tokens = measurement.tokens.get(modality, 0)
    sinks = measurement.sinks.get(modality)
    series = replace(
        series,
        profile=profile,
        places=tuple(layer * stretch if layer > 0 else float(layer) for layer in profile.layers),
        sinks=sinks / tokens if sinks is not None and tokens else None,
        sampled=measurement.profile(Metric.DIMENSION, modality, stream, METHODS[Metric.DIMENSION][0]),
    )
    if all(value is None for value in profile.value):
        reason = next((notes[0] for notes in profile.notes if notes), "no value at any layer")
        return replace(series, status=f"undefined: {reason}")
    if shown.known.error and not (desk.worker and shown.known.fault is Fault.WORKER):  # that one the header says
        return replace(series, status=shown.known.error, severe=True)
    return series


def _differences(view: PaneView, requests: Sequence[Request], measurements: Sequence[Measurement | None]) -> PaneView:
    """The others as their difference to the first, which is not drawn any more."""
    from microscope_tui.tui.content.difference import difference  # a start that shows none does not wait for it

    first, *others = view.series
    base = first.profile
    if base is None:
        told = [replace(s, profile=None, status=f"nothing to compare with: {first.status}") for s in others]
        return replace(view, series=tuple(told), less=first.label)
    series = []
    paired: list[bool] = []
    for other, request, measurement in zip(others, requests[1:], measurements[1:], strict=True):
        if other.profile:
            # Dimension has its intervals from more groups than folds: then the correction is on the safe side.
            groups = min(
                _groups_of(base, measurements[0], requests[0]), _groups_of(other.profile, measurement, request)
            )
            same = _same_examples(measurements[0], measurement)
            found = difference(base, other.profile, first.places, other.places, groups=groups, same_examples=same)
            paired += [found.paired] if found.tested else []
            defined = any(value is not None for value in found.profile.value)
            said = "" if defined else next((n[0] for n in found.profile.notes if n), "undefined at every layer")
            other = replace(other, profile=found.profile, difference=found, status=other.status or said)
        series.append(other)
    return replace(view, series=tuple(series), less=first.label, paired=tuple(paired))


def _groups_of(profile: Profile, measurement: Measurement | None, request: Request) -> int:
    """The groups of examples behind the intervals: the folds that memory had room for, less those without rows."""
    used = int(measurement.provenance.get("folds", request.folds)) if measurement else request.folds
    with_rows = len(groups_in([each for each in profile.influence if each])) or used
    return min(used, with_rows, profile.examples or 1)


def _same_examples(one: Measurement | None, other: Measurement | None) -> bool:
    """Whether both have gone over the same slice of the same data, to its end."""
    if one is None or other is None or not (one.complete and other.complete):
        return False
    return "slice" in one.provenance and bool(one.provenance["slice"] == other.provenance.get("slice"))
