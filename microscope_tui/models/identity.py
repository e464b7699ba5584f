"""What a checkpoint on disk is and whether it is whole, without torch and without reading a tensor."""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from microscope_tui.catalogue.checkpoints import (
    INDEX,
    OMNIFUSION_PARTS,
    OMNIFUSION_STEMS,
    WEIGHTS,
    omnifusion_file,
    omnifusion_folder,
    omnifusion_lacks,
    read_json,
    weight_files,
)
from microscope_tui.catalogue.locate import locate_model
from microscope_tui.errors import MicroscopeError

READ = frozenset({".json", ".safetensors", ".model", ".txt", ".jinja", ".tiktoken", ".pt"})
"""Endings of the files that a model is read from; the rest of a folder (README, pictures, logs) is not."""

STATE_DICT = "pytorch_model.bin"
"""A vision tower without safetensors is read from this file, if it holds plain tensors and nothing else."""
OMNIFUSION_DEFAULTS: Mapping[str, Any] = {
    "prompt": "This is a dialog with AI assistant.\n",
    "vision_tower": "openai/clip-vit-large-patch14-336",
    "vision_feature_layer": -2,
    "nhead": 4,
    "activation": "relu",
}
"""What the published code has fixed; `omnifusion.json` in the folder overrides it."""


class NoWeights(MicroscopeError):
    """A folder has a configuration and no weights that may be read."""


def identify(folder: Path) -> tuple[str, tuple[Path, ...]]:
    """Identity of the checkpoint in `folder`, and the files that must be unchanged for it to hold.

    A snapshot of the hub's cache is `OWNER/NAME@COMMIT`; any other folder is `blake2b:` and a digest over the
    names and contents of its configuration, tokenizer and weight files. OmniFusion's is joined by `+` with that
    of its vision tower when this lies outside the folder.
    """
    identified = [_identity(*part) for part in _parts(folder)]
    return "+".join(identity for identity, _ in identified), tuple(file for _, files in identified for file in files)


def files_of(folder: Path) -> tuple[Path, ...]:
    """The files that `identify` reads, without reading them."""
    return tuple(file for _, files in _parts(folder) for file in files)


def _parts(folder: Path) -> list[tuple[Path, tuple[Path, ...]]]:
    """The folders that a checkpoint is made of, each with the files that are read there."""
    layout = omnifusion_folder(folder)
    if layout is None:
        return [(folder, tuple(_files(folder)))]
    files = [path for part in OMNIFUSION_PARTS for path in _files(layout / part)] + list(_files(layout))
    tower = vision_tower(layout)
    if tower is not None and tower.is_relative_to(layout):
        files += _tower_files(tower)
        tower = None
    return [(layout, tuple(files)), *([(tower, tuple(_tower_files(tower)))] if tower else [])]


def omnifusion_settings(layout: Path) -> dict[str, Any]:
    """The published settings, with what the folder's `omnifusion.json` says instead."""
    file = layout / "omnifusion.json"
    own = read_json(file) if file.exists() else {}
    if unknown := sorted(set(own) - set(OMNIFUSION_DEFAULTS)):
        raise MicroscopeError(
            f"{file} sets {unknown[0]!r}, which OmniFusion has not: use {', '.join(OMNIFUSION_DEFAULTS)}."
        )
    for name, value in own.items():
        if type(value) is not type(OMNIFUSION_DEFAULTS[name]):
            kind = type(OMNIFUSION_DEFAULTS[name]).__name__
            raise MicroscopeError(f"{name} = {value!r} in {file} must be of type {kind}.")
    return {**OMNIFUSION_DEFAULTS, **own}


def vision_tower(layout: Path) -> Path | None:
    """Folder of OmniFusion's vision tower, None while it is a hub id that is not in the local cache."""
    return locate_model(vision_tower_name(layout))


def vision_tower_name(layout: Path) -> str:
    """Hub id or path of OmniFusion's vision tower; a folder beside the other parts goes before a hub id."""
    named = str(omnifusion_settings(layout)["vision_tower"])
    inside = layout / named
    return str(inside.absolute()) if inside.is_dir() else named


