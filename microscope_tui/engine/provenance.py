"""What a measurement depends on and where it is told: its plan, its provenance, and the names of its sums."""

from __future__ import annotations

import platform
from collections.abc import Collection, Iterable, Mapping, Sequence
from importlib.metadata import version
from itertools import combinations
from typing import Any

from microscope_tui import __version__
from microscope_tui.engine.plan import Plan, plan
from microscope_tui.engine.walk import stages_before, trusted_streams
from microscope_tui.models.base import OpenModel
from microscope_tui.slices import Slice
from microscope_tui.store import content_key
from microscope_tui.store.libraries import installed, versions
from microscope_tui.terms import Modality, Request, Stream, captured_streams
from microscope_tui.versions import methods


def plan_of(request: Request, model: OpenModel) -> Plan:
    """Where the moments of this request live, and in how many folds."""
    return plan(
        layers=model.layers,
        width=model.width,
        kinds=len(request.modalities) * len(captured_streams(trusted_streams(request, model))),
        folds=request.folds,
        sample=request.sample_tokens,
        device=model.input_device,
        shapes=stages_before(request, model),
    )


OF_SUMS = (
    *("model", "architecture", "dtype", "device", "attention", "chat_template", "sample_tokens", "folds"),
    *("products", "max_batch", "without", "one_tile", "before", "versions", *methods()),
)
"""What sums depend on besides the data, the modalities and the captured streams."""

OF_PROFILES = ("slice", "metrics", "modalities", "streams", "trusted", "reference", "matched")
"""What depends on the draw, or says what is made of the sums."""


def provenance_of(request: Request, model: OpenModel, slice_: Slice, plan: Plan) -> dict[str, Any]:
    """What the numbers depend on, the key made of all of it, and where and with what they were made.

    `state` is the name of the sums that they are made of: of all that a measurement depends on, but for the draw and
    for what is made of the sums.
    """
    depends: dict[str, Any] = {
        "model": model.identity,
        "architecture": model.architecture,
        "dtype": model.dtype,
        "device": model.device.split(":")[0],
        "attention": model.attention,
        "chat_template": model.template,
        "slice": slice_.digest,
        "metrics": sorted(request.metrics),
        "modalities": sorted(request.modalities),
        "streams": sorted(request.streams),
        "trusted": sorted(trusted_streams(request, model)),
        "sample_tokens": request.sample_tokens,
        "folds": plan.folds,
        "products": str(plan.dtype).removeprefix("torch."),
        "max_batch": request.max_batch,
        "without": list(request.without),
        "one_tile": model.one_tile,  # a model that does not cut pictures is measured once
        "before": request.before,
        "reference": request.reference,
        "matched": request.matched,
        **methods(),
        "versions": dict(versions()),
    }
    libraries = {name: version(name) for name in ("torch", "transformers", "datasets", "numpy")}
    made_with = {"microscope_tui": __version__, "python": platform.python_version(), **libraries}
    assert depends.keys() == {*OF_SUMS, *OF_PROFILES}, "a dependency of which it is not said what depends on it"
    provenance = {**depends, "versions": made_with, "optional": installed(), "key": content_key(**depends)}
    provenance["tiles"] = model.tiles
    captured = _captured(depends["trusted"])
    return {**provenance, "state": sums_name(provenance, slice_, depends["modalities"], captured)}


def sums_name(provenance: Mapping[str, Any], slice_: Slice, modalities: Sequence[str], captured: Sequence[str]) -> str:
    """The name of the sums of these modalities in these captured streams, all else as a provenance says."""
    depends = {name: provenance[name] for name in OF_SUMS}
    return content_key(**depends, modalities=modalities, captured=captured, data=slice_.content)


def _captured(trusted: Sequence[str]) -> list[str]:
    """The names of the streams that are captured for those asked for, in order."""
    return sorted(str(stream) for stream in captured_streams([Stream(name) for name in trusted]))


def wider_sums(provenance: Mapping[str, Any], slice_: Slice) -> dict[str, bool]:
    """The names of sums that hold those of a provenance: of the same rows, with more modalities or streams. With each
    name whether the same is captured for them, so that the same examples can be used."""
    own, captured = provenance["modalities"], _captured(provenance["trusted"])
    wider = {
        # The stages before the decoder are captured where there are image rows.
        sums_name(provenance, slice_, modalities, streams): streams == captured
        and (not provenance["before"] or (Modality.IMAGE in modalities) == (Modality.IMAGE in own))
        for modalities in _supersets(own, Modality)
        for streams in _supersets(captured, (Stream.RESIDUAL, Stream.MAIN))
    }
    return {name: alike for name, alike in wider.items() if name != provenance["state"]}


def _supersets(words: Collection[str], universe: Iterable[str]) -> list[list[str]]:
    others = sorted(set(map(str, universe)) - set(words))
    return [sorted({*words, *more}) for n in range(len(others) + 1) for more in combinations(others, n)]
