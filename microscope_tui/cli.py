"""The command `microscope-tui`. stdout is data, stderr is talk.

Exit codes: 0 done, 1 a defect of ours, 2 something the user can mend (one sentence on stderr), 130 interrupted.
What a subcommand needs is imported when it runs, so that `--help` and the screen start at once.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
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
from microscope_tui.terms import Metric, Modality, Progress, Request, SliceSpec, Stream, words

if TYPE_CHECKING:
    from microscope_tui.store import Store
    from microscope_tui.worker.client import Client

PROGRAM = "microscope-tui"
DEMO_MODEL, DEMO_RIVAL, DEMO_SLICE = "demo:llava-next", "demo:omnifusion", "demo:scienceqa"
INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal that knows no ≥ must not lose us the numbers
    options = build_parser().parse_args(arguments, argparse.Namespace(debug=False, metric=Metric.LINEARITY))
    try:
        return int(options.run(options) or 0)
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
    from microscope_tui.tui import app
    from microscope_tui.tui.session import Session

    settings = _settings(options)
    models = tuple(full_name(name) for name in (options.model or DEMO_MODEL, options.compare) if name)
    session = Session(models, _slice(options.slice or DEMO_SLICE), Metric(options.metric), theme=settings.theme)
    return app.run(settings, session)


def demo(options: argparse.Namespace) -> int:
    """Open the explorer on the shipped pair of models, laid over each other."""
    options.model, options.compare, options.slice = DEMO_MODEL, DEMO_RIVAL, DEMO_SLICE
    return explore(options)


def measure(options: argparse.Namespace) -> int:
    """Measure without a screen; the same pipeline, and the same store."""
    settings = _settings(options)
    request = Request(
        model=full_name(options.model),
        slice=_slice(options.slice),
        metrics=tuple(Metric) if "all" in options.metric else words(options.metric, Metric, "metrics"),
        modalities=words(options.modality, Modality, "modalities"),
        streams=words(options.stream, Stream, "streams"),
        **settings.of_request(),
    )
    with _store(settings) as store, _talk() as on_progress:
        measurement = store.recall(request)
        if measurement is None:
            from microscope_tui.engine.measure import run

            measurement = run(request, store, on_progress=on_progress)
    for skipped in measurement.skipped:
        print(f"skipped {skipped.example}: {skipped.reason}", file=sys.stderr)
    for stream, reason in measurement.refused.items():
        print(f"no {stream} stream: {reason}", file=sys.stderr)
    if options.format == "json":
        _print_json(measurement.to_json())
    elif options.format == "csv":
        from microscope_tui.tables import profile_csv

        sys.stdout.write(profile_csv((measurement, profile) for profile in measurement.profiles))
    else:
        from microscope_tui.tables import measurement_text

        print(measurement_text(measurement))
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
    """List the worker's jobs, cancel one, or try one again."""
    settings = _settings(options)
    if options.cancel or options.retry:
        with _client(settings, start=bool(options.retry)) as client:
            job = client.cancel(options.cancel) if options.cancel else client.retry(options.retry)
        print(f"Job {job.id} is {job.state}.", file=sys.stderr)
        return 0
    with _store(settings) as store:
        known = store.jobs()
    if options.json:
        _print_json([job.to_json() for job in known])
        return 0
    rows = [
        (j.id, j.state, f"{j.progress.done}/{j.progress.total}", j.request.model, str(j.request.slice), j.error or "")
        for j in known
    ]
    _table(("job", "state", "examples", "model", "slice", "error"), rows)
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
    with _store(settings) as store:
        if action == "ls":
            entries = store.entries()
            if options.json:
                _print_json([asdict(entry) for entry in entries])
                return 0
            rows = [(e.key, f"{e.size / 1e6:.2f} MB", "in use" if e.in_use else "") for e in entries]
            _table(("key", "size", ""), rows)
            print(f"{settings.cache}: {len(rows)} entries, {store.size() / 1e6:.1f} MB", file=sys.stderr)
        elif action == "verify":
            damaged = store.verify()
            for each in damaged:
                print(f"{each.key}: {each.reason}; set aside in {each.kept}")
            print(f"{len(damaged)} damaged of {len(store.entries()) + len(damaged)} entries.", file=sys.stderr)
        else:
            print(_change_cache(store, action, arguments), file=sys.stderr)
    return 0


