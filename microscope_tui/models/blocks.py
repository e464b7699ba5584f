"""Where a decoder's blocks are, and which of their modules play which role."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from microscope_tui.errors import MicroscopeError

FEED_FORWARD = ("mlp", "feed_forward", "block_sparse_moe")
FINAL_NORM = ("norm", "final_layernorm", "final_layer_norm", "ln_f")


@dataclass(frozen=True)
class Roles:
    """The modules of a block x + Attn(norm(x)) + FFN(norm(·)) that its residual-free forward is cut at.

    `attention` and `ffn` are the modules whose outputs the block adds; `pre_ffn` is the norm that reads their sum.
    """

    attention: nn.Module
    pre_ffn: nn.Module
    ffn: nn.Module


@dataclass(frozen=True)
class Decoder:
    """A decoder: the module that holds the blocks, the blocks, the final norm, and each block's roles if it fits."""

    module: nn.Module
    layers: tuple[nn.Module, ...]
    norm: nn.Module | None
    roles: tuple[Roles | None, ...]


def find_decoder(network: Any) -> Decoder:
    """The decoder inside a transformers model. Raises `MicroscopeError` when there is none with a list of layers."""
    module: Any = network
    seen: set[int] = set()
    while not isinstance(getattr(module, "layers", None), nn.ModuleList):
        seen.add(id(module))
        inner = module.get_decoder() if hasattr(module, "get_decoder") else None
        if inner is None or id(inner) in seen:
            inner = getattr(module, "model", None)
        if inner is None or id(inner) in seen:
            raise MicroscopeError(
                f"{type(network).__name__} has no decoder with a list of layers that could be looked into."
            )
        module = inner
    layers = tuple(module.layers)
    if not layers:
        raise MicroscopeError(f"The decoder of {type(network).__name__} has no layers: mend its config.json.")
    norm = next((m for name in FINAL_NORM if isinstance(m := getattr(module, name, None), nn.Module)), None)
    return Decoder(module, layers, norm, tuple(find_roles(layer) for layer in layers))


def find_roles(layer: nn.Module) -> Roles | None:
    """The roles of a block by the names of its modules, None for a block of another shape.

    Gemma 2 and 3 normalise the contributions too, so that there the outer norms' outputs are what the block adds. OPT
    has its feed-forward's two maps side by side with the rest.
    Names only propose: the self-check decides whether the block is what they say.
    """
    modules = dict(layer.named_children())
    if {"post_attention_layernorm", "pre_feedforward_layernorm", "post_feedforward_layernorm"} <= modules.keys():
        return Roles(
            attention=modules["post_attention_layernorm"],
            pre_ffn=modules["pre_feedforward_layernorm"],
            ffn=modules["post_feedforward_layernorm"],
        )
    if {"self_attn", "final_layer_norm", "fc2"} <= modules.keys():
        return Roles(attention=modules["self_attn"], pre_ffn=modules["final_layer_norm"], ffn=modules["fc2"])
    ffn = next((modules[name] for name in FEED_FORWARD if name in modules), None)
    if ffn is None or not {"self_attn", "post_attention_layernorm"} <= modules.keys():
        return None
    return Roles(attention=modules["self_attn"], pre_ffn=modules["post_attention_layernorm"], ffn=ffn)


def first(output: Any) -> Tensor:
    """The hidden states of a module's output: itself, or the first of a tuple."""
    tensor = output[0] if isinstance(output, tuple) else output
    if not isinstance(tensor, Tensor):
        raise MicroscopeError(f"A block gave {type(tensor).__name__} where hidden states were expected.")
    return tensor


def entering(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    """The hidden states that a block or a norm is called with."""
    return first(args) if args else first(kwargs.get("hidden_states"))
