"""Names of what is stored: a hash of everything that a number depends on."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict
from hashlib import blake2b
from typing import Any, Final

from microscope_tui import __version__, versions
from microscope_tui.catalogue.locate import DEMO, full_name, hub_cache, is_path
from microscope_tui.devices import gpu_facts, gpus
from microscope_tui.errors import MicroscopeError
from microscope_tui.terms import JobKind, Request


def content_key(**parts: Any) -> str:
    """The key of what is determined by `parts`: 32 hex digits, the same for the same values in any order.

    `parts` are what JSON can hold (mappings with text keys, lists, tuples, text, numbers, None, text enums);
    anything else raises `TypeError`, for a silent `repr` could hide a difference that changes a number.
    """
    return blake2b(canonical(parts), digest_size=16).hexdigest()


SCOPE: Final = ("metrics", "modalities", "streams")
"""What one request can have more of than another, and so answer it."""

AUTO: Final = ("GPU", "CPU")
"""What the device `auto` can mean."""


def request_key(request: Request, auto: str | None = None) -> str:
    """The key of a request as it was typed and as it is understood now: what `Store.recall` looks up.

    `FAMILY.METRICS.MODALITIES.STREAMS`, the words in the order of the alphabet with a + between them.
    """
    return ".".join((family_key(request, auto), *("+".join(sorted(getattr(request, name))) for name in SCOPE)))


def family_key(request: Request, auto: str | None = None) -> str:
    """The key of all that requests have in common which differ in metrics, modalities and streams only."""
    rest = {name: value for name, value in asdict(request).items() if name not in SCOPE}
    return content_key(request=rest, **_meaning(request, auto))


def covers(key: str, request: Request) -> bool:
    """Whether the request with this key asked for all metrics, modalities and streams of `request`."""
    asked = [words.split("+") for words in key.split(".")[1:]]
    return all(set(getattr(request, name)) <= set(words) for name, words in zip(SCOPE, asked, strict=True))


def look_key(request: Request, kind: JobKind, example: int | None, auto: str | None = None) -> str:
    """The key of a look as it was asked for and as that is understood now: what `Store.recall_look` looks up."""
    meaning = _meaning(request, auto)
    return content_key(request=asdict(request), kind=kind, example=example, look=versions.LOOKS[kind], **meaning)


def surroundings_key(request: Request) -> str:
    """The key of what the words of a request mean in this process and would not in another one of the same version: a
    program that was started with another hub cache, demo or GPU does not find what is made of them here."""
    return content_key(**_surroundings(request))


def demo_folder() -> str:
    """The folder of the demo that was installed with this program, links followed."""
    return os.path.realpath(DEMO)


def hub_folder() -> str:
    """The local hub cache that hub ids mean in this process, links followed."""
    return os.path.realpath(hub_cache())


def auto_device() -> str:
    """What the device `auto` means for this process."""
    gpu, cpu = AUTO
    return gpu if gpus(os.environ) else cpu


def unexpected(request: Request, device: str | None) -> dict[str, list[str]]:
    """What to note with what was made for a request on `device`, where that is not the one that `auto` means here: a
    driver or a build of torch can fail to use the GPUs that there are. It is found as long as that is so, which
    `as_expected` tells. `device` is None where nothing depends on it."""
    _, cpu = AUTO
    if request.device != "auto" or device is None or (device == "cpu") == (auto_device() == cpu):
        return {}
    return {"gpus": gpu_facts(os.environ)}


def as_expected(noted: Mapping[str, Any]) -> bool:
    """Whether `auto` takes the device here that it took for what was noted."""
    return "gpus" not in noted or noted["gpus"] == gpu_facts(os.environ)


def _meaning(request: Request, auto: str | None) -> dict[str, Any]:
    """What the words of a request mean in this version, in this process and on this machine.

    Links are followed, for one may lead elsewhere tomorrow. A checkpoint in a folder may take a part from the hub cache
    (a vision tower): for all but the demo that counts too. `auto` stands in for what the device `auto` means here.
    Raises `MicroscopeError` for a path that means another place in another folder.
    """
    names = (request.model, request.slice.source)
    for name in names:
        if is_path(name) and not os.path.isabs(name):
            raise MicroscopeError(
                f"{name} means another place in another folder: give the whole path, {full_name(name)}."
            )
    return {
        "version": __version__,
        "methods": versions.methods(),
        "places": [os.path.realpath(name) for name in names if is_path(name)],
        **_surroundings(request, auto),
    }


def _surroundings(request: Request, auto: str | None = None) -> dict[str, str | None]:
    """What a request takes from the process that it is asked in: None for what it does not need."""
    demo = [name.startswith("demo:") for name in (request.model, request.slice.source)]
    return {
        "demo": demo_folder() if any(demo) else None,  # that of another installation may be another
        "hub": None if all(demo) else hub_folder(),
        "auto": (auto or auto_device()) if request.device == "auto" else None,
    }


def canonical(data: Mapping[str, Any]) -> bytes:
    """One byte string for one value: JSON with sorted keys, no blanks, no NaN."""
    return json.dumps(data, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=False).encode()
