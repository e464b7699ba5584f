"""Names of models, slices and curves as people call them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from urllib.parse import unquote

from rich.cells import cell_len

from microscope_tui.terms import SliceSpec
from microscope_tui.tui.content.readout import shorten, shorten_end
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


WORD = re.compile(r"[^ /_-]+[ /_-]*")


def told_apart(labels: Sequence[str], width: int) -> tuple[str, ...]:
    """Labels in at most `width` cells each: what a label has in common with others is cut before what it alone has."""
    shared = Counter(word for label in set(labels) for word in {*map(_bare, WORD.findall(label))})
    cut = {label: _without_shared(label, shared, width) for label in labels}
    apart = dict(cut)
    for label, text in cut.items():
        if twins := [other for other in cut if other != label and cut[other] == text]:
            start = max(min(_alike(label, twin), len(label) - 1, len(twin) - 1) for twin in twins)
            apart[label] = "…" + shorten_end(label[start:], width - 1)
    return tuple(apart[label] for label in labels)


def _alike(one: str, other: str) -> int:
    """How many characters two labels begin alike with."""
    return next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def _without_shared(label: str, shared: Counter[str], width: int) -> str:
    """A label without its words that most other labels have too, then without those that fewer have, until it fits; of
    what is left then only the ends."""
    text = label
    for labels in range(max(shared.values(), default=1), 1, -1):
        if cell_len(text) <= width:
            break
        kept = [word if shared[_bare(word)] < labels else "…" for word in WORD.findall(label)]
        if all(word == "…" for word in kept):
            break
        text = re.sub(r"[ /_-]*…+", "…", "".join(kept))
    return text if cell_len(text) <= width else shorten(text.strip("…"), width)


def _bare(word: str) -> str:
    return word.rstrip(" /_-")


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
