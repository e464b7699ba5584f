"""The command `microscope-tui`. stdout is data, stderr is talk.

Exit codes: 0 done, 1 a defect of ours, 2 something the user can mend (one sentence on stderr), 130 interrupted.
What a subcommand needs is imported when it runs, so that `--help` and the screen start at once.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import io
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from microscope_tui import __version__
from microscope_tui.catalogue import full_name
from microscope_tui.errors import Cancelled, MicroscopeError
from microscope_tui.settings import REQUEST_SETTINGS, THEMES, Settings
from microscope_tui.talk import print_json, table, talk
from microscope_tui.terms import JobState, Metric, Modality, Request, SliceSpec, Stream, words

if TYPE_CHECKING:
    from microscope_tui.store import Store
    from microscope_tui.worker.client import Client
    from microscope_tui.worker.jobs import Queue

PROGRAM = "microscope-tui"
DEMO_MODEL, DEMO_RIVAL, DEMO_SLICE = "demo:llava-next", "demo:omnifusion", "demo:scienceqa"
INTERRUPTED = 130
UNWRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
SHOWN = ("model", "compare", "slice")
NO_SCREEN = ("dumb", "unknown")
"""Kinds of terminals, as TERM names them, on which nothing can be drawn."""
JOB_ACTS = ("cancel", "pause", "resume", "move", "retry")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal that knows no ≥ must not lose us the numbers
    options = build_parser().parse_args(arguments, argparse.Namespace(debug=False, metric=None))
    try:
        if options.run is not explore:
            _refuse_shown(options)
        code = int(options.run(options) or 0)
        sys.stdout.flush()
        return code
    except Cancelled:
        return INTERRUPTED
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of our output (head, less) has seen enough; what Python flushes at exit must not fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except MicroscopeError as error:
        if options.debug:
            traceback.print_exc()
        print(f"{PROGRAM}: {error}", file=sys.stderr)
        return 2
    except Exception as error:
        if options.debug:
            traceback.print_exc()
        if isinstance(error, OSError) and error.errno in UNWRITABLE and error.filename is None:
            # What files cannot take is said where they are written: this is the output itself.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            print(f"{PROGRAM}: The output cannot be written ({error.strerror}): send it elsewhere.", file=sys.stderr)
            return 2
        print(
            f"{PROGRAM}: internal error: {type(error).__name__}: {error} (add --debug for the traceback)",
            file=sys.stderr,
        )
        return 1


# --- the subcommands -------------------------------------------------------------------------------------


def explore(options: argparse.Namespace) -> int:
    """Open the explorer on what the flags name, else on the demo."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise MicroscopeError("The explorer needs a terminal: run it in one, or use `microscope-tui measure … --json`.")
    if (kind := os.environ.get("TERM", "")).lower() in NO_SCREEN:
        raise MicroscopeError(
            f"The explorer needs a terminal that can move its cursor, and TERM={kind} is none: set TERM to what the "
            "terminal is (xterm-256color, tmux-256color), or use `microscope-tui measure … --json`."
        )
    from microscope_tui.tui import app
    from microscope_tui.tui.session import Session

    settings = _settings(options)
    models = tuple(full_name(name) for name in (options.shown_model or DEMO_MODEL, options.shown_compare) if name)
    metric = Metric(options.metric or Metric.LINEARITY)
    session = Session(models, _slice(options.shown_slice or DEMO_SLICE), metric, theme=settings.theme)
    shown = {"models": options.shown_model or options.shown_compare, "slice": options.shown_slice}
    asked = shown | {"metric": options.metric}
    return app.run(settings, session, given={name for name, value in asked.items() if value})


def demo(options: argparse.Namespace) -> int:
    """Open the explorer on the shipped pair of models, laid over each other."""
    options.shown_model, options.shown_compare, options.shown_slice = DEMO_MODEL, DEMO_RIVAL, DEMO_SLICE
    return explore(options)


def measure(options: argparse.Namespace) -> int:
    """Measure without a screen; the same pipeline, and the same store."""
    settings = _settings(options)
    request = _request(options, settings)
    with _store(settings) as store, talk() as on_progress:
        measurement = store.recall(request)
        if measurement is None:
            from microscope_tui.engine.measure import run

            measurement = run(request, store, on_progress=on_progress)
    for skipped in measurement.skipped:
        print(f"skipped {skipped.example}: {skipped.reason}", file=sys.stderr)
    for stream, reason in measurement.refused.items():
        print(f"no {stream} stream: {reason}", file=sys.stderr)
    if options.format == "json":
        print_json(measurement.to_json())
    elif options.format == "csv":
        from microscope_tui.tables import profile_csv

        sys.stdout.write(profile_csv((measurement, profile) for profile in measurement.profiles))
    else:
        from microscope_tui.tables import measurement_text

        print(measurement_text(measurement))
    return 0


