"""The command `microscope-tui`. stdout is data, stderr is talk.

Exit codes: 0 done, 1 a defect of ours, 2 something the user can mend (one sentence on stderr), 130 interrupted.
What a subcommand needs is imported when it runs, so that `--help` and the screen start at once.
"""

from __future__ import annotations

import argparse
import errno
import io
import os
import sys
import traceback
from collections.abc import Sequence

from microscope_tui.cli.commands import demo, explore, measure, plan
from microscope_tui.cli.options import PROGRAM, refuse_drawn, refuse_measured, refuse_shown
from microscope_tui.cli.parser import build_parser
from microscope_tui.cli.talk import complain, say
from microscope_tui.errors import Cancelled, MicroscopeError

INTERRUPTED = 130
UNWRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    _replace_closed()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal that knows no ≥ must not lose us the numbers
    parser = build_parser()
    options, unknown = parser.parse_known_args(arguments, argparse.Namespace(debug=False, metric=None, parser=parser))
    if unknown:
        options.parser.error(f"unrecognized arguments: {' '.join(unknown)}")
    try:
        if options.run is not explore:
            refuse_shown(options, but="slice" if options.run is demo else "")
        if options.run not in (explore, demo):
            refuse_drawn(options)
        if options.run not in (explore, demo, measure, plan):
            refuse_measured(options)
        code = int(options.run(options) or 0)
        sys.stdout.flush()
        return code
    except Cancelled as error:
        say(str(error))
        return INTERRUPTED
    except KeyboardInterrupt:
        say("Interrupted.")
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of our output (head, less) has seen enough; what Python flushes at exit must not fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except MicroscopeError as error:
        if options.debug:
            traceback.print_exc()
        complain(f"{PROGRAM}: {error}")
        return 2
    except Exception as error:
        if options.debug:
            traceback.print_exc()
        if isinstance(error, OSError) and error.errno in UNWRITABLE and error.filename is None:
            # What files cannot take is said where they are written: this is the output itself.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            complain(f"{PROGRAM}: The output cannot be written ({error.strerror}): send it elsewhere.")
            return 2
        complain(f"{PROGRAM}: internal error: {type(error).__name__}: {error} (add --debug for the traceback)")
        return 1


def _replace_closed() -> None:
    """A stream that was closed by whoever started us is None: what would go there goes nowhere, and is no error."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            # It stays open as long as the process.
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
