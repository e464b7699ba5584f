"""Gride against its published likelihood, and what the scale curve shows."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar
from scipy.special import betaln

from microscope_tui.geometry import dimension
from microscope_tui.geometry.gride import gride_curve, gride_error, gride_mle, gride_without
from microscope_tui.geometry.neighbours import nearest
from tests.sure import sure


def log_likelihood(d, mu, n1, n2):
    """Denti et al. 2022, equation 7."""
    return np.sum(np.log(d) + (n2 - n1 - 1) * np.log(mu**d - 1) - ((n2 - 1) * d + 1) * np.log(mu) - betaln(n2 - n1, n1))


@pytest.mark.parametrize("k", [1, 2, 4, 8])
def test_the_estimate_maximises_the_published_likelihood(k):
    x = torch.tensor(np.random.default_rng(0).uniform(size=(600, 5)))
    radii = nearest(x, 2 * k).distance.numpy()
    mu = radii[:, 2 * k - 1] / radii[:, k - 1]
    best = minimize_scalar(lambda d: -log_likelihood(d, mu, k, 2 * k), bounds=(0.5, 20), method="bounded")
    value = sure(gride_mle(torch.tensor(np.log(mu)), k))
    assert value == pytest.approx(best.x, rel=1e-5)
    step = 1e-3
    curvature = (
        log_likelihood(value + step, mu, k, 2 * k)
        - 2 * log_likelihood(value, mu, k, 2 * k)
        + log_likelihood(value - step, mu, k, 2 * k)
    ) / step**2
    assert gride_error(torch.tensor(np.log(mu)), k, value) == pytest.approx((-curvature) ** -0.5, rel=1e-3)


def test_at_k_1_it_is_two_nn():
    x = np.random.default_rng(1).uniform(size=(500, 4))
    point = gride_curve(x, scales=(1,))[0]
    assert sure(point.estimate.value) * 499 / 500 == pytest.approx(dimension(x).value, rel=1e-9)


def test_the_curve_falls_from_noise_to_the_set():
    rng = np.random.default_rng(2)
    flat = rng.uniform(size=(3000, 2)) @ np.linalg.qr(rng.normal(size=(15, 2)))[0].T
    curve = gride_curve(flat + 0.01 * rng.normal(size=flat.shape))
    assert [p.k for p in curve] == [1, 2, 4, 8, 16, 32, 64]
    values = [sure(p.estimate.value) for p in curve]
    assert values == sorted(values, reverse=True)
    assert values[-1] == pytest.approx(2, rel=0.25)
    assert values[0] > 5
    radii = [p.radius for p in curve]
    assert radii == sorted(radii)


def test_the_single_number_is_the_curves_point_at_k_8_with_an_interval_by_example():
    x = np.random.default_rng(3).uniform(size=(1000, 3))
    groups = np.arange(1000) // 20
    got = dimension(x, method="gride", groups=groups)
    assert got.value == pytest.approx(gride_curve(x, scales=(8,))[0].estimate.value, rel=1e-12)
    assert sure(got.low) < sure(got.value) < sure(got.high)
    assert any("Fisher" in note for note in got.notes)


def test_a_curve_needs_more_rows_than_neighbours():
    x = np.random.default_rng(4).uniform(size=(20, 3))
    assert [p.k for p in gride_curve(x)] == [1, 2, 4, 8]
    x[3, 1] = np.nan
    assert gride_curve(x)[0].estimate.reason == "1 of 20 rows hold NaN or infinity"
    assert dimension(np.random.default_rng(4).uniform(size=(16, 3)), method="gride").value is None


def test_leaving_out_a_pile_by_one_step_is_fitting_the_rest_anew():
    rng = np.random.default_rng(5)
    k, n, count = 8, 4000, 100
    # The ratio of Gamma sums: r_2k/r_k in d dimensions, for independent shells.
    inner = rng.gamma(k, size=n)
    log_mu = torch.tensor(np.log(1 + rng.gamma(k, size=n) / inner) / 6.5)
    piles = torch.tensor(rng.integers(0, count, n))
    whole = gride_mle(log_mu, k)
    assert whole is not None
    one_step = gride_without(log_mu, k, whole, piles, count)
    for pile in range(count):
        anew = gride_mle(log_mu[piles != pile], k)
        assert anew is not None
        assert abs(one_step[pile] - anew) < 0.01 * abs(anew - whole) + 1e-6
