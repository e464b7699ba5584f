"""Progress bars of other libraries as progress of ours."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from microscope_tui.terms import Progress

OnProgress = Callable[[Progress], None]

STEP = 10
"""Per cent between two reports of progress."""


class Meter:
    """Stands in for a tqdm bar: every `STEP` per cent goes to `on_progress`, nothing to the terminal."""

    format_dict: Mapping[str, Any] = {}

    def __init__(
        self,
        iterable: Any = None,
        *,
        desc: str = "",
        total: float | None = None,
        unit: str = "it",
        on_progress: OnProgress,
        **_options: Any,
    ) -> None:
        self.iterable = iterable
        self.desc = desc or "loading"
        self.total = total if total is not None else (len(iterable) if hasattr(iterable, "__len__") else None)
        self.unit = unit
        self.n = 0.0
        self._on_progress = on_progress
        self._told: Progress | None = None

    def __iter__(self) -> Iterator[Any]:
        for item in self.iterable:
            yield item
            self.update()

    def __enter__(self) -> Meter:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def update(self, n: float | None = 1) -> None:
        """Count `n` more."""
        self.n += n or 0
        if self.total:
            self.tell(Progress(self.desc.lower(), percent=int(100 * self.n / self.total) // STEP * STEP))

    def tell(self, progress: Progress) -> None:
        """Pass it on, once."""
        if progress != self._told:
            self._told = progress
            self._on_progress(progress)

    def close(self) -> None:
        """Nothing was opened."""

    def refresh(self, *_values: Any, **_options: Any) -> None:
        """Nothing is drawn."""

    set_postfix = set_postfix_str = set_description = set_description_str = refresh
