"""Where what is named lies: demo data, local folders and the local hub cache, found without heavy imports.

A name is `demo:NAME` (or `demo:NAME@init`, a demo model with random weights), a path (it starts with `/`, `./`, `../`
or `~`, or is there and has not the form of a hub id), or a hub id `OWNER/NAME` with an optional `@REVISION`. Nothing
here touches the network.
"""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import replace
from pathlib import Path

import platformdirs

from microscope_tui.errors import Fault, MicroscopeError, blaming
from microscope_tui.terms import Request

DEMO = Path(__file__).parents[1] / "demo"
DEMO_MODELS = DEMO / "models"
DEMO_SLICES = DEMO / "slices"

TWIN = "@init"
"""Behind the name of a demo model: its untrained twin, the random-initialisation baseline."""

HUB_ID = re.compile(r"(?P<repo>[A-Za-z0-9][\w.-]*/[\w.-]+)(@(?P<revision>[\w./-]+))?")
LIKE_HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+){1,2}(@.+)?")
"""Anything in the form of a hub id; that of a data set may have a configuration behind it."""


@blaming(Fault.MODEL)
def locate_model(name: str) -> Path | None:
    """Folder on disk of a model, or None for a hub id that is not in the local hub cache and a twin not made yet.

    Raises `MicroscopeError` for a demo model that does not exist, a missing folder, or an unusable name.
    """
    if is_twin(name):
        folder = twin_folder(name)
        return folder if folder.is_dir() else None
    return _locate(name, DEMO_MODELS, "model", "models")


def is_twin(name: str) -> bool:
    """Whether a name means the untrained twin of a demo model."""
    return name.startswith("demo:") and name.endswith(TWIN)


def twin_folder(name: str) -> Path:
    """Where the untrained twin `demo:NAME@init` is kept once it was made, in the user's cache folder.

    A twin has the shape of its trained model: the folder's name changes with the configuration of that.
    """
    trained = _locate(name.removesuffix(TWIN), DEMO_MODELS, "model", "models")
    assert trained is not None, "a demo model is a folder or an error"
    shape = hashlib.blake2b(digest_size=8)
    for file in sorted(trained.rglob("*.json")):
        shape.update(file.read_bytes())
    return platformdirs.user_cache_path("microscope-tui") / "twins" / f"{trained.name}-{shape.hexdigest()}"


@blaming(Fault.SLICE)
def locate_slice(source: str) -> Path | None:
    """Folder or file of a slice's source, or None for a hub id that is not in the local hub cache.

    Raises `MicroscopeError` as `locate_model` does.
    """
    return _locate(source, DEMO_SLICES, "data set", "datasets")


def hub_cache() -> Path:
    """The folder of the local hub cache, as huggingface_hub chooses it."""
    if folder := os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE"):
        return Path(folder).expanduser()
    home = os.environ.get("HF_HOME") or Path(os.environ.get("XDG_CACHE_HOME", "~/.cache"), "huggingface")
    return Path(home).expanduser() / "hub"


def is_path(name: str) -> bool:
    """Whether a name means a place on this machine: by how it begins, or because it is there and could be nothing else.

    What has the form of a hub id or of a demo means that from any folder, whatever lies in the current one.
    """
    if name.startswith(("/", "./", "../", "~")) or name in (".", ".."):
        return True
    if name.startswith("demo:") or LIKE_HUB_ID.fullmatch(name):
        return False
    return _exists(name)


def namesake(name: str) -> str:
    """A sentence for a hub id that is not found while a folder or file of its name lies here; empty otherwise."""
    return f" There is a {name} here: write ./{name} to mean it." if not is_path(name) and _exists(name) else ""


def _exists(name: str) -> bool:
    try:
        return bool(name) and Path(name).exists()
    except OSError:  # too long for a path
        return False


def full_name(name: str) -> str:
    """The name as it is understood from any folder: a path made absolute, any other name as it is."""
    return str(Path(name).expanduser().absolute()) if is_path(name) else name


def in_full(request: Request) -> Request:
    """The request as it is understood from any folder: its paths made absolute."""
    whole = replace(request.slice, source=full_name(request.slice.source))
    return replace(request, model=full_name(request.model), slice=whole)


def moving_reference(name: str) -> Path | None:
    """The file of the local hub cache that says which commit a hub id means now; None where nothing can move."""
    match = None if name.startswith("demo:") or is_path(name) else HUB_ID.fullmatch(name)
    if not match:
        return None
    repo = hub_cache() / f"models--{match['repo'].replace('/', '--')}"
    reference = repo / "refs" / (match["revision"] or "main")
    return reference if reference.is_file() else None


def _locate(name: str, demo: Path, what: str, kind: str) -> Path | None:
    if name.startswith("demo:"):
        folder = demo / name.removeprefix("demo:")
        if folder.parent != demo or not folder.is_dir():
            offered = ", ".join(f"demo:{p.name}" for p in sorted(demo.iterdir()) if not p.name.startswith(("_", ".")))
            raise MicroscopeError(f"There is no demo {what} {name!r}: choose one of {offered}.")
        return folder
    if is_path(name):
        path = Path(name).expanduser().absolute()
        if not path.exists():
            raise MicroscopeError(f"There is no folder {path}: give the path of a local {what}, or a hub id.")
        return path
    match = HUB_ID.fullmatch(name)
    if not match:
        raise MicroscopeError(
            f"{name!r} is not the name of a {what}: give a hub id (OWNER/NAME), the path of a folder, or demo:NAME."
        )
    return snapshot_of(hub_cache() / f"{kind}--{match['repo'].replace('/', '--')}", match["revision"] or "main")


def snapshot_of(repo: Path, revision: str) -> Path | None:
    """The snapshot folder of a branch, tag or commit; what it lacks is for its reader to say."""
    try:
        commit = (repo / "refs" / revision).read_text().strip()
    except OSError:
        commit = revision
    folder = repo / "snapshots" / commit
    return folder if folder.is_dir() else None
