import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import pytest
import torch

from microscope_tui import measure
from microscope_tui.engine import walk
from microscope_tui.engine.measure import run
from microscope_tui.engine.plan import plan
from microscope_tui.engine.threads import NARROW, side_by_side, tasks_for, threads_for, with_all_threads
from microscope_tui.models.base import Captured
from microscope_tui.models.capture import capture
from microscope_tui.results import Measurement
from microscope_tui.terms import Request, SliceSpec

T = TypeVar("T")

TASKS = Path("/proc/self/task")

CPU, GPU = torch.device("cpu"), torch.device("cuda:0")


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@pytest.fixture
def two_threads() -> Iterator[None]:
    with torch_threads(2):
        yield


@pytest.mark.usefixtures("two_threads")
def test_tasks_are_done_at_once_where_rows_are_narrow_and_on_the_cpu():
    assert tasks_for(NARROW, CPU) == 2
    assert tasks_for(NARROW + 1, CPU) == 1
    assert tasks_for(NARROW, GPU) == 1


@pytest.mark.usefixtures("two_threads")
def test_rows_are_as_wide_as_those_of_the_widest_stage():
    planned = partial(plan, layers=8, width=96, kinds=4, folds=10, sample=512, device=CPU)
    assert planned(shapes={"vision tower": (5, 64)}).tasks == 2
    assert planned(shapes={"vision tower": (5, 1024)}).tasks == 1


@pytest.mark.usefixtures("two_threads")
def test_operations_have_one_thread_while_tasks_are_done_at_once():
    with threads_for(1):
        assert torch.get_num_threads() == 2
    with threads_for(2):
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == 2


def in_a_new_thread(call: Callable[[], T]) -> T:
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(call).result(timeout=120)


@pytest.mark.usefixtures("two_threads")
def test_what_is_called_from_within_has_the_threads_that_it_has_outside():
    asked = with_all_threads(torch.get_num_threads)
    assert asked() == 2
    with threads_for(2):
        assert asked() == 2
        assert torch.get_num_threads() == 1
        with threads_for(2):
            assert asked() == 2
        assert torch.get_num_threads() == 1, "the inner one ends within the outer one"
    assert torch.get_num_threads() == 2


@pytest.mark.usefixtures("two_threads")
def test_threads_that_overlap_leave_the_number_as_it_was_before_the_first():
    entered, leave = threading.Event(), threading.Event()

    def overlap() -> tuple[int, int, int]:
        planned = tasks_for(NARROW, CPU)
        with threads_for(2):
            entered.set()
            assert leave.wait(120)
            within = torch.get_num_threads()
        return planned, within, torch.get_num_threads()

    with ThreadPoolExecutor(1) as pool:
        with threads_for(2):
            other = pool.submit(overlap)  # a thread that begins within has one thread, if one asks torch
            assert entered.wait(120)
        assert torch.get_num_threads() == 2
        leave.set()
        assert other.result(timeout=120) == (2, 1, 2)
    assert in_a_new_thread(torch.get_num_threads) == 2


@pytest.mark.usefixtures("two_threads")
def test_a_thread_that_was_told_another_number_keeps_it():
    def told() -> tuple[int, int]:
        torch.set_num_threads(3)
        with threads_for(2):
            within = torch.get_num_threads()
        return within, torch.get_num_threads()

    with threads_for(2):
        assert in_a_new_thread(told) == (1, 3)
    assert torch.get_num_threads() == 2


@pytest.mark.usefixtures("two_threads")
def test_listeners_of_a_measurement_on_narrow_rows_have_all_threads(tiny_next, small_slice, monkeypatch):
    seen: dict[str, set[int]] = {}

    def note(where: str) -> None:
        seen.setdefault(where, set()).add(torch.get_num_threads())

    def captured(*arguments: Any, **options: Any) -> Captured:
        note("capture")
        return capture(*arguments, **options)

    def should_stop() -> bool:
        note("stop")
        return False

    monkeypatch.setattr(walk, "capture", captured)
    monkeypatch.setattr(walk, "PARTIAL_SECONDS", 0.0)
    run(
        Request(tiny_next, SliceSpec(small_slice)),
        None,
        on_progress=lambda _: note("progress"),
        on_partial=lambda _: note("partial"),
        should_stop=should_stop,
    )
    assert seen == {"capture": {1}, "stop": {2}, "progress": {2}, "partial": {2}}


def test_as_many_are_under_way_as_there_are_tasks_and_come_in_order():
    both = threading.Barrier(2, timeout=120)

    def meet(number: int) -> int:
        both.wait()
        return number

    assert list(side_by_side([partial(meet, number) for number in range(6)], 2)) == list(range(6))


@pytest.mark.skipif(not TASKS.exists(), reason="the threads of a process are not listed here")
@pytest.mark.usefixtures("two_threads")
def test_products_in_the_tasks_have_no_more_threads_than_the_caller_allows():
    matrix = torch.randn(1500, 1500, dtype=torch.float64)
    both = threading.Barrier(2, timeout=120)

    def threads_after_a_product() -> int:
        both.wait()
        matrix @ matrix
        both.wait()
        return len(list(TASKS.iterdir()))

    with threads_for(2):
        before = len(list(TASKS.iterdir()))
        assert max(side_by_side([threads_after_a_product] * 2, 2)) <= before + 2


def test_one_task_is_begun_when_it_is_asked_for_in_the_thread_that_asks():
    begun: list[threading.Thread] = []
    made = side_by_side([lambda: begun.append(threading.current_thread())] * 3, 1)
    next(made)
    assert begun == [threading.current_thread()]


def test_what_has_not_begun_when_one_fails_is_never_done():
    begun: list[int] = []

    def fail() -> None:
        raise KeyError("failed")

    def take_long(number: int) -> None:
        begun.append(number)
        threading.Event().wait(0.05)

    late: list[Callable[[], None]] = [partial(take_long, number) for number in range(400)]
    with pytest.raises(KeyError, match="failed"):
        list(side_by_side([fail, *late], 2))
    assert len(begun) < 400


def test_what_has_not_begun_when_the_caller_wants_no_more_is_never_done():
    begun: list[int] = []

    def take_long(number: int) -> None:
        begun.append(number)
        threading.Event().wait(0.05)

    with closing(side_by_side([partial(take_long, number) for number in range(400)], 2)) as made:
        next(made)
    assert len(begun) < 400


def test_numbers_are_the_same_to_the_bit_however_many_tasks_there_are(tiny_next, small_slice):
    def measured(threads: int) -> Measurement:
        with torch_threads(threads):
            return measure(tiny_next, small_slice, before=True, reference=True)

    alone, together = measured(1), measured(3)
    assert len(alone.profiles) > 50
    for one, other in zip(alone.profiles, together.profiles, strict=True):
        assert json.dumps(other.to_json()) == json.dumps(one.to_json())
