"""Geometry of token rows: rows in, numbers out. Knows no model, no file, no screen; needs torch and numpy only.

    from microscope_tui.geometry import linearity, dimension, anisotropy

Each takes plain arrays (n, d) and returns a `microscope_tui.results.Estimate`. Beside the three stand controls, the
curves over scales and over n, and residuals: docs/geometry.md shows them at work.
"""

from microscope_tui.geometry.anisotropy import anisotropy
from microscope_tui.geometry.controls import (
    Ladder,
    gaussian_surrogate,
    ladder,
    rms_normalise,
    shuffle_coordinates,
    shuffle_tokens,
)
from microscope_tui.geometry.curves import dimension_against_size
from microscope_tui.geometry.dimension import dimension
from microscope_tui.geometry.gride import ScalePoint, gride_curve
from microscope_tui.geometry.linearity import linearity
from microscope_tui.geometry.residuals import Residuals, residuals

__all__ = [
    "Ladder",
    "Residuals",
    "ScalePoint",
    "anisotropy",
    "dimension",
    "dimension_against_size",
    "gaussian_surrogate",
    "gride_curve",
    "ladder",
    "linearity",
    "residuals",
    "rms_normalise",
    "shuffle_coordinates",
    "shuffle_tokens",
]
