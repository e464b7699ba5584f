"""How values lie on disk: raw bytes under text keys, in files whose names nobody else can choose.

`diskcache.Disk` pickles what it does not know and joins file names from its database to a path unchecked.
This one stores and reads bytes only, and reaches a value only by a name of its own making, without following
a symlink at any step. Everything else raises `Damage` with the reason.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, TypeGuard

import diskcache

from microscope_tui.store.seals import pieces_of

INLINE: Final = 32 * 1024
"""Values below this many bytes lie in the database itself, except blobs."""

RAW: Final = diskcache.core.MODE_RAW
FILE: Final = diskcache.core.MODE_BINARY

MAPPED: Final = "blob/"
"""Keys whose values always get a file, so that they can be memory-mapped."""

ATTEMPTS: Final = 16
"""Tries to make a file while another process removes its folder for being empty."""

NAME: Final = re.compile(r"([0-9a-f]{2})/([0-9a-f]{2})/([0-9a-f]{28}\.val)")

_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Damage(Exception):
    """A stored value cannot be trusted; `str(damage)` says why."""


class Disk(diskcache.Disk):  # type: ignore[misc]  # diskcache ships no types
    """The only road between values and files. Keys are text, values are bytes, nothing is ever unpickled."""

    def put(self, key: object) -> tuple[str, bool]:
        if type(key) is not str:
            raise TypeError(f"a key of the store is text, not {type(key).__name__}")
        return key, True

    def get(self, key: object, raw: object) -> str:
        if type(key) is not str or raw != 1:
            raise Damage("its key is not text")
        return key

    def store(self, value: object, read: bool, key: object = None) -> tuple[int, int, str | None, bytes | None]:
        """(size, mode, file name, inline value) of the row for `value`; large values go to a new file.

        `value` is bytes, or a tuple of memory views, its pieces. Raises `OSError` when the file cannot be written;
        nothing is left of it then.
        """
        whole = value if isinstance(value, bytes) or _in_pieces(value) else None
        if whole is None or read:
            raise TypeError(f"a value of the store is bytes, not {type(value).__name__}")
        pieces = pieces_of(whole)
        size = sum(piece.nbytes for piece in pieces)
        if size < self.min_file_size and not str(key).startswith(MAPPED):
            return 0, RAW, None, b"".join(pieces)
        name = _new_name()
        self._write_file(name, pieces)
        return size, FILE, name, None

    def fetch(self, mode: object, filename: object, value: object, read: bool = False) -> bytes:
        """The bytes of a row, unchecked; raises `Damage` for all but bytes, `FileNotFoundError` for a lost file."""
        if filename is None:
            return self.inline(mode, value)
        with (
            self.opened(mode, filename, value) as descriptor,
            open(descriptor, "rb", buffering=0, closefd=False) as file,
        ):
            return file.read()

    @staticmethod
    def inline(mode: object, value: object) -> bytes:
        """The value that lies in the row itself; raises as `fetch`."""
        if mode != RAW:
            raise Damage(f"its storage mode {mode!r} is not one of ours")
        if type(value) is not bytes:
            raise Damage("its value is not bytes")
        return value

    @contextlib.contextmanager
    def opened(self, mode: object, filename: object, value: object = None) -> Iterator[int]:
        """A descriptor to read the value file of a row; raises as `fetch`."""
        if mode != FILE or value is not None:
            raise Damage(f"its storage mode {mode!r} is not one of ours")
        with self._parent(filename) as (parent, name):
            try:
                descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=parent)
            except FileNotFoundError:
                raise
            except OSError as error:
                raise Damage(f"its file cannot be opened ({error.strerror})") from error
        try:
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid():
                raise Damage("its file is not a plain file of this user")
            yield descriptor
        finally:
            os.close(descriptor)

    def path(self, filename: object) -> Path:
        """Where the value file of this name lies; `Damage` when the name is not one of ours."""
        _parts(filename)
        return Path(self._directory, str(filename))

    def names(self) -> Iterator[str]:
        """The names of all value files that lie on the disk, whether or not a row names them."""
        for first in _folders(self._directory):
            for second in _folders(os.path.join(self._directory, first)):
                for name in _listed(os.path.join(self._directory, first, second)):
                    if NAME.fullmatch(found := f"{first}/{second}/{name}"):
                        yield found

    def sweep(self) -> None:
        """Removes the folders that hold no value file any more."""
        for first in _folders(self._directory):
            inside = os.path.join(self._directory, first)
            for folder in (*(os.path.join(inside, second) for second in _folders(inside)), inside):
                with contextlib.suppress(OSError):  # not empty
                    os.rmdir(folder)

    def move(self, filename: object, target: Path) -> None:
        """Moves a value file out of the store; raises as `fetch`."""
        with self.opened(FILE, filename), self._parent(filename) as (parent, name):
            os.rename(name, target, src_dir_fd=parent)
        self.remove(filename)

    def remove(self, file_path: object) -> None:
        """Removes a value file and its folders when they are empty; a name that is not ours is left alone."""
        with contextlib.suppress(OSError, Damage):
            first, second, name = _parts(file_path)
            with self._parent(file_path) as (parent, _):
                os.unlink(name, dir_fd=parent)
            root = os.open(self._directory, _FOLDER)
            try:
                os.rmdir(f"{first}/{second}", dir_fd=root)
                os.rmdir(first, dir_fd=root)
            finally:
                os.close(root)

    def _write_file(self, name: str, pieces: Sequence[memoryview]) -> None:
        try:
            descriptor = self._create(name)
            try:
                for view in pieces:  # each in one go: diskcache writes bytes line by line, at four times the CPU
                    while view:
                        view = view[os.write(descriptor, view) :]
                # The row that names this file is committed next; after a power cut the file must be there.
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        except OSError:
            self.remove(name)
            raise

    def _create(self, name: str) -> int:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        for _ in range(ATTEMPTS):
            try:
                with self._parent(name, make=True) as (parent, last):
                    return os.open(last, flags, 0o600, dir_fd=parent)
            except FileNotFoundError:
                continue  # another process removed the empty folder in between: once more
        raise FileNotFoundError(errno.ENOENT, "the folder for a new value keeps vanishing", name)

    @contextlib.contextmanager
    def _parent(self, filename: object, *, make: bool = False) -> Iterator[tuple[int, str]]:
        """A descriptor of the folder that holds the file, opened step by step so that no symlink is followed."""
        first, second, name = _parts(filename)
        opened: list[int] = []
        try:
            opened.append(os.open(self._directory, _FOLDER))
            for part in (first, second):
                if make:
                    with contextlib.suppress(FileExistsError):
                        os.mkdir(part, 0o700, dir_fd=opened[-1])
                try:
                    opened.append(os.open(part, _FOLDER, dir_fd=opened[-1]))
                except OSError as error:
                    if error.errno in (errno.ENOTDIR, errno.ELOOP):  # what O_NOFOLLOW says of a symlink
                        raise Damage("its file lies behind a link") from error
                    raise
            yield opened[-1], name
        finally:
            for descriptor in opened:
                os.close(descriptor)


def _folders(path: str) -> list[str]:
    """The two-digit folders in `path`, no links among them."""
    return [name for name in _listed(path) if len(name) == 2 and stat.S_ISDIR(_mode(os.path.join(path, name)))]


def _listed(path: str) -> list[str]:
    try:
        return os.listdir(path)
    except FileNotFoundError:  # removed by another process since its parent was listed
        return []


def _mode(path: str) -> int:
    try:
        return os.lstat(path).st_mode
    except FileNotFoundError:
        return 0


def _in_pieces(value: object) -> TypeGuard[tuple[memoryview, ...]]:
    return isinstance(value, tuple) and bool(value) and all(isinstance(piece, memoryview) for piece in value)


def _new_name() -> str:
    name = secrets.token_hex(16)
    return f"{name[:2]}/{name[2:4]}/{name[4:]}.val"


def _parts(filename: object) -> tuple[str, str, str]:
    match = NAME.fullmatch(filename) if isinstance(filename, str) else None
    if match is None:
        raise Damage(f"its file name {filename!r} is not one of ours")
    return match[1], match[2], match[3]
