"""The pipeline as the worker runs it: what it measures, what it looks at, and what it lets go."""

from __future__ import annotations

from microscope_tui.engine import measure
from microscope_tui.engine.looks import look
from microscope_tui.engine.open_models import MODELS


class Engine:
    """Answers requests (`measure.run`) and makes looks (`looks.look.run`), with the model that is open in between."""

    measure = staticmethod(measure.run)
    look = staticmethod(look.run)
    free = staticmethod(MODELS.clear)