def plan(options: argparse.Namespace) -> int:
    """Say what a measurement would need and where it fits, without loading a weight."""
    from microscope_tui.engine.forecast import forecast, forecast_lines

    expected = forecast(_request(options, _settings(options)))
    if options.json:
        print_json(expected.to_json())
    else:
        print("\n".join(forecast_lines(expected)))
    return 0


def models(options: argparse.Namespace) -> int:
    """List the models that are here."""
    from microscope_tui.catalogue import known_models

    return _list(known_models(), options)


def slices(options: argparse.Namespace) -> int:
    """List the slices that are here."""
    from microscope_tui.catalogue import known_slices

    return _list(known_slices(), options)


def jobs(options: argparse.Namespace) -> int:
    """List the worker's jobs in the order in which they run; cancel, pause, resume, move one, or try one again."""
    settings = _settings(options)
    if asked := next((name for name in JOB_ACTS if getattr(options, name)), None):
        with _queue(settings, start=asked in ("retry", "resume")) as queue:
            if asked == "move":
                job_id, place = options.move
                if not place.isdecimal() or int(place) < 1:
                    raise MicroscopeError(f"{place!r} is no place in the queue: 1 is the next, 2 the one after it, ….")
                job = queue.move(job_id, int(place) - 1)
            else:
                job = getattr(queue, asked)(getattr(options, asked))
        print(f"Job {job.id} is {job.progress.phase if job.state is JobState.RUNNING else job.state}.", file=sys.stderr)
        return 0
    with _store(settings) as store:
        known = store.jobs()
    if options.json:
        print_json([job.to_json() for job in known])
        return 0
    rows = [
        (
            job.id,
            job.state,
            job.kind if job.example is None else f"{job.kind} of {job.example}",
            f"{job.progress.done}/{job.progress.total}",
            job.request.model,
            str(job.request.slice),
            job.error or "",
        )
        for job in known
    ]
    table(("job", "state", "kind", "examples", "model", "slice", "error"), rows)
    return 0


def cache(options: argparse.Namespace) -> int:
    """Show what the cache holds, remove from it, check it, or carry it elsewhere."""
    settings = _settings(options)
    action, arguments = options.action, options.arguments
    if (action in ("rm", "export", "import")) != bool(arguments) or (action != "rm" and len(arguments) > 1):
        wanted = {"rm": "one or more keys", "export": "a file", "import": "a file"}.get(action, "nothing more")
        raise MicroscopeError(f"`{PROGRAM} cache {action}` wants {wanted} behind it.")
    if action == "path":
        print(settings.cache)
        return 0
    if action == "ls":
        return _list_cache(settings, options)
    with _store(settings) as store:
        if action == "verify":
            damaged = store.verify()
            for each in damaged:
                print(f"{each.key}: {each.reason}; set aside in {each.kept}")
            print(f"{len(damaged)} damaged of {len(store.entries()) + len(damaged)} entries.", file=sys.stderr)
        else:
            print(_change_cache(store, action, arguments, everything=options.all), file=sys.stderr)
    return 0


def _list_cache(settings: Settings, options: argparse.Namespace) -> int:
    from microscope_tui.store import Store
    from microscope_tui.store.contents import contents

    with Store(settings.cache, read_only=True) as store:
        held, size = contents(store), store.size()
    if options.json:
        print_json([asdict(of.entry) | {"what": of.what} for of in held])
        return 0
    when = [time.strftime("%Y-%m-%d %H:%M", time.localtime(of.entry.stored)) for of in held]
    rows = [
        (of.entry.key, f"{of.entry.size / 1e6:.2f} MB", stored, "in use" if of.entry.in_use else "", of.what)
        for of, stored in zip(held, when, strict=True)
    ]
    table(("key", "size", "stored", "", "what"), rows)
    print(f"{settings.cache}: {len(rows)} entries, {size / 1e6:.1f} MB", file=sys.stderr)
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
        collected = store.gc()
        return f"Removed {collected.files} orphan files, {collected.size / 1e6:.1f} MB."
    if action == "export":
        from microscope_tui.store import Kind

        measured = [entry.key for entry in store.entries() if entry.kind == Kind.MEASUREMENT]
        count = store.export_to(Path(arguments[0]), None if everything else measured)
        return f"Wrote {count} results to {arguments[0]}."
    return f"Read {store.import_from(Path(arguments[0]))} results from {arguments[0]}."


