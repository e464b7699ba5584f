"""A store in a throw-away folder, and a direct hand on its database to plant what an enemy would."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from microscope_tui.results import Measurement, Profile
from microscope_tui.store import Store
from microscope_tui.terms import Metric, Modality, SliceSpec, Stream


def measurement(name: str = "demo:llava-next", points: int = 2) -> Measurement:
    profile = Profile(
        Metric.LINEARITY,
        "in-sample",
        Modality.TEXT,
        Stream.RESIDUAL,
        layers=tuple(range(points)),
        value=(0.25,) * (points - 1) + (None,),
        low=(0.2,) * points,
        high=(None,) * points,
        n=(100,) * points,
        d=64,
        examples=7,
        notes=((),) * (points - 1) + (("n ≤ d + 1",),),
    )
    return Measurement(name, SliceSpec("demo:scienceqa", count=7), (profile,), 0.5, 7, {"text": 100})


class Planter:
    """Writes rows past the store."""

    def __init__(self, folder: Path) -> None:
        self.values = folder / "store"

    def sql(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(self.values / "cache.db")) as connection, connection:
            return connection.execute(statement, values).fetchall()

    def file(self, key: str) -> Path:
        ((name,),) = self.sql("SELECT filename FROM Cache WHERE key = ?", key)
        return self.values / str(name)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def store(folder: Path) -> Iterator[Store]:
    with Store(folder) as store:
        yield store


@pytest.fixture
def planter(folder: Path, store: Store) -> Planter:
    return Planter(folder)
