"""Which rows count and what stands beside them: in what requests of the same model and slice may differ, and which of
them are near each other."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from microscope_tui.terms import Request

Variant = tuple[tuple[str, ...], bool, bool, bool, int | None]

LEFT_OUT: Final = ("sinks", "duplicates")
"""Rows that a key leaves out."""


def variant_of(request: Request) -> Variant:
    """What a request has of it."""
    return request.without, request.one_tile, request.before, request.reference, request.matched


def same_but_for_variant(one: Request, other: Request) -> bool:
    """Whether two requests differ in nothing but their variant."""
    without, one_tile, before, reference, matched = variant_of(one)
    return one == replace(
        other, without=without, one_tile=one_tile, before=before, reference=reference, matched=matched
    )


def near(request: Request) -> Iterator[Request]:
    """Requests of other variants, each once: those that are one key away, what is taken back before what is added, and
    then the usual one."""
    names = dict.fromkeys((*request.without, *LEFT_OUT))
    toggled = [
        *(replace(request, without=tuple({*request.without} ^ {name})) for name in names),
        replace(request, one_tile=not request.one_tile),
        replace(request, before=not request.before),
        replace(request, reference=not request.reference),
        *([replace(request, matched=None)] if request.matched else []),
    ]
    usual = replace(request, without=(), one_tile=False, before=False, reference=False, matched=None)
    yield from dict.fromkeys(each for each in (*sorted(toggled, key=_unusual), usual) if each != request)


def _unusual(request: Request) -> int:
    without, *others = variant_of(request)
    return len(without) + sum(map(bool, others))
