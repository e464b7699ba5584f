"""OmniFusion's projection and special embeddings: our own module, filled from safetensors or through an allow-list.

The published `projection.pt` is a whole pickled module. It is read with torch's restricted unpickler and exactly the
eight names it needs, each standing for an inert class that only holds what is put into it. Its tensors are then taken
out by name. A file that asks for any other name is refused before anything in it is interpreted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from microscope_tui.catalogue.checkpoints import omnifusion_file
from microscope_tui.errors import MicroscopeError, one_line
from microscope_tui.models.unpickle import read_restricted

ALLOWED = (
    "models.VisualToGPTMapping",
    "torch.nn.modules.transformer.TransformerEncoderLayer",
    "torch.nn.modules.activation.MultiheadAttention",
    "torch.nn.modules.linear.NonDynamicallyQuantizableLinear",
    "torch.nn.modules.linear.Linear",
    "torch.nn.modules.normalization.LayerNorm",
    "torch.nn.modules.dropout.Dropout",
    "torch.nn.functional.relu",
)

ACTIVATIONS: Mapping[str, Callable[[Tensor], Tensor]] = {"relu": nn.functional.relu, "gelu": nn.functional.gelu}

MARKS = ("SOI", "EOI", "USER", "BOT")
"""Start and end of image, the user's turn, the bot's turn."""

DEPTH = 8
"""Modules in modules in the pickled projection, at most: a file that refers to itself has no end."""


class Inert:
    """Stands for every allowed name: it can be made with any arguments and holds a state, and does nothing."""

    held: Mapping[str, Any]

    def __new__(cls, *_args: Any) -> Inert:
        made = super().__new__(cls)
        made.held = {}
        return made

    def __init__(self, *_args: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        self.held = state if isinstance(state, dict) else {}


STAND_INS = tuple((Inert, name) for name in ALLOWED)


class Projection(nn.Module):
    """Vision features (P, patches, d_vision) to embeddings (P, patches, d): a post-norm encoder layer, a linear map.

    Sizes are those of the tensors. In evaluation torch runs the encoder layer as one fused operation, as the published
    code does.
    """

    def __init__(self, state: Mapping[str, Tensor], *, heads: int, activation: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        feed_forward, width = state["transformer_layer.linear1.weight"].shape
        self.transformer_layer = nn.TransformerEncoderLayer(
            width, heads, feed_forward, activation=activation, batch_first=True, norm_first=False
        )
        self.linear = nn.Linear(width, state["linear.weight"].shape[0])
        self.load_state_dict(dict(state))
        self.eval()

    def forward(self, features: Tensor) -> Tensor:
        projected: Tensor = self.linear(self.transformer_layer(features))
        return projected


def load_projection(folder: Path, settings: Mapping[str, Any]) -> Projection:
    """The projection in `folder`. Raises `MicroscopeError` for a file that is missing, hostile, old or another's."""
    file = omnifusion_file(folder, "projection")
    state = _state(read_restricted(file, STAND_INS)) if file.suffix == ".pt" else _read_safetensors(file)
    activation = ACTIVATIONS.get(settings["activation"])
    if activation is None:
        raise MicroscopeError(
            f"OmniFusion's projection has no activation {settings['activation']!r}: use {', '.join(ACTIVATIONS)}."
        )
    try:
        return Projection(state, heads=settings["nhead"], activation=activation)
    except (KeyError, RuntimeError, ValueError, AssertionError, ZeroDivisionError) as error:
        raise MicroscopeError(
            f"{file} is not OmniFusion's projection, a transformer encoder layer and a linear map ({one_line(error)})."
        ) from error


def load_special(folder: Path, width: int) -> dict[str, Tensor]:
    """The embeddings SOI, EOI, USER and BOT, each (rows, width). Raises `MicroscopeError` as `load_projection` does."""
    file = omnifusion_file(folder, "special_embeddings")
    loaded = read_restricted(file, STAND_INS) if file.suffix == ".pt" else _read_safetensors(file)
    found: dict[str, Tensor] = {}
    for name in MARKS:
        vector = loaded.get(name) if isinstance(loaded, dict) else None
        if not isinstance(vector, Tensor) or not vector.numel() or vector.numel() % width:
            raise MicroscopeError(f"{file} has no embedding {name} of width {width}: it belongs to another model.")
        if not bool(torch.isfinite(vector).all()):
            raise MicroscopeError(f"The embedding {name} in {file} is not finite: download the file again.")
        found[name] = vector.detach().reshape(-1, width)
    return found


def _state(module: Any, prefix: str = "", depth: int = 0) -> dict[str, Tensor]:
    """The parameters of a pickled module and of those in it, by dotted name."""
    if not isinstance(module, Inert) or depth > DEPTH:
        return {}
    state: dict[str, Tensor] = {}
    for name, parameter in _dict(module.held.get("_parameters")).items():
        if isinstance(parameter, Tensor):
            state[f"{prefix}{name}"] = parameter.detach()
    for name, inner in _dict(module.held.get("_modules")).items():
        state |= _state(inner, f"{prefix}{name}.", depth + 1)
    return state


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _read_safetensors(file: Path) -> dict[str, Tensor]:
    try:
        return load_file(file)
    except (SafetensorError, OSError) as error:
        raise MicroscopeError(f"{file} is not a readable safetensors file ({error}): download it again.") from error
