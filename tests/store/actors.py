"""Processes that use a store hard; run as `python actors.py ROLE FOLDER …` by the tests of this folder."""

from __future__ import annotations

import contextlib
import json
import random
import shutil
import sys
from hashlib import blake2b
from pathlib import Path

from microscope_tui.errors import MicroscopeError
from microscope_tui.store import DiskFull, Store

SHARED = 4


def value(name: str, number: int, size: int) -> bytes:
    """Bytes that tell who wrote them when."""
    return f"{name} {number} ".encode() + blake2b(f"{name} {number}".encode()).digest() * (size // 64)


def genuine(found: bytes) -> bool:
    name, number, _ = found.split(b" ", 2)
    return found == value(name.decode(), int(number), 64 * ((len(found)) // 64))


def random_operations(folder: Path, name: str, seed: int, count: int) -> None:
    """Random operations on keys of its own, checked against a model, and on keys that all processes share."""
    chance, model = random.Random(seed), dict[str, bytes]()
    stores = [Store(folder), Store(folder, read_only=True)]
    for number in range(count):
        own = chance.random() < 0.7
        key = f"{name}.{chance.randrange(8)}" if own else f"shared.{chance.randrange(SHARED)}"
        act = chance.choice(("put", "put", "get", "get", "put two", "remove", "reopen", "gc"))
        if act.startswith("put"):
            values = {key: value(name, number, chance.choice((64, 6400, 640_000)))}
            if act == "put two":
                values[f"{name}.9"] = value(name, number, 64_000)
            stores[0].put_blobs(values)
            model |= {each: new for each, new in values.items() if each.startswith(name)}
        elif act == "get":
            found = chance.choice(stores).blob(key)
            assert found == model.get(key) if own else found is None or genuine(found), (number, key)
        elif act == "remove":
            stores[0].remove(f"blob/{key}")
            model.pop(key, None)
        elif act == "reopen":
            stores[0].close()
            stores[0] = Store(folder)
        elif number % 5 == 0:
            stores[0].gc()
    assert not stores[0].damaged()
    print(json.dumps({key: blake2b(each).hexdigest() for key, each in model.items()}))


def endless_pairs(folder: Path, seed: int) -> None:
    """Stores pairs of values, each pair in one step, and says after each that it is committed."""
    store, number = Store(folder), seed * 100_000
    while True:
        number += 1
        store.put_blobs({"left": value("l", number, 300_000), "right": value("r", number, 500_000)})
        print(number, flush=True)


def fill(folder: Path) -> None:
    """Stores values until the disk is full, makes room, and goes on; fails with a traceback when anything is lost."""
    store = Store(folder)
    kept: list[int] = []
    for number in range(1000):
        try:
            store.put_blob(str(number), value("f", number, 64_000))
        except DiskFull:
            break
        kept.append(number)
    assert len(kept) > 5
    for number in kept:
        assert store.blob(str(number)) == value("f", number, 64_000)
    assert store.gc().files == 0, "nothing is left of the value that did not fit"
    with contextlib.suppress(OSError):
        (folder / "foreign").write_bytes(bytes(10_000_000))
    assert shutil.disk_usage(folder).free == 0
    store.close()
    with Store(folder, read_only=True) as reader:
        assert reader.blob("0") == value("f", 0, 64_000)
    for number in kept[:4]:
        with Store(folder) as again:  # full to the last byte, it can still be opened and made smaller
            again.remove(f"blob/{number}")
    (folder / "foreign").unlink()
    store.put_blob("again", value("f", 1, 64_000))
    assert store.blob("again") == value("f", 1, 64_000)
    assert store.verify() == []
    print("went on")


if __name__ == "__main__":
    role, where, *rest = sys.argv[1:]
    try:
        if role == "random":
            random_operations(Path(where), rest[0], int(rest[1]), int(rest[2]))
        elif role == "pairs":
            endless_pairs(Path(where), int(rest[0]))
        else:
            fill(Path(where))
    except MicroscopeError as error:
        sys.exit(f"unexpected sentence: {error}")
