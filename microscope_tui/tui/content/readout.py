"""Numbers and sentences as the screen writes them: pure functions of a profile, a layer and a width."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from rich.cells import cell_len, set_cell_size

from microscope_tui.results import Profile
from microscope_tui.tables import interval, number, progress_pieces
from microscope_tui.terms import Job, JobState

UNDEFINED, NOTHING = 9, 20
"""The ranks of a reason why there is no value, and of a layer where there could be none."""
WARNING = (1, 9)
"""The ranks of what is to be careful about: the sign that there is something, and what it is."""


def share(part: float) -> str:
    """A share as people say it: `0 %`, `0.03 %`, `12 %`."""
    return f"{100 * part:.2g} %" if part < 0.995 else f"{100 * part:.0f} %"


def ratio(n: int, d: int) -> str:
    """n/d, coarse where it is large."""
    share = n / d if d else 0.0
    return f"{share:.1f}" if share < 100 else f"{share:,.0f}"


def figure(value: float) -> str:
    """Four digits, the zeros at the end as well: `0.2800`."""
    return f"{value:#.4g}".rstrip(".")


def shorten(text: str, width: int) -> str:
    """`text` in at most `width` cells, cut in the middle where names differ least."""
    if cell_len(text) <= width:
        return text
    if width < 4:
        return set_cell_size(text, max(width, 0))
    head = (width - 1) // 2
    return f"{set_cell_size(text, head)}…{set_cell_size(text[::-1], width - 1 - head)[::-1]}"


def shorten_end(text: str, width: int) -> str:
    """`text` in at most `width` cells, cut at its end: for sentences."""
    if cell_len(text) <= width:
        return text
    return set_cell_size(text, width - 1) + "…" if width > 0 else ""


def wrapped(text: str, width: int) -> list[str]:
    """`text` in lines of at most `width` cells."""
    widest = max(map(cell_len, text), default=1)
    return textwrap.wrap(text, max(width // max(widest, 1), 8), break_on_hyphens=False)


def at(profile: Profile, layer: int) -> int | None:
    """The place of a layer in a profile, None where it has no such layer."""
    return profile.layers.index(layer) if layer in profile.layers else None


def pieces(
    profile: Profile, layer: int, *, sinks: float | None = None, copies: float | None = None, signed: bool = False
) -> list[tuple[int, str]]:
    """What there is to say at a layer, in reading order, each with its rank (0: say it first).

    Where there is no value, the ranks begin at `UNDEFINED` or `NOTHING`. `sinks` is the share of rows with a massive
    norm, `copies` that of rows that repeat others; a difference is `signed`.
    """
    i = at(profile, layer)
    if i is None:
        what = "no block starts here" if profile.layers and layer > profile.layers[-1] else "not measured here"
        return [(NOTHING, what)]
    notes, facts, width = profile.notes[i], profile.facts[i], profile.widths[i]
    value = profile.value[i]
    if value is None:
        return [
            (UNDEFINED, f"undefined: {notes[0]}" if notes else "undefined"),
            (UNDEFINED + 1, f"n {profile.n[i]:,}"),
            (UNDEFINED + 2, f"d {width}"),
        ]
    said = [
        (0, number(value, profile.metric, signed=signed)),
        (1, "*" if notes else " "),
        (2, interval(profile.low[i], profile.high[i], profile.metric, signed=signed)),
        (3, f"n/d {ratio(profile.n[i], width)}"),
        (4, f"n {profile.n[i]:,}"),
        (5, f"d {width}"),
        *((6, fact) for fact in facts),
        (7, "" if sinks is None else f"sinks {share(sinks)}"),
        (8, f"duplicates {share(copies)}" if copies else ""),
        (UNDEFINED, " · ".join(notes)),
    ]
    if signed:  # of a difference, whether it is one matters more than n
        said = [(3 if rank == 6 else rank + 1 if 3 <= rank < 6 else rank, text) for rank, text in said]
    return [(rank, text) for rank, text in said if text]


def choose(said: Sequence[tuple[int, str]], width: int, gap: int = 2) -> list[tuple[int, str]]:
    """The pieces that fit into `width` cells, the first ranks first, in reading order; the very first is cut to fit."""
    chosen: set[int] = set()
    used = 0
    for place, (_, text) in sorted(enumerate(said), key=lambda piece: piece[1][0]):
        cost = len(text) + (gap if chosen else 0)
        if used + cost > width and chosen:
            break
        chosen.add(place)
        used += cost
    return [(rank, shorten_end(text, max(width, 0))) for place, (rank, text) in enumerate(said) if place in chosen]


def fit(said: Sequence[tuple[int, str]], width: int, gap: str = "  ") -> str:
    """`choose` as one text."""
    return gap.join(text for _, text in choose(said, width, len(gap)))


def progress(job: Job, width: int = 200) -> str:
    """How far a job is, in one line: `measuring 120/600 ex · 12.3 ex/s · ETA 0:41`."""
    if job.state is JobState.FAILED:
        return f"failed: {job.error or 'no reason given'}"
    if job.state is not JobState.RUNNING:
        return f"{job.state}: {job.error}" if job.error else str(job.state)
    return fit(progress_pieces(job.now), width, " · ")
