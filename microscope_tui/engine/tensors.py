"""Tensors as the bytes of a safetensors file, part by part, without a copy of what may be many gigabytes.

Format: the length of the header in 8 bytes, little endian; the header, JSON padded with blanks to a multiple of 8, with
dtype, shape and place of each tensor; the tensors. https://huggingface.co/docs/safetensors/index#format
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import torch
from safetensors import safe_open
from torch import Tensor

NAMES: Final[Mapping[torch.dtype, str]] = {
    torch.float64: "F64",
    torch.int64: "I64",
    torch.float32: "F32",
    torch.int32: "I32",
    torch.bfloat16: "BF16",
    torch.float16: "F16",
    torch.uint8: "U8",
    torch.int8: "I8",
    torch.bool: "BOOL",
}
"""What the format calls a dtype; the wider ones first, so that each tensor lies at a multiple of its item's size."""


def parts_of(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> tuple[memoryview, ...]:
    """The file's parts in their order: the header, and the memory of each tensor, which must not change meanwhile."""
    order = list(NAMES)
    names = sorted(tensors, key=lambda name: (order.index(tensors[name].dtype), name))
    header: dict[str, object] = {"__metadata__": dict(metadata)}
    parts: list[memoryview] = []
    end = 0
    for name in names:
        tensor = tensors[name]
        parts.append(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
        place, end = end, end + parts[-1].nbytes
        header[name] = {"dtype": NAMES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [place, end]}
    text = json.dumps(header, ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return memoryview(struct.pack("<Q", len(text)) + text), *(part for part in parts if part.nbytes)


def metadata_of(file: Path) -> dict[str, str]:
    """The metadata of a safetensors file."""
    with safe_open(file, framework="pt") as opened:
        return dict(opened.metadata() or {})


def tensors_of(file: Path) -> dict[str, Tensor]:
    """All tensors of a safetensors file, in memory of their own: the file may go, and is never written to."""
    with safe_open(file, framework="pt") as opened:
        return {name: opened.get_tensor(name).clone() for name in opened.keys()}  # noqa: SIM118  # it is no mapping
