"""What stands in one cell of a column of pictures, videos or sound: bytes, or the name of a file beside the data."""

from __future__ import annotations

import base64
import binascii
import os
from collections.abc import Iterable, Iterator
from functools import reduce
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from microscope_tui.errors import BadExample
from microscope_tui.slices.pictures import SUFFIXES


def is_list(kind: pa.DataType) -> bool:
    kinds = ("list", "large_list", "fixed_size_list", "list_view", "large_list_view")
    return any(getattr(pa.types, f"is_{name}")(kind) for name in kinds)


def is_text(kind: pa.DataType) -> bool:
    """Whether a cell holds a text, be it one of a few that pandas calls categories."""
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def is_media(kind: pa.DataType) -> bool:
    """Whether a cell holds the bytes of a file: bare, or in a struct beside a path, as `datasets` stores them."""
    if pa.types.is_struct(kind):
        index = kind.get_field_index("bytes")
        return index >= 0 and (_is_binary(kind.field(index).type) or pa.types.is_null(kind.field(index).type))
    return bool(_is_binary(kind) or pa.types.is_null(kind))


def held(column: pa.ChunkedArray) -> list[bool]:
    """Of each cell of a column whether it holds anything: neither null nor empty."""
    kind = column.type
    if is_list(kind):
        found = pc.greater(pc.fill_null(pc.list_value_length(column), 0), 0)
    elif pa.types.is_struct(kind):
        fields = [name for name in ("bytes", "path") if kind.get_field_index(name) >= 0]
        found = reduce(pc.or_, (pc.struct_field(column, name).is_valid() for name in fields))
    elif is_text(kind):
        found = pc.not_equal(pc.fill_null(column.cast(pa.large_string()), ""), "")
    else:
        found = column.is_valid()
    return list(found.to_pylist())


def names_in(cells: Iterable[Any]) -> Iterator[str]:
    """All file names in cells that are texts, or lists of such cells."""
    for cell in cells:
        if isinstance(cell, list):
            yield from names_in(cell)
        elif cell:
            yield cell


def encoded_of(cell: Any, folder: Path, key: str, what: str = "picture") -> tuple[bytes, ...]:
    """The files in one cell: a struct of bytes and path, bytes, a name in `folder`, or a list of them.

    Raises `BadExample` for the example `key`, which speaks of its `what`.
    """
    if not cell and not isinstance(cell, bytes):
        return ()
    if isinstance(cell, list):
        return tuple(data for item in cell for data in encoded_of(item, folder, key, what))
    if isinstance(cell, bytes):
        return (cell,)
    if isinstance(cell, str):
        return (read_inside(folder, cell, key, what),)
    if cell.get("bytes") is not None:
        return (cell["bytes"],)
    if cell.get("path") is not None:
        raise BadExample(key, f"its {what} is not in the data set, only its path {cell['path']}")
    return ()


def inside(folder: Path, name: str) -> Path | None:
    """The file of a name, None if it is not in the folder: a data set is no licence to read other files."""
    path = Path(os.path.normpath(folder / name.removeprefix("file://")))
    return path if path.is_relative_to(os.path.normpath(folder)) and "\0" not in name else None


def frames_in(folder: Path) -> list[Path]:
    """The pictures in a folder, sorted by name."""
    there = (file for file in folder.iterdir() if file.suffix.lower() in SUFFIXES and file.name[0] != ".")
    return sorted(file for file in there if file.is_file())


def is_address(name: str) -> bool:
    """Whether a name leads into the web."""
    return name.lower().startswith(("http://", "https://", "ftp://", "s3://", "gs://"))


def is_written_out(name: str) -> bool:
    """Whether a name is no name but the bytes themselves, as a `data:` URI."""
    return name[:5].lower() == "data:"


def read_inside(folder: Path, name: str, key: str, what: str = "picture") -> bytes:
    """The bytes of a file of the data set, or of a `data:` URI. Raises `BadExample`."""
    if is_written_out(name):
        return _written_out(name, key, what)
    if is_address(name):
        raise BadExample(key, f"its {what} {name:.80} is on the web: download it and name its file")
    path = inside(folder, name)
    if path is None:
        raise BadExample(key, f"its {what} {name!r} is outside the data set's folder")
    try:
        return path.read_bytes()
    except OSError as error:
        raise BadExample(key, f"its {what} {name} cannot be read ({error.strerror})") from error


def _written_out(uri: str, key: str, what: str) -> bytes:
    head, comma, body = uri.partition(",")
    if not comma or not head.lower().endswith(";base64"):
        raise BadExample(key, f"its {what} is a data: URI without base64")
    try:
        return base64.b64decode(body, validate=True)
    except binascii.Error as error:
        raise BadExample(key, f"its {what} is a damaged data: URI ({error})") from error


def _is_binary(kind: pa.DataType) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind))
