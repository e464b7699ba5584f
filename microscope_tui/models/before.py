"""Before the decoder: the vision tower's layers and the connector's output, as earlier layers of the image modality.

A picture becomes one view or several; each goes through the tower as a sequence of patches and through the connector,
whose rows are what enters the decoder (or, in families that pack or pool further, what it is made of). Rows of
different stages have different widths and there are different numbers of them, so each stage says of its own rows
which example and which place in it they are from.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from microscope_tui.errors import MicroscopeError
from microscope_tui.models.blocks import entering, first

TOWER, CONNECTOR = "vision tower", "connector"

TOWERS = ("vision_tower", "vision_model", "visual", "vision_encoder")
CONNECTORS = (
    "multi_modal_projector",
    "connector",
    "mm_projector",
    "vision_projection",
    "language_projection",
    "embed_vision",
)


@dataclass(frozen=True)
class Tower:
    """A vision tower's blocks and the connector behind it.

    The first `used` of the tower's hidden states are those up to the last one that the connector reads. `patches` is
    the number of patches of a view where the configuration tells it: a sequence one longer begins with a class token,
    which is left out.
    """

    layers: tuple[nn.Module, ...]
    connector: nn.Module
    used: int
    patches: int | None


@dataclass(frozen=True)
class Stage:
    """Rows of one stage before the decoder, for the m positions that the pictures of a batch have there.

    `rows` are consecutive states of equal width, tensors (m, w): of the tower its layers from what enters the first
    one on, of the connector its output alone. `example` (m,) int64 indexes the batch; `position` (m,) int64 counts
    the example's own rows in this stage, view by view.
    """

    rows: Sequence[Tensor]
    example: Tensor
    position: Tensor


@dataclass
class TowerPass:
    """What the hooks saw in one pass: states of all views (V, S, w), and the connector's output."""

    states: list[Tensor] = field(default_factory=list)
    projected: list[Tensor] = field(default_factory=list)


def find_tower(network: Any) -> Tower | None:
    """The tower of a transformers model by the names of its modules, None for one without.

    Names only propose: a probe decides whether what they name can be followed.
    """
    tower, connector = named(network, TOWERS), named(network, CONNECTORS)
    if tower is None or connector is None:
        return None
    return tower_of(tower, connector, getattr(network.config, "vision_feature_layer", None))


def named(network: nn.Module, names: Sequence[str]) -> nn.Module | None:
    """The outermost module that has the first of these names that any has, None where none has one."""
    modules = {name.rpartition(".")[2]: module for name, module in reversed(list(network.named_modules()))}
    return next((modules[name] for name in names if name in modules), None)


def tower_of(tower: nn.Module, connector: nn.Module, layer: object) -> Tower | None:
    """A tower's blocks, the first list of modules in it, up to the hidden state `layer`, or the last of several.

    Where `layer` is neither a number nor numbers, all of the tower is taken to be read.
    """
    blocks = next((m for m in tower.modules() if isinstance(m, nn.ModuleList) and len(m)), None)
    if blocks is None:
        return None
    states = len(blocks) + 1
    layers = layer if isinstance(layer, list | tuple) else [layer]
    read = [n % states for n in layers if isinstance(n, int) and -states <= n < states]
    return Tower(tuple(blocks), connector, max(read, default=states - 1) + 1, _patches(getattr(tower, "config", None)))


