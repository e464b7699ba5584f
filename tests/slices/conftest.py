"""A small data set of ScienceQA's columns, made here and stored by `datasets` in every layout that is read."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import datasets
import pytest
from PIL import Image

TOTAL = 24
PICTURED = tuple(row for row in range(TOTAL) if row % 3 != 2)
SUBJECTS = ("natural science", "social science", "language science")

FEATURES = datasets.Features(
    {
        "image": datasets.Image(),
        "question": datasets.Value("string"),
        "choices": datasets.List(datasets.Value("string")),
        "answer": datasets.Value("int8"),
        **{name: datasets.Value("string") for name in ("hint", "task", "grade", "subject", "topic", "category")},
        **{name: datasets.Value("string") for name in ("skill", "lecture", "solution")},
    }
)

Row = dict[str, Any]
Store = Callable[..., Path]


def png(colour: tuple[int, int, int], size: tuple[int, int] = (8, 6)) -> bytes:
    return encode(Image.new("RGB", size, colour), "PNG")


def encode(picture: Image.Image, kind: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, kind, **options)
    return stream.getvalue()


def colour_of(row: int) -> tuple[int, int, int]:
    return (10 * row, 255 - 10 * row, 40)


def a_row(row: int, **changes: Any) -> Row:
    values: Row = {
        "image": {"bytes": png(colour_of(row)), "path": "image.png"} if row in PICTURED else None,
        "question": f"What is shown in {row}?",
        "choices": [f"choice {i} of {row}" for i in range(2 + row % 3)],
        "answer": row % 2,
        "hint": f"A hint to {row}." if row % 2 else "",
        "task": "closed choice",
        "grade": f"grade{1 + row % 12}",
        "subject": SUBJECTS[row % 3],
        "topic": "units-and-measurement" if row < 3 else "biology",
        "category": "Animals",
        "skill": "Identify",
        "lecture": "A long lecture.",
        "solution": "A long solution.",
    }
    return values | changes


def rows(changes: Mapping[int, Row] | None = None, total: int = TOTAL) -> list[Row]:
    return [a_row(row, **(changes or {}).get(row, {})) for row in range(total)]


def as_dataset(some: Sequence[Row]) -> datasets.Dataset:
    features = datasets.Features({name: FEATURES[name] for name in (some[0] if some else FEATURES)})
    return datasets.Dataset.from_dict({name: [row[name] for row in some] for name in features}, features=features)


def write_parquet(folder: Path, some: Sequence[Row], name: str = "data/test-00000-of-00001.parquet") -> Path:
    """One parquet file named as on the hub, in row groups of five rows."""
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    as_dataset(some).to_parquet(folder / name, batch_size=5)
    return folder


def write_saved(folder: Path, some: Sequence[Row], split: str | None = "test") -> Path:
    data = as_dataset(some)
    (datasets.DatasetDict({split: data}) if split else data).save_to_disk(str(folder))
    return folder


def write_imagefolder(folder: Path, some: Sequence[Row], split: str = "test") -> Path:
    place = folder / split
    place.mkdir(parents=True)
    lines = []
    for i, row in enumerate(some):
        line = {name: value for name, value in row.items() if name != "image"}
        if row["image"] is not None:
            (place / f"{i}.png").write_bytes(row["image"]["bytes"])
            line["file_name"] = f"{i}.png"
        lines.append(json.dumps(line))
    (place / "metadata.jsonl").write_text("\n".join(lines) + "\n")
    return folder


LAYOUTS: Mapping[str, Store] = {"parquet": write_parquet, "saved": write_saved, "imagefolder": write_imagefolder}


@pytest.fixture(scope="session", autouse=True)
def silent_datasets() -> None:
    """The fixtures' own writing shows no bars; what the package reads is tested in processes of its own."""
    datasets.disable_progress_bars()


@pytest.fixture(scope="session")
def parquet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the hub's layout, the test split in two shards and a train split beside it."""
    folder = tmp_path_factory.mktemp("parquet")
    some = rows()
    write_parquet(folder, some[:13], "data/test-00000-of-00002.parquet")
    write_parquet(folder, some[13:], "data/test-00001-of-00002.parquet")
    return write_parquet(folder, some[:4], "data/train-00000-of-00001.parquet")


@pytest.fixture(scope="session", params=LAYOUTS)
def layout(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data set in each layout in turn."""
    name: str = request.param
    return LAYOUTS[name](tmp_path_factory.mktemp("layout") / name, rows())
