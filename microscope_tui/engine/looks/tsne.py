"""t-SNE of sampled rows by scikit-learn, layer after layer (van der Maaten & Hinton 2008, JMLR 9:2579)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from microscope_tui.errors import MicroscopeError
from microscope_tui.settings import how_to_install

PERPLEXITY = 30.0
"""About how many neighbours each row is drawn to; fewer where there are few rows."""

START = 1e-4
"""Standard deviation of the places that it starts from (Kobak & Berens 2019, Nature Communications 10:5416)."""

Embed = Callable[[Tensor, Tensor], Tensor]
"""(n, d) rows and (n, 2) places to start from, to (n, 2) places."""


def embedding() -> Embed:
    """t-SNE, if the library is there. Raises `MicroscopeError`."""
    try:
        from sklearn.manifold import TSNE
    except ImportError:
        raise MicroscopeError(
            f"A map by t-SNE needs scikit-learn, which is not installed: {how_to_install('maps')}."
        ) from None
    return partial(_embedded, TSNE)


def _embedded(kind: type, rows: Tensor, start: Tensor) -> Tensor:
    """`start` makes it the same whenever it is run; the map is turned to where it fits `start` best, for t-SNE has no
    direction (orthogonal Procrustes: Schönemann 1966, Psychometrika 31:1)."""
    begin = start.double() - start.double().mean(0)
    begin = begin * (START / begin.std().clamp(min=torch.finfo(torch.float64).tiny))
    made = kind(n_components=2, perplexity=perplexity(len(rows)), init=begin.float().numpy(), random_state=0)
    places: Tensor = torch.from_numpy(made.fit_transform(rows.float().cpu().numpy())).double()
    places -= places.mean(0)
    left, _, right = torch.linalg.svd(places.T @ begin)
    turned: Tensor = places @ (left @ right)
    return turned


def perplexity(count: int) -> float:
    """The perplexity for so many rows: it must be less than their number."""
    return min(PERPLEXITY, (count - 1) / 3)
