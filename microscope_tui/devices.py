"""The GPUs of this machine, without a driver or a library that is asked."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

VISIBLE: Final = "CUDA_VISIBLE_DEVICES"


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
