"""The worker's jobs: what each does, its error, and the end of the log; cancel and open."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.coordinate import Coordinate
from textual.screen import ModalScreen
from textual.widgets import DataTable, Label, Static

from microscope_tui.terms import Job, JobState
from microscope_tui.tui.errands import Returned, errand
from microscope_tui.tui.readout import duration, progress, shorten, shorten_end
from microscope_tui.tui.source import Source

COLUMNS = ("asked", "state", "model", "slice", "progress")


class Jobs(ModalScreen[Job | None]):
    """Returns the job to look at, None when it was left."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,j,q", "dismiss(None)", "Leave"),
        Binding("x,delete", "cancel", "Cancel the job"),
        Binding("enter", "open", "Look at it", show=False),
        Binding("r", "reload", "Read again"),
    ]

    def __init__(self, source: Source, jobs: Sequence[Job], changed: Callable[[Sequence[Job]], None]) -> None:
        super().__init__()
        self._source, self._jobs, self._changed = source, list(jobs), changed
        self._log = ""

    def compose(self) -> ComposeResult:
        with Vertical(id="dialog"):
            yield Label("Jobs", id="title")
            yield DataTable(id="jobs", cursor_type="row", zebra_stripes=False)
            yield Static(id="detail", markup=False)
            yield Static(id="log", markup=False)
            yield Label("x cancels · enter looks at it · r reads again · esc leaves", id="said", markup=False)

    def on_mount(self) -> None:
        self.query_one(DataTable).add_columns(*COLUMNS)
        self.show(self._jobs)
        self.action_reload()

    def on_returned(self, message: Returned) -> None:
        message.tell()

    def on_data_table_row_highlighted(self) -> None:
        self._detail()

    def on_data_table_row_selected(self) -> None:
        self.action_open()

    def show(self, jobs: Sequence[Job]) -> None:
        """Show these jobs, the newest first; the cursor stays on its job."""
        chosen = self._chosen()
        self._jobs = sorted(jobs, key=lambda job: -job.created)
        table = self.query_one(DataTable)
        room = min(self.size.width * 9 // 10, 110) - 36
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
        errand(self, self._source.jobs, self._listed, self._say)
        self.read_log()

    def read_log(self) -> None:
        errand(self, self._source.log_tail, self._logged, self._say)

    def action_cancel(self) -> None:
        job = self._chosen()
        if job is None or job.state.ended:
            self._say("There is nothing to cancel: this job has ended." if job else "There is no job to cancel.")
            return
        self._say(f"cancelling {job.request.model} …")
        errand(self, lambda: self._source.cancel(job.id), lambda _: self.action_reload(), self._say)

    def action_open(self) -> None:
        if job := self._chosen():
            self.dismiss(job)

    def _listed(self, jobs: Sequence[Job]) -> None:
        self._changed(jobs)
        self.show(jobs)

    def _logged(self, text: str) -> None:
        self._log = text
        log = self.query_one("#log", Static)
        room = max(log.size.height - 1, 3)
        log.update("\n".join(text.rstrip().splitlines()[-room:]))

    def on_resize(self) -> None:
        self.call_after_refresh(self._logged, self._log)

    def _chosen(self) -> Job | None:
        row = self.query_one(DataTable).cursor_row
        return self._jobs[row] if 0 <= row < len(self._jobs) else None

    def _detail(self) -> None:
        job = self._chosen()
        if job is None:
            self.query_one("#detail", Static).update("No job was ever asked for: m and d choose what to measure.")
            return
        lines = [f"{job.request.model} on {job.request.slice}", progress(job)]
        if job.started and job.ended:
            lines[1] += f" · took {duration(job.ended - job.started)}"
        self.query_one("#detail", Static).update("\n".join(lines))

    def _say(self, sentence: str) -> None:
        self.query_one("#said", Label).update(sentence)


def _row(job: Job, name: int, rest: int) -> tuple[str, str, str, str, str]:
    """The cells of a job: `name` columns for its model and for its slice, `rest` for its progress."""
    asked = datetime.fromtimestamp(job.created).strftime("%H:%M:%S") if job.created else "–"
    model, part = shorten(job.request.model, name), shorten(str(job.request.slice), name)
    state = {JobState.RUNNING: "▶ running", JobState.FAILED: "✗ failed", JobState.DONE: "✓ done"}
    return asked, state.get(job.state, str(job.state)), model, part, shorten_end(progress(job), rest)
