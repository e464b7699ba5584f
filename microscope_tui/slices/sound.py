"""Bytes of a sound file in, its samples out."""

from __future__ import annotations

import io
import wave
from dataclasses import dataclass
from importlib import import_module

import numpy as np
import numpy.typing as npt

from microscope_tui.settings import how_to_install

PIPED = 2**31 - 2**16
"""Bytes of sound. A header that announces more was written before the length was known, as by ffmpeg into a pipe."""


class BadSound(Exception):
    """The bytes are no sound that can be used; its text is the reason, to follow "its sound …"."""


@dataclass(frozen=True, eq=False)
class Audio:
    """Sound of one channel: `samples` (n,) of float32 in −1 … 1, `rate` of them a second."""

    samples: npt.NDArray[np.float32]
    rate: int

    @property
    def seconds(self) -> float:
        return len(self.samples) / self.rate


def decode_sound(data: bytes) -> Audio:
    """The sound of a file, its channels averaged, at the file's own rate. Raises `BadSound`.

    WAV of whole numbers (8 to 32 bits) is read by Python itself, everything else by `soundfile` if it is there.
    """
    if not data:
        raise BadSound("is empty (0 bytes)")
    try:
        audio = _of_wave(data)
    except BadSound:
        raise
    # Damaged headers make the wave module raise RuntimeError, ValueError and others beside its own error.
    except Exception as error:
        audio = _of_soundfile(data, str(error) or "it is cut off")
    if not len(audio.samples):
        raise BadSound("has no samples")
    return audio


def _of_wave(data: bytes) -> Audio:
    with wave.open(io.BytesIO(data)) as file:
        width, channels, rate = file.getsampwidth(), file.getnchannels(), file.getframerate()
        if rate <= 0 or width not in (1, 2, 3, 4):
            raise wave.Error(f"{8 * width} bits at {rate} Hz")
        count = file.getnframes()
        frames = file.readframes(count)
    if len(frames) < count * width * channels and count * width * channels < PIPED:
        raise BadSound(f"is cut off after {len(frames) // (width * channels):,} of {count:,} samples")
    whole = np.frombuffer(frames[: len(frames) // (width * channels) * width * channels], dtype=np.uint8)
    # Each sample goes into the upper bytes of 32 bits, so that all widths have one scale.
    wide = np.zeros((len(whole) // width, 4), dtype=np.uint8)
    wide[:, 4 - width :] = whole.reshape(-1, width)
    if width == 1:
        wide[:, 3] ^= 0x80  # WAV's bytes alone are unsigned
    samples = wide.view("<i4").reshape(-1, channels).astype(np.float64) / 2**31
    return Audio(samples.mean(axis=1).astype(np.float32), rate)


def _of_soundfile(data: bytes, reason: str) -> Audio:
    try:
        soundfile = import_module("soundfile")
    except (ImportError, OSError):  # an OSError where the C library is missing
        need = f"and others need soundfile: {how_to_install('media')}"
        raise BadSound(f"is no WAV file of whole numbers ({reason}), {need}") from None
    try:
        samples, rate = soundfile.read(io.BytesIO(data), dtype="float32", always_2d=True)
    except Exception as error:
        raise BadSound("is corrupt, or in no known format of sound") from error
    return Audio(samples.mean(axis=1, dtype=np.float32), int(rate))
