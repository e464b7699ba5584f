"""Rows that distort every metric: duplicates and attention sinks. Counted always, left out on request."""

from __future__ import annotations

import torch
from torch import Tensor

from microscope_tui.geometry.rows import chunks, lengths_of
from microscope_tui.results import Note, Trap
from microscope_tui.terms import SINK_RATIO

_INTEGERS = {
    torch.float64: torch.int64,
    torch.float32: torch.int32,
    torch.float16: torch.int16,
    torch.bfloat16: torch.int16,
}

_FIRST = 32
"""Columns by which most rows are told apart."""

_SLICE = 250_000
"""Numbers hashed at once: about a processor's cache."""


def duplicate_of(x: Tensor) -> Tensor:
    """For each row of x (n, d), the index of the first row that equals it exactly (itself if none), int64 (n,).

    Rows are compared by a 64-bit hash of the bits of their first columns, those that agree there by one of all their
    bits, and equal hashes by value. 0 and −0 are equal.
    """
    n = len(x)
    first = torch.arange(n, device=x.device)
    if n < 2:
        return first
    keys = _row_hash(x[:, :_FIRST])
    if x.shape[1] > _FIRST:
        _, code, times = torch.unique(keys, return_inverse=True, return_counts=True)
        alike = (times[code] > 1).nonzero()[:, 0]
        if not len(alike):
            return first
        keys[alike] = torch.cat([_row_hash(x[part]) for part in chunks(alike, 1024)])
    order = torch.argsort(keys, stable=True)
    ordered = keys[order]
    starts = torch.ones(n, dtype=torch.bool, device=x.device)
    starts[1:] = ordered[1:] != ordered[:-1]
    leaders = order[starts][starts.cumsum(0) - 1]
    first[order] = leaders
    doubtful = (first != torch.arange(n, device=x.device)).nonzero()[:, 0]
    differ = (
        torch.cat([(x[part] != x[first[part]]).any(1) for part in chunks(doubtful, 1024)]) if len(doubtful) else None
    )
    if differ is not None and bool(differ.any()):
        first[doubtful[differ]] = doubtful[differ]
    return first


def duplicates(x: Tensor) -> Tensor:
    """Which rows repeat an earlier row exactly, bool (n,)."""
    return duplicate_of(x) != torch.arange(len(x), device=x.device)


def sinks(x: Tensor, groups: Tensor | None = None, *, ratio: float = SINK_RATIO) -> Tensor:
    """Which rows of x (n, d) have a massive norm, bool (n,); of x (L+1, n, d) at each layer, bool (L+1, n).

    See `massive`. Attention sinks (the first token, some image patches) look like this (Sun et al. 2024, "Massive
    activations in large language models").
    """
    return massive(lengths_of(x), groups, ratio=ratio)


def massive(lengths: Tensor, groups: Tensor | None = None, *, ratio: float = SINK_RATIO) -> Tensor:
    """Which norms (…, n) are over `ratio` times the median norm, layer by layer, bool (…, n).

    Norms that are not finite are none; they do not count for the median, and neither do norms of 0: of rows of which
    most are zero every other would be one. With `groups` (n,), any integers, the median is
    that of the row's own group: its example, say, or its modality there, so that the answer does not depend on how
    examples are batched.
    """
    if not lengths.shape[-1]:
        return torch.zeros_like(lengths, dtype=torch.bool)
    finite = lengths.isfinite()
    counted = finite & (lengths > 0)
    if groups is None:
        middle = lengths.masked_fill(~counted, float("nan")).nanmedian(-1, keepdim=True).values
        return finite & (lengths > ratio * middle)
    codes = torch.unique(groups.to(lengths.device), return_inverse=True)[1]
    size = torch.bincount(codes)
    # Sorted by length, then stably by group: the norms of each that count come first, in order.
    held = lengths.masked_fill(~counted, float("inf"))
    order = held.argsort(-1)
    order = order.gather(-1, codes[order].argsort(dim=-1, stable=True))
    known = torch.zeros(*lengths.shape[:-1], len(size), dtype=torch.int64, device=lengths.device)
    known.index_add_(-1, codes, counted.long())
    place = size.cumsum(0) - size + (known - 1).clamp(min=0) // 2
    middle = held.gather(-1, order.gather(-1, place))
    return finite & (lengths > ratio * middle[..., codes])


def screen(
    *matrices: Tensor, drop_sinks: bool = False, drop_duplicates: bool = False
) -> tuple[Tensor | None, tuple[str, ...]]:
    """Counts sinks and duplicates among paired rows, and says which to keep.

    A token is a sink if it is one in any of the matrices, and a duplicate if it repeats in all. Returns the
    mask of rows to keep, bool (n,), None for all of them, and the notes to show.
    """
    n = len(matrices[0])
    notes = []
    keep: Tensor | None = None
    massive = torch.stack([sinks(x) for x in matrices]).any(0)
    repeated = duplicates(matrices[0])
    for other in matrices[1:]:
        repeated = repeated & duplicates(other) if bool(repeated.any()) else repeated
    for rows, name, what, drop, trap in (
        (massive, "sink", f"norm over {SINK_RATIO:g}× the median", drop_sinks, Trap.SINKS),
        (repeated, "duplicate", "exact copies of earlier rows", drop_duplicates, Trap.DUPLICATES),
    ):
        count = int(rows.sum())
        if count:
            said = f"{count} {name} {'row' if count == 1 else 'rows'} of {n} ({what}){' left out' * drop}"
            notes.append(Note(said, trap))
            if drop:
                keep = ~rows if keep is None else keep & ~rows
    return keep, tuple(notes)


def _row_hash(x: Tensor) -> Tensor:
    """A 64-bit hash of each row: Σ_j odd_j · bits_j, wrapping; exact, so it does not depend on the order of sums."""
    integer = _INTEGERS[x.dtype]
    generator = torch.Generator().manual_seed(0x5EED)
    weights = torch.randint(-(2**63), 2**63 - 1, (x.shape[1],), generator=generator, dtype=torch.int64) | 1
    weights = weights.to(x.device)
    return torch.cat(
        [((part + 0.0).view(integer).long() * weights).sum(1) for part in chunks(x, max(1, _SLICE // x.shape[1]))]
    )
