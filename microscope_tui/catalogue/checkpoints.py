"""What belongs to a checkpoint on disk, by the names of its files: configuration, weights, OmniFusion's own layout.

No tensor is read, and nothing is imported that could.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from microscope_tui.errors import MicroscopeError

WEIGHTS = "model.safetensors"
"""The weights of a checkpoint that is not in shards."""
INDEX = f"{WEIGHTS}.index.json"
"""Says in which shard each tensor of one that is."""

OMNIFUSION_PARTS = ("tokenizer", "tuned-model")
"""The folders of OmniFusion's layout."""
OMNIFUSION_STEMS = ("projection", "special_embeddings")
"""The files beside them, each as safetensors or as published."""
OMNIFUSION_SUFFIXES = (".safetensors", ".pt")
OMNIFUSION_RELEASE = "OmniMistral-v1_1"
"""The folder of the hub repository that is read, where it holds several."""


def omnifusion_folder(folder: Path) -> Path | None:
    """The folder in OmniFusion's layout: the release's, as in its hub repository, `folder`, or one directly below."""
    return next((p for p in _layouts(folder) if all((p / part).is_dir() for part in OMNIFUSION_PARTS)), None)


def omnifusion_begun(folder: Path) -> Path | None:
    """As `omnifusion_folder`, or else a folder that holds the language model of one: an unfinished download."""
    begun = (p for p in _layouts(folder) if (p / "tuned-model" / "config.json").is_file())
    return omnifusion_folder(folder) or next(begun, None)


def _layouts(folder: Path) -> Iterator[Path]:
    yield folder / OMNIFUSION_RELEASE
    yield folder
    yield from sorted((p for p in folder.iterdir() if p.is_dir()), reverse=True)


def omnifusion_lacks(layout: Path) -> tuple[str, ...]:
    """The folders and files of OmniFusion's layout that are not there; weights are `weight_files`'."""
    parts = [part for part in OMNIFUSION_PARTS if not (layout / part).is_dir()]
    stems = [stem for stem in OMNIFUSION_STEMS if _either(layout, stem) is None]
    return (*parts, *(f"{stem}{OMNIFUSION_SUFFIXES[-1]}" for stem in stems))


def omnifusion_file(layout: Path, stem: str) -> Path:
    """`stem`.safetensors or, if there is none, `stem`.pt. Raises `MicroscopeError` when there is neither."""
    if file := _either(layout, stem):
        return file
    raise MicroscopeError(f"{layout} has no {stem}.pt or {stem}.safetensors: it is not all of an OmniFusion model.")


def _either(layout: Path, stem: str) -> Path | None:
    files = (layout / f"{stem}{suffix}" for suffix in OMNIFUSION_SUFFIXES)
    return next((file for file in files if file.is_file()), None)


def weight_files(folder: Path) -> tuple[tuple[Path, ...], tuple[str, ...]]:
    """The safetensors files of a checkpoint that are here, and the names of those that its index misses."""
    index = folder / INDEX
    if not index.is_file():
        single = folder / WEIGHTS
        return ((single,) if single.is_file() else ()), ()
    shards = read_json(index).get("weight_map", {})
    names = sorted(set(map(str, shards.values()))) if isinstance(shards, dict) else []
    here = [name for name in names if (folder / name).is_file()]
    return tuple(folder / name for name in here), tuple(name for name in names if name not in here)


def dtype_of(config: Mapping[str, object]) -> str:
    """The precision of a checkpoint's weights, by its configuration or that of its decoder; empty where unknown."""
    inner = config.get("text_config")
    for part in (config, inner if isinstance(inner, dict) else {}):
        if said := part.get("dtype") or part.get("torch_dtype"):
            return str(said).removeprefix("torch.")
    return ""


def read_json(file: Path) -> dict[str, Any]:
    """The object in a JSON file; `MicroscopeError` when there is none."""
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise MicroscopeError(f"{file} cannot be read ({error}): download or write it again.") from error
    if not isinstance(data, dict):
        raise MicroscopeError(f"{file} holds no JSON object: download or write it again.")
    return data