@contextmanager
def record_before(tower: Tower | None) -> Iterator[TowerPass]:
    """Within: record the tower's states and what the connector makes of them."""
    seen = TowerPass()

    def enters(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        seen.states.append(entering(args, kwargs).detach().clone())

    def leaves(_module: nn.Module, _args: tuple[Any, ...], output: Any) -> None:
        seen.states.append(first(output).detach().clone())

    def projects(_module: nn.Module, _args: tuple[Any, ...], output: Any) -> None:
        seen.projected.append(first(output).detach().clone())

    with ExitStack() as hooks:
        if tower is not None:
            for layer in tower.layers[: tower.used]:
                hooks.callback(layer.register_forward_pre_hook(enters, with_kwargs=True).remove)
            if tower.used > len(tower.layers):
                hooks.callback(tower.layers[-1].register_forward_hook(leaves).remove)
            hooks.callback(tower.connector.register_forward_hook(projects).remove)
        yield seen


def stages_of(
    tower: Tower, seen: TowerPass, example: Tensor, views: Tensor | None, pictured: Tensor
) -> Mapping[str, Stage]:
    """The stages of one pass, empty for a pass without pictures.

    `example` (B,) are the examples of its rows, `views` (B,) the views of each; where None, every view is taken to
    give the same number of decoder positions, of which each row has `pictured` (B,). Raises `MicroscopeError` when
    what was seen cannot be told apart by example.
    """
    if not seen.states and not seen.projected:
        return {}
    shapes = {state.shape for state in seen.states}
    if len(seen.states) != tower.used or len(seen.projected) != 1 or len(shapes) != 1 or seen.states[0].ndim != 3:
        raise MicroscopeError(
            f"A pass went {len(seen.states)} times through {tower.used} layers of the vision tower and "
            f"{len(seen.projected)} times through the connector: this tower cannot be followed."
        )
    states = _by_token(seen.states, tower, int(pictured.sum()))
    count = len(states[0])
    of_view = example.repeat_interleave(_views(views, pictured, count))
    classes = int(tower.patches is not None and states[0].shape[1] == tower.patches + 1)
    projected = seen.projected[0].flatten(0, -2)
    if len(of_view) != count or len(projected) % count:
        raise MicroscopeError(
            f"The vision tower took {count} views where {len(of_view)} were made, or its connector does not give them "
            "equal parts: this tower cannot be followed."
        )
    tower_rows = [state[:, classes:].flatten(0, 1) for state in states]
    return {TOWER: _stage(tower_rows, of_view), CONNECTOR: _stage([projected], of_view)}


def joined(stages: Sequence[Mapping[str, Stage]]) -> Mapping[str, Stage]:
    """The stages of several passes as one, pass after pass."""
    found = [each for each in stages if each]
    if len(found) < 2:
        return found[0] if found else {}
    return {
        name: Stage(
            [torch.cat(layer) for layer in zip(*(each[name].rows for each in found), strict=True)],
            torch.cat([each[name].example for each in found]),
            torch.cat([each[name].position for each in found]),
        )
        for name in found[0]
    }


def _stage(rows: Sequence[Tensor], of_view: Tensor) -> Stage:
    """`rows` are of equally many positions for each view, `of_view` (V,) the example of each view in order."""
    example = of_view.repeat_interleave(len(rows[0]) // len(of_view))
    starts = torch.searchsorted(example, example)  # views are in the order of their examples
    position = torch.arange(len(example), device=example.device) - starts
    return Stage(rows, example, position)


def _by_token(states: Sequence[Tensor], tower: Tower, tokens: int) -> Sequence[Tensor]:
    """States of one sequence that holds all pictures of a pass (Pixtral), as one view for each of the decoder's tokens.

    In any other family they stay as they are.
    """
    views, patches, width = states[0].shape
    packed = views == 1 and tokens > 0 and patches % tokens == 0 and patches - 1 != tower.patches
    return [state.reshape(tokens, patches // tokens, width) for state in states] if packed else states


def _views(views: Tensor | None, pictured: Tensor, count: int) -> Tensor:
    """(B,) the views of each row, by equal shares of `pictured` where they are not known."""
    if views is not None:
        return views
    each, rest = divmod(int(pictured.sum()), count)
    if rest or not each or bool((pictured % each).any()):
        raise MicroscopeError(
            "The views of the vision tower are not equal parts of the pictures of the examples: measure without the "
            "stages before the decoder."
        )
    return pictured // each


def _patches(config: Any) -> int | None:
    size, patch = getattr(config, "image_size", None), getattr(config, "patch_size", None)
    return (size // patch) ** 2 if isinstance(size, int) and isinstance(patch, int) and patch else None
