"""Names of what is stored: a hash of everything that a number depends on."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from hashlib import blake2b
from typing import Any

from microscope_tui import __version__
from microscope_tui.terms import JobKind, Request


def content_key(**parts: Any) -> str:
    """The key of what is determined by `parts`: 32 hex digits, the same for the same values in any order.

    `parts` are what JSON can hold (mappings with text keys, lists, tuples, text, numbers, None, text enums);
    anything else raises `TypeError`, for a silent `repr` could hide a difference that changes a number.
    """
    return blake2b(canonical(parts), digest_size=16).hexdigest()


SCOPE = ("metrics", "modalities", "streams")
"""What one request can have more of than another, and so answer it."""


def request_key(request: Request) -> str:
    """The key of a request as it was typed, in this version of the package: what `Store.recall` looks up.

    `FAMILY.METRICS.MODALITIES.STREAMS`, the words in the order of the alphabet with a + between them.
    """
    return ".".join((family_key(request), *("+".join(sorted(getattr(request, name))) for name in SCOPE)))


def family_key(request: Request) -> str:
    """The key of all that requests have in common which differ in metrics, modalities and streams only."""
    rest = {name: value for name, value in asdict(request).items() if name not in SCOPE}
    return content_key(request=rest, version=__version__)


def covers(key: str, request: Request) -> bool:
    """Whether the request with this key asked for all metrics, modalities and streams of `request`."""
    asked = [words.split("+") for words in key.split(".")[1:]]
    return all(set(getattr(request, name)) <= set(words) for name, words in zip(SCOPE, asked, strict=True))


def look_key(request: Request, kind: JobKind, example: int | None) -> str:
    """The key of a look as it was asked for, in this version of the package: what `Store.recall_look` looks up."""
    return content_key(request=asdict(request), kind=kind, example=example, version=__version__)


def canonical(data: Mapping[str, Any]) -> bytes:
    """One byte string for one value: JSON with sorted keys, no blanks, no NaN."""
    return json.dumps(data, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=False).encode()
