"""Before a model's streams are shown: is what the hooks see what the model computes?

A small probe goes through the real path. Five questions, in this order:
1. Do token ids and embeddings agree on which positions are pictures? If not, nothing can be shown.
2. Are the states finite? A stream that overflows the model's precision is refused.
3. Are the states at the hooks those that transformers reports as `output_hidden_states`, bit for bit, and is the last
   one it under the final norm? If not, `residual` and `update` are refused.
4. Is each block's output the next block's input, bit for bit? If not, something is added between blocks, and neither
   `update` nor `main` is what a block does.
5. Is each block x + attention, then that + feed-forward? If not, `main` is not defined.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from microscope_tui.errors import BadExample, MicroscopeError, OutOfMemory, is_out_of_memory, lost_device, one_line
from microscope_tui.models.base import Captured, OpenModel, Part
from microscope_tui.models.before import Tower, TowerPass, record_before
from microscope_tui.models.blocks import Decoder, Roles, entering, first
from microscope_tui.models.capture import (
    Call,
    capture,
    check_part_embeddings,
    forward_states,
    main_states,
    part_stages,
    selector,
)
from microscope_tui.models.media import NOUNS
from microscope_tui.models.modality import check_counts
from microscope_tui.models.probe import probe, shown_first
from microscope_tui.models.quiet import quiet
from microscope_tui.terms import Stream

TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-5, torch.bfloat16: 2e-2, torch.float16: 2e-3}
"""Largest |in + attention − middle| and |middle + feed-forward − out| as a share of |out − in|: (out − in) must be
(attention + feed-forward), and what is between them the norm's input.

