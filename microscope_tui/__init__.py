"""microscope_tui: what happens to image and text tokens inside multimodal language models, layer by layer.

`measure` is the one pipeline, the same that the worker and the command line use. It is imported when it is
first asked for, so that the screen, which lives in this package too, never loads torch.
"""

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from microscope_tui.engine.measure import measure

__all__ = ["__version__", "measure"]


def __getattr__(name: str) -> Any:
    if name == "measure":
        from microscope_tui.engine.measure import measure

        return measure
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
