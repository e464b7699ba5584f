"""Rows in an arrow table that lies on disk: the operating system pages it in."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from microscope_tui.slices.cells import held
from microscope_tui.slices.columns import Columns
from microscope_tui.slices.rows import SourceRows
from microscope_tui.stamps import Stamps
from microscope_tui.terms import SliceSpec


class TableRows(SourceRows):
    """The rows of one memory-mapped table."""

    def __init__(self, table: pa.Table, read: Stamps, folder: Path, spec: SliceSpec) -> None:
        columns = Columns.of(table.schema, spec)
        self._table = table
        super().__init__(table.num_rows, table.select(columns.texts(table.schema)), columns, read, folder, spec)

    def _stored(self, row: int, column: str) -> Any:
        return self._table.column(column)[row].as_py()

    def _stored_held(self, column: str) -> Sequence[bool]:
        return held(self._table.column(column))
