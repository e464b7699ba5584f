"""Rows in parquet files, read where they lie: no copy is made, and no more is held than a few row groups."""

from __future__ import annotations

from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from threading import Lock
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from microscope_tui.errors import BadExample, MicroscopeError, one_line
from microscope_tui.slices.cells import held, is_list
from microscope_tui.slices.columns import Columns
from microscope_tui.slices.rows import SourceRows
from microscope_tui.stamps import stamps_of
from microscope_tui.terms import SliceSpec

HELD_BYTES = 256 * 2**20
"""Row groups of pictures are kept up to this size, since neighbours in a slice may lie in the same one."""


class ParquetRows(SourceRows):
    """The rows of some parquet files of one schema, one file after the other."""

    def __init__(self, files: Sequence[Path], folder: Path, spec: SliceSpec) -> None:
        read = stamps_of(files)
        self._parts = tuple(files)
        self._metadata = [_metadata(file) for file in files]
        schemas = [metadata.schema.to_arrow_schema() for metadata in self._metadata]
        self._schema = schemas[0]
        columns = Columns.of(self._schema, spec)
        texts = columns.texts(self._schema)
        for file, schema in zip(files, schemas, strict=True):
            if Columns.of(schema, spec) != columns or sorted(columns.texts(schema)) != sorted(texts):
                raise MicroscopeError(
                    f"The files of the data set {spec.source} differ in their columns: see {file.name}."
                )
        self._bytes = [name for name in columns.media if name not in texts]
        self._groups = [
            (file, group) for file, metadata in enumerate(self._metadata) for group in range(metadata.num_row_groups)
        ]
        sizes = [self._metadata[file].row_group(group).num_rows for file, group in self._groups]
        self._starts = [0, *accumulate(sizes)]
        self._held_groups: OrderedDict[int, pa.Table] = OrderedDict()
        self._lock = Lock()
        super().__init__(self._starts[-1], _texts(files, texts, spec.source), columns, read, folder, spec)

    def _stored(self, row: int, column: str) -> Any:
        group = bisect_right(self._starts, row) - 1
        try:
            with self._lock:
                table = self._group(group)
        except (OSError, pa.ArrowException) as error:
            name = self._parts[self._groups[group][0]].name
            raise BadExample(self.key(row), f"its {column} cannot be read from {name} ({one_line(error)})") from error
        return table.column(column)[row - self._starts[group]].as_py()

    def _stored_held(self, column: str) -> Sequence[bool]:
        found: list[bool] = []
        for file, metadata in zip(self._parts, self._metadata, strict=True):
            found += self._held_in(file, metadata, column)
        return found

    def _group(self, group: int) -> pa.Table:
        """The columns of bytes of a row group, the most recently used ones from memory."""
        if group not in self._held_groups:
            file, number = self._groups[group]
            with pq.ParquetFile(self._parts[file], metadata=self._metadata[file]) as opened:
                self._held_groups[group] = opened.read_row_group(number, columns=self._bytes)
        self._held_groups.move_to_end(group)
        while len(self._held_groups) > 1 and sum(table.nbytes for table in self._held_groups.values()) > HELD_BYTES:
            self._held_groups.popitem(last=False)
        return self._held_groups[group]

    def _held_in(self, file: Path, metadata: pq.FileMetaData, column: str) -> list[bool]:
        """Whether each row of a file has something in a column of bytes.

        The null flags of the bytes can be had from the small `path` beside them, without the bytes, unless
        the statistics tell of rows that have a path or an empty struct but no bytes.
        """
        leaves = {metadata.schema.column(i).path: i for i in range(metadata.num_columns)}
        mine = [path for path in leaves if path.split(".")[0] == column]
        path = next((path for path in mine if path.endswith(".path")), None)
        data = next((path for path in mine if path.endswith(".bytes")), None)
        with pq.ParquetFile(file, metadata=metadata) as opened:
            if path and data and not is_list(self._schema.field(column).type):
                found = list(opened.read(columns=[path]).column(0).is_valid().to_pylist())
                if sum(found) == _count(metadata, leaves[data]):
                    return found
            elif path and data:
                return held(opened.read(columns=[path]).column(0))
            return [
                filled
                for group in range(metadata.num_row_groups)
                for filled in held(opened.read_row_group(group, columns=[column]).column(0))
            ]


def _count(metadata: pq.FileMetaData, leaf: int) -> int | None:
    """How many values of a leaf column are not null, by the file's statistics; None where they do not tell."""
    count = 0
    for group in range(metadata.num_row_groups):
        column = metadata.row_group(group).column(leaf)
        if not column.is_stats_set or not column.statistics.has_null_count:
            return None
        count += column.num_values - column.statistics.null_count
    return count


def _metadata(file: Path) -> pq.FileMetaData:
    try:
        return pq.read_metadata(file)
    except (OSError, pa.ArrowException) as error:
        raise MicroscopeError(f"The file {file} is not a readable parquet file ({one_line(error)}).") from error


def _texts(files: Sequence[Path], columns: list[str], source: str) -> pa.Table:
    try:
        tables = [pq.ParquetFile(file).read(columns=columns) for file in files]
        return pa.concat_tables(tables, promote_options="permissive")
    except (OSError, pa.ArrowException) as error:
        raise MicroscopeError(f"The texts of the data set {source} cannot be read ({one_line(error)}).") from error
