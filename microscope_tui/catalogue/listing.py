"""What is here to pick: the demo's models and data, the local hub cache, and what the paper is about."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from microscope_tui.catalogue.checkpoints import (
    INDEX,
    WEIGHTS,
    dtype_of,
    omnifusion_begun,
    omnifusion_lacks,
    read_json,
    weight_files,
)
from microscope_tui.catalogue.families import TRIED, why_not
from microscope_tui.catalogue.locate import (
    DEMO_MODELS,
    DEMO_SLICES,
    TWIN,
    hub_cache,
    is_path,
    locate_model,
    locate_slice,
    snapshot_of,
)
from microscope_tui.errors import MicroscopeError
from microscope_tui.terms import SliceSpec

OFFERED_MODELS: Mapping[str, str] = {
    "llava-hf/llava-v1.6-mistral-7b-hf": "LLaVA-NeXT, Mistral 7B",
    "AIRI-Institute/OmniFusion": "OmniFusion 1.1, Mistral 7B",
}
"""The paper's two models, offered by hub id also before they are downloaded."""

OFFERED_SLICES: Mapping[str, str] = {
    "derek-thomas/ScienceQA?filter=image&count=200": "ScienceQA test, 200 questions with a picture",
    "derek-thomas/ScienceQA": "ScienceQA test, all 4,241 questions",
}


CACHED = "in the local hub cache"


@dataclass(frozen=True)
class Entry:
    """One thing to pick: the name to ask for, a title for people, and where it is or what it lacks.

    `architecture` and `model_type` are a model's own words; `size` is in bytes on disk, of what is here; `missing`
    names files that are not; `refused` says why it cannot be measured here, empty if nothing is known against it;
    `tried` is True for kinds of model that are tested. `weights` are the bytes of a model's weights that are here, in
    the precision `dtype`, empty where its configuration does not say.
    """

    name: str
    title: str
    detail: str
    here: bool = True
    architecture: str = ""
    model_type: str = ""
    size: int = 0
    missing: tuple[str, ...] = ()
    refused: str = ""
    tried: bool = False
    weights: int = 0
    dtype: str = ""


def known_models() -> tuple[Entry, ...]:
    """The demo models and their untrained twins, the checkpoints of the local hub cache, and the paper's own models.

    Configurations and indices of weights are read, weights are not: some milliseconds for dozens of models.
    """
    cached = tuple(_cached("models", _model_entry))
    return (*_demo_models(), *cached, *_offered(OFFERED_MODELS, {e.name for e in cached}))


def known_slices() -> tuple[Entry, ...]:
    """The demo slices, the data sets of the local hub cache, and the paper's own data set."""
    cached = tuple(_cached("datasets", _slice_entry))
    return (*_demo(DEMO_SLICES, _slice_entry), *cached, *_offered(OFFERED_SLICES, set()))


def describe_model(name: str) -> Entry:
    """What is known of a model by its name. Raises `MicroscopeError` as `locate_model` does."""
    folder = locate_model(name)
    shipped = {entry.name: entry for entry in _demo_models()}
    return shipped.get(name) or _described(name, folder, OFFERED_MODELS, _model_entry, "checkpoint")


def describe_slice(name: str) -> Entry:
    """What is known of a slice by its text form. Raises `MicroscopeError` as `locate_slice` and `SliceSpec` do."""
    source = SliceSpec.parse(name).source
    folder = locate_slice(source)
    shipped = {entry.name: entry for entry in _demo(DEMO_SLICES, _slice_entry)}
    return replace(shipped.get(source) or _described(source, folder, OFFERED_SLICES, _slice_entry, "data"), name=name)


def _demo(folder: Path, describe: Callable[[str, Path], Entry | None]) -> tuple[Entry, ...]:
    return tuple(
        replace(entry, title=_title(path), detail="shipped with microscope_tui")
        for path in sorted(folder.iterdir())
        if path.is_dir() and not path.name.startswith(("_", ".")) and (entry := describe(f"demo:{path.name}", path))
    )


def _demo_models() -> tuple[Entry, ...]:
    trained = _demo(DEMO_MODELS, _model_entry)
    random = "random weights, made when first opened"
    return (*trained, *(replace(e, name=e.name + TWIN, title=f"{e.title}, untrained", detail=random) for e in trained))


def _described(
    name: str,
    folder: Path | None,
    offered: Mapping[str, str],
    describe: Callable[[str, Path], Entry | None],
    what: str,
) -> Entry:
    """The entry of a name whose folder or file is `folder`, None for what is not here."""
    if folder is None:
        return Entry(name, offered.get(name, ""), "on the hub", here=False)
    if folder.is_file():
        return Entry(name, folder.name, "a file", size=folder.stat().st_size)
    found = describe(name, folder)
    if found is None:
        return Entry(name, folder.name, "a folder", refused=f"there is no {what} in it")
    return replace(found, detail=_detail(found, "a folder" if is_path(name) else CACHED))


