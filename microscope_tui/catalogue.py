"""What is here, by name: demo data, local folders and the local hub cache, found without heavy imports.

A name is `demo:NAME`, a path (it starts with `/`, `./`, `../` or `~`, or is an existing folder or file), or a
hub id `OWNER/NAME` with an optional `@REVISION`. Nothing here touches the network.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from microscope_tui.errors import MicroscopeError

DEMO = Path(__file__).parent / "demo"
DEMO_MODELS = DEMO / "models"
DEMO_SLICES = DEMO / "slices"

HUB_ID = re.compile(r"(?P<repo>[A-Za-z0-9][\w.-]*/[\w.-]+)(@(?P<revision>[\w./-]+))?")

OFFERED_MODELS: Mapping[str, str] = {
    "llava-hf/llava-v1.6-mistral-7b-hf": "LLaVA-NeXT, Mistral 7B",
    "AIRI-Institute/OmniFusion": "OmniFusion 1.1, Mistral 7B",
}
"""The paper's two models, offered by hub id also before they are downloaded."""

OFFERED_SLICES: Mapping[str, str] = {
    "derek-thomas/ScienceQA?filter=image&count=200": "ScienceQA test, 200 questions with a picture",
    "derek-thomas/ScienceQA": "ScienceQA test, all 4,241 questions",
}


@dataclass(frozen=True)
class Entry:
    """One thing to pick: the name to ask for, a title for people, and where it is or what it lacks."""

    name: str
    title: str
    detail: str
    here: bool = True


def locate_model(name: str) -> Path | None:
    """Folder on disk of a model, or None for a hub id that is not in the local hub cache.

    Raises `MicroscopeError` for a demo model that does not exist, a missing folder, or an unusable name.
    """
    return _locate(name, DEMO_MODELS, "model", "models")


def locate_slice(source: str) -> Path | None:
    """Folder or file of a slice's source, or None for a hub id that is not in the local hub cache.

    Raises `MicroscopeError` as `locate_model` does.
    """
    return _locate(source, DEMO_SLICES, "data set", "datasets")


def known_models() -> tuple[Entry, ...]:
    """The demo models, the checkpoints of the local hub cache, and the paper's own models."""
    cached = tuple(_cached("models", _describe_model))
    return (*_demo(DEMO_MODELS), *cached, *_offered(OFFERED_MODELS, {e.name for e in cached}))


def known_slices() -> tuple[Entry, ...]:
    """The demo slices, the data sets of the local hub cache, and the paper's own data set."""
    cached = tuple(_cached("datasets", lambda _: "data set"))
    return (*_demo(DEMO_SLICES), *cached, *_offered(OFFERED_SLICES, set()))


def hub_cache() -> Path:
    """The folder of the local hub cache, as huggingface_hub chooses it."""
    if folder := os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE"):
        return Path(folder).expanduser()
    home = os.environ.get("HF_HOME") or Path(os.environ.get("XDG_CACHE_HOME", "~/.cache"), "huggingface")
    return Path(home).expanduser() / "hub"


def is_path(name: str) -> bool:
    """Whether a name means a place on this machine rather than a hub id."""
    return name.startswith(("/", "./", "../", "~")) or name in (".", "..") or (bool(name) and Path(name).exists())


def _locate(name: str, demo: Path, what: str, kind: str) -> Path | None:
    if name.startswith("demo:"):
        folder = demo / name.removeprefix("demo:")
        if folder.parent != demo or not folder.is_dir():
            offered = ", ".join(e.name for e in _demo(demo))
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
    return _snapshot(hub_cache() / f"{kind}--{match['repo'].replace('/', '--')}", match["revision"] or "main")


def _snapshot(repo: Path, revision: str) -> Path | None:
    """The snapshot folder of a branch, tag or commit; what it lacks is for its reader to say."""
    try:
        commit = (repo / "refs" / revision).read_text().strip()
    except OSError:
        commit = revision
    folder = repo / "snapshots" / commit
    return folder if folder.is_dir() else None


def _demo(folder: Path) -> tuple[Entry, ...]:
    return tuple(
        Entry(f"demo:{path.name}", _title(path), "shipped with microscope_tui")
        for path in sorted(folder.iterdir())
        if path.is_dir() and not path.name.startswith(("_", "."))
    )


def _title(folder: Path) -> str:
    """The first heading of the folder's README, else its name."""
    try:
        with (folder / "README.md").open() as lines:
            return next((line[2:].strip() for line in lines if line.startswith("# ")), folder.name)
    except OSError:
        return folder.name


def _cached(kind: str, describe: Callable[[Path], str | None]) -> Iterator[Entry]:
    root = hub_cache()
    if not root.is_dir():
        return
    for repo in sorted(root.glob(f"{kind}--*")):
        snapshot = _snapshot(repo, "main")
        if snapshot and (title := describe(snapshot)):
            yield Entry(repo.name.removeprefix(f"{kind}--").replace("--", "/"), title, "in the local hub cache")


def _describe_model(snapshot: Path) -> str | None:
    """What a snapshot's config says it is; None for what has neither a config nor OmniFusion's layout."""
    try:
        config = json.loads((snapshot / "config.json").read_text())
        return str((config.get("architectures") or [config.get("model_type")])[0])
    except (OSError, ValueError, IndexError, AttributeError):
        return "OmniFusion" if any(snapshot.glob("**/tuned-model/config.json")) else None


def _offered(offered: Mapping[str, str], cached: set[str]) -> tuple[Entry, ...]:
    return tuple(Entry(name, title, "on the hub", here=False) for name, title in offered.items() if name not in cached)
