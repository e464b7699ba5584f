"""Every golden case agrees with the peer that its convention names (relative 1e-6)."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from microscope_tui.geometry import anisotropy, dimension, linearity
from microscope_tui.geometry.moments import Moments
from microscope_tui.geometry.neighbours import nearest
from microscope_tui.geometry.reference import procrustes_similarity, procrustes_similarity_centered
from microscope_tui.geometry.solve import factor
from tests.geometry.golden import CASES, TOLERANCE, expected, inputs, number
from tests.sure import sure

FULL = [c for c in CASES if expected()[c]["shape"][0] > expected()[c]["shape"][1] + 1 and c != "all_equal_rows"]
RELIABLE = [c for c in CASES if expected()[c].get("linearity_peer_reliable", {}).get("llm-microscope[float64]")]


def rows(case):
    return inputs()[f"X_{case}"], inputs()[f"Y_{case}"]


@pytest.mark.parametrize("case", FULL)
def test_in_sample_linearity_is_the_rank_revealing_reference(case):
    want = expected()[case]["reference_float64"]
    assert linearity(*rows(case)).value == pytest.approx(want["linearity"]["score@1e-06"], rel=TOLERANCE)
    assert linearity(*rows(case), method="adjusted").value == pytest.approx(want["adjusted_linearity"], rel=TOLERANCE)
    update = linearity(*rows(case), method="update")
    if case == "identity":
        assert update.value is None
        assert "no update" in sure(update.reason)
    else:
        assert update.value == pytest.approx(want["linearity_centered(Y-X)"]["score@1e-06"], rel=TOLERANCE)


@pytest.mark.parametrize("case", FULL)
def test_rank_and_condition_number_are_the_svds(case):
    x, y = rows(case)
    want = expected()[case]["reference_float64"]["linearity"]
    m = Moments.of(torch.tensor(x), torch.tensor(y))
    solved = factor(m.n, m.mean_x, m.xx)
    assert solved.rank == want["rank@1e-06"]
    assert solved.condition == pytest.approx(want["cond_equilibrated"], rel=2e-3)


@pytest.mark.parametrize("case", RELIABLE)
def test_linearity_is_llm_microscopes_where_that_is_above_its_own_rounding(case):
    peer = expected()[case]["llm-microscope"]
    value = peer["procrustes_similarity[float64]"]
    assert linearity(*rows(case), method="llm-microscope").value == pytest.approx(value, rel=TOLERANCE)
    assert linearity(*rows(case)).value == pytest.approx(value, rel=TOLERANCE)
    x, y = (torch.tensor(r).double() for r in rows(case))
    assert procrustes_similarity(x, y) == pytest.approx(value, rel=1e-12)
    centered = number(peer["procrustes_similarity_centered[float64]"])
    if centered is not None:
        assert procrustes_similarity_centered(x, y) == pytest.approx(centered, rel=1e-12)
        assert linearity(*rows(case), method="update").value == pytest.approx(centered, rel=TOLERANCE)


@pytest.mark.parametrize("case", [c for c in FULL if expected()[c]["linearity_peer_reliable"]["mllm-microscope"]])
def test_linearity_is_the_papers_code(case):
    value = expected()[case]["mllm-microscope"]["procrustes_similarity"]
    assert linearity(*rows(case)).value == pytest.approx(value, rel=TOLERANCE)


def test_held_out_linearity_agrees_with_least_squares_on_halves():
    """Two folds of examples, fitted on one and scored on the other, by a plain least-squares program."""
    case = "residual_stream"
    x, y = rows(case)
    groups = inputs()[f"example_{case}"]
    want = np.mean(
        expected()[case]["reference_float64"][
            "heldout_ols(even->odd,odd->even example ids; denominator: test half about its own mean)"
        ]
    )
    got = linearity(x, y, method="held-out", groups=groups % 2)
    assert got.value == pytest.approx(want, abs=2e-7)


@pytest.mark.parametrize("case", CASES)
def test_nearest_distances_are_exact(case):
    if f"r1_{case}" not in inputs():
        pytest.skip("fewer than three rows")
    found = nearest(torch.tensor(rows(case)[0]), 2).distance.numpy()
    np.testing.assert_allclose(found[:, 0], inputs()[f"r1_{case}"], rtol=1e-12)
    np.testing.assert_allclose(found[:, 1], inputs()[f"r2_{case}"], rtol=1e-12)


PEERS = {
    "llm-microscope": ("llm-microscope", "intrinsic_dimension"),
    "dadapy": ("dadapy", "compute_id_2NN()"),
    "facco": ("dadapy", "after remove_identical_points()"),
    "scikit-dimension": ("skdim", "TwoNN[float64 in]"),
}
PEER_IS_WRONG = {("dadapy", "duplicate_rows"), ("scikit-dimension", "duplicate_rows")}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("method", PEERS)
def test_dimension_is_the_peers(case, method):
    peer, call = PEERS[method]
    value = number(expected()[case][peer][call])
    got = dimension(rows(case)[0], method=method)
    if value is None:
        assert got.value is None
        assert got.reason
    elif (method, case) in PEER_IS_WRONG:
        exact = number(expected()[case]["reference_float64"]["twonn"]["skdim" if peer == "skdim" else "dadapy-base"])
        assert got.value == (None if exact is None else pytest.approx(exact, rel=TOLERANCE))
    else:
        assert got.value == pytest.approx(value, rel=TOLERANCE)


@pytest.mark.parametrize("case", CASES)
def test_the_default_dimension_is_dadapys_ml_on_different_rows(case):
    reference = expected()[case]["reference_float64"].get("twonn_after_dedup") or expected()[case][
        "reference_float64"
    ].get("twonn")
    value = None if reference is None else number(reference["dadapy-ml"])
    got = dimension(rows(case)[0])
    assert got.value == (None if value is None else pytest.approx(value, rel=TOLERANCE))
    if case == "duplicate_rows":
        assert got.n == 186
        assert "14 duplicate rows (7.0%) removed" in got.notes
        assert got.repeated == 14 / 200


@pytest.mark.parametrize("case", CASES)
def test_anisotropy_is_the_share_of_the_largest_eigenvalue(case):
    value = number(expected()[case]["reference_float64"]["anisotropy"])
    peer = number(expected()[case]["llm-microscope"]["calculate_anisotropy_torch[float64]"])
    reference = anisotropy(rows(case)[0], method="llm-microscope")
    assert reference.value == (None if peer is None else pytest.approx(peer, rel=TOLERANCE))
    got = anisotropy(rows(case)[0])
    if case == "tiny2":
        assert got.value is None
        assert "one line" in sure(got.reason)
    else:
        assert got.value == (None if value is None else pytest.approx(value, rel=TOLERANCE))
