"""Rows in parquet files, read where they lie: no copy is made, and no more is held than a few row groups."""

from __future__ import annotations

from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Sequence
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from threading import Lock

import pyarrow as pa
import pyarrow.parquet as pq

from microscope_tui.errors import BadExample, MicroscopeError
from microscope_tui.slices.examples import key_of
from microscope_tui.slices.rows import Rows, encoded_of, has_pictures, image_column, one_line, text_columns

HELD_BYTES = 256 * 2**20
"""Row groups of pictures are kept up to this size, since neighbours in a slice may lie in the same one."""


class ParquetRows(Rows):
    """The rows of some parquet files of one schema, one file after the other."""

    def __init__(self, files: Sequence[Path], source: str) -> None:
        self._metadata = [_metadata(file) for file in files]
        schemas = [metadata.schema.to_arrow_schema() for metadata in self._metadata]
        self._image = image_column(schemas[0], source)
        for file, schema in zip(files, schemas, strict=True):
            if image_column(schema, source) != self._image or text_columns(schema) != text_columns(schemas[0]):
                raise MicroscopeError(f"The files of the data set {source} differ in their columns: see {file.name}.")
        self._groups = [
            (file, group) for file, metadata in enumerate(self._metadata) for group in range(metadata.num_row_groups)
        ]
        sizes = [self._metadata[file].row_group(group).num_rows for file, group in self._groups]
        self._starts = [0, *accumulate(sizes)]
        self._held: OrderedDict[int, pa.ChunkedArray] = OrderedDict()
        self._lock = Lock()
        super().__init__(_texts(files, text_columns(schemas[0]), source), files)

    @cached_property
    def pictured(self) -> Sequence[bool]:
        found: list[bool] = []
        for file, metadata in zip(self.files, self._metadata, strict=True):
            found += self._pictured_in(file, metadata)
        return found

    def encoded(self, row: int) -> tuple[bytes, ...]:
        group = bisect_right(self._starts, row) - 1
        try:
            with self._lock:
                column = self._pictures_of(group)
        except (OSError, pa.ArrowException) as error:
            name = self.files[self._groups[group][0]].name
            raise BadExample(key_of(row), f"its picture cannot be read from {name} ({one_line(error)})") from error
        return encoded_of(column[row - self._starts[group]].as_py(), row)

    def _pictures_of(self, group: int) -> pa.ChunkedArray:
        """The column of pictures of a row group, the most recently used ones from memory."""
        if group not in self._held:
            file, number = self._groups[group]
            with pq.ParquetFile(self.files[file], metadata=self._metadata[file]) as opened:
                self._held[group] = opened.read_row_group(number, columns=[self._image]).column(0)
        self._held.move_to_end(group)
        while len(self._held) > 1 and sum(column.nbytes for column in self._held.values()) > HELD_BYTES:
            self._held.popitem(last=False)
        return self._held[group]

    def _pictured_in(self, file: Path, metadata: pq.FileMetaData) -> list[bool]:
        """Whether each row of a file has a picture.

        The null flags of the pictures can be had from the small `path` beside them, without the bytes, unless
        the statistics tell of rows that have a path or an empty struct but no bytes.
        """
        leaves = {metadata.schema.column(i).path: i for i in range(metadata.num_columns)}
        mine = [path for path in leaves if path.split(".")[0] == self._image]
        path = next((path for path in mine if path.endswith(".path")), None)
        data = next((path for path in mine if path.endswith(".bytes")), None)
        with pq.ParquetFile(file, metadata=metadata) as opened:
            if path and data and self._image == "image":
                found = list(opened.read(columns=[path]).column(0).is_valid().to_pylist())
                if sum(found) == _count(metadata, leaves[data]):
                    return found
            elif path and data:
                return has_pictures(opened.read(columns=[path]).column(0))
            return [
                has_picture
                for group in range(metadata.num_row_groups)
                for has_picture in has_pictures(opened.read_row_group(group, columns=[self._image]).column(0))
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
