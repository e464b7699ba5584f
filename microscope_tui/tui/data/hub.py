"""What the hub says of a model or a data set that is not on this machine: how large it is, and of which kind.

Nothing is downloaded. Imported when such a name is looked at, in a thread: the hub's client takes a moment.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Final

import huggingface_hub
from huggingface_hub import DatasetInfo, ModelInfo
from huggingface_hub.errors import GatedRepoError, OfflineModeIsEnabled, RepositoryNotFoundError, RevisionNotFoundError

from microscope_tui.catalogue.families import REFUSED, TRIED
from microscope_tui.catalogue.listing import Entry
from microscope_tui.catalogue.locate import HUB_ID
from microscope_tui.errors import MicroscopeError
from microscope_tui.terms import SliceSpec

SECONDS: Final = 4.0
"""How long the hub is waited for."""

WEIGHTS: Final = ".safetensors"

DTYPES: Final[Mapping[str, tuple[str, int]]] = {
    "F64": ("float64", 8),
    "F32": ("float32", 4),
    "BF16": ("bfloat16", 2),
    "F16": ("float16", 2),
    "F8_E4M3": ("float8_e4m3fn", 1),
    "I8": ("int8", 1),
    "U8": ("uint8", 1),
}
"""The names that safetensors have for numbers: ours, and the bytes of one."""


def look_up(entry: Entry, *, slices: bool) -> Entry:
    """The entry of a hub id with what the hub knows of it. Raises `MicroscopeError` with the reason when that cannot be
    known, as a part of a sentence."""
    name = SliceSpec.parse(entry.name).source if slices else entry.name
    match = HUB_ID.fullmatch(name)
    if match is None:
        raise MicroscopeError("it is no hub id")
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # what it tells would stand on the screen
    try:
        hub, repo, of = huggingface_hub.HfApi(), match["repo"], match["revision"]
        if slices:
            return _data_set(entry, hub.dataset_info(repo, revision=of, timeout=SECONDS, files_metadata=True))
        return _model(entry, hub.model_info(repo, revision=of, timeout=SECONDS, files_metadata=True))
    except OfflineModeIsEnabled:
        raise MicroscopeError("HF_HUB_OFFLINE forbids to ask the hub") from None
    except GatedRepoError:
        raise MicroscopeError("it is gated: ask for access on its hub page and log in with `hf auth login`") from None
    except RevisionNotFoundError:
        raise MicroscopeError(f"it has no revision {match['revision']!r}") from None
    except RepositoryNotFoundError:
        raise MicroscopeError("the hub has none of this name that you can see: check it, or log in") from None
    except Exception:  # broken connections and odd answers raise whatever the libraries below make of them
        raise MicroscopeError("the hub cannot be reached") from None


def _data_set(entry: Entry, found: DatasetInfo) -> Entry:
    return Entry(entry.name, entry.title, entry.detail, here=False, size=_size(found, (".parquet",)))


def _model(entry: Entry, found: ModelInfo) -> Entry:
    """A repository of several models has no size of its own."""
    config: Mapping[str, Any] = found.config or {}
    model_type = str(config.get("model_type") or "")
    counts = dict(found.safetensors.parameters) if found.safetensors else {}
    known = {of: count for of, count in counts.items() if of in DTYPES}
    most = max(known, key=lambda of: known[of], default="")
    refused = REFUSED.get(model_type, "")
    if model_type and not _size(found, (WEIGHTS,)):
        refused = refused or "the hub has no weights of it as safetensors, and no others are opened"
    return Entry(
        entry.name,
        entry.title,
        entry.detail,
        here=False,
        architecture=str((config.get("architectures") or [""])[0]),
        model_type=model_type,
        size=_size(found, (WEIGHTS, ".json", ".model", ".txt", ".jinja", ".tiktoken")) if model_type else 0,
        refused=refused,
        tried=model_type in TRIED,
        weights=sum(count * DTYPES[of][1] for of, count in known.items()),
        dtype=DTYPES[most][0] if most else "",
    )


def _size(found: ModelInfo | DatasetInfo, endings: tuple[str, ...]) -> int:
    """Bytes of the files whose names end so."""
    return sum(file.size or 0 for file in found.siblings or () if file.rfilename.endswith(endings))
