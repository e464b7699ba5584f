"""The worker's jobs: what each does, its error, and its log; pause, order, cancel, retry and open."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical
from textual.coordinate import Coordinate
from textual.screen import ModalScreen
from textual.widgets import DataTable, Label, Static

from microscope_tui.catalogue import size_text
from microscope_tui.terms import Job, JobKind, JobState
from microscope_tui.tui.content.readout import duration, progress, shorten, shorten_end
from microscope_tui.tui.data.source import Source
from microscope_tui.tui.errands import Returned, errand
from microscope_tui.tui.keys import bindings, hint, key_of
from microscope_tui.tui.screens.leaving import Leaving

COLUMNS = ("asked", "state", "model", "slice", "progress")

SIGNS = {
    JobState.QUEUED: "· queued",
    JobState.RUNNING: "▶ running",
    JobState.PAUSED: "‖ paused",
    JobState.DONE: "✓ done",
    JobState.FAILED: "✗ failed",
    JobState.CANCELLED: "✗ cancelled",
}

HINTED = ("pause", "reorder(-1)", "reorder(1)", "cancel", "retry", "own_log", "open", "back")
"""The keys in the last line."""

WAITING = (JobState.QUEUED, JobState.PAUSED)


class Jobs(ModalScreen[Job | None], Leaving[Job | None]):
    """Returns the job to look at, None when it was left.

    The waiting jobs come first as they will be run, the running one above them, then the others, the newest first.
    """

    BINDINGS: ClassVar[list[BindingType]] = [*bindings("jobs")]
    KEYS: ClassVar[str] = "jobs"

    def __init__(self, source: Source, jobs: Sequence[Job], changed: Callable[[Sequence[Job]], None]) -> None:
        super().__init__()
        self._source, self._jobs, self._changed = source, list(jobs), changed
        self._log = ""
        self._own_log = False
        self._fresh = True
        self._doomed = ""

    def compose(self) -> ComposeResult:
        with Vertical(id="dialog"):
            yield Label("Jobs", id="title")
            yield DataTable(id="jobs", cursor_type="row", zebra_stripes=False)
            yield Static(id="detail", markup=False)
            yield Static(id="log", markup=False)
            yield Label(id="said", markup=False)

    def on_mount(self) -> None:
        self.query_one(DataTable).add_columns(*COLUMNS)
        self._say("")
        self.show(self._jobs)
        self.action_reload()

    def on_returned(self, message: Returned) -> None:
        message.tell()

    def on_data_table_row_highlighted(self) -> None:
        if self._doomed and ((job := self._chosen()) is None or job.id != self._doomed):
            self._doomed = ""
            self._say("")
        self._detail()
        self._logged(self._log)

    def on_data_table_row_selected(self) -> None:
        self.action_open()

    def show(self, jobs: Sequence[Job]) -> None:
        """Show these jobs, as the store orders them; the cursor stays on its job."""
        table = self.query_one(DataTable)
        chosen = self._chosen() if table.row_count else None
        self._jobs = in_view(jobs)
        room = min(self.size.width * 9 // 10, 110) - 38
        rows = [_row(job, max(room // 4, 8), max(room - 2 * (room // 4), 12)) for job in self._jobs]
        if table.row_count != len(rows):
            table.clear()
            for row in rows:
                table.add_row(*row)
        else:
            for r, row in enumerate(rows):
                for c, text in enumerate(row):
                    if table.get_cell_at(Coordinate(r, c)) != text:
                        table.update_cell_at(Coordinate(r, c), text, update_width=True)
        if chosen and (place := next((i for i, job in enumerate(self._jobs) if job.id == chosen.id), None)) is not None:
            table.move_cursor(row=place)
        self._detail()

    def action_reload(self) -> None:
        """Read the list of jobs and the log again."""
        errand(self, self._source.jobs, self._listed, self._refuse)
        self.read_log()

    def read_log(self) -> None:
        errand(self, self._source.log_tail, self._logged, self._refuse)

    def action_move(self, by: int) -> None:
        table = self.query_one(DataTable)
        table.move_cursor(row=table.cursor_row + by)

    def action_cancel(self) -> None:
        """Stop the job under the cursor; one that runs, and loses what it has, when asked twice."""
        if not (job := self._one("cancel", lambda job: not job.state.ended, "this job has ended")):
            return
        if job.state is JobState.RUNNING and self._doomed != job.id:
            self._doomed = job.id
            self._refuse(f"{key_of('cancel', 'jobs')} once more cancels {job.request.model}: {progress(job, 40)}")
        else:
            self._do(f"cancelling {job.request.model} …", lambda: self._source.cancel(job.id))

    def action_pause(self) -> None:
        if not (job := self._one("pause", lambda job: not job.state.ended, "this job has ended")):
            return
        if job.state is JobState.PAUSED:
            self._do("going on …", lambda: self._source.resume(job.id))
        else:
            self._do("pausing after this batch …", lambda: self._source.pause(job.id))

    def action_reorder(self, by: int) -> None:
        """One place earlier or later in the queue."""
        if job := self._one("move", lambda job: job.state in WAITING, "only waiting jobs have an order"):
            waiting = [each.id for each in self._jobs if each.state in WAITING]
            place = waiting.index(job.id) + by
            if 0 <= place < len(waiting):
                self._do("", lambda: self._source.reorder(job.id, place))

    def action_retry(self) -> None:
        if job := self._one("try again", lambda job: job.state.ended, "this job has not ended yet"):
            self._do("asking once more …", lambda: self._source.retry(job.id))

    def action_own_log(self) -> None:
        """What the log says of this job alone, or all of it."""
        self._own_log = not self._own_log
        self._logged(self._log)

    def action_back(self) -> None:
        self.dismiss(None)

    def action_help(self) -> None:
        from microscope_tui.tui.screens.help import Help

        self.app.push_screen(Help(self.KEYS))

    def action_open(self) -> None:
        if job := self._chosen():
            self.dismiss(job)

    def _do(self, meanwhile: str, work: Callable[[], None]) -> None:
        self._doomed = ""
        self._say(meanwhile)

        def done(_: None) -> None:
            self._say("")
            self.action_reload()

        errand(self, work, done, self._refuse)

    def _one(self, what: str, may: Callable[[Job], bool], why: str) -> Job | None:
        """The job under the cursor, None with a sentence where this cannot be done to it."""
        job = self._chosen()
        if job is None:
            self._refuse(f"There is no job to {what}.")
        elif not may(job):
            self._refuse(f"There is nothing to {what}: {why}.")
        else:
            return job
        return None

    def _listed(self, jobs: Sequence[Job]) -> None:
        """The list as the store has it. The first one may begin with another job than the one shown until then."""
        self._changed(jobs)
        table = self.query_one(DataTable)
        begin, self._fresh = self._fresh and table.cursor_row == 0, False
        self.show(jobs)
        if begin:
            table.move_cursor(row=0)
            self._detail()

    def _logged(self, text: str) -> None:
        self._log = text
        job, lines = self._chosen(), text.rstrip().splitlines()
        if job and self._own_log:
            lines = lines_of(job, lines) or [
                f"The log says nothing of this job any more: {key_of('own_log', 'jobs')} shows all of it."
            ]
        log = self.query_one("#log", Static)
        width, room = max(log.size.width, 20), max(log.size.height, 2)
        wrapped = [part for line in lines for part in textwrap.wrap(line, width) or [""]]
        log.update("\n".join(wrapped[-room:]))

    def on_resize(self) -> None:
        self.call_after_refresh(lambda: self._logged(self._log))  # the log may come before that

    def _chosen(self) -> Job | None:
        row = self.query_one(DataTable).cursor_row
        return self._jobs[row] if 0 <= row < len(self._jobs) else None

    def _detail(self) -> None:
        job = self._chosen()
        if job is None:
            self.query_one("#detail", Static).update(
                f"No job was ever asked for: {key_of('pick_model')} and {key_of('pick_slice')} choose what to measure."
            )
            return
        lines = [f"{what_of(job)}{job.request.model} on {job.request.slice}", progress(job)]
        if job.started and job.ended:
            lines[1] += f" · took {duration(job.ended - job.started)}"
        if job.progress.device_bytes:
            lines[1] += f" · {size_text(job.progress.device_bytes)} on the GPU"
        self.query_one("#detail", Static).update("\n".join(lines))

    def _say(self, sentence: str) -> None:
        said = self.query_one("#said", Label)
        said.set_class(False, "-error")
        said.update(sentence or hint("jobs", HINTED))

    def _refuse(self, sentence: str) -> None:
        self._say(sentence)
        self.query_one("#said", Label).set_class(True, "-error")


def in_view(jobs: Sequence[Job]) -> list[Job]:
    """The running jobs, the waiting ones in their order, then those that have ended, the newest first."""
    running = [job for job in jobs if job.state is JobState.RUNNING]
    waiting = [job for job in jobs if job.state in WAITING]
    ended = [job for job in jobs if job.state.ended]
    return [*running, *waiting, *sorted(ended, key=lambda job: -job.created)]


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


def what_of(job: Job) -> str:
    """What a job makes, where that is not a measurement."""
    if job.kind is JobKind.MEASURE:
        return ""
    return f"{job.kind}, example {job.example}: " if job.example is not None else f"{job.kind}: "


def _row(job: Job, name: int, rest: int) -> tuple[str, str, str, str, str]:
    """The cells of a job: `name` columns for its model and for its slice, `rest` for its progress."""
    asked = datetime.fromtimestamp(job.created).strftime("%H:%M:%S") if job.created else "–"
    model, part = shorten(what_of(job) + job.request.model, name), shorten(str(job.request.slice), name)
    return asked, SIGNS[job.state], model, part, shorten_end(progress(job), rest)