def worker(options: argparse.Namespace) -> int:
    """Start, stop or look at the worker of a cache folder."""
    from microscope_tui.worker import client

    settings = _settings(options)
    folder = settings.cache
    if options.action == "start":
        _client(settings, start=True).close()
        print(f"The worker of {folder} runs.")
    elif options.action == "stop":
        print(f"The worker of {folder} has ended." if client.stop(folder) else f"No worker runs on {folder}.")
    elif options.action == "log":
        print(client.log_tail(folder, size=1_000_000) or f"No worker has written anything in {folder} yet.")
    elif status := client.status(folder):
        since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(status.started))
        print(
            f"The worker of {folder} runs since {since} (process {status.pid}, version {status.version}): "
            f"{status.running} job(s) running, {status.queued} queued, {status.screens} screen(s). Log: {status.log}"
        )
    else:
        print(f"No worker runs on {folder}.")
    return 0


def completion(options: argparse.Namespace) -> int:
    """Print a completion script for a shell."""
    import shtab

    sys.stdout.write(shtab.complete(build_parser(), options.shell))
    return 0


# --- the parser ------------------------------------------------------------------------------------------


def build_parser() -> argparse.ArgumentParser:
    """The parser of the whole command line."""
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--cache", metavar="DIR", default=argparse.SUPPRESS, help="folder of the cache and its worker")
    common.add_argument("--debug", action="store_true", default=argparse.SUPPRESS, help="show tracebacks")
    # Options stand before or behind the subcommand: what is not given may not overwrite what was.
    resources = argparse.ArgumentParser(add_help=False, argument_default=argparse.SUPPRESS)
    resources.add_argument("--dtype", choices=("auto", "float32", "bfloat16", "float16"), help="dtype of the model")
    resources.add_argument(
        "--device", help="cpu, cuda, cuda:1, …; auto takes a GPU when there is one, balanced spreads over all of them"
    )
    resources.add_argument("--attention", metavar="NAME", help="attention implementation: eager, sdpa, …")
    resources.add_argument("--max-batch", type=int, metavar="N", help="examples in one forward pass, at most")
    resources.add_argument("--sample-tokens", type=int, metavar="N", help="rows kept for dimension")
    resources.add_argument("--folds", type=int, metavar="N", help="groups of examples for intervals")
    resources.add_argument(
        "--without",
        metavar="ROWS",
        help="rows that do not count, joined by commas: sinks, duplicates, or groups of the model's positions",
    )
    resources.add_argument(
        "--before",
        action=argparse.BooleanOptionalAction,
        help="measure the vision tower and the connector too, as layers before the decoder",
    )
    resources.add_argument(
        "--reference",
        action=argparse.BooleanOptionalAction,
        help="put the values of LLM-Microscope's own functions, made of the sample, beside ours",
    )
    view = argparse.ArgumentParser(add_help=False, argument_default=argparse.SUPPRESS)
    view.add_argument("--metric", choices=tuple(Metric), help="metric shown first")
    view.add_argument("--theme", metavar="NAME", help=f"{', '.join(THEMES)}, or one of the settings file")
    view.add_argument("--ascii", action=argparse.BooleanOptionalAction, help="draw with ASCII characters only")
    view.add_argument(
        "--read-only",
        action=argparse.BooleanOptionalAction,
        help="look at the results of a cache, somebody else's too: nothing is measured or written",
    )

    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        description="Explore image and text tokens inside multimodal language models, layer by layer. "
        "Without a subcommand, open the explorer.",
        parents=[common, resources, view],
    )
    # Under names of their own: a subcommand's MODEL and SLICE would overwrite them without a word.
    parser.add_argument("--model", dest="shown_model", metavar="NAME", help="hub id, folder or demo:NAME")
    parser.add_argument("--compare", dest="shown_compare", metavar="NAME", help="a second model, laid over the first")
    parser.add_argument(
        "--slice", dest="shown_slice", metavar="SPEC", help="SOURCE?split=test&filter=image&count=200&seed=0"
    )
    parser.add_argument("--version", action="version", version=f"{PROGRAM} {__version__}")
    parser.set_defaults(run=explore)
    commands = parser.add_subparsers(title="subcommands", metavar="COMMAND")

    def command(
        name: str, run: Callable[[argparse.Namespace], int], *parents: argparse.ArgumentParser
    ) -> argparse.ArgumentParser:
        text = run.__doc__ or ""
        sub = commands.add_parser(name, help=text.rstrip("."), description=text, parents=[common, *parents])
        sub.set_defaults(run=run)
        return sub

    command("demo", demo, resources, view)

    asked = argparse.ArgumentParser(add_help=False)
    asked.add_argument("model", metavar="MODEL", help="hub id, folder or demo:NAME")
    asked.add_argument("slice", metavar="SLICE", help="SOURCE?split=test&filter=image&count=200&seed=0")
    asked.add_argument("--metric", nargs="+", choices=(*Metric, "all"), default=argparse.SUPPRESS, help="all is usual")
    asked.add_argument("--modality", nargs="+", choices=tuple(Modality), default=[Modality.TEXT, Modality.IMAGE])
    asked.add_argument("--stream", nargs="+", choices=tuple(Stream), default=list(Stream))
    asked.add_argument("--one-tile", action="store_true", help="a model that cuts pictures into tiles gets each as one")

    sub = command("measure", measure, asked, resources)
    form = sub.add_mutually_exclusive_group()
    form.add_argument("--json", dest="format", action="store_const", const="json", help="one JSON object on stdout")
    form.add_argument("--csv", dest="format", action="store_const", const="csv", help="one row per layer on stdout")

    command("plan", plan, asked, resources).add_argument("--json", action="store_true", help="one JSON object")

    for name, run in (("models", models), ("slices", slices)):
        command(name, run).add_argument("--json", action="store_true")

    sub = command("jobs", jobs)
    which = sub.add_mutually_exclusive_group()
    which.add_argument("--cancel", metavar="JOB", help="end it; a running one between two batches")
    which.add_argument("--pause", metavar="JOB", help="set it aside until it is resumed, also over a restart")
    which.add_argument("--resume", metavar="JOB", help="let a paused job go on from where it was")
    which.add_argument("--move", nargs=2, metavar=("JOB", "PLACE"), help="to a place among the waiting, 1 is the next")
    which.add_argument("--retry", metavar="JOB", help="ask again for what a job that has ended was asked for")
    sub.add_argument("--json", action="store_true")

    sub = command("cache", cache)
    actions = ("ls", "path", "rm", "clear", "gc", "verify", "export", "import")
    sub.add_argument("action", nargs="?", choices=actions, default="ls")
    sub.add_argument("arguments", nargs="*", metavar="KEY|FILE", help="keys to rm; the file to export or import")
    sub.add_argument("--all", action="store_true", help="export the sums too, from which larger slices can go on")
    sub.add_argument("--json", action="store_true")

    sub = command("worker", worker)
    sub.add_argument("action", nargs="?", choices=("start", "stop", "status", "log"), default="start")

    command("completion", completion).add_argument("shell", choices=("bash", "zsh", "tcsh"))
    return parser


