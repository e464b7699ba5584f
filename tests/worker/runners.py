"""Stand-ins for the measuring engine, run inside real workers. The request's model names what to do."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path

from microscope_tui.errors import Cancelled, Fault, MicroscopeError, OutOfMemory
from microscope_tui.results import Measurement
from microscope_tui.store import Store
from microscope_tui.terms import JobKind, Progress, Request
from microscope_tui.worker.work import Runner

DEADLINE = 240.0
"""Seconds after which nobody waits for a job any more: longer than the tests do."""


def run(
    request: Request,
    store: Store,
    *,
    on_progress: Callable[[Progress], None],
    on_partial: Callable[[Measurement], None],
    should_stop: Callable[[], bool],
    memory_check: bool,
) -> Measurement:
    """`request.slice.source` is a folder: `begun` is made there, and waiting ends when `go` appears in it."""
    gate = Path(request.slice.source)
    measurement = Measurement(request.model, request.slice, (), examples=3)
    provenance: dict[str, str] = {}
    with (gate / "begun").open("a") as begun:
        begun.write(f"{os.getpid()}\n")
    on_progress(Progress("measuring", done=3, total=10))
    on_partial(measurement)
    match request.model:
        case "quick":
            pass
        case "memory":
            provenance["memory_check"] = str(memory_check)
        case "gate":
            wait(gate, should_stop)
        case "loads":
            wait(gate, lambda: on_progress(Progress("loading weights", percent=10)))
        case "deaf":
            wait(gate, lambda: False)
        case "busy":
            spin(gate, should_stop)
        case "chatty":
            for done in range(2000):
                on_progress(Progress("measuring", done=done, total=2000))
        case "fail":
            raise MicroscopeError("The model is a teapot: name another.", fault=Fault.MODEL)
        case "bug":
            raise TypeError("a defect\nof ours")
        case "gpu" | "gpu once":
            if request.model == "gpu" or len((gate / "begun").read_text().split()) == 1:
                raise RuntimeError("CUDA error: an illegal memory access was encountered")
        case "gpu further":  # ever further along, by one of a hundred examples
            tries = len((gate / "begun").read_text().split())
            on_progress(Progress("measuring", done=10 + tries, total=100))
            raise RuntimeError("CUDA error: an illegal memory access was encountered")
        case "blocks":
            provenance["chain"] = blocks(gate, store, on_progress, should_stop)
        case "large":
            wait(gate, should_stop)
            store.put_blob("large", bytes(1_000_000))
        case "die":
            os.kill(os.getpid(), signal.SIGKILL)
        case _:
            raise AssertionError(request.model)
    result = Measurement(request.model, request.slice, (), examples=10, provenance=provenance)
    store.put_measurement(f"key of {request.model}", result)
    store.remember(request, f"key of {request.model}", {})
    on_progress(Progress("measuring", done=10, total=10))
    return result


freed: list[bool] = []


def free() -> None:
    freed.append(True)


def look(
    request: Request,
    store: Store,
    *,
    kind: JobKind,
    example: int | None,
    on_progress: Callable[[Progress], None],
    on_part: Callable[[], None],
    should_stop: Callable[[], bool],
    memory_check: bool,
) -> None:
    """As `run`; the look says which process made it and how many measurements stand still below it."""
    gate = Path(request.slice.source)
    with (gate / "begun").open("a") as begun:
        begun.write(f"{os.getpid()}\n")
    on_progress(Progress("looking", done=1, total=1))
    match request.model:
        case "gate":
            wait(gate, should_stop)
        case "fail":
            raise MicroscopeError("There is nothing to see: look elsewhere.")
        case "large":
            raise OutOfMemory("It does not fit.")
        case "layers":
            store.remember_look(request, kind, example, {"seen": "the first layer"}, {})
            on_part()
            wait(gate, should_stop)
        case "die":
            os.kill(os.getpid(), signal.SIGKILL)
        case "gpu once":
            if len((gate / "begun").read_text().split()) == 1:
                raise RuntimeError("CUDA error: an illegal memory access was encountered")
        case _:
            pass
    store.remember_look(request, kind, example, {"seen": [kind, example]}, {})


class StandIn:
    measure = staticmethod(run)
    look = staticmethod(look)
    free = staticmethod(free)


RUNNER: Runner = StandIn()

BLOCKS = 200


def blocks(gate: Path, store: Store, on_progress: Callable[[Progress], None], should_stop: Callable[[], bool]) -> str:
    """A chain of digests, each link of which is committed with the one before it: nothing may be lost or doubled. The
    last link waits for the gate, so that who kills in the middle has all the time in the world."""
    state = json.loads(store.blob("state") or b'{"next": 0, "chain": ""}')
    for number in range(state["next"], BLOCKS):
        if should_stop():
            raise Cancelled("told to stop")
        if number == BLOCKS - 1:
            wait(gate, should_stop)
        state = {"next": number + 1, "chain": link(state["chain"], number)}
        store.put_blobs({"state": json.dumps(state).encode(), f"block {number % 8}": bytes(50_000)})
        on_progress(Progress("measuring", done=number + 1, total=BLOCKS))
    return str(state["chain"])


def link(chain: str, number: int) -> str:
    return blake2b(f"{chain} {number}".encode(), digest_size=16).hexdigest()


def wait(gate: Path, should_stop: Callable[[], bool | None]) -> None:
    deadline = time.monotonic() + DEADLINE
    pause = threading.Event()
    while not (gate / "go").exists():
        if should_stop():
            raise Cancelled("told to stop")
        if time.monotonic() > deadline:
            raise MicroscopeError("the test never opened the gate")
        pause.wait(0.005)


def spin(gate: Path, should_stop: Callable[[], bool]) -> None:
    """As `wait`, with a Python loop that never gives the processor away of itself; asked to stop between batches."""
    deadline = time.monotonic() + DEADLINE
    while not (gate / "go").exists() and not should_stop() and time.monotonic() < deadline:
        for _ in range(50):  # a batch of some ten milliseconds
            sum(range(20_000))
