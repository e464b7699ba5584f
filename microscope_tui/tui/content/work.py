"""The worker's jobs as people read them: in which order, in which columns, and what the log says of one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final

from microscope_tui.tables import duration, variant_of
from microscope_tui.terms import KIND_WORDS, Job, JobKind, JobState
from microscope_tui.tui.content.names import short_names, slice_names
from microscope_tui.tui.content.readout import progress, shorten, shorten_end

SIGNS: Final[Mapping[JobState, str]] = {
    JobState.QUEUED: "·",
    JobState.RUNNING: "▶",
    JobState.PAUSED: "‖",
    JobState.DONE: "✓",
    JobState.FAILED: "✗",
    JobState.CANCELLED: "✗",
}

PADDING: Final = 2
"""Cells that a table leaves beside the text of each column."""
FIXED: Final[Mapping[str, int]] = {"state": 15, "job": 14}
"""The columns that need no more, with their widths."""
WIDE: Final[Mapping[str, int]] = {"progress": 30, "asked": 11}
"""Those that are there where there is room."""
ROOMY: Final = 110
"""Cells from which on there is."""
TELLING: Final[Mapping[str, int]] = {"job": 28}
"""The width of what a job makes where there is room for all that is not as usual."""
SPACIOUS: Final = 140
"""Cells from which on there is."""


def in_view(jobs: Sequence[Job]) -> list[Job]:
    """The running jobs, the waiting ones in their order, then those that have ended, the newest first; last those that
    were cancelled before they began, of which there may be many."""
    running = [job for job in jobs if job.state is JobState.RUNNING]
    waiting = [job for job in jobs if job.state.waits]
    ended = [job for job in jobs if job.state.ended]
    return [*running, *waiting, *sorted(ended, key=lambda job: (_never_began(job), -job.created))]


def _never_began(job: Job) -> bool:
    return job.state is JobState.CANCELLED and job.started is None and not job.progress.done


def columns(width: int) -> dict[str, int]:
    """The columns of the table of jobs with their widths, for so many cells: the names share what others leave."""
    wide = WIDE if width >= ROOMY else {}
    fixed = {**FIXED, **(TELLING if width >= SPACIOUS else {})}
    room = width - 1 - sum((*fixed.values(), *wide.values())) - PADDING * (len(fixed) + len(wide) + 2)  # 1: to scroll
    model = max(room * 2 // 5, 8)
    return {**fixed, "model": model, "slice": max(room - model, 8), **wide}


def cells(jobs: Sequence[Job], widths: Mapping[str, int], *, lives: bool = True) -> list[tuple[str, ...]]:
    """A row for each job of a worker that `lives`, every name cut in its middle to the width of its column."""
    models = short_names([job.request.model for job in jobs])
    return [
        tuple(_cell(job, model, column, width, lives) for column, width in widths.items())
        for job, model in zip(jobs, models, strict=True)
    ]


def _cell(job: Job, model: str, column: str, width: int, lives: bool) -> str:
    match column:
        case "state":
            return state_of(job, lives=lives)
        case "job":
            return shorten_end(told_of(job), width)
        case "model":
            return shorten(model, width)
        case "slice":
            return shorten(slice_names([job.request.slice])[0], width)
        case "progress":
            told = job.state is JobState.FAILED or job.error or (job.state is JobState.RUNNING and lives)
            return shorten_end(progress(job, width), width) if told else ""
        case _:
            return moment(job.created)


def state_of(job: Job, *, lives: bool = True) -> str:
    """Where a job stands, and how far it is or how long it took: `▶ running 52 %`, `✓ done 0:41`. One that runs in a
    worker that is no longer there was cut off.

    The number is always the share of the examples that are measured, so it only grows: before the first and after the
    last of them a word says what is done. A look has no such number.
    """
    if job.state is JobState.QUEUED and job.error:
        return f"{SIGNS[job.state]} {job.progress.phase}"
    said = f"{SIGNS[job.state]} {job.state}" if lives or job.state is not JobState.RUNNING else "✗ cut off"
    if job.state is JobState.DONE and job.started and job.ended:
        return f"{said} {duration(job.ended - job.started)}"
    if job.state not in (JobState.RUNNING, JobState.PAUSED):
        return said
    now = job.now
    if job.kind is not JobKind.MEASURE:
        return said
    if lives and job.state is JobState.RUNNING and not now.counts_examples:
        return f"{SIGNS[job.state]} {now.phase.partition(' ')[0]}"
    return f"{said} {100 * now.done // now.total} %" if now.counts_examples and now.total else said


def told_of(job: Job) -> str:
    """What a job makes, of which rows where these are not the usual ones: `one tile`, `tokens, ex 3, without sinks`."""
    variant = variant_of(job.request)
    return variant if variant and job.kind is JobKind.MEASURE else ", ".join(filter(None, (what_of(job), variant)))


def what_of(job: Job) -> str:
    """What a job makes, of which example where it is of one."""
    return f"{KIND_WORDS[job.kind]}, ex {job.example}" if job.example is not None else KIND_WORDS[job.kind]


def moment(seconds: float) -> str:
    """A time of day, with the date where it is not today's."""
    if not seconds:
        return "–"
    then = datetime.fromtimestamp(seconds)
    return then.strftime("%H:%M:%S" if then.date() == datetime.now().date() else "%m-%d %H:%M")


def lines_of(job: Job, lines: Sequence[str]) -> list[str]:
    """The lines of a log that were written while a job ran: from its first mention to the first of another one."""
    found: list[str] = []
    own = False
    for line in lines:
        if "job " in line and (mentioned := line.partition("job ")[2]):
            own = mentioned.startswith(job.id)
        if own:
            found.append(line)
    return found
