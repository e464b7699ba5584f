"""From what is chosen and what is known to what each pane shows: pure functions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from microscope_tui.results import Measurement, Profile
from microscope_tui.terms import METHODS, JobState, Metric, Modality, Request, SliceSpec, Stream
from microscope_tui.tui.content.curves import Axes, Line, limits, nearest
from microscope_tui.tui.content.difference import difference
from microscope_tui.tui.content.readout import NOTHING, pieces, progress, short_name
from microscope_tui.tui.data.desk import Desk, Known
from microscope_tui.tui.keys import key_of
from microscope_tui.tui.session import Curve, Session

STREAM_TITLES = {
    Stream.RESIDUAL: "residual",
    Stream.UPDATE: "update",
    Stream.MAIN: "main",
}
STREAM_MEANING = {
    Stream.RESIDUAL: "hidden states",
    Stream.UPDATE: "what a block adds",
    Stream.MAIN: "counterfactual",
}


REMEDIES = {"pick_model": "other model", "pick_slice": "other slice", "cache": "cache", "jobs": "log"}
"""The deeds that may mend what is wrong, and what they give, in two words."""


@dataclass(frozen=True)
class Shown:
    """What is known of one curve. `measurement` answers the request `of`: until the one that is asked for is there,
    that is one of the same model and slice with other rows left out, if there is any."""

    request: Request
    known: Known
    measurement: Measurement | None
    of: Request


@dataclass(frozen=True)
class Series:
    """One curve in one pane: its profile, or the sentence that stands where it would be.

    `places` are where its layers stand on the x axis. `sinks` is the share of rows with a massive norm, None where it
    is not known. `marks` say of a difference which layers are significant. `remedy` is the deed of `REMEDIES` that may
    mend what is `severe`. `skipped` counts the examples that could not be used, `noted` what else is to know of the
    whole measurement.
    """

    number: int
    label: str
    profile: Profile | None
    status: str = ""
    severe: bool = False
    places: tuple[float, ...] = ()
    sinks: float | None = None
    marks: tuple[bool, ...] = ()
    pinned: bool = False
    remedy: str = "pick_model"
    skipped: int = 0
    noted: int = 0

    def layer(self, position: int) -> int:
        """The layer of its own that the cursor means."""
        index = nearest(self.places, position)
        return position if self.profile is None or index is None else self.profile.layers[index]


@dataclass(frozen=True)
class PaneView:
    """All that a pane shows, but for the cursor. `stand_in` says what is shown until what is asked for is there;
    `less` is the label of the curve that was subtracted from these, empty where they are shown themselves. `widest` is
    the length of the longest title beside it."""

    modality: Modality
    stream: Stream
    series: tuple[Series, ...]
    axes: Axes
    partial: str = ""
    stand_in: str = ""
    less: str = ""
    widest: int = 0

    @property
    def title(self) -> str:
        return f"{self.modality} · {STREAM_TITLES[self.stream]}"

    @property
    def meaning(self) -> str:
        return f"less {self.less}" if self.less else STREAM_MEANING[self.stream]

    @property
    def warning(self) -> str:
        """What keeps these numbers from being those that were asked for, empty for nothing."""
        return ", ".join(text for text in (self.stand_in, self.partial) if text)

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
        return [(NOTHING, f"{view.axes.label(position)}: not measured for this")]
    said = pieces(series.profile, layer, sinks=series.sinks, signed=bool(view.less))
    return [said[0], (2, f"layer {layer}"), *said[1:]] if view.axes.depth and len(said) > 1 else said


def shown(desk: Desk, request: Request) -> Shown:
    """What there is to show for a request."""
    known = desk.of(request)
    if known.measurement is None:
        stand_ins = [
            Shown(request, known, stood_in.measurement, other)
            for other, stood_in in reversed(desk.known.items())
            if stood_in.measurement and _same_but_for_rows(other, request)
        ]
        if stand_ins:
            return next((s for s in stand_ins if s.measurement and s.measurement.complete), stand_ins[0])
    return Shown(request, known, known.measurement, request)


def _same_but_for_rows(one: Request, other: Request) -> bool:
    """Whether two requests differ in nothing but which rows count and what stands beside them."""
    return one == replace(
        other,
        without=one.without,
        one_tile=one.one_tile,
        before=one.before,
        reference=one.reference,
        sample_tokens=one.sample_tokens,
    )


def counted(request: Request) -> str:
    """Which rows a request counts, in few words: `all rows`, `without sinks, one tile`."""
    said = [f"without {', '.join(request.without)}"] if request.without else []
    said += ["one tile"] * request.one_tile
    return ", ".join(said) or "all rows"


def unlike(one: Request, other: Request) -> str:
    """What a request counts or measures, in few words, by which it differs from another one."""
    said = [counted(one)] if counted(one) != counted(other) else []
    if one.sample_tokens != other.sample_tokens:
        said.append(f"{one.sample_tokens:,} rows at most")
    if one.before != other.before:
        said.append("from the vision tower on" if one.before else "the decoder alone")
    if one.reference != other.reference:
        said.append("with the reference's values" if one.reference else "without the reference's values")
    return ", ".join(said)


def methods_measured(session: Session, measurements: Sequence[Measurement | None]) -> tuple[str, ...]:
    """The variants of the session's metric that any of the measurements has, in their order."""
    have = {p.method for m in measurements if m for p in m.profiles if p.metric is session.metric}
    known = METHODS[session.metric]
    return (*(method for method in known if method in have), *sorted(have - set(known)))


