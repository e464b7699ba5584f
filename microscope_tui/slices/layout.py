"""Which parquet files of a folder or a repository belong to which split: the hub's ways to name them.

    test-00000-of-00002.parquet   data/test-00000-of-00002.parquet   test.parquet   test/0000.parquet

One folder more in front is a configuration, a data set of its own: `ScienceQA-IMG/test-00000-of-00001.parquet`.
Files that name no split are one set, which is taken whichever split is asked for.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePosixPath

from microscope_tui.errors import MicroscopeError

SHARD = re.compile(r"(?P<split>\w+(\.\w+)*)-(?P<number>\d{5})-of-(?P<count>\d{5})(-[0-9a-f]+)?")

ALIASES: Mapping[str, str] = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("validation", "valid", "val", "dev"), "validation"),
    **dict.fromkeys(("test", "testing", "eval", "evaluation"), "test"),
}
"""The names under which `datasets` knows the three customary splits."""

ANY = ""
"""Stands for the split of files that name none, and for the configuration of files that lie in no folder."""


class MissingSplit(MicroscopeError):
    """The split asked for is not there, or not all of it."""


def split_name(name: str) -> str:
    return ALIASES.get(name.lower(), name)


def choose_split(splits: Iterable[str], split: str, source: str) -> str:
    """The split among those there are, by any of its names. Raises `MissingSplit` naming them."""
    names = sorted(splits)
    if names == [ANY]:
        return ANY
    for name in names:
        if split_name(name) == split_name(split):
            return name
    there = ", ".join(name for name in names if name != ANY)
    raise MissingSplit(f"The data set {source} has no split {split!r}: it has {there}.")


def parquet_files(names: Iterable[str], split: str, source: str) -> Sequence[str] | None:
    """The files of one split among the names, in order; None if none of the names is of a parquet file.

    Raises `MicroscopeError` if the split is not there or not whole, or if a configuration must be named.
    """
    configurations: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for name in sorted(names):
        path = PurePosixPath(name)
        if path.suffix == ".parquet" and not any(part.startswith(".") for part in path.parts):
            configuration, its_split = _place(path)
            configurations[configuration][its_split].append(name)
    if not configurations:
        return None
    if ANY not in configurations and "default" not in configurations and len(configurations) > 1:
        parts = sorted(configurations)
        raise MicroscopeError(
            f"The data set {source} has several parts ({', '.join(parts)}): name one of them, like {source}/{parts[0]}."
        )
    splits = configurations.get(ANY) or configurations.get("default") or next(iter(configurations.values()))
    files = splits[choose_split(splits, split, source)]
    _check_shards(files, source)
    return files


def _place(path: PurePosixPath) -> tuple[str, str]:
    """Configuration and split of a file."""
    folders = list(path.parts[:-1])
    if shard := SHARD.fullmatch(path.stem):
        split = shard["split"]
    elif path.stem.lower() in ALIASES:
        split = path.stem
    elif folders and folders[-1].lower() in ALIASES:
        split = folders.pop()
    else:
        split = ANY
    if folders and folders[-1] == "data":
        folders.pop()
    return "/".join(folders), split


def _check_shards(files: Sequence[str], source: str) -> None:
    shards = [(file, match) for file in files if (match := SHARD.fullmatch(PurePosixPath(file).stem))]
    if not shards:
        return
    counts = {int(match["count"]) for _, match in shards}
    if len(counts) > 1 or len(shards) > max(counts):
        raise MicroscopeError(
            f"The data set {source} mixes parquet files of several versions "
            f"({', '.join(PurePosixPath(file).name for file, _ in shards)}): remove those that are out of date."
        )
    numbers = {int(match["number"]) for _, match in shards}
    if missing := [number for number in range(max(counts)) if number not in numbers]:
        first = f"{shards[0][1]['split']}-{missing[0]:05d}-of-{max(counts):05d}.parquet"
        raise MissingSplit(
            f"The data set {source} is incomplete: {len(missing)} of its {max(counts)} files are missing, "
            f"the first {first}. Download it again."
        )
