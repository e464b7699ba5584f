"""Moments combine exactly: any split into batches, any order, any fold arithmetic gives the one-shot result."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load, save

from microscope_tui.errors import MicroscopeError
from microscope_tui.geometry.linearity import linearity_of, update_share
from microscope_tui.geometry.moments import ChainMoments, Moments, Spread
from microscope_tui.geometry.paired import without_each
from tests.geometry.counted import counted
from tests.sure import sure


def chain_rows(seed, n, d=5, layers=3, offset=0.0, sink=False):
    generator = torch.Generator().manual_seed(seed)
    first = torch.randn(n, d, generator=generator, dtype=torch.float64) + offset
    out = [first]
    for _ in range(layers - 1):
        mix = torch.randn(d, d, generator=generator, dtype=torch.float64) / d
        out.append(out[-1] + out[-1] @ mix + 0.3 * torch.randn(n, d, generator=generator, dtype=torch.float64))
    if sink and n:
        for layer in out:
            layer[n // 2, 0] += 2500.0
    return out


def assert_same(got: ChainMoments, want: ChainMoments, tolerance=1e-10):
    """Equal to 1e-10 of each layer's own scale."""
    assert got.n == want.n
    size = want.gram.diagonal(dim1=1, dim2=2).sqrt()
    scale = size[:, :, None] * size[:, None, :] + 1e-300
    assert float(((got.gram - want.gram).abs() / scale).max()) < tolerance
    cross = size[:-1, :, None] * size[1:, None, :] + 1e-300
    assert float(((got.cross - want.cross).abs() / cross).max()) < tolerance
    torch.testing.assert_close(got.mean, want.mean, rtol=tolerance, atol=tolerance)
    torch.testing.assert_close(got.unit_sum, want.unit_sum, rtol=tolerance, atol=tolerance * max(want.n, 1))
    assert got.units.tolist() == want.units.tolist()


def test_the_moments_are_numpys():
    rows = chain_rows(0, 3000, offset=100.0)
    chain = ChainMoments(3, 5).update(rows)
    for i, layer in enumerate(rows):
        np.testing.assert_allclose(chain.gram[i] / 2999, np.cov(layer.numpy().T), rtol=1e-10)
        np.testing.assert_allclose(chain.mean[i], layer.mean(0), rtol=1e-12)
        unit = layer / layer.norm(dim=1, keepdim=True)
        np.testing.assert_allclose(chain.unit_sum[i], unit.sum(0), rtol=1e-12)
    both = np.cov(rows[0].numpy().T, rows[1].numpy().T)[:5, 5:]
    np.testing.assert_allclose(chain.cross[0] / 2999, both, rtol=1e-9, atol=1e-12)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    cuts=st.lists(st.integers(0, 120), max_size=8),
    offset=st.sampled_from([0.0, 30.0, -1000.0]),
    sink=st.booleans(),
    order=st.randoms(use_true_random=False),
)
def test_any_split_in_any_order_gives_the_one_shot_result(seed, cuts, offset, sink, order):
    rows = chain_rows(seed, 120, offset=offset, sink=sink)
    whole = ChainMoments(3, 5).update(rows)
    edges = [0, *sorted(cuts), 120]
    pieces = [[r[a:b] for r in rows] for a, b in pairwise(edges)]
    order.shuffle(pieces)
    streamed = ChainMoments(3, 5)
    for piece in pieces:
        streamed.update(piece)
    assert_same(streamed, whole)
    merged = ChainMoments(3, 5)
    for piece in pieces:
        merged = merged.merge(ChainMoments(3, 5).update(torch.stack(piece)))
    assert_same(merged, whole)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), folds=st.integers(2, 6), offset=st.sampled_from([0.0, 300.0]))
def test_fold_arithmetic_is_exact(seed, folds, offset):
    rows = chain_rows(seed, 90, offset=offset)
    which = torch.arange(90) % folds
    parts = [ChainMoments(3, 5).update([r[which == k] for r in rows]) for k in range(folds)]
    total = sum(parts[1:], start=parts[0])
    assert_same(total, ChainMoments(3, 5).update(rows))
    for k in range(folds):
        assert_same(total - parts[k], ChainMoments(3, 5).update([r[which != k] for r in rows]))


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), cut=st.integers(0, 80))
def test_the_score_does_not_depend_on_the_split(seed, cut):
    x, y, _ = chain_rows(seed, 80)
    whole = Moments.of(x, y)
    split = Moments.of(x[:cut], y[:cut]) + Moments.of(x[cut:], y[cut:])
    grown = Moments.of(x[cut:], y[cut:]).update(x[:cut], y[:cut])
    for method in ("in-sample", "adjusted", "update"):
        want = linearity_of(whole, method=method).value
        assert linearity_of(split, method=method).value == pytest.approx(want, rel=1e-10)
        assert linearity_of(grown, method=method).value == pytest.approx(want, rel=1e-10)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), size=st.sampled_from([1e-3, 0.1, 3.0]))
