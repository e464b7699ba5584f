"""Quantiles and the jackknife against scipy and textbook formulas."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from scipy import stats

from microscope_tui.geometry import anisotropy, dimension, linearity
from microscope_tui.geometry.intervals import influences, jackknife_error, jackknife_interval
from microscope_tui.geometry.rows import FOLDS
from microscope_tui.student import t_quantile
from tests.sure import sure


@pytest.mark.parametrize("degrees", [1, 2, 3, 4, 5, 9, 19, 30, 99])
@pytest.mark.parametrize("p", [0.5, 0.6, 0.9, 0.975, 0.999, 0.025])
def test_quantiles_are_scipys(degrees, p):
    assert t_quantile(p, degrees) == pytest.approx(stats.t.ppf(p, degrees), rel=1e-9, abs=1e-12)


@pytest.mark.parametrize(("p", "degrees"), [(0.0, 5), (1.0, 5), (-0.1, 5), (1.5, 5), (float("nan"), 5), (0.9, 0)])
def test_what_is_no_quantile_is_refused(p, degrees):
    with pytest.raises(ValueError, match=rf"{degrees} degrees of freedom has no {p}-quantile"):
        t_quantile(p, degrees)


def test_the_jackknife_of_a_mean_is_its_standard_error():
    values = np.random.default_rng(0).normal(size=25)
    without = [float(np.delete(values, i).mean()) for i in range(25)]
    error = jackknife_error(float(values.mean()), without, [1] * 25)
    assert error == pytest.approx(values.std(ddof=1) / 5, rel=1e-12)
    low, high = jackknife_interval(float(values.mean()), without, [1] * 25)
    want = stats.t.interval(0.95, 24, loc=values.mean(), scale=values.std(ddof=1) / 5)
    assert (low, high) == pytest.approx(want, rel=1e-9)


def test_groups_of_unequal_size_weigh_by_size():
    """A group of no rows changes nothing, and equal groups give the plain formula."""
    rng = np.random.default_rng(1)
    groups = [rng.normal(size=n) for n in (5, 5, 5, 5)]
    everything = np.concatenate(groups)
    without = [float(np.concatenate(groups[:i] + groups[i + 1 :]).mean()) for i in range(4)]
    plain = (3 / 4 * sum((w - np.mean(without)) ** 2 for w in without)) ** 0.5
    assert jackknife_error(float(everything.mean()), without, [5] * 4) == pytest.approx(plain, rel=1e-9)
    padded = jackknife_error(float(everything.mean()), [*without, 0.0], [5, 5, 5, 5, 0])
    assert padded == pytest.approx(plain, rel=1e-9)


def test_too_few_groups_or_an_edge_value_give_no_interval():
    assert jackknife_interval(1.0, [1.0, 1.1], [5, 5]) == (None, None)
    assert jackknife_interval(1.0, [float("nan")] * 5, [5] * 5) == (None, None)
    assert jackknife_interval(0.0, [0.1] * 5, [5] * 5, forward=lambda v: 1 / v) == (None, None)


@pytest.mark.parametrize("measure", [dimension, anisotropy, linearity, partial(linearity, method="held-out")])
def test_with_influences_come_the_shares_of_rows(measure):
    rng = np.random.default_rng(5)
    sizes = [30, 5, 10, 15, 40]
    groups = np.repeat(np.arange(5), sizes)
    x = rng.normal(size=(100, 4))
    args = (x, x + 0.1 * rng.normal(size=x.shape)) if measure not in (dimension, anisotropy) else (x,)
    got = measure(*args, groups=groups)
    assert sure(got.low) < sure(got.high)
    assert len(got.shares) == len(got.influence) >= 5
    assert got.shares[:5] == pytest.approx([size / 100 for size in sizes])
    alone = measure(*args)
    assert (alone.low, alone.high, alone.influence, alone.shares) == (None, None, (), ())


def test_influences_are_those_of_a_mean():
    values = np.random.default_rng(2).normal(size=12)
    without = [float(np.delete(values, i).mean()) for i in range(12)]
    want = (values - values.mean()) / np.sqrt(12 * 11)
    assert influences(float(values.mean()), without, [1] * 12) == pytest.approx(want.tolist(), rel=1e-9)
    padded = influences(float(values.mean()), [*without, 0.0], [1] * 12 + [0])
    assert padded == pytest.approx([*want.tolist(), 0.0], rel=1e-9)
    assert influences(1.0, [1.0, 1.1], [5, 5]) == ()


@pytest.mark.parametrize(
    ("metric", "method"),
    [
        (linearity, "in-sample"),
        (linearity, "held-out"),
        (linearity, "adjusted"),
        (linearity, "update"),
        (anisotropy, "top-eigenvalue"),
        (anisotropy, "mean-cosine"),
        (anisotropy, "effective-rank"),
        (dimension, "mle"),
        (dimension, "facco"),
        (dimension, "gride"),
        (dimension, "scikit-dimension"),
    ],
)
def test_every_interval_comes_with_the_influences_that_make_it(metric, method):
    """To first order, for the interval is made on another scale: log, logit or 1/d."""
    rng = np.random.default_rng(3)
    groups = np.arange(30).repeat(20)
    x = rng.normal(size=(600, 5)) + 0.3 * rng.normal(size=(30, 5))[groups] + 1
    rows = (x, x @ rng.normal(size=(5, 5)) + rng.normal(size=(600, 5))) if metric is linearity else (x,)
    got = metric(*rows, method=method, groups=groups)
    assert len(got.influence) == FOLDS
    half = t_quantile(0.975, FOLDS - 1) * np.hypot.reduce(got.influence)
    # Dimension has its own interval from each of 30 examples, not from 10 folds of them.
    assert half == pytest.approx((got.high - got.low) / 2, rel=0.5 if metric is dimension else 0.3)
