"""Hub ids to folders: the local cache first, then a download of what a model is read from."""

from __future__ import annotations

import errno
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import huggingface_hub
from huggingface_hub.errors import (
    GatedRepoError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from microscope_tui.catalogue.checkpoints import OMNIFUSION_RELEASE, omnifusion_folder
from microscope_tui.catalogue.locate import HUB_ID, TWIN, is_path, is_twin, locate_model, namesake, twin_folder
from microscope_tui.errors import MicroscopeError, one_line
from microscope_tui.models.identity import STATE_DICT, NoWeights, check_files, check_omnifusion, check_tower
from microscope_tui.models.meter import Meter, OnProgress
from microscope_tui.models.quiet import quiet
from microscope_tui.terms import Progress

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
"""What is downloaded of a repository: never code, and no pickled weights but a vision tower's state dict."""

ONLY_BELOW: Mapping[str, str] = {"AIRI-Institute/OmniFusion": OMNIFUSION_RELEASE}
"""Repositories that hold several models, and the folder of the one that is downloaded."""

TWIN_SEED = 0
"""The seed of untrained twins, which share their vision encoder and decoder as the trained pair did at the start."""

Check = Callable[[Path], None]


def fetch(name: str, on_progress: OnProgress) -> Path:
    """The folder of a model: a hub id's is downloaded when it is not, or not wholly, in the local cache, and the
    untrained twin of a demo model is made when it is first asked for."""
    if is_twin(name):
        return _twin(name, on_progress)
    return _fetch(name, on_progress, _check_model)


def fetch_tower(name: str, on_progress: OnProgress) -> Path:
    """The folder of OmniFusion's vision tower, as `fetch`. Its state dict is downloaded if it has no safetensors."""
    try:
        return _fetch(name, on_progress, check_tower)
    except NoWeights:
        match = HUB_ID.fullmatch(name)
        if match is None:
            raise
        folder = download(match["repo"], match["revision"], on_progress, (STATE_DICT,))
        check_tower(folder)
        return folder


def _twin(name: str, on_progress: OnProgress) -> Path:
    folder = twin_folder(name)
    if not folder.is_dir():
        from microscope_tui.demo.export import init_twin  # needs what makes models, which few ever want

        on_progress(Progress("making the untrained twin"))
        try:
            with quiet():
                init_twin(name.removeprefix("demo:").removesuffix(TWIN), TWIN_SEED, folder)
        except OSError as error:
            if folder.is_dir():  # another process was faster, and made the same
                return folder
            raise MicroscopeError(
                f"{name} cannot be made in {folder.parent} ({error.strerror or error}): make room there, or set "
                "XDG_CACHE_HOME to a folder that can be written."
            ) from error
    return folder


def _fetch(name: str, on_progress: OnProgress, check: Check) -> Path:
    folder = locate_model(name)
    if folder is not None and not folder.is_dir():
        raise MicroscopeError(f"{folder} is not a folder: give the folder of a checkpoint.")
    on_hub = not name.startswith("demo:") and not is_path(name)
    if folder is not None and (not on_hub or _passes(check, folder)):
        return folder
    match = HUB_ID.fullmatch(name)
    assert match is not None, "locate_model refuses names that are neither"
    on_progress(Progress("downloading"))
    try:
        fetched = download(match["repo"], match["revision"], on_progress)
    except MicroscopeError as error:
        if folder is not None:
            check(folder)  # what is here is incomplete: say that, it names the file
        if hint := namesake(name):
            raise MicroscopeError(f"{error}{hint}") from error
        raise
    if check is check_tower:
        check(fetched)
    return fetched


def download(repo: str, revision: str | None, on_progress: OnProgress, wanted: Sequence[str] = WANTED) -> Path:
    """Download what a model is read from. Raises `MicroscopeError` for all that can go wrong on the way."""
    below = f"{ONLY_BELOW[repo]}/" if repo in ONLY_BELOW else ""
    try:
        return Path(
            huggingface_hub.snapshot_download(
                repo,
                revision=revision,
                allow_patterns=[f"{below}{pattern}" for pattern in wanted],
                tqdm_class=_bar(on_progress),
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
        if huggingface_hub.constants.HF_HUB_OFFLINE:
            raise MicroscopeError(
                f"{repo} is not in the local hub cache and HF_HUB_OFFLINE forbids to download it: unset it, or name a "
                "local folder."
            ) from error
        raise MicroscopeError(
            f"{repo} is not in the local hub cache and the hub cannot be reached: connect, or name a local folder."
        ) from error
    except MicroscopeError:  # of who hears the progress
        raise
    except Exception as error:  # broken connections and odd answers raise whatever the libraries below make of them
        if getattr(error, "errno", None) == errno.ENOSPC or "No space left" in str(error):
            raise MicroscopeError(f"No space is left for {repo}: free some or set HF_HOME to another disk.") from error
        raise MicroscopeError(f"{repo} could not be downloaded ({one_line(error)}): try again.") from error


def _check_model(folder: Path) -> None:
    """Raise `MicroscopeError` unless a snapshot has all its weight files."""
    layout = omnifusion_folder(folder)
    if layout is None:
        check_files(folder)
    else:
        check_omnifusion(layout)


def _passes(check: Check, folder: Path) -> bool:
    try:
        check(folder)
    except MicroscopeError:
        return False
    return True


def _bar(on_progress: OnProgress) -> type[Meter]:
    """A bar of the hub's that tells how many bytes are here; its total grows while files are added."""

    class Download(Meter):
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options, on_progress=on_progress)

        def update(self, n: float | None = 1) -> None:
            self.n += n or 0
            if self.unit == "B" and self.total:
                self.tell(Progress(f"downloading {self.n / 1e9:.1f} of {self.total / 1e9:.1f} GB"))

    return Download
