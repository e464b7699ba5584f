"""The parser of the command line."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable

from microscope_tui import __version__
from microscope_tui.cli.commands import demo, explore, measure, models, plan, slices
from microscope_tui.cli.options import PROGRAM
from microscope_tui.cli.upkeep import cache, jobs, worker
from microscope_tui.settings import THEMES
from microscope_tui.terms import DTYPES, Metric, Modality, Stream


def build_parser() -> argparse.ArgumentParser:
    """The parser of the whole command line."""
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--cache", metavar="DIR", default=argparse.SUPPRESS, help="folder of the cache and its worker")
    common.add_argument("--debug", action="store_true", default=argparse.SUPPRESS, help="show tracebacks")
    # Options stand before or behind the subcommand: what is not given may not overwrite what was.
    resources = argparse.ArgumentParser(add_help=False, argument_default=argparse.SUPPRESS)
    resources.add_argument("--dtype", choices=("auto", *DTYPES), help="dtype of the model")
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
    slice_form = "SOURCE?split=test&filter=image&count=200&seed=0"
    parser.add_argument("--slice", dest="shown_slice", metavar="SPEC", help=slice_form)
    parser.add_argument("--version", action="version", version=f"{PROGRAM} {__version__}")
    parser.set_defaults(run=explore)
    commands = parser.add_subparsers(title="subcommands", metavar="COMMAND")

    def command(
        name: str, run: Callable[[argparse.Namespace], int], *parents: argparse.ArgumentParser
    ) -> argparse.ArgumentParser:
        text = run.__doc__ or ""
        sub = commands.add_parser(name, help=text.rstrip("."), description=text, parents=[common, *parents])
        sub.set_defaults(run=run, parser=sub)
        return sub

    command("demo", demo, resources, view).add_argument(
        "--slice", dest="shown_slice", default=argparse.SUPPRESS, metavar="SPEC", help=f"another slice: {slice_form}"
    )

    asked = argparse.ArgumentParser(add_help=False)
    asked.add_argument("model", metavar="MODEL", help="hub id, folder or demo:NAME")
    asked.add_argument("slice", metavar="SLICE", help=slice_form)
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
    sub.add_argument("job", nargs="?", help="with log: only what was written while this job was done")

    command("completion", completion).add_argument("shell", choices=("bash", "zsh", "tcsh"))
    return parser


def completion(options: argparse.Namespace) -> int:
    """Print a completion script for a shell."""
    import shtab

    sys.stdout.write(shtab.complete(build_parser(), options.shell))
    return 0