def modalities_measured(measurements: Sequence[Measurement | None]) -> tuple[Modality, ...]:
    """The modalities that any of the measurements has tokens of."""
    return tuple(m for m in Modality if any(found and found.tokens.get(m, 0) for found in measurements))


def fewest_rows(measurements: Sequence[Measurement | None]) -> int | None:
    """The tokens of the modality and curve that have the fewest, None where nothing is measured."""
    return min((n for m in measurements if m for n in m.tokens.values() if n), default=None)


def last_layer(measurements: Sequence[Measurement | None]) -> int:
    """L of the deepest model: the end of every x axis."""
    return max((depth_of(m) for m in measurements if m), default=0)


def first_layer(measurements: Sequence[Measurement | None]) -> int:
    """The first layer of any profile, below 0 where there are stages before the decoder."""
    return min((p.layers[0] for m in measurements if m for p in m.profiles if p.layers), default=0)


def depth_of(measurement: Measurement) -> int:
    """L: the last state, which is one more than the last block."""
    return max((p.layers[-1] + _of_blocks(p) for p in measurement.profiles if p.layers), default=0)


def _of_blocks(profile: Profile) -> bool:
    return profile.metric is Metric.LINEARITY or profile.stream is Stream.UPDATE


def pane_views(session: Session, desk: Desk, requests: Sequence[Request]) -> tuple[PaneView, ...]:
    """What the panes of the session show, row by row."""
    all_shown = [shown(desk, request) for request in requests]
    measurements = [s.measurement for s in all_shown]
    method = session.method(methods_measured(session, measurements))
    labels = labels_of(session.curves)
    parts = [
        f"{m.examples:,} ex" if len(requests) == 1 else f"{label}: {m.examples:,} ex"
        for label, m in zip(labels, measurements, strict=True)
        if m and not m.complete
    ]
    views = [
        PaneView(
            modality,
            stream,
            tuple(
                _series(
                    curve, labels[i], session, desk, all_shown[i], modality, stream, method, last_layer(measurements)
                )
                for i, curve in enumerate(session.curves)
            ),
            _axes(session, measurements),
            "partial, " + ", ".join(parts) if parts else "",
            _stand_in(all_shown, labels),
        )
        for modality, stream in session.panes
    ]
    widest = max(len(view.title) for view in views)
    views = [replace(view, widest=widest) for view in views]
    if session.differing:
        views = [_differences(view, requests) for view in views]
    if not session.same_y:
        return tuple(views)
    ys = limits([line for view in views for line in view.lines], zero=session.differing)
    return tuple(replace(view, axes=replace(view.axes, ys=ys)) for view in views)


def labels_of(curves: Sequence[Curve]) -> tuple[str, ...]:
    """A short name for each curve: its model, its slice where only that differs, or both."""
    models = short_names([curve.model for curve in curves])
    slices = slice_names([curve.slice for curve in curves])
    if len({curve.slice for curve in curves}) == 1:
        return models
    if len({curve.model for curve in curves}) == 1:
        return slices
    return tuple(f"{model} on {spec}" for model, spec in zip(models, slices, strict=True))


def short_names(names: Sequence[str]) -> tuple[str, ...]:
    """Names as people call them; the full ones where the short ones of different names are the same."""
    short = [short_name(name) for name in names]
    return tuple(short) if len(set(short)) == len(set(names)) else tuple(names)


def slice_names(specs: Sequence[SliceSpec]) -> tuple[str, ...]:
    """Slices as people call them: by their options alone where they are of one source."""
    sources = short_names([spec.source for spec in specs])
    options = [str(spec).removeprefix(spec.source).lstrip("?").replace("&", " ") for spec in specs]
    if len({spec.source for spec in specs}) == 1 and len(set(specs)) > 1:
        return tuple(option or "all of it" for option in options)
    return tuple(f"{source} {option}".rstrip() for source, option in zip(sources, options, strict=True))


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
    if len(waiting) == len(all_shown) and len(set(waiting.values())) == 1:
        return f"still {next(iter(waiting.values()))}"
    return ", ".join(f"{label}: still {text}" for label, text in waiting.items())


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
        remedy=_remedy(shown.known, shown.request),
        skipped=len(measurement.skipped) if measurement else 0,
        noted=len(measurement.notes) if measurement else 0,
    )
    profile = measurement.profile(session.metric, modality, stream, method) if measurement else None
    if measurement is None or profile is None:
        status, severe = _status(session, desk, shown.known, measurement, modality, stream, method)
        return replace(series, status=status, severe=severe)
    stretch = last / depth_of(measurement) if session.depth and depth_of(measurement) else 1.0
    tokens = measurement.tokens.get(modality, 0)
    sinks = measurement.sinks.get(modality)
    series = replace(
        series,
        profile=profile,
        places=tuple(layer * stretch if layer > 0 else float(layer) for layer in profile.layers),
        sinks=sinks / tokens if sinks is not None and tokens else None,
    )
    if all(value is None for value in profile.value):
        reason = next((notes[0] for notes in profile.notes if notes), "no value at any layer")
        return replace(series, status=f"undefined: {reason}")
    return replace(series, status=shown.known.error, severe=True) if shown.known.error else series


