"""Where the running moments live, and in how many folds, so that they fit into memory.

A fold of one modality and stream holds L + 1 scatters and L cross-scatters of d × d doubles: 0.6 MB for the
demo, 8.7 GB for a 7B decoder (L = 32, d = 4,096). Fewer folds mean wider intervals, never other values.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import torch

from microscope_tui.errors import MicroscopeError

SHARE = 0.6
"""Of the free memory, at most this share is planned for; the rest is for activations and the final solves."""

DOUBLE = 8


@dataclass(frozen=True)
class Plan:
    """`folds` groups of examples, with their moments on `device`; products in `dtype`, sums in float64."""

    folds: int
    device: torch.device
    dtype: torch.dtype
    note: str | None = None


def fold_bytes(layers: int, width: int) -> int:
    """Memory of one fold of one modality and stream, for a decoder of L = `layers` blocks of width d."""
    return (2 * layers + 1) * width**2 * DOUBLE


def plan(*, layers: int, width: int, kinds: int, folds: int, device: torch.device) -> Plan:
    """The plan for `kinds` pairs of modality and stream, with at most `folds` folds, near a model on `device`.

    The accelerator is chosen when all folds that can be had anywhere fit there. Raises `MicroscopeError`
    when not even one fits.
    """
    one = fold_bytes(layers, width)
    # At the end the folds of one pair are added up, which takes one more.
    fits = {place: max(0, (int(free * SHARE) // one - 1) // kinds) for place, free in _free(device).items()}
    place = max(fits, key=lambda p: (min(fits[p], folds), p.type != "cpu"))
    chosen = min(fits[place], folds)
    if not chosen:
        raise MicroscopeError(
            f"The moments of {kinds} pairs of modality and stream take {(kinds + 1) * one / 1e9:.0f} GB, which do not "
            "fit into the free memory: measure fewer --stream or --modality at a time."
        )
    note = None
    if chosen < folds:
        note = f"{chosen} instead of {folds} folds, for each takes {kinds * one / 1e9:.1f} GB: intervals are wider"
        note = note if chosen > 1 else f"one fold only, for each takes {kinds * one / 1e9:.1f} GB: no intervals"
    return Plan(chosen, place, torch.float64 if place.type == "cpu" else torch.float32, note)


def _free(device: torch.device) -> dict[torch.device, int]:
    """Free bytes of the host, and of the model's accelerator if it is on one."""
    free = {torch.device("cpu"): _free_host()}
    if device.type == "cuda":
        free[device] = torch.cuda.mem_get_info(device)[0]
    return free


def _free_host() -> int:
    """MemAvailable, or what is left of the control group's limit when this is less."""
    free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    for line in _read("/proc/meminfo").splitlines():
        if line.startswith("MemAvailable:"):
            free = int(line.split()[1]) * 1024
    limit, used = _read("/sys/fs/cgroup/memory.max").strip(), _read("/sys/fs/cgroup/memory.current").strip()
    return min(free, int(limit) - int(used)) if limit.isdigit() and used.isdigit() else free


def _read(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""
