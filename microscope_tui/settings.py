"""What a user can set, in one typed object: flags > environment > file > defaults.

The file is `config.toml` in the user's configuration folder, or what MICROSCOPE_CONFIG names; an environment
variable is the setting's name in capitals behind `MICROSCOPE_`. A variable or a flag joins the parts of a list by
commas; the tables `[keys]` and `[themes.NAME]` stand in the file only. Unknown names and values of the wrong type are
refused with a sentence that names them.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Self

import platformdirs

from microscope_tui.errors import MicroscopeError
from microscope_tui.terms import DTYPES, Request

PREFIX = "MICROSCOPE_"

THEMES = ("microscope-dark", "microscope-light", "microscope-contrast", "microscope-ansi")
"""Themes of the screen, the default first; the last has the terminal's own 16 colours."""


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
    sample_tokens: int = Request.sample_tokens
    """Rows of each modality and stream kept for what needs points (dimension)."""
    folds: int = Request.folds
    """Groups of examples for held-out scores and intervals."""
    max_batch: int = Request.max_batch
    """Examples in one forward pass, at most."""
    without: tuple[str, ...] = ()
    """Rows that do not count: sinks, duplicates, or groups of positions that every model in use has."""
    before: bool = False
    """Measure the vision tower and the connector too, as layers before the decoder."""
    reference: bool = False
    """Put the values of LLM-Microscope's own functions beside ours."""
    memory_check: bool = True
    """Refuse to load a model that, by its size, cannot fit into the free memory."""
    cache_limit_gb: float = 20.0
    """Size of the store above which the least recently used results are removed."""
    theme: str = THEMES[0]
    """Theme of the screen."""
    idle_minutes: float = 30.0
    """The worker ends by itself after so long without a job and without a screen."""
    ascii: bool = False
    """Draw with ASCII characters only, for terminals and fonts without braille and box lines; on the console of Linux
    unless it is set."""
    thin_line: bool = False
    """Draw little, for a slow connection: no grid, no tinted intervals, no line at the cursor."""
    read_only: bool = False
    """Look at a cache without a worker: nothing is measured, and nothing written into it."""
    favourite_models: tuple[str, ...] = ()
    """Models that the picker shows first."""
    favourite_slices: tuple[str, ...] = ()
    """Slices that the picker shows first."""
    keys: Mapping[str, str] = field(default_factory=dict)
    """Keys of the screen by action, several joined by commas, in place of the usual ones."""
    themes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Themes of one's own: colours in place of those of the theme named by `base`."""

    @classmethod
    def load(
        cls, flags: Mapping[str, Any] | None = None, environ: Mapping[str, str] | None = None, file: Path | None = None
    ) -> Self:
        """The settings in force. `flags` that are None were not given. Raises `MicroscopeError`."""
        environ = os.environ if environ is None else environ
        file = file or config_file(environ)
        # The console of Linux has neither braille nor the signs of the series in its font.
        values: dict[str, Any] = {"cache": default_cache(), "ascii": environ.get("TERM", "").startswith("linux")}
        values |= {name: _typed(name, value, f"in {file}") for name, value in _read(file).items()}
        for name, kind in SETTING_TYPES.items():
            if kind is not dict and (text := environ.get(PREFIX + name.upper())):
                values[name] = _typed(name, text, f"in {PREFIX}{name.upper()}")
        for name, value in (flags or {}).items():
            if value is not None:
                values[name] = _typed(name, value, f"of --{name.replace('_', '-')}")
        values["cache"] = values["cache"].expanduser().absolute()
        settings = cls(**values)
        if settings.theme not in settings.theme_names:
            names = ", ".join(settings.theme_names)
            raise MicroscopeError(f"There is no theme {settings.theme!r}: choose one of {names}.")
        return settings

    @property
    def theme_names(self) -> tuple[str, ...]:
        """The themes there are, those of the user last."""
        return (*THEMES, *(name for name in self.themes if name not in THEMES))

    @property
    def cache_limit(self) -> int:
        """`cache_limit_gb` in bytes."""
        return int(self.cache_limit_gb * 1e9)

    def of_request(self) -> dict[str, Any]:
        """The settings that a `Request` carries, by name."""
        return {name: getattr(self, name) for name in REQUEST_SETTINGS}


