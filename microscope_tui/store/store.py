"""All that is on disk, in the words of the house: measurements, blobs, aliases and jobs."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, TypeVar

from microscope_tui.errors import MicroscopeError
from microscope_tui.results import Measurement
from microscope_tui.settings import Settings
from microscope_tui.stamps import Stamps, changed
from microscope_tui.store import maintenance
from microscope_tui.store.checks import checked_file, checked_value
from microscope_tui.store.disk import Damage, Disk
from microscope_tui.store.folder import prepare
from microscope_tui.store.keys import (
    AUTO,
    as_expected,
    auto_device,
    canonical,
    covers,
    family_key,
    look_key,
    request_key,
    unexpected,
)
from microscope_tui.store.libraries import is_behind, versions
from microscope_tui.store.order import in_order
from microscope_tui.store.reader import Reader
from microscope_tui.store.rows import Asked, Collected, Damaged, Deaths, Entry, Kind, Row
from microscope_tui.store.seals import Value
from microscope_tui.store.shelf import Shelf
from microscope_tui.terms import Job, JobKind, JobState, Request

LIMIT_BYTES: Final = int(Settings.cache_limit_gb * 1e9)

QUOTA_SHARE: Final = 0.25
"""A value of more than this share of a store's limit had better not be kept: it would push out everything else."""

ENDED_JOBS_KEPT: Final = 200
ENDED_LOOKS_KEPT: Final = 20
"""Measurements, and looks, that have ended stay in the list until there are so many newer ones."""

ATTEMPTS: Final = 8

ASKED: Final = b'{"asked":'
"""How a look begins: canonical JSON has its keys in order."""

T = TypeVar("T")


