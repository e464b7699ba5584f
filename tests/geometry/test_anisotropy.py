"""Anisotropy against numpy and the definitions as published."""

from __future__ import annotations

import importlib
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import ortho_group

from microscope_tui.errors import MicroscopeError
from microscope_tui.geometry import anisotropy
from microscope_tui.geometry.anisotropy import spread_anisotropies, spread_anisotropy
from microscope_tui.geometry.intervals import from_logit, influences, jackknife_interval, logit
from microscope_tui.geometry.moments import Spread
from microscope_tui.geometry.spectrum import top_eigenvalue
from microscope_tui.methods import METHODS
from microscope_tui.terms import Metric
from tests.sure import sure


def rows(n=400, d=12, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, d)) * np.arange(1, d + 1) ** -0.7 + rng.normal(size=d)


def eigenvalues(x):
    return np.linalg.eigvalsh(np.cov(x.T))[::-1]


def test_each_method_is_its_definition():
    x = rows()
    values = eigenvalues(x)
    assert anisotropy(x).value == pytest.approx(values[0] / values.sum(), rel=1e-9)
    ratio = values.sum() ** 2 / (values**2).sum()
    assert anisotropy(x, method="participation-ratio").value == pytest.approx(ratio, rel=1e-9)
    share = values / values.sum()
    rank = np.exp(-(share * np.log(share)).sum())
    assert anisotropy(x, method="effective-rank").value == pytest.approx(rank, rel=1e-9)
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    cosines = unit @ unit.T
    mean = cosines[~np.eye(len(x), dtype=bool)].mean()
    assert anisotropy(x, method="mean-cosine").value == pytest.approx(mean, rel=1e-9)


def published_isoscore(x):
    """Rudman et al. 2022, algorithm 1, step by step."""
    d = x.shape[1]
    variances = np.cov(x.T @ np.eye(len(x)))
    centred = x - x.mean(0)
    turned = centred @ np.linalg.svd(centred, full_matrices=False)[2].T
    variances = np.diag(np.cov(turned.T))
    hat = np.sqrt(d) * variances / np.linalg.norm(variances)
    defect = np.linalg.norm(hat - 1) / np.sqrt(2 * (d - np.sqrt(d)))
    used = (d - defect**2 * (d - np.sqrt(d))) ** 2 / d**2
    return (d * used - 1) / (d - 1)


@pytest.mark.parametrize("seed", range(3))
def test_isoscore_is_the_published_algorithm(seed):
    x = rows(seed=seed)
    assert anisotropy(x, method="isoscore").value == pytest.approx(published_isoscore(x), rel=1e-9)


def test_the_ends_of_the_scales():
    line = np.outer(np.arange(50.0), np.ones(6))
    assert anisotropy(line).value == pytest.approx(1)
    assert anisotropy(line, method="participation-ratio").value == pytest.approx(1)
    assert anisotropy(line, method="isoscore").value == pytest.approx(0, abs=1e-9)
    even = np.concatenate([np.eye(6), -np.eye(6)])
    assert anisotropy(even).value == pytest.approx(1 / 6)
    assert anisotropy(even, method="participation-ratio").value == pytest.approx(6)
    assert anisotropy(even, method="isoscore").value == pytest.approx(1)
    assert anisotropy(np.abs(line[1:]), method="mean-cosine").value == pytest.approx(1)


@pytest.mark.parametrize("gap", [0.5, 1e-3, 1e-7, 0.0])
def test_the_largest_eigenvalue_where_two_are_close(gap):
    values = np.concatenate([[1.0, 1.0 - gap], np.linspace(0.9, 0, 298)])
    turn = ortho_group.rvs(300, random_state=0)
    matrix = torch.tensor(turn * values @ turn.T)
    assert top_eigenvalue(matrix) == pytest.approx(1, rel=1e-8 if gap == 1e-7 else 1e-10)


def test_the_interval_is_by_example_and_inside_the_range():
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(20), 30)
    x = rng.normal(size=(600, 8)) + 2 * rng.normal(size=(20, 8))[groups]
    for method in ("top-eigenvalue", "mean-cosine", "participation-ratio", "isoscore", "effective-rank"):
        got = anisotropy(x, method=method, groups=groups)
        assert sure(got.low) < sure(got.value) < sure(got.high)
    top = anisotropy(x, groups=groups)
    assert sure(top.low) > 0
    assert sure(top.high) < 1
    alone = anisotropy(x, groups=np.arange(600))
    assert sure(alone.high) - sure(alone.low) < sure(top.high) - sure(top.low)


@pytest.mark.parametrize("method", ["mean-cosine", "participation-ratio"])
def test_groups_are_dealt_to_as_many_folds_as_asked_for(method):
    x, groups = rows(n=600), np.arange(600) % 40
    got = anisotropy(x, method=method, groups=groups, folds=20)
    folds = [Spread.of(torch.tensor(x[groups % 20 == k])) for k in range(20)]
    want = spread_anisotropy(sum(folds[1:], start=folds[0]), method=method, folds=folds)
    assert len(got.influence) == 20
    assert (got.low, got.high, *got.influence) == pytest.approx((want.low, want.high, *want.influence), rel=1e-9)
    with pytest.raises(MicroscopeError, match="0 folds"):
        anisotropy(x, method=method, groups=groups, folds=0)


