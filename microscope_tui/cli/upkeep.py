"""The subcommands that look after the cache and its worker."""

from __future__ import annotations

import argparse
import contextlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from microscope_tui.cli.options import PROGRAM, open_store, settings_of
from microscope_tui.cli.talk import print_json, say, table
from microscope_tui.errors import MicroscopeError
from microscope_tui.settings import Settings
from microscope_tui.terms import JobState, Progress

if TYPE_CHECKING:
    from microscope_tui.store import Store
    from microscope_tui.worker.client import Client
    from microscope_tui.worker.jobs import Queue

JOB_ACTS = ("cancel", "pause", "resume", "move", "retry")


def jobs(options: argparse.Namespace) -> int:
    """List the worker's jobs in the order in which they run; cancel, pause, resume, move one, or try one again."""
    settings = settings_of(options)
    if asked := next((name for name in JOB_ACTS if getattr(options, name) is not None), None):
        _refuse_read_only(settings)
        if options.json:
            raise MicroscopeError(f"--json says how the list is printed: `{PROGRAM} jobs --{asked}` does not take it.")
        with _queue(settings, start=asked in ("retry", "resume")) as queue:
            if asked == "move":
                job_id, place = options.move
                if not place.isdecimal() or int(place) < 1:
                    raise MicroscopeError(f"{place!r} is no place in the queue: 1 is the next, 2 the one after it, ….")
                job = queue.move(job_id, int(place) - 1)
            else:
                job = getattr(queue, asked)(getattr(options, asked))
        say(f"Job {job.id} is {job.now.phase if job.state is JobState.RUNNING else job.state}.")
        return 0
    from microscope_tui.store import Store
    from microscope_tui.tables import variant_of
    from microscope_tui.worker.client import is_running

    with Store(settings.cache, read_only=True) as store:
        known = store.jobs()
    if options.json:
        print_json([job.to_json() for job in known])
        return 0
    interrupted = not is_running(settings.cache)
    rows = [
        (
            job.id,
            "interrupted" if interrupted and job.state is JobState.RUNNING else job.state,
            job.kind if job.example is None else f"{job.kind} of {job.example}",
            _far(job.progress),
            job.request.model,
            str(job.request.slice),
            variant_of(job.request),
            job.error or "",
        )
        for job in known
    ]
    header = ("job", "state", "kind", "done", "model", "slice", "variant", "error")
    table(header, rows, names=("model", "slice"))
    return 0


def _far(now: Progress) -> str:
    """`9/64`, or `9/9 layers` for what does not count examples; empty where nothing is counted."""
    unit = "" if now.unit == "examples" else f" {now.unit}"
    return f"{now.done}/{now.total}{unit}" if now.total else ""


def cache(options: argparse.Namespace) -> int:
    """Show what the cache holds, remove from it, check it, or carry it elsewhere."""
    settings = settings_of(options)
    action, arguments = options.action, options.arguments
    if (action in ("rm", "export", "import")) != bool(arguments) or (action != "rm" and len(arguments) > 1):
        wanted = {"rm": "one or more keys", "export": "a file", "import": "a file"}.get(action, "nothing more")
        raise MicroscopeError(f"`{PROGRAM} cache {action}` wants {wanted} behind it.")
    if options.all and action != "export":
        raise MicroscopeError(f"--all says what is exported: `{PROGRAM} cache {action}` does not take it.")
    if options.json and action != "ls":
        raise MicroscopeError(f"--json says how a list is printed: `{PROGRAM} cache {action}` does not take it.")
    if action == "path":
        print(settings.cache)
        return 0
    if action == "ls":
        return _list_cache(settings, options)
    with open_store(settings) as store:
        if action == "verify":
            damaged = store.verify()
            for each in damaged:
                print(f"{each.key}: {each.reason}" + (f"; set aside in {each.kept}" if each.kept else ""))
            say(f"{len(damaged)} damaged of {len(store.entries()) + len(damaged)} entries.")
            return 2 if damaged else 0
        say(_change_cache(store, action, arguments, everything=options.all))
    return 0


