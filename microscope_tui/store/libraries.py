"""The libraries that numbers depend on, and those that only some examples need (films, sounds): where one of these is
missing, the examples are skipped and said to be. None is imported to be asked for.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any, Final

from microscope_tui.results import Measurement

NEEDED: Final = ("torch", "transformers", "tokenizers", "pillow")
OPTIONAL: Final = ("av", "soundfile", "torchvision")


@functools.cache
def versions() -> Mapping[str, str]:
    """The versions of what every number depends on."""
    from importlib.metadata import version  # a start that finds nothing in the store does not wait for it

    return {name: version(name) for name in NEEDED}


def installed() -> list[str]:
    """Which of those that only some examples need are here now."""
    return [name for name in OPTIONAL if find_spec(name) is not None]


def learned(before: Any) -> bool:
    """Whether more of them are here than `before`, None where that is not known."""
    return before is not None and not set(installed()) <= set(before)


def is_behind(measurement: Measurement) -> bool:
    """Whether examples were skipped that could perhaps be used by now."""
    return bool(measurement.skipped) and learned(measurement.provenance.get("optional"))