def check_files(folder: Path) -> None:
    """Raise `MicroscopeError` unless `folder` holds a configuration and safetensors weights, complete and whole."""
    if (folder / "adapter_config.json").is_file() and not any(folder.glob("model*.safetensors*")):
        base = read_json(folder / "adapter_config.json").get("base_model_name_or_path")
        of = f" of {base}" if base else ""
        raise MicroscopeError(
            f"{folder} holds an adapter{of} and not a whole model: merge the two and save the result."
        )
    if not (folder / "config.json").is_file():
        lacks = omnifusion_lacks(folder)
        if lacks and lacks[0] in OMNIFUSION_PARTS and "projection.pt" not in lacks:
            raise MicroscopeError(f"{folder} has no folder {lacks[0]}: it is not all of an OmniFusion model.")
        raise MicroscopeError(f"{folder} has no config.json: it is not a model checkpoint, or not all of one.")
    read_json(folder / "config.json")
    for file in _weights(folder):
        read_header(file)


def check_tower(folder: Path) -> None:
    """As `check_files`, for a vision tower, whose weights may also be one state dict."""
    if state_dict(folder) is None or not (folder / "config.json").is_file():
        check_files(folder)


def state_dict(tower: Path) -> Path | None:
    """The state dict that a vision tower must be read from, None where there are safetensors or neither."""
    if any(tower.glob("model*.safetensors*")):
        return None
    file = tower / STATE_DICT
    return file if file.is_file() else None


def check_omnifusion(layout: Path) -> None:
    """Raise `MicroscopeError` unless a folder in OmniFusion's layout is whole, but for a tower outside of it."""
    check_files(layout / "tuned-model")
    for stem in OMNIFUSION_STEMS:
        omnifusion_file(layout, stem)


def _weights(folder: Path) -> tuple[Path, ...]:
    """The weight files that the folder's index names, or its single one; all of them exist."""
    index = folder / INDEX
    if not index.is_file():
        single = folder / WEIGHTS
        if single.is_file():
            return (single,)
        if any(folder.glob("*.bin")) or any(folder.glob("*.pth")):
            raise NoWeights(
                f"{folder} has only pickled weights (.bin), which could run code when opened: "
                "convert them to safetensors first."
            )
        raise NoWeights(f"{folder} has no weights (model.safetensors): download the checkpoint again.")
    files, missing = weight_files(folder)
    if missing:
        of = f" and {len(missing) - 1} more" if missing[1:] else ""
        raise MicroscopeError(
            f"The checkpoint in {folder} is incomplete: {missing[0]}{of} of its {len(files) + len(missing)} weight "
            f"files {'are' if missing[1:] else 'is'} missing: download it again."
        )
    if not files:
        raise MicroscopeError(f"{index} names no weight files: download the checkpoint again.")
    return files


def read_header(file: Path) -> dict[str, Any]:
    """The header of a safetensors file: of each tensor by name its `dtype`, `shape` and `data_offsets`.

    8 bytes of length, little endian, then JSON, then the data. Raises `MicroscopeError` for what is not that.
    """
    size = file.stat().st_size
    try:
        with file.open("rb") as stream:
            start = stream.read(8)
            length = struct.unpack("<Q", start)[0] if len(start) == 8 else size
            if length > size - 8:
                raise ValueError("its header is cut off")
            header = json.loads(stream.read(length))
        ends = [tensor["data_offsets"][1] for name, tensor in header.items() if name != "__metadata__"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise MicroscopeError(f"{file} is not a readable safetensors file ({error}): download it again.") from error
    expected = 8 + length + max(ends, default=0)
    if size != expected:
        raise MicroscopeError(f"{file} is damaged: it has {size:,} of {expected:,} bytes; download it again.")
    return {name: tensor for name, tensor in header.items() if name != "__metadata__"}


def _files(folder: Path) -> Iterator[Path]:
    yield from (path for path in sorted(folder.iterdir()) if path.suffix in READ and path.is_file())


def _tower_files(tower: Path) -> list[Path]:
    pickled = state_dict(tower)
    return [*_files(tower), *([pickled] if pickled else [])]


def _identity(folder: Path, files: tuple[Path, ...]) -> tuple[str, tuple[Path, ...]]:
    for parent in (folder, folder.parent):
        if parent.parent.name == "snapshots" and parent.parent.parent.name.startswith("models--"):
            repo = parent.parent.parent.name.removeprefix("models--").replace("--", "/")
            return f"{repo}@{parent.name}" + ("" if parent == folder else f"/{folder.name}"), files
    digest = hashlib.blake2b(digest_size=20)
    for path in files:
        with path.open("rb") as stream:
            content = hashlib.file_digest(stream, lambda: hashlib.blake2b(digest_size=32)).hexdigest()
        digest.update(f"{path.relative_to(folder) if path.is_relative_to(folder) else path.name}\0{content}\n".encode())
    return f"blake2b:{digest.hexdigest()}", files
