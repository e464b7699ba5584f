import pytest
import torch

from microscope_tui.engine import plan as module
from microscope_tui.engine.plan import fold_bytes, plan
from microscope_tui.errors import MicroscopeError
from microscope_tui.geometry.moments import ChainMoments

CPU, GPU = torch.device("cpu"), torch.device("cuda:0")
SEVEN_B = {"layers": 32, "width": 4096, "kinds": 4}
GB = 10**9


@pytest.fixture
def free(monkeypatch):
    def set_free(**gigabytes):
        places = {CPU: gigabytes["host"] * GB} | ({GPU: gigabytes["gpu"] * GB} if "gpu" in gigabytes else {})
        monkeypatch.setattr(module, "_free", lambda device: places)

    return set_free


def test_a_fold_is_counted_as_large_as_its_moments_are():
    chain = ChainMoments(9, 96)
    matrices = chain.gram.nbytes + chain.cross.nbytes
    assert fold_bytes(8, 96) == matrices


def test_the_demo_gets_all_folds_where_the_model_is(free):
    free(host=20, gpu=16)
    assert plan(layers=8, width=96, kinds=4, folds=10, device=GPU).device == GPU
    free(host=20)
    small = plan(layers=8, width=96, kinds=4, folds=10, device=CPU)
    assert (small.folds, small.device, small.dtype, small.note) == (10, CPU, torch.float64, None)


def test_a_large_model_gets_the_folds_that_fit_and_says_so(free):
    free(host=900, gpu=120)
    large = plan(**SEVEN_B, folds=10, device=GPU)
    assert large.device == CPU
    assert large.folds == 10
    free(host=200, gpu=120)
    fewer = plan(**SEVEN_B, folds=10, device=GPU)
    assert fewer.folds == 3
    assert "3 instead of 10 folds" in fewer.note
    free(host=100, gpu=20)
    assert "no intervals" in plan(**SEVEN_B, folds=10, device=GPU).note


def test_what_fits_nowhere_is_refused_with_what_to_do(free):
    free(host=30, gpu=20)
    with pytest.raises(MicroscopeError, match="fewer --stream"):
        plan(**SEVEN_B, folds=10, device=GPU)


def test_the_free_memory_of_this_machine_is_found():
    assert module._free_host() > 10**8
