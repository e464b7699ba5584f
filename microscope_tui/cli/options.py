"""From the parsed options to what they mean: settings, requests, slices."""

from __future__ import annotations

import argparse
from dataclasses import replace
from typing import TYPE_CHECKING

from microscope_tui.catalogue.locate import full_name, in_full
from microscope_tui.errors import MicroscopeError
from microscope_tui.settings import REQUEST_SETTINGS, Settings
from microscope_tui.terms import Metric, Modality, Request, SliceSpec, Stream, words

if TYPE_CHECKING:
    from microscope_tui.store import Store

PROGRAM = "microscope-tui"
SHOWN = ("model", "compare", "slice")
DRAWN = ("theme", "ascii")
MEASURED = ("metric", *REQUEST_SETTINGS)


def refuse_shown(options: argparse.Namespace, *, but: str = "") -> None:
    """For a subcommand that opens no explorer, or one on models of its own, `but` on any slice."""
    if given := next((name for name in SHOWN if name != but and getattr(options, f"shown_{name}")), None):
        raise MicroscopeError(
            f"--{given} says what the explorer opens on, without a subcommand: leave out one of them."
        )


def refuse_drawn(options: argparse.Namespace) -> None:
    """For a subcommand that draws nothing."""
    if given := next((name for name in DRAWN if getattr(options, name, None) is not None), None):
        raise MicroscopeError(f"--{given} says how the explorer is drawn: leave it out here.")


def refuse_measured(options: argparse.Namespace) -> None:
    """For a subcommand that measures nothing."""
    if given := next((name for name in MEASURED if getattr(options, name, None) is not None), None):
        flag = given.replace("_", "-")
        raise MicroscopeError(f"--{flag} says what is measured, or how, and nothing is measured here: leave it out.")


def request_of(options: argparse.Namespace, settings: Settings) -> Request:
    # Before the subcommand --metric takes one, the explorer's; behind it several.
    metrics = [options.metric] if isinstance(options.metric, str) else options.metric or ["all"]
    request = Request(
        model=options.model,
        slice=SliceSpec.parse(options.slice),
        metrics=tuple(Metric) if "all" in metrics else words(metrics, Metric, "metrics"),
        modalities=words(options.modality, Modality, "modalities"),
        streams=words(options.stream, Stream, "streams"),
        one_tile=options.one_tile,
        **settings.of_request(),
    )
    return in_full(request)


def slice_of(text: str) -> SliceSpec:
    spec = SliceSpec.parse(text)
    return replace(spec, source=full_name(spec.source))


def settings_of(options: argparse.Namespace) -> Settings:
    names = ("cache", "theme", "ascii", "read_only", *REQUEST_SETTINGS)
    return Settings.load({name: getattr(options, name, None) for name in names})


def open_store(settings: Settings) -> Store:
    from microscope_tui.store import Store

    return Store(settings.cache, read_only=settings.read_only, limit_bytes=settings.cache_limit)
