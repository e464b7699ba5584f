"""Hooks to streams: one plain forward pass for the residual stream, one residual-free pass for the main flow.

The main flow calls the decoder a second time with the very arguments that it got in the plain pass, so masks,
positions, windows and offloading are the model's own. In every block two things are changed: the norm before the
feed-forward reads the attention's output alone, and the block gives the feed-forward's output alone:
m_{l+1} = FFN(norm(Attn(norm(m_l)))), with m_0 = h_0.

A change that gives other rows for the same examples raises `versions.CAPTURE`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from microscope_tui.errors import BadExample, MicroscopeError, OutOfMemory, is_out_of_memory, lost_device, one_line
from microscope_tui.models.base import Batch, Captured, OpenModel, Part
from microscope_tui.models.before import Stage, Tower, TowerPass, joined, record_before, stages_of
from microscope_tui.models.blocks import Decoder, Roles, entering, first
from microscope_tui.models.modality import CODES, check_counts, check_embeddings
from microscope_tui.models.quiet import quiet
from microscope_tui.terms import Modality, Stream

Call = tuple[tuple[Any, ...], dict[str, Any]]
Keep = Callable[[Tensor], Tensor]


def capture(model: OpenModel, batch: Batch, streams: Sequence[Stream], *, before: bool = False) -> Captured:
    """The rows of `streams` for every unpadded position of the batch. `update` is derived from `residual`.

    With `before` also the rows of the stages before the decoder, from the same pass.
    Raises `OutOfMemory`, `BadExample` for an example whose rows are not finite, and `MicroscopeError` for a refused
    stream or when positions and embeddings disagree.
    """
    for stream in streams:
        if stream in model.refused:
            raise MicroscopeError(f"The {stream} stream of {model.name} is not shown: {model.refused[stream]}")
    try:
        with torch.no_grad(), quiet():
            captured = [_capture_part(model, part, streams, before) for part in batch.parts]
            joined = captured[0] if len(captured) == 1 else _joined(captured, batch)
    except (RuntimeError, ValueError, IndexError) as error:
        if lost_device(error):
            raise
        if is_out_of_memory(error):
            raise OutOfMemory(
                f"{len(batch)} examples with {batch.tokens:,} tokens do not fit into the memory of {model.device}: "
                "use smaller batches or fewer streams."
            ) from error
        named = batch.keys[0] if len(batch) == 1 else f"{batch.keys[0]} … {batch.keys[-1]}"
        raise BadExample(named, f"the model cannot use it ({one_line(error)})") from error
    _check_finite(model, batch, joined)
    return joined


def forward_states(model: OpenModel, part: Part, **options: Any) -> tuple[Any, list[Tensor], Call]:
    """A plain forward pass: its output (logits at last positions only), L+1 residual states (n, d), the decoder's call.

    `options` go to the model.
    """
    with (
        record_call(model.decoder.module) as calls,
        keep_last(model.head, part.last),
        record_states(model.decoder.layers, selector(part.rows)) as states,
    ):
        output = model.forward(part, **options)
    return output, states, calls[-1]


def main_states(decoder: Decoder, call: Call, part: Part) -> list[Tensor]:
    """The residual-free flow of a decoder called as in the plain pass: L+1 states (n, d), m_0 = h_0."""
    args, kwargs = call
    with residual_free(decoder), record_states(decoder.layers, selector(part.rows)) as states:
        decoder.module(*args, **kwargs)
    return states


def selector(rows: Tensor) -> Keep:
    """What is kept of hidden states (B, T, d): the valid rows (n, d), copied, so that nothing later can change them."""
    indices = {rows.device: rows}

    def keep(hidden: Tensor) -> Tensor:
        if hidden.device not in indices:
            indices[hidden.device] = rows.to(hidden.device)
        return hidden.detach().flatten(0, -2).index_select(0, indices[hidden.device])

    return keep


@contextmanager
def record_states(layers: Sequence[nn.Module], keep: Keep) -> Iterator[list[Tensor]]:
    """Within: record what enters each layer and what leaves the last one. Afterwards the list has L+1 entries."""
    states: list[Tensor] = []

    def enters(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        states.append(keep(entering(args, kwargs)))

    def leaves(_module: nn.Module, _args: tuple[Any, ...], output: Any) -> None:
        states.append(keep(first(output)))

    with ExitStack() as hooks:
        for layer in layers:
            hooks.callback(layer.register_forward_pre_hook(enters, with_kwargs=True).remove)
        hooks.callback(layers[-1].register_forward_hook(leaves).remove)
        yield states
    if len(states) != len(layers) + 1:
        raise MicroscopeError(
            f"A forward pass went through {len(states) - 1} layers of {len(layers)}: this decoder cannot be followed."
        )


@contextmanager
def record_call(module: nn.Module) -> Iterator[list[Call]]:
    """Within: record the arguments that a module is called with."""
    calls: list[Call] = []

    def called(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        calls.append((args, dict(kwargs)))

    handle = module.register_forward_pre_hook(called, with_kwargs=True)
    try:
        yield calls
    finally:
        handle.remove()


@contextmanager
def keep_last(head: nn.Module | None, last: Tensor) -> Iterator[None]:
    """Within: the output head sees the last valid position of each example only, so logits are (B, 1, V)."""
    if head is None:
        yield
        return

    def cut(_module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        hidden = args[0]
        if hidden.shape[1] == 1:
            return args
        at = last.to(hidden.device)
        return (hidden[torch.arange(len(at), device=hidden.device), at].unsqueeze(1), *args[1:])

    handle = head.register_forward_pre_hook(cut)
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def residual_free(decoder: Decoder) -> Iterator[None]:
    """Within: every block computes FFN(norm(Attn(norm(x)))) without its two additions."""
    with ExitStack() as hooks:
        for index, (layer, roles) in enumerate(zip(decoder.layers, decoder.roles, strict=True)):
            if roles is None:
                raise MicroscopeError(f"Block {index} has no residual-free forward: its shape is not known.")
            _cut(layer, roles, hooks)
        yield


def _cut(layer: nn.Module, roles: Roles, hooks: ExitStack) -> None:
    held: dict[str, Tensor] = {}

    def attended(_module: nn.Module, _args: tuple[Any, ...], output: Any) -> None:
        held["attention"] = first(output)

    def without_residual(_module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        return (held.pop("attention").reshape(args[0].shape), *args[1:])  # OPT has the rows of a batch in one

    def fed_forward(_module: nn.Module, _args: tuple[Any, ...], output: Any) -> None:
        held["ffn"] = first(output)

    def contribution_alone(_module: nn.Module, _args: tuple[Any, ...], output: Any) -> Any:
        alone = held.pop("ffn").view_as(first(output))
        return (alone, *output[1:]) if isinstance(output, tuple) else alone

    hooks.callback(roles.attention.register_forward_hook(attended).remove)
    hooks.callback(roles.pre_ffn.register_forward_pre_hook(without_residual).remove)
    hooks.callback(roles.ffn.register_forward_hook(fed_forward).remove)
    hooks.callback(layer.register_forward_hook(contribution_alone).remove)


def _capture_part(model: OpenModel, part: Part, streams: Sequence[Stream], before: bool) -> Captured:
    check_counts(part.modality, part.valid)
    tower = model.tower if before else None
    with record_before(tower) as seen:
        output, residual, call = forward_states(model, part)
    check_part_embeddings(model, part, call, residual[0])
    rows: dict[Stream, Sequence[Tensor]] = {}
    if Stream.RESIDUAL in streams or Stream.UPDATE in streams:
        rows[Stream.RESIDUAL] = residual
    if Stream.MAIN in streams:
        rows[Stream.MAIN] = main_states(model.decoder, call, part)
    at = part.rows
    width = part.valid.shape[1]
    return Captured(
        example=part.example[at // width],
        position=(part.valid.cumsum(1) - 1).flatten()[at],
        modality=part.modality.flatten()[at],
        group=part.group.flatten()[at],
        ids=part.ids.flatten()[at],
        rows=rows,
        last_logits=None if model.head is None else output.logits[:, -1].float(),
        before={} if tower is None else part_stages(tower, seen, part),
    )


def part_stages(tower: Tower, seen: TowerPass, part: Part) -> Mapping[str, Stage]:
    """The stages before the decoder that were seen in the pass of one part."""
    pictured = (part.modality == CODES[Modality.IMAGE]).sum(1)
    return stages_of(tower, seen, part.example, part.views, pictured)


def check_part_embeddings(model: OpenModel, part: Part, call: Call, entered: Tensor) -> None:
    """Cross-check of the positions of one forward pass: see `modality.check_embeddings`.

    What the decoder was given as embeddings is compared; some families scale them before the first layer.
    """
    at = part.rows
    given = call[1].get("inputs_embeds")
    embedded = entered if given is None else selector(at)(given)
    table = model.embed(part.ids.flatten()[at].clamp(min=0))
    check_embeddings(embedded, table.to(embedded), part.replaced.flatten()[at].to(embedded.device))


def _joined(parts: Sequence[Captured], batch: Batch) -> Captured:
    """Several parts as one, part after part."""
    example = torch.cat([part.example for part in parts])
    logits = [part.last_logits for part in parts if part.last_logits is not None]
    last: Tensor | None = None
    if logits:
        last = torch.cat(logits)
        last = last[torch.cat([part.example for part in batch.parts]).argsort().to(last.device)]
    return Captured(
        example=example,
        position=torch.cat([part.position for part in parts]),
        modality=torch.cat([part.modality for part in parts]),
        group=torch.cat([part.group for part in parts]),
        ids=torch.cat([part.ids for part in parts]),
        rows={
            stream: [torch.cat(layer) for layer in zip(*(part.rows[stream] for part in parts), strict=True)]
            for stream in parts[0].rows
        },
        last_logits=last,
        before=joined([part.before for part in parts]),
    )


def _check_finite(model: OpenModel, batch: Batch, captured: Captured) -> None:
    """A number that is not finite stays so through the layers above it: only the last is looked at every time."""
    for stream, layers in captured.rows.items():
        if bool(torch.isfinite(layers[-1]).all()):
            continue
        layer, rows = next((i, rows) for i, rows in enumerate(layers) if not bool(torch.isfinite(rows).all()))
        row = int((~torch.isfinite(rows)).any(-1).nonzero()[0])
        key = batch.keys[int(captured.example[row])]
        remedy = "" if model.dtype == "float32" else "; float32 may hold it"
        raise BadExample(key, f"its {stream} stream is not finite from layer {layer} on in {model.dtype}{remedy}")