def _title(folder: Path) -> str:
    """The first heading of the folder's README, else its name."""
    try:
        with (folder / "README.md").open() as lines:
            return next((line[2:].strip() for line in lines if line.startswith("# ")), folder.name)
    except OSError:
        return folder.name


def _cached(kind: str, entry: Callable[[str, Path], Entry | None]) -> Iterator[Entry]:
    """An entry for the main branch of each repository in the hub cache, or for its other snapshots without one."""
    root = hub_cache()
    if not root.is_dir():
        return
    for repo in sorted(root.glob(f"{kind}--*")):
        name = repo.name.removeprefix(f"{kind}--").replace("--", "/")
        main = snapshot_of(repo, "main")
        snapshots = {name: main} if main else {f"{name}@{p.name}": p for p in sorted(repo.glob("snapshots/*"))}
        for named, snapshot in snapshots.items():
            if found := entry(named, snapshot):
                yield found


def _model_entry(name: str, snapshot: Path) -> Entry | None:
    """A cached checkpoint; None for what has neither a configuration nor OmniFusion's layout."""
    layout = omnifusion_begun(snapshot)
    if layout:
        weights_in = layout / "tuned-model"
        config, refused = _config(weights_in)
        architecture, model_type = "OmniFusion", "omnifusion"
        lacks = omnifusion_lacks(layout)
    else:
        weights_in = snapshot
        config, refused = _config(snapshot)
        model_type = str(config.get("model_type") or "")
        architectures = config.get("architectures")
        architecture = str(architectures[0]) if isinstance(architectures, list) and architectures else model_type
        if not architecture and not refused:
            return None
        lacks, refused = (), refused or why_not(model_type, config)
    weights, missing = _weights(weights_in)
    entry = Entry(
        name,
        architecture or "unknown",
        "",
        architecture=architecture,
        model_type=model_type,
        size=_size(snapshot),
        missing=(*missing, *lacks),
        refused=refused,
        tried=model_type in TRIED,
        weights=sum(file.stat().st_size for file in weights),
        dtype=dtype_of(config),
    )
    return replace(entry, detail=_detail(entry, CACHED))


def _slice_entry(name: str, snapshot: Path) -> Entry:
    """A cached data set."""
    files = [path for path in snapshot.rglob("*") if path.is_file()]
    data = [p for p in files if p.suffix not in (".md", ".py", ".txt") and not p.name.startswith((".", "dataset_info"))]
    script = not data and any(path.suffix == ".py" for path in files)
    refused = (
        "it is a script of its own, which is never run: look for a version of it with data files" if script else ""
    )
    missing = () if data or script else ("every data file",)
    size = sum(path.stat().st_size for path in files)
    entry = Entry(name, "data set", "", size=size, missing=missing, refused=refused)
    return replace(entry, detail=_detail(entry, CACHED))


def _config(folder: Path) -> tuple[Mapping[str, Any], str]:
    """The configuration of a checkpoint, empty where it cannot be read; and why not, empty where there is none."""
    file = folder / "config.json"
    try:
        return read_json(file), ""
    except MicroscopeError as error:
        said = str(error).removeprefix(f"{file} ").removesuffix(".")
        damaged = "" if isinstance(error.__cause__, OSError) else "is damaged: it "
        return {}, f"its config.json {damaged}{said}" if file.exists() else ""


def _weights(folder: Path) -> tuple[tuple[Path, ...], tuple[str, ...]]:
    """The weight files of a checkpoint that are here, and the names of those that should be."""
    try:
        here, missing = weight_files(folder)
    except MicroscopeError:  # its index is damaged
        return (), (INDEX,)
    return here, missing if here or missing else (WEIGHTS,)


def _detail(entry: Entry, where: str) -> str:
    from microscope_tui.tables import size_text  # here, for every start needs names and few a list of them

    detail, missing = f"{where}, {size_text(entry.size)}", entry.missing
    if missing:
        detail += f", incomplete: {missing[0]}{f' and {len(missing) - 1} more' if missing[1:] else ''} missing"
    return f"{detail}, cannot be measured: {entry.refused}" if entry.refused else detail


def _size(folder: Path) -> int:
    """Bytes of the files below a folder, links followed; what a link points to in vain counts nothing."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _offered(offered: Mapping[str, str], cached: set[str]) -> tuple[Entry, ...]:
    return tuple(Entry(name, title, "on the hub", here=False) for name, title in offered.items() if name not in cached)
