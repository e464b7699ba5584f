"""What an example shows beside its text, as processors take it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from microscope_tui.slices.examples import Example
from microscope_tui.slices.sound import Audio
from microscope_tui.terms import Modality

NOUNS: Mapping[Modality, str] = {Modality.IMAGE: "picture", Modality.VIDEO: "video", Modality.AUDIO: "sound"}
"""What people call one of each."""


def shown_by(example: Example) -> dict[Modality, int]:
    """How many pictures, videos and sounds an example has; only kinds that it has some of."""
    shown = {Modality.IMAGE: example.images, Modality.VIDEO: example.videos, Modality.AUDIO: example.audios}
    return {modality: len(items) for modality, items in shown.items() if items}


def processor_inputs(examples: Sequence[Example], rate: int | None) -> dict[str, Any]:
    """The arguments of a processor for examples that all show the same kinds of things.

    Pictures are lists, one an example; videos are lists of frames and sounds arrays at `rate` samples a second, both
    in the order of their places in the prompts.
    """
    inputs: dict[str, Any] = {}
    if any(example.images for example in examples):
        inputs["images"] = [[picture.convert("RGB") for picture in example.images] for example in examples]
    if videos := [film for example in examples for film in example.videos]:
        inputs["videos"] = [[frame.convert("RGB") for frame in film] for film in videos]
    if sounds := [audio for example in examples for audio in example.audios]:
        if rate is None:
            raise ValueError("the processor does not say how many samples a second it takes")
        inputs |= {"audio": [at_rate(audio, rate) for audio in sounds], "sampling_rate": rate}
    return inputs


def at_rate(audio: Audio, rate: int) -> npt.NDArray[np.float32]:
    """The samples of a sound at another rate: its spectrum cut off, or filled up with zeros, at the new one's end."""
    if audio.rate == rate:
        return audio.samples
    count = max(1, round(len(audio.samples) * rate / audio.rate))
    spectrum = np.fft.rfft(audio.samples.astype(np.float64))
    kept = spectrum[: count // 2 + 1]
    return (np.fft.irfft(kept, count) * (count / len(audio.samples))).astype(np.float32)
