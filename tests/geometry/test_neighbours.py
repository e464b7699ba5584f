"""Nearest neighbours are exact where products alone would cancel, and duplicates are found exactly."""

from __future__ import annotations

import importlib

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial import cKDTree
from scipy.spatial.distance import cdist

from microscope_tui.errors import MicroscopeError
from microscope_tui.geometry import dimension, neighbours, screening
from microscope_tui.geometry.dimension import Near, dimensions
from microscope_tui.geometry.gride import gride_mle
from microscope_tui.geometry.links import link_inflation
from microscope_tui.geometry.masks import duplicate_of, duplicates, sinks
from microscope_tui.geometry.neighbours import nearest
from microscope_tui.geometry.twonn import FORMULAS
from microscope_tui.methods import METHODS
from microscope_tui.terms import Metric
from tests.geometry.counted import counted
from tests.sure import sure


def hard_rows(kind, n=700, d=24, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, d))
    if kind == "offset":
        x = 1000 + 1e-3 * x
    elif kind == "massive":
        x[::64] *= 2500
    elif kind == "clusters":
        x = rng.normal(size=(n // 7, d)).repeat(7, axis=0) * 100 + 1e-4 * x
    elif kind == "duplicates":
        x = x[rng.integers(0, n // 3, size=n)]
    elif kind == "line":
        x = np.outer(np.arange(n, dtype=float), np.ones(d))
    return torch.tensor(x, dtype=torch.float32)


KINDS = ["plain", "offset", "massive", "clusters", "duplicates", "line"]


@pytest.mark.parametrize("turned", [0, 10_000])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("k", [1, 2, 9])
def test_distances_are_a_search_trees(kind, k, turned, monkeypatch):
    """Whether tiles serve one side, as of narrow rows, or both, as of wide ones."""
    monkeypatch.setattr(screening, "TURNED", turned)
    x = hard_rows(kind)
    exact = x.double().numpy()
    got = nearest(x, k)
    want = np.sort(cdist(exact, exact) + np.diag(np.full(len(x), np.inf)), axis=1)[:, :k]
    np.testing.assert_allclose(got.distance.numpy(), want, rtol=1e-9, atol=1e-12)
    direct = np.linalg.norm(exact[:, None] - exact[got.index.numpy()], axis=2)
    np.testing.assert_allclose(got.distance.numpy(), direct, rtol=1e-12)
    assert not (got.index == torch.arange(len(x))[:, None]).any()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("k", [1, 2, 16])
def test_queries_against_references_are_a_search_trees(kind, k):
    """Q rows looked up among all N, in any order, alone and with rows of the same example apart."""
    x = hard_rows(kind, n=903)
    asked = torch.randperm(903, generator=torch.Generator().manual_seed(k))[:150]
    exact = x.double().numpy()
    want = np.linalg.norm(exact[asked][:, None] - exact, axis=2)
    want[np.arange(150), asked] = np.inf
    got = nearest(x, k, queries=asked)
    np.testing.assert_allclose(got.distance, np.sort(want, axis=1)[:, :k], rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(want[np.arange(150)[:, None], got.index], got.distance, rtol=1e-12)
    if kind != "duplicates":  # a tree also finds the row itself, or one that equals it
        tree, _ = cKDTree(exact).query(exact[asked], k=k + 1)
        np.testing.assert_allclose(got.distance, tree[:, 1:], rtol=1e-9)
    example = torch.arange(903) // 9
    want[example[asked][:, None].numpy() == example.numpy()] = np.inf
    apart = nearest(x, k, queries=asked, apart=example)
    np.testing.assert_allclose(apart.distance, np.sort(want, axis=1)[:, :k], rtol=1e-9, atol=1e-12)


def test_dimension_of_queries_is_that_of_a_search_trees_distances():
    x = np.random.default_rng(10).uniform(size=(2000, 6))
    asked = torch.randperm(2000, generator=torch.Generator().manual_seed(2000))[:400].numpy()
    far, _ = cKDTree(x).query(x[asked], k=17)
    log_mu = np.log(far[:, 2] / far[:, 1])
    assert dimension(x, queries=400).value == pytest.approx(399 / log_mu.sum(), rel=1e-9)
    likely = gride_mle(torch.tensor(np.log(far[:, 16] / far[:, 8])), 8)
    assert dimension(x, queries=400, method="gride").value == pytest.approx(likely, rel=1e-9)


@pytest.mark.parametrize("scale", [1e-30, 1e-18, 1e18, 1e30])
def test_the_scale_of_rows_changes_nothing(scale):
    """Squares of such float32 rows are none in float32."""
    x = hard_rows("plain")
    far, _ = cKDTree(x.double()).query(x.double(), k=3)
    got = nearest(x * scale, 2).distance / scale
    np.testing.assert_allclose(got, far[:, 1:], rtol=1e-6)
    x[5] *= 1e25
    exact = x.double().numpy()
    np.testing.assert_allclose(nearest(x, 2).distance, cKDTree(exact).query(exact, k=3)[0][:, 1:], rtol=1e-9)


def test_massive_rows_are_compared_anew_with_those_that_can_be_near_them(monkeypatch):
    calls: list[tuple[object, ...]] = []
    monkeypatch.setattr(neighbours, "screen_some", counted(screening.screen_some, calls))
    x = hard_rows("plain", n=1000)
    x[::100] = 1e4 + 1e-2 * x[::100]
    x[50::100] = -1e4 + 1e-2 * x[50::100]
    for k, others in ((2, 20), (6, 20), (30, 1000), (2, 1000)):
        if calls and k == 2:
            x[7] = -3e4  # every row is about as far from this one
        exact = x.double().numpy()
        calls.clear()
        got = nearest(x, k)
        np.testing.assert_allclose(got.distance, cKDTree(exact).query(exact, k=k + 1)[0][:, 1:], rtol=1e-9)
        assert [len(args[0]) for args in calls if isinstance(args[0], torch.Tensor)] == [others]
    far = nearest(x, 2, apart=torch.arange(1000) // 100)
    wide = cdist(exact, exact)
    wide[np.arange(1000)[:, None] // 100 == np.arange(1000) // 100] = np.inf
    np.testing.assert_allclose(far.distance, np.sort(wide, axis=1)[:, :2], rtol=1e-9)


@pytest.mark.parametrize("shape", [(64, 4096), (512, 64), (448, 250), (3, 5), (64, 64), (192, 1000)])
@pytest.mark.parametrize("keep", [1, 3, 18])
def test_the_least_of_rows_and_columns_are_numpys(shape, keep):
    tile = torch.rand(shape, generator=torch.Generator().manual_seed(keep))
    tile[torch.rand(shape, generator=torch.Generator().manual_seed(9)) < 0.3] = float("inf")
    for turned, least in ((tile, screening.least), (tile.T, screening.least_of_columns)):
        values, index = least(tile, keep)
        want = np.sort(turned.numpy(), axis=1)[:, :keep]
        np.testing.assert_array_equal(values.sort(1).values, want)
        assert torch.equal(turned.gather(1, index), values)
        assert all(len(set(row)) == len(row) for row in index.tolist())


def test_no_row_needs_the_slow_comparison(monkeypatch):
    """The second screen, in float64, settles what the first cannot: massive rows, common offsets, clusters."""
    calls = []
    monkeypatch.setattr(neighbours, "_direct", lambda *args: calls.append(args))
    for kind in ("plain", "offset", "massive", "clusters"):
        nearest(hard_rows(kind), 2)
    assert not calls


def test_tiles_change_nothing(monkeypatch):
    x = hard_rows("clusters")
    whole = nearest(x, 3)
    monkeypatch.setattr(screening, "TILE_ROWS", 48)
    monkeypatch.setattr(screening, "TILE_COLUMNS", 64)
    tiled = nearest(x, 3)
    assert torch.equal(whole.distance, tiled.distance)


def test_neighbours_of_other_examples_only():
    x = hard_rows("clusters")
    example = torch.arange(len(x)) // 7
    got = nearest(x, 2, apart=example)
    assert (example[got.index] != example[:, None]).all()
    far = cdist(x.double(), x.double())
    far[example[:, None].numpy() == example.numpy()] = np.inf
    np.testing.assert_allclose(got.distance, np.sort(far, axis=1)[:, :2], rtol=1e-9)
    lonely = nearest(x[:9], 3, apart=torch.tensor([0] * 7 + [1, 1]))
    assert torch.isinf(lonely.distance[0, 2])
    assert not torch.isinf(lonely.distance[8]).any()


def test_queries_are_the_rows_asked_for():
    x = hard_rows("plain")
    asked = torch.tensor([5, 600, 17])
    want, _ = cKDTree(x.double()).query(x.double()[asked], k=3)
    np.testing.assert_allclose(nearest(x, 2, queries=asked).distance, want[:, 1:], rtol=1e-9)


@pytest.mark.parametrize("k", [0, 5, 6])
def test_more_neighbours_than_rows_are_refused(k):
    with pytest.raises(MicroscopeError, match="need more than"):
        nearest(torch.randn(5, 3), k)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.lists(st.sampled_from([0.0, -0.0, 1.0, -1.5]), min_size=3, max_size=3), min_size=1, max_size=30))
def test_duplicates_are_those_of_numpy(rows):
    x = torch.tensor(rows)
    seen: dict[tuple[float, ...], int] = {}
    want = [seen.setdefault(tuple(v + 0.0 for v in row), i) for i, row in enumerate(rows)]
    assert duplicate_of(x).tolist() == want
    assert duplicates(x).tolist() == [i != j for i, j in enumerate(want)]
    assert duplicate_of(x.bfloat16()).tolist() == want


def test_wide_rows_that_begin_alike_are_told_apart():
    """Most rows are told apart by their first columns; those that are not, by all of them."""
    x = torch.ones(9, 100)
    x[:, 80] = torch.tensor([0.0, 1, 0, 2, 1, 3, 4, 4, 5])
    x[8, 0] = 7
    assert duplicate_of(x).tolist() == [0, 1, 0, 3, 1, 5, 6, 6, 8]


def test_duplicate_rows_do_not_move_the_dimension():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(800, 10))
    clean = dimension(x)
    for share in (0.1, 0.5):
        repeated = np.concatenate([x, x[: int(len(x) * share)]])
        got = dimension(repeated)
        assert got.value == pytest.approx(clean.value, rel=1e-12)
        assert f"{int(len(x) * share)} duplicate rows" in got.notes[0]
        assert (clean.repeated, got.repeated) == (0.0, int(len(x) * share) / len(repeated))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 11), min_size=4, max_size=40), st.integers(0, 2**31))
def test_neighbours_of_rows_with_copies_follow_from_those_of_the_different_rows(which, seed):
    points = torch.tensor(np.random.default_rng(seed).normal(size=(12, 3)))
    x = points[which]
    first = duplicate_of(x)
    different = x[first == torch.arange(len(x))]
    if len(different) < 3:
        return
    found = nearest(different, 2)
    every = Near(torch.arange(len(different)), found.distance, found.index[:, 0]).with_copies(first)
    far = cdist(x, x)
    np.fill_diagonal(far, np.inf)
    np.testing.assert_allclose(every.radii, np.sort(far, axis=1)[:, :2], rtol=1e-12)
    np.testing.assert_allclose(far[np.arange(len(x)), every.nearest], every.radii[:, 0], rtol=1e-12)
    assert torch.equal(every.radii, nearest(x, 2).distance)


@pytest.mark.parametrize("name", list(FORMULAS))
@pytest.mark.parametrize("count", [7, 100])
def test_what_is_left_without_each_pile_is_the_formula_of_the_rest(name, count):
    draw = np.random.default_rng(11)
    mu = torch.tensor(draw.pareto(5, size=1500) + 1)
    if name == "llm-microscope":
        mu[:90], mu[90:100] = -1, 1
    else:
        mu = mu.log()
        if name == "scikit-dimension":
            mu[:90], mu[90:100] = float("inf"), float("nan")
    mu = mu.sort().values
    piles = torch.tensor(draw.integers(0, count, size=1500))
    formula = FORMULAS[name]
    got = formula.without(mu, piles, count)
    want = [formula.of(mu[piles != pile]) for pile in range(count)]
    np.testing.assert_allclose(got, want, rtol=1e-12, atol=0)
    assert np.isnan(formula.without(mu, torch.zeros_like(piles), 1)).all()


def test_queries_of_pictures_of_equal_size_are_not_all_the_same_patch():
    """Of 500 pictures of 16 patches the first patches lie on a line: at even distances 500 queries are all of those."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(500, 16, 8)) @ rng.normal(size=(8, 64))
    x[:, 0] = 40 * rng.uniform(size=(500, 1)) * rng.normal(size=(1, 64)) + 100
    x, picture = x.reshape(8000, 64), np.arange(8000) // 16
    whole = sure(dimension(x).value)
    for queries in (500, 1000, 2000):
        some = dimension(x, queries=queries, groups=picture)
        assert sure(some.low) < whole < sure(some.high)
        assert some == dimension(x, queries=queries, groups=picture)


def test_one_sink_and_one_duplicate_are_one_row():
    x = np.random.default_rng(2).normal(size=(601, 4))
    x[5] *= 1000
    x[600] = x[0]
    assert dimension(x).notes[:2] == (
        "1 sink row of 601 (massive norm)",
        "1 duplicate row (0.2%) removed",
    )


def test_dimension_with_few_queries_is_near_the_full_one():
    x = np.random.default_rng(1).uniform(size=(3000, 4))
    full, some = dimension(x), dimension(x, queries=500)
    assert some.value == pytest.approx(full.value, rel=3 / 500**0.5)
    assert "500 rows looked up among 3000" in some.notes


def test_near_copies_within_an_example_are_left_out_on_request():
    """Each example holds ten almost equal rows: within examples the dimension is that of their jitter."""
    rng = np.random.default_rng(2)
    flat = rng.uniform(size=(400, 3)) @ rng.normal(size=(3, 12))
    x = flat.repeat(10, axis=0) + 1e-6 * rng.normal(size=(4000, 12))
    groups = np.arange(4000) // 10
    assert sure(dimension(x, groups=groups).value) > 6
    apart = dimension(x, groups=groups, exclude_same_example=True)
    assert apart.value is not None
    assert "neighbours from other examples only" in apart.notes
    with pytest.raises(MicroscopeError, match="needs groups"):
        dimension(x, exclude_same_example=True)
    alone = dimension(x, groups=np.zeros(4000), exclude_same_example=True)
    assert alone.value is None
    assert "one example" in sure(alone.reason)


def test_sinks_are_rows_of_massive_norm():
    x = torch.randn(100, 64, generator=torch.Generator().manual_seed(0))
    x[17] *= 2500 / x[17].norm()
    assert sinks(x).nonzero().tolist() == [[17]]
    example = torch.arange(100) // 25
    assert sinks(x, example).nonzero().tolist() == [[17]]
    order = torch.randperm(100, generator=torch.Generator().manual_seed(1))
    assert torch.equal(sinks(x[order], example[order]), sinks(x, example)[order])
    assert sinks(x[:0]).tolist() == []


@pytest.mark.parametrize("grouped", [True, False])
def test_rows_among_more_zeros_than_rows_are_no_sinks(grouped):
    x = torch.zeros(60, 4)
    x[:20] = torch.randn(20, 4, generator=torch.Generator().manual_seed(0))
    x[3] *= 100
    groups = torch.arange(60) % 2 if grouped else None
    assert sinks(x, groups).nonzero()[:, 0].tolist() == [3]
    assert not sinks(x[20:], None if groups is None else groups[20:]).any()


def test_sinks_of_every_layer_are_relative_to_the_layer_and_the_example():
    draw = torch.Generator().manual_seed(2)
    rows = torch.randn(3, 90, 8, generator=draw) * torch.tensor([1.0, 50.0, 7.0])[:, None, None]
    example = torch.randint(-2, 3, (90,), generator=draw)
    rows[:, example == 1] *= 100  # an example of long rows has no sink of its own, and makes none of the others
    rows[1, 4] *= 1000
    rows[2, 8] = float("inf")
    rows[2, 9] = float("nan")
    lengths = rows.double().norm(dim=2)
    want = torch.zeros(3, 90, dtype=torch.bool)
    for layer in range(3):
        for i in range(90):
            own = sorted(v for v in lengths[layer, example == example[i]].tolist() if v < float("inf"))
            want[layer, i] = own[(len(own) - 1) // 2] * 10 < lengths[layer, i] < float("inf")
    assert want.nonzero().tolist() == [[1, 4]]
    found = sinks(rows, example)
    assert torch.equal(found, want)
    for layer in range(3):
        assert torch.equal(sinks(rows[layer], example), want[layer])
    for alone in (-2, 1):
        assert torch.equal(sinks(rows[:, example == alone]), want[:, example == alone])
    assert sinks(rows[:, :0]).shape == (3, 0)
    assert not sinks(torch.full((4, 2), float("nan"))).any()


def test_linked_rows_widen_the_interval_by_their_covariance():
    x = torch.tensor(np.random.default_rng(4).normal(size=(300, 5)))
    found = nearest(x, 2)
    log_mu = (found.distance[:, 1] / found.distance[:, 0]).log()
    codes = torch.arange(300) // 6
    u = log_mu - log_mu.mean()
    together = sum(float(u[codes == g].sum()) ** 2 for g in range(50))
    pairs = {tuple(sorted((i, int(found.index[i, 0])))) for i in range(300)}
    linked = sum(2 * float(u[i] * u[j]) for i, j in pairs if codes[i] != codes[j])
    want = (1 + linked / together) ** 0.5
    assert want > 1.05
    assert link_inflation(log_mu, codes, found.index[:, 0]) == pytest.approx(want, rel=1e-9)
    assert link_inflation(log_mu, torch.zeros(300, dtype=torch.int64), found.index[:, 0]) == 1
    got = dimension(x, groups=codes)
    assert sure(got.low) < sure(got.value) < sure(got.high)


@pytest.mark.parametrize("method", ["mle", "facco", "llm-microscope", "dadapy", "scikit-dimension", "gride"])
def test_every_convention_has_an_interval_by_example_and_none_by_token(method):
    x = np.random.default_rng(5).uniform(size=(600, 4))
    got = dimension(x, method=method, groups=np.arange(600) // 20)
    assert 0 < sure(got.low) < sure(got.value) < sure(got.high)
    assert dimension(x, method=method).low is None


def test_one_example_has_no_interval():
    x = np.random.default_rng(6).uniform(size=(100, 4))
    assert dimension(x, groups=np.zeros(100)).low is None
    with pytest.raises(MicroscopeError, match="2 rows to look up"):
        dimension(x, queries=2)


@pytest.mark.parametrize("repeats", [0, 40])
@pytest.mark.parametrize(
    "options", [{}, {"queries": 100}, {"exclude_same_example": True}, {"drop_sinks": True}], ids=lambda o: " ".join(o)
)
def test_all_methods_together_give_what_each_gives_alone(repeats, options):
    rng = np.random.default_rng(7)
    x = rng.uniform(size=(300, 5))
    x[11] *= 500
    x = np.concatenate([x, x[:repeats]])
    groups = np.arange(len(x)) // 15
    methods = METHODS[Metric.DIMENSION]
    together = dimensions(x, methods, groups=groups, **options)
    assert list(together) == list(methods)
    assert sum(e.value is not None for e in together.values()) >= 5
    for method in methods:
        assert together[method] == dimension(x, method=method, groups=groups, **options)


def test_all_methods_share_one_search(monkeypatch):
    calls: list[tuple[object, ...]] = []
    module = importlib.import_module("microscope_tui.geometry.dimension")
    monkeypatch.setattr(module, "nearest", counted(nearest, calls))
    x = np.random.default_rng(8).uniform(size=(200, 4))
    assert len(dimensions(x, METHODS[Metric.DIMENSION])) == 6
    assert [args[1] for args in calls] == [16]
    dimensions(np.concatenate([x, x[:5]]), ("mle", "dadapy"))
    assert [args[1] for args in calls] == [16, 2]
    with pytest.raises(MicroscopeError, match="no method 'three-nn'"):
        dimensions(x, ("mle", "three-nn"))
