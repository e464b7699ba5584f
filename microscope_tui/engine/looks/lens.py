"""The logit lens: what each position would say next if the decoder ended at this layer.

The final norm and the output head are put on h_l as they are on h_L (nostalgebraist 2020). Words of early layers
need not mean much: nothing was trained to be read there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor

from microscope_tui.engine.looks.looking import Tell
from microscope_tui.models.base import OpenModel
from microscope_tui.models.loading import computes_on
from microscope_tui.terms import Progress

TOP = 3
"""Words of each position and layer."""

CHUNK_BYTES = 32_000_000
"""Logits in float32 that are held at once."""

AGREES = 0.01
"""The lens on h_L is the model's own output when no probability differs by more."""

Words = tuple[tuple[str, float], ...]
Change = Callable[[Tensor], Tensor]


def lens(
    model: OpenModel, states: Sequence[Tensor], own: Tensor | None, tell: Tell
) -> tuple[tuple[tuple[Words, ...], ...], tuple[str, ...]]:
    """The `TOP` likeliest words of each of T positions at each of L + 1 layers, and what to be careful about.

    `states` are L + 1 tensors (T, d), `own` (V,) the model's own logits at the last position.
    """
    if own is None or model.head is None:
        return (), ("no logit lens: the model has no output head",)
    if model.decoder.norm is None:
        return (), ("no logit lens: the decoder's final norm is not known",)
    spelt = cache(model.word)
    size = max(1, CHUNK_BYTES // (4 * len(own)))
    layers = []
    with torch.no_grad():
        change = change_of(model, states[-1][-1:], own)
        for layer, rows in enumerate(states):
            words: list[Words] = []
            for part in torch.split(rows, size):
                tell(Progress("logit lens", layer, len(states), unit="layers"))
                logits = read_out(model, part)
                shares, ids = (change(logits) if change else logits).softmax(-1).topk(min(TOP, len(own)))
                for row_shares, row_ids in zip(shares.tolist(), ids.tolist(), strict=True):
                    pairs = zip(row_ids, row_shares, strict=True)
                    words.append(tuple((spelt(i), float(f"{share:.4g}")) for i, share in pairs))
            layers.append(tuple(words))
    note = "the lens at the last layer is not the model's own output: trust its words, not its shares"
    return tuple(layers), () if change else (note,)


def read_out(model: OpenModel, rows: Tensor) -> Tensor:
    """(t, d) hidden states to (t, V) logits in float32: the final norm, then the output head."""
    norm, head = model.decoder.norm, model.head
    assert norm is not None
    assert head is not None
    logits: Tensor = head(norm(rows.to(computes_on(norm))).to(computes_on(head)))
    return logits.float()


def change_of(model: OpenModel, last: Tensor, own: Tensor) -> Change | None:
    """What the model does to its logits after its output head, None where that is not known.

    Told by its output at the last position, `own` (V,) for the state `last` (1, d): some families have the settings
    of a change and leave it out when there are pictures.
    """
    logits = read_out(model, last)[0]
    wanted = own.to(logits.device).softmax(-1)
    config = model.network.config.get_text_config(decoder=True)
    for change in (lambda logits: logits, lambda logits: scaled(logits, config)):
        if float((change(logits).softmax(-1) - wanted).abs().max()) <= AGREES:
            return change
    return None


def scaled(logits: Tensor, config: Any) -> Tensor:
    """Logits as the families make them that change them after the output head: Granite, Cohere, Gemma 2."""
    if divisor := getattr(config, "logits_scaling", None):
        logits = logits / divisor
    if factor := getattr(config, "logit_scale", None):
        logits = logits * factor
    if cap := getattr(config, "final_logit_softcapping", None):
        logits = cap * torch.tanh(logits / cap)
    return logits
