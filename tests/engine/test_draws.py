"""Draws of one slice beside each other: each begins with what others have, and leaves it to them."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from microscope_tui.engine import state
from microscope_tui.engine.looks.look import run as look_run
from microscope_tui.inspection import WorstTokens
from microscope_tui.store import Store
from microscope_tui.terms import JobKind, Metric, Stream
from tests.engine.keeping import Sums, kept, kill_at, measured, request, same, step
from tests.sure import sure

pytestmark = pytest.mark.usefixtures("sums_once")


def test_a_smaller_draw_leaves_the_work_of_a_larger_one(tmp_path, captured, undisturbed):
    with Store(tmp_path) as store:
        kill_at(24, request(40), store)
        larger = kept(store)
        assert larger == ["rows 16 24", "rows 8 16", "state 8"]
        captured.clear()
        measured(request(20), store)
        assert len(captured) == 4
        assert kept(store) == sorted([*larger, "state 16", "state 20"])
        captured.clear()
        same(measured(request(40), store), undisturbed)
        assert len(captured) == 16
        assert kept(store) == ["state 16", "state 20", "state 40"]


def test_a_larger_draw_leaves_the_work_of_a_smaller_one(tmp_path, captured, undisturbed):
    """Which was killed in the middle: it goes on from there."""
    with Store(tmp_path) as store:
        kill_at(16, request(24), store)
        smaller = kept(store)
        assert smaller == ["rows 8 16", "state 8"]
        captured.clear()
        same(measured(request(40), store), undisturbed)
        assert len(captured) == 24
        assert kept(store) == sorted([*smaller, "state 40"])
        captured.clear()
        measured(request(24), store)
        assert len(captured) == 8


def test_a_larger_draw_leaves_the_sums_of_a_smaller_one(tmp_path, captured):
    """For its looks, and for all else that is made of sums."""
    small = request(20, metrics=(Metric.LINEARITY,))
    with Store(tmp_path) as store:
        measured(small, store)
        measured(request(40), store)
        assert kept(store) == ["state 16", "state 20", "state 40"]
        captured.clear()
        measured(replace(small, metrics=(Metric.ANISOTROPY,)), store)
        options: dict[str, Any] = {"on_progress": lambda _: None, "should_stop": lambda: False}
        look_run(small, store, kind=JobKind.WORST, example=None, **options)
        assert captured == []
        assert WorstTokens.from_json(sure(store.recall_look(small, JobKind.WORST, None))).fitted == 20


@pytest.mark.parametrize("grows", [True, False])
def test_two_walks_of_one_slice_leave_each_others_work(tmp_path, grows):
    sums: Any = Sums()

    with Store(tmp_path) as store:
        first, second, third = (
            state.Keeper(store, "base", [str(i) for i in range(100)], 1, grows=grows) for _ in range(3)
        )
        for consumed in range(1, 31):
            step(first, consumed, sums, due=consumed in (1, 20))
        step(second, 1, sums, due=True)
        reached = sure(third.begin(sums))
        while block := third.block(torch.device("cpu")):
            reached += block.tally
            third.replayed(block, sums, reached)
        assert reached.consumed == 30


def test_own_rows_follow_on_wider_sums(tmp_path, captured):
    """Sums of both streams that end in the middle of rows of one."""
    wanted = request(streams=(Stream.MAIN,))
    with Store(tmp_path) as store:
        kill_at(32, wanted, store)
        measured(request(16), store)
        captured.clear()
        same(measured(wanted, store), measured(wanted, None))
    assert len(captured) == 8 + 40
