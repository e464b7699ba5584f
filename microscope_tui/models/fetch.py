"""Hub ids to folders: the local cache first, then a download of what a model is read from."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import huggingface_hub
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from microscope_tui.catalogue import HUB_ID, is_path, locate_model
from microscope_tui.errors import MicroscopeError
from microscope_tui.models.identity import check_files, omnifusion_folder
from microscope_tui.models.quiet import Meter, OnPhase, one_line

WANTED = (
    "*.json",
    "*.safetensors",
    "*.model",
    "*.txt",
    "*.jinja",
    "*.tiktoken",
    "*projection.pt",
    "*special_embeddings.pt",
)
"""What is downloaded of a repository: never pickled weights, never code."""


def fetch(name: str, on_phase: OnPhase) -> Path:
    """The folder of a model, downloaded when it is a hub id that is not, or not wholly, in the local cache."""
    folder = locate_model(name)
    if folder is not None and not folder.is_dir():
        raise MicroscopeError(f"{folder} is not a folder: give the folder of a checkpoint.")
    on_hub = not name.startswith("demo:") and not is_path(name)
    if folder is not None and (not on_hub or _complete(folder)):
        return folder
    match = HUB_ID.fullmatch(name)
    assert match is not None, "locate_model refuses names that are neither"
    on_phase("downloading")
    try:
        return download(match["repo"], match["revision"], on_phase)
    except MicroscopeError:
        if folder is not None:
            check_files(folder)  # what is here is incomplete: say that, it names the file
        raise


def download(repo: str, revision: str | None, on_phase: OnPhase) -> Path:
    """Download what a model is read from. Raises `MicroscopeError` for all that can go wrong on the way."""
    try:
        return Path(
            huggingface_hub.snapshot_download(
                repo, revision=revision, allow_patterns=list(WANTED), tqdm_class=_bar(on_phase)
            )
        )
    except GatedRepoError as error:
        raise MicroscopeError(
            f"{repo} is gated: ask for access on its hub page and log in with `hf auth login`."
        ) from error
    except RevisionNotFoundError as error:
        raise MicroscopeError(f"{repo} has no revision {revision!r}: give a branch, tag or commit it has.") from error
    except RepositoryNotFoundError as error:
        raise MicroscopeError(f"The hub has no model {repo} that you can see: check the name or log in.") from error
    except (OfflineModeIsEnabled, LocalEntryNotFoundError) as error:
        raise MicroscopeError(
            f"{repo} is not in the local hub cache and the hub cannot be reached: connect, or name a local folder."
        ) from error
    except (HfHubHTTPError, OSError, ValueError) as error:
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            raise MicroscopeError(f"No space is left for {repo}: free some or set HF_HOME to another disk.") from error
        raise MicroscopeError(f"{repo} could not be downloaded ({one_line(error)}): try again.") from error


def _complete(folder: Path) -> bool:
    """Whether a snapshot has all its weight files; OmniFusion's parts are checked when they are opened."""
    if omnifusion_folder(folder) is not None:
        return True
    try:
        check_files(folder)
    except MicroscopeError:
        return False
    return True


def _bar(on_phase: OnPhase) -> type[Meter]:
    """A bar of the hub's that tells how many bytes are here; its total grows while files are added."""

    class Download(Meter):
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options, on_phase=on_phase)

        def update(self, n: float | None = 1) -> None:
            self.n += n or 0
            if self.unit == "B" and self.total:
                self.tell(f"downloading {self.n / 1e9:.1f} of {self.total / 1e9:.1f} GB")

    return Download
