"""Rows in a file of JSON objects, one a line; their pictures are files beside it, named in them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from microscope_tui.errors import MicroscopeError, one_line
from microscope_tui.slices.columns import Columns
from microscope_tui.slices.rows import SourceRows
from microscope_tui.stamps import Stamps, stamps_of
from microscope_tui.terms import SliceSpec

PICTURE = "file_name"
"""What `datasets` calls the column of pictures in such a file."""

Line = dict[str, Any]


class JsonRows(SourceRows):
    """The lines of a file. A line whose picture is null or missing is a text-only row."""

    def __init__(self, lines: Sequence[Line], read: Stamps, folder: Path, spec: SliceSpec) -> None:
        self._lines = lines
        arrays, mixed = _arrays(lines)
        table = pa.table(arrays)
        columns = Columns.of(table.schema, spec, PICTURE)
        texts = table.select(columns.texts(table.schema))
        for name in texts.column_names:
            # Answers may well be of several kinds: here an index, there a text.
            if name in mixed and name != columns.answer:
                raise MicroscopeError(
                    f"The values of {name} in {next(iter(read))} are of several kinds ({mixed[name]})."
                )
        super().__init__(len(lines), texts, columns, read, folder, spec)

    def raw(self, row: int) -> Line:
        return {name: self._lines[row].get(name) for name in self.texts.column_names}

    def _stored(self, row: int, column: str) -> None:
        """JSON has no bytes: what is not a text is null."""

    def _stored_held(self, column: str) -> Sequence[bool]:
        return [False] * len(self)


def open_json(file: Path, spec: SliceSpec) -> JsonRows:
    """The rows of a file of JSON objects. Raises `MicroscopeError`."""
    read, lines = stamps_of([file]), json_lines(file)
    if not lines:
        raise MicroscopeError(f"The file {file} holds no rows.")
    return JsonRows(lines, read, file.parent, spec)


def json_lines(file: Path) -> list[Line]:
    """The objects of a file, one a line or, in a `.json` file, in one array. Raises `MicroscopeError` for others."""
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise MicroscopeError(f"The file {file} cannot be read ({one_line(error)}).") from error
    if file.suffix == ".json" and text.lstrip().startswith("["):
        return [_object(line, f"Entry {number} of {file}") for number, line in enumerate(_loaded(text, f"{file}"), 1)]
    # Not splitlines(), which also splits at characters that may stand in a JSON text (U+2028, U+0085).
    numbered = ((number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip())
    places = ((f"Line {number} of {file}", line) for number, line in numbered)
    return [_object(_loaded(line, place), place) for place, line in places]


def _loaded(text: str, place: str) -> Any:
    try:
        value = json.loads(text)
        if "\\u" in text:  # an escape may stand for half of a character, which is no text
            json.dumps(value, ensure_ascii=False).encode()
        return value
    except UnicodeEncodeError as error:
        raise MicroscopeError(f"{place} holds {error.object[error.start]!a}, which is half of a character.") from error
    except (ValueError, RecursionError) as error:
        raise MicroscopeError(f"{place} is not JSON ({one_line(error)}).") from error


def _object(line: object, place: str) -> Line:
    if not isinstance(line, dict):
        raise MicroscopeError(f"{place} is not a JSON object.")
    return line


def _arrays(lines: Sequence[Line]) -> tuple[dict[str, pa.Array], dict[str, str]]:
    """The values by name; and the names under which they are of several kinds, with the reason (they are null)."""
    arrays, mixed = {}, {}
    for name in dict.fromkeys(name for line in lines for name in line):
        try:
            arrays[name] = _array([line.get(name) for line in lines])
        except (pa.ArrowException, OverflowError) as error:
            arrays[name], mixed[name] = pa.nulls(len(lines)), one_line(error)
    return arrays, mixed


def _array(values: list[Any]) -> pa.Array:
    """Values of one name. Turns of conversations, which hold all kinds of things, are only named by their fields."""
    there = [value for value in values if value is not None]
    items = [item for value in there if isinstance(value, list) for item in value]
    if items and all(isinstance(item, dict) for item in items):
        fields = dict.fromkeys(name for item in items for name in item)
        return pa.nulls(len(values), pa.list_(pa.struct([(name, pa.null()) for name in fields])))
    if items and any(isinstance(value, str) for value in there):
        # One picture by its name, several in a list.
        return pa.array([value if value is None or isinstance(value, list) else [value] for value in values])
    return pa.array(values)