The sum is recomputed in the block's own order and precision, so that rounding cancels; in half precision a block that
adds in another order may differ by the rounding of one addition.
"""

CAUSAL_SLACK = 10
"""Times `TOLERANCE`, which is of one block, by which equal rows of two passes of different length may differ."""

TINY = 1e-30
"""Stands for the norm of an update that is exactly zero."""


def check(model: OpenModel) -> None:
    """Run the self-check and set what the model refuses, and its shapes before the decoder. Costs two small passes.

    Raises `MicroscopeError` when no stream can be trusted.
    """
    part = _probe_part(model)
    check_counts(part.modality, part.valid)
    with torch.no_grad(), quiet():
        with watch_blocks(model.decoder) as blocks, record_before(model.tower) as seen:
            output, residual, call = _first_pass(model, part)
        check_part_embeddings(model, part, call, residual[0])
        refused = _refusals(model, part, _reported(output), residual, blocks)
        if Stream.MAIN not in refused and (reason := _main_problem(model, part, residual, call)):
            refused[Stream.MAIN] = reason
    model.refused = refused
    if model.tower is not None:
        model.shapes = _shapes(model.tower, seen, part)
        model.tower = model.tower if model.shapes else None
    if set(refused) == set(Stream):
        raise MicroscopeError(f"No stream of {model.name} can be trusted: {refused[Stream.RESIDUAL]}")


def _probe_part(model: OpenModel) -> Part:
    shown = shown_first(model)
    try:
        return model.prepare([probe(shown)]).parts[0]
    except BadExample as error:
        raise MicroscopeError(
            f"{model.name} cannot take a small {NOUNS[shown]} with a question: {error.reason}."
        ) from error


def _first_pass(model: OpenModel, part: Part) -> tuple[Any, list[Tensor], Call]:
    """A plain pass of the probe; `MicroscopeError` where the parts of a checkpoint do not fit each other."""
    try:
        return forward_states(model, part, output_hidden_states=True)
    except MicroscopeError:
        raise
    except Exception as error:  # a network may raise anything over inputs that it was not made for
        if lost_device(error):
            raise
        if is_out_of_memory(error):
            raise OutOfMemory(
                f"{model.device} has no room for one small example in {model.name}: use a smaller model, half "
                "precision (--dtype bfloat16), or another device."
            ) from error
        raise MicroscopeError(
            f"A small {NOUNS[shown_first(model)]} with a question cannot go through {model.name} ({one_line(error)}): "
            "its configuration, weights and processor do not belong together."
        ) from error


def is_causal(model: OpenModel) -> bool:
    """Whether rows depend on nothing that comes after them: two prompts with one beginning have its rows in common.

    Costs two small forward passes. Prefix language models (PaliGemma) attend to all of the prompt.
    """
    stream = next(stream for stream in (Stream.RESIDUAL, Stream.MAIN) if stream not in model.refused)
    one, other = (_rows_of(model, stream, question) for question in ("What is in the middle?", "What is that? A dot?"))
    shorter = min(len(one.ids), len(other.ids))
    differ = (one.ids[:shorter] != other.ids[:shorter]).nonzero()
    shared = int(differ[0]) if len(differ) else shorter
    ours, theirs = (rows.rows[stream][-1][:shared].float() for rows in (one, other))
    tolerance = CAUSAL_SLACK * TOLERANCE[getattr(torch, model.dtype)]
    return _norm(ours - theirs) <= tolerance * max(_norm(ours), TINY)


def _rows_of(model: OpenModel, stream: Stream, question: str) -> Captured:
    example = replace(probe(shown_first(model)), question=question)
    return capture(model, model.prepare([example]), [stream])


def _shapes(tower: Tower, seen: TowerPass, part: Part) -> Mapping[str, tuple[int, int]]:
    """The number of states and the width of each stage before the decoder; empty where they cannot be followed."""
    try:
        stages = part_stages(tower, seen, part)
    except MicroscopeError:
        return {}
    if not all(bool(torch.isfinite(rows).all()) for stage in stages.values() for rows in stage.rows):
        return {}
    return {name: (len(stage.rows), stage.rows[0].shape[-1]) for name, stage in stages.items()}


@dataclass(frozen=True)
class BlockCheck:
    """What was seen of one block in a pass.

    `added_before` is what the block before gave, kept where that is not what entered this one: something was added in
    between. `error` is how far the block is from input + attention + feed-forward, as a share of its update; None where
    its roles are unknown.
    """

    added_before: Tensor | None
    error: float | None


@contextmanager
def watch_blocks(decoder: Decoder) -> Iterator[list[BlockCheck]]:
    """Within: compare each block with the sum of its parts, and what enters it with what left the one before."""
    blocks: list[BlockCheck] = []
    seen: dict[str, Tensor] = {}
    with ExitStack() as hooks:
        for layer, roles in zip(decoder.layers, decoder.roles, strict=True):
            _watch(layer, roles, seen, blocks, hooks)
        yield blocks


def _watch(
    layer: nn.Module, roles: Roles | None, seen: dict[str, Tensor], blocks: list[BlockCheck], hooks: ExitStack
) -> None:
    def enters(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        seen["in"] = entering(args, kwargs).detach().clone()

    def attended(_module: nn.Module, _args: tuple[Any, ...], output: Any) -> None:
        seen["attention"] = first(output)

    def before_ffn(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        seen["middle"] = entering(args, kwargs).detach().clone()

    def fed_forward(_module: nn.Module, _args: tuple[Any, ...], output: Any) -> None:
        seen["ffn"] = first(output)

    def leaves(_module: nn.Module, _args: tuple[Any, ...], output: Any) -> None:
        out = first(output).detach().clone()
        before = seen.get("out")
        joined = before is None or torch.equal(before.to(seen["in"].device), seen["in"])
        error = None
        if {"attention", "middle", "ffn"} <= seen.keys():
            middle = seen["middle"].view_as(out)
            after_attention = seen["in"] + seen["attention"] - middle
            after_ffn = middle + seen["ffn"].view_as(out) - out
            error = max(_norm(after_attention), _norm(after_ffn)) / max(_norm(out - seen["in"]), TINY)
        blocks.append(BlockCheck(None if joined else before, error))
        seen.clear()
        seen["out"] = out

    hooks.callback(layer.register_forward_pre_hook(enters, with_kwargs=True).remove)
    if roles is not None:
        hooks.callback(roles.attention.register_forward_hook(attended).remove)
        hooks.callback(roles.pre_ffn.register_forward_pre_hook(before_ffn, with_kwargs=True).remove)
        hooks.callback(roles.ffn.register_forward_hook(fed_forward).remove)
    hooks.callback(layer.register_forward_hook(leaves).remove)


def _norm(difference: Tensor) -> float:
    return float(difference.float().norm())


def _reported(output: Any) -> Sequence[Tensor] | None:
    """The hidden states that transformers itself reports, None when this family reports none."""
    states = getattr(getattr(output, "language_model_outputs", output), "hidden_states", None)  # BLIP-2 has them inside
    return states if isinstance(states, tuple | list) else None


def _refusals(
    model: OpenModel,
    part: Part,
    reported: Sequence[Tensor] | None,
    residual: Sequence[Tensor],
    blocks: Sequence[BlockCheck],
) -> dict[Stream, str]:
    """The streams that must not be shown, each with the reason."""
    if reason := _overflow(model, Stream.RESIDUAL, residual):
        return dict.fromkeys(Stream, reason)
    refused: dict[Stream, str] = {}
    if reason := _residual_problem(model, part, reported, residual, blocks):
        refused[Stream.RESIDUAL] = refused[Stream.UPDATE] = reason
    if reason := _chain_problem(blocks):
        refused.setdefault(Stream.UPDATE, reason)
        refused[Stream.MAIN] = reason
    elif reason := _sum_problem(blocks, residual[0].dtype):
        refused[Stream.MAIN] = reason
    return refused


def _residual_problem(
    model: OpenModel,
    part: Part,
    reported: Sequence[Tensor] | None,
    residual: Sequence[Tensor],
    blocks: Sequence[BlockCheck],
) -> str | None:
    if reported is None or len(reported) != len(residual):
        count = "no" if reported is None else str(len(reported))
        return f"transformers reports {count} hidden states for {model.layers} layers, so the hooks cannot be checked."
    keep = selector(part.rows)
    for layer, (ours, theirs, block) in enumerate(zip(residual[:-1], reported[:-1], blocks, strict=True)):
        # Where something is added between blocks, transformers reports what the block before gave.
        candidates = [ours] if block.added_before is None else [ours, keep(block.added_before)]
        if not any(torch.equal(candidate, keep(theirs)) for candidate in candidates):
            return (
                f"at layer {layer} the residual stream at the hook is not the hidden state that transformers reports."
            )
    top = keep(reported[-1])
    normed = model.decoder.norm(residual[-1]) if model.decoder.norm is not None else residual[-1]
    # The norm of some rows alone may round otherwise than that of all of them, so that bits are not compared here.
    off = _norm(normed - top) / max(_norm(top), TINY)
    if not off <= TOLERANCE[top.dtype] and not torch.equal(residual[-1], top):
        return (
            f"at layer {model.layers} the final norm of the residual stream at the hook is not the last hidden state "
            "that transformers reports."
        )
    return None


def _chain_problem(blocks: Sequence[BlockCheck]) -> str | None:
    for layer, block in enumerate(blocks):
        if block.added_before is not None:
            return f"what leaves block {layer - 1} is not what enters block {layer}: something is added between them."
    return None


def _sum_problem(blocks: Sequence[BlockCheck], dtype: torch.dtype) -> str | None:
    tolerance = TOLERANCE[dtype]
    for layer, block in enumerate(blocks):
        if block.error is None:
            return f"block {layer} is not attention, norm and feed-forward by name, so it has no residual-free forward."
        if not block.error <= tolerance:
            return (
                f"block {layer} is not its input + attention + feed-forward (off by {block.error:.1e} of its update, "
                f"allowed {tolerance:.0e}), so it has no residual-free forward."
            )
    return None


def _main_problem(model: OpenModel, part: Part, residual: Sequence[Tensor], call: Any) -> str | None:
    states = main_states(model.decoder, call, part)
    if not torch.equal(states[0], residual[0]):
        return "at layer 0 the main stream does not start from the residual stream."
    return _overflow(model, Stream.MAIN, states)


def _overflow(model: OpenModel, stream: Stream, states: Sequence[Tensor]) -> str | None:
    for layer, rows in enumerate(states):
        if not bool(torch.isfinite(rows).all()):
            why = _not_finite(model) or "float32 may hold it"
            return f"at layer {layer} the {stream} stream is not finite in {model.dtype}; {why}."
    return None


def _not_finite(model: OpenModel) -> str | None:
    """Which of the weights in memory are not finite, or that float32 overflows; None where more precision may help."""
    tower = model.tower
    modules: list[nn.Module] = [model.network, *(() if tower is None else (*tower.layers, tower.connector))]
    for name, weights in (named for module in modules for named in module.named_parameters()):
        if not weights.is_meta and not bool(torch.isfinite(weights).all()):
            return f"its weights {name} are not either: download the checkpoint again"
    return "its numbers grow too large" if model.dtype in ("float32", "float64") else None
