"""`python -m microscope_tui.worker --cache DIR`: the worker in the foreground; with --ready-fd, detached."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from microscope_tui.settings import Settings
from microscope_tui.store.store import LIMIT_BYTES
from microscope_tui.worker.daemon import Options, main


def parse(arguments: list[str]) -> Options:
    parser = argparse.ArgumentParser(
        prog="python -m microscope_tui.worker", description="The worker of a cache folder."
    )
    parser.add_argument("--cache", type=Path, required=True, help="the cache folder it serves")
    idle = Settings.idle_minutes
    parser.add_argument("--idle-minutes", type=float, default=idle, help="end after so long without job and screen")
    parser.add_argument("--limit-bytes", type=int, default=LIMIT_BYTES, help="size limit of the store")
    parser.add_argument("--runner", help=argparse.SUPPRESS)
    parser.add_argument("--gpus", type=lambda text: tuple(text.split(",")), help=argparse.SUPPRESS)
    parser.add_argument("--desk-fd", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--lock-fd", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--ready-fd", type=int, help=argparse.SUPPRESS)
    return Options(**vars(parser.parse_args(arguments)))


def start() -> None:
    options = parse(sys.argv[1:])
    if options.ready_fd is not None:
        # Nothing has been started yet that a fork could harm. The child belongs to init, so it never stays
        # behind as a zombie of a screen, and leads a session that no terminal can hang up.
        if os.fork():
            os._exit(0)
        os.setsid()
        os.chdir("/")
    code = main(options)
    sys.stdout.flush()
    sys.stderr.flush()
    # Without the interpreter's long goodbye: a thread that hangs in a GPU call must not hold up the end.
    os._exit(code)


if __name__ == "__main__":
    start()
