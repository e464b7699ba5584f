"""What looks give, read back from what the worker stored. Imported when a screen looks closer: a start needs none."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from microscope_tui.inspection import Cloud, Preview, TokenTable, WorstTokens
from microscope_tui.terms import JobKind

Value = Preview | TokenTable | WorstTokens | Cloud
"""What a look gives."""

LOOKS: Mapping[JobKind, type[Value]] = {
    JobKind.PREVIEW: Preview,
    JobKind.TOKENS: TokenTable,
    JobKind.WORST: WorstTokens,
    JobKind.MAP: Cloud,
    JobKind.TSNE: Cloud,
}
"""What a job of each kind makes."""


def value_of(kind: JobKind, data: Mapping[str, Any]) -> Value | None:
    """What a job of this kind made; None for what another version wrote in another way: it is made anew."""
    try:
        return LOOKS[kind].from_json(data)
    except (LookupError, TypeError, ValueError, AttributeError):
        return None
