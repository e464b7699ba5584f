"""A bounded, reproducible sample of token rows for what needs points, not moments.

Bottom-k sampling: every token has a 64-bit hash of (example, position); the sample is the tokens with the
smallest hashes. Which tokens those are does not depend on the order, the batches or the machine that saw
them, so shards merge exactly and a token seen twice counts once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Self

import torch
from torch import Tensor

from microscope_tui.errors import MicroscopeError


def token_hash(example: Tensor, position: Tensor) -> Tensor:
    """A well-mixed 64-bit hash of (example, position), int64 (n,): two rounds of splitmix64, wrapping."""
    return _mix(_mix(example.to(torch.int64)) + position.to(torch.int64))


class Sample:
    """At most `budget` tokens at every layer, those with the smallest hashes.

    The rows are kept on the CPU in the type they came in. Read them by `rows(layer)` (k, d), and their
    examples by `groups` (k,); both are in the order of the hash.
    """

    def __init__(self, budget: int) -> None:
        if budget < 1:
            raise MicroscopeError(f"a sample of {budget} tokens is empty: keep 1 or more.")
        self.budget = budget
        self._keys = torch.empty(0, dtype=torch.int64)
        self._example = torch.empty(0, dtype=torch.int64)
        self._position = torch.empty(0, dtype=torch.int64)
        self._rows: Tensor | None = None

    def __len__(self) -> int:
        return len(self._keys)

    @property
    def layers(self) -> int:
        return 0 if self._rows is None else len(self._rows)

    @property
    def groups(self) -> Tensor:
        """The example hash of each kept token, int64 (k,)."""
        return self._example[self._order()]

    @property
    def positions(self) -> Tensor:
        """The position of each kept token in its example, int64 (k,)."""
        return self._position[self._order()]

    def rows(self, layer: int) -> Tensor:
        """The kept tokens' rows at one layer, (k, d)."""
        if self._rows is None:
            raise MicroscopeError("the sample holds no tokens yet.")
        return self._rows[layer, : len(self)][self._order()]

    def update(self, example: Tensor, position: Tensor, rows: Sequence[Tensor] | Tensor) -> Self:
        """Offers tokens, in place: `example`, `position` int64 (n,), `rows` L + 1 tensors (n, d)."""
        if any(len(r) != len(example) for r in rows) or len(position) != len(example):
            raise MicroscopeError("every token of a sample needs its example, its position and a row at each layer.")
        example, position = example.cpu().to(torch.int64), position.cpu().to(torch.int64)
        keys = token_hash(example, position)
        _, first = _unique_first(keys)
        new = first[~torch.isin(keys[first], self._keys)]
        new = new[torch.argsort(keys[new])][: self.budget]
        if len(self) == self.budget and len(new):
            new = new[keys[new] < self._keys.max()]
        if not len(new):
            return self
        slots = self._free_slots(keys[new])
        new = new[: len(slots)]
        self._reserve(rows)
        assert self._rows is not None
        for layer, r in enumerate(rows):
            self._rows[layer, slots] = r[new.to(r.device)].detach().to("cpu", self._rows.dtype)
        for name, values in (("_keys", keys), ("_example", example), ("_position", position)):
            kept = getattr(self, name)
            grown = torch.cat([kept, kept.new_zeros(max(0, int(slots.max()) + 1 - len(kept)))])
            grown[slots] = values[new]
            setattr(self, name, grown)
        return self

    def merge(self, other: Sample) -> Sample:
        """The sample of both sets of tokens together, with the smaller budget of the two."""
        both = Sample(min(self.budget, other.budget))
        for part in (self, other):
            if part._rows is not None:
                both.update(part._example, part._position, part._rows[:, : len(part)])
        return both

    def state_dict(self) -> dict[str, Tensor]:
        """All of it as a flat dict of tensors, in the order of the hash, for safetensors."""
        order = self._order()
        rows = torch.empty(0, 0, 0) if self._rows is None else self._rows[:, : len(self)][:, order].contiguous()
        return {
            "budget": torch.tensor([self.budget]),
            "example": self._example[order],
            "position": self._position[order],
            "rows": rows,
        }

    @classmethod
    def from_state_dict(cls, state: Mapping[str, Tensor]) -> Self:
        """The sample that `state_dict` wrote."""
        missing = [name for name in ("budget", "example", "position", "rows") if name not in state]
        if missing:
            raise MicroscopeError(f"this is no saved sample: {', '.join(missing)} is missing.")
        sample = cls(int(state["budget"]))
        return sample.update(state["example"], state["position"], state["rows"]) if len(state["example"]) else sample

    def _order(self) -> Tensor:
        return torch.argsort(self._keys)

    def _free_slots(self, keys: Tensor) -> Tensor:
        """Where tokens with these sorted keys go: unused slots first, then those of the largest keys they beat."""
        unused = torch.arange(len(self), min(self.budget, len(self) + len(keys)))
        left = keys[len(unused) :]
        order = torch.argsort(self._keys, descending=True)[: len(left)]
        beaten = order[left[: len(order)] < self._keys[order]] if len(left) else order[:0]
        return torch.cat([unused, beaten])

    def _reserve(self, rows: Sequence[Tensor] | Tensor) -> None:
        if self._rows is None:
            self._rows = torch.empty(len(rows), self.budget, rows[0].shape[1], dtype=rows[0].dtype)
        elif (len(rows), rows[0].shape[1]) != (self._rows.shape[0], self._rows.shape[2]):
            raise MicroscopeError(
                f"rows of {len(rows)} layers of width {rows[0].shape[1]} do not fit a sample of "
                f"{self._rows.shape[0]} layers of width {self._rows.shape[2]}."
            )


def _mix(x: Tensor) -> Tensor:
    """splitmix64's finaliser in wrapping int64 arithmetic."""
    x = x + _signed(0x9E3779B97F4A7C15)
    x = (x ^ _shift(x, 30)) * _signed(0xBF58476D1CE4E5B9)
    x = (x ^ _shift(x, 27)) * _signed(0x94D049BB133111EB)
    return x ^ _shift(x, 31)


def _signed(value: int) -> int:
    return value - 2**64 if value >= 2**63 else value


def _shift(x: Tensor, bits: int) -> Tensor:
    """Logical right shift of int64."""
    shifted: Tensor = (x >> bits) & (2 ** (64 - bits) - 1)
    return shifted


def _unique_first(keys: Tensor) -> tuple[Tensor, Tensor]:
    """The distinct keys, sorted, and the index of the first token with each."""
    values, inverse = torch.unique(keys, return_inverse=True)
    first = torch.full((len(values),), len(keys), dtype=torch.int64)
    first.scatter_reduce_(0, inverse, torch.arange(len(keys)), "amin")
    return values, first
