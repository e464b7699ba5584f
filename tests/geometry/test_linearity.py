"""Linearity: held-out and adjusted scores of independent rows, intervals, and what a sink does."""

from __future__ import annotations

import importlib

import numpy as np
import pytest
import torch

from microscope_tui.geometry import linearity
from microscope_tui.geometry.heldout import PENALTIES, HeldOut, Scored, Tried
from microscope_tui.geometry.intervals import influences, jackknife_interval
from microscope_tui.geometry.linearity import linearities, linearity_of
from microscope_tui.geometry.moments import ChainMoments, Moments
from microscope_tui.methods import METHODS
from microscope_tui.terms import Metric
from tests.geometry.counted import counted
from tests.sure import sure


def examples(n, length=10):
    return np.arange(n) // length


def independent(n, d, seed):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, d)), rng.normal(size=(n, d))


@pytest.mark.parametrize("ratio", [0.5, 0.8, 1.0, 1.1, 2, 5, 10, 50])
def test_independent_rows_score_zero_held_out_and_adjusted(ratio):
    d = 40
    n = int(ratio * d)
    for seed in range(3):
        x, y = independent(n, d, seed)
        groups = examples(n, max(1, n // 20))
        held = linearity(x, y, method="held-out", groups=groups)
        assert held.value == pytest.approx(0, abs=0.02)
        assert sure(held.low) - 1e-9 <= 0 <= sure(held.high) + 1e-9 or abs(sure(held.value)) < 2e-3
        adjusted = linearity(x, y, method="adjusted", groups=groups)
        if n <= d + 1:
            assert adjusted.value is None
        elif ratio >= 2:
            assert adjusted.value == pytest.approx(0, abs=4 * (2 / n / d) ** 0.5 * n / (n - d))
            assert adjusted.low is None or adjusted.low <= 0.01


@pytest.mark.parametrize("ratio", [0.5, 1.0, 4, 40])
def test_a_linear_map_is_found_held_out(ratio):
    """A strong map shows on unseen examples even with fewer rows than dimensions, and weak ones never exceed it."""
    d = 30
    n = int(ratio * d)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(n, d)) * np.arange(1, d + 1) ** -1.0
    y = x @ rng.normal(size=(d, d)) + 0.05 * rng.normal(size=(n, d))
    held = linearity(x, y, method="held-out", groups=examples(n, max(1, n // 15)))
    truth = 1 - 0.05**2 / (0.05**2 + (np.arange(1, d + 1) ** -2.0).sum())
    assert 0.9 < sure(held.value) < truth + 0.01


def test_in_sample_score_of_independent_rows_is_d_over_n():
    x, y = independent(400, 40, 0)
    got = linearity(x, y)
    assert got.value == pytest.approx(40 / 399, abs=0.01)
    assert any("independent rows would score 0.1" in note for note in linearity(x[:399], y[:399]).notes)


def test_a_sink_moves_the_score_of_independent_rows_and_not_the_sink_free_one():
    x, y = independent(500, 30, 3)
    clean = linearity(x, y).value
    spike = np.zeros((1, 30))
    spike[0, 4] = 2500.0
    with_sink = linearity(np.concatenate([x, spike]), np.concatenate([y, spike]))
    assert sure(with_sink.value) > 0.8
    assert any("1 sink" in note for note in with_sink.notes)
    free = linearity(np.concatenate([x, spike]), np.concatenate([y, spike]), drop_sinks=True)
    assert free.value == pytest.approx(clean, rel=1e-12)
    assert any("1 sink" in note for note in free.notes)


def test_the_interval_is_by_example():
    """Tokens of one example share a map of their own: leaving out tokens would give far too short an interval."""
    rng = np.random.default_rng(1)
    n, d = 2000, 5
    x = rng.normal(size=(n, d))
    groups = examples(n, 100)
    slopes = 1 + 0.5 * rng.normal(size=20)
    y = x * slopes[groups][:, None] + 0.5 * rng.normal(size=(n, d))
    by_example = linearity(x, y, groups=groups)
    by_token = linearity(x, y, groups=np.arange(n))
    assert sure(by_example.low) < sure(by_example.value) < sure(by_example.high) <= 1
    assert sure(by_example.high) - sure(by_example.low) > 2 * (sure(by_token.high) - sure(by_token.low))


def test_no_groups_no_interval():
    x, y = independent(200, 5, 0)
    for method in ("in-sample", "adjusted", "held-out", "update"):
        got = linearity(x, y, method=method)
        assert got.value is not None
        assert (got.low, got.high) == (None, None)
    assert any("consecutive rows" in note for note in linearity(x, y, method="held-out").notes)


def test_held_out_needs_two_examples():
    x, y = independent(50, 5, 0)
    got = linearity(x, y, method="held-out", groups=np.zeros(50))
    assert got.value is None
    assert "2 examples" in sure(got.reason)
    assert linearity_of(Moments.of(torch.tensor(x), torch.tensor(y)), method="held-out").value is None


def test_a_score_is_invariant_to_scale_shift_and_rotation():
    rng = np.random.default_rng(5)
    x, y = independent(300, 6, 5)
    y = y + x
    turn = np.linalg.qr(rng.normal(size=(6, 6)))[0]
    want = linearity(x, y).value
    for scale in (1e-6, 1.0, 1e6):
        assert linearity(x * scale + 3 * scale, y @ turn * 7 - 2).value == pytest.approx(want, rel=1e-9)


def test_columns_of_very_different_size_are_not_cut():
    rng = np.random.default_rng(6)
    x = rng.normal(size=(500, 5)) * np.array([1e-6, 1e-3, 1.0, 1e3, 1e6])
    y = x / np.array([1e-6, 1e-3, 1.0, 1e3, 1e6])
    assert linearity(x, y).value == pytest.approx(1, abs=1e-9)


def test_few_rows_score_the_same_in_the_span_of_the_rows_and_from_moments():
    rng = np.random.default_rng(7)
    x = rng.normal(size=(40, 70)) * np.arange(1, 71) ** -0.5
    y = x + 0.5 * rng.normal(size=(40, 70))
    groups = examples(40, 4)
    folds = [Moments.of(torch.tensor(x[groups == g]), torch.tensor(y[groups == g])) for g in range(10)]
    streamed = linearity_of(sum(folds[1:], start=folds[0]), method="held-out", folds=folds)
    turned = linearity(x, y, method="held-out", groups=groups)
    assert (turned.n, turned.d) == (40, 70)
    assert turned.value == pytest.approx(streamed.value, rel=1e-6)
    assert turned.low == pytest.approx(streamed.low, rel=1e-6)
    assert any("ridge penalty" in fact for fact in turned.facts)
    refused = linearity(x, y, groups=groups)
    assert refused.value is None
    assert f"held-out it is {turned.value:.3g}" in sure(refused.reason)
    change = linearity(x, y, method="update", groups=groups)
    held_change = linearity(x, y - x, method="held-out", groups=groups)
    assert f"held-out it is {held_change.value:.3g}" in sure(change.reason)


def ridge_refit(x, y, penalty):
    """The ridge regression by numpy's least squares on rows with the penalty's own below them; the centres, the map."""
    mean, d = x.mean(0), x.shape[1]
    unit = ((x - mean) ** 2).sum() / d
    below = np.sqrt(penalty * unit) * np.eye(d)
    padded = np.vstack([y - y.mean(0), np.zeros((d, y.shape[1]))])
    return mean, y.mean(0), np.linalg.lstsq(np.vstack([x - mean, below]), padded, rcond=None)[0]


def held_out_refit(x, y, folds, penalties):
    """The held-out score with every fold and penalty fitted anew."""
    tables = []
    for k in np.unique(folds):
        own, rest = folds == k, folds != k
        maps = [ridge_refit(x[rest], y[rest], penalty) for penalty in penalties]
        tables.append([((x[own] - mean) @ a, y[own] - centre) for mean, centre, a in maps])
    error = total = 0.0
    for k, table in enumerate(tables):
        tried = []
        for column in range(len(penalties)):
            guess, true = (np.vstack([t[column][i] for j, t in enumerate(tables) if j != k]) for i in (0, 1))
            shrink = np.clip((guess * true).sum() / (guess**2).sum(), 0, 1)
            tried.append((((true - shrink * guess) ** 2).sum(), column, shrink))
        _, column, shrink = min(tried)
        guess, true = table[column]
        error += ((true - shrink * guess) ** 2).sum()
        total += (true**2).sum()
    return 1 - error / total


@pytest.mark.parametrize("size", [1, 1e2, 1e3, 1e4, 1e6])
@pytest.mark.parametrize("carried", [True, False])
def test_few_rows_with_a_massive_one_score_what_refits_of_every_fold_do(size, carried):
    rng = np.random.default_rng(1)
    x, noise = rng.normal(size=(40, 60)), 0.1 * rng.normal(size=(40, 60))
    sink = x.copy()
    sink[7] *= size
    y = (sink if carried else x) + noise
    groups = examples(40, 2)
    got = linearity(sink, y, method="held-out", groups=groups)
    assert got.value == pytest.approx(held_out_refit(sink, y, groups % 10, PENALTIES), rel=1e-8)
    assert sure(got.low) < sure(got.value) < sure(got.high)


def folds_of(x, y, groups):
    """The moments of each of 10 folds, and of all rows."""
    folds = [Moments.of(torch.tensor(x[groups % 10 == k]), torch.tensor(y[groups % 10 == k])) for k in range(10)]
    return folds, sum(folds[1:], start=folds[0])


@pytest.mark.parametrize(("size", "carried"), [(1e4, True), (1e4, False), (1e6, True)])
@pytest.mark.parametrize("n", [20, 31, 150])
def test_sums_without_the_fold_of_a_massive_row_are_as_exact_as_refits(n, size, carried):
    """From sums alone: what is left when 10⁸ and more times as much is taken away has lost as many digits."""
    rng = np.random.default_rng(1)
    x, noise = rng.normal(size=(n, 30)), 0.1 * rng.normal(size=(n, 30))
    sink = x.copy()
    sink[7] *= size
    y = (sink if carried else x) + noise
    groups = examples(n, 2)
    folds, whole = folds_of(sink, y, groups)
    penalties = HeldOut.of(n, 30, [fold.n for fold in folds]).penalties
    got = linearity_of(whole, method="held-out", folds=folds)
    want = held_out_refit(sink, y, groups % 10, penalties)
    assert 1 - sure(got.value) == pytest.approx(1 - want, rel=1e-7)


@pytest.mark.parametrize("method", ["in-sample", "adjusted"])
def test_a_massive_row_leaves_the_values_without_its_fold_exact(method):
    rng = np.random.default_rng(2)
    x = rng.normal(size=(300, 40))
    x[7] *= 1e6
    y = x + 0.1 * rng.normal(size=x.shape)
    groups = examples(300, 2)
    folds, whole = folds_of(x, y, groups)
    got = linearity_of(whole, method=method, folds=folds)
    without = [sure(linearity(x[groups % 10 != k], y[groups % 10 != k], method=method).value) for k in range(10)]
    want = influences(sure(got.value), without, [fold.n for fold in folds])
    assert got.influence == pytest.approx(want, rel=1e-9)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("groups", [None, np.arange(200) // 4])
def test_a_massive_row_that_is_carried_through_does_not_hide_the_update(groups, dtype):
    """In sums its squares, 18 a column, would be the difference of squares of 1e14."""
    rng = np.random.default_rng(4)
    x, change = rng.normal(size=(200, 5)), 0.3 * rng.normal(size=(200, 5))
    x[7] *= 1e7
    got = linearity(x, x + change, method="update", groups=groups, dtype=dtype)
    want = linearity(x, change, groups=groups)
    near = 1e-9 if dtype == torch.float64 else 1e-6
    assert got.value == pytest.approx(sure(want.value), abs=near)
    if groups is not None:
        assert (got.low, got.high) == pytest.approx((want.low, want.high), abs=10 * near)
    tiny = linearity(x[8:], x[8:] + 1e-9 * change[8:], method="update", dtype=dtype)
    assert tiny.value == pytest.approx(sure(linearity(x[8:], change[8:]).value), abs=1e-6)


@pytest.mark.parametrize("kind", [torch.float64, torch.float32, torch.bfloat16])
def test_what_rounding_leaves_of_an_update_is_none(kind):
    x = torch.randn(200, 5, generator=torch.Generator().manual_seed(6)).to(kind)
    shifted = x + 0.75 if kind != torch.bfloat16 else x.clone()
    for same in (x, shifted):
        assert linearity(x, same, method="update").reason == "y equals x: there is no update to explain"


def test_a_massive_row_of_y_alone_leaves_the_values_without_its_fold_exact():
    rng = np.random.default_rng(3)
    x = rng.normal(size=(300, 8))
    y = x + rng.normal(size=x.shape)
    y[7] *= 1e9
    fold = np.arange(300) % 10
    got = linearity(x, y, groups=fold)
    without = [sure(linearity(x[fold != k], y[fold != k]).value) for k in range(10)]
    assert got.influence == pytest.approx(influences(sure(got.value), without, [30] * 10), rel=1e-9)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_without_the_fold_of_a_massive_row_the_score_is_no_better_than_that_of_the_other_rows(seed, monkeypatch):
    calls: list[tuple[object, ...]] = []
    real = importlib.import_module("microscope_tui.geometry.heldout")
    monkeypatch.setattr(real, "influences", counted(real.influences, calls))
    rng = np.random.default_rng(seed)
    x, noise = rng.normal(size=(3000, 32)), rng.normal(size=(3000, 32))
    y = 0.5 * x + noise
    direction = rng.normal(size=32)
    x[0] += 2500 * direction / np.linalg.norm(direction)
    groups = examples(3000)
    got = linearity(x, y, method="held-out", groups=groups)
    ((_, without, _),) = calls
    assert isinstance(without, list)
    rest = groups % 10 != 0
    want = sure(linearity(x[rest], y[rest], method="held-out", groups=groups[rest] % 10).value)
    assert 0.15 < want < 0.2  # 0.25/1.25 less what 2700 rows cannot tell
    assert 0 < without[0] < want
    assert sure(got.low) < sure(got.value) < sure(got.high) < 1


def pooled(*folds, under_all):
    """The held-out estimate of folds of 4 rows under one map each."""
    plan = HeldOut((4,) * len(folds), (0.0,))
    return plan.pooled(4 * len(folds), 2, [Tried((fold,)) for fold in folds], lambda k, penalty: under_all)


def test_a_fold_costs_the_others_no_more_than_all_the_error_they_have():
    """By hand: errors of 8, 1 and 1 held out and 0.5 under the map of all rows, of 10 each."""
    got = pooled(Scored(10, 2, 2), Scored(10, 9, 9), Scored(10, 9, 9), under_all=Scored(10, 9.5, 9.5))
    assert got.value == pytest.approx(2 / 3)
    # The first cost the others 1 at most, not (8 − 0.5)/2; each of the others (1 − 0.5)/2.
    without = [1 - (2 - 1) / 20, 1 - (9 - 0.25) / 20, 1 - (9 - 0.25) / 20]
    assert got.influence == pytest.approx(influences(2 / 3, without, (4, 4, 4)))
    logs = [np.log(1 - value) for value in (2 / 3, *without)]
    low, high = map(sure, jackknife_interval(logs[0], logs[1:], (4, 4, 4)))
    assert (got.low, got.high) == pytest.approx((1 - np.exp(high), 1 - np.exp(low)))
    assert got.notes == ()


def test_a_held_out_score_without_an_interval_says_why():
    exact = pooled(*[Scored(10, 10, 10)] * 3, under_all=Scored(10, 10, 10))
    assert (exact.value, exact.low, exact.notes) == (1, None, ("no interval: nothing is left unexplained",))
    wild = pooled(Scored(10, -1e200, 1e200), *[Scored(10, 9, 9)] * 2, under_all=Scored(10, 9.5, 9.5))
    assert wild.value < -1e198
    assert (wild.low, wild.notes) == (None, ("no interval: it would pass every number",))
    assert pooled(*[Scored(10, 9, 9)] * 2, under_all=Scored(10, 9.5, 9.5)).notes == ()


def test_float32_products_are_near_the_exact_score():
    x, y = independent(3000, 40, 8)
    y = x + 0.1 * y + 5
    x[7] *= 300
    for method in ("in-sample", "update", "adjusted"):
        exact = linearity(x, y, method=method).value
        assert linearity(x, y, method=method, dtype=torch.float32).value == pytest.approx(exact, abs=1e-6)


@pytest.mark.parametrize("first", ["equal", "drawn"])
def test_float32_products_of_an_unrelated_small_y_are_near_the_exact_score(first):
    """Of examples of 8 tokens, whose first tokens may be one token: they do not tell what y is of x."""
    rng = np.random.default_rng(9)
    x, noise = rng.normal(size=(2, 4096, 16))
    y = 1e-4 * (x[:, ::-1] + noise)
    if first == "equal":
        x[::8], y[::8] = x[0], y[0]
    x, y = x.astype(np.float32), y.astype(np.float32)
    for method in ("in-sample", "adjusted"):
        exact = linearity(x, y, method=method).value
        assert linearity(x, y, method=method, dtype=torch.float32).value == pytest.approx(exact, abs=1e-6)
    chain = ChainMoments(2, 16, dtype=torch.float32).update(torch.tensor(np.stack([x, y])))
    assert linearity_of(chain.block(0)).value == pytest.approx(linearity(x, y).value, abs=1e-6)


@pytest.mark.parametrize("column", [3, 90, 149])
def test_columns_that_depend_on_others_leave_the_score_of_the_others(column):
    """The factorisation stops early, late or at its end, in the memory of the sums themselves."""
    rng = np.random.default_rng(12)
    x = rng.normal(size=(400, 150)) + 2
    x[:, column] = x[:, :3] @ [1.0, -2.0, 0.5]
    y = 0.3 * x + rng.normal(size=(400, 150))
    centred, target = x - x.mean(0), y - y.mean(0)
    left = target - centred @ np.linalg.lstsq(centred, target, rcond=1e-10)[0]
    got = linearity(x, y)
    assert got.value == pytest.approx(1 - (left**2).sum() / (target**2).sum(), rel=1e-9)
    assert "rank 149 of 150" in got.facts


@pytest.mark.parametrize(("n", "d"), [(900, 12), (40, 12), (10, 12)])
@pytest.mark.parametrize("broken", [False, True])
def test_all_methods_together_give_what_each_gives_alone(n, d, broken):
    draw = torch.Generator().manual_seed(n)
    x = torch.randn(n, d, generator=draw, dtype=torch.float64)
    x[:, 3] = x[:, 2] if broken else x[:, 3]  # rank d − 1
    y = x + 0.2 * torch.randn(n, d, generator=draw, dtype=torch.float64) + 0.1 * x.roll(1, 1)
    folds = [Moments.of(x[k::5], y[k::5]) for k in range(5)]
    whole = sum(folds[1:], start=folds[0])
    methods = METHODS[Metric.LINEARITY]
    together = linearities(whole, methods, folds=folds)
    assert list(together) == list(methods)
    for method in methods:
        assert together[method] == linearity_of(whole, method=method, folds=folds)
    assert together["held-out"].value is not None
    assert (together["update"].value is None) == (n <= d + 1)
    assert linearities(whole, methods)["in-sample"].value == together["in-sample"].value


def test_the_update_by_method_is_the_state_of_its_own_moments():
    draw = torch.Generator().manual_seed(3)
    x = torch.randn(600, 9, generator=draw, dtype=torch.float64)
    y = x + 0.05 * torch.randn(600, 9, generator=draw, dtype=torch.float64) @ torch.rand(9, 9, generator=draw).double()
    folds = [Moments.of(x[k::6], y[k::6]) for k in range(6)]
    whole = sum(folds[1:], start=folds[0])
    by_method = linearity_of(whole, method="update", folds=folds)
    by_moments = linearity_of(whole.difference(), folds=[f.difference() for f in folds])
    for name in ("value", "low", "high"):
        assert getattr(by_method, name) == pytest.approx(getattr(by_moments, name), rel=1e-9)
    assert by_method.facts == by_moments.facts


def test_every_fold_is_factored_once(monkeypatch):
    calls: list[tuple[object, ...]] = []
    real = importlib.import_module("microscope_tui.geometry.heldout")
    monkeypatch.setattr(real, "factor", counted(real.factor, calls))
    x = torch.randn(800, 6, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    folds = [Moments.of(x[k::4], x[k::4].sin()) for k in range(4)]
    linearities(sum(folds[1:], start=folds[0]), METHODS[Metric.LINEARITY], folds=folds)
    assert len(calls) == 1 + 4
    calls.clear()
    few = [Moments.of(x[k:5:4], x[k:5:4].sin()) for k in range(4)]
    linearities(sum(few[1:], start=few[0]), ("in-sample", "held-out", "adjusted"), folds=few)
    # And once more, of all rows, for each penalty that was chosen: at most one a fold.
    assert 4 * len(PENALTIES) < len(calls) <= 4 * len(PENALTIES) + 4


def test_an_interval_that_cannot_be_is_said_to_be_missing():
    x, y = independent(24, 20, 9)
    got = linearity(x, y, method="adjusted", groups=examples(24, 2))
    assert got.low is None
    assert "no interval: without one fold of examples there is no score" in got.notes


@pytest.mark.parametrize("method", ["in-sample", "update"])
def test_few_rows_without_groups_need_no_products_to_be_refused(method, monkeypatch):
    calls: list[tuple[object, ...]] = []
    monkeypatch.setattr(Moments, "of", counted(Moments.of, calls))
    x, y = independent(12, 20, 10)
    got = linearity(x, y, method=method)
    assert got.reason == "n = 12 ≤ d + 1 = 21: in-sample the score is 1 whatever the data; see the held-out score"
    assert linearity(np.ones((12, 20)), y, method=method).reason == "all rows of x are equal"
    assert linearity(x, x + 1, method="update").reason == "y equals x: there is no update to explain"
    assert not calls