# --- helpers ---------------------------------------------------------------------------------------------


def _refuse_shown(options: argparse.Namespace) -> None:
    if given := next((name for name in SHOWN if getattr(options, f"shown_{name}")), None):
        raise MicroscopeError(
            f"--{given} says what the explorer opens on, without a subcommand: leave out one of them."
        )


def _request(options: argparse.Namespace, settings: Settings) -> Request:
    # Before the subcommand --metric takes one, the explorer's; behind it several.
    metrics = [options.metric] if isinstance(options.metric, str) else options.metric or ["all"]
    return Request(
        model=full_name(options.model),
        slice=_slice(options.slice),
        metrics=tuple(Metric) if "all" in metrics else words(metrics, Metric, "metrics"),
        modalities=words(options.modality, Modality, "modalities"),
        streams=words(options.stream, Stream, "streams"),
        one_tile=options.one_tile,
        **settings.of_request(),
    )


def _slice(text: str) -> SliceSpec:
    spec = SliceSpec.parse(text)
    return replace(spec, source=full_name(spec.source))


def _settings(options: argparse.Namespace) -> Settings:
    names = ("cache", "theme", "ascii", "read_only", *REQUEST_SETTINGS)
    return Settings.load({name: getattr(options, name, None) for name in names})


def _store(settings: Settings) -> Store:
    from microscope_tui.store import Store

    return Store(settings.cache, limit_bytes=settings.cache_limit)


def _client(settings: Settings, *, start: bool) -> Client:
    from microscope_tui.worker.client import Client

    limit = settings.cache_limit
    return Client.connect(settings.cache, start=start, idle_minutes=settings.idle_minutes, limit_bytes=limit)


@contextlib.contextmanager
def _queue(settings: Settings, *, start: bool) -> Iterator[Queue | Client]:
    """The worker, or without one its queue, in which nothing is begun; with `start` a worker is started."""
    if not start:
        from microscope_tui.worker.rest import at_rest

        with at_rest(settings.cache, settings.cache_limit) as queue:
            if queue is not None:
                yield queue
                return
    with _client(settings, start=start) as client:
        yield client


def _list(entries: Sequence[Any], options: argparse.Namespace) -> int:
    if options.json:
        print_json([asdict(entry) for entry in entries])
    else:
        table(("name", "title", "where"), [(e.name, e.title, e.detail) for e in entries])
    return 0
