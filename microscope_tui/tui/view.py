"""From what is chosen and what is known to what each pane shows: pure functions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from microscope_tui.terms import METHODS, JobState, Measurement, Modality, Profile, Request, Stream
from microscope_tui.tui.curves import Line, limits
from microscope_tui.tui.desk import Desk, Known
from microscope_tui.tui.readout import progress, short_name
from microscope_tui.tui.session import Session

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


@dataclass(frozen=True)
class Series:
    """One model in one pane: its profile, or the sentence that stands where it would be."""

    number: int
    label: str
    profile: Profile | None
    status: str = ""
    severe: bool = False


@dataclass(frozen=True)
class PaneView:
    """All that a pane shows, but for the cursor. `last` is the last layer of the x axis."""

    modality: Modality
    stream: Stream
    series: tuple[Series, ...]
    last: int
    partial: str = ""
    ys: tuple[float, float] | None = None
    """The range of the y axis, None for that of its own values."""

    @property
    def title(self) -> str:
        return f"{self.modality} · {STREAM_TITLES[self.stream]}"

    @property
    def meaning(self) -> str:
        return STREAM_MEANING[self.stream]

    @property
    def drawn(self) -> tuple[Series, ...]:
        """The series that have at least one value."""
        return tuple(s for s in self.series if s.profile and any(v is not None for v in s.profile.value))

    @property
    def lines(self) -> tuple[Line, ...]:
        """What the chart draws."""
        return tuple(
            Line(p.layers, p.value, p.low, p.high, s.number) for s in self.drawn if (p := s.profile) is not None
        )


def methods_measured(session: Session, measurements: Sequence[Measurement | None]) -> tuple[str, ...]:
    """The variants of the session's metric that any of the measurements has, in their order."""
    have = {p.method for m in measurements if m for p in m.profiles if p.metric is session.metric}
    known = METHODS[session.metric]
    return (*(method for method in known if method in have), *sorted(have - set(known)))


def last_layer(measurements: Sequence[Measurement | None]) -> int:
    """The last layer of any profile: the end of every x axis."""
    return max((p.layers[-1] for m in measurements if m for p in m.profiles if p.layers), default=0)


def pane_views(session: Session, desk: Desk, requests: Sequence[Request]) -> tuple[PaneView, ...]:
    """What the panes of the session show, row by row."""
    known = [desk.of(request) for request in requests]
    measurements = [k.measurement for k in known]
    method = session.method(methods_measured(session, measurements))
    last = last_layer(measurements)
    labels = labels_of(session.models)
    parts = [
        f"{m.examples:,} ex" if len(requests) == 1 else f"{label}: {m.examples:,} ex"
        for label, m in zip(labels, measurements, strict=True)
        if m and not m.complete
    ]
    views = tuple(
        PaneView(
            modality,
            stream,
            tuple(
                _series(i, labels[i], session, desk, known[i], modality, stream, method) for i in range(len(requests))
            ),
            last,
            "partial, " + ", ".join(parts) if parts else "",
        )
        for modality, stream in session.panes
    )
    if not session.same_y:
        return views
    ys = limits([line for view in views for line in view.lines])
    return tuple(replace(view, ys=ys) for view in views)


def labels_of(models: Sequence[str]) -> tuple[str, ...]:
    """A short name for each model; the full ones where the short ones are the same."""
    short = tuple(short_name(model) for model in models)
    return short if len(set(short)) == len(short) else tuple(models)


def _series(
    number: int, label: str, session: Session, desk: Desk, known: Known, modality: Modality, stream: Stream, method: str
) -> Series:
    measurement = known.measurement
    profile = measurement.profile(session.metric, modality, stream, method) if measurement else None
    if profile is None:
        status, severe = _status(session, desk, known, modality, stream, method)
        return Series(number, label, None, status, severe)
    if all(value is None for value in profile.value):
        reason = next((notes[0] for notes in profile.notes if notes), "no value at any layer")
        return Series(number, label, profile, f"undefined: {reason}")
    if known.error:
        return Series(number, label, profile, known.error, True)
    return Series(number, label, profile)


def _status(
    session: Session, desk: Desk, known: Known, modality: Modality, stream: Stream, method: str
) -> tuple[str, bool]:
    """Why there is no profile, in a sentence, and whether something is wrong."""
    measurement, job = known.measurement, known.job
    if measurement and (refused := measurement.refused.get(stream)):
        return f"{stream} refused: {refused}", True
    if known.error:
        return known.error, True
    if measurement and measurement.complete:
        if not measurement.tokens.get(modality, 0):
            return f"This slice has no {modality} tokens for this model.", False
        return (
            f"{session.metric} ({method}) was not measured for {modality} · {stream}: v shows another variant.",
            False,
        )
    if job is None:
        return "looking into the store …", False
    if job.state is JobState.QUEUED:
        ahead = desk.ahead(job)
        return (
            "queued: the worker takes it up now" if not ahead else f"queued behind {ahead} · j shows the jobs"
        ), False
    if job.state is JobState.CANCELLED:
        return "cancelled · r measures again", True
    if job.state is JobState.DONE:
        return "done: reading the result …", False
    now = progress(job)
    return (f"{now} · the first values come with the first examples" if job.progress.done == 0 else now), False


def worker_state(desk: Desk, requests: Sequence[Request], width: int) -> tuple[str, str]:
    """What the worker does, in at most `width` cells, and how: `idle`, `busy`, `waiting` or `failed`."""
    known = [desk.of(request) for request in requests]
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
