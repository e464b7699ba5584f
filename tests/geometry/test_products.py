"""Products are in the type that is asked for, whatever the process has allowed, and leave that as it was."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from microscope_tui.geometry import screening
from microscope_tui.geometry.products import full_precision, is_small_update
from tests.geometry.counted import counted

NEW = hasattr(torch.backends, "fp32_precision")
"""Whether torch has a switch for each library."""

SCRIPT = """
import torch

def switches():
    each = (torch.backends, torch.backends.cuda.matmul, torch.backends.mkldnn.matmul)
    return [library.fp32_precision for library in each]

{setting}
from microscope_tui.geometry import anisotropy, dimension, linearity

before = switches()
for kind in (torch.float32, torch.float64):
    x = torch.randn(600, 20, generator=torch.Generator().manual_seed(0), dtype=kind)
    y = x + x.roll(1, 1).sin()
    for method in ("in-sample", "update"):
        print(linearity(x, y, method=method, dtype=kind).value, dimension(x).value, anisotropy(x).value)
assert switches() == before, (before, switches())
"""


def _values(setting: str) -> list[float]:
    """What a process of its own measures after a setting: whether it may be made depends on those made before."""
    done = subprocess.run([sys.executable, "-c", SCRIPT.format(setting=setting)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return [float(each) for each in done.stdout.split()]


@pytest.fixture(scope="module")
def plain() -> list[float]:
    return _values("")


@pytest.mark.skipif(not NEW, reason="this torch has one switch for all libraries")
@pytest.mark.parametrize(
    "setting",
    [
        "torch.backends.cuda.matmul.fp32_precision = 'tf32'",
        "torch.backends.fp32_precision = 'tf32'",
        "torch.backends.mkldnn.matmul.fp32_precision = 'bf16'",
        "torch.set_float32_matmul_precision('medium')",
        "torch.backends.cuda.matmul.allow_tf32 = True",
    ],
)
def test_a_process_that_allows_less_precision_gets_the_same_numbers_and_keeps_its_setting(
    setting: str, plain: list[float]
):
    assert _values(setting) == plain


def test_of_products_that_overlap_the_last_sets_back_what_was_allowed():
    """As of two threads: the first to begin is the first to end."""
    torch.set_float32_matmul_precision("high")
    try:
        first, second = full_precision(torch.float32), full_precision(torch.float32)
        first.__enter__()
        second.__enter__()
        first.__exit__(None, None, None)
        if NEW:
            assert torch.backends.cuda.matmul.fp32_precision == "ieee"
        else:
            assert torch.get_float32_matmul_precision() == "highest"
        second.__exit__(None, None, None)
        assert torch.get_float32_matmul_precision() == "high"
        if NEW:
            assert torch.backends.cuda.matmul.fp32_precision == "tf32"
        with full_precision(torch.float64):
            assert torch.backends.cuda.matmul.allow_tf32
    finally:
        torch.set_float32_matmul_precision("highest")


@pytest.mark.parametrize("length", [2, 4, 8, 16])
def test_tokens_at_one_place_of_their_examples_do_not_tell_whether_y_is_an_update(length: int):
    draw = torch.Generator().manual_seed(length)
    x = torch.randn(1024, 6, generator=draw)
    change = 0.1 * torch.randn(1024, 6, generator=draw)
    assert is_small_update(x, x + change)
    carried = change.clone()
    carried[::length] += x[::length]
    assert not is_small_update(x, carried)
    assert not is_small_update(x[:1].repeat(1024, 1), change[:1].repeat(1024, 1))


@pytest.mark.skipif(not screening._ONEDNN, reason="this torch has no oneDNN")
def test_only_products_of_wide_rows_are_onednns(monkeypatch: pytest.MonkeyPatch):
    calls: list[tuple[object, ...]] = []
    monkeypatch.setattr(torch.nn.functional, "linear", counted(torch.nn.functional.linear, calls))
    for d, times in ((94, 0), (600, 1)):
        x = torch.randn(64, d, generator=torch.Generator().manual_seed(d))
        found = screening.screen_all(x, 2, None)
        squares = torch.cdist(x.double(), x.double()).fill_diagonal_(float("inf")).square()
        want = squares.topk(2, largest=False).values.sort().values
        torch.testing.assert_close(found.value.double().sort().values, want, rtol=1e-4, atol=1e-4)
        assert len(calls) == times
