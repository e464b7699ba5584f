"""What is here, by name: demo data, local folders and the local hub cache, found without heavy imports.

A name is `demo:NAME` (or `demo:NAME@init`, a demo model with random weights), a path (it starts with `/`, `./`, `../`
or `~`, or is an existing folder or file), or a hub id `OWNER/NAME` with an optional `@REVISION`. Nothing here
touches the network.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path

import platformdirs

from microscope_tui.errors import MicroscopeError
from microscope_tui.terms import SliceSpec

DEMO = Path(__file__).parent / "demo"
DEMO_MODELS = DEMO / "models"
DEMO_SLICES = DEMO / "slices"

TWIN = "@init"
"""Behind the name of a demo model: its untrained twin, the random-initialisation baseline."""

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


TRIED = frozenset(
    """
    aya_vision blip-2 gemma3 glm4v idefics2 idefics3 internvl llava llava_next llava_next_video llava_onevision mistral3
    omnifusion paligemma qwen2_5_vl qwen2_audio qwen2_vl qwen3_vl smolvlm vipllava
    """.split()
)
"""Model types that the project's tests open and measure."""

NO_IDS = "its configuration names no token that stands for a picture, video or sound, so its positions are all alike"
_NO_LANGUAGE = "it is an encoder that language models look through, not a language model"
_TEXT_ONLY = "it takes text only"

REFUSED: Mapping[str, str] = {
    "mllama": "its pictures enter by cross-attention, not as tokens",
    **dict.fromkeys(("florence2", "t5gemma2"), "its encoder reads pictures and text, its decoder only what it answers"),
    **dict.fromkeys(("clip", "clip_vision_model", "siglip", "siglip_vision_model", "siglip2"), _NO_LANGUAGE),
    **dict.fromkeys(
        """
        blip evolla git idefics kosmos-2 kosmos-2.5 kyutai_speech_to_text pi0 pix2struct pp_formulanet udop
        vision-encoder-decoder
        """.split(),
        NO_IDS,
    ),
}
"""Model types that cannot be measured, and why."""

NEEDS_TORCHVISION = frozenset(
    """
    cohere2_vision gemma4_unified inkling2 inkling_mm_model instructblipvideo kimi_k25 lfm2_vl llama4 minicpm_ocr
    minimax_m3_vl mistral3 mistral_large4 molmo2 muse_glimmer muse_spark nemotron_h_omni perception_lm phi4_multimodal
    step3p7 unlimited_ocr
    """.split()
)
"""Model types whose processors cannot make pictures without torchvision."""

CACHED = "in the local hub cache"

MULTIMODAL_KEYS = (
    *("vision_config", "audio_config", "thinker_config"),
    *(f"{kind}_token_{what}" for kind in ("image", "video", "audio") for what in ("id", "index")),
)
"""A configuration with none of these is that of a model of text."""


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


def locate_slice(source: str) -> Path | None:
    """Folder or file of a slice's source, or None for a hub id that is not in the local hub cache.

    Raises `MicroscopeError` as `locate_model` does.
    """
    return _locate(source, DEMO_SLICES, "data set", "datasets")


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


def hub_cache() -> Path:
    """The folder of the local hub cache, as huggingface_hub chooses it."""
    if folder := os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE"):
        return Path(folder).expanduser()
    home = os.environ.get("HF_HOME") or Path(os.environ.get("XDG_CACHE_HOME", "~/.cache"), "huggingface")
    return Path(home).expanduser() / "hub"


def is_path(name: str) -> bool:
    """Whether a name means a place on this machine rather than a hub id."""
    if name.startswith(("/", "./", "../", "~")) or name in (".", ".."):
        return True
    try:
        return bool(name) and Path(name).exists()
    except OSError:  # too long for a path
        return False


def full_name(name: str) -> str:
    """The name as it is understood from any folder: a path made absolute, any other name as it is."""
    return str(Path(name).expanduser().absolute()) if is_path(name) else name


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
    return _snapshot(hub_cache() / f"{kind}--{match['repo'].replace('/', '--')}", match["revision"] or "main")