def _remedy(known: Known, request: Request) -> str:
    """The deed of `REMEDIES` that may mend an error, told by what its sentence speaks of; empty where the user has
    cancelled, which needs none."""
    if known.error is None and known.job and known.job.state is JobState.CANCELLED:
        return ""
    said = (known.error or "").lower()
    about = {
        "jobs": ("the worker",),
        "cache": ("cache folder", "--cache", "the store in", "the disk"),
        "pick_slice": ("data set", "slice", request.slice.source.lower()),
    }
    return next((deed for deed, words in about.items() if any(word in said for word in words)), "pick_model")


def _differences(view: PaneView, requests: Sequence[Request]) -> PaneView:
    """The others as their difference to the first, which is not drawn any more."""
    first, *others = view.series
    base = first.profile
    if base is None:
        told = [replace(s, profile=None, status=f"nothing to compare with: {first.status}") for s in others]
        return replace(view, series=tuple(told), less=first.label)
    series = []
    for other, request in zip(others, requests[1:], strict=True):
        if other.profile:
            # Dimension has its intervals from more groups than folds: then the correction is on the safe side.
            groups = min(request.folds, requests[0].folds, base.examples or 1, other.profile.examples or 1)
            found = difference(base, other.profile, first.places, other.places, groups=groups)
            defined = any(value is not None for value in found.profile.value)
            said = "" if defined else next((n[0] for n in found.profile.notes if n), "undefined at every layer")
            other = replace(other, profile=found.profile, marks=found.significant, status=other.status or said)
        series.append(other)
    return replace(view, series=tuple(series), less=first.label)


def _status(
    session: Session,
    desk: Desk,
    known: Known,
    measurement: Measurement | None,
    modality: Modality,
    stream: Stream,
    method: str,
) -> tuple[str, bool]:
    """Why there is no profile, in a sentence, and whether something is wrong."""
    job = known.job
    if measurement and (refused := measurement.refused.get(stream)):
        return f"{stream} refused: {refused}", True
    if known.error:
        return known.error, True
    if measurement and measurement.complete:
        if not measurement.tokens.get(modality, 0):
            return f"This slice has no {modality} tokens for this model.", False
        what = f"{session.metric} ({method}) was not measured for {modality} · {stream}"
        return f"{what}: {key_of('variant')} shows another variant.", False
    if job is None:
        return "looking into the store …", False
    if job.state is JobState.QUEUED:
        ahead, first = desk.ahead(job), desk.running()
        if not ahead:
            return "queued: the worker takes it up now", False
        shown = [(curve.model, curve.slice) for curve in session.curves]
        if first and (first.request.model, first.request.slice) not in shown:
            of = f"{short_name(first.request.model)} on {slice_names([first.request.slice])[0]}"
            return f"queued behind {ahead}: {of} runs · {key_of('jobs')}: p pauses it, x cancels it", False
        return f"queued behind {ahead} · {key_of('jobs')} shows the jobs", False
    if job.state is JobState.PAUSED:
        return f"paused · {key_of('jobs')} shows the jobs", False
    if job.state is JobState.CANCELLED:
        return f"cancelled · {key_of('again')} measures again", True
    if job.state is JobState.DONE:
        return "done: reading the result …", False
    now = progress(job)
    return (f"{now} · the first values come with the first examples" if job.progress.done == 0 else now), False


def worker_state(desk: Desk, requests: Sequence[Request], width: int) -> tuple[str, str]:
    """What the worker does, in at most `width` cells, and how: `idle`, `busy`, `waiting` or `failed`."""
    known = [desk.of(request) for request in requests]
    if desk.read_only:
        return "read-only", "waiting"
    if desk.worker:
        return desk.worker, "failed"
    mine = next((k.job for k in known if k.job and k.job.state is JobState.RUNNING), None)
    job = mine or desk.running()
    if job:
        name = "" if len(requests) == 1 and mine else f"{short_name(job.request.model)}: "
        return name + progress(job, max(width - len(name), 10)), "busy"
    if error := next((k.error for k in known if k.error), None):
        return f"failed: {error}", "failed"
    if waiting := len(desk.queued()):
        return f"{waiting} queued", "waiting"
    if any(k.job is None and not k.complete for k in known):
        return "asking …", "waiting"
    return "worker idle", "idle"
