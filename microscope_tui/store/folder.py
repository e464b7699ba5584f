"""The folder everything lies in: ours alone, writable, on a local disk; otherwise one sentence says why not."""

from __future__ import annotations

import os
import pwd
import stat
from pathlib import Path

from microscope_tui.errors import Fault, MicroscopeError, blaming

OTHER = "name another folder with --cache or MICROSCOPE_CACHE"
LOOK = "see what it holds with --read-only"

NETWORK = ("nfs", "nfs4", "cifs", "smb3", "smbfs", "fuse.sshfs", "afs", "ncpfs", "glusterfs", "fuse.glusterfs")
"""File systems on which SQLite's write-ahead log and file locks do not hold between machines."""

MOUNTS = Path("/proc/self/mountinfo")


@blaming(Fault.CACHE)
def prepare(folder: Path, *, read_only: bool = False, mounts: Path = MOUNTS) -> Path:
    """The folder, resolved, after every check; made with mode 0700 when it is missing and may be written.

    With `read_only` nothing is made or changed and a missing folder is in order: it is an empty store.
    Raises `MicroscopeError` for what is not a folder, belongs to another user, cannot be written or lies on
    a network file system.
    """
    try:
        folder = folder.expanduser().resolve()
        if not read_only:
            _make(folder)
        elif not folder.exists():
            return folder
        found = folder.stat()
    except (OSError, RuntimeError) as error:
        raise MicroscopeError(f"The cache folder {folder} cannot be opened ({_why(error)}): {OTHER}.") from error
    if not stat.S_ISDIR(found.st_mode):
        raise MicroscopeError(f"The cache {folder} is not a folder: {OTHER}.")
    if found.st_uid != os.geteuid():
        raise MicroscopeError(
            f"The cache folder {folder} belongs to {_user(found.st_uid)}, whose results are not trusted: {OTHER}."
        )
    if not read_only:
        if not found.st_mode & stat.S_IWUSR or not os.access(folder, os.W_OK | os.X_OK):
            raise MicroscopeError(f"The cache folder {folder} is read-only: {LOOK}, make it writable or {OTHER}.")
        if (kind := filesystem(folder, mounts)) in NETWORK:
            raise MicroscopeError(
                f"The cache folder {folder} is on a network file system ({kind}), where locks do not hold: "
                f"{OTHER} on a local disk."
            )
        if found.st_mode & 0o077:
            folder.chmod(0o700)
    return folder


@blaming(Fault.CACHE)
def private_folder(folder: Path) -> Path:
    """A folder inside the cache, made with mode 0700; a symlink or another user's folder is refused."""
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
        raise MicroscopeError(f"{folder} in the cache is not a folder of your own: remove it, or {OTHER}.")
    if found.st_mode & 0o077:
        folder.chmod(0o700)
    return folder


@blaming(Fault.CACHE)
def private_file(path: Path) -> Path:
    """A regular file of ours with mode 0600, made empty when missing; a symlink or a foreign one is refused.

    A file that exists is never opened here: SQLite holds its databases by POSIX locks, and closing any descriptor
    of such a file gives up all the locks that this process has on it. Another process would then take itself for
    the last one and delete the write-ahead log from under us.
    """
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    except FileExistsError:
        refuse_links(path)
        if path.lstat().st_mode & 0o077:
            path.chmod(0o600)
    except OSError as error:
        raise MicroscopeError(f"The file {path} cannot be opened ({_why(error)}): remove it, or {OTHER}.") from error
    return path


@blaming(Fault.CACHE)
def refuse_links(*paths: Path) -> None:
    """Raises when one of these files is there and is not a plain file of ours: SQLite would write through a link."""
    for path in paths:
        try:
            found = path.lstat()
        except FileNotFoundError:
            continue
        if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid() or found.st_nlink > 1:
            raise MicroscopeError(f"{path} in the cache is not a plain file of your own: remove it, or {OTHER}.")


def filesystem(folder: Path, mounts: Path = MOUNTS) -> str:
    """The type of the file system that holds `folder` (`ext4`, `nfs4`, …), empty where it is not known.

    Read from Linux's mountinfo: the mount point that is the longest prefix of the path, the last one mounted
    when several are stacked on one point.
    """
    best, kind = -1, ""
    try:
        lines = mounts.read_text(errors="surrogateescape").splitlines()
    except OSError:
        return ""
    for line in lines:
        left, _, right = line.partition(" - ")
        fields = left.split(" ")
        if len(fields) < 5 or not right:
            continue
        point = Path(fields[4].encode().decode("unicode_escape") if "\\" in fields[4] else fields[4])
        if folder.is_relative_to(point) and len(point.parts) >= best:
            best, kind = len(point.parts), right.split(" ")[0]
    return kind


def _make(folder: Path) -> None:
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)


def _user(uid: int) -> str:
    try:
        return f"the user {pwd.getpwuid(uid).pw_name}"
    except KeyError:
        return f"the user with number {uid}"


def _why(error: BaseException) -> str:
    return error.strerror if isinstance(error, OSError) and error.strerror else str(error)
