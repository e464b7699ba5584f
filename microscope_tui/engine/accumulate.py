"""Rows in, batch by batch, for each modality and captured stream; `profiles` makes profiles of what is kept.

Nothing here grows with the number of examples, but for the beginnings that are remembered where duplicates are left
out: 8 bytes for each that is new.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from microscope_tui.engine.left_out import LeftOut, Prefixes, sink_rows
from microscope_tui.engine.plan import Plan
from microscope_tui.engine.rows import KeptRows, below
from microscope_tui.engine.stages import Shapes, Stages
from microscope_tui.engine.threads import side_by_side
from microscope_tui.models.base import Captured
from microscope_tui.models.groups import NO_GROUP
from microscope_tui.models.modality import CODES
from microscope_tui.slices import Example
from microscope_tui.terms import Modality, Stream, captured_streams


def example_hash(key: str) -> int:
    """A stable number of an example, in [−2⁶³, 2⁶³): decides which of its rows are sampled."""
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest(), "big", signed=True)


class Accumulator:
    """All that a measurement keeps while it walks over a slice.

    `tokens` and `examples` count positions of each modality and the examples that have some, `groups` positions of
    each group of the model, `sinks` massive rows of each modality and captured stream: all of them, whether or not
    `left_out` says that they count.
    """

    def __init__(
        self,
        layers: int,
        width: int,
        *,
        modalities: Sequence[Modality],
        streams: Sequence[Stream],
        plan: Plan,
        budget: int,
        groups: Sequence[str],
        left_out: LeftOut,
        prefixes: Prefixes | None,
        shapes: Shapes,
    ) -> None:
        self.layers, self.width, self.device, self.tasks = layers, width, plan.device, plan.tasks
        self.modalities, self.streams = tuple(modalities), tuple(streams)
        self.left_out, self.prefixes = left_out, prefixes
        self.groups = dict.fromkeys(groups, 0)
        self._empty_rows = functools.partial(KeptRows, layers, width, plan=plan, budget=budget)
        self._empty_stages = functools.partial(Stages, shapes, plan=plan, budget=budget)
        self._clear()

    def _clear(self) -> None:
        """Begin with nothing, but for the beginnings of examples that were seen."""
        kinds = [(m, s) for m in self.modalities for s in captured_streams(self.streams)]
        self.tokens = dict.fromkeys(Modality, 0)
        self.examples = dict.fromkeys(Modality, 0)
        self.groups = dict.fromkeys(self.groups, 0)
        self.sinks = dict.fromkeys(kinds, 0)
        self.rows: dict[tuple[Modality, Stream], KeptRows] = {}  # what there is goes before its room is taken again
        self.rows = {kind: self._empty_rows() for kind in kinds}
        self.stages = self._empty_stages()

    def add(self, captured: Captured, examples: Sequence[Example], places: Sequence[int]) -> None:
        """Add one captured batch of these examples; `places` are theirs in the slice."""
        number, position = captured.example.cpu(), captured.position.cpu()
        hashes = torch.tensor([example_hash(each.key) for each in examples], dtype=torch.int64)
        example, place = hashes[number], torch.tensor(places, dtype=torch.int64)[number]
        self._count(captured.modality.cpu(), captured.group.cpu(), number)
        repeated = self.prefixes.repeated(captured, examples) if self.prefixes else torch.zeros_like(number).bool()
        updates: list[Callable[[], None]] = []
        for stream, layers in captured.rows.items():
            massive = sink_rows(layers, number, captured.modality.cpu())
            dropped = repeated | massive if self.left_out.sinks else repeated
            for modality in self.modalities:
                self.sinks[modality, stream] += int((captured.mask(modality).cpu() & massive).sum())
                keep = captured.mask(modality, without=self.left_out.codes).cpu() & ~dropped
                update = self.rows[modality, stream].update
                updates.append(functools.partial(update, layers, keep, example, position, place))
        for _ in side_by_side(updates, self.tasks):
            pass
        self.stages.add(captured, examples, hashes, torch.tensor(places), self.left_out, self.prefixes)

    def _count(self, modality: Tensor, group: Tensor, example: Tensor) -> None:
        for each, code in CODES.items():
            mask = modality == code
            self.tokens[each] += int(mask.sum())
            self.examples[each] += len(set(example[mask].tolist()))
        of_group = torch.bincount(group.long() - NO_GROUP, minlength=len(self.groups) + 1)[1:].tolist()
        for name, count in zip(self.groups, of_group, strict=True):
            self.groups[name] += count

    @property
    def nbytes(self) -> int:
        """About the bytes of `state_dict`."""
        return sum(rows.nbytes for rows in self.rows.values()) + self.stages.nbytes

    def counts(self) -> dict[str, dict[str, int]]:
        """All counts, for JSON."""
        return {
            "tokens": {str(m): n for m, n in self.tokens.items()},
            "examples": {str(m): n for m, n in self.examples.items()},
            "groups": dict(self.groups),
            "sinks": {f"{m} {s}": n for (m, s), n in self.sinks.items()},
        }

    def state_dict(self) -> dict[str, Tensor]:
        """All moments and samples as a flat dict of tensors on the CPU, for safetensors."""
        state = {
            f"{modality}.{stream}.{part}.{name}": tensor
            for (modality, stream), rows in self.rows.items()
            for part, state in rows.parts()
            for name, tensor in state.items()
        }
        for part, tensors in self.stages.parts():
            state |= {f"before.{part}.{name}": tensor for name, tensor in tensors.items()}
        return state if self.prefixes is None else state | {"prefixes": self.prefixes.state()}

    def load_state(self, state: Mapping[str, Tensor], counts: Mapping[str, Mapping[str, int]]) -> None:
        """Take over what `state_dict` and `counts` gave. What has not all of it raises, and leaves nothing behind."""
        try:
            for (modality, stream), rows in self.rows.items():
                rows.load_parts(below(state, f"{modality}.{stream}."))
            self.stages.load_parts(below(state, "before."))
            self.tokens = {m: counts["tokens"][m] for m in self.tokens}
            self.examples = {m: counts["examples"][m] for m in self.examples}
            self.groups = {name: counts["groups"][name] for name in self.groups}
            self.sinks = {(m, s): counts["sinks"][f"{m} {s}"] for m, s in self.sinks}
            if self.prefixes is not None:
                self.prefixes.load(state["prefixes"])
        except Exception:
            self._clear()
            raise
