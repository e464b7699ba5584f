"""The libraries that numbers depend on, and those that only some examples need (films, sounds): where one of these is
missing, the examples are skipped and said to be. None is imported to be asked for.
"""

from __future__ import annotations

import contextlib
import functools
import os
import sys
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from microscope_tui.results import Measurement

NEEDED: Final = ("torch", "transformers", "tokenizers", "pillow")
OPTIONAL: Final = ("av", "soundfile", "torchvision")


@functools.cache
def versions() -> Mapping[str, str]:
    """The versions of what every number depends on.

    They are read from the heads of the libraries' descriptions. `importlib.metadata` reads all of these, by a parser
    made for mail: a screen would wait for it as long as for the results.
    """
    found: dict[str, str] = {}
    for folder in sys.path:
        with contextlib.suppress(OSError):
            for entry in os.listdir(folder or "."):
                name = entry.partition("-")[0].lower()
                if name in NEEDED and name not in found and entry.endswith(".dist-info"):
                    found[name] = _version(Path(folder, entry, "METADATA"))
    if not all(found.get(name) for name in NEEDED):
        from importlib.metadata import version

        found = {name: version(name) for name in NEEDED}
    return found


def _version(description: Path) -> str:
    """The version that the description of an installed library states in its head, empty where it does not."""
    with description.open(encoding="utf-8", errors="replace") as lines:
        return next((line for line in lines if line.startswith("Version:")), "").partition(":")[2].strip()


def installed() -> list[str]:
    """Which of those that only some examples need are here now."""
    return [name for name in OPTIONAL if find_spec(name) is not None]


def learned(before: Any) -> bool:
    """Whether more of them are here than `before`, None where that is not known."""
    return before is not None and not set(installed()) <= set(before)


def is_behind(measurement: Measurement) -> bool:
    """Whether examples were skipped that could perhaps be used by now."""
    return bool(measurement.skipped) and learned(measurement.provenance.get("optional"))
