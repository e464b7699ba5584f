"""Names of models, slices and curves as people call them."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import unquote

from microscope_tui.terms import SliceSpec
from microscope_tui.tui.session import Curve


def labels_of(curves: Sequence[Curve]) -> tuple[str, ...]:
    """A short name for each curve: its model, its slice where only that differs, or both."""
    models = short_names([curve.model for curve in curves])
    slices = slice_names([curve.slice for curve in curves])
    if len({curve.slice for curve in curves}) == 1:
        return models
    if len({curve.model for curve in curves}) == 1:
        return slices
    return tuple(f"{model} on {spec}" for model, spec in zip(models, slices, strict=True))


def short_name(name: str) -> str:
    """A model or slice as people call it: without `demo:`, owner and folders."""
    return name.rstrip("/").rsplit("/", 1)[-1].removeprefix("demo:") or name


def short_names(names: Sequence[str]) -> tuple[str, ...]:
    """Names as people call them; the full ones where the short ones of different names are the same."""
    short = [short_name(name) for name in names]
    return tuple(short) if len(set(short)) == len(set(names)) else tuple(names)


def slice_names(specs: Sequence[SliceSpec]) -> tuple[str, ...]:
    """Slices as people call them: by their options alone where they are of one source, which names all of it."""
    sources = short_names([spec.source for spec in specs])
    options = [unquote(str(spec).removeprefix(spec.source).lstrip("?").replace("&", " ")) for spec in specs]
    if len({spec.source for spec in specs}) == 1 and len(set(specs)) > 1:
        return tuple(option or f"whole {source}" for source, option in zip(sources, options, strict=True))
    return tuple(f"{source} {option}".rstrip() for source, option in zip(sources, options, strict=True))
