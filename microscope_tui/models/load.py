"""Names to open models."""

from __future__ import annotations

from microscope_tui.models.base import OpenModel
from microscope_tui.models.fetch import fetch
from microscope_tui.models.generic import load_generic
from microscope_tui.models.identity import omnifusion_folder
from microscope_tui.models.loading import Place
from microscope_tui.models.omnifusion import load_omnifusion
from microscope_tui.models.quiet import OnPhase, quiet, unheard


def open_model(
    name: str, *, dtype: str = "auto", device: str = "auto", attention: str = "auto", on_phase: OnPhase = unheard
) -> OpenModel:
    """Open a model by hub id, folder or `demo:NAME`, and check it.

    A hub id that is not in the local cache is downloaded, unless `HF_HUB_OFFLINE` is set. `on_phase` hears what is
    being done. Pickled weights are not read and no code of a checkpoint is run. Raises `MicroscopeError`.
    """
    place = Place.of(dtype=dtype, device=device, attention=attention)
    on_phase("looking for the model")
    folder = fetch(name, on_phase)
    with quiet(on_phase):
        layout = omnifusion_folder(folder)
        if layout is not None:
            model: OpenModel = load_omnifusion(name, layout, place, on_phase)
        else:
            model = load_generic(name, folder, place, on_phase)
        on_phase("checking the model")
        model.check()
    return model
