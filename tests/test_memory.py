"""What memory is free, as the system says it."""

import subprocess

import pytest

from microscope_tui.memory import free_gpus, free_host

GPUS = "0, GPU-aaaa-1, 1000\n1, GPU-bbbb-2, 2000\n10, GPU-cccc-3, 3000\n"
MIB = 2**20


@pytest.fixture
def smi(monkeypatch):
    """An nvidia-smi that says what the test wants."""

    def says(text, code=0):
        monkeypatch.setattr("shutil.which", lambda name: f"/bin/{name}")
        done = subprocess.CompletedProcess([], code, text, "")
        monkeypatch.setattr("subprocess.run", lambda *args, **kwargs: done)

    return says


@pytest.mark.parametrize(
    ("visible", "free"),
    [
        (None, (1000, 2000, 3000)),
        ("1", (2000,)),
        ("10,0", (3000, 1000)),
        ("GPU-bbbb", (2000,)),
        ("7", (0,)),
        ("", ()),
    ],
)
def test_the_gpus_that_may_be_used_in_cudas_order(smi, visible, free):
    smi(GPUS)
    environ = {} if visible is None else {"CUDA_VISIBLE_DEVICES": visible}
    assert free_gpus(environ) == tuple(mib * MIB for mib in free)


def test_a_driver_that_answers_nonsense_is_no_gpu(smi):
    smi("NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.", 9)
    assert free_gpus({}) == ()
    smi("0, GPU-a, [N/A]\n")
    assert free_gpus({}) == ()


def test_without_the_command_there_is_no_gpu(monkeypatch):
    monkeypatch.setattr("shutil.which", lambda name: None)
    assert free_gpus({}) == ()


def test_the_free_memory_of_this_machine_is_found():
    assert free_host() > 10**8


def test_the_strictest_control_group_counts_less_the_cache_that_can_go(tmp_path):
    proc, groups = tmp_path / "proc", tmp_path / "groups"
    job = groups / "slurm" / "job_7" / "step_0"
    job.mkdir(parents=True)
    (proc / "self").mkdir(parents=True)
    (proc / "meminfo").write_text("MemTotal: 99 kB\nMemAvailable:   1000000 kB\n")
    (proc / "self" / "cgroup").write_text("0::/slurm/job_7/step_0\n")
    (job / "memory.max").write_text("max\n")
    for name, value in (
        ("memory.max", "5000"),
        ("memory.current", "4500"),
        ("memory.stat", "anon 9\ninactive_file 800\n"),
    ):
        (job.parent / name).write_text(value)
    assert free_host(proc, groups) == 5000 - 4500 + 800
    (proc / "self" / "cgroup").write_text("5:cpu:/x\n9:memory:/box\n")
    old = groups / "memory" / "box"
    old.mkdir(parents=True)
    (old / "memory.limit_in_bytes").write_text("7000")
    (old / "memory.usage_in_bytes").write_text("1000")
    assert free_host(proc, groups) == 6000
    assert free_host(proc, tmp_path / "none") == 1_000_000 * 1024
