"""Names of what is stored: a hash of everything that a number depends on."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from hashlib import blake2b
from typing import Any

from microscope_tui import __version__
from microscope_tui.terms import Request


def content_key(**parts: Any) -> str:
    """The key of what is determined by `parts`: 32 hex digits, the same for the same values in any order.

    `parts` are what JSON can hold (mappings with text keys, lists, tuples, text, numbers, None, text enums);
    anything else raises `TypeError`, for a silent `repr` could hide a difference that changes a number.
    """
    return blake2b(canonical(parts), digest_size=16).hexdigest()


def request_key(request: Request) -> str:
    """The key of a request as it was typed, in this version of the package: what `Store.recall` looks up."""
    return content_key(request=asdict(request), version=__version__)


def canonical(data: Mapping[str, Any]) -> bytes:
    """One byte string for one value: JSON with sorted keys, no blanks, no NaN."""
    return json.dumps(data, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=False).encode()
