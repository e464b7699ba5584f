"""A look into the slice under a picker's cursor: its size and its first examples, read by the worker."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from microscope_tui.inspection import Preview
from microscope_tui.terms import JobKind, Request
from microscope_tui.tui.content.browse import glimpse
from microscope_tui.tui.data.looks import Look, Looks


class Peek:
    """One picker's look; `watchers` are called when the worker tells more."""

    def __init__(
        self, looks: Looks, watchers: list[Callable[[], None]], requests: Callable[[str], Iterable[Request]]
    ) -> None:
        self._looks, self._watchers, self._requests = looks, watchers, requests
        self._told: Callable[[], None] = lambda: None
        self._look: Look | None = None

    def watch(self, told: Callable[[], None]) -> None:
        """Call `told` whenever there may be other lines."""
        self._told = told
        self._watchers.append(told)

    def at(self, name: str) -> None:
        """Look into the slice of this name, into none for an empty one; nobody waits for the one before."""
        request = next(iter(self._requests(name)), None) if name else None
        look = Look(request, JobKind.PREVIEW) if request else None
        if look == self._look:
            return
        self._look = look
        self._looks.wait(self, [look] if look else [])
        if look:
            self._looks.ask(look)
        self._told()

    def leave(self) -> None:
        if self._told in self._watchers:
            self._watchers.remove(self._told)
        self._looks.wait(self, ())

    @property
    def lines(self) -> Sequence[str]:
        """What is known of it."""
        if self._look is None:
            return ()
        seen = self._looks.of(self._look)
        if isinstance(seen.value, Preview):
            return glimpse(seen.value)
        return [seen.error or "reading its first examples …"]
