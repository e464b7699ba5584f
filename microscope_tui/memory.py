"""Memory that is free on this machine, asked without torch."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

SMI_SECONDS: Final = 5.0


def free_gpus(environ: Mapping[str, str] = os.environ) -> tuple[int, ...]:
    """Bytes free on each NVIDIA GPU that this process may use, in CUDA's order; empty where there is none to ask."""
    visible = environ.get("CUDA_VISIBLE_DEVICES")
    command = shutil.which("nvidia-smi")
    if command is None or visible == "":
        return ()
    query = [command, "--query-gpu=index,uuid,memory.free", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(query, capture_output=True, text=True, timeout=SMI_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ()
    gpus: list[tuple[str, str, int]] = []
    for line in done.stdout.splitlines() if done.returncode == 0 else ():
        index, uuid, mebibytes = (cell.strip() for cell in line.split(","))
        if mebibytes.isdigit():
            gpus.append((index, uuid, int(mebibytes) * 2**20))
    if visible is None:
        return tuple(free for _, _, free in gpus)
    # What is named by index or by the start of its id; what is not found is not there for CUDA either.
    return tuple(
        next((free for index, uuid, free in gpus if name == index or (uuid.startswith(name) and "GPU" in name)), 0)
        for name in (each.strip() for each in visible.split(","))
    )


def free_host(proc: Path = Path("/proc"), groups: Path = Path("/sys/fs/cgroup")) -> int:
    """Bytes free on this machine: what it says is available, or less where a control group allows less."""
    free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    for line in _read(proc / "meminfo").splitlines():
        if line.startswith("MemAvailable:"):
            free = int(line.split()[1]) * 1024
    return min([free, *_allowed(proc, groups)])


def _allowed(proc: Path, groups: Path) -> Iterator[int]:
    """What each control group above this process leaves it: limit less use, file cache that can go not counted."""
    for line in _read(proc / "self" / "cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        # Version 2 has one tree and no controllers in the line; version 1 a tree for each.
        root = groups / "memory" if controllers else groups
        names = ("memory.limit_in_bytes", "memory.usage_in_bytes") if controllers else ("memory.max", "memory.current")
        group = root / path.lstrip("/")
        for folder in (group, *group.parents):
            if not folder.is_relative_to(root):
                break
            limit, used = (_read(folder / name).strip() for name in names)
            if limit.isdigit() and used.isdigit():
                yield int(limit) - int(used) + _file_cache(folder)


def _file_cache(folder: Path) -> int:
    """Pages of files of a control group that the kernel can drop."""
    counts = dict(line.split() for line in _read(folder / "memory.stat").splitlines())
    return int(counts.get("total_inactive_file", counts.get("inactive_file", 0)))


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
