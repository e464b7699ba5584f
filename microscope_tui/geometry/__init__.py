"""Geometry of token rows: rows in, numbers out. Knows no model, no file, no screen; needs torch only.

    from microscope_tui.geometry import linearity, dimension, anisotropy

Each takes plain arrays (n, d) and returns a `microscope_tui.results.Estimate`.
"""

from microscope_tui.geometry.anisotropy import anisotropy
from microscope_tui.geometry.dimension import dimension
from microscope_tui.geometry.linearity import linearity

__all__ = ["anisotropy", "dimension", "linearity"]
