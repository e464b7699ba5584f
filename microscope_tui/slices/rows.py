"""The rows of one split, whatever they are stored in: texts at hand, pictures as bytes when asked for."""

from __future__ import annotations

import hashlib
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache, reduce
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from microscope_tui.errors import BadExample, MicroscopeError
from microscope_tui.slices.examples import TEXTS, key_of

IMAGE_COLUMNS = ("image", "images")
"""One picture, or a list of them."""

BLOB = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
"""The hub cache names its blobs by their git or SHA-256 digest."""


class Rows(ABC):
    """The rows of one split of one source.

    `texts` is a table of those columns of `TEXTS` that there are. `files` are all files that the rows live in;
    `watched` is what else decides that it is these files (their folder, the hub cache's note of a branch).
    """

    def __init__(self, texts: pa.Table, files: Iterable[Path]) -> None:
        self.texts = texts
        self.files = tuple(files)
        self.watched: tuple[Path, ...] = ()

    def __len__(self) -> int:
        return int(self.texts.num_rows)

    @property
    @abstractmethod
    def pictured(self) -> Sequence[bool]:
        """Of each row whether it has a picture, found without decoding one."""

    @abstractmethod
    def encoded(self, row: int) -> tuple[bytes, ...]:
        """The undecoded pictures of a row, () for a text-only one. Raises `BadExample`."""

    def content(self) -> str:
        """Digest of all bytes that the rows are made of, whatever the files are called."""
        return content_of(self.files)

    def values(self, row: int) -> Mapping[str, Any]:
        """The text columns of a row as plain Python values."""
        values: Mapping[str, Any] = self.texts.slice(row, 1).to_pylist()[0]
        return values

    def column(self, name: str) -> Sequence[str | None] | None:
        """One text column, None if the data lacks it."""
        if name not in self.texts.column_names:
            return None
        return [None if value is None else str(value) for value in self.texts.column(name).to_pylist()]


def image_column(schema: pa.Schema, source: str) -> str:
    """The name of the pictures' column, after a look whether these are rows that can be used at all."""
    names = ", ".join(schema.names)
    image = next((name for name in IMAGE_COLUMNS if name in schema.names), None)
    if image is None:
        raise MicroscopeError(
            f"The data set {source} has no image column ({' or '.join(IMAGE_COLUMNS)}): its columns are {names}."
        )
    check_texts(schema, source)
    kind = schema.field(image).type
    if not _is_pictures(kind.value_type if _is_list(kind) else kind):
        raise MicroscopeError(
            f"The column {image} of the data set {source} holds {kind} and no pictures: "
            "give a data set whose pictures are stored in it."
        )
    return image


def check_texts(schema: pa.Schema, source: str) -> None:
    """Raises `MicroscopeError` unless there are questions, and question and choices are texts."""
    if "question" not in schema.names:
        raise MicroscopeError(
            f"The data set {source} has no question column: its columns are {', '.join(schema.names)}."
        )
    for name in ("question", "hint", "choices"):
        if name in schema.names:
            kind = schema.field(name).type
            right = _is_list(kind) and _is_text(kind.value_type) if name == "choices" else _is_text(kind)
            if not (right or pa.types.is_null(kind)):
                wanted = "a list of texts" if name == "choices" else "text"
                raise MicroscopeError(
                    f"The column {name} of the data set {source} holds {kind}: it should hold {wanted}."
                )


def text_columns(schema: pa.Schema) -> list[str]:
    return [name for name in TEXTS if name in schema.names]


def has_pictures(column: pa.ChunkedArray) -> list[bool]:
    """Of each cell of a picture column whether it holds a picture: neither null nor empty."""
    kind = column.type
    if _is_list(kind):
        found = pc.greater(pc.fill_null(pc.list_value_length(column), 0), 0)
    elif pa.types.is_struct(kind):
        fields = [name for name in ("bytes", "path") if kind.get_field_index(name) >= 0]
        found = reduce(pc.or_, (pc.struct_field(column, name).is_valid() for name in fields))
    else:
        found = column.is_valid()
    return list(found.to_pylist())


def encoded_of(cell: Any, row: int) -> tuple[bytes, ...]:
    """The pictures in one cell: a struct of bytes and path (as `datasets` stores them), bytes, or a list."""
    if cell is None:
        return ()
    if isinstance(cell, list):
        return tuple(data for item in cell for data in encoded_of(item, row))
    if isinstance(cell, bytes):
        return (cell,)
    if cell.get("bytes") is not None:
        return (cell["bytes"],)
    if cell.get("path") is not None:
        raise BadExample(key_of(row), f"its picture is not in the data set, only its path {cell['path']}")
    return ()


def one_line(error: Exception) -> str:
    """An error's text in one line without its full stop, to stand in brackets in a sentence of ours."""
    return " ".join(str(error).split()).rstrip(".")[:200]


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


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _is_binary(kind: pa.DataType) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _is_pictures(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind):
        index = kind.get_field_index("bytes")
        return index >= 0 and (_is_binary(kind.field(index).type) or pa.types.is_null(kind.field(index).type))
    return bool(_is_binary(kind) or pa.types.is_null(kind))
