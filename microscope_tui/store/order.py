"""In which order jobs are listed and run."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from microscope_tui.terms import Job, JobKind, JobState


def in_order(jobs: Iterable[Job], order: Sequence[str]) -> list[Job]:
    """Those that have ended, the running ones, and the waiting ones as they will be run: looks first.

    Of looks the latest comes first: it is what is on the screen now. Of measurements those that `order` names, as a
    user put them, and then the others, the oldest first.
    """
    places = {job_id: place for place, job_id in enumerate(order)}

    def place(job: Job) -> tuple[int, bool, float, float, str]:
        if job.state.ended:
            return 0, False, 0, job.created, job.id
        stage = 1 if job.state is JobState.RUNNING else 2
        if job.kind is not JobKind.MEASURE:
            return stage, False, -job.created, 0, job.id
        return stage, True, places.get(job.id, math.inf), job.created, job.id

    return sorted(jobs, key=place)
