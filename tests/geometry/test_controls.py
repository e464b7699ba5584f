"""The ladder, the surrogates and the residuals, against direct computation."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.linalg import orthogonal_procrustes

from microscope_tui.errors import MicroscopeError
from microscope_tui.geometry import anisotropy, dimension, linearity
from microscope_tui.geometry.controls import (
    gaussian_surrogate,
    ladder,
    rms_normalise,
    shuffle_coordinates,
    shuffle_tokens,
)
from microscope_tui.geometry.curves import dimension_against_size
from microscope_tui.geometry.intervals import from_log_unexplained, jackknife_interval, log_unexplained
from microscope_tui.geometry.residuals import residuals
from tests.sure import sure

TYPES = (torch.bfloat16, torch.float32, torch.float64)


def pair(n=400, d=6, seed=0, noise=0.3):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, d)) * np.arange(1, d + 1) + 3
    turn = np.linalg.qr(rng.normal(size=(d, d)))[0]
    y = x + 0.4 * x @ turn + noise * rng.normal(size=(n, d))
    return x, y


def test_the_rungs_of_the_ladder_are_the_fits_of_scipy():
    x, y = pair()
    cx, cy = x - x.mean(0), y - y.mean(0)
    got = ladder(x, y)
    total = (cy**2).sum()
    assert got.identity.value == pytest.approx(1 - ((cy - cx) ** 2).sum() / total, rel=1e-10)
    c = (cx * cy).sum() / (cx**2).sum()
    assert got.scalar.value == pytest.approx(1 - ((cy - c * cx) ** 2).sum() / total, rel=1e-10)
    turn, scale = orthogonal_procrustes(cx, cy)
    fit = cx @ turn * scale / (cx**2).sum()
    assert got.orthogonal.value == pytest.approx(1 - ((cy - fit) ** 2).sum() / total, rel=1e-10)
    assert got.linear.value == linearity(x, y).value
    assert sure(got.identity.value) <= sure(got.scalar.value) <= sure(got.orthogonal.value) <= sure(got.linear.value)


def test_the_held_out_ladder_is_fitted_on_the_other_folds():
    x, y = pair(n=60)
    groups = np.arange(60) // 10
    got = ladder(x, y, groups=groups)
    wrong = total = 0.0
    for g in range(6):
        test, train = groups == g, groups != g
        mx, my = x[train].mean(0), y[train].mean(0)
        turn, scale = orthogonal_procrustes(x[train] - mx, y[train] - my)
        fit = (x[test] - mx) @ turn * scale / ((x[train] - mx) ** 2).sum()
        wrong += ((y[test] - my - fit) ** 2).sum()
        total += ((y[test] - my) ** 2).sum()
    assert got.orthogonal.value == pytest.approx(1 - wrong / total, rel=1e-9)
    assert sure(got.orthogonal.low) < sure(got.orthogonal.value) < sure(got.orthogonal.high)
    assert got.linear.value == linearity(x, y, method="held-out", groups=groups).value


@pytest.mark.parametrize("size", [1e3, 1e9])
def test_a_massive_row_leaves_the_maps_of_the_other_folds_exact(size):
    rng = np.random.default_rng(1)
    x = rng.normal(size=(200, 12))
    x[7] *= size
    y = x + 0.1 * rng.normal(size=x.shape)
    folds = np.arange(200) // 5 % 10
    errors, totals = [], []
    for k in range(10):
        test, train = folds == k, folds != k
        mx, my = x[train].mean(0), y[train].mean(0)
        turn, scale = orthogonal_procrustes(x[train] - mx, y[train] - my)
        fit = (x[test] - mx) @ turn * scale / ((x[train] - mx) ** 2).sum()
        errors.append(((y[test] - my - fit) ** 2).sum())
        totals.append(((y[test] - my) ** 2).sum())
    without = [1 - np.delete(errors, k).sum() / np.delete(totals, k).sum() for k in range(10)]
    value = 1 - sum(errors) / sum(totals)
    ends = jackknife_interval(value, without, [20] * 10, forward=log_unexplained, back=from_log_unexplained)
    got = ladder(x, y, groups=np.arange(200) // 5).orthogonal
    assert 1 - sure(got.value) == pytest.approx(1 - value, rel=1e-4)
    # Of a massive row the lower end is beyond all measure: the logarithm of what it leaves unexplained. Beside one of
    # 1e9 the others are rounding, and what the maps fitted with it do with them is nobody's number.
    if size < 1e9:
        assert np.log(1 - sure(got.low)) == pytest.approx(np.log(1 - sure(ends[0])), rel=2e-3)


@pytest.mark.parametrize(("n", "d"), [(40, 60), (100, 96), (108, 96)])
def test_what_the_training_rows_leave_open_of_a_rotation_is_no_rounding(n, d):
    """All rotations that fit the training rows alike are fitted by hand: their mean is the score."""
    rng = np.random.default_rng(5)
    x = rng.normal(size=(n, d))
    y = x + 0.3 * np.tanh(x @ rng.normal(size=(d, d)) / d**0.5) + 0.1 * rng.normal(size=(n, d))
    folds = np.arange(n) // 4 % 10
    wrong, total, left = 0.0, 0.0, 0
    for k in range(10):
        test, train = folds == k, folds != k
        mx, my = x[train].mean(0), y[train].mean(0)
        u, s, vt = np.linalg.svd((x[train] - mx).T @ (y[train] - my))
        rank = min(train.sum() - 1, d)
        left = max(left, d - rank)
        scale = s.sum() / ((x[train] - mx) ** 2).sum()
        turns = [u @ np.diag([1.0] * rank + [sign] * (d - rank)) @ vt for sign in (1, -1)]
        tx, ty = x[test] - mx, y[test] - my
        wrong += np.mean([((ty - scale * tx @ turn) ** 2).sum() for turn in turns])
        total += (ty**2).sum()
    got = ladder(x, y, groups=np.arange(n) // 4).orthogonal
    assert got.value == pytest.approx(1 - wrong / total, rel=1e-9)
    assert f"leave up to {left} of {d} directions open" in got.notes[0]
    for seed in range(3):
        order, columns = rng.permutation(n), rng.permutation(d)
        again = ladder(x[order][:, columns], y[order][:, columns], groups=(np.arange(n) // 4)[order]).orthogonal
        assert again.value == pytest.approx(got.value, rel=1e-7), seed
        assert again.low == pytest.approx(got.low, rel=1e-6)
    coarse = [torch.tensor(rows).bfloat16() for rows in (x, y)]
    values = [ladder(*(c.to(t) for c in coarse), groups=np.arange(n) // 4).orthogonal.value for t in TYPES]
    assert values == pytest.approx([values[0]] * len(TYPES), rel=1e-7)


def test_a_rotation_that_is_all_determined_needs_no_note():
    x, y = pair(n=60)
    assert ladder(x, y, groups=np.arange(60) // 10).orthogonal.notes == ()


def test_a_ladder_that_is_undefined_says_why():
    x, y = pair(n=20)
    once = x.copy()
    once[5:] = x[0]
    for rung in (got := ladder(once, y, groups=np.arange(20) // 5)).identity, got.orthogonal, got.linear:
        assert rung.reason == "outside one fold all rows of x are equal"
    flat = y * 0 + 3
    flat[:5] = y[:5]
    rung = ladder(x, flat, groups=np.arange(20) // 5).scalar
    assert (rung.low, rung.high) == (None, None)
    assert rung.notes == ("no interval: without one fold of examples all rows of y are equal",)
    assert ladder(x[:2], y[:2]).scalar.reason == "n = 2: a linear map needs at least 3 rows"
    assert "2 examples" in sure(ladder(x, y, groups=np.zeros(20)).identity.reason)


def test_the_surrogate_keeps_mean_and_covariance_and_loses_the_manifold():
    rng = np.random.default_rng(0)
    angle = rng.uniform(0, 2 * np.pi, size=(2000, 2))
    flat = np.concatenate([np.cos(angle), np.sin(angle)], 1) @ np.linalg.qr(rng.normal(size=(12, 4)))[0].T
    x = torch.tensor(flat + 5)
    copy = gaussian_surrogate(x)
    assert torch.allclose(copy.mean(0), x.mean(0), atol=0.1)
    assert torch.allclose(copy.T.cov(), x.T.cov(), atol=0.06)
    assert dimension(x).value == pytest.approx(2, rel=0.1)
    assert dimension(copy).value == pytest.approx(4, rel=0.1)
    assert torch.equal(copy, gaussian_surrogate(x))
    assert not torch.equal(copy, gaussian_surrogate(x, seed=1))


def test_shuffles_keep_the_values_and_lose_what_they_should():
    x, y = pair()
    rows = torch.tensor(y)
    assert torch.equal(shuffle_tokens(rows).sort(0).values, rows.sort(0).values)
    groups = torch.arange(400) % 7
    within = shuffle_tokens(rows, groups)
    assert not torch.equal(within, rows)
    for g in range(7):
        assert sorted(within[groups == g].tolist()) == sorted(rows[groups == g].tolist())
    assert sure(linearity(x, shuffle_tokens(rows)).value) < 0.05 < 0.9 < sure(linearity(x, y).value)
    mixed = shuffle_coordinates(rows)
    assert torch.equal(mixed.sort(0).values, rows.sort(0).values)
    np.testing.assert_allclose(mixed.T.cov().diagonal(), rows.T.cov().diagonal())
    correlation = np.abs(np.corrcoef(mixed.numpy().T) - np.eye(6)).max()
    assert correlation < 0.2


def test_rms_normalised_rows_have_one_size():
    x = torch.tensor(pair()[0]).float()
    x[3] = 0
    x[7] *= 2500
    out = rms_normalise(x)
    sizes = out.square().mean(1).sqrt()
    sizes[3] = 1
    assert torch.allclose(sizes, torch.ones(400, dtype=torch.float64))
    assert out[3].abs().max() == 0
    assert sure(anisotropy(out).value) < 0.9 < sure(anisotropy(x).value)


@pytest.mark.parametrize("size", [1e200, 1e-200, 5e-324])
def test_rms_normalised_rows_do_not_depend_on_their_unit(size):
    x = np.sign(pair()[0]) if size < 1e-300 else pair()[0]
    x[3] = 0
    np.testing.assert_allclose(rms_normalise(x * size), rms_normalise(x), rtol=1e-13)


@pytest.mark.parametrize("kind", [np.asarray, torch.tensor, np.ndarray.tolist], ids=["array", "tensor", "lists"])
def test_controls_take_rows_of_every_kind(kind):
    x = pair(n=40)[0]
    rows, groups = torch.tensor(x), np.arange(40) % 7
    for control in gaussian_surrogate, shuffle_coordinates, shuffle_tokens, rms_normalise:
        assert torch.allclose(control(kind(x)), control(rows), rtol=1e-9)
    assert torch.equal(shuffle_tokens(kind(x), kind(groups)), shuffle_tokens(rows, torch.tensor(groups)))
    with pytest.raises(MicroscopeError, match="groups has shape"):
        shuffle_tokens(kind(x), kind(groups[:5]))


def test_leaving_an_example_out_is_a_refit_without_it():
    x, y = pair(n=90, d=5)
    groups = np.repeat(["b", "a", "c", "d", "e", "f"], 15)
    groups = np.unique(groups, return_inverse=True)[1] * 10
    got = residuals(x, y, groups)
    assert got.group.tolist() == [0, 10, 20, 30, 40, 50]
    design = np.column_stack([np.ones(90), x])
    pooled = y - design @ np.linalg.lstsq(design, y, rcond=None)[0]
    np.testing.assert_allclose(got.token, (pooled**2).sum(1), rtol=1e-8)
    assert 1 - float(got.token.sum() / got.token_total.sum()) == pytest.approx(linearity(x, y).value, rel=1e-10)
    for i, g in enumerate(got.group.tolist()):
        test, train = groups == g, groups != g
        a = np.linalg.lstsq(design[train], y[train], rcond=None)[0]
        want = ((y[test] - design[test] @ a) ** 2).sum()
        assert float(got.held_out_error[i]) == pytest.approx(want, rel=1e-8)
        total = ((y[test] - y[train].mean(0)) ** 2).sum()
        assert float(got.held_out_total[i]) == pytest.approx(total, rel=1e-10)
        assert float(got.score[i]) == pytest.approx(1 - (pooled[test] ** 2).sum() / float(got.total[i]), rel=1e-8)
    assert got.pooled_held_out_score < sure(linearity(x, y).value)


def test_residuals_of_examples_with_names_are_in_the_order_of_the_names():
    x, y = pair(n=90, d=5)
    names = np.repeat(["b", "a", "c"], 30)
    got, numbered = residuals(x, y, names), residuals(x, y, np.repeat([1, 0, 2], 30))
    assert got.group.tolist() == [0, 1, 2]
    assert torch.allclose(got.held_out_error, numbered.held_out_error, rtol=1e-9)


def test_an_example_that_alone_holds_a_direction_cannot_be_left_out():
    x, y = pair(n=60, d=4)
    groups = np.arange(60) // 10
    x[:, 3] = np.where(groups == 2, np.arange(60), 0)
    left = residuals(x, y, groups).held_out_error
    assert left.isinf().tolist() == [False, False, True, False, False, False]


def test_residuals_need_enough_rows_and_two_examples():
    x, y = pair(n=6, d=6)
    with pytest.raises(MicroscopeError, match=r"n = 6 ≤ d \+ 1 = 7"):
        residuals(x, y, np.arange(6))
    x, y = pair(n=20)
    with pytest.raises(MicroscopeError, match="2 examples"):
        residuals(x, y, np.zeros(20))
    for size in (1e200, 1e-200):
        with pytest.raises(MicroscopeError, match="in another unit"):
            residuals(x * size, y * size, np.arange(20))


def test_noise_shows_in_the_curve_against_size():
    rng = np.random.default_rng(3)
    turn = np.linalg.qr(rng.normal(size=(20, 3)))[0]
    clean = rng.uniform(size=(4000, 3)) @ turn.T
    noisy = clean + 0.02 * rng.normal(size=clean.shape)
    curve = dimension_against_size(clean)
    assert [p.n for p in curve] == [125, 250, 500, 1000, 2000, 4000]
    assert all(p.value == pytest.approx(3, rel=0.2) for p in curve)
    rising = [sure(p.value) for p in dimension_against_size(noisy, sizes=(500, 2000, 4000))]
    assert rising[0] < rising[1] < rising[2]
    assert rising[2] > 1.3 * rising[0]
    with pytest.raises(MicroscopeError, match="cannot be drawn"):
        dimension_against_size(clean, sizes=(5000,))


def test_the_curve_of_no_rows_is_one_value_that_says_so():
    for sizes in (None, (10,)):
        (point,) = dimension_against_size(np.zeros((0, 4)), sizes=sizes)
        assert (point.value, point.n, point.d, point.reason) == (None, 0, 4, "there are no rows")
