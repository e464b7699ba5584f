"""Where the running moments live, and in how many folds, so that they fit into memory.

A fold of one modality and stream holds L + 1 scatters and L cross-scatters of d × d doubles: 1.3 MB for the
demo, 8.7 GB for a 7B decoder (L = 32, d = 4,096). Fewer folds mean wider intervals and held-out scores that
were fitted on fewer rows.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from microscope_tui.errors import MicroscopeError

SHARE = 0.6
"""Of the free memory, at most this share is planned for; the rest is for activations and the final solves."""

DOUBLE = 8


FEWER = (5, 3, 2, 1)
"""Folds where those asked for do not fit. Few steps, so that a little less free memory means the same plan."""

SOLVING = 3
"""Folds' worth of memory that adding them up and solving takes at its peak."""


@dataclass(frozen=True)
class Plan:
    """`folds` groups of examples, with their moments on `device`; products in `dtype`, sums in float64."""

    folds: int
    device: torch.device
    dtype: torch.dtype
    notes: tuple[str, ...] = ()


def fold_bytes(layers: int, width: int) -> int:
    """Memory of one fold of one modality and stream, for a decoder of L = `layers` blocks of width d."""
    return (2 * layers + 1) * width**2 * DOUBLE


def plan(*, layers: int, width: int, kinds: int, folds: int, sample: int, device: torch.device) -> Plan:
    """The plan for `kinds` pairs of modality and stream, with at most `folds` folds, near a model on `device`.

    `sample` rows of each pair are kept on the host beside them. Moments are kept where the model is, unless only
    the host has room for two folds or more. Raises `MicroscopeError` when not even one fits anywhere.
    """
    one = fold_bytes(layers, width)
    samples = kinds * (layers + 1) * sample * width * 4
    fits: dict[torch.device, int] = {}
    for place, free in _free(device).items():
        room = int(free * SHARE) - (samples if place.type == "cpu" else 0)
        fits[place] = max((n for n in (folds, *FEWER) if n <= folds and (n * kinds + SOLVING) * one <= room), default=0)
    host = torch.device("cpu")
    place = device if fits.get(device, 0) >= min(2, folds) else max(fits, key=lambda p: (fits[p], p != host))
    chosen = fits[place]
    if not chosen:
        size = f"{(kinds + SOLVING) * one / 1e9:.0f} GB"
        raise MicroscopeError(
            f"The moments of {kinds} pairs of modality and stream take {size}, more than there is free memory for: "
            "measure fewer --stream or --modality at a time."
        )
    notes = []
    if chosen < folds:
        less = "intervals are wider" if chosen > 1 else "no intervals and no held-out score"
        notes.append(f"{chosen} instead of {folds} folds, for each takes {kinds * one / 1e9:.1f} GB: {less}")
    if place.type != device.type:
        notes.append(f"the moments are kept on the host, for they do not fit on {device}: slower")
    return Plan(chosen, place, torch.float64 if place.type == "cpu" else torch.float32, tuple(notes))


def _free(device: torch.device) -> dict[torch.device, int]:
    """Free bytes of the host, and of the model's accelerator if it is on one."""
    free = {torch.device("cpu"): free_host()}
    if device.type == "cuda":
        # What torch's allocator holds and does not use is free for us, though not for the driver.
        held = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        free[device] = torch.cuda.mem_get_info(device)[0] + held
    return free


def free_host(proc: Path = Path("/proc"), groups: Path = Path("/sys/fs/cgroup")) -> int:
    """Bytes free on this machine: what it says is available, or less where a control group allows less."""
    free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    for line in _read(proc / "meminfo").splitlines():
        if line.startswith("MemAvailable:"):
            free = int(line.split()[1]) * 1024
    return min([free, *_allowed(proc, groups)])


def _allowed(proc: Path, groups: Path) -> Iterator[int]:
    """What each control group above this process leaves it: limit less use, file cache that can go not counted."""
    for line in _read(proc / "self" / "cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        # Version 2 has one tree and no controllers in the line; version 1 a tree for each.
        root = groups / "memory" if controllers else groups
        names = ("memory.limit_in_bytes", "memory.usage_in_bytes") if controllers else ("memory.max", "memory.current")
        group = root / path.lstrip("/")
        for folder in (group, *group.parents):
            if not folder.is_relative_to(root):
                break
            limit, used = (_read(folder / name).strip() for name in names)
            if limit.isdigit() and used.isdigit():
                yield int(limit) - int(used) + _file_cache(folder)


def _file_cache(folder: Path) -> int:
    """Pages of files of a control group that the kernel can drop."""
    counts = dict(line.split() for line in _read(folder / "memory.stat").splitlines())
    return int(counts.get("total_inactive_file", counts.get("inactive_file", 0)))


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
