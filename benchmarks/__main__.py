"""Runs benchmarks, each in a process of its own: `python -m benchmarks [NAME …] [-- OPTION …]`.

Without a name: all but the slow ones, which run only when they are named. Options after `--` go to each of them.
"""

from __future__ import annotations

import argparse
import ast
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent

SLOW = ("arms", "coverage")
"""Many minutes to half an hour, and no word about speed."""


def described(name: str) -> str:
    """A benchmark and the first sentence of its docstring, without importing it."""
    said = ast.get_docstring(ast.parse((HERE / f"{name}.py").read_text())) or ""
    return f"  {name:<12}{said.splitlines()[0]}{' (slow)' if name in SLOW else ''}"


def main() -> int:
    known = sorted(path.stem for path in HERE.glob("*.py") if not path.stem.startswith("_"))
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=__doc__,
        epilog="\n".join(["benchmarks:", *map(described, known)]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", metavar="NAME", nargs="*", help="what to run; all but the slow ones by default")
    words = sys.argv[1:]
    end = words.index("--") if "--" in words else len(words)
    options = words[end + 1 :]
    names = parser.parse_args(words[:end]).names or [name for name in known if name not in SLOW]
    if unknown := [name for name in names if name not in known]:
        parser.error(f"there is no benchmark {unknown[0]!r}: choose from {', '.join(known)}")
    failed = [n for n in names if subprocess.run([sys.executable, "-m", f"benchmarks.{n}", *options]).returncode]
    if failed:
        print(f"Failed: {', '.join(failed)}.", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
