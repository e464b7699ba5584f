"""Where a worker is found: its lock, the record in it, its socket and its log.

The `flock` on `worker.lock` is the only truth of who lives; what stands in the file only says where to knock.
The socket lies in a short private folder under the temporary folder, because a path to a socket has at most
107 bytes, and not in $XDG_RUNTIME_DIR, which vanishes when the user logs out and the worker stays.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import stat
import struct
import tempfile
import time
from dataclasses import asdict, dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Final, Self

from microscope_tui.errors import MicroscopeError
from microscope_tui.store.folder import private_file

PATH_LIMIT: Final = 107

LOCK_SECONDS: Final = 0.5
"""How long a new worker tries to get the lock: somebody who only looks whether it is held has it for a moment."""


@dataclass(frozen=True)
class Record:
    """What the living worker wrote into its lock file: a hint where to find it, never a proof that it lives.

    `start` is the process's start time in clock ticks and `boot` the machine's boot id: together with `pid`
    they name one process for ever, while a pid alone is soon another's.
    """

    pid: int
    start: int
    boot: str
    host: str
    socket: str

    @classmethod
    def of_this_process(cls, path: Path) -> Self:
        pid = os.getpid()
        return cls(pid, process_start(pid) or 0, boot_id(), socket.gethostname(), str(path))

    @classmethod
    def read(cls, cache: Path) -> Self | None:
        """The record in the lock file, None when there is none (yet)."""
        try:
            return cls(**json.loads(lock_file(cache).read_bytes()))
        except (OSError, ValueError, TypeError):
            return None

    def write(self, descriptor: int) -> None:
        """Writes the record into the lock file that is open as `descriptor`."""
        text = json.dumps(asdict(self)).encode()
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, text, 0)

    @staticmethod
    def erase(descriptor: int) -> None:
        """Takes the record out of the lock file: a worker that ended in order leaves none, one that died does."""
        os.ftruncate(descriptor, 0)

    @property
    def lives(self) -> bool:
        """Whether this very process still exists."""
        return self.start != 0 and self.boot == boot_id() and process_start(self.pid) == self.start


def lock_file(cache: Path) -> Path:
    return cache / "worker.lock"


def log_file(cache: Path) -> Path:
    """The log of the worker of this cache folder."""
    return cache.expanduser().resolve() / "worker.log"


def is_held(cache: Path) -> bool:
    """Whether a worker lives on this cache folder."""
    try:
        descriptor = os.open(lock_file(cache), os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def take_lock(cache: Path, held: int | None = None, *, patience: float = LOCK_SECONDS) -> int | None:
    """The descriptor that holds the lock of this cache folder, None when another worker lives on it, also after so many
    seconds of `patience`: whoever looks for a worker holds the lock for a moment."""
    if held is None:
        descriptor = os.open(private_file(lock_file(cache)), os.O_RDWR | os.O_CLOEXEC)
    else:
        descriptor = held
        os.set_inheritable(descriptor, False)
    deadline = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                os.close(descriptor)
                return None
            time.sleep(0.01)
        else:
            return descriptor


def keep_from_children(lock: int) -> None:
    """A child that is forked (a data loader) would otherwise hold the lock when this process is dead."""
    os.register_at_fork(after_in_child=lambda: os.close(lock))


def socket_path(cache: Path) -> Path:
    """Where the worker of `cache` listens; its folder is made and checked. Raises `MicroscopeError`.

    When another user sits on the customary name, a fresh private folder is taken: the record tells the screen.
    """
    digest = blake2b(os.fsencode(cache), digest_size=8).hexdigest()
    name = f"{socket.gethostname()[:20]}-{digest}.sock"
    for base in (tempfile.gettempdir(), "/tmp"):
        folder = Path(base, f"microscope-tui-{os.geteuid()}")
        if len(os.fsencode(folder / name)) > PATH_LIMIT:
            continue
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not is_private(folder):
                folder = Path(tempfile.mkdtemp(prefix="microscope-tui-", dir=base))
        except OSError:
            continue
        if len(os.fsencode(folder / name)) <= PATH_LIMIT:
            return folder / name
    raise MicroscopeError(
        f"The worker finds no folder for its socket ({tempfile.gettempdir()} and /tmp are not writable, or the path "
        f"is longer than {PATH_LIMIT} bytes): set TMPDIR to a short folder of your own."
    )


def is_private(folder: Path) -> bool:
    """Whether `folder` is a real folder of this user that nobody else can enter."""
    try:
        found = folder.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and not found.st_mode & 0o077


def peer_uid(connection: socket.socket) -> int:
    """The user at the other end of a Unix socket, as the kernel knows it."""
    size = struct.calcsize("3i")
    _, uid, _ = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size))
    return int(uid)


def process_start(pid: int) -> int | None:
    """The start time of a process in clock ticks since boot, None when there is no such process."""
    try:
        line = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return None
    after_name = line.rpartition(")")[2].split()
    return None if after_name[0] == "Z" else int(after_name[19])


def boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""
