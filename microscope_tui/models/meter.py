"""Progress bars of other libraries as phases for people."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

OnPhase = Callable[[str], None]

STEP = 10
"""Per cent between two reports of progress."""


class Meter:
    """Stands in for a tqdm bar: every `STEP` per cent goes to `on_phase`, nothing to the terminal."""

    format_dict: Mapping[str, Any] = {}

    def __init__(
        self,
        iterable: Any = None,
        *,
        desc: str = "",
        total: float | None = None,
        unit: str = "it",
        on_phase: OnPhase,
        **_options: Any,
    ) -> None:
        self.iterable = iterable
        self.desc = desc or "loading"
        self.total = total if total is not None else (len(iterable) if hasattr(iterable, "__len__") else None)
        self.unit = unit
        self.n = 0.0
        self._on_phase = on_phase
        self._told = ""

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
            self.tell(f"{self.desc.lower()} {int(100 * self.n / self.total) // STEP * STEP} %")

    def tell(self, phase: str) -> None:
        """Pass a phase on, once."""
        if phase != self._told:
            self._told = phase
            self._on_phase(phase)

    def close(self) -> None:
        """Nothing was opened."""

    def refresh(self, *_values: Any, **_options: Any) -> None:
        """Nothing is drawn."""

    set_postfix = set_postfix_str = set_description = set_description_str = refresh
