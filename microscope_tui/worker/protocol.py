"""What screen and worker say to each other: JSON lines over a Unix socket, one frozen dataclass a message.

The screen opens with `Hello`; the worker answers `Welcome`, or `Refused` when the versions differ. Then each
question gets one answer. After `Follow` the worker only sends `Event`s, and `Goodbye` when it ends in order.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Final

from microscope_tui import __version__
from microscope_tui.errors import Fault, MicroscopeError
from microscope_tui.store.keys import auto_device, content_key, demo_folder, hub_folder, look_key, request_key
from microscope_tui.store.libraries import versions
from microscope_tui.terms import Job, JobKind, Request
from microscope_tui.versions import LOOKS, methods

PROTOCOL: Final = 5

RESTART: Final = "run `microscope-tui worker stop` and start again; its job goes on from the queue."
"""What to do about a worker and a program that do not go together."""

MOVE: Final = (
    "name another --cache, or run `microscope-tui worker stop` and start again; its jobs end then, and are asked for "
    "again where they were."
)
"""What to do where the two are of the same versions, and their surroundings differ."""

LINE_LIMIT: Final = 4 * 1024 * 1024
"""No message is longer, in bytes; whoever sends more is cut off."""


def made_with() -> Mapping[str, str]:
    """What results depend on besides what is asked: the versions of libraries and of our own ways to a number, and what
    names mean in this process (a hub id, the device `auto`)."""
    looks = {f"{kind} look": of for kind, of in LOOKS.items()}
    own = {name: str(of) for name, of in {**methods(), **looks}.items()}
    return {**versions(), **own, **_surroundings()}


def filed_under(request: Request, kind: JobKind, example: int | None) -> str:
    """The key of all that this process looks for when it looks for what a job has made: another process with the same
    one makes the same and files it where it is found. Raises `MicroscopeError` as `request_key`."""
    name = request_key(request) if kind is JobKind.MEASURE else look_key(request, kind, example)
    return content_key(name=name, libraries=versions())


def _surroundings() -> dict[str, str]:
    return {"hub cache": hub_folder(), "auto device": auto_device(), "demo": demo_folder()}


@dataclass(frozen=True)
class Hello:
    """First line of a screen. `made_with` is what results depend on besides what is asked."""

    protocol: int = PROTOCOL
    version: str = __version__
    made_with: Mapping[str, str] = field(default_factory=made_with)


@dataclass(frozen=True)
class Submit:
    """Measure this, or look at it; answered by `JobIs`: a new job, or the one that is already at it. `who` waits for
    it until it leaves it. For `memory_check` see `Job`. `key` is `filed_under` where it is asked: a worker that would
    file it otherwise refuses."""

    request: Request
    kind: JobKind = JobKind.MEASURE
    example: int | None = None
    who: str = ""
    memory_check: bool = True
    key: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "kind", JobKind(self.kind))


@dataclass(frozen=True)
class Cancel:
    """Stop this job, waiting or running; answered by `JobIs`."""

    job_id: str


@dataclass(frozen=True)
class Leave:
    """`who` does not wait for this job any more: it is cancelled when nobody else does; answered by `JobIs`."""

    job_id: str
    who: str


@dataclass(frozen=True)
class Pause:
    """Set this job aside, waiting or running, until it is told to go on; answered by `JobIs`."""

    job_id: str


@dataclass(frozen=True)
class Resume:
    """Let this job go on; answered by `JobIs`."""

    job_id: str


@dataclass(frozen=True)
class Move:
    """Put this waiting job at a place among the waiting ones, 0 for the next; answered by `JobIs`."""

    job_id: str
    place: int


@dataclass(frozen=True)
class ListJobs:
    """Answered by `Jobs`."""


@dataclass(frozen=True)
class Follow:
    """Send events from now on, those numbered above `after` that are still known first."""

    after: int = 0


@dataclass(frozen=True)
class AskStatus:
    """Answered by `Status`."""


@dataclass(frozen=True)
class Stop:
    """End between two batches; the running job goes back into the queue. Answered by `Goodbye`."""


@dataclass(frozen=True)
class Welcome:
    """The versions fit."""

    protocol: int = PROTOCOL
    version: str = __version__


@dataclass(frozen=True)
class Refused:
    """The worker will not; `text` is the sentence to show, `fault` what it is about."""

    text: str
    fault: Fault | None = None


@dataclass(frozen=True)
class JobIs:
    """A job as it stands."""

    job: Job


@dataclass(frozen=True)
class Jobs:
    """All jobs, as `Store.jobs` orders them."""

    jobs: tuple[Job, ...]


@dataclass(frozen=True)
class Status:
    """The worker as it stands. `started` is seconds since the epoch; `screens` follow it; `made_with` as in `Hello`."""

    pid: int
    version: str
    started: float
    cache: str
    log: str
    running: int
    queued: int
    screens: int
    made_with: Mapping[str, str] = field(default_factory=made_with)


@dataclass(frozen=True)
class Event:
    """Something happened. Numbers grow, also from one worker to the next on the same machine.

    `kind` is `job` (state or progress of `job` changed), `partial` (`Store.partial` of `job` has more) or
    `log` (`text` is a line for people).
    """

    number: int
    kind: str
    job: Job | None = None
    text: str = ""


@dataclass(frozen=True)
class Goodbye:
    """The worker ends, and why."""

    text: str


Question = Hello | Submit | Cancel | Leave | Pause | Resume | Move | ListJobs | Follow | AskStatus | Stop
Answer = Welcome | Refused | JobIs | Jobs | Status | Event | Goodbye
Message = Question | Answer

MESSAGES: Final[Mapping[str, type[Message]]] = {
    kind.__name__: kind
    for kind in (
        *(Hello, Submit, Cancel, Leave, Pause, Resume, Move, ListJobs, Follow, AskStatus, Stop),
        *(Welcome, Refused, JobIs, Jobs, Status, Event, Goodbye),
    )
}


def encode(message: Message) -> bytes:
    """One line."""
    return json.dumps({"is": type(message).__name__, **asdict(message)}, ensure_ascii=False).encode() + b"\n"


def decode(line: bytes) -> Message:
    """The message of one line; raises `MicroscopeError` for anything else.

    Fields that this version does not know are ignored, so that a `Hello` of any version can be read and refused.
    """
    try:
        data = json.loads(line)
        kind = MESSAGES[data["is"]]
        known = {each.name for each in fields(kind)}
        values = {name: _typed(name, value) for name, value in data.items() if name in known}
        return kind(**values)
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise MicroscopeError(f"The other side of the worker's socket sent what is not a message ({error}).") from error


def mismatch(hello: Hello | Welcome, *, mine: str) -> str | None:
    """Why the other side cannot be talked to, with what to do about it; None when it can."""
    if (hello.protocol, hello.version) == (PROTOCOL, __version__):
        return None
    other = "worker" if mine == "program" else "program"
    return (
        f"The {other} is version {hello.version} (protocol {hello.protocol}) and the {mine} is version {__version__} "
        f"(protocol {PROTOCOL}): {RESTART}"
    )


def unlike(theirs: Mapping[str, str], *, mine: str) -> str | None:
    """Why what the other side measures will not be found by this one, being made otherwise, with what to do about it;
    None when it will."""
    here = sorted(made_with().items())
    apart = [f"{name} {theirs.get(name, 'unknown')}, not {of}" for name, of in here if theirs.get(name) != of]
    if not apart:
        return None
    other, which = "worker" if mine == "program" else "program", ", ".join(apart)
    remedy = MOVE if any(theirs.get(name) != of for name, of in _surroundings().items()) else RESTART
    return f"The {other} makes numbers otherwise than the {mine} ({which}), and so not for it: {remedy}"


def _typed(name: str, value: Any) -> Any:
    if name == "job" and value is not None:
        return Job.from_json(value)
    if name == "jobs":
        return tuple(Job.from_json(job) for job in value)
    if name == "request":
        return Request.from_json(value)
    if name in ("who", "job_id", "key") and type(value) is not str:
        raise ValueError(f"{name} is not a text")
    if name == "fault" and value is not None:
        return Fault(value)
    if name == "made_with":
        return {str(part): str(of) for part, of in value.items()}
    if name == "memory_check" and type(value) is not bool:
        raise ValueError(f"{name} is neither true nor false")
    if name in ("place", "example") and value is not None and type(value) is not int:
        raise ValueError(f"{name} is not a whole number")
    return value
