"""What the store knows of the libraries that the numbers depend on."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import pytest

from microscope_tui.store import libraries


@pytest.fixture
def asked_anew() -> Iterator[None]:
    libraries.versions.cache_clear()
    yield
    libraries.versions.cache_clear()


@pytest.mark.usefixtures("asked_anew")
def test_the_versions_are_those_that_the_libraries_were_installed_with() -> None:
    assert libraries.versions() == {name: version(name) for name in ("torch", "transformers", "tokenizers", "pillow")}


@pytest.mark.usefixtures("asked_anew")
@pytest.mark.parametrize("description", ["Name: torch\n\nVersion-less.\n", None], ids=["empty", "gone"])
def test_a_description_without_a_version_is_left_to_python_and_one_that_is_gone_counts_for_nothing(
    description: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = "torch as Python says" if description else version("torch")
    (tmp_path / "torch-9.dist-info").mkdir()
    if description is not None:
        (tmp_path / "torch-9.dist-info" / "METADATA").write_text(description)
    monkeypatch.setattr(sys, "path", [str(tmp_path), str(tmp_path / "missing"), *sys.path])
    monkeypatch.setattr("importlib.metadata.version", lambda name: f"{name} as Python says")
    assert libraries.versions()["torch"] == said


@pytest.mark.usefixtures("asked_anew")
def test_the_first_on_the_path_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "Torch-9.dist-info").mkdir()
    (tmp_path / "Torch-9.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: Torch\nVersion: 9.1+mine\n")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    assert libraries.versions()["torch"] == "9.1+mine"


def test_no_parser_of_mail_is_loaded_for_it() -> None:
    code = (
        "import sys; from microscope_tui.store import libraries; libraries.versions(); "
        "print(sorted({'email', 'importlib.metadata'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=240, check=False)
    assert (done.stdout.strip(), done.stderr) == ("[]", "")
