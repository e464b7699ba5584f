"""Maintenance of a store: check everything, collect what killed processes left, carry results elsewhere."""

from __future__ import annotations

import contextlib
import io
import json
import re
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Final

from microscope_tui.errors import MicroscopeError
from microscope_tui.store.checks import checked_file, checked_value
from microscope_tui.store.disk import Damage
from microscope_tui.store.keys import canonical
from microscope_tui.store.names import held_by_sums, is_older
from microscope_tui.store.reader import Reader
from microscope_tui.store.rows import Collected, Damaged, Kind, Row
from microscope_tui.store.seals import seal
from microscope_tui.store.shelf import Shelf, write_private

CARRIED: Final = (Kind.MEASUREMENT, Kind.BLOB, Kind.LOOK)
"""What an archive holds: results. Jobs and aliases speak of this machine."""

MEMBER: Final = re.compile(rf"({'|'.join(CARRIED)})/[A-Za-z0-9][A-Za-z0-9._:+-]{{0,199}}")

SEAL: Final = "MICROSCOPE.seal"
"""Name of the archive's header that holds a member's seal."""


def verify(shelf: Shelf) -> list[Damaged]:
    """Reads every value and sets aside what is not as it was stored; what was found, in the order of the rows."""
    damaged = []
    for number in shelf.numbers():
        row = shelf.numbered(number)
        if row is not None and (reason := problem(shelf, row)) and (found := shelf.set_aside(row, reason)):
            damaged.append(found)
    shelf.recount()
    return damaged


def problem(shelf: Shelf, row: Row) -> str:
    """What is wrong with a row, empty when nothing is or when it was changed meanwhile."""
    reason = _problem(shelf, row)
    return reason if reason and shelf.still(row) else ""


def collect(shelf: Shelf) -> Collected:
    """Removes the value files that no entry names, rows that sums hold, and what is of an older version. Waits until
    nobody is in the middle of writing a file."""
    with shelf.writing(alone=True):
        blobs = {entry.key.partition("/")[2]: entry for entry in shelf.entries() if entry.kind == Kind.BLOB}
        names = {*held_by_sums(blobs), *filter(is_older, blobs)}
        useless = [blobs[name] for name in names if not blobs[name].in_use]
        if useless:
            shelf.drop([entry.key for entry in useless])
        named = shelf.named_files()
        orphans = [name for name in shelf.values.names() if name not in named]
        size = sum(entry.size for entry in useless)
        for name in orphans:
            with contextlib.suppress(OSError):
                size += shelf.values.path(name).lstat().st_size
            shelf.values.remove(name)
        shelf.values.sweep()
        shelf.compact()
    return Collected(len(orphans) + len(useless), size)


def pack(
    shelf: Shelf | Reader, archive: Path, keys: Collection[str] | None, read: Callable[[str], bytes | None]
) -> int:
    """Writes results into a new tar file, each with its seal; how many. `keys` are full keys, None for all."""
    import tarfile  # here, for every start opens a store and few pack one

    wanted = [entry.key for entry in shelf.entries() if entry.kind in CARRIED and (keys is None or entry.key in keys)]
    if missing := set(keys or ()) - set(wanted):
        raise MicroscopeError(f"There is no result {min(missing)} to export: `microscope-tui cache ls` lists them.")
    count = 0
    if not archive.name or archive.is_dir():
        raise MicroscopeError(f"The archive {archive} would be a folder: give it the name of a file.")
    partial = archive.with_name(archive.name + ".part")
    try:
        write_private(partial, b"")
        with tarfile.open(partial, "w", format=tarfile.PAX_FORMAT) as tar:
            for key in wanted:
                if (value := read(key)) is None or (value := _abroad(key, value)) is None:
                    continue
                member = tarfile.TarInfo(key)
                member.size, member.mode, member.pax_headers = len(value), 0o600, {SEAL: seal(key, value)}
                tar.addfile(member, io.BytesIO(value))
                count += 1
        partial.replace(archive)
    except OSError as error:
        with contextlib.suppress(OSError):
            partial.unlink()
        raise MicroscopeError(f"The archive {archive} cannot be written ({error.strerror or error}).") from error
    return count


def unpack(archive: Path, limit: int) -> Iterator[tuple[str, bytes]]:
    """The (full key, value) pairs of an archive that `pack` wrote, each checked. Nothing is extracted to a path.

    Raises `MicroscopeError` at the first member that is not a result as it was exported.
    """
    import tarfile

    try:
        with tarfile.open(archive, "r:") as tar:
            for member in tar:
                if not member.isreg() or not MEMBER.fullmatch(member.name):
                    raise MicroscopeError(
                        f"The archive {archive} holds {member.name!r}, which is not a result: not imported."
                    )
                if member.size > limit:
                    raise MicroscopeError(
                        f"{member.name} in {archive} is larger than the cache may be: raise cache_limit_gb."
                    )
                file = tar.extractfile(member)
                value = b"" if file is None else file.read()
                if member.pax_headers.get(SEAL) != seal(member.name, value):
                    raise MicroscopeError(f"{member.name} in {archive} is damaged: export it again.")
                if (result := _abroad(member.name, value)) is None:
                    raise MicroscopeError(f"{member.name} in {archive} is no look: not imported.")
                yield member.name, result
    except (OSError, tarfile.TarError, UnicodeError) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise MicroscopeError(
            f"The archive {archive} cannot be read ({why}): it must come from `cache export`."
        ) from error


def _abroad(key: str, value: bytes) -> bytes | None:
    """A value as it travels: a look without the files that it depends on, which are those of one machine; None for
    one that cannot be read."""
    if not key.startswith(Kind.LOOK.key("")):
        return value
    try:
        return canonical(json.loads(value) | {"files": None})
    except (ValueError, TypeError, RecursionError):
        return None


def _problem(shelf: Shelf, row: Row) -> str:
    if type(row.key) is not str or row.raw != 1:
        return "its key is not text"
    if row.key.partition("/")[0] not in tuple(Kind):
        return "its key is of no known kind"
    try:
        (checked_value if row.filename is None else checked_file)(shelf.values, row)
    except FileNotFoundError:
        return "its file is gone"
    except (Damage, OSError) as error:
        return str(error)
    return ""