@pytest.mark.parametrize("method", ["top-eigenvalue", "participation-ratio", "effective-rank"])
@pytest.mark.parametrize("size", [1e7, 1e32])
@pytest.mark.parametrize("at_once", [3, 10])
def test_a_massive_row_leaves_the_values_without_its_fold_exact(method, size, at_once, monkeypatch):
    monkeypatch.setattr(importlib.import_module("microscope_tui.geometry.anisotropy"), "HELD", at_once * 12 * 12)
    x, fold = rows(n=200), np.arange(200) % 7
    x[5] *= size
    got = anisotropy(x, method=method, groups=fold)
    without = [sure(anisotropy(x[fold != k], method=method).value) for k in range(7)]
    assert without[5] != pytest.approx(without[0], rel=0.1)
    assert got.influence == pytest.approx(influences(sure(got.value), without, np.bincount(fold).tolist()), rel=1e-9)


@pytest.mark.parametrize("method", ["top-eigenvalue", "participation-ratio"])
def test_a_massive_row_among_few_leaves_the_values_without_its_fold_exact(method):
    x, fold = np.random.default_rng(1).normal(size=(100, 300)), np.arange(100) % 7
    x[5] *= 1e7
    got = anisotropy(x, method=method, groups=fold)
    without = [sure(anisotropy(x[fold != k], method=method).value) for k in range(7)]
    assert got.influence == pytest.approx(influences(sure(got.value), without, np.bincount(fold).tolist()), rel=1e-6)


def test_fewer_rows_than_dimensions_use_the_rows_own_products():
    x = rows(n=30, d=200)
    values = eigenvalues(x)
    assert anisotropy(x).value == pytest.approx(values[0] / values.sum(), rel=1e-9)
    assert any("few rows" in note for note in anisotropy(x).notes)
    groups = np.arange(30) // 3
    for method in ("top-eigenvalue", "participation-ratio", "isoscore", "effective-rank"):
        few = anisotropy(x, method=method, groups=groups)
        folds = [Spread.of(torch.tensor(x[groups == g])) for g in range(10)]
        whole = spread_anisotropy(sum(folds[1:], start=folds[0]), method=method, folds=folds)
        assert (few.n, few.d) == (30, 200)
        assert few.value == pytest.approx(whole.value, rel=1e-9)
        assert few.low == pytest.approx(whole.low, rel=1e-6)
        assert anisotropy(x, method=method).value == pytest.approx(whole.value, rel=1e-9)


@pytest.mark.parametrize("seed", range(6))
def test_without_the_fold_of_a_massive_row_the_others_are_about_their_own_mean(seed):
    """What a mean loses when one of 1e38 is taken away would pass for the size of the others: they would be equal."""
    x, fold = rows(n=200, d=2, seed=seed), np.arange(200) % 7
    x[5] *= 1e40
    got = anisotropy(x, method="participation-ratio", groups=fold)
    without = [sure(anisotropy(x[fold != k], method="participation-ratio").value) for k in range(7)]
    want = influences(sure(got.value), without, [int((fold == k).sum()) for k in range(7)])
    assert got.influence == pytest.approx(want, rel=1e-9)


@pytest.mark.parametrize("d", [5, 150])
def test_all_methods_together_give_what_each_gives_alone(d, monkeypatch):
    monkeypatch.setattr(importlib.import_module("microscope_tui.geometry.anisotropy"), "HELD", 2 * d * d)
    rows = torch.randn(400, d, generator=torch.Generator().manual_seed(d), dtype=torch.float64)
    rows = rows * torch.arange(1, d + 1) ** -0.5 + 1
    folds = [Spread.of(rows[k::5]) for k in range(5)]
    whole = sum(folds[1:], start=folds[0])
    methods = METHODS[Metric.ANISOTROPY]
    together = spread_anisotropies(whole, methods, folds=folds)
    assert list(together) == list(methods)
    for method, got in together.items():
        alone = spread_anisotropy(whole, method=method, folds=folds)
        assert got == anisotropy_within(alone, 1e-9)
        assert sure(got.low) < sure(got.value) < sure(got.high)
    others = [torch.cat([rows[j::5] for j in range(5) if j != k]) for k in range(5)]
    without = [sure(anisotropy(other).value) for other in others]
    ends = jackknife_interval(sure(together["top-eigenvalue"].value), without, [80] * 5, forward=logit, back=from_logit)
    assert (together["top-eigenvalue"].low, together["top-eigenvalue"].high) == pytest.approx(ends, rel=1e-6)
    eigenvalues = torch.linalg.eigvalsh(rows.T.cov())
    share = eigenvalues / eigenvalues.sum()
    assert together["effective-rank"].value == pytest.approx(float((-share * share.log()).sum().exp()), rel=1e-9)


def anisotropy_within(want, rel):
    """The estimate with its numbers to a tolerance: alone, the largest eigenvalue is sought by itself."""
    return replace(
        want,
        value=pytest.approx(want.value, rel=rel),
        low=pytest.approx(want.low, rel=rel * 100),
        high=pytest.approx(want.high, rel=rel * 100),
        influence=pytest.approx(want.influence, rel=rel * 100),
    )


def test_one_undefined_method_leaves_the_others():
    x = torch.randn(50, 4, generator=torch.Generator().manual_seed(0))
    spread = replace(Spread.of(x), units=None)
    found = spread_anisotropies(spread, ("mean-cosine", "isoscore"))
    assert found["mean-cosine"].reason == "the mean cosine of these rows was not accumulated"
    assert found["isoscore"].value == anisotropy(x, method="isoscore").value
    with pytest.raises(MicroscopeError, match="no method 'cosine'"):
        spread_anisotropies(spread, ("cosine",))