def _list_cache(settings: Settings, options: argparse.Namespace) -> int:
    from microscope_tui.store import Store
    from microscope_tui.store.contents import contents
    from microscope_tui.tables import size_text

    with Store(settings.cache, read_only=True) as store:
        held, size = contents(store), store.size()
    if options.json:
        print_json([asdict(of.entry) | {"what": of.what} for of in held])
        return 0
    listed = [of for of in held if not of.inner]
    when = [time.strftime("%Y-%m-%d %H:%M", time.localtime(of.entry.stored)) for of in listed]
    rows = [
        (of.entry.key, size_text(of.entry.size), stored, "in use" if of.entry.in_use else "", of.what)
        for of, stored in zip(listed, when, strict=True)
    ]
    table(("key", "size", "stored", "", "what"), rows)
    rest = f", {len(held) - len(rows)} small ones of jobs and names, {size_text(size)} in all"
    say(f"{settings.cache}: {len(rows)} entries{rest}")
    return 0


def _change_cache(store: Store, action: str, arguments: Sequence[str], *, everything: bool) -> str:
    """Carry out what changes the cache; what was done, as a sentence."""
    if action == "rm":
        known = {entry.key for entry in store.entries()}
        if missing := next((key for key in arguments if key not in known), None):
            raise MicroscopeError(f"The cache has no entry {missing!r}: `{PROGRAM} cache ls` lists them.")
        for key in arguments:
            store.remove(key)
        return f"Removed {len(arguments)} entries."
    if action == "clear":
        return f"Removed {store.clear()} entries."
    if action == "gc":
        return str(store.gc())
    if action == "export":
        from microscope_tui.store import Kind

        shown = [entry.key for entry in store.entries() if entry.kind in (Kind.MEASUREMENT, Kind.LOOK)]
        count = store.export_to(Path(arguments[0]), None if everything else shown)
        return f"Wrote {count} results to {arguments[0]}."
    return f"Read {store.import_from(Path(arguments[0]))} results from {arguments[0]}."


def worker(options: argparse.Namespace) -> int:
    """Start, stop or look at the worker of a cache folder."""
    from microscope_tui.worker import client

    settings = settings_of(options)
    folder = settings.cache
    if options.job and options.action != "log":
        raise MicroscopeError(f"`{PROGRAM} worker {options.action}` wants nothing more behind it.")
    if options.action in ("start", "stop"):
        _refuse_read_only(settings)
    if options.action == "start":
        _client(settings, start=True).close()
        print(f"The worker of {folder} runs.")
    elif options.action == "stop":
        print(f"The worker of {folder} has ended." if client.stop(folder) else f"No worker runs on {folder}.")
    elif options.action == "log" and options.job:
        if not (said := client.job_log(folder, options.job)):
            raise MicroscopeError(
                f"The worker's log says nothing of a job {options.job}: `{PROGRAM} jobs` lists the jobs there are."
            )
        print(said)
    elif options.action == "log":
        print(client.log_tail(folder, size=1_000_000) or f"No worker has written anything in {folder} yet.")
    elif status := client.status(folder):
        since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(status.started))
        print(
            f"The worker of {folder} runs since {since} (process {status.pid}, version {status.version}): "
            f"{status.running} job(s) running, {status.queued} queued, {status.screens} screen(s). Log: {status.log}"
        )
    else:
        print(" ".join((f"No worker runs on {folder}.", *_left_behind(settings))))
    return 0


def _left_behind(settings: Settings) -> Iterator[str]:
    """What to know of a cache that no worker serves now, in sentences."""
    from microscope_tui.store import Store
    from microscope_tui.worker import client

    if died := client.died(settings.cache):
        yield f"The last one (process {died}) died or was killed; its log: {client.log_file(settings.cache)}."
    with Store(settings.cache, read_only=True) as store:
        waiting = sum(job.state in (JobState.QUEUED, JobState.RUNNING) for job in store.jobs())
    if waiting:
        yield f"{waiting} job(s) go on with `{PROGRAM} worker start`."


def _refuse_read_only(settings: Settings) -> None:
    if settings.read_only:
        raise MicroscopeError(
            f"Read-only the worker and the jobs of {settings.cache} are only looked at: leave out --read-only (or the "
            "setting read_only)."
        )


def _client(settings: Settings, *, start: bool) -> Client:
    from microscope_tui.worker.client import Client

    return Client.connect(
        settings.cache,
        start=start,
        idle_minutes=settings.idle_minutes,
        limit_bytes=settings.cache_limit,
        memory_check=settings.memory_check,
    )


@contextlib.contextmanager
def _queue(settings: Settings, *, start: bool) -> Iterator[Queue | Client]:
    """The worker, or without one its queue, in which nothing is begun; with `start` a worker is started."""
    if not start:
        from microscope_tui.worker.offline import at_rest

        with at_rest(settings.cache, settings.cache_limit) as queue:
            if queue is not None:
                yield queue
                return
    with _client(settings, start=start) as client:
        yield client
