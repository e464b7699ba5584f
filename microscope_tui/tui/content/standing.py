"""How things stand where there is no value yet: of a curve, and of the worker."""

from __future__ import annotations

from collections.abc import Sequence

from microscope_tui.results import Measurement
from microscope_tui.terms import JobState, Modality, Request, Stream
from microscope_tui.tui.content.names import slice_names
from microscope_tui.tui.content.readout import progress, short_name
from microscope_tui.tui.data.desk import Desk, Known
from microscope_tui.tui.keys import hint, key_of
from microscope_tui.tui.session import Session

REMEDIES = {"pick_model": "other model", "pick_slice": "other slice", "cache": "cache", "jobs": "log"}
"""The deeds that may mend what is wrong, and what they give, in two words."""


def remedy_of(known: Known, request: Request) -> str:
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
            return f"queued behind {ahead}: {of} runs · {key_of('jobs')}: {hint('jobs', ('pause', 'cancel'))}", False
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
