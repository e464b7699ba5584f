"""The paired difference: against scipy's paired t-interval, every pattern of signs by hand, and 5 % false alarms."""

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from microscope_tui.geometry.intervals import influences, shares
from microscope_tui.pairing import adjusted_p, difference_by_group, groups_in, parts, reach
from tests.sure import sure


def _influences_of_means(values: np.ndarray) -> tuple[float, ...]:
    """Of the mean of values (g,), each a group by itself."""
    without = [float(np.delete(values, k).mean()) for k in range(len(values))]
    return influences(float(values.mean()), without, [1] * len(values))


def _parts_of_means(*values: np.ndarray) -> tuple[tuple[float, ...], ...]:
    """The parts of the mean of each layer's values (g,)."""
    return tuple(parts(float(layer.mean()), _influences_of_means(layer)) for layer in values)


def test_the_interval_of_a_difference_of_means_is_that_of_the_paired_t_test():
    rng = np.random.default_rng(0)
    shared = rng.normal(size=9)
    a, b = shared + 0.1 * rng.normal(size=9), shared + 0.2 + 0.1 * rng.normal(size=9)
    moved = difference_by_group(_influences_of_means(a), _influences_of_means(b))
    low, high = stats.ttest_rel(b, a).confidence_interval(0.95)
    assert float((b - a).mean()) - reach(moved, 9) == pytest.approx(low, rel=1e-9)
    assert float((b - a).mean()) + reach(moved, 9) == pytest.approx(high, rel=1e-9)


def test_groups_of_different_slices_have_no_common_error():
    assert difference_by_group((0.1, 0.2), (0.1, 0.2, 0.3)) == ()
    assert difference_by_group((), ()) == ()


def test_the_adjusted_p_is_that_of_every_pattern_of_signs():
    """The largest |t| of any layer under each pattern, by numpy; t from the flipped values themselves."""
    rng = np.random.default_rng(1)
    values = rng.normal(size=(3, 8)) + np.array([[0.0], [0.5], [1.5]])
    signs = np.array(list(itertools.product((1, -1), repeat=8)))
    flipped = signs[:, None, :] * values
    t = np.abs(flipped.mean(2) / flipped.std(2, ddof=1))
    observed = np.abs(values.mean(1) / values.std(1, ddof=1))
    want = (t.max(1)[:, None] >= observed * (1 - 1e-9)).mean(0)
    got = adjusted_p(_parts_of_means(*values))
    assert got == pytest.approx(want.tolist(), rel=1e-12)
    assert want[2] <= 0.05 < want[0]


def _parts_of_rows(values: np.ndarray, sizes: np.ndarray) -> tuple[float, ...]:
    """The parts of the mean of rows in groups of these sizes, whose own means are the values (g,)."""
    mean = float(np.average(values, weights=sizes))
    without = [float(np.average(np.delete(values, k), weights=np.delete(sizes, k))) for k in range(len(values))]
    return parts(mean, influences(mean, without, sizes.tolist()), shares(sizes.tolist()))


UNEVEN = np.array([40, 1, 3, 9, 9, 2, 5, 20])


def test_of_groups_of_any_size_the_parts_are_what_their_rows_add_up_to():
    values = np.random.default_rng(3).normal(0.5, 1, size=8)
    want = values * UNEVEN / UNEVEN.sum()
    assert _parts_of_rows(values, UNEVEN) == pytest.approx(want.tolist(), rel=1e-12)


def test_parts_of_what_is_no_mean_are_the_pseudo_values_by_share():
    """s (pseudo-value + D − θ_J), of a ratio of sums, where θ_J is not D."""
    rng = np.random.default_rng(5)
    top, below = rng.normal(3, 1, size=8) * UNEVEN, rng.uniform(1, 2, size=8) * UNEVEN
    value = float(top.sum() / below.sum())
    without = (top.sum() - top) / (below.sum() - below)
    share = UNEVEN / UNEVEN.sum()
    pseudo = value / share - (1 / share - 1) * without
    jackknife = (share * pseudo).sum()
    assert jackknife != pytest.approx(value, rel=1e-4)
    got = parts(value, influences(value, without.tolist(), UNEVEN.tolist()), tuple(share.tolist()))
    assert got == pytest.approx((share * (pseudo + value - jackknife)).tolist(), rel=1e-12)
    assert sum(got) == pytest.approx(value, rel=1e-12)


