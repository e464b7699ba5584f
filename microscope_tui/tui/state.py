"""The session of last time and the names of many times, kept beside the results in the cache folder as JSON, and read
back with suspicion."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import threading
import time
import types
from collections.abc import Collection, Iterator
from dataclasses import asdict, dataclass, fields, replace
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, Union, get_args, get_origin, get_type_hints

from microscope_tui.errors import MicroscopeError
from microscope_tui.terms import SliceSpec
from microscope_tui.tui.session import Session

FILE: Final = "session.json"
VERSION: Final = 1
LARGEST: Final = 1_000_000
"""Bytes of a file that is read at all."""
RECENT: Final = 12
"""Names of each kind that were looked at and are remembered."""
FAVOURITES: Final = 100
"""Favourites of each kind, at most."""
PATIENCE: Final = 1.0
"""Seconds that one explorer waits while another one writes: that may have been stopped in the middle of it."""


@dataclass(frozen=True)
class Remembered:
    """Models and slices that were looked at, the last one first, and those that a key made favourites."""

    models: tuple[str, ...] = ()
    slices: tuple[str, ...] = ()
    favourite_models: tuple[str, ...] = ()
    favourite_slices: tuple[str, ...] = ()

    def after(self, session: Session) -> Remembered:
        """With the names of a session in front of those that were looked at."""
        slices = (str(session.slice), *(str(spec) for spec in session.others))
        return replace(self, models=_first(session.models, self.models), slices=_first(slices, self.slices))

    def favoured(self, model: str = "", slice: str = "") -> Remembered:
        """With a model, or a slice, among the favourites; without it where it was."""
        models, slices = _turned(model, self.favourite_models), _turned(slice, self.favourite_slices)
        return replace(self, favourite_models=models, favourite_slices=slices)

    def changed_as(self, before: Remembered, now: Remembered) -> Remembered:
        """With the favourites that are new between two times, and without those that are gone."""
        models = _changed_as(self.favourite_models, before.favourite_models, now.favourite_models)
        slices = _changed_as(self.favourite_slices, before.favourite_slices, now.favourite_slices)
        return replace(self, favourite_models=models, favourite_slices=slices)


def _first(new: Collection[str], old: Collection[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*new, *old)))[:RECENT]


def _turned(name: str, names: tuple[str, ...]) -> tuple[str, ...]:
    if name in names or not name:
        return tuple(each for each in names if each != name)
    return (*names, name)[-FAVOURITES:]


def _changed_as(names: tuple[str, ...], before: tuple[str, ...], now: tuple[str, ...]) -> tuple[str, ...]:
    left = [name for name in names if name in now or name not in before]
    return tuple(dict.fromkeys((*left, *(name for name in now if name not in before))))[-FAVOURITES:]


def restore(folder: Path, start: Session, given: Collection[str]) -> tuple[Session, Remembered, str]:
    """The session kept in a cache folder with the fields named in `given` as `start` has them, what is
    remembered, and a note: empty, or why nothing was restored. Never raises."""
    file = folder / FILE
    try:
        data = _stored(file)
        hints = get_type_hints(Session)
        kept = {name: _read(value, hints[name]) for name, value in data["session"].items() if name in hints}
        if {"models", "slice"} & set(given):
            given = {*given, "others", "slots", "top", "difference"}  # they belong to what was laid over what
        session = replace(start, **{name: value for name, value in kept.items() if name not in given})
        if session.pane < 0 or not (session.focus and session.curves):
            raise ValueError("it shows nothing")
        remembered = _names_in(data)
    except FileNotFoundError:
        return start, Remembered(), ""
    except DAMAGED as error:
        why = " ".join(str(error).split())[:100] or type(error).__name__
        return (
            start,
            Remembered(),
            f"The view of last time could not be restored from {file} ({why}): this is a new one.",
        )
    return session, remembered, ""


class Keeper:
    """Keeps the session of one explorer in a cache folder for the next time, and its names among those of the others.

    The view is that of the last one who writes. Of the names each explorer changes only what it has changed itself:
    several of them may run on one cache.
    """

    def __init__(self, folder: Path, remembered: Remembered = Remembered()) -> None:
        """`remembered` is what was restored."""
        self._folder, self._before = folder, remembered
        self._writing = threading.Lock()  # the errand that keeps it now and then may go on when the screen has ended

    def keep(self, session: Session, remembered: Remembered) -> None:
        """Keep a session and the names. That they cannot be written troubles nobody at the end."""
        with self._writing, contextlib.suppress(OSError):
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with _alone(self._folder):
                names = remembered
                with contextlib.suppress(*DAMAGED):
                    names = _names_in(_stored(self._folder / FILE)).changed_as(self._before, remembered)
                self._write(session, names.after(session))
            self._before = remembered

    def _write(self, session: Session, names: Remembered) -> None:
        values = {f.name: getattr(session, f.name) for f in fields(session)}
        values["slice"] = str(session.slice)
        values["others"] = [str(spec) for spec in session.others]
        data = {"version": VERSION, "session": values, "recent": asdict(names)}
        part = self._folder / f"{FILE}.{os.getpid()}-{threading.get_ident()}"
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        try:
            with open(descriptor, "w") as opened:
                json.dump(data, opened, indent=1)
            part.replace(self._folder / FILE)
        except OSError:
            part.unlink(missing_ok=True)
            raise


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """While no other explorer reads the names to change them. After `PATIENCE`, or where the file system has no such
    locks, one goes on without: each write is whole in any case."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    deadline = time.monotonic() + PATIENCE
    try:
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    break
                time.sleep(0.01)
            except OSError:
                break
        yield
    finally:
        os.close(descriptor)


DAMAGED: Final = (OSError, ValueError, TypeError, LookupError, AttributeError, RecursionError, MicroscopeError)
"""What comes of a file that is none of ours, or no longer whole."""


def _stored(file: Path) -> Any:
    """What a file holds; raises one of `DAMAGED`."""
    with open(file, "rb") as opened:
        text = opened.read(LARGEST + 1)
    if len(text) > LARGEST:
        raise ValueError("it is too large")
    data = json.loads(text)
    if data["version"] != VERSION:
        raise ValueError(f"it is of version {data['version']}")
    return data


def _names_in(data: Any) -> Remembered:
    names = [f.name for f in fields(Remembered) if f.name in data["recent"]]
    return Remembered(**{name: _read(data["recent"][name], _TEXTS) for name in names})


_TEXTS: Final = tuple[str, ...]


def _read(value: Any, kind: Any) -> Any:
    """JSON as the type that a field has; `ValueError` for anything else."""
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        if value is None and type(None) in inner:
            return None
        return _read(value, next(each for each in inner if each is not type(None)))
    if origin is tuple:
        if not isinstance(value, list):
            raise ValueError(f"{value!r} is no list")
        kinds = [inner[0]] * len(value) if inner[1:] == (...,) else list(inner)
        return tuple(_read(part, each) for part, each in zip(value, kinds, strict=True))
    if kind is SliceSpec:
        return SliceSpec.parse(_read(value, str))
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        return kind(value)
    if type(value) is not kind:
        raise ValueError(f"{value!r} is no {kind.__name__}")
    return value