class Store:
    """A cache folder. Safe for several threads and processes at once; everything is bytes with a digest, no pickle.

    A damaged value is set aside (`damaged` lists them) and counts as missing, so it is measured again. Errors
    are `MicroscopeError`: a folder that cannot be used, a full disk (`StoreFull`), a value larger than
    `limit_bytes`.
    """

    def __init__(
        self, folder: Path, *, read_only: bool = False, limit_bytes: int = LIMIT_BYTES, job: str | None = None
    ) -> None:
        """Opens `folder`, and makes it when it is missing; `read_only` writes nothing, and finds nothing then.

        `limit_bytes` is the size above which the least recently used results are removed. What is read or
        written through a store opened for `job` stays until that job has ended.
        """
        self.folder = prepare(folder, read_only=read_only)
        self.limit_bytes = limit_bytes
        self._job = job
        self._shelf = None if read_only else Shelf(self.folder)
        self._database: Shelf | Reader = Reader(self.folder) if self._shelf is None else self._shelf
        self._seen: list[Damaged] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes this thread's connection; the store can be used again and then opens a new one."""
        self._database.close()

    # Results

    def measurement(self, key: str) -> Measurement | None:
        """The measurement stored under the content key `key`, None if there is none."""
        return self._measurement(Kind.MEASUREMENT.key(key))

    def put_measurement(self, key: str, measurement: Measurement) -> None:
        """Stores a finished measurement under its content key."""
        self._save({Kind.MEASUREMENT.key(key): canonical(measurement.to_json())})

    def partial(self, job_id: str) -> Measurement | None:
        """What a job has measured up to now, None if it has nothing yet."""
        return self._measurement(Kind.PARTIAL.key(job_id))

    def put_partial(self, job_id: str, measurement: Measurement) -> None:
        """Stores what a job has measured up to now."""
        partial = replace(measurement, complete=False)
        self._save({Kind.PARTIAL.key(job_id): canonical(partial.to_json())}, durable=False)

    def remove_partial(self, job_id: str) -> None:
        """Removes what a job had measured before it was done."""
        self._writable.drop([Kind.PARTIAL.key(job_id)])

    def blob(self, key: str) -> bytes | None:
        """The bytes stored under `key`, None if there are none."""
        full = Kind.BLOB.key(key)
        return self._checked(full, self._find(full, touch=True), checked_value)

    def put_blob(self, key: str, value: Value, *, instead_of: Collection[str] = ()) -> None:
        """Stores bytes (a safetensors file, as a rule), or the pieces that they are in, under `key`; and removes the
        blobs `instead_of` which they come in the same step, those that there are."""
        self._save({Kind.BLOB.key(key): value}, instead_of=[Kind.BLOB.key(old) for old in instead_of])

    def put_blobs(self, values: Mapping[str, Value]) -> None:
        """Stores several blobs in one step: after a crash either all of them are there or none."""
        self._save({Kind.BLOB.key(key): value for key, value in values.items()})

    def remove_blobs(self, keys: Collection[str]) -> None:
        """Removes blobs that are no longer wanted in one step, those that there are."""
        if keys:
            self._writable.drop([Kind.BLOB.key(key) for key in keys])

    def blob_file(self, key: str) -> Path | None:
        """The file that holds a blob, its digest checked, for a memory map; None if there is none.

        An open map outlives the entry's removal, the path does not: open it at once.
        """
        full = Kind.BLOB.key(key)
        return self._checked(full, self._find(full, touch=True), checked_file)

    # What was asked for, and which result answers it

    def remember(self, request: Request, key: str, files: Stamps, device: str | None = None) -> None:
        """Notes that the measurement `key`, made on `device`, answers `request`, as long as all `files` are as they
        were opened.

        Raises `MicroscopeError`, as `recall` does, for a path that means another place in another folder.
        """
        self._note(Kind.ALIAS.key(request_key(request)), key, files, **unexpected(request, device))

    def recall(self, request: Request) -> Measurement | None:
        """The measurement that answers `request` as it was typed, without hashing or loading a model: its own, or
        what it asked for of one that asked for more metrics, modalities or streams.

        None if it was never measured by this version, with these of the methods (`versions.methods`) and of the
        libraries; if a name leads elsewhere than it did (another hub cache, another link), or the device `auto` does;
        if one of the files behind it changed its size or its time of change, or is gone; or if examples were skipped
        and a library that some need was installed since. Who may only look takes what was made with other libraries or
        on another device.
        """
        owns = [Kind.ALIAS.key(request_key(request, auto)) for auto in self._autos()]
        for alias in (*owns, *(alias for alias in self._wider(request) if alias not in owns)):
            key = self._noted(alias, str)
            measurement = None if key is None else self.measurement(key)
            if measurement is not None and self._shelf is not None and is_behind(measurement):
                continue  # who may only look takes it as it is
            if measurement is not None and alias not in owns:
                measurement = measurement.narrowed(request)
            if measurement is not None:
                # One result may have several names: a folder, and a copy of it.
                return replace(measurement, model=request.model, slice=request.slice)
        return None

    def _wider(self, request: Request) -> Iterator[str]:
        """The full keys of what was remembered for requests that asked for at least as much as this one."""
        for auto in self._autos():
            for row in self._database.rows(Kind.ALIAS.key(family_key(request, auto) + ".")):
                if covers(row.key, request):
                    yield row.key

    def _autos(self) -> tuple[str, ...]:
        """What `auto` may have meant when a result was made, so that it answers for it now: of this machine first."""
        now = auto_device()
        return (now,) if self._shelf is not None else (now, *(each for each in AUTO if each != now))

    def remember_look(
        self,
        request: Request,
        kind: JobKind,
        example: int | None,
        value: Mapping[str, Any],
        files: Stamps,
        device: str | None = None,
    ) -> None:
        """Stores what a job of this kind made, on `device` if it opened a model, as JSON, good as long as all `files`
        are as they were opened."""
        asked = Asked(request, kind, example).to_json()
        key = Kind.LOOK.key(look_key(request, kind, example))
        self._note(key, value, files, asked=asked, **unexpected(request, device))

    def recall_look(self, request: Request, kind: JobKind, example: int | None) -> dict[str, Any] | None:
        """The JSON that a job of this kind made for the request as it was typed; None as for `recall`."""
        keys = (Kind.LOOK.key(look_key(request, kind, example, auto)) for auto in self._autos())
        return next((found for key in keys if (found := self._noted(key, dict)) is not None), None)

    def looks(self) -> dict[str, Asked]:
        """What all looks were asked for, by their keys, wherever the files behind them are."""
        found = {}
        for row in self._database.rows(Kind.LOOK.key("")):
            value = self._checked(row.key, row, checked_value) or b""
            if value.startswith(ASKED) and (asked := self._understood(row, partial(_asked_in, value))) is not None:
                found[row.key] = asked
        return found

    def look(self, key: str) -> dict[str, Any] | None:
        """The JSON of one of `looks`, whether or not the files behind it are here and as they were."""
        return self._read(key, self._find(key), lambda data: dict(data["value"]))

    # Jobs

    def jobs(self) -> list[Job]:
        """All jobs: those that have ended, the running ones, and the waiting ones as they will be run."""
        jobs = (self._read(row.key, row, Job.from_json) for row in self._database.rows(Kind.JOB.key("")))
        return in_order((job for job in jobs if job is not None), self.order())

    def order(self) -> Sequence[str]:
        """The waiting jobs that a user put into another order than that of their age, by their ids."""
        key = Kind.ORDER.key("jobs")
        return self._read(key, self._find(key), lambda data: [str(job_id) for job_id in data["ids"]]) or []

    def put_order(self, job_ids: Sequence[str]) -> None:
        """Notes in which order jobs shall be run."""
        self._save({Kind.ORDER.key("jobs"): canonical({"ids": job_ids})})

    def put_job(self, job: Job) -> list[str]:
        """Stores a job's state. Once it has ended, what it used may be removed again.

        Returns the ids of the old jobs that went for it.
        """
        self._writable.save(
            {Kind.JOB.key(job.id): canonical(job.to_json())},
            limit=self.limit_bytes,
            release=job.id if job.state.ended else None,
            durable=job.state is not JobState.RUNNING,
        )
        if not job.state.ended:
            return []
        is_look = job.kind is not JobKind.MEASURE
        alike = [each for each in self.jobs() if each.state.ended and (each.kind is not JobKind.MEASURE) == is_look]
        alike.sort(key=lambda each: each.ended or each.created)
        old = [each.id for each in alike[: -(ENDED_LOOKS_KEPT if is_look else ENDED_JOBS_KEPT)]]
        for job_id in old:
            self.remove_job(job_id)
        return old

    def remove_job(self, job_id: str) -> None:
        """Removes a job and its partial results."""
        keys = [kind.key(job_id) for kind in (Kind.JOB, Kind.PARTIAL, Kind.DEATHS)]
        self._writable.drop(keys, release=job_id)

    def deaths(self, job_id: str) -> Deaths:
        """Where workers died at this job, and how often there; and where a GPU failed."""
        key = Kind.DEATHS.key(job_id)
        return self._read(key, self._find(key), _deaths_of) or Deaths()

    def put_deaths(self, job_id: str, deaths: Deaths) -> None:
        """Notes that a worker died at this job, or a GPU failed."""
        self._save({Kind.DEATHS.key(job_id): canonical(asdict(deaths))})

    # The whole

    def entries(self) -> list[Entry]:
        """Everything stored, the least recently used first."""
        return self._database.entries()

    def remove(self, key: str) -> None:
        """Removes the entry of this full key (as `entries` gives it); one that a job uses is refused."""
        if self._writable.leased(key) or key in self._unended():
            raise MicroscopeError(f"{key} is in use by a waiting or running job: cancel the job first.")
        self._writable.drop([key])

    def clear(self) -> int:
        """Removes every result that no waiting or running job uses, and what was set aside; how many results."""
        keep = self._unended()
        keys = [entry.key for entry in self.entries() if not entry.in_use and entry.key not in keep]
        self._writable.drop(keys)
        for path in (self.folder / "damaged").glob("*"):
            path.unlink(missing_ok=True)
        return len(keys)

    def size(self) -> int:
        """Bytes that the store takes."""
        return self._database.used()

    def damaged(self) -> list[Damaged]:
        """What was found damaged, the oldest first; read-only, also what this store met and could not set aside."""
        damaged = []
        for note in sorted((self.folder / "damaged").glob("*.json")):
            try:
                damaged.append(Damaged(**json.loads(note.read_bytes())))
            except (OSError, ValueError, TypeError):
                damaged.append(Damaged(note.stem, "its note cannot be read", note.lstat().st_mtime, str(note)))
        return damaged + self._seen

    # Care

    def verify(self) -> list[Damaged]:
        """Reads and checks everything that is stored, sets aside what is damaged, and says what that was."""
        return maintenance.verify(self._writable)

    def gc(self) -> Collected:
        """Removes files that processes left which were killed in the middle of storing a value, the rows of batches
        that sums hold, and what older versions kept of work in the middle."""
        return maintenance.collect(self._writable)

    def export_to(self, archive: Path, keys: Collection[str] | None = None) -> int:
        """Writes results (full keys as `entries` gives them, all when None) into a tar file; how many."""
        return maintenance.pack(self._database, archive, keys, self._value)

    def import_from(self, archive: Path) -> int:
        """Stores the results of an archive that `export_to` wrote, each digest checked; how many.

        A look that is here already stays: its key is the request as it was typed, and does not name what it is made
        of. One that comes is shown among `looks`, and recalled for no request.
        """
        count = 0
        for key, value in maintenance.unpack(archive, self.limit_bytes):
            if key.startswith(Kind.LOOK.key("")) and self._database.find(key) is not None:
                continue
            self._save({key: value})
            count += 1
        return count

    # From keys to bytes

    @property
    def _writable(self) -> Shelf:
        if self._shelf is None:
            raise MicroscopeError(
                f"The store in {self.folder} was opened read-only, to be looked at: leave out read-only."
            )
        return self._shelf

    def _unended(self) -> set[str]:
        jobs = [job.id for job in self.jobs() if not job.state.ended]
        return {kind.key(job) for job in jobs for kind in (Kind.JOB, Kind.DEATHS)} | {Kind.ORDER.key("jobs")}

    def _measurement(self, key: str) -> Measurement | None:
        return self._read(key, self._find(key, touch=True), Measurement.from_json)

    def _note(self, key: str, value: object, files: Stamps, **more: object) -> None:
        """Stores a small value together with the files that it depends on, as they were opened."""
        stamps = [(str(file), *stamp) for file, stamp in files.items()]
        self._save({key: canonical({"value": value, "files": stamps, "versions": versions(), **more})})

    def _noted(self, key: str, kind: Callable[[Any], T]) -> T | None:
        """What `_note` stored, None when one of its files or libraries has changed since, or the device that `auto`
        takes: who may only look takes it as it was made."""

        def decode(data: Mapping[str, Any]) -> T | None:
            made_here = self._shelf is None or (data.get("versions") == versions() and as_expected(data))
            return kind(data["value"]) if _hold(data) and made_here else None

        return self._read(key, self._find(key, touch=True), decode)

    def _save(self, items: Mapping[str, Value], *, instead_of: Collection[str] = (), durable: bool = True) -> None:
        self._writable.save(items, limit=self.limit_bytes, instead_of=instead_of, owner=self._job, durable=durable)

    def _read(self, key: str, row: Row | None, decode: Callable[[Any], T | None]) -> T | None:
        """What a row's JSON stands for; one that this version cannot read is set aside as well."""
        value = self._checked(key, row, checked_value)
        if value is None or row is None:
            return None
        return self._understood(row, lambda: decode(json.loads(value)))

    def _understood(self, row: Row, decode: Callable[[], T | None]) -> T | None:
        try:
            return decode()
        except (ValueError, TypeError, LookupError, AttributeError, MicroscopeError):
            self._set_aside(row, "this version cannot read it")
            return None

    def _find(self, key: str, *, touch: bool = False) -> Row | None:
        if self._shelf is None:
            return self._database.find(key)
        return self._shelf.find(key, self._job, touch=touch)

    def _value(self, key: str) -> bytes | None:
        return self._checked(key, self._find(key), checked_value)

    def _checked(self, key: str, row: Row | None, get: Callable[[Disk, Row], T]) -> T | None:
        """What `get` makes of a row, when its value is what was sealed under its key; else it is set aside."""
        for _ in range(ATTEMPTS):
            if row is None:
                return None
            try:
                return get(self._database.values, row)
            except FileNotFoundError:
                reason = "its file is gone"
            except Damage as damage:
                reason = str(damage)
            # Replaced or removed by another process while it was read: not damaged, but to be read once more.
            again = self._database.find(key)
            if again == row:
                self._set_aside(row, reason)
                return None
            row = again
        return None

    def _set_aside(self, row: Row, reason: str) -> None:
        if self._shelf is not None:
            self._shelf.set_aside(row, reason)
        else:
            self._seen.append(Damaged(str(row.key), reason, time.time()))


def _deaths_of(data: Mapping[str, Any]) -> Deaths:
    failed = data.get("gpu_failed")
    return Deaths(str(data["place"]), int(data["count"]), None if failed is None else int(failed))


def _asked_in(look: bytes) -> Asked:
    """What a look was asked for: in front, so that a table of 50 MB need not be decoded for it."""
    asked, _ = json.JSONDecoder().raw_decode(look.decode(), len(ASKED))
    return Asked.from_json(asked)


def _hold(noted: Mapping[str, Any]) -> bool:
    """Whether every file that a value depends on is as it was; never so where they are another machine's (null)."""
    return (
        noted["files"] is not None
        and changed({Path(path): (size, when) for path, size, when in noted["files"]}) is None
    )
