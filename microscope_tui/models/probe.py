"""Small examples made here, which a model is tried with."""

from __future__ import annotations

import numpy as np
from PIL import Image

from microscope_tui.models.base import OpenModel
from microscope_tui.slices.examples import Example
from microscope_tui.slices.sound import Audio
from microscope_tui.terms import Modality


def probe(modality: Modality) -> Example:
    """A small example made here, with one thing of a modality: a short question, and a picture of two slopes, 64 × 48
    pixels, or four such frames, or half a second of a tone. `Modality.TEXT` is the question alone."""
    slope = Image.linear_gradient("L").resize((64, 48))
    image = Image.merge("RGB", (slope, slope.transpose(Image.Transpose.ROTATE_180), slope))
    tone = np.sin(np.arange(8000) * (2 * np.pi * 440 / 16000)).astype(np.float32)
    return Example(
        key="probe",
        images=(image,) if modality is Modality.IMAGE else (),
        videos=((image,) * 4,) if modality is Modality.VIDEO else (),
        audios=(Audio(tone, 16000),) if modality is Modality.AUDIO else (),
        question="What is in the middle?",
        choices=("a line", "a dot"),
        answer=None,
        hint="",
        meta={},
    )


def shown_first(model: OpenModel) -> Modality:
    """What a probe shows to a model: a picture if it takes one, else a video or a sound."""
    return next((m for m in model.modalities if m is not Modality.TEXT), Modality.TEXT)
