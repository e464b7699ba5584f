"""How work is shared among the cores: each operation by the threads of torch, or whole tasks side by side.

An operation on narrow rows is over before other threads have woken up to share it. There one thread does each
operation, and the layers of a profile, or the rows of several kinds, are worked on at the same time instead.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import torch

NARROW = 128
"""Width of rows up to which an operation on a batch of them takes no longer with one thread than with two: measured
for the operations of a decoder block on 8 examples."""

T = TypeVar("T")


def tasks_for(width: int, device: torch.device) -> int:
    """How many tasks on rows of that width to do at the same time: 1 where their operations are shared instead."""
    return torch.get_num_threads() if width <= NARROW and device.type == "cpu" else 1


@contextmanager
def threads_for(tasks: int) -> Iterator[None]:
    """Within: operations have one thread each if several `tasks` are done at the same time, else all of them."""
    before = torch.get_num_threads()
    torch.set_num_threads(1 if tasks > 1 else before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


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
