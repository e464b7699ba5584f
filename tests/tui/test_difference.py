"""B − A: against intervals combined by hand and quantiles of scipy."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from microscope_tui.geometry.intervals import influences
from microscope_tui.results import Estimate, Profile
from microscope_tui.terms import Metric, Modality, Stream
from microscope_tui.tui.content.difference import ALONE, DIFFERS, MAY_BE_ZERO, difference
from tests.sure import sure

PLACES = (0.0, 1.0, 2.0)


def _profile(*estimates: Estimate, metric: Metric = Metric.LINEARITY) -> Profile:
    return Profile.of(metric, "any", Modality.TEXT, Stream.RESIDUAL, estimates, d=64, examples=200)


def _sure(value: float, half: float, n: int = 500) -> Estimate:
    return Estimate(value, value - half, value + half, n, 64)


def test_equal_intervals_are_combined_by_squares():
    a, b = _profile(_sure(0.5, 0.03)), _profile(_sure(0.7, 0.04))
    found = difference(a, b, (0.0,), (0.0,), groups=10).profile
    assert found.value[0] == pytest.approx(0.2)
    assert found.low[0] == pytest.approx(0.2 - 0.05)
    assert found.high[0] == pytest.approx(0.2 + 0.05)
    assert found.facts[0] == (DIFFERS, "0.7000 against 0.5000")


def test_lopsided_intervals_give_a_lopsided_interval():
    a, b = Estimate(0.5, 0.49, 0.6, 500, 64), Estimate(0.7, 0.6, 0.72, 400, 64)
    found = difference(_profile(a), _profile(b), (0.0,), (0.0,), groups=10).profile
    assert found.low[0] == pytest.approx(0.2 - math.hypot(0.7 - 0.6, 0.6 - 0.5))
    assert found.high[0] == pytest.approx(0.2 + math.hypot(0.72 - 0.7, 0.5 - 0.49))
    assert found.n == (400,)


@pytest.mark.parametrize("layers", [1, 8, 32])
@pytest.mark.parametrize("groups", [3, 10])
def test_a_layer_is_significant_where_a_t_test_with_bonferronis_correction_says_so(layers: int, groups: int):
    error = 0.01
    half = stats.t.ppf(0.975, groups - 1) * error
    critical = stats.t.ppf(1 - 0.025 / layers, groups - 1) * error * math.sqrt(2)
    places = tuple(float(layer) for layer in range(layers))
    a = _profile(*[_sure(0.5, half)] * layers)
    for scale, expected in ((0.99, False), (1.01, True)):
        for sign in (1, -1):
            b = _profile(*[_sure(0.5 + sign * scale * critical, half)] * layers)
            found = difference(a, b, places, places, groups=groups)
            assert found.tested == layers
            assert found.significant == (expected,) * layers
            assert (DIFFERS if expected else MAY_BE_ZERO) in found.profile.facts[0]


def test_only_layers_with_an_interval_are_tested():
    a = _profile(_sure(0.5, 0.01), Estimate(0.5, n=9, d=64), _sure(0.5, 0.01))
    b = _profile(_sure(0.9, 0.01), _sure(0.9, 0.01), Estimate(None, n=9, d=64, reason="n = 9 is too few"))
    found = difference(a, b, PLACES, PLACES, groups=10)
    assert found.tested == 1
    assert found.significant == (True, False, False)
    assert found.profile.value[:2] == pytest.approx((0.4, 0.4))
    assert found.profile.low[1] is None
    assert found.profile.notes[2] == ("n = 9 is too few",)


def test_a_gap_of_the_first_says_so():
    a = _profile(Estimate(None, n=9, d=64, reason="n = 9 is too few"))
    found = difference(a, _profile(_sure(0.9, 0.01)), (0.0,), (0.0,), groups=10).profile
    assert found.value == (None,)
    assert found.notes[0] == ("the first is undefined here: n = 9 is too few",)


def test_a_layer_that_the_first_does_not_have():
    a, b = _profile(_sure(0.5, 0.01)), _profile(_sure(0.9, 0.01), _sure(0.9, 0.01))
    found = difference(a, b, (0.0,), (0.0, 1.0), groups=10).profile
    assert found.value[1] is None
    assert found.notes[1] == ("the first has no such layer",)


def test_between_layers_the_first_is_interpolated():
    a, b = _profile(_sure(0.4, 0.02), _sure(0.6, 0.04)), _profile(*[_sure(0.8, 0.0)] * 3)
    found = difference(a, b, (0.0, 2.0), PLACES, groups=10).profile
    assert found.value == pytest.approx((0.4, 0.3, 0.2))
    assert sure(found.high[1]) - sure(found.value[1]) == pytest.approx(0.03)
    assert "between layers 0 and 1 of the first" in found.facts[1]


def test_stages_are_subtracted_only_from_the_same_stage():
    def stages(*names: str) -> Profile:
        profile = _profile(*[_sure(0.5, 0.01)] * 3)
        return Profile(**{**profile.__dict__, "layers": (-2, -1, 0), "stages": names})

    places = (-2.0, -1.0, 0.0)
    a, b = stages("vision tower", "connector", ""), stages("connector", "connector", "")
    found = difference(a, b, places, places, groups=10).profile
    assert found.notes[0] == ("the first has another stage here: vision tower",)
    assert found.value[1:] == (0.0, 0.0)


def test_a_dimension_of_other_n_is_warned_of():
    a, b = (_profile(_sure(9.0, 0.5, n), metric=Metric.DIMENSION) for n in (4000, 500))
    found = difference(a, b, (0.0,), (0.0,), groups=10).profile
    assert found.notes[0] == ("n = 500 against 4,000 rows: dimension depends on n",)


def _of_groups(values: np.ndarray) -> Estimate:
    """A mean of groups, with its own t-interval."""
    without = [float(np.delete(values, k).mean()) for k in range(len(values))]
    moved = influences(float(values.mean()), without, [1] * len(values))
    low, high = stats.t.interval(0.95, len(values) - 1, loc=values.mean(), scale=stats.sem(values))
    return Estimate(float(values.mean()), low, high, 500, 64, influence=moved)


def _of_pairs() -> tuple[np.ndarray, np.ndarray, Profile, Profile]:
    """Two models on 10 groups of the same questions: what is common to both is 20 times what differs."""
    rng = np.random.default_rng(0)
    a = 0.5 + 0.2 * rng.normal(size=(3, 10))
    b = a + 0.01 * rng.normal(size=(3, 10)) + np.array([[0.0], [0.02], [0.1]])
    return a, b, _profile(*map(_of_groups, a)), _profile(*map(_of_groups, b))


def test_of_the_same_examples_the_interval_is_that_of_the_pairs():
    a, b, first, second = _of_pairs()
    found = difference(first, second, PLACES, PLACES, groups=10, same_examples=True)
    assert found.paired
    for layer in range(3):
        want = stats.ttest_rel(b[layer], a[layer]).confidence_interval(0.95)
        assert (found.profile.low[layer], found.profile.high[layer]) == pytest.approx((want.low, want.high), rel=1e-3)
    assert found.significant == (False, True, True)
    assert found.profile.facts[2][0] == f"{DIFFERS} (p 0.002)"  # one pattern of signs of 512
    alone = difference(first, second, PLACES, PLACES, groups=10)
    assert not alone.paired
    assert alone.significant == (False, False, False)


def test_without_the_same_groups_the_two_are_taken_as_independent():
    _, _, first, second = _of_pairs()
    fewer = replace(second, influence=tuple(each[:9] for each in second.influence))
    none = replace(second, influence=((),) * 3)
    alone = difference(first, second, PLACES, PLACES, groups=10)
    for other in (fewer, none):
        found = difference(first, other, PLACES, PLACES, groups=10, same_examples=True)
        assert not found.paired
        assert found.profile.low == alone.profile.low


def test_one_layer_that_cannot_be_paired_leaves_the_others_in_pairs():
    a, b, first, second = _of_pairs()
    pairs = difference(first, second, PLACES, PLACES, groups=10, same_examples=True)
    alone = difference(first, second, PLACES, PLACES, groups=10)
    of_a, of_b = (_profile(*map(_of_groups, values[:2])) for values in (a, b))
    two = difference(of_a, of_b, PLACES[:2], PLACES[:2], groups=10, same_examples=True)
    found = difference(
        first, replace(second, influence=(*second.influence[:2], ())), PLACES, PLACES, groups=10, same_examples=True
    )
    assert found.paired
    assert found.tested == 3
    assert found.profile.low == (*pairs.profile.low[:2], alone.profile.low[2])
    assert found.profile.notes == ((), (), (ALONE,))
    # The level is shared out: two thirds of it to the layers in pairs, Bonferroni's third to the other.
    p_of_two = [float(facts[0].partition("(p ")[2].rstrip(")")) for facts in two.profile.facts]
    p = [float(facts[0].partition("(p ")[2].rstrip(")")) for facts in found.profile.facts[:2]]
    assert p == pytest.approx([min(1.0, 1.5 * each) for each in p_of_two], rel=0.06)  # both are told in two digits
    assert found.significant == (False, True, False)
    assert found.profile.facts[2][0] == MAY_BE_ZERO


def test_models_of_different_depth_are_paired_between_the_layers_too():
    a, b, first, second = _of_pairs()
    found = difference(first, second, PLACES, (0.0, 0.5, 1.0), groups=10, same_examples=True)
    want = stats.ttest_rel(b[1], (a[0] + a[1]) / 2).confidence_interval(0.95)
    assert (found.profile.low[1], found.profile.high[1]) == pytest.approx((want.low, want.high), rel=1e-3)


def test_each_model_and_layer_is_divided_by_shares_of_its_own_rows():
    """Group 0 has most rows in A, group 9 in B; at the place between A's layers A's parts are the mean of both's."""
    rng = np.random.default_rng(7)
    sizes = np.array([[20] + [1] * 9, [10] + [2] * 9, [1] * 9 + [20]])
    values = rng.normal(0.5, 0.1, size=(3, 10))
    estimates = []
    for each, rows in zip(values, sizes, strict=True):
        mean = float(np.average(each, weights=rows))
        without = [float(np.average(np.delete(each, k), weights=np.delete(rows, k))) for k in range(10)]
        moved = influences(mean, without, rows.tolist())
        estimates.append(replace(_sure(mean, 0.1), influence=moved, shares=tuple((rows / rows.sum()).tolist())))
    found = difference(
        _profile(*estimates[:2]), _profile(estimates[2]), (0.0, 1.0), (0.5,), groups=10, same_examples=True
    )
    first, second, other = values * sizes / sizes.sum(1, keepdims=True)
    own = other - (first + second) / 2
    signs = np.array(list(itertools.product((1, -1), repeat=10)))
    assert found.profile.value[0] == pytest.approx(own.sum())
    assert sure(found.p[0]) == pytest.approx((np.abs(signs @ own) >= abs(own.sum())).mean(), rel=0.02)
