"""One example through a model, token by token."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor

from microscope_tui.engine.answers import Answers
from microscope_tui.engine.looks.cards import LARGE, card_of
from microscope_tui.engine.looks.lens import lens
from microscope_tui.engine.looks.looking import Tell, known, rounded
from microscope_tui.engine.looks.pooled import Unexplained
from microscope_tui.inspection import TokenTable
from microscope_tui.models.base import Captured, OpenModel
from microscope_tui.models.capture import capture
from microscope_tui.models.groups import NO_GROUP
from microscope_tui.slices import Slice
from microscope_tui.terms import Modality, Progress, Request, Stream


def token_table(
    request: Request,
    model: OpenModel,
    slice_: Slice,
    index: int,
    explain: Callable[[Captured], Unexplained],
    tell: Tell,
) -> TokenTable:
    """The tokens of the example number `index` of a slice. Raises `BadExample` when it cannot be used.

    `explain` tells what linear maps leave unexplained of its rows.
    """
    example = slice_.example(index)
    tell(Progress("running the model"))
    batch = model.prepare([example])
    captured = capture(model, batch, [Stream.RESIDUAL])
    states = captured.rows[Stream.RESIDUAL]
    own = None if captured.last_logits is None else captured.last_logits[0]
    words, notes = lens(model, states, own, tell)
    left = explain(captured)
    answers = Answers(model.token_ids, model.tokenizer.unk_token_id)
    modalities = tuple(Modality)
    return TokenTable(
        model=request.model,
        slice=request.slice,
        card=card_of(example, index, LARGE, None if own is None else answers.choice(example, own)),
        tokens=tuple(model.word(i) for i in captured.ids.tolist()),
        modality=tuple(modalities[code] for code in captured.modality.tolist()),
        group=tuple("" if code == NO_GROUP else model.groups[code] for code in captured.group.tolist()),
        norm=tuple(rounded(lengths(rows).tolist()) for rows in states),
        update=tuple(known(added(before, after).tolist()) for before, after in pairwise(states)),
        residual=left.errors,
        lens=words,
        patches=model.patches(batch.parts[0], example.images),
        fitted=left.fitted,
        notes=(*notes, *left.notes),
    )


def lengths(rows: Tensor) -> Tensor:
    """‖h‖ of each row (T, d), in float64."""
    norms: Tensor = torch.linalg.vector_norm(rows, dim=1, dtype=torch.float64)
    return norms


def added(before: Tensor, after: Tensor) -> Tensor:
    """‖h_{l+1} − h_l‖/‖h_l‖ of each row, not finite where h_l is zero."""
    ratio: Tensor = lengths(after.to(before.device).double() - before.double()) / lengths(before)
    return ratio
