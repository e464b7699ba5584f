"""What torch saved, read without running any of it: zip files only, restricted unpickler only, names on a list only.

Nothing else of the package opens a pickle. `read_restricted` is for files whose names are known in advance,
`read_state_dict` for plain tensors by name.
"""

from __future__ import annotations

import pickletools
import warnings
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.serialization import get_unsafe_globals_in_checkpoint, safe_globals

from microscope_tui.errors import MicroscopeError, one_line

STORAGES = ("Float", "Double", "Half", "BFloat16", "Long", "Int", "Short", "Char", "Byte", "Bool")

TENSOR_NAMES = frozenset(
    {
        "collections.OrderedDict",
        "torch._utils._rebuild_tensor_v2",
        "torch._utils._rebuild_parameter",
        *(f"torch.{kind}Storage" for kind in STORAGES),
    }
)
"""All that a plain state dict asks for; torch's own list is longer."""

PICKLE = "data.pkl"
"""The entry of torch's zip files that is a pickle."""

PICKLE_LIMIT = 64 * 2**20
"""Bytes of it at most, unpacked: tensors are apart from it, so that a hundred thousand of them take less."""


def read_restricted(file: Path, stand_ins: Sequence[tuple[type, str]] = ()) -> Any:
    """What torch saved in `file`: tensors, plain containers, and instances of the classes that stand in for names.

    Raises `MicroscopeError` for any other name, for files of torch before 1.6 and for damaged ones; nothing of
    such a file is executed.
    """
    _check_zip(file)
    try:
        with warnings.catch_warnings(), safe_globals(list(stand_ins)):
            warnings.simplefilter("ignore")
            if unsafe := sorted(get_unsafe_globals_in_checkpoint(str(file))):
                raise _asks_for(file, unsafe[0])
            return torch.load(file, map_location="cpu", weights_only=True)
    except MicroscopeError:
        raise
    except Exception as error:  # what the restricted unpickler raises over hostile bytes has no common class
        raise MicroscopeError(
            f"{file} is not what torch saves of a module or of tensors ({one_line(error)}): it is not opened and "
            "nothing in it was run."
        ) from error


def read_state_dict(file: Path) -> dict[str, Tensor]:
    """The tensors of a plain state dict by name. Raises `MicroscopeError` as `read_restricted`, and for anything else.

    Only the names in `TENSOR_NAMES` may be asked for, which is less than torch's restricted unpickler knows.
    """
    _check_zip(file)
    if foreign := sorted(_names(file) - TENSOR_NAMES):
        raise _asks_for(file, foreign[0])
    state = read_restricted(file)
    if not isinstance(state, dict) or not all(isinstance(k, str) and isinstance(v, Tensor) for k, v in state.items()):
        raise MicroscopeError(f"{file} is not a plain state dict of tensors by name: use safetensors weights.")
    return {name: tensor.detach() for name, tensor in state.items()}


def _check_zip(file: Path) -> None:
    try:
        readable = zipfile.is_zipfile(file)
    except OSError as error:
        raise MicroscopeError(f"{file} cannot be read ({error}).") from error
    if not readable:
        raise MicroscopeError(
            f"{file} is damaged or was saved by PyTorch before 1.6, in a form that cannot be read without running it: "
            "save it again with a newer one, as safetensors."
        )


def _names(file: Path) -> set[str]:
    """The names that the pickles in a zip file ask for in the one way that torch's restricted unpickler knows."""
    try:
        with zipfile.ZipFile(file) as zipped:
            entries = [entry for entry in zipped.infolist() if entry.filename.endswith(PICKLE)]
            if sum(entry.file_size for entry in entries) > PICKLE_LIMIT:
                raise ValueError(f"its pickle is larger than {PICKLE_LIMIT:,} bytes")
            pickles = [zipped.read(entry) for entry in entries]
        return {
            str(argument).replace(" ", ".")
            for pickle in pickles
            for operation, argument, _ in pickletools.genops(pickle)
            if operation.name == "GLOBAL"
        }
    except Exception as error:  # pickletools and zipfile raise many things over hostile bytes
        raise MicroscopeError(
            f"{file} is not what torch saves of tensors ({one_line(error)}): it is not opened and nothing in it was "
            "run."
        ) from error


def _asks_for(file: Path, name: str) -> MicroscopeError:
    return MicroscopeError(
        f"{file} asks for {name}, which its tensors do not need: it is not opened and nothing in it was run."
    )
