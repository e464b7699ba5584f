"""Running moments: count, means and centred scatter, exact under update, merge and subtraction.

Sums are kept in float64 whatever the rows' type. Two blocks of rows with counts n₁, n₂, means m₁, m₂ and
scatters S₁, S₂ (S = Σ (x − m)(x − m)ᵀ, not divided) combine as

    S = S₁ + S₂ + (n₁n₂/n) δδᵀ,   δ = m₂ − m₁        (Chan, Golub & LeVeque 1983)

so nothing is ever subtracted from a large uncentred sum. A row with NaN or infinity in any of the paired
layers is left out of all of them, so that the counts stay paired. It is counted where it happened: a
layer that held such a row is undefined (`nonfinite`), the other layers only lost a row (`left_out`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Self

import torch
from torch import Tensor

from microscope_tui.errors import MicroscopeError
from microscope_tui.geometry.paired import Moments, Spread
from microscope_tui.geometry.products import (
    add_cross,
    add_gram,
    centred,
    combination,
    gram_of,
    parts_of,
    rounded_pair,
    sum_of_directions,
)
from microscope_tui.geometry.rows import finite_rows

__all__ = ["ChainMoments", "Moments", "Spread"]

SLAB = 1_000_000
"""Numbers of consecutive layers that are worked on at once, where one layer has fewer."""


class ChainMoments:
    """Moments of one stream at consecutive layers h_0 … h_L: each layer's scatter once, and each neighbour pair.

    `layers` is L + 1. Attributes: `n`; `mean` (L+1, d); `gram` (L+1, d, d), the centred scatter of each layer;
    `cross` (L, d, d), of layer l with layer l + 1; `unit_sum` (L+1, d) and `units` (L+1,) for mean cosines;
    `nonfinite` (L+1,) rows with NaN or infinity at that layer; `left_out`, rows left out for that at any layer.

    Sums are float64. `dtype` is the type of the products: float64 (exact, the default) or float32, for which
    rows are centred in float64 first, partial sums of at most 1,024 rows are added in float64, and rows with a
    massive norm still go through float64.
    """

    def __init__(
        self, layers: int, width: int, *, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float64
    ) -> None:
        if layers < 1 or width < 1:
            raise MicroscopeError(f"moments need at least one layer of width 1, not {layers} of width {width}.")
        self.n = 0
        self.left_out = 0
        self.dtype = dtype

        def zeros(*shape: int) -> Tensor:
            return torch.zeros(shape, dtype=torch.float64, device=device)

        self.mean = zeros(layers, width)
        self.gram = zeros(layers, width, width)
        self.cross = zeros(layers - 1, width, width)
        self.unit_sum = zeros(layers, width)
        self.units = torch.zeros(layers, dtype=torch.int64)
        self.nonfinite = torch.zeros(layers, dtype=torch.int64)

    @property
    def layers(self) -> int:
        return len(self.mean)

    @property
    def width(self) -> int:
        return self.mean.shape[1]

    @property
    def device(self) -> torch.device:
        return self.mean.device

    def update(self, rows: Sequence[Tensor] | Tensor) -> Self:
        """Adds the same tokens at every layer, in place: L + 1 tensors (n, d), or one (L+1, n, d)."""
        if len(rows) != self.layers or any(r.shape != (len(rows[0]), self.width) for r in rows):
            shapes = sorted({tuple(r.shape) for r in rows})
            raise MicroscopeError(
                f"rows of shapes {shapes} at {len(rows)} layers cannot be added to moments of "
                f"{self.layers} layers of width {self.width}."
            )
        slabs = self._slabs([r.detach().to(self.device) for r in rows])
        finite = torch.cat([finite_rows(slab) for slab in slabs])
        whole = finite.all(0)
        self.nonfinite += (~finite).sum(1).cpu()
        self.left_out += int((~whole).sum())
        for part, kind in parts_of(slabs, whole, self.dtype):
            self._add(part, kind)
        return self

    def _slabs(self, rows: Sequence[Tensor]) -> list[Tensor]:
        """The rows of consecutive layers (n, d) stacked, as many as are small together: narrow rows cost little but
        for the number of operations on them."""
        size = max(1, SLAB // max(rows[0].numel(), 1))
        return [
            torch.stack(list(rows[i : i + size])) if size > 1 else rows[i][None] for i in range(0, self.layers, size)
        ]

    def _add(self, part: Sequence[Tensor], kind: torch.dtype) -> None:
        n, shift, weight = combination(self.n, part[0].shape[1], 1)
        before: Tensor | None = None
        grown: Tensor | None = None
        first = 0
        for slab in part:
            here = slice(first, first + len(slab))
            exact = slab.double()
            directions, known = sum_of_directions(exact)
            self.unit_sum[here] += directions
            self.units[here] += known.cpu()
            mean = exact.mean(1)
            delta = mean - self.mean[here]
            rows = centred(exact, mean, delta, weight)
            if kind == torch.float64:
                self._add_exact(first, rows, before)
            else:
                grown = self._add_rounded(first, rows, before, grown, kind)
            before = rows[-1]
            self.mean[here] += shift * delta
            first += len(slab)
        self.n = n

    def _add_exact(self, first: int, rows: Tensor, before: Tensor | None) -> None:
        """Products of the centred rows (s, m, d) of layers `first` …, and of the layer `before` (m, d) with them."""
        last = first + len(rows) - 1
        add_gram(self.gram[first : last + 1], rows, torch.float64)
        if before is not None:
            add_cross(self.cross[first - 1], before, rows[0], torch.float64)
        if last > first:
            add_cross(self.cross[first:last], rows[:-1], rows[1:], torch.float64)

    def _add_rounded(
        self, first: int, rows: Tensor, before: Tensor | None, grown: Tensor | None, kind: torch.dtype
    ) -> Tensor:
        """The same in less than float64 (see `rounded_pair`). `grown` and what is returned: the Gram product of the
        layer before, and of the last one."""
        for layer, here in enumerate(rows, first):
            if before is None or grown is None:
                grown = gram_of(here, kind)
            else:
                cross, grown = rounded_pair(before, here, grown, kind)
                self.cross[layer - 1] += cross
            self.gram[layer] += grown
            before = here
        assert grown is not None
        return grown

    def __add__(self, other: ChainMoments) -> ChainMoments:
        return self._combine(other, 1)

    def __sub__(self, other: ChainMoments) -> ChainMoments:
        """The moments without the rows of `other`, which must be among these."""
        return self._combine(other, -1)

    def merge(self, other: ChainMoments) -> ChainMoments:
        """The moments of both sets of rows together; the same as `self + other`."""
        return self + other

    def _combine(self, other: ChainMoments, sign: int) -> ChainMoments:
        if self.mean.shape != other.mean.shape:
            raise MicroscopeError(
                f"moments of {self.layers} layers of width {self.width} and of {other.layers} layers of width "
                f"{other.width} cannot be combined."
            )
        both = ChainMoments.__new__(ChainMoments)
        both.dtype = self.dtype
        both.n, shift, weight = combination(self.n, other.n, sign)
        there = {name: getattr(other, name).to(self.device) for name in ("mean", "gram", "cross", "unit_sum")}
        delta = there["mean"] - self.mean
        both.mean = self.mean + shift * delta
        both.gram = self.gram + sign * there["gram"]
        both.gram += weight * delta[:, :, None] * delta[:, None, :]
        both.cross = self.cross + sign * there["cross"]
        both.cross += weight * delta[:-1, :, None] * delta[1:, None, :]
        both.unit_sum = self.unit_sum + sign * there["unit_sum"]
        both.units = self.units + sign * other.units
        both.nonfinite = self.nonfinite + sign * other.nonfinite
        both.left_out = self.left_out + sign * other.left_out
        return both

    def block(self, index: int) -> Moments:
        """Moments of (h_l, h_{l+1}) for block l. Shares memory with the chain."""
        return Moments(
            self.n,
            self.mean[index],
            self.mean[index + 1],
            self.gram[index],
            self.cross[index],
            self.gram[index + 1],
            int(self.nonfinite[index : index + 2].max()),
            self.left_out,
        )

    def layer(self, index: int) -> Spread:
        """Moments of h_l alone. Shares memory with the chain."""
        return Spread(
            self.n,
            self.mean[index],
            self.gram[index],
            self.unit_sum[index],
            int(self.units[index]),
            int(self.nonfinite[index]),
            self.left_out,
        )

    def update_of(self, index: int) -> Spread:
        """Moments of what block l adds, h_{l+1} − h_l. Its mean cosine is not known."""
        difference = self.block(index).difference()
        return Spread(
            self.n,
            difference.mean_y,
            difference.yy,
            torch.zeros_like(difference.mean_y),
            None,
            difference.nonfinite,
            self.left_out,
        )

    def state_dict(self) -> dict[str, Tensor]:
        """All of it as a flat dict of tensors on the CPU, for safetensors."""
        tensors = {name: getattr(self, name).cpu().contiguous() for name in _TENSORS}
        return tensors | {"counts": torch.tensor([self.n, self.left_out], dtype=torch.int64)}

    @classmethod
    def from_state_dict(
        cls,
        state: Mapping[str, Tensor],
        *,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float64,
    ) -> Self:
        """The moments that `state_dict` wrote."""
        missing = [name for name in (*_TENSORS, "counts") if name not in state]
        if missing:
            raise MicroscopeError(f"these are no saved moments: {', '.join(missing)} is missing.")
        layers, width = state["mean"].shape
        chain = cls.__new__(cls)
        chain.dtype = dtype
        shapes = {"mean": (layers, width), "gram": (layers, width, width), "cross": (layers - 1, width, width)}
        for name in _TENSORS:
            if name in shapes and state[name].shape != shapes[name]:
                raise MicroscopeError(f"these saved moments are damaged: {name} has shape {tuple(state[name].shape)}.")
            # A copy in memory of torch's own: what a file was read into may begin anywhere, and products may round
            # otherwise there.
            setattr(chain, name, state[name].to("cpu" if name in ("units", "nonfinite") else device, copy=True))
        chain.n, chain.left_out = (int(v) for v in state["counts"])
        return chain


_TENSORS = ("mean", "gram", "cross", "unit_sum", "units", "nonfinite")
