"""The status of what has no value yet: of a curve, of the worker, and in a window that is too small for any."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from microscope_tui.errors import Fault
from microscope_tui.results import Measurement
from microscope_tui.tables import unlike
from microscope_tui.terms import Job, JobKind, JobState, Modality, Request, Stream
from microscope_tui.tui.content.names import short_name, slice_names
from microscope_tui.tui.content.readout import progress, shorten, shorten_end
from microscope_tui.tui.content.work import what_of
from microscope_tui.tui.data.desk import Desk, Known
from microscope_tui.tui.keys import hint, key_of
from microscope_tui.tui.session import Session

if TYPE_CHECKING:
    from microscope_tui.tui.data.looks import Seen

LEAST = (60, 20)
"""Columns and rows below which nothing can be read but a pane alone."""
LEAST_ALONE = (40, 10)
"""Columns and rows below which that cannot be read either."""

LEAST_NAME = 6
"""Cells in which a name can still be told from another one."""

LEAST_WORDS = 24
"""Cells from which there is room for whose work it is beside how far it is."""

REMEDIES = {"pick_model": "other model", "pick_slice": "other slice", "cache": "cache", "jobs": "log"}
"""The deeds that may mend what is wrong, and what they give, in two words."""

MENDING = {
    Fault.MODEL: "pick_model",
    Fault.SLICE: "pick_slice",
    Fault.CACHE: "cache",
    Fault.WORKER: "jobs",
}
"""Which of them mends what."""

NO_UPDATE = {
    Stream.MAIN: "to the main stream nothing is added",
    Stream.UPDATE: "that of the update stream is its in-sample score",
}
"""Why there is no linearity of the update of a stream."""


def is_small(width: int, height: int) -> bool:
    """Whether nothing can be read in a window, but perhaps a pane alone."""
    return width < LEAST[0] or height < LEAST[1]


def is_tiny(width: int, height: int) -> bool:
    """Whether not even a pane alone can be read in a window."""
    return width < LEAST_ALONE[0] or height < LEAST_ALONE[1]


def too_small(size: tuple[int, int], what: str, least: tuple[int, int], leaves: str) -> str:
    """What is said in a window of this size, too small for what stands in it, and how to leave that."""
    width, height = size
    return f"This window is {width}x{height}.\n{what} needs\n{least[0]}x{least[1]} or more.\n\n{leaves}"


def remedy_of(known: Known) -> str:
    """The deed of `REMEDIES` that may mend what is wrong; empty where that is not known, and where the user has
    cancelled, which needs none."""
    job = known.job
    if known.error is not None:
        fault = known.fault
    elif job and job.error:
        fault = job.fault
    else:  # a stream that the model is refused for
        fault = None if job and job.state is JobState.CANCELLED else Fault.MODEL
    return MENDING[fault] if fault else ""


def status_of(
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
    if method == "update" and stream in NO_UPDATE:
        return f"The linearity of the update is of the residual stream: {NO_UPDATE[stream]}.", False
    if measurement and measurement.complete:
        if not measurement.tokens.get(modality, 0):
            return f"This slice has no {modality} tokens for this model.", False
        what = f"{session.metric} ({method}) was not measured for {modality} · {stream}"
        return f"{what}: {key_of('variant')} shows another variant.", False
    if job is None:
        return "looking into the store …", False
    if job.state is JobState.QUEUED:
        if job.error:
            return job.error, True
        ahead, first = desk.ahead(job), desk.running()
        if not ahead:
            return "queued: the worker takes it up now", False
        behind = "1 job" if ahead == 1 else f"{ahead} jobs"
        shown = [(curve.model, curve.slice) for curve in session.curves]
        if first and (first.request.model, first.request.slice) not in shown:
            of = f"{short_name(first.request.model)} on {slice_names([first.request.slice])[0]}"
            keys = hint("jobs", ("pause", "cancel"))
            return f"queued behind {behind} ({of} runs) · {key_of('jobs')}, then {keys}", False
        return f"queued behind {behind} · {key_of('jobs')} shows the jobs", False
    if job.state is JobState.PAUSED:
        return f"{paused_at(job)} · {key_of('again')} goes on", False
    if job.state is JobState.CANCELLED:
        return f"cancelled · {key_of('again')} measures again", True
    if job.state is JobState.DONE:
        return "done: reading the result …", False
    now = progress(job)
    return (f"{now} · the first values come with the first examples" if job.progress.done == 0 else now), False


def paused_at(job: Job) -> str:
    """How far a paused job is: `paused at 8 of 64 ex`."""
    now = job.progress
    return f"paused at {now.done:,} of {now.total:,} ex" if now.counts_examples and now.total else "paused"


def status_of_look(seen: Seen, desk: Desk) -> tuple[str, bool]:
    """Why a look has no value yet, in a sentence, and whether something is wrong."""
    if seen.error:
        return seen.error, True
    if seen.job is None:
        return "looking into the store …", False
    if seen.job.state is JobState.QUEUED:
        if seen.job.error:
            return seen.job.error, True
        running = desk.running()
        return (
            f"queued · the worker is at: {progress(running)}" if running else "queued: the worker takes it up now"
        ), False
    if seen.job.state is JobState.DONE:
        return "done: reading the result …", False
    return progress(seen.job), False


def told_from(job: Job, requests: Sequence[Request], width: int = 200) -> str:
    """What a job that is not for what is looked at makes, in few words and at most `width` cells: how it differs from
    that."""
    asked, models = job.request, {request.model for request in requests}
    name = short_name(asked.model)
    if job.kind is not JobKind.MEASURE:
        return _named(what_of(job), " of ", name, "", width)
    same = next((request for request in requests if (request.model, request.slice) == (asked.model, asked.slice)), None)
    if same:
        variant = unlike(asked, same) or "with other settings"
        return _named("", "", "" if len(models) == 1 else name, f" {variant}", width)
    known = asked.slice in {request.slice for request in requests}
    on = "" if known else f" on {shorten(slice_names([asked.slice])[0], width // 2)}"
    return _named("", "", name, on, width)


def _named(before: str, of: str, name: str, after: str, width: int) -> str:
    """A name with what is said of it, in at most `width` cells: the name is cut in its middle, or left out where
    nothing could be told from what is left of it, before a word of the rest is."""
    room = width - len(before + of + after)
    if not name or room < min(len(name), LEAST_NAME):
        return shorten_end((before + after).strip(), width)
    return f"{before}{of}{shorten(name, room)}{after}"


def worker_state(desk: Desk, requests: Sequence[Request], width: int) -> tuple[str, str]:
    """What the worker does, in at most `width` cells, and how: `idle`, `busy`, `waiting` or `failed`."""
    known = [desk.of(request) for request in requests]
    if desk.read_only:
        return "read-only", "waiting"
    if desk.worker:
        return f"worker gone: {key_of('again')} starts it again", "failed"
    mine = next((k.job for k in known if k.job and k.job.state is JobState.RUNNING), None)
    if mine:
        named = len(requests) > 1 and width >= LEAST_WORDS
        name = f"{shorten(short_name(mine.request.model), width // 3)}: " if named else ""
        return name + progress(mine, max(width - len(name), 10)), "busy"
    if job := desk.running():
        if width < LEAST_WORDS:
            return "another job runs", "busy"
        room = max(width - 22, 10)  # what it is, and how far
        said = f"{told_from(job, requests, room)}: "
        return said + progress(job, max(width - len(said), 10)), "busy"
    if error := next((k.error for k in known if k.error), None):
        return f"failed: {error}", "failed"
    if held := next((job for job in desk.queued() if job.error), None):
        return f"{held.progress.phase}: {held.error}", "failed"
    if paused := next((k.paused for k in known if k.paused), None):
        return f"{paused_at(paused)}: {key_of('again')} goes on", "waiting"
    if waiting := len(desk.queued()):
        return f"{waiting} queued", "waiting"
    if any(k.job is None and not k.complete for k in known):
        return "asking …", "waiting"
    return "worker idle", "idle"
