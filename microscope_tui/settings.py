"""What a user can set, in one typed object: flags > environment > file > defaults.

The file is `config.toml` in the user's configuration folder, or what MICROSCOPE_CONFIG names; an environment
variable is the setting's name in capitals behind `MICROSCOPE_`. Unknown names and values of the wrong type are
refused with a sentence that names them.
"""

from __future__ import annotations

import math
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Self

import platformdirs

from microscope_tui.errors import MicroscopeError

PREFIX = "MICROSCOPE_"

THEMES = ("microscope-dark", "microscope-light")
"""Themes of the screen, the default first."""


@dataclass(frozen=True)
class Settings:
    """All settings, resolved: of several that speak, the strongest."""

    cache: Path
    """Folder of the store and of the worker that serves it."""
    dtype: str = "auto"
    """float32, bfloat16, float16, or auto: the checkpoint's own on a GPU, float32 on the CPU."""
    device: str = "auto"
    """cpu, cuda, cuda:1, … or auto: a GPU when there is one."""
    attention: str = "auto"
    """Attention implementation of transformers (eager, sdpa, …), or auto: its own choice."""
    sample_tokens: int = 4096
    """Rows of each modality and stream kept for what needs points (dimension)."""
    folds: int = 10
    """Groups of examples for held-out scores and intervals."""
    max_batch: int = 8
    """Examples in one forward pass, at most."""
    cache_limit_gb: float = 20.0
    """Size of the store above which the least recently used results are removed."""
    theme: str = THEMES[0]
    """Theme of the screen."""
    idle_minutes: float = 30.0
    """The worker ends by itself after so long without a job and without a screen."""

    @classmethod
    def load(
        cls, flags: Mapping[str, Any] | None = None, environ: Mapping[str, str] | None = None, file: Path | None = None
    ) -> Self:
        """The settings in force. `flags` that are None were not given. Raises `MicroscopeError`."""
        environ = os.environ if environ is None else environ
        file = file or config_file(environ)
        values: dict[str, Any] = {"cache": default_cache()}
        values |= {name: _typed(name, value, f"in {file}") for name, value in _read(file).items()}
        for name in SETTING_TYPES:
            if text := environ.get(PREFIX + name.upper()):
                values[name] = _typed(name, text, f"in {PREFIX}{name.upper()}")
        for name, value in (flags or {}).items():
            if value is not None:
                values[name] = _typed(name, value, f"of --{name.replace('_', '-')}")
        values["cache"] = values["cache"].expanduser().absolute()
        return cls(**values)

    def of_request(self) -> dict[str, Any]:
        """The settings that a `Request` carries, by name."""
        return {name: getattr(self, name) for name in REQUEST_SETTINGS}


SETTING_TYPES: Mapping[str, type] = {
    f.name: {"Path": Path, "str": str, "int": int, "float": float}[str(f.type)] for f in fields(Settings)
}

REQUEST_SETTINGS = ("dtype", "device", "attention", "sample_tokens", "folds", "max_batch")
"""Settings that change how a model is measured, and so travel with each request."""


def config_file(environ: Mapping[str, str]) -> Path:
    """Where the settings file is, whether or not it exists: MICROSCOPE_CONFIG, else the user's folder."""
    if named := environ.get(PREFIX + "CONFIG"):
        return Path(named)
    return platformdirs.user_config_path("microscope-tui") / "config.toml"


def checkout() -> Path | None:
    """The root of the source checkout that this package runs from, or None when it is installed."""
    root = Path(__file__).resolve().parent.parent
    return root if (root / "pyproject.toml").is_file() and (root / "cache").is_dir() else None


def default_cache() -> Path:
    """`cache/` of the checkout, else the user's cache folder."""
    root = checkout()
    return root / "cache" if root else platformdirs.user_cache_path("microscope-tui")


def _read(file: Path) -> Mapping[str, Any]:
    try:
        return tomllib.loads(file.read_text())
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise MicroscopeError(f"The settings file {file} cannot be read ({error}): mend or remove it.") from error


def _typed(name: str, value: Any, where: str) -> Any:
    kind = SETTING_TYPES.get(name)
    if kind is None:
        raise MicroscopeError(f"There is no setting {name!r} ({where}): the settings are {', '.join(SETTING_TYPES)}.")
    wrong = MicroscopeError(f"{name} = {value!r} {where} is not {KINDS[kind]}.")
    # Text may mean anything; what the file gives as a number, a flag of TOML or a list may not be bent.
    if not isinstance(value, str | Path) and (type(value), kind) not in ((int, int), (float, float), (int, float)):
        raise wrong
    try:
        typed = kind(value)
    except (TypeError, ValueError):
        raise wrong from None
    if value == "" or (isinstance(typed, float) and not math.isfinite(typed)):
        raise wrong
    if name == "theme" and typed not in THEMES:
        raise MicroscopeError(f"theme = {value!r} {where} does not exist: choose one of {', '.join(THEMES)}.")
    if isinstance(typed, int | float) and typed <= 0:
        raise MicroscopeError(f"{name} = {value!r} {where} must be more than 0.")
    return typed


KINDS: Mapping[type, str] = {int: "a whole number", float: "a number", Path: "a path", str: "a text"}