def test_linearity_of_the_state_follows_from_that_of_the_update(seed, size):
    """R² = 1 − ρ(1 − R²_Δ)."""
    x, y, _ = chain_rows(seed, 60)
    y = x + size * (y - x)
    m = Moments.of(x, y)
    whole, update = linearity_of(m).value, sure(linearity_of(m, method="update").value)
    assert whole == pytest.approx(1 - update_share(m) * (1 - update), abs=1e-12)
    assert update_share(m.difference()) == pytest.approx(update_share(m), rel=1e-9)
    assert update == pytest.approx(linearity_of(Moments.of(x, y - x)).value, rel=1e-7)


@pytest.mark.parametrize("wanted", [[], [0], [6], [2, 5], list(range(7))])
def test_all_but_one_are_added_up_without_a_subtraction_and_each_half_once(wanted, monkeypatch):
    x, y, _ = chain_rows(8, 70)
    folds = [Moments.of(x[k::7], y[k::7]) for k in range(7)]
    calls: list[tuple[object, ...]] = []
    monkeypatch.setattr(Moments, "_combine", counted(Moments._combine, calls))
    got = list(without_each(folds, wanted))
    assert all(sign == 1 for _, _, sign in calls)
    assert len(calls) <= {0: 0, 1: 6, 2: 12, 7: 20}[len(wanted)]  # one by one, all seven would take 35
    assert len(got) == len(wanted)
    for k, rest in zip(wanted, got, strict=True):
        others = torch.arange(70) % 7 != k
        want = Moments.of(x[others], y[others])
        assert rest.n == 60
        for name in ("mean_x", "mean_y", "xx", "xy", "yy"):
            torch.testing.assert_close(getattr(rest, name), getattr(want, name), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("squares_only", [True, False])
def test_moments_of_an_update_are_those_of_the_difference(dtype, squares_only):
    x, y, _ = chain_rows(9, 1500, offset=3.0)
    y[70] = float("nan")
    whole = Moments.of(x, y, squares_only=squares_only).difference()
    got = Moments.of_update(x, y, dtype=dtype, squares_only=squares_only)
    assert (got.n, got.nonfinite, got.is_update) == (1499, 1, True)
    for name in ("mean_x", "mean_y", "xx", "xy", "yy"):
        want = getattr(whole, name)
        rel = 1e-11 if dtype == torch.float64 else 1e-6
        torch.testing.assert_close(getattr(got, name), want, rtol=0, atol=rel * float(want.abs().max()))
    with pytest.raises(MicroscopeError, match="same width"):
        Moments.of_update(x, y[:, :4])


def test_blocks_and_layers_of_a_chain_are_those_of_the_rows():
    rows = chain_rows(1, 200)
    chain = ChainMoments(3, 5).update(rows)
    direct = Moments.of(rows[1], rows[2])
    block = chain.block(1)
    for name in ("mean_x", "mean_y", "xx", "xy", "yy"):
        torch.testing.assert_close(getattr(block, name), getattr(direct, name), rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(chain.layer(2).scatter, Spread.of(rows[2]).scatter, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(chain.update_of(0).scatter, Spread.of(rows[1] - rows[0]).scatter, rtol=1e-9, atol=1e-9)


def test_the_symmetric_route_of_wide_rows_is_the_plain_one():
    x = torch.randn(700, 600, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    centred = x - x.mean(0)
    torch.testing.assert_close(Spread.of(x).scatter, centred.T @ centred, rtol=1e-11, atol=1e-9)


def test_float32_products_keep_the_score_with_massive_rows_present():
    rows = chain_rows(3, 5000, d=32, offset=5.0, sink=True)
    rows[1] = rows[0] + 0.01 * (rows[1] - rows[0])
    rows = [r.float() for r in rows]
    exact = ChainMoments(3, 32).update(rows)
    fast = ChainMoments(3, 32, dtype=torch.float32).update(rows)
    for block in range(2):
        for method in ("in-sample", "update"):
            want = linearity_of(exact.block(block), method=method).value
            assert linearity_of(fast.block(block), method=method).value == pytest.approx(want, abs=1e-5)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_narrow_rows_are_summed_in_float64(dtype):
    rows = [r.to(dtype) for r in chain_rows(4, 400, offset=50.0)]
    want = ChainMoments(3, 5).update([r.double() for r in rows])
    assert_same(ChainMoments(3, 5).update(rows), want, 1e-12)


def test_rows_that_are_not_finite_are_left_out_everywhere_and_counted_where_they_are():
    rows = chain_rows(5, 50)
    clean = ChainMoments(3, 5).update([torch.cat([r[:7], r[8:]]) for r in rows])
    rows[2][7, 3] = float("inf")
    chain = ChainMoments(3, 5).update(rows)
    assert_same(chain, clean)
    assert chain.nonfinite.tolist() == [0, 0, 1]
    assert chain.left_out == 1
    fine, broken = linearity_of(chain.block(0)), linearity_of(chain.block(1))
    assert fine.value is not None
    assert "1 rows left out: not finite at another layer" in fine.notes
    assert broken.value is None
    assert broken.reason == "1 of 50 rows hold NaN or infinity"
    without = chain - ChainMoments(3, 5).update([r[:10] for r in rows])
    assert linearity_of(without.block(1)).value is not None


def test_moments_go_through_safetensors():
    chain = ChainMoments(3, 5).update(chain_rows(6, 40))
    again = ChainMoments.from_state_dict(load(save(chain.state_dict())))
    assert_same(again, chain, 1e-15)
    assert (again.left_out, again.nonfinite.tolist()) == (0, [0, 0, 0])
    assert_same(again.update(chain_rows(7, 20)), chain.update(chain_rows(7, 20)), 1e-15)


def test_damaged_saved_moments_are_refused():
    state = ChainMoments(3, 5).state_dict()
    with pytest.raises(MicroscopeError, match="cross is missing"):
        ChainMoments.from_state_dict({k: v for k, v in state.items() if k != "cross"})
    with pytest.raises(MicroscopeError, match="gram has shape"):
        ChainMoments.from_state_dict(state | {"gram": torch.zeros(2, 2)})


def test_what_does_not_fit_is_refused():
    chain = ChainMoments(3, 5)
    with pytest.raises(MicroscopeError, match="cannot be added to moments of 3 layers of width 5"):
        chain.update(chain_rows(0, 4, d=6))
    with pytest.raises(MicroscopeError, match="cannot be combined"):
        chain.merge(ChainMoments(3, 6))
    with pytest.raises(MicroscopeError, match="4 rows cannot be taken out of 0"):
        ChainMoments(3, 5) - ChainMoments(3, 5).update(chain_rows(0, 4))
    with pytest.raises(MicroscopeError, match="already"):
        Moments.empty(3).difference().difference()
    whole = Moments.of(*chain_rows(0, 9, d=3, layers=2))
    with pytest.raises(MicroscopeError, match="squares only and whole ones cannot be combined"):
        whole + Moments.of(*chain_rows(1, 9, d=3, layers=2), squares_only=True)
    for mixed in (lambda: whole + whole.difference(), lambda: whole.difference() - whole):
        with pytest.raises(MicroscopeError, match="a state and of an update cannot be combined"):
            mixed()
    both = whole.difference() + whole.difference()
    torch.testing.assert_close(both.yy, (whole + whole).difference().yy, rtol=1e-9, atol=1e-9)
    assert both.is_update


@pytest.mark.parametrize("kind", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("update", [True, False])
def test_rounded_products_in_batches_are_near_the_exact_ones(kind, update):
    """Wide enough for products in blocks, with a large mean, a massive row and a row that is not finite."""
    draw = torch.Generator().manual_seed(5)
    x = (torch.randn(2500, 520, generator=draw) + 20 * torch.randn(520, generator=draw)).to(kind)
    change = 0.1 * torch.randn(2500, 520, generator=draw)
    y = (x.float() + change if update else change * 30).to(kind)
    x[70] *= 300
    x[1300, 3] = float("nan")
    exact, rounded = Moments.empty(520), Moments.empty(520)
    few = Moments.empty(520, squares_only=True)
    for start in (0, 900, 1100):
        end = {0: 900, 900: 1100}.get(start, 2500)
        exact.update(x[start:end], y[start:end])
        for narrow in (rounded, few):
            narrow.update(x[start:end], y[start:end], dtype=torch.float32)
    assert (rounded.n, rounded.nonfinite) == (2499, 1)
    for name in ("mean_x", "mean_y", "xx", "xy", "yy"):
        want = getattr(exact, name)
        torch.testing.assert_close(getattr(rounded, name), want, rtol=0, atol=1e-6 * float(want.abs().max()))
    torch.testing.assert_close(few.squares, exact.squares, rtol=1e-6, atol=0)
    torch.testing.assert_close(
        few.difference().squares, exact.difference().squares, rtol=1e-5 if update else 1e-6, atol=0
    )


def test_moments_of_squares_only_combine_like_the_others():
    x, y, _ = chain_rows(2, 90)
    parts = [Moments.of(x[k::3], y[k::3], squares_only=True) for k in range(3)]
    whole = Moments.of(x, y)
    for name, want in (
        ("squares", (parts[0] + parts[1] + parts[2]).squares),
        ("squares", ((parts[0] + parts[1]) - parts[1] + parts[1] + parts[2]).squares),
    ):
        torch.testing.assert_close(getattr(whole, name), want, rtol=1e-10, atol=0)
    centre = torch.ones(5, dtype=torch.float64)
    about = Moments.of(x, y, squares_only=True).about(centre, centre).squares
    torch.testing.assert_close(about, (y - centre).square().sum(0), rtol=1e-10, atol=0)
