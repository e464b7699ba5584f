"""Where the running moments live, and in how many folds, so that they fit into memory.

A fold of one modality and stream holds L + 1 scatters and L cross-scatters of d × d doubles: 1.3 MB for the
demo, 8.7 GB for a 7B decoder (L = 32, d = 4,096). Fewer folds mean wider intervals and held-out scores that
were fitted on fewer rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from types import MappingProxyType

import torch

from microscope_tui.engine.threads import tasks_for
from microscope_tui.errors import MicroscopeError
from microscope_tui.memory import free_host

SHARE = 0.6
"""Of the free memory, at most this share is planned for; the rest is for activations and the final solves."""

DOUBLE = 8


FEWER = (5, 3, 2, 1)
"""Folds where those asked for do not fit. Few steps, so that a little less free memory means the same plan."""

SOLVING = 3
"""Folds' worth of memory that adding them up and solving takes at its peak."""


@dataclass(frozen=True)
class Plan:
    """`folds` groups of examples, with their moments on `device`; products in `dtype`, sums in float64.

    `moments` are the bytes that they and their solution take there, `sample` those of the samples on the host.
    `tasks` are worked on at the same time (see `threads`).
    """

    folds: int
    device: torch.device
    dtype: torch.dtype
    notes: tuple[str, ...] = ()
    moments: int = 0
    sample: int = 0
    tasks: int = 1


def fold_bytes(layers: int, width: int) -> int:
    """Memory of one fold of one modality and stream, for a decoder of L = `layers` blocks of width d."""
    return (2 * layers + 1) * width**2 * DOUBLE


def stage_bytes(shapes: Mapping[str, tuple[int, int]]) -> int:
    """Memory of one fold of all stages before the decoder, and of the steps between them (see `stages`)."""
    numbers = sum((2 * states - 1) * width**2 for states, width in shapes.values())
    return DOUBLE * (numbers + sum(x**2 + x * y + y**2 for x, y in step_widths(shapes).values()))


def step_widths(shapes: Mapping[str, tuple[int, int]]) -> dict[str, tuple[int, int]]:
    """The widths on both sides of the step that leaves each stage: the next one's, at last the decoder's own."""
    widths = [width for _, width in shapes.values()]
    return dict(zip(shapes, pairwise([*widths, *widths[-1:]]), strict=True))


def plan(
    *,
    layers: int,
    width: int,
    kinds: int,
    folds: int,
    sample: int,
    device: torch.device,
    shapes: Mapping[str, tuple[int, int]] = MappingProxyType({}),
    taken: int = 0,
) -> Plan:
    """The plan for `kinds` pairs of modality and stream, with at most `folds` folds, near a model on `device`.

    `shapes` are the number of states and the width of the stages before the decoder that are measured too. `sample`
    rows of each of all these are kept on the host. Moments are kept where the model is, unless only the host has room
    for two folds or more. `taken` are bytes that a model will take that is not loaded yet. Raises `MicroscopeError`
    when not even one fold fits anywhere.
    """
    one, fold = fold_bytes(layers, width), kinds * fold_bytes(layers, width) + stage_bytes(shapes)
    states = kinds * (layers + 1) * width + sum(count * wide for count, wide in shapes.values())
    samples = states * sample * 4
    fits: dict[torch.device, int] = {}
    for place, free in free_memory(device).items():
        left = free - (taken if place == device else 0)
        room = int(left * SHARE) - (samples if place.type == "cpu" else 0)
        tried = (n for n in (folds, *FEWER) if n <= folds and n * fold + SOLVING * one <= room)
        fits[place] = max(tried, default=0)
    host = torch.device("cpu")
    place = device if fits.get(device, 0) >= min(2, folds) else max(fits, key=lambda p: (fits[p], p != host))
    chosen = fits[place]
    if not chosen:
        size = f"{(fold + SOLVING * one) / 1e9:.0f} GB"
        raise MicroscopeError(
            f"The moments of {kinds} pairs of modality and stream take {size}, more than there is free memory for: "
            "measure fewer --stream or --modality at a time."
        )
    notes = []
    if chosen < folds:
        less = "intervals are wider" if chosen > 1 else "no intervals and no held-out score"
        notes.append(f"{chosen} instead of {folds} folds, for each takes {fold / 1e9:.1f} GB: {less}")
    if place.type != device.type:
        notes.append(f"the moments are kept on the host, for they do not fit on {device}: slower")
    dtype = torch.float64 if place.type == "cpu" else torch.float32
    tasks = tasks_for(max([width, *(wide for _, wide in shapes.values())]), device)
    return Plan(chosen, place, dtype, tuple(notes), chosen * fold + SOLVING * one, samples, tasks)


def free_memory(device: torch.device) -> dict[torch.device, int]:
    """Free bytes of the host, and of the model's accelerator if it is on one."""
    free = {torch.device("cpu"): free_host()}
    if device.type == "cuda":
        # What torch's allocator holds and does not use is free for us, though not for the driver.
        held = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        free[device] = torch.cuda.mem_get_info(device)[0] + held
    return free
