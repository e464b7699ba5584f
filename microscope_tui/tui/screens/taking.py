"""What is taken along from the panes: files and the clipboard."""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from microscope_tui.errors import MicroscopeError
from microscope_tui.tui.data.desk import Desk
from microscope_tui.tui.keys import key_of
from microscope_tui.tui.output import clipboard
from microscope_tui.tui.screens.moving import Moving

if TYPE_CHECKING:
    from microscope_tui.tui.output.export import Seen


class Taking(Moving):
    """A screen whose panes can be saved and copied."""

    desk: Desk

    def action_picture(self) -> None:
        from microscope_tui.tui.output import export  # what saves and copies is imported when it is asked for

        folder = Path("screenshots")
        name = f"{export.file_stem(self.session, datetime.now())}.svg"
        self._write(
            folder if folder.is_dir() and os.access(folder, os.W_OK) else Path(),
            {name: export.bare(self.app.export_screenshot())},
        )

    @property
    def _seen(self) -> Seen | None:
        """What is on the screen, None with a word about it when that is nothing."""
        from microscope_tui.tui.output import export

        found = export.seen(self.session, self.desk, self.requests)
        if found is None:
            self.notify("There is nothing to save or copy yet.", severity="warning")
        return found

    def action_export(self) -> None:
        if seen := self._seen:
            from microscope_tui.tui.output.export import file_stem
            from microscope_tui.tui.screens.save import Save

            stem = file_stem(self.session, datetime.now())
            self.app.push_screen(Save(seen, self.app.export_screenshot(), stem))

    def action_copy_value(self) -> None:
        if seen := self._seen:
            from microscope_tui.tui.output.export import value_text

            view = seen.views[0 if self.session.zoomed else self.session.pane]
            self.copy(value_text(seen, view), "the values at the cursor")

    def action_copy_table(self) -> None:
        if seen := self._seen:
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

    def _write(self, folder: Path, files: dict[str, str]) -> None:
        from microscope_tui.tui.output import export

        try:
            written = export.write(folder, files)
        except MicroscopeError as error:
            self.notify(str(error), severity="error", markup=False)
            return
        self.notify(saved(written), markup=False)


def saved(files: Sequence[Path]) -> str:
    """That files were written, in a sentence of one line where it fits."""
    return "saved " + " and ".join(map(str, files))