def _snapshot(repo: Path, revision: str) -> Path | None:
    """The snapshot folder of a branch, tag or commit; what it lacks is for its reader to say."""
    try:
        commit = (repo / "refs" / revision).read_text().strip()
    except OSError:
        commit = revision
    folder = repo / "snapshots" / commit
    return folder if folder.is_dir() else None


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
        main = _snapshot(repo, "main")
        snapshots = {name: main} if main else {f"{name}@{p.name}": p for p in sorted(repo.glob("snapshots/*"))}
        for named, snapshot in snapshots.items():
            if found := entry(named, snapshot):
                yield found


def _model_entry(name: str, snapshot: Path) -> Entry | None:
    """A cached checkpoint; None for what has neither a configuration nor OmniFusion's layout."""
    omnifusion = next(iter(sorted(snapshot.glob("**/tuned-model/config.json"))), None)
    if omnifusion:
        weights_in, layout, config = omnifusion.parent, omnifusion.parent.parent, _json(omnifusion)
        architecture, model_type, refused = "OmniFusion", "omnifusion", ""
        missing = _missing_weights(weights_in)
        for stem in ("projection", "special_embeddings"):
            if not any((layout / f"{stem}{suffix}").is_file() for suffix in (".safetensors", ".pt")):
                missing += (f"{stem}.pt",)
    else:
        weights_in, config = snapshot, _json(snapshot / "config.json")
        model_type = str(config.get("model_type") or "")
        architectures = config.get("architectures")
        architecture = str(architectures[0]) if isinstance(architectures, list) and architectures else model_type
        if not architecture:
            return None
        missing, refused = _missing_weights(snapshot), _why_not(model_type, config)
    entry = Entry(
        name,
        architecture,
        "",
        architecture=architecture,
        model_type=model_type,
        size=_size(snapshot),
        missing=missing,
        refused=refused,
        tried=model_type in TRIED,
        weights=sum(file.stat().st_size for file in _weights(weights_in) if file.is_file()),
        dtype=_dtype(config),
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


def _why_not(model_type: str, config: Mapping[str, object]) -> str:
    """Why a kind of model cannot be measured here; empty if nothing is known against it."""
    if reason := REFUSED.get(model_type):
        return reason
    if model_type in NEEDS_TORCHVISION and find_spec("torchvision") is None:
        return "its processor needs torchvision: install torchvision"
    if model_type in TRIED or model_type in NEEDS_TORCHVISION or any(key in config for key in MULTIMODAL_KEYS):
        return ""
    return _TEXT_ONLY


def _missing_weights(folder: Path) -> tuple[str, ...]:
    """Names of the weight files that a checkpoint should have and has not."""
    return tuple(file.name for file in _weights(folder) if not file.is_file())


def _weights(folder: Path) -> tuple[Path, ...]:
    """The weight files that a checkpoint should have."""
    index = folder / "model.safetensors.index.json"
    if not index.is_file():
        return (folder / "model.safetensors",)
    shards = _json(index).get("weight_map")
    return (
        tuple(folder / name for name in sorted({str(n) for n in shards.values()})) if isinstance(shards, dict) else ()
    )


def _dtype(config: Mapping[str, object]) -> str:
    """The precision of a checkpoint's weights, by its configuration or that of its decoder; empty where unknown."""
    inner = config.get("text_config")
    for part in (config, inner if isinstance(inner, dict) else {}):
        if said := part.get("dtype") or part.get("torch_dtype"):
            return str(said).removeprefix("torch.")
    return ""


def _detail(entry: Entry, where: str) -> str:
    detail, missing = f"{where}, {size_text(entry.size)}", entry.missing
    if missing:
        detail += f", incomplete: {missing[0]}{f' and {len(missing) - 1} more' if missing[1:] else ''} missing"
    return f"{detail}, cannot be measured: {entry.refused}" if entry.refused else detail


def size_text(size: int) -> str:
    """Bytes for people."""
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"


def _size(folder: Path) -> int:
    """Bytes of the files below a folder, links followed; what a link points to in vain counts nothing."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _json(file: Path) -> dict[str, object]:
    """The object in a JSON file, empty when there is none."""
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return data if isinstance(data, dict) else {}


def _offered(offered: Mapping[str, str], cached: set[str]) -> tuple[Entry, ...]:
    return tuple(Entry(name, title, "on the hub", here=False) for name, title in offered.items() if name not in cached)
