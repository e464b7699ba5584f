"""A function that keeps the arguments of its calls."""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


def counted(function: Callable[P, R], calls: list[tuple[object, ...]]) -> Callable[P, R]:
    """`function`, with the positional arguments of each call appended to `calls`."""

    def call(*args: P.args, **named: P.kwargs) -> R:
        calls.append(args)
        return function(*args, **named)

    return call
