"""Where a model goes and in which precision; weights read from safetensors; failures as sentences."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
import transformers
from torch import Tensor, nn

from microscope_tui.errors import MicroscopeError, OutOfMemory, is_out_of_memory, one_line
from microscope_tui.terms import check_dtype

NO_CODE = "{} needs code of its own, which is never run: choose a model that transformers knows."

UNKNOWN = re.compile(r"model type `(\S+)` but Transformers does not recognize")
"""What transformers says of a configuration of none of its families."""

LOCAL: Mapping[str, Any] = {"local_files_only": True, "trust_remote_code": False}
"""Given to everything that reads a folder: nothing is fetched and no code of a checkpoint is run."""


class NeedsTorchvision(MicroscopeError):
    """A processor cannot be read without torchvision, which is not installed here."""

    @classmethod
    def by(cls, name: str) -> NeedsTorchvision:
        return cls(f"The processor of {name} needs torchvision: install torchvision.")


BALANCED = "balanced"
"""The device that is all GPUs: accelerate spreads a model over them, what is left over goes to memory and disk."""

DeviceMap = Mapping[str, str | int]
"""Names of modules to devices, `cpu` or `disk`, as accelerate takes it."""


@dataclass(frozen=True)
class Place:
    """Device, precision (None: the checkpoint's own) and attention implementation (None: transformers' choice).

    With a `device_map` the parts of a model are in several places; `device` is then where inputs go. What is on disk
    lies in the folder `offload`, which is there for as long as the place is.
    """

    device: torch.device
    dtype: torch.dtype | None
    attention: str | None
    device_map: str | DeviceMap | None = None
    offload: TemporaryDirectory[str] | None = None

    @classmethod
    def of(cls, *, dtype: str, device: str, attention: str, device_map: DeviceMap | None = None) -> Place:
        """What the settings mean here.

        `device`: `auto` takes a GPU when there is one, `balanced` all of them; a `device_map` goes before it.
        `dtype`: `auto` is float32 on the CPU, else as saved.
        """
        spread: str | DeviceMap | None = device_map
        if device_map is not None:
            used = [str(where) for where in device_map.values() if where not in ("cpu", "disk")]
            device = next((f"cuda:{where}" if where.isdigit() else where for where in used), "cpu")
        elif device == BALANCED:
            if not torch.cuda.is_available():
                raise MicroscopeError("There is no GPU here that a model could be spread over: use cpu or auto.")
            device, spread = "cuda:0", BALANCED
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        try:
            where = torch.device(device)
        except RuntimeError:
            raise MicroscopeError(
                f"There is no kind of device {device!r}: use cpu, cuda, cuda:1, …, auto or {BALANCED}."
            ) from None
        if where.type == "cuda" and not (torch.cuda.is_available() and (where.index or 0) < torch.cuda.device_count()):
            raise MicroscopeError(
                f"There is no {device} here ({torch.cuda.device_count()} GPUs that torch can use): use cpu or auto."
            )
        check_dtype(dtype)
        own = torch.float32 if where.type == "cpu" else None
        return cls(
            where,
            own if dtype == "auto" else getattr(torch, dtype),
            None if attention == "auto" else attention,
            spread,
            None if spread is None else TemporaryDirectory(prefix="microscope-offload-"),
        )

    def alone(self, dtype: torch.dtype) -> Place:
        """The place of a part that is not spread: all on `device`, in `dtype`."""
        return replace(self, dtype=dtype, device_map=None, offload=None)


def computes_on(module: nn.Module) -> torch.device:
    """The device that a module computes on, also when accelerate keeps its weights elsewhere between calls."""
    hook = getattr(module, "_hf_hook", None)
    where = getattr(hook, "execution_device", None)
    return next(module.parameters()).device if where is None else torch.device(where)


def load_weights(
    auto: Any, name: str, folder: Path, place: Place, *, state: Mapping[str, Tensor] | None = None, **options: Any
) -> tuple[Any, Sequence[str]]:
    """A network by an Auto class from a folder of safetensors, or from `state`, in evaluation mode on its device.

    Also the names of the tensors that the network has no place for. Raises `MicroscopeError` also when a tensor is
    missing or of another shape, which transformers would fill with random numbers.
    """
    if place.attention is not None:
        options["attn_implementation"] = place.attention
    if place.device_map is not None and place.offload is not None:
        options["device_map"] = place.device_map
        options["offload_folder"] = place.offload.name
    elif place.device.type != "cpu":
        options["device_map"] = {"": place.device}
    if state is not None:
        options["state_dict"] = dict(state)
        options["config"] = read_part(auto.config_class, "its configuration", name, folder)
    try:
        network, info = auto.from_pretrained(
            folder if state is None else None,
            dtype=place.dtype or "auto",
            use_safetensors=True,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # told below, by name
            **LOCAL,
            **options,
        )
    except MicroscopeError:  # of who hears the progress
        raise
    except Exception as error:  # transformers and safetensors raise nearly everything over damaged weights
        if is_out_of_memory(error):
            raise OutOfMemory(
                f"{name} does not fit into the memory of {place.device}: use a smaller model, half precision "
                "(--dtype bfloat16), another device, or all GPUs (--device balanced)."
            ) from error
        if place.attention is not None and ("attn" in str(error).lower() or "attention" in str(error).lower()):
            raise MicroscopeError(
                f"{name} cannot use the attention implementation {place.attention!r} here ({one_line(error)})."
            ) from error
        if "trust_remote_code" in str(error):
            raise MicroscopeError(NO_CODE.format(name)) from error
        raise _unreadable(name, "its weights", error) from error
    if missing := sorted(info["missing_keys"]):
        more = f" and {len(missing) - 1} more" if missing[1:] else ""
        raise MicroscopeError(f"The weights of {name} lack {missing[0]}{more}: download the checkpoint again.")
    if misshapen := sorted(info["mismatched_keys"]):
        tensor, found, wanted = misshapen[0]
        raise MicroscopeError(
            f"The weights of {name} hold {tensor} of shape {tuple(found)}, and its config.json asks for "
            f"{tuple(wanted)}: they do not belong together."
        )
    return network.eval(), sorted(info["unexpected_keys"])


def unused_note(tensors: Sequence[str]) -> tuple[str, ...]:
    """What is said of tensors that a network has no place for."""
    if not tensors:
        return ()
    return (f"{len(tensors)} tensors of its weights, like {tensors[0]}, have no place in its network and are unused.",)


def read_part(auto: Any, what: str, name: str, folder: Path, **options: Any) -> Any:
    """A part of a checkpoint by an Auto class, any failure told as one sentence."""
    try:
        return auto.from_pretrained(folder, **LOCAL, **options)
    except Exception as error:  # transformers raises nearly everything over a folder it cannot read
        if "torchvision" in str(error).lower():
            raise NeedsTorchvision.by(name) from error
        if "trust_remote_code" in str(error):
            raise MicroscopeError(NO_CODE.format(name)) from error
        if (kind := UNKNOWN.search(str(error))) is not None:
            raise MicroscopeError(
                f"{name} is a {kind[1]} model, which transformers {transformers.__version__} does not know: update "
                "transformers, or choose another model."
            ) from error
        raise _unreadable(name, what, error) from error


def _unreadable(name: str, what: str, error: Exception) -> MicroscopeError:
    if isinstance(error, ImportError):
        need = f"reading {what.removeprefix('its ')} needs a library that is not installed here ({one_line(error)})"
        return MicroscopeError(f"{name} cannot be opened: {need}.")
    return MicroscopeError(
        f"{name} cannot be opened: {what} cannot be read ({one_line(error)}); mend or download its files again."
    )
