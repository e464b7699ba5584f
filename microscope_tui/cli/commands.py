"""The subcommands that explore, measure and list."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

from microscope_tui import __version__
from microscope_tui.catalogue.locate import full_name
from microscope_tui.cli.interrupt import interrupt
from microscope_tui.cli.options import PROGRAM, open_store, request_of, settings_of, slice_of
from microscope_tui.cli.talk import print_json, say, table, talk
from microscope_tui.errors import Cancelled, MicroscopeError
from microscope_tui.settings import Settings
from microscope_tui.terms import Metric, Progress, Request

DEMO_MODEL, DEMO_RIVAL, DEMO_SLICE = "demo:llava-next", "demo:omnifusion", "demo:scienceqa"
NO_SCREEN = ("dumb", "unknown")
"""Kinds of terminals, as TERM names them, on which nothing can be drawn."""


def explore(options: argparse.Namespace) -> int:
    """Open the explorer on what the flags name, else on the demo."""
    # A stream that is closed is None; the screen is drawn on stderr.
    if not all(stream and stream.isatty() for stream in (sys.stdin, sys.stdout, sys.stderr)):
        raise MicroscopeError(
            "The explorer needs a terminal: run it in one, and send none of stdin, stdout and stderr elsewhere, or "
            "use `microscope-tui measure … --json`."
        )
    if (kind := os.environ.get("TERM", "")).lower() in NO_SCREEN:
        raise MicroscopeError(
            f"The explorer needs a terminal that can move its cursor, and TERM={kind} is none: set TERM to what the "
            "terminal is (xterm-256color, tmux-256color), or use `microscope-tui measure … --json`."
        )
    from microscope_tui.tui.session import Session
    from microscope_tui.tui.start import run

    settings = settings_of(options)
    if (sys.stderr.encoding or "").lower().replace("-", "") != "utf8":
        settings = replace(settings, ascii=True)  # it could not be sent any other character
    models = tuple(full_name(name) for name in (options.shown_model or DEMO_MODEL, options.shown_compare) if name)
    metric = Metric(options.metric or Metric.LINEARITY)
    session = Session(models, slice_of(options.shown_slice or DEMO_SLICE), metric, theme=settings.theme)
    shown = {"models": options.shown_model or options.shown_compare, "slice": options.shown_slice}
    asked = shown | {"metric": options.metric}
    return run(settings, session, given={name for name, value in asked.items() if value})


def demo(options: argparse.Namespace) -> int:
    """Open the explorer on the shipped pair of models, laid over each other."""
    options.shown_model, options.shown_compare = DEMO_MODEL, DEMO_RIVAL
    options.shown_slice = options.shown_slice or DEMO_SLICE
    return explore(options)


def measure(options: argparse.Namespace) -> int:
    """Measure without a screen; the same pipeline, and the same store."""
    settings = settings_of(options)
    request = request_of(options, settings)
    with open_store(settings) as store, talk() as tell, interrupt() as interrupted:
        measurement = store.recall(request)
        if measurement is None and settings.read_only:
            raise MicroscopeError(
                f"The cache {settings.cache} has no measurement that answers this, and read-only nothing is measured: "
                f"{_nearest(settings, request)}leave out --read-only (or the setting read_only), or name another cache "
                "with --cache."
            )
        if measurement is None:
            from microscope_tui.engine.measure import run

            def on_progress(progress: Progress) -> None:
                tell(progress)
                if interrupted() and not progress.done:  # later `should_stop` is asked often enough
                    raise Cancelled(f"Stopped while {progress.phase}.")

            measurement = run(
                request,
                store,
                on_progress=on_progress,
                should_stop=interrupted,
                memory_check=settings.memory_check,
            )
    for skipped in measurement.skipped:
        say(f"skipped {skipped.example}: {skipped.reason}")
    for stream, reason in measurement.refused.items():
        say(f"no {stream} stream: {reason}")
    if options.format == "json":
        print_json(measurement.to_json())
    elif options.format == "csv":
        from microscope_tui.tables import profile_csv

        sys.stdout.write(profile_csv((measurement, profile) for profile in measurement.profiles))
    else:
        from microscope_tui.tables import measurement_text

        print(measurement_text(measurement))
    return 0


def _nearest(settings: Settings, request: Request) -> str:
    """What the explorer shows for a request in a cache that is only looked at, and what sets it apart, in words that a
    sentence can begin with; empty for nothing."""
    from microscope_tui.tui.content.measured import made_otherwise
    from microscope_tui.tui.data.archive import ArchiveSource

    found = ArchiveSource(settings).recall(request)
    if found is None:
        return ""
    has = {word for p in found.profiles for word in (p.metric, p.modality, p.stream)}
    lacks = [word for word in (*request.metrics, *request.modalities, *request.streams) if word not in has]
    how = ", ".join(filter(None, (made_otherwise(request, found), f"without {' and '.join(lacks)}" if lacks else "")))
    version = found.provenance.get("versions", {}).get("microscope_tui", __version__)
    if not how and version != __version__:
        how = f"made by version {version}"
    how = how or "made of other files, or of files that are not here"
    return f"of this model and slice it has one {how}, which `{PROGRAM} --read-only --cache {settings.cache}` shows; "


def plan(options: argparse.Namespace) -> int:
    """Say what a measurement would need and where it fits, without loading a weight."""
    from microscope_tui.engine.forecast import forecast, forecast_lines

    expected = forecast(request_of(options, settings_of(options)))
    if options.json:
        print_json(expected.to_json())
    else:
        print("\n".join(forecast_lines(expected)))
    return 0


def models(options: argparse.Namespace) -> int:
    """List the models that are here."""
    from microscope_tui.catalogue.listing import known_models

    return _list(known_models(), options)


def slices(options: argparse.Namespace) -> int:
    """List the slices that are here."""
    from microscope_tui.catalogue.listing import known_slices

    return _list(known_slices(), options)


def _list(entries: Sequence[Any], options: argparse.Namespace) -> int:
    if options.json:
        print_json([asdict(entry) for entry in entries])
    else:
        table(("name", "title", "where"), [(e.name, e.title, e.detail) for e in entries])
    return 0
