"""Names to open models."""

from __future__ import annotations

from microscope_tui.catalogue.checkpoints import omnifusion_folder
from microscope_tui.models.base import OpenModel
from microscope_tui.models.fetch import fetch
from microscope_tui.models.generic import load_generic
from microscope_tui.models.loading import DeviceMap, Place
from microscope_tui.models.meter import OnProgress
from microscope_tui.models.omnifusion import load_omnifusion
from microscope_tui.models.quiet import quiet, unheard
from microscope_tui.models.selfcheck import check
from microscope_tui.terms import Progress


def open_model(
    name: str,
    *,
    dtype: str = "auto",
    device: str = "auto",
    attention: str = "auto",
    device_map: DeviceMap | None = None,
    one_tile: bool = False,
    on_progress: OnProgress = unheard,
) -> OpenModel:
    """Open a model by hub id, folder or `demo:NAME`, and check it.

    A hub id that is not in the local cache is downloaded, unless `HF_HUB_OFFLINE` is set. `on_progress` hears what is
    being done. `device` is `cpu`, `cuda`, `cuda:1`, …, `auto` for a GPU when there is one, or `balanced` for all GPUs;
    a `device_map` of accelerate says it part by part. With `one_tile` a model that divides pictures into tiles gets
    their base view alone; one that does not is the same with and without it. No code of a checkpoint is run, nor are
    pickled weights read, but for plain tensors of OmniFusion's parts. Raises `MicroscopeError`.
    """
    place = Place.of(dtype=dtype, device=device, attention=attention, device_map=device_map)
    on_progress(Progress("looking for the model"))
    folder = fetch(name, on_progress)
    with quiet(on_progress):
        layout = omnifusion_folder(folder)
        if layout is not None:
            model: OpenModel = load_omnifusion(name, layout, place, on_progress)
        else:
            model = load_generic(name, folder, place, on_progress, one_tile=one_tile)
        on_progress(Progress("checking the model"))
        check(model)
    return model
