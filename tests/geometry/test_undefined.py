"""What cannot be measured is a value that says why, never a number and never an exception."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from microscope_tui.errors import MicroscopeError
from microscope_tui.geometry import anisotropy, dimension, linearity
from microscope_tui.geometry.anisotropy import spread_anisotropy
from microscope_tui.geometry.controls import ladder, rms_normalise
from microscope_tui.geometry.dimension import dimensions
from microscope_tui.geometry.gride import gride_curve
from microscope_tui.geometry.linearity import linearity_of
from microscope_tui.geometry.moments import Moments, Spread
from microscope_tui.methods import METHODS
from microscope_tui.terms import Metric
from tests.sure import sure

pandas = pytest.importorskip("pandas")

LINEARITY = [m for m in METHODS[Metric.LINEARITY] if m != "llm-microscope"]
DIMENSION = METHODS[Metric.DIMENSION]
ANISOTROPY = [m for m in METHODS[Metric.ANISOTROPY] if m != "llm-microscope"]


def random(n, d, seed=0):
    return np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32)


def alike(got, want):
    """The same estimate but for rounding: products may round otherwise where memory begins elsewhere."""
    assert (got.n, got.d, got.reason, got.notes) == (want.n, want.d, want.reason, want.notes)
    for one, other in zip((got.value, got.low, got.high), (want.value, want.low, want.high), strict=True):
        assert one == (None if other is None else pytest.approx(other, rel=1e-9))


def undefined(estimate, word):
    assert estimate.value is None
    assert estimate.low is None
    assert estimate.high is None
    assert word in estimate.reason


@pytest.mark.parametrize("method", METHODS[Metric.LINEARITY])
def test_linearity_of_no_rows_equal_rows_and_broken_rows(method):
    x, y = random(60, 4), random(60, 4, 1)
    undefined(linearity(x[:0], y[:0], method=method), "no rows")
    undefined(linearity(np.ones((60, 4)) * 0.1, y, method=method), "all rows of x are equal")
    if method != "update":
        undefined(linearity(x, np.ones((60, 4)) * 0.1, method=method), "all rows of y are equal")
    for bad in (np.nan, np.inf, -np.inf):
        broken = x.copy()
        broken[3, 2] = bad
        undefined(linearity(broken, y, method=method), "1 of 60 rows hold NaN or infinity")
        undefined(linearity(y, broken, method=method), "1 of 60 rows hold NaN or infinity")


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("d", [4, 50])
def test_what_is_constant_has_no_score_with_fewer_rows_than_dimensions_as_with_more(d, dtype):
    x, y = (random(30, d, seed).astype(np.float64) for seed in (1, 2))
    equal = np.tile(random(1, d, 3), (30, 1)).astype(dtype)
    groups = np.arange(30) // 2
    rows, other = x.astype(dtype), y.astype(dtype)
    for method in ("held-out", "in-sample", "update"):
        assert linearity(equal, other, method=method, groups=groups).reason == "all rows of x are equal"
    for method in ("held-out", "in-sample"):
        assert linearity(rows, equal, method=method, groups=groups).reason == "all rows of y are equal"
    for same in (x, x + equal, x + 1e-17 * y):
        undefined(linearity(x, same, method="update", groups=groups), "y equals x: there is no update to explain")


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("d", [4, 50])
def test_an_x_that_varies_in_one_fold_only_is_undefined_from_rows_and_from_moments(d, dtype):
    x = np.tile(random(1, d), (30, 1)).astype(dtype)
    x[:2] += random(2, d, 1).astype(dtype)
    y, groups = random(30, d, 2).astype(dtype), np.arange(30) // 2
    got = linearity(x, y, method="held-out", groups=groups)
    undefined(got, "outside one fold all rows of x are equal")
    folds = [Moments.of(*(torch.tensor(rows[groups % 10 == k]) for rows in (x, y))) for k in range(10)]
    by_moments = linearity_of(sum(folds[1:], start=folds[0]), method="held-out", folds=folds)
    assert (by_moments.value, by_moments.reason) == (None, got.reason)


@pytest.mark.parametrize("offset", [0, 0.1, 100.1])
@pytest.mark.parametrize(("n", "d"), [(200, 8), (30, 50), (8, 8)])
def test_a_y_that_varies_in_one_fold_only_has_a_score_and_no_interval(n, d, offset):
    """The rest is predicted by its mean, which is exact, and the fold by the same: 0 by hand."""
    x, y = random(n, d), np.full((n, d), offset, dtype=np.float64)
    y[0] += 1
    y[1] -= 1
    groups = np.arange(n) // 2
    got = linearity(x, y, method="held-out", groups=groups)
    assert got.value == pytest.approx(0, abs=1e-12)
    assert (got.low, got.high, got.influence) == (None, None, ())
    assert "no interval: without one fold of examples all rows of y are equal" in got.notes
    if n <= d + 1:
        undefined(linearity(x, y, groups=groups), "held-out it is 0")


@pytest.mark.parametrize("shift", [1, 1e-3, 1e-9])
@pytest.mark.parametrize(("n", "d"), [(400, 12), (30, 50)])
def test_a_y_that_varies_in_one_fold_about_another_mean_has_no_interval(n, d, shift):
    """Without that fold there is nothing to explain, whatever the others miss by a mean that holds it."""
    x, y, own = random(n, d), np.full((n, d), 5.0), np.arange(n) // 2 % 10 == 3
    y[own] += shift * (1 + random(own.sum(), d, 1))
    got = linearity(x, y, method="held-out", groups=np.arange(n) // 2)
    assert got.value is not None
    assert (got.low, got.high, got.influence) == (None, None, ())
    assert "no interval: without one fold of examples all rows of y are equal" in got.notes


@pytest.mark.parametrize("n", [400, 20])
def test_an_update_in_one_fold_only_has_no_interval(n):
    """Of y − x the sums of the other folds hold rounding, and nothing to explain."""
    x = torch.tensor(random(n, 24)).double() + 3
    y, own = x + 1e-8 * torch.tensor(random(n, 24, 2)), torch.arange(n) % 5 == 3
    y[own] += torch.tensor(random(int(own.sum()), 24, 1)).double()
    folds = [Moments.of(x[k::5], y[k::5]) for k in range(5)]
    got = linearity_of(sum(folds[1:], start=folds[0]), method="update", folds=folds)
    if n > 25:
        assert sure(got.value) > 0
        assert (got.low, got.high, got.influence) == (None, None, ())
        assert "no interval: without one fold of examples there is no score" in got.notes
    else:
        assert sure(got.reason).partition("held-out it is ")[2]
        assert "(" not in sure(got.reason)


@pytest.mark.parametrize("method", LINEARITY)
@pytest.mark.parametrize(("n", "d"), [(300, 20), (30, 50)])
def test_linearity_of_rows_whose_squares_are_beyond_every_number(method, n, d):
    x, y, groups = random(n, d), random(n, d) + 0.5 * random(n, d, 1), np.arange(n) // 3
    want = linearity(x, y, method=method, groups=groups)
    for size, dtype in ((1e18, torch.float32), (1e19, torch.float32), (1e30, torch.float32)):
        large = linearity(x * np.float32(size), y * np.float32(size), method=method, groups=groups, dtype=dtype)
        exact = linearity(x * np.float32(size), y * np.float32(size), method=method, groups=groups)
        assert exact.value == pytest.approx(want.value, rel=1e-6)
        if large.value is None:
            assert "overflow" in sure(large.reason) or large.reason == exact.reason
        else:
            assert large.value == pytest.approx(want.value, rel=1e-4)
    huge = [torch.tensor(rows).double() * 1e160 for rows in (x, y)]
    folds = [Moments.of(*(rows[k::3] for rows in huge)) for k in range(3)]
    undefined(linearity_of(sum(folds[1:], start=folds[0]), method=method, folds=folds), "overflow")


@pytest.mark.parametrize("size", [2.0**700, 2.0**-700], ids=["large", "small"])
@pytest.mark.parametrize("groups", [None, np.arange(300) // 3], ids=["", "groups"])
def test_numbers_without_a_unit_are_the_same_in_every_unit(size, groups):
    """Rows whose squares are beyond float64 at either end."""
    x = random(300, 20).astype(np.float64)
    y = x + 0.5 * random(300, 20, 1)
    for method in LINEARITY:
        want = linearity(x, y, method=method, groups=groups)
        alike(linearity(x * size, y * size, method=method, groups=groups), want)
    for method in ANISOTROPY:
        want = anisotropy(x, method=method, groups=groups)
        alike(anisotropy(x * size, method=method, groups=groups), want)
    for method in DIMENSION:
        want = dimension(x, method=method, groups=groups)
        alike(dimension(x * size, method=method, groups=groups), want)
    for far, near in zip(gride_curve(x * size, groups=groups), gride_curve(x, groups=groups), strict=True):
        assert far.k == near.k
        assert far.radius == pytest.approx(near.radius * size, rel=1e-9)
        alike(replace(far.estimate, notes=()), replace(near.estimate, notes=()))
    far_rungs, rungs = ladder(x * size, y * size, groups=groups), ladder(x, y, groups=groups)
    for rung in ("identity", "scalar", "orthogonal", "linear"):
        alike(getattr(far_rungs, rung), getattr(rungs, rung))


def test_the_mean_cosine_of_moments_does_not_depend_on_the_unit_of_a_row():
    x = torch.tensor(random(60, 8)).double() + 1
    unit = torch.ones(60, 1, dtype=torch.float64)
    unit[::3], unit[1::3] = 1e200, 1e-200
    for rows in (x * unit, x * 1e200, x * 1e-200):
        got = spread_anisotropy(Spread.of(rows), method="mean-cosine")
        assert got.value == pytest.approx(anisotropy(x, method="mean-cosine").value, rel=1e-12)


def test_distances_that_are_nothing_beside_a_massive_row_are_not_called_duplicates():
    x = random(60, 4).astype(np.float64) * 1e-200
    x[0] = 1e200
    for method in ("mle", "facco", "gride"):
        undefined(dimension(x, method=method), "squares underflow")
    undefined(gride_curve(x, scales=(1,))[0].estimate, "squares underflow")


@pytest.mark.parametrize("n", [60, 10])
@pytest.mark.parametrize("method", [m for m in ANISOTROPY if m != "mean-cosine"])
def test_anisotropy_of_rows_whose_squares_are_large_or_beyond_every_number(method, n):
    x = random(n, 24).astype(np.float64).clip(-3, 3)
    want = anisotropy(x, method=method).value
    assert anisotropy((x * 1e38).astype(np.float32), method=method).value == pytest.approx(want, rel=1e-5)
    for groups in (None, np.arange(n) // 2):
        for size in (1e100, 1e160):
            same = anisotropy(x * size, method=method, groups=groups)
            assert same.value == pytest.approx(want, rel=1e-9)
            folds = [] if groups is None else [Spread.of(torch.tensor(x[k::2] * size)) for k in range(2)]
            whole = Spread.of(torch.tensor(x * size))
            undefined(spread_anisotropy(whole, method=method, folds=folds), "overflow")


def test_an_update_needs_equal_widths_with_few_rows_too():
    with pytest.raises(MicroscopeError, match="of the same width"):
        linearity(random(30, 50), random(30, 40), method="update", groups=np.arange(30))


@pytest.mark.parametrize("method", LINEARITY)
@pytest.mark.parametrize("n", [1, 2])
def test_linearity_of_one_or_two_rows(method, n):
    undefined(linearity(random(n, 4), random(n, 4, 1), method=method), f"n = {n}")
    undefined(linearity(random(n, 1), random(n, 1, 1), method=method), f"n = {n}")


@pytest.mark.parametrize("method", ["in-sample", "adjusted", "update"])
@pytest.mark.parametrize("n", [3, 8, 9])
def test_in_sample_linearity_is_refused_up_to_d_plus_one_rows(method, n):
    undefined(linearity(random(n, 8), random(n, 8, 1), method=method), f"n = {n} ≤ d + 1 = 9")
    defined = linearity(random(10, 8), random(10, 8, 1), method=method)
    assert sure(defined.value) < 1


def test_the_refusal_shows_the_held_out_score():
    x = random(40, 60)
    y = x + 0.1 * random(40, 60, 1)
    groups = np.arange(40) // 2
    got = linearity(x, y, groups=groups)
    held = linearity(x, y, method="held-out", groups=groups)
    undefined(got, f"held-out it is {held.value:.3g} ({held.low:.3g} to {held.high:.3g})")
    undefined(linearity(x, y), "see the held-out score")


def test_linearity_of_y_equal_to_x():
    x = random(60, 4)
    undefined(linearity(x, x, method="update"), "no update")
    assert linearity(x, x).value == pytest.approx(1)


@pytest.mark.parametrize("method", DIMENSION)
def test_dimension_of_what_has_none(method):
    undefined(dimension(random(0, 4), method=method), "no rows")
    for n in (1, 2):
        undefined(dimension(random(n, 4), method=method), f"n = {n}")
    equal = dimension(np.ones((60, 4)), method=method)
    assert equal.value is None
    assert any(why in sure(equal.reason) for why in ("equal", "1 different row:", "duplicate"))
    for bad in (np.nan, np.inf):
        broken = random(60, 4)
        broken[3, 2] = bad
        undefined(dimension(broken, method=method), "1 of 60 rows hold NaN or infinity")


@pytest.mark.parametrize("method", DIMENSION)
@pytest.mark.parametrize(
    "options", [{}, {"queries": 3}, {"exclude_same_example": True}, {"drop_sinks": True}], ids=lambda o: " ".join(o)
)
def test_dimension_of_few_different_rows_says_why_with_and_without_examples(method, options):
    """One or two points, however often they are repeated, have no dimension by any convention."""
    for n in (0, 1, 2, 3, 4, 40):
        for points in (np.ones((1, 4)), random(2, 4)):
            x = np.resize(points, (n, 4))
            for groups in (np.arange(n), np.arange(n) // 2, np.zeros(n)):
                got = dimension(x, method=method, groups=groups, **options)
                assert (got.value, got.low, got.high) == (None, None, None)
                assert got.reason
    three = dimension(random(3, 4), method=method, groups=np.arange(3), **options)
    assert three.reason or sure(three.value) > 0


def test_a_scale_curve_of_what_has_none():
    for x, word in (
        (random(0, 4), "no rows"),
        (random(1, 4), "1 different row:"),
        (random(2, 4), "2 different rows"),
        (np.ones((60, 4)), "1 different row:"),
        (random(2, 4).repeat(30, axis=0), "2 different rows"),
        (np.full((60, 4), np.nan), "60 of 60 rows hold NaN"),
    ):
        for groups in (None, np.arange(len(x))):
            points = gride_curve(x, scales=(1, 4), groups=groups)
            assert [p.k for p in points] == [1, 4]
            for point in points:
                assert np.isnan(point.radius)
                undefined(point.estimate, word)
    assert [p.k for p in gride_curve(random(3, 4))] == [1]
    undefined(gride_curve(np.eye(12), scales=(2,))[0].estimate, "equally far")


def test_dimension_of_a_regular_simplex_has_no_scale():
    undefined(dimension(np.eye(12)), "equally far")


@pytest.mark.parametrize("method", ANISOTROPY)
def test_anisotropy_of_what_has_none(method):
    undefined(anisotropy(random(0, 4), method=method), "no rows")
    undefined(anisotropy(random(1, 4), method=method), "n = 1")
    for bad in (np.nan, np.inf):
        broken = random(60, 4)
        broken[3, 2] = bad
        undefined(anisotropy(broken, method=method), "1 of 60 rows hold NaN or infinity")
    if method == "mean-cosine":
        assert anisotropy(np.ones((60, 4)), method=method).value == pytest.approx(1)
        undefined(anisotropy(np.zeros((60, 4)), method=method), "not zero")
    else:
        undefined(anisotropy(random(2, 4), method=method), "one line")
        undefined(anisotropy(np.full((60, 4), 0.1), method=method), "all rows are equal")


def test_what_is_no_rows_is_refused_in_a_sentence():
    with pytest.raises(MicroscopeError, match=r"x has shape \(3,\)"):
        dimension(np.zeros(3))
    with pytest.raises(MicroscopeError, match="x has 3 rows and y has 4"):
        linearity(np.zeros((3, 2)), np.zeros((4, 2)))
    with pytest.raises(MicroscopeError, match="real numbers"):
        anisotropy(np.zeros((3, 2), dtype=complex))
    with pytest.raises(MicroscopeError, match="example of each row"):
        anisotropy(np.zeros((3, 2)), groups=[1, 2])
    with pytest.raises(MicroscopeError, match="no method 'best'"):
        linearity(np.zeros((3, 2)), np.zeros((3, 2)), method="best")
    for metric in (dimension, anisotropy):
        with pytest.raises(MicroscopeError, match="no method 'best'"):
            metric(np.zeros((3, 2)), method="best")
    groups = np.arange(30)
    for piles, known in ((groups, None), (groups[:5], groups), (groups[:, None], groups), (groups / 2, groups)):
        with pytest.raises(MicroscopeError, match=r"piles need groups beside them, .* shape \(30,\)"):
            dimensions(random(30, 4), ("mle",), groups=known, piles=piles)
    dealt = dimensions(random(30, 4), ("mle",), groups=groups, piles=groups)
    assert dealt == dimensions(random(30, 4), ("mle",), groups=groups)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64, torch.int32])
def test_any_number_type_is_read(dtype):
    x = (torch.tensor(random(80, 4)) * 50).to(dtype)
    y = x * 2
    assert linearity(x, y).value == pytest.approx(1, abs=1e-6)
    assert 1 < sure(dimension(x).value) < 20
    assert 0.25 < sure(anisotropy(x).value) < 1


def every_array(x):
    """The same numbers as numpy, other libraries and torch may hold them."""
    read_only = x[::-1].copy()[::-1]
    read_only.setflags(write=False)
    fields = np.zeros(x.shape, dtype=[("before", "i4"), ("value", "f8"), ("after", "i2")])
    fields["value"] = x
    yield from (read_only, x[::-1].copy()[::-1], x[:, ::-1].copy()[:, ::-1], fields["value"], np.asfortranarray(x))
    yield from (x.astype(">f8"), x.astype(">f4"), x.astype(np.longdouble), x.tolist(), list(x), list(torch.tensor(x)))
    yield from (pandas.DataFrame(x), np.ma.array(x), np.ma.array(x, mask=np.zeros_like(x, dtype=bool)))
    yield from (torch.tensor(x).to_sparse(), torch.tensor(x, requires_grad=True))
    yield torch.tensor(x).to(torch.float8_e4m3fn)


def test_rows_are_read_in_whatever_way_they_lie():
    x = random(30, 3).astype(np.float64)
    x = torch.tensor(x).to(torch.float8_e4m3fn).double().numpy()  # numbers that all types hold
    want = anisotropy(x)
    for rows in every_array(x):
        alike(anisotropy(rows), want)
        alike(dimension(rows), dimension(x))


def test_groups_are_numbers_or_names_in_whatever_way_they_lie():
    x, codes = random(30, 3), np.arange(30) // 5
    names = [f"q{c}" for c in codes]
    want = anisotropy(x, groups=codes)
    assert want.low is not None
    kinds = (names, np.array(names), np.array(names, dtype=object), pandas.Series(names), codes.astype(">i4"))
    for groups in (*kinds, codes[::-1].copy()[::-1], codes.tolist(), list(torch.tensor(codes)), codes.astype("u2")):
        alike(anisotropy(x, groups=groups), want)


@pytest.mark.parametrize(
    ("rows", "why"),
    [
        (np.ma.array(np.ones((4, 2)), mask=np.eye(4, 2, dtype=bool)), "x has masked values: leave the rows"),
        (np.array([["a", "b"]]), r"x cannot be read \(ndarray\): give numbers"),
        ([[1, 2], [3]], r"x cannot be read \(list\): give numbers, .* lists of equal length"),
        ([torch.ones(2), torch.ones(3)], r"x cannot be read \(list\)"),
        (pandas.DataFrame({"a": ["b"]}), r"x cannot be read \(DataFrame\)"),
        (torch.ones(3, 2, device="meta"), r"x cannot be read \(Tensor\)"),
        (torch.nested.nested_tensor([torch.ones(2), torch.ones(3)]), r"x cannot be read \(Tensor\)"),
        (None, r"x cannot be read \(NoneType\)"),
    ],
    ids=["masked", "strings", "ragged", "ragged tensors", "frame of strings", "meta", "nested", "none"],
)
@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
def test_what_cannot_be_read_is_said_in_one_true_sentence(rows, why):
    for metric in (anisotropy, dimension, rms_normalise):
        with pytest.raises(MicroscopeError, match=why):
            metric(rows)


def test_groups_that_name_no_examples_are_refused_as_groups():
    for groups, why in (
        ([1.0, np.nan, 2.0], "groups hold complex numbers or NaN"),
        ([1j, 2j, 3j], "groups hold complex numbers or NaN"),
        ([["a"], ["b"], ["c"]], r"groups cannot be read \(list\): give numbers or names"),
        (["a", None, 3], r"groups cannot be read \(list\): give numbers or names"),
        (["a", "b"], r"groups has shape \(2,\)"),
        (np.ma.masked_equal([1, 2, 3], 3), "groups has masked values"),
    ):
        with pytest.raises(MicroscopeError, match=why):
            anisotropy(np.ones((3, 2)), groups=groups)


@pytest.mark.parametrize("n", [0, 1, 2])
def test_too_few_rows_are_too_few_in_float32_too(n):
    x = np.ones((n, 4), dtype=np.float32)
    exact, rounded = (linearity(x, x, dtype=dtype) for dtype in (torch.float64, torch.float32))
    assert rounded.value is None
    assert rounded.reason == exact.reason
