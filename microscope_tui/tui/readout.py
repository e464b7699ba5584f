"""Numbers and sentences as the screen writes them: pure functions of a profile, a layer and a width."""

from __future__ import annotations

import math
from collections.abc import Sequence

from microscope_tui.terms import Job, JobState, Metric, Profile

DECIMALS = {Metric.LINEARITY: 4, Metric.DIMENSION: 2, Metric.ANISOTROPY: 4}


def number(value: float, metric: Metric) -> str:
    """A value of a metric: as many decimals as mean something, powers of ten only where it must be."""
    if not math.isfinite(value):
        return str(value)
    if (value and abs(value) < 0.001) or abs(value) >= 100_000:
        return f"{value:.2e}"
    return f"{value:.{DECIMALS[metric]}f}"


def interval(low: float | None, high: float | None, metric: Metric) -> str:
    return "" if low is None or high is None else f"[{number(low, metric)}, {number(high, metric)}]"


def ratio(n: int, d: int) -> str:
    """n/d, coarse where it is large."""
    share = n / d if d else 0.0
    return f"{share:.1f}" if share < 100 else f"{share:,.0f}"


def duration(seconds: float) -> str:
    """Seconds as 0:41, 12:05 or 3:07:00."""
    whole = max(0, round(seconds))
    hours, rest = divmod(whole, 3600)
    minutes, rest = divmod(rest, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def shorten(text: str, width: int) -> str:
    """`text` in at most `width` cells, cut in the middle where names differ least."""
    if len(text) <= width:
        return text
    if width < 4:
        return text[: max(width, 0)]
    head = (width - 1) // 2
    return f"{text[:head]}…{text[-(width - 1 - head) :]}"


def shorten_end(text: str, width: int) -> str:
    """`text` in at most `width` cells, cut at its end: for sentences."""
    if len(text) <= width:
        return text
    return text[: width - 1] + "…" if width > 0 else ""


def short_name(name: str) -> str:
    """A model or slice as people call it: without `demo:`, owner and folders."""
    return name.rstrip("/").rsplit("/", 1)[-1].removeprefix("demo:") or name


def at(profile: Profile, layer: int) -> int | None:
    """The place of a layer in a profile, None where it has no such layer."""
    return profile.layers.index(layer) if layer in profile.layers else None


def pieces(profile: Profile, layer: int) -> list[tuple[int, str]]:
    """What there is to say at a layer, in reading order, each with its rank (0: say it first)."""
    i = at(profile, layer)
    if i is None:
        what = "no block starts here" if profile.layers and layer > profile.layers[-1] else "not measured here"
        return [(0, f"layer {layer}: {what}")]
    notes = profile.notes[i]
    value = profile.value[i]
    if value is None:
        return [
            (0, f"undefined: {notes[0]}" if notes else "undefined"),
            (1, f"n {profile.n[i]:,}"),
            (2, f"d {profile.d}"),
        ]
    said = [
        (0, number(value, profile.metric)),
        (1, "*" if notes else " "),
        (2, interval(profile.low[i], profile.high[i], profile.metric)),
        (3, f"n/d {ratio(profile.n[i], profile.d)}"),
        (4, f"n {profile.n[i]:,}"),
        (5, f"d {profile.d}"),
    ]
    said.append((6, " · ".join(notes)))
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
        return str(job.state)
    now = job.progress
    said = [(0, now.phase if not now.total else f"{now.phase} {now.done:,}/{now.total:,} ex")]
    if now.eta is not None:
        said.append((1, f"ETA {duration(now.eta)}"))
    if now.rate:
        said.insert(1, (2, f"{now.rate:.3g} ex/s"))
    if now.skipped:
        said.append((3, f"{now.skipped} skipped"))
    return fit(said, width, " · ")
