"""A data set of the hub: from the local hub cache if it is there, else downloaded, and only the split asked for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import huggingface_hub
import huggingface_hub.utils
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from microscope_tui.catalogue.locate import HUB_ID, hub_cache, is_path, namesake
from microscope_tui.errors import MicroscopeError, one_line
from microscope_tui.slices.layout import parquet_files
from microscope_tui.slices.quiet import quiet

TIMEOUT = 20.0
"""Seconds to wait for the hub's first answer."""

HTTP_ERROR: type[BaseException] = HfHubHTTPError.__mro__[1]
"""Base error of the HTTP library, which is another one in each generation of huggingface_hub."""


@dataclass(frozen=True)
class HubId:
    """`OWNER/NAME`, with the configuration and the revision if the id has them: `OWNER/NAME/CONFIG@REVISION`."""

    repo: str
    configuration: str = ""
    revision: str = "main"

    @classmethod
    def parse(cls, source: str) -> HubId | None:
        """The id that a source is, None if it is something else."""
        if source.startswith("demo:") or is_path(source):
            return None
        name, _, revision = source.partition("@")
        repo, configuration = "/".join(name.split("/")[:2]), "/".join(name.split("/")[2:])
        match = HUB_ID.fullmatch(f"{repo}@{revision}" if revision else repo)
        return cls(repo, configuration, revision or "main") if match else None

    @property
    def located(self) -> str:
        """The id as `locate.locate_slice` knows it, without the configuration."""
        return self.repo if self.revision == "main" else f"{self.repo}@{self.revision}"

    @property
    def reference(self) -> Path | None:
        """The cache's file that says which commit a branch is at; None for a revision that is itself a commit."""
        file = hub_cache() / f"datasets--{self.repo.replace('/', '--')}" / "refs" / self.revision
        return file if file.is_file() else None


def download(hub: HubId, split: str, source: str) -> Path:
    """The snapshot folder, in it at least the parquet files of the split. Raises `MicroscopeError`."""
    _, files = listed(hub, split, source)
    with quiet(huggingface_hub), sentences(hub, split, source):
        snapshot = huggingface_hub.snapshot_download(
            hub.repo, repo_type="dataset", revision=hub.revision, allow_patterns=files, cache_dir=hub_cache()
        )
        return Path(snapshot)


def listed(hub: HubId, split: str, source: str) -> tuple[str, list[str]]:
    """The commit that the hub has for the revision, and its parquet files of the split. Raises `MicroscopeError`."""
    with quiet(huggingface_hub), sentences(hub, split, source):
        info = huggingface_hub.HfApi().dataset_info(hub.repo, revision=hub.revision, timeout=TIMEOUT)
        prefix = f"{hub.configuration}/" if hub.configuration else ""
        names = [file.rfilename for file in info.siblings or ()]
        files = parquet_files([name.removeprefix(prefix) for name in names if name.startswith(prefix)], split, source)
        if files is None:
            raise MicroscopeError(
                f"The data set {source} has no parquet files: name the hub's own conversion of it, "
                f"{hub.repo}@refs/convert/parquet, or download it and give its folder."
            )
        return str(info.sha), [prefix + file for file in files]


@contextmanager
def sentences(hub: HubId, split: str, source: str) -> Iterator[None]:
    """What the hub's client raises, as sentences. Subclasses stand before what they are derived from."""
    absent = f"The split {split!r} of the data set {source} is not in the local hub cache"
    elsewhere, hint = "give a local folder or demo:scienceqa", namesake(source)
    try:
        yield
    except OfflineModeIsEnabled as error:
        sentence = f"{absent}, and HF_HUB_OFFLINE forbids to download it: unset it, or {elsewhere}.{hint}"
        raise MicroscopeError(sentence) from error
    except GatedRepoError as error:
        raise MicroscopeError(
            f"The data set {source} is gated: accept its terms at https://huggingface.co/datasets/{hub.repo} "
            "and log in with `hf auth login`."
        ) from error
    except RevisionNotFoundError as error:
        raise MicroscopeError(f"The data set {hub.repo} has no revision {hub.revision!r} on the hub.") from error
    except RepositoryNotFoundError as error:
        raise MicroscopeError(
            f"There is no data set {hub.repo} on the hub: check the name, or log in with `hf auth login` if it is "
            f"private.{hint}"
        ) from error
    except HFValidationError as error:
        raise MicroscopeError(f"{hub.repo!r} cannot be the id of a data set on the hub.") from error
    except LocalEntryNotFoundError as error:
        raise MicroscopeError(f"The download of the data set {source} broke off: try again.") from error
    except HTTP_ERROR as error:
        reason = f"and the hub cannot be reached ({type(error).__name__})"
        raise MicroscopeError(f"{absent}, {reason}: check the connection, or {elsewhere}.{hint}") from error
    except OSError as error:
        raise MicroscopeError(f"The data set {source} cannot be downloaded ({one_line(error)}).") from error