def _change_cache(store: Store, action: str, arguments: Sequence[str]) -> str:
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
        return f"Wrote {store.export_to(Path(arguments[0]))} results to {arguments[0]}."
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
    resources.add_argument("--device", help="cpu, cuda, cuda:1, …; auto takes a GPU when there is one")
    resources.add_argument("--attention", metavar="NAME", help="attention implementation: eager, sdpa, …")
    resources.add_argument("--max-batch", type=int, metavar="N", help="examples in one forward pass, at most")
    resources.add_argument("--sample-tokens", type=int, metavar="N", help="rows kept for dimension")
    resources.add_argument("--folds", type=int, metavar="N", help="groups of examples for intervals")
    view = argparse.ArgumentParser(add_help=False, argument_default=argparse.SUPPRESS)
    view.add_argument("--metric", choices=tuple(Metric), help="metric shown first")
    view.add_argument("--theme", choices=THEMES, help="theme of the screen")

    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        description="Explore image and text tokens inside multimodal language models, layer by layer. "
        "Without a subcommand, open the explorer.",
        parents=[common, resources, view],
    )
    parser.add_argument("--model", metavar="NAME", help="hub id, folder or demo:NAME")
    parser.add_argument("--compare", metavar="NAME", help="a second model, laid over the first")
    parser.add_argument("--slice", metavar="SPEC", help="SOURCE?split=test&filter=image&count=200&seed=0")
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

    sub = command("measure", measure, resources)
    sub.add_argument("model", metavar="MODEL", help="hub id, folder or demo:NAME")
    sub.add_argument("slice", metavar="SLICE", help="SOURCE?split=test&filter=image&count=200&seed=0")
    sub.add_argument("--metric", nargs="+", choices=(*Metric, "all"), default=["all"])
    sub.add_argument("--modality", nargs="+", choices=tuple(Modality), default=[Modality.TEXT, Modality.IMAGE])
    sub.add_argument("--stream", nargs="+", choices=tuple(Stream), default=list(Stream))
    form = sub.add_mutually_exclusive_group()
    form.add_argument("--json", dest="format", action="store_const", const="json", help="one JSON object on stdout")
    form.add_argument("--csv", dest="format", action="store_const", const="csv", help="one row per layer on stdout")

    for name, run in (("models", models), ("slices", slices)):
        command(name, run).add_argument("--json", action="store_true")

    sub = command("jobs", jobs)
    which = sub.add_mutually_exclusive_group()
    which.add_argument("--cancel", metavar="JOB")
    which.add_argument("--retry", metavar="JOB")
    sub.add_argument("--json", action="store_true")

    sub = command("cache", cache)
    actions = ("ls", "path", "rm", "clear", "gc", "verify", "export", "import")
    sub.add_argument("action", nargs="?", choices=actions, default="ls")
    sub.add_argument("arguments", nargs="*", metavar="KEY|FILE", help="keys to rm; the file to export or import")
    sub.add_argument("--json", action="store_true")

    sub = command("worker", worker)
    sub.add_argument("action", nargs="?", choices=("start", "stop", "status", "log"), default="start")

    command("completion", completion).add_argument("shell", choices=("bash", "zsh", "tcsh"))
    return parser


# --- helpers ---------------------------------------------------------------------------------------------


def _slice(text: str) -> SliceSpec:
    spec = SliceSpec.parse(text)
    return replace(spec, source=full_name(spec.source))


def _settings(options: argparse.Namespace) -> Settings:
    names = ("cache", "theme", *REQUEST_SETTINGS)
    return Settings.load({name: getattr(options, name, None) for name in names})


def _store(settings: Settings) -> Store:
    from microscope_tui.store import Store

    return Store(settings.cache, limit_bytes=int(settings.cache_limit_gb * 1e9))


def _client(settings: Settings, *, start: bool) -> Client:
    from microscope_tui.worker.client import Client

    limit = int(settings.cache_limit_gb * 1e9)
    return Client.connect(settings.cache, start=start, idle_minutes=settings.idle_minutes, limit_bytes=limit)


@contextlib.contextmanager
def _talk() -> Iterator[Callable[[Progress], None]]:
    """Progress on stderr: one line rewritten in a terminal, else a line every few seconds."""
    live = sys.stderr.isatty()
    every = 0.2 if live else 5.0
    last, last_phase, width = 0.0, "", 0

    def show(progress: Progress) -> None:
        nonlocal last, last_phase, width
        now, phase = time.monotonic(), progress.stage
        if now - last < every and phase == last_phase:
            return
        last, last_phase = now, phase
        text = describe(progress)
        print(f"\r{text:<{width}}" if live else text, end="" if live else "\n", file=sys.stderr, flush=True)
        width = len(text)

    try:
        yield show
    finally:
        if live and width:
            print(f"\r{'':<{width}}\r", end="", file=sys.stderr, flush=True)


def describe(progress: Progress) -> str:
    """One line for people: `measuring 120/600 examples · 9,812 tokens · 12.3/s · 0:39 left`."""
    parts = [progress.phase]
    if progress.done:
        parts[0] += f" {progress.done}/{progress.total} examples"
        parts.append(f"{progress.tokens:,} tokens")
    if progress.done and progress.rate:
        parts.append(f"{progress.rate:.1f}/s")
    if progress.eta is not None and progress.done < progress.total:
        parts.append(f"{int(progress.eta) // 60}:{int(progress.eta) % 60:02d} left")
    return " · ".join(parts)


def _list(entries: Sequence[Any], options: argparse.Namespace) -> int:
    if options.json:
        _print_json([asdict(entry) for entry in entries])
    else:
        _table(("name", "title", "where"), [(e.name, e.title, e.detail) for e in entries])
    return 0


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Aligned columns on stdout; never cut, so that it can be piped."""
    lines = [tuple(header), *(tuple(map(str, row)) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        print("  ".join(f"{cell:<{width}}" for cell, width in zip(line, widths, strict=True)).rstrip())


def _print_json(data: Any) -> None:
    json.dump(data, sys.stdout, indent=1, ensure_ascii=False, allow_nan=False)
    print()
