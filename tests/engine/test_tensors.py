"""Tensors as a safetensors file: what is written part by part is what safetensors reads."""

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load

from microscope_tui.engine.tensors import HEAD, NAMES, head_of, parts_of, tensors_of

TENSORS = {
    "flag": torch.tensor(True),
    "a.rows": torch.arange(24.0, dtype=torch.bfloat16).reshape(2, 3, 4),
    "gram": torch.randn(3, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64).T,
    "empty": torch.empty(0, 4),
    "counts": torch.tensor([1, -2]),
}


@pytest.mark.parametrize("tensors", [TENSORS, {}, {str(dtype): torch.ones(3).to(dtype) for dtype in NAMES}])
def test_safetensors_reads_what_is_written_part_by_part(tensors, tmp_path):
    head = {"é": ["«»", None, 1.5]}
    data = b"".join(parts_of(tensors, head))
    found = load(data)
    assert found.keys() == {*tensors, HEAD}
    assert all(found[name].dtype is tensor.dtype for name, tensor in tensors.items())
    assert all(torch.equal(found[name], tensor) for name, tensor in tensors.items())
    file = tmp_path / "state"
    file.write_bytes(data)
    with safe_open(file, framework="pt") as opened:
        assert tensors_of(opened).keys() == tensors.keys()
        assert head_of(opened) == head


def test_what_is_said_of_a_million_answers_can_be_read(tmp_path):
    """The header of such a file may take 100 MB."""
    head = ["x" * 1000] * 110_000
    file = tmp_path / "state"
    file.write_bytes(b"".join(parts_of({}, head)))
    with safe_open(file, framework="pt") as opened:
        assert head_of(opened) == head


def test_nothing_large_is_copied_on_its_way_out_and_what_is_read_does_not_hang_on_the_file(tmp_path):
    sums = torch.ones(100, 50, dtype=torch.float64)
    _, part, _ = parts_of({"sums": sums}, {})
    sums[0, 0] = 7
    assert bytes(part[:8]) == b"\0\0\0\0\0\0\x1c\x40"
    file = tmp_path / "state"
    file.write_bytes(b"".join(parts_of({"sums": sums}, {})))
    before = file.read_bytes()
    with safe_open(file, framework="pt") as opened:
        read = tensors_of(opened)["sums"]
    read += 1
    assert file.read_bytes() == before
    file.unlink()
    assert read[0, 0] == 8
