"""How work is shared among the cores: each operation by the threads of torch, or whole tasks side by side.

An operation on narrow rows is over before other threads have woken up to share it. There one thread does each
operation, and the layers of a profile, or the rows of several kinds, are worked on at the same time instead.

Torch has a number for each thread, and one that threads begin with which nobody has told theirs: to set the first sets
the second too. So a thread that somebody else begins within `threads_for`, and that first uses torch there, may keep
one thread for each operation; when all are over threads begin as before. Nothing here is misled by that: a thread with
one that enters `threads_for` while another is within has what that one has outside.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import ParamSpec, TypeVar

import torch

NARROW = 128
"""Width of rows up to which an operation on a batch of them takes no longer with one thread than with two: measured
for the operations of a decoder block on 8 examples."""

P = ParamSpec("P")
T = TypeVar("T")


class _Here(threading.local):
    """What this thread has outside of the outermost `threads_for` that it is in; None where it is in none."""

    outside: int | None = None


_here = _Here()
_lock = threading.Lock()
_outside: list[int] = []  # the same of each `threads_for` under way in any thread


def tasks_for(width: int, device: torch.device) -> int:
    """How many tasks on rows of that width to do at the same time: 1 where their operations are shared instead."""
    with _lock:
        return _threads_outside() if width <= NARROW and device.type == "cpu" else 1


@contextmanager
def threads_for(tasks: int) -> Iterator[None]:
    """Within: operations have one thread each if several `tasks` are done at the same time, else all of them.

    May be nested, and entered by several threads at once: each has afterwards what it had before.
    """
    with _lock:
        outside, outer = _threads_outside(), _here.outside
        before = outside if outer is None else torch.get_num_threads()
        _outside.append(outside)
        _here.outside = outside
        torch.set_num_threads(1 if tasks > 1 else outside)
    try:
        yield
    finally:
        with _lock:
            torch.set_num_threads(before)
            _here.outside = outer
            _outside.remove(outside)


def with_all_threads(call: Callable[P, T]) -> Callable[P, T]:
    """`call` with the threads that operations have outside of `threads_for`: what is done there does not depend on
    whether it is called from within."""

    @functools.wraps(call)
    def called(*args: P.args, **kwargs: P.kwargs) -> T:
        with threads_for(1):
            return call(*args, **kwargs)

    return called


def _threads_outside() -> int:
    """The threads of an operation outside of `threads_for`, in this thread."""
    if _here.outside is not None:
        return _here.outside
    told = torch.get_num_threads()
    return _outside[0] if told == 1 and _outside else told  # 1 is of the `threads_for` that it was begun within


def side_by_side(work: Sequence[Callable[[], T]], tasks: int) -> Generator[T, None, None]:
    """What each piece of work gives, in order, with so many `tasks` under way at the same time.

    What has not begun when one of them fails, or the caller closes this, is never done.
    """
    if tasks == 1:
        yield from (each() for each in work)
        return
    # A new thread has to be told: its products would have all threads until something else asks, and round otherwise.
    pool = ThreadPoolExecutor(tasks, initializer=torch.set_num_threads, initargs=(torch.get_num_threads(),))
    try:
        for under_way in [pool.submit(each) for each in work]:
            yield under_way.result()
    finally:
        pool.shutdown(cancel_futures=True)