SETTING_TYPES: Mapping[str, type] = {
    f.name: {"Path": Path, "str": str, "int": int, "float": float, "bool": bool, "tuple[str, ...]": tuple}.get(
        str(f.type), dict
    )
    for f in fields(Settings)
}

EXTRAS: Mapping[str, tuple[str, ...]] = {
    "figures": ("matplotlib", "resvg-py"),
    "maps": ("scikit-learn",),
    "media": ("av", "soundfile"),
}
"""The libraries that few need, by the name of the extra that has them."""

REQUEST_SETTINGS = (
    *("dtype", "device", "attention", "sample_tokens", "folds", "max_batch"),
    *("without", "before", "reference"),
)
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


def how_to_install(extra: str) -> str:
    """The command that installs the libraries of an optional extra, by their names: that works wherever it is typed,
    in the environment that this program runs in."""
    pip = Path(sys.prefix, "bin", "pip")
    root = checkout()
    if root and pip.is_relative_to(root):
        pip = pip.relative_to(root)  # as the documents write it
    elif sys.prefix == sys.base_prefix:
        pip = Path("pip")
    return f"{pip} install {' '.join(EXTRAS[extra])}"


def default_cache() -> Path:
    """`cache/` of the checkout, else the user's cache folder."""
    root = checkout()
    return root / "cache" if root else platformdirs.user_cache_path("microscope-tui")


def _read(file: Path) -> Mapping[str, Any]:
    try:
        text = file.read_text()
        import tomllib  # here, because few have such a file and every start waits for what is imported

        return tomllib.loads(text)
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:  # what is no TOML and what is no text are both a ValueError
        raise MicroscopeError(f"The settings file {file} cannot be read ({error}): mend or remove it.") from error


def _typed(name: str, value: Any, where: str) -> Any:
    kind = SETTING_TYPES.get(name)
    if kind is None:
        raise MicroscopeError(f"There is no setting {name!r} ({where}): the settings are {', '.join(SETTING_TYPES)}.")
    wrong = MicroscopeError(f"{name} = {value!r} {where} is not {KINDS[kind]}.")
    if kind is bool:
        switched = SWITCHES.get(value.lower()) if isinstance(value, str) else value
        if not isinstance(switched, bool):
            raise wrong
        return switched
    if kind is tuple:
        if isinstance(value, str):
            value = [part.strip() for part in value.split(",") if part.strip()]
        if not isinstance(value, list | tuple) or not all(isinstance(part, str) and part for part in value):
            raise wrong
        return tuple(value)
    if kind is dict:
        inner = dict if name == "themes" else str
        if not isinstance(value, Mapping) or not all(isinstance(part, inner) for part in value.values()):
            raise wrong
        return dict(value)
    # Text may mean anything; what the file gives as a number, a flag of TOML or a list may not be bent.
    if not isinstance(value, str | Path) and (type(value), kind) not in ((int, int), (float, float), (int, float)):
        raise wrong
    try:
        typed = kind(value)
    except (TypeError, ValueError):
        raise wrong from None
    if name == "dtype" and typed not in ("auto", *DTYPES):
        raise MicroscopeError(f"dtype = {value!r} {where} is no precision: use {', '.join(DTYPES)} or auto.")
    if value == "" or (isinstance(typed, float) and not math.isfinite(typed)):
        raise wrong
    if isinstance(typed, int | float) and typed <= 0:
        raise MicroscopeError(f"{name} = {value!r} {where} must be more than 0.")
    return typed


SWITCHES: Mapping[str, bool] = {
    **dict.fromkeys(("1", "true", "yes", "on"), True),
    **dict.fromkeys(("0", "false", "no", "off"), False),
}

KINDS: Mapping[type, str] = {
    int: "a whole number",
    float: "a number",
    Path: "a path",
    str: "a text",
    bool: "true or false",
    tuple: "a list of texts",
    dict: "a table",
}
