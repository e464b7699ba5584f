"""The worker's jobs: what each does, its error, and its log; pause, order, cancel, retry and open."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.coordinate import Coordinate
from textual.widgets import DataTable, Static

from microscope_tui.tables import duration, size_text, variant_of
from microscope_tui.terms import Job, JobState
from microscope_tui.tui.content.readout import progress
from microscope_tui.tui.content.work import cells, columns, in_view, lines_of, moment, what_of
from microscope_tui.tui.data.source import Source
from microscope_tui.tui.errands import errand
from microscope_tui.tui.keys import bindings, key_of
from microscope_tui.tui.screens.dialog import Dialog


class Jobs(Dialog[Job]):
    """Returns the job to look at, None when it was left.

    The running job stands first, then those that wait as they will be run, then the others, the newest first.
    """

    BINDINGS: ClassVar[list[BindingType]] = [*bindings("jobs")]
    KEYS: ClassVar[str] = "jobs"

    def __init__(
        self,
        source: Source,
        jobs: Sequence[Job],
        changed: Callable[[Sequence[Job]], None],
        asked: Callable[[], None],
    ) -> None:
        """`changed` is called with the list when it was read, `asked` when the worker was asked for something, which
        starts it where it has ended."""
        super().__init__("Jobs")
        self._source, self._jobs, self._changed, self._asked = source, list(jobs), changed, asked
        self._lives = True
        self._columns: dict[str, int] = {}
        self._log = ""
        self._own_log = False
        self._fresh = True
        self._doomed = ""

    def body(self) -> ComposeResult:
        yield DataTable(id="jobs", cursor_type="row", zebra_stripes=False)
        yield Static(id="detail", markup=False)
        yield Static(id="log", markup=False)

    def on_mount(self) -> None:
        self.show(self._jobs)
        self.action_reload()

    def on_resize(self) -> None:
        def laid_out() -> None:
            self.show(self._jobs)
            self._logged(self._log)  # the log may come before that

        self.call_after_refresh(laid_out)

    def on_data_table_row_highlighted(self) -> None:
        if self._doomed and ((job := self._chosen()) is None or job.id != self._doomed):
            self._doomed = ""
            self.say("")
        self._detail()
        self.call_after_refresh(lambda: self._logged(self._log))  # the detail may have taken another height

    def on_data_table_row_selected(self) -> None:
        self.action_open()

    def show(self, jobs: Sequence[Job]) -> None:
        """Show these jobs, as the store orders them; the cursor stays on its job."""
        table = self.query_one(DataTable)
        chosen = self._chosen() if table.row_count else None
        self._jobs = in_view(jobs)
        wanted = columns(self.query_one("#detail").size.width)
        rows = cells(self._jobs, wanted, lives=self._lives)
        if wanted != self._columns or table.row_count != len(rows):
            self._columns = wanted
            table.clear(columns=True)
            for name, width in wanted.items():
                table.add_column(name, width=width)
            table.add_rows(rows)
        else:
            for r, row in enumerate(rows):
                for c, text in enumerate(row):
                    if table.get_cell_at(Coordinate(r, c)) != text:
                        table.update_cell_at(Coordinate(r, c), text)
        if chosen and (place := next((i for i, job in enumerate(self._jobs) if job.id == chosen.id), None)) is not None:
            table.move_cursor(row=place)
        self._detail()

    def worker_gone(self) -> None:
        """The worker has ended. It is not asked for: its lock may be held for a moment after its last word."""
        self._lives = False
        self.show(self._jobs)
        self.read_log()

    def action_reload(self) -> None:
        """Read the list of jobs and the log again."""
        errand(self, lambda: (self._source.jobs(), self._source.lives()), self._listed, self.refuse)
        self.read_log()

    def read_log(self) -> None:
        errand(self, self._source.log_tail, self._logged, self.refuse)

    def action_move(self, by: int) -> None:
        table = self.query_one(DataTable)
        table.move_cursor(row=table.cursor_row + by)

    def action_cancel(self) -> None:
        """Stop the job under the cursor; one that runs, and loses what it has, when asked twice."""
        if not (job := self._one("cancel", lambda job: not job.state.ended, "this job has ended")):
            return
        if job.state is JobState.RUNNING and self._doomed != job.id:
            self._doomed = job.id
            self.refuse(f"{key_of('cancel', 'jobs')} once more cancels {job.request.model}: {progress(job, 40)}")
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
        if job := self._one("move", lambda job: job.state.waits, "only waiting jobs have an order"):
            waiting = [each.id for each in self._jobs if each.state.waits]
            place = waiting.index(job.id) + by
            if 0 <= place < len(waiting):
                self._do("", lambda: self._source.reorder(job.id, place))

    def action_retry(self) -> None:
        if job := self._one("try again", lambda job: job.state.ended or not self._lives, "this job has not ended yet"):
            self._do("asking once more …", lambda: self._source.retry(job.id))

    def action_own_log(self) -> None:
        """What the log says of this job alone, or all of it."""
        self._own_log = not self._own_log
        self._logged(self._log)

    def action_open(self) -> None:
        if job := self._chosen():
            self.dismiss(job)

    def _do(self, meanwhile: str, work: Callable[[], None]) -> None:
        self._doomed = ""
        self.say(meanwhile)

        def done(_: None) -> None:
            self._asked()
            self.say("")
            self.action_reload()

        errand(self, work, done, self.refuse)

    def _one(self, what: str, may: Callable[[Job], bool], why: str) -> Job | None:
        """The job under the cursor, None with a sentence where this cannot be done to it."""
        job = self._chosen()
        if job is None:
            self.refuse(f"There is no job to {what}.")
        elif not may(job):
            self.refuse(f"There is nothing to {what}: {why}.")
        else:
            return job
        return None

    def _listed(self, read: tuple[Sequence[Job], bool]) -> None:
        """The list as the store has it. The first one may begin with another job than the one shown until then."""
        jobs, self._lives = read
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

    def _chosen(self) -> Job | None:
        row = self.query_one(DataTable).cursor_row
        return self._jobs[row] if 0 <= row < len(self._jobs) else None

    def _detail(self) -> None:
        """Everything of the job under the cursor that has no room in the table."""
        job = self._chosen()
        if job is None:
            self.query_one("#detail", Static).update(
                f"No job was ever asked for: {key_of('pick_model')} and {key_of('pick_slice')} choose what to measure."
            )
            return
        cut_off = not self._lives and not job.state.ended and job.state is not JobState.PAUSED
        goes_on = f"no worker is there any more: {key_of('retry', 'jobs')} starts one, which goes on with it"
        how = [goes_on if cut_off else progress(job)]
        if job.started and job.ended:
            how.append(f"took {duration(job.ended - job.started)}")
        if job.progress.device_bytes:
            how.append(f"{size_text(job.progress.device_bytes)} on the GPU")
        variant = variant_of(job.request)
        lines = [
            f"{what_of(job)}: {job.request.model} on {job.request.slice}{', ' * bool(variant)}{variant}",
            " · ".join(how),
            f"asked for {moment(job.created)} · job {job.id}",
        ]
        self.query_one("#detail", Static).update("\n".join(lines))
