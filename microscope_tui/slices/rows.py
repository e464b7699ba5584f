"""The rows of one split, whatever they are stored in: texts at hand, pictures as bytes when asked for."""

from __future__ import annotations

import hashlib
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import pyarrow as pa

from microscope_tui.errors import MicroscopeError, one_line
from microscope_tui.slices.cells import frames_in, held, inside, is_address, is_written_out, names_in
from microscope_tui.slices.columns import Columns
from microscope_tui.slices.examples import key_of
from microscope_tui.stamps import Stamps, stamps_of
from microscope_tui.terms import SliceSpec

BLOB = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
"""The hub cache names its blobs by their git or SHA-256 digest."""


class SourceRows(ABC):
    """The rows of one split of one source.

    `texts` is a table of the columns that `columns` names: of the media only those that hold names of files in
    `folder`. `files` are all files that the rows live in, the named ones included, and `stamps` theirs, those of the
    files that were `read` as they were before; `watched` is what else decides that it is these files (their folders,
    the hub cache's note of a branch).
    """

    def __init__(
        self, count: int, texts: pa.Table, columns: Columns, read: Stamps, folder: Path, spec: SliceSpec
    ) -> None:
        try:
            texts.validate(full=True)
        except pa.ArrowException as error:
            raise MicroscopeError(
                f"The texts of the data set {spec.source} are damaged ({one_line(error)})."
            ) from error
        self._count = count
        self.texts = texts
        self.columns = columns
        self.folder = folder
        named = self._named(spec)
        beside = tuple(path for path in named if path.is_file())
        self.files = (*read, *beside)
        self.stamps: Stamps = {**stamps_of(beside), **read}
        self.watched: Stamps = stamps_of(path for path in named if path.is_dir())

    def __len__(self) -> int:
        return self._count

    def key(self, row: int) -> str:
        """The name of a row, which does not depend on the selection."""
        return key_of(row)

    def holding(self, role: str) -> Sequence[bool]:
        """Of each row whether it has a picture (`image`), `video` or `audio`, found without decoding one."""
        found = [[False] * len(self), *(self._held(name) for name in self.columns.of_role(role))]
        if self.columns.in_turns:
            turns = (self.columns.conversation(self.raw(row)) for row in range(len(self)))
            found.append([role in turn.media for turn in turns])
        return [any(cells) for cells in zip(*found, strict=True)]

    def cells(self, row: int, role: str) -> list[Any]:
        """What a row has of pictures (`image`), `video` or `audio`, undecoded. Raises `BadExample`."""
        cells = [self._cell(row, name) for name in self.columns.of_role(role)]
        if self.columns.in_turns:
            cells += self.columns.conversation(self.raw(row)).media.get(role, ())
        return cells

    def content(self) -> str:
        """Digest of all bytes that the rows are made of, whatever the files are called."""
        return content_of(self.files)

    def values(self, row: int) -> Mapping[str, Any]:
        """The texts of a row by their part (question, choices, …) as plain Python values."""
        return self.columns.values(self.raw(row))

    def raw(self, row: int) -> Mapping[str, Any]:
        """The columns of `texts` in a row, under their own names."""
        return {name: self.texts.column(name)[row].as_py() for name in self.texts.column_names}

    def column(self, name: str) -> Sequence[str | None] | None:
        """One text column, None if the data lacks it."""
        if name not in self.texts.column_names:
            return None
        return [None if value is None else str(value) for value in self.texts.column(name).to_pylist()]

    @abstractmethod
    def _stored(self, row: int, column: str) -> Any:
        """The cell of a column that holds bytes. Raises `BadExample`."""

    @abstractmethod
    def _stored_held(self, column: str) -> Sequence[bool]:
        """Of each cell of a column that holds bytes whether it is filled."""

    def _cell(self, row: int, column: str) -> Any:
        if column in self.texts.column_names:
            return self.texts.column(column)[row].as_py()
        return self._stored(row, column)

    def _held(self, column: str) -> Sequence[bool]:
        if column in self.texts.column_names:
            return held(self.texts.column(column))
        return self._stored_held(column)

    def _named(self, spec: SliceSpec) -> tuple[Path, ...]:
        """The files and folders that the rows name and that are there. Raises `MicroscopeError` if not one is."""
        named: dict[str, Iterable[str]] = {
            column: names_in(self.texts.column(column).to_pylist())
            for column in self.columns.media
            if column in self.texts.column_names
        }
        if self.columns.in_turns:
            turns = (self.columns.conversation(self.raw(row)) for row in range(len(self)))
            named[self.columns.question] = names_in(item for turn in turns for of in turn.media.values() for item in of)
        there: dict[Path, None] = {}
        for column, every in named.items():
            names = {name: None for name in every if not is_written_out(name)}
            found = [path for name in names for path in self._files_of(name)]
            if names and not found:
                some, start = next(iter(names)), f"The column {column} of the data set {spec.source} holds"
                if is_address(some):
                    raise MicroscopeError(
                        f"{start} addresses on the web, like {some!r:.80}, and nothing is fetched from there: download "
                        "the files beside the data and name them."
                    )
                raise MicroscopeError(f"{start} names of files, and none of them, like {some!r}, is in {self.folder}.")
            there |= dict.fromkeys(found)
        return tuple(there)

    def _files_of(self, name: str) -> list[Path]:
        """The file that a cell names, or the folder that it names and the frames in it; none if it is not there."""
        path = None if is_address(name) else inside(self.folder, name)
        if path and path.is_dir():
            return [path, *frames_in(path)]
        return [path] if path and path.is_file() else []


def content_of(files: Sequence[Path]) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for file in files:
        digest.update(digest_of(file).encode() + b"\n")
    return digest.hexdigest()


def digest_of(file: Path) -> str:
    """Digest of a file's bytes. What the hub cache has already named by its digest is not read again."""
    try:
        blob = file.resolve()
        if file.is_symlink() and blob.parent.name == "blobs" and BLOB.fullmatch(blob.name):
            return blob.name
        stat = blob.stat()
        return _digest(blob, stat.st_size, stat.st_mtime_ns)
    except OSError as error:
        raise MicroscopeError(f"The file {file} cannot be read ({error.strerror or error}).") from error


@lru_cache(maxsize=100_000)
def _digest(file: Path, size: int, mtime_ns: int) -> str:
    """Size and time are only there so that a changed file is read anew."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
