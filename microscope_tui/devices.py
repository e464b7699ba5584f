"""The GPUs of this machine, without a driver or a library that is asked."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

VISIBLE: Final = "CUDA_VISIBLE_DEVICES"

DRIVER: Final = Path("/proc/driver/nvidia/version")


def gpus(environ: Mapping[str, str], devices: Path = Path("/dev")) -> tuple[str, ...]:
    """The GPUs that a process started here would see, as CUDA_VISIBLE_DEVICES names them."""
    present = sum(bool(re.fullmatch(r"nvidia\d+", path.name)) for path in devices.glob("nvidia*"))
    if VISIBLE not in environ:
        return tuple(str(number) for number in range(present))
    named = [name.strip() for name in environ[VISIBLE].split(",")]
    # CUDA takes the names up to the first that is none, or the number of a GPU that is not here.
    beyond = (i for i, name in enumerate(named) if name in ("", "-1") or (name.isdecimal() and int(name) >= present))
    end = next(beyond, len(named))
    return tuple(named[:end]) if present else ()


def gpu_facts(environ: Mapping[str, str], devices: Path = Path("/dev"), driver: Path = DRIVER) -> list[str]:
    """What decides on this machine whether torch, of one version, can use a GPU: the files of GPUs of any make, the
    driver, and what CUDA_VISIBLE_DEVICES has besides numbers."""
    present = sorted(path.name for path in devices.glob("*") if re.fullmatch(r"nvidia\d+|dxg|kfd", path.name))
    named = [name.strip() for name in environ.get(VISIBLE, "0").split(",")]
    try:
        version = driver.read_text().partition("\n")[0]
    except OSError:
        version = ""
    return [*present, version, *(name for name in named if not name.isdecimal())]
