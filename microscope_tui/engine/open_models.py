"""The models that are open: one, which the next request mostly wants as well.

Heavy libraries are imported when a model is opened: a look at examples, and a result that is stored, need none.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from microscope_tui.catalogue.locate import hub_cache, moving_reference
from microscope_tui.stamps import Stamps, changed, refuse_changed, stamps_of
from microscope_tui.terms import Progress, Request

if TYPE_CHECKING:
    from microscope_tui.models.base import OpenModel

# Threads that wait for work by spinning make small products up to ten times slower as soon as another process
# wants a core. Read by OpenMP when torch is first imported, hence before any function here does so.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


class OpenModels:
    """Keeps the model that was opened last: the next job often wants the same one."""

    def __init__(self) -> None:
        self._wanted: tuple[object, ...] | None = None
        self._stamps: Stamps = {}
        self._model: OpenModel | None = None

    def open(
        self, request: Request, on_progress: Callable[[Progress], None], *, memory_check: bool = True
    ) -> tuple[OpenModel, Stamps]:
        """The model of a request, the one that is open when it is the same; and the files it depends on, as they were
        before they were read.

        With `memory_check` a model that cannot fit into the free memory is refused before it is loaded. Raises
        `MicroscopeError`, also when one of the files was changed meanwhile.
        """
        from microscope_tui.engine.forecast import check_room
        from microscope_tui.models.fetch import fetch
        from microscope_tui.models.identity import files_of
        from microscope_tui.models.load import open_model

        wanted = (request.model, hub_cache(), request.dtype, request.device, request.attention, request.one_tile)
        if self._model is None or wanted != self._wanted or changed(self._stamps):
            self.clear()
            files = files_of(fetch(request.model, on_progress))  # which may itself move what the name refers to
            reference = moving_reference(request.model)
            before = stamps_of((*files, reference) if reference else files)
            if memory_check:
                check_room(request)
            model = open_model(
                request.model,
                dtype=request.dtype,
                device=request.device,
                attention=request.attention,
                one_tile=request.one_tile,
                on_progress=on_progress,
            )
            moving = [file for name in model.sources if (file := moving_reference(name))]
            # What became known only while it was opened (a vision tower elsewhere) was put there by the opening.
            self._stamps = {**stamps_of((*model.files, *moving)), **before}
            refuse_changed(self._stamps)
            self._model, self._wanted = model, wanted
        return self._model, self._stamps

    def clear(self) -> None:
        """Forget the model, and give its memory back to the device."""
        if self._model is None:
            return
        import torch

        self._model = None
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


MODELS = OpenModels()
"""Those of this process: two at once may not fit into memory."""
