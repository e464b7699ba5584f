"""Bytes of a picture in, an upright RGB picture out, whatever the bytes are."""

from __future__ import annotations

import io
import warnings

from PIL import Image, ImageOps, UnidentifiedImageError

FORMATS = ("PNG", "JPEG", "MPO", "GIF", "WEBP", "BMP", "DIB", "TIFF", "PPM", "JPEG2000", "AVIF")
"""What is decoded. Not Pillow's whole list: its EPS reader starts Ghostscript on the file."""

SUFFIXES = (
    *(".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".gif", ".webp", ".bmp", ".dib"),
    *(".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".jp2", ".j2k", ".avif"),
)
"""How the names of such files end, in lower case."""

MAX_PIXELS = 1024 * 1024 * 1024 // 4 // 3
"""Pillow's own threshold for a decompression bomb (89 million pixels), here an error and not a warning."""


class BadPicture(Exception):
    """The bytes are no picture that can be used; its text is the reason, to follow "its picture …"."""


def decode(data: bytes) -> Image.Image:
    """The picture as an evaluation of a vision-language model sees it: RGB, turned as its EXIF says.

    Of an animation it is the first frame. Transparency is dropped, not blended, as `convert("RGB")` and with
    it the processors of transformers do. Raises `BadPicture`.
    """
    if not data:
        raise BadPicture("is empty (0 bytes)")
    try:
        with warnings.catch_warnings():
            # Pillow warns of oddities that it copes with, and stderr may be somebody's screen.
            warnings.simplefilter("ignore")
            return _decoded(data)
    except BadPicture:
        raise
    except UnidentifiedImageError:
        raise BadPicture("is corrupt (not in a known picture format)") from None
    except Image.DecompressionBombError as error:
        raise BadPicture(f"is too large to decode ({error})") from error
    # Pillow's readers meet damaged bytes with nearly any exception: SyntaxError, struct.error, IndexError, …
    except Exception as error:
        raise BadPicture(f"is corrupt ({_reason(error)})") from error


def _decoded(data: bytes) -> Image.Image:
    Image.init()
    with Image.open(io.BytesIO(data), formats=[name for name in FORMATS if name in Image.OPEN]) as picture:
        width, height = picture.size
        if width * height > MAX_PIXELS:
            raise BadPicture(f"is too large to decode ({width} × {height} pixels)")
        picture.load()
        upright = ImageOps.exif_transpose(picture)
        if upright.mode.startswith("I;16"):
            # Pillow clips 16-bit grey at 255, which turns nearly every such picture white.
            upright = upright.point(lambda value: value * (1 / 256) + 0).convert("L")
        return upright.convert("RGB")


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text if text and len(text) < 120 else type(error).__name__
