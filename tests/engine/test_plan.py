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
        monkeypatch.setattr(module, "free_memory", lambda device: places)

    return set_free


def planned(folds=10, device=GPU, **size):
    return plan(**(SEVEN_B | size), folds=folds, sample=4096, device=device)


def test_a_fold_is_counted_as_large_as_its_moments_are():
    chain = ChainMoments(9, 96)
    matrices = chain.gram.nbytes + chain.cross.nbytes
    assert fold_bytes(8, 96) == matrices


def test_the_demo_gets_all_folds_where_the_model_is(free):
    free(host=20, gpu=16)
    assert planned(layers=8, width=96).device == GPU
    free(host=20)
    small = planned(layers=8, width=96, device=CPU)
    assert (small.folds, small.device, small.dtype, small.notes) == (10, CPU, torch.float64, ())


def test_a_large_model_keeps_its_moments_near_it_and_says_what_that_costs(free):
    free(host=900, gpu=180)
    near = planned()
    assert (near.device, near.folds, near.dtype) == (GPU, 2, torch.float32)
    assert "2 instead of 10 folds" in near.notes[0]
    free(host=900, gpu=40)
    far = planned()
    assert (far.device, far.folds) == (CPU, 10)
    assert "kept on the host" in far.notes[0]
    free(host=130, gpu=20)
    assert "no intervals" in planned().notes[0]


def test_a_little_less_free_memory_means_the_same_plan(free):
    free(host=400)
    folds = planned(device=CPU).folds
    free(host=380)
    assert planned(device=CPU).folds == folds


def test_what_fits_nowhere_is_refused_with_what_to_do(free):
    free(host=30, gpu=20)
    with pytest.raises(MicroscopeError, match="fewer --stream"):
        planned()