def test_two_models_whose_groups_hold_other_shares_have_each_its_own_parts():
    """As of another tokenizer: the two halves of the difference are scaled by rows of their own."""
    rng = np.random.default_rng(3)
    sizes = np.array([5, 5, 1, 1, 1, 1, 1, 1])
    a, b = rng.normal(size=(2, 8)), rng.normal(0.6, 1, size=(2, 8))
    own = b * sizes / sizes.sum() - a / 8
    signs = np.array(list(itertools.product((1, -1), repeat=8)))
    t = np.abs(np.einsum("pg,lg->pl", signs, own)) / np.linalg.norm(own, axis=1)
    want = (t.max(1)[:, None] >= t[0] * (1 - 1e-9)).mean(0)
    pairs = zip(a, b, strict=True)
    got = tuple(difference_by_group(_parts_of_rows(u, np.ones(8)), _parts_of_rows(v, sizes)) for u, v in pairs)
    assert got == tuple(pytest.approx(layer.tolist(), rel=1e-12) for layer in own)
    assert adjusted_p(got) == pytest.approx(want.tolist(), rel=1e-12)


def test_one_group_with_most_of_the_rows_raises_no_more_alarms():
    rng = np.random.default_rng(4)
    sizes, alarms, rounds = np.array([20] + [1] * 9), 0, 200
    for _ in range(rounds):
        noise = rng.normal(size=(1, 10)) + rng.normal(size=(8, 10))
        alarms += min(sure(adjusted_p(tuple(_parts_of_rows(layer, sizes) for layer in noise)))) <= 0.05
    assert abs(alarms / rounds - 25 / 512) < 4 * math.sqrt(0.05 * 0.95 / rounds)


def test_equal_models_differ_nowhere_and_few_groups_tell_nothing():
    assert adjusted_p(()) is None
    assert sure(adjusted_p(((0.0,) * 8, parts(0.5, (0.1, -0.1) * 4))))[0] == 1.0
    assert adjusted_p((parts(0.5, (0.1, -0.2, 0.1, 0.1, -0.1)),)) is None


def test_a_group_without_rows_does_not_count():
    moved = (0.1, 0.0, -0.2, 0.1, 0.3, -0.1, -0.2)
    held = [0, 2, 3, 4, 5, 6]
    assert groups_in((moved, moved)) == held
    got = parts(0.5, moved)
    assert got[1] == 0
    assert tuple(got[k] for k in held) == pytest.approx(parts(0.5, moved[:1] + moved[2:]))


def test_a_group_with_rows_and_no_influence_counts():
    """By hand: √(3 · 0.4 · 0.6) · 0 + 0.4 · 0.5 = 0.2, and g is 3."""
    moved, share = (0.0, 0.1, -0.1, 0.0), (0.4, 0.3, 0.3, 0.0)
    assert groups_in((moved, moved), (share, share)) == [0, 1, 2]
    assert groups_in((moved, moved), (share, ())) == [0, 1, 2]
    root = math.sqrt(3 * 0.3 * 0.7)
    assert parts(0.5, moved, share) == pytest.approx((0.2, 0.15 + 0.1 * root, 0.15 - 0.1 * root, 0.0))


def test_more_groups_than_can_be_tried_are_put_together():
    rng = np.random.default_rng(2)
    values = rng.normal(0.3, 1, size=30)
    got = adjusted_p(_parts_of_means(values))
    together = np.array([values[k::10].sum() for k in range(10)])
    signs = np.array(list(itertools.product((1, -1), repeat=10)))
    want = (np.abs(signs @ together) >= abs(together.sum()) * (1 - 1e-9)).mean()
    assert got == pytest.approx((want,))


@pytest.mark.parametrize("groups", [6, 9])
def test_at_most_one_profile_in_twenty_raises_a_false_alarm(groups):
    """Layers that go up and down together, as those of a model do, and no difference at any of 24 of them."""
    rng = np.random.default_rng(groups)
    alarms, rounds = 0, 200
    for _ in range(rounds):
        noise = rng.normal(size=(groups, 1)) + rng.normal(size=(groups, 24))
        p = sure(adjusted_p(_parts_of_means(*noise.T)))
        alarms += min(p) <= 0.05
    nominal = math.floor(0.05 * 2 ** (min(groups, 10) - 1)) / 2 ** (min(groups, 10) - 1)
    assert abs(alarms / rounds - nominal) < 4 * math.sqrt(0.05 * 0.95 / rounds)
