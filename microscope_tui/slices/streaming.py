"""The first rows of a data set that is never here as a whole: they are read in order and kept in a temporary file."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Generator, Sequence
from contextlib import closing, nullcontext
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from microscope_tui.errors import MicroscopeError, one_line
from microscope_tui.slices.examples import key_of
from microscope_tui.slices.hub import HubId, listed, sentences
from microscope_tui.slices.quiet import quiet
from microscope_tui.slices.rows import content_of
from microscope_tui.slices.selection import passing, terms
from microscope_tui.slices.table import TableRows
from microscope_tui.stamps import Stamps, stamps_of
from microscope_tui.terms import SliceSpec

BATCH = 16
"""Rows that are looked at together; so many pictures at most are in memory at once."""


@dataclass(frozen=True)
class Origin:
    """Where a stream comes from: addresses of its parquet files, and those that are `files` here in `folder`.

    `identity` stands for the bytes of those that are not here.
    """

    addresses: tuple[str, ...]
    files: tuple[Path, ...]
    folder: Path
    identity: str


class StreamedRows(TableRows):
    """The rows of a stream that passed the filter, with their places in it."""

    def __init__(self, table: pa.Table, places: Sequence[int], read: Stamps, origin: Origin, spec: SliceSpec) -> None:
        super().__init__(table, read, origin.folder, spec)
        self._places = places
        self._identity = origin.identity
        self._filter = spec.filter

    def key(self, row: int) -> str:
        """The name of a row by its place in the stream, whatever passed the filter."""
        return key_of(self._places[row])

    def content(self) -> str:
        """Digest of the stream's files, and of the filter, which decides what the first rows are."""
        parts = (self._identity, self._filter, content_of(self.files))
        return hashlib.blake2b("\n".join(parts).encode(), digest_size=16).hexdigest()


def origin_here(files: Sequence[Path], folder: Path) -> Origin:
    return Origin(tuple(map(str, files)), tuple(files), folder, "")


def origin_on_the_hub(hub: HubId, spec: SliceSpec) -> Origin:
    """The files of a split at the commit that the hub names now. Raises `MicroscopeError`."""
    commit, files = listed(hub, spec.split, spec.source)
    addresses = tuple(f"hf://datasets/{hub.repo}@{commit}/{file}" for file in files)
    # Files that the rows name are not fetched, so there is no folder for them.
    return Origin(addresses, (), Path("/nowhere"), "\n".join(addresses))


def open_stream(origin: Origin, spec: SliceSpec) -> StreamedRows:
    """The first `count` rows that pass the filter. Raises `MicroscopeError` if there are none, or for a bad stream."""
    read = stamps_of(origin.files)
    try:
        # What is mapped outlives the folder, so nothing is left behind, also where the process is killed later.
        with tempfile.TemporaryDirectory(prefix="microscope-stream-") as folder:
            file = Path(folder, "rows.arrow")
            places = _keep(origin, spec, file, Path(folder, "datasets"))
            with pa.memory_map(str(file)) as mapped:
                return StreamedRows(pa.ipc.open_stream(mapped).read_all(), places, read, origin, spec)
    except OSError as error:
        raise MicroscopeError(
            f"The first rows of {spec.source} cannot be kept in {tempfile.gettempdir()} ({one_line(error)}): "
            "give a smaller count, or another TMPDIR."
        ) from error


def _keep(origin: Origin, spec: SliceSpec, file: Path, cache: Path) -> list[int]:
    """Write the rows that pass to a file, and return their places in the stream."""
    places: list[int] = []
    writer: pa.RecordBatchStreamWriter | None = None
    with closing(_tables(origin, spec, cache)) as tables:
        for start, table in tables:
            rows = TableRows(table, {}, origin.folder, spec)
            passed: Sequence[int] = range(len(rows))
            for name, wanted in terms(spec).items():
                passed = passing(rows, name, wanted, passed, spec)
            passed = passed[: (spec.count or 0) - len(places)]
            places += [start + row for row in passed]
            needed = {*rows.texts.column_names, *rows.columns.media}
            kept = table.select([name for name in table.column_names if name in needed]).take(
                pa.array(passed, pa.int64())
            )
            writer = writer or pa.ipc.new_stream(str(file), kept.schema)
            writer.write_table(kept)
            if len(places) == spec.count:
                break
    if writer is None:
        raise MicroscopeError(
            f"The split {spec.split!r} of the data set {spec.source} is empty: choose another split=."
        )
    writer.close()
    if not places:
        raise MicroscopeError(
            f"No example of the data set {spec.source} passes the filter {spec.filter!r}: the whole stream was read."
        )
    return places


def _tables(origin: Origin, spec: SliceSpec, cache: Path) -> Generator[tuple[int, pa.Table], None, None]:
    """The stream in tables of `BATCH` rows, each with the place of its first. Raises `MicroscopeError`."""
    import datasets  # half a second, and only streams need it

    hub, start = HubId.parse(spec.source), 0
    others = () if hub else (OSError,)
    with quiet(datasets), sentences(hub, spec.split, spec.source) if hub else nullcontext():
        try:
            stream = datasets.load_dataset(
                "parquet",
                data_files={"rows": list(origin.addresses)},
                split="rows",
                streaming=True,
                cache_dir=str(cache),
            )
            with closing(iter(stream.with_format("arrow").iter(batch_size=BATCH))) as tables:
                for table in tables:
                    yield start, table.replace_schema_metadata(None)
                    start += table.num_rows
        except (ValueError, pa.ArrowException, datasets.exceptions.DatasetsError, *others) as error:
            raise MicroscopeError(f"The data set {spec.source} cannot be streamed ({one_line(error)}).") from error
