"""Tensors and JSON as the bytes of a safetensors file, part by part, without a copy of what may be many gigabytes.

Format: the length of the header in 8 bytes, little endian; the header, JSON padded with blanks to a multiple of 8, with
dtype, shape and place of each tensor; the tensors. https://huggingface.co/docs/safetensors/index#format

The JSON is a tensor of bytes: in the header, which safetensors reads up to 100 MB of, it could not grow with a slice.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from typing import Any, Final

import torch
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

HEAD: Final = "head"
"""The name of the tensor that is JSON."""


def parts_of(tensors: Mapping[str, Tensor], head: object) -> tuple[memoryview, ...]:
    """The file's parts in their order: the header, and the memory of each tensor, which must not change meanwhile.

    `head` is what JSON can hold; no tensor has its name.
    """
    text = bytearray(json.dumps(head).encode())
    tensors = {**tensors, HEAD: torch.frombuffer(text, dtype=torch.uint8)}
    order = list(NAMES)
    names = sorted(tensors, key=lambda name: (order.index(tensors[name].dtype), name))
    header: dict[str, object] = {}
    parts: list[memoryview] = []
    end = 0
    for name in names:
        tensor = tensors[name]
        parts.append(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
        place, end = end, end + parts[-1].nbytes
        header[name] = {"dtype": NAMES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [place, end]}
    said = json.dumps(header, ensure_ascii=False).encode()
    said += b" " * (-len(said) % 8)
    return memoryview(struct.pack("<Q", len(said)) + said), *(part for part in parts if part.nbytes)


def head_of(opened: Any) -> Any:
    """The JSON in a file that was opened with safetensors. `SafetensorError` where it has none."""
    return json.loads(opened.get_tensor(HEAD).numpy().tobytes())


def tensors_of(opened: Any) -> dict[str, Tensor]:
    """All other tensors of the file, in memory of their own: the file may go, and is never written to."""
    return {name: opened.get_tensor(name).clone() for name in opened.keys() if name != HEAD}  # noqa: SIM118
