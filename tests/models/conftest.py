"""Tiny checkpoints, built once, and the models opened from them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from microscope_tui.models.base import OpenModel
from microscope_tui.models.load import open_model
from tests.models.builders import build_llava_next, build_omnifusion

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def llava_next_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_llava_next(tmp_path_factory.mktemp("checkpoints") / "llava-next")


@pytest.fixture(scope="session")
def omnifusion_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_omnifusion(tmp_path_factory.mktemp("checkpoints") / "omnifusion")


@pytest.fixture(scope="session")
def llava_next(llava_next_folder: Path) -> OpenModel:
    return open_model(str(llava_next_folder))


@pytest.fixture(scope="session")
def omnifusion(omnifusion_folder: Path) -> OpenModel:
    return open_model(str(omnifusion_folder))


@pytest.fixture(params=["llava_next", "omnifusion"])
def model(request: pytest.FixtureRequest) -> OpenModel:
    opened: OpenModel = request.getfixturevalue(request.param)
    return opened
