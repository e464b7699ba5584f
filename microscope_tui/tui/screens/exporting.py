"""What is exported from the panes: files and the clipboard."""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from microscope_tui.tui.data.desk import Desk
from microscope_tui.tui.errands import errand
from microscope_tui.tui.keys import key_of
from microscope_tui.tui.output import clipboard
from microscope_tui.tui.screens.moving import Moving

if TYPE_CHECKING:
    from microscope_tui.tui.output.export import Seen


class Exporting(Moving):
    """A screen whose panes can be saved and copied."""

    desk: Desk
    folder: Path | None = None
    """Where the last file was saved to that a folder was named for."""

    @property
    def saves_to(self) -> Path:
        """Where files go: to the folder named last, at first the one that the program was started in."""
        if self.folder:
            return self.folder
        with suppress(OSError):  # it may have been removed
            return Path.cwd()
        return Path()

    def action_picture(self, what: str = "") -> None:
        """Save the screen as it is; `what` it shows if it is not the explorer."""
        from microscope_tui.tui.output import export  # what saves and copies is imported when it is asked for

        screen, folder = self.app.export_screenshot(), self.saves_to
        name = f"{export.file_stem(self.session, datetime.now(), what)}-screen.svg"
        errand(
            self,
            lambda: export.write(folder, {name: export.bare(screen)}),
            lambda files: self.notify(export.saved(files), markup=False),
            lambda sentence: self.notify(sentence, severity="error", markup=False),
        )

    def _gather(self) -> Seen | None:
        """What is on the screen; None, and a word about it, when that is nothing."""
        from microscope_tui.tui.output import export

        found = export.seen(self.session, self.desk, self.requests)
        if found is None:
            self.notify("There is nothing to save or copy yet.", severity="warning")
        return found

    def action_export(self) -> None:
        if seen := self._gather():
            from microscope_tui.tui.output.export import file_stem
            from microscope_tui.tui.screens.save import Save

            stem = file_stem(self.session, datetime.now())
            self.app.push_screen(Save(seen, self.app.export_screenshot(), stem, self.saves_to, self._saved_to))

    def _saved_to(self, folder: Path) -> None:
        self.folder = folder

    def action_copy_value(self) -> None:
        if seen := self._gather():
            from microscope_tui.tui.output.export import value_text

            view = seen.views[0 if self.session.zoomed else self.session.pane]
            self.copy(value_text(seen, view), "the values at the cursor")

    def action_copy_table(self) -> None:
        if seen := self._gather():
            from microscope_tui.tui.output.export import to_csv

            self.copy(to_csv(seen), "the table (CSV)")

    def copy(self, text: str, what: str) -> None:
        """Put a text on the clipboard, unless it is too long for one; `what` it is, for people."""
        if len(text.encode()) > clipboard.LIMIT:
            key = key_of("export")
            self.notify(f"That is too long for a terminal's clipboard: {key} saves it.", severity="warning")
            return
        self.app.copy_to_clipboard(text)
        self.notify(f"copied {what}")
