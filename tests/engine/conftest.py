"""A slice of a few small pictures and questions, and tiny checkpoints with random weights to measure on it."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from microscope_tui.engine import journal, state, walk
from microscope_tui.models.base import Captured
from microscope_tui.results import Measurement
from microscope_tui.slices import Example
from tests.engine.keeping import measured, request
from tests.models.builders import WORDS, build_llava_next, build_omnifusion, picture


def write_slice(folder: Path, rows: list[dict[str, Any]]) -> Path:
    folder.mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(rows), folder / "test-00000-of-00001.parquet")
    return folder


def row(words: int, *, size: tuple[int, int] | None = (48, 24), seed: int = 0, start: int = 0) -> dict[str, Any]:
    """A row of a data set: `words` words from the `start`-th on, a picture of noise of `size`, two choices."""
    image = None
    if size is not None:
        data = io.BytesIO()
        picture(size, seed=seed).save(data, "png")
        image = {"bytes": data.getvalue(), "path": None}
    question = " ".join(WORDS[(start + i) % len(WORDS)] for i in range(words))
    return {"image": image, "question": question, "choices": ["cat", "dog"], "answer": 1, "hint": ""}


@pytest.fixture(scope="session")
def small_slice(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Ten questions, eight with a picture: of two sizes, the first three with the same picture; some alike."""
    pictured = [row(3 + i, size=(48, 24) if i % 2 else (24, 48), seed=max(0, i - 2), start=i // 4) for i in range(8)]
    return str(
        write_slice(tmp_path_factory.mktemp("slices") / "small", [*pictured, row(5, size=None), row(7, size=None)])
    )


@pytest.fixture(scope="session")
def tiny_next(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(build_llava_next(tmp_path_factory.mktemp("checkpoints") / "llava-next"))


@pytest.fixture(scope="session")
def tiny_fusion(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(build_omnifusion(tmp_path_factory.mktemp("checkpoints") / "omnifusion"))


@pytest.fixture
def captured(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The keys of the examples that go through the model, as they do."""
    seen: list[str] = []
    count = walk.Walk._count

    def counted(self: walk.Walk, captured: Captured, examples: Sequence[tuple[int, Example]]) -> None:
        seen.extend(example.key for _, example in examples)
        count(self, captured, examples)

    monkeypatch.setattr(walk.Walk, "_count", counted)
    return seen


@pytest.fixture(autouse=True)
def time_for_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """A walk has time to write the rows of every batch, however slow the disk is at that moment."""
    monkeypatch.setattr(journal, "ALLOWED_SECONDS", 1e9)


@pytest.fixture
def sums_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A walk commits its sums after the first batch that it measures, and then only at its ends."""
    monkeypatch.setattr(state, "SHARE", 1e-9)
    monkeypatch.setattr(state, "ALONE", 1e-9)


@pytest.fixture
def sums_always(monkeypatch: pytest.MonkeyPatch) -> None:
    """A walk commits its sums after every batch."""
    monkeypatch.setattr(state, "SHARE", float("inf"))
    monkeypatch.setattr(state, "ALONE", float("inf"))


@pytest.fixture(scope="session")
def undisturbed() -> Measurement:
    """`keeping.request()`, measured in one go."""
    return measured(request(), None)
