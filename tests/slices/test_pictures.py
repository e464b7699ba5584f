from __future__ import annotations

import io
import random
import struct
import warnings
import zlib

import pytest
from PIL import Image

from microscope_tui.slices.pictures import BadPicture, decode

from .conftest import encode, png


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
@pytest.mark.parametrize("size", [(1, 1), (7, 5)])
def test_every_mode_of_png_becomes_rgb(mode: str, size: tuple[int, int]) -> None:
    found = decode(encode(Image.new(mode, size), "PNG"))
    assert (found.mode, found.size) == ("RGB", size)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF", "PPM", "JPEG2000"])
def test_the_usual_formats(kind: str) -> None:
    found = decode(encode(Image.new("RGB", (16, 16), (200, 30, 60)), kind))
    pixel = found.getpixel((8, 8))
    assert isinstance(pixel, tuple)
    assert all(abs(a - b) <= 4 for a, b in zip(pixel, (200, 30, 60), strict=True))


def test_cmyk_is_converted() -> None:
    found = decode(encode(Image.new("CMYK", (16, 16), (0, 255, 255, 0)), "JPEG", quality=95))
    red, green, blue = found.getpixel((8, 8))  # type: ignore[misc]  # RGB, hence a tuple of three
    assert red > 240
    assert green < 15
    assert blue < 15


def test_sixteen_bit_grey_is_scaled_and_not_clipped() -> None:
    picture = Image.new("I;16", (3, 1))
    for x, value in enumerate((0, 32768, 65535)):
        picture.putpixel((x, 0), value)
    found = decode(encode(picture, "PNG"))
    assert [found.getpixel((x, 0)) for x in range(3)] == [(0, 0, 0), (128, 128, 128), (255, 255, 255)]


@pytest.mark.parametrize(("orientation", "corner"), [(1, (0, 0)), (3, (7, 3)), (6, (3, 0)), (8, (0, 7))])
def test_a_rotated_picture_is_turned_upright(orientation: int, corner: tuple[int, int]) -> None:
    """The red corner of the stored picture goes where a viewer that follows EXIF shows it (TIFF 6.0, tag 274)."""
    picture = Image.new("RGB", (8, 4))
    picture.putpixel((0, 0), (255, 0, 0))
    exif = Image.Exif()
    exif[274] = orientation
    found = decode(encode(picture, "PNG", exif=exif))
    assert found.size == ((8, 4) if orientation in (1, 3) else (4, 8))
    assert found.getpixel(corner) == (255, 0, 0)


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_of_an_animation_the_first_frame_is_taken(kind: str) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ((255, 0, 0), (0, 255, 0))]
    options = {"lossless": True} if kind == "WEBP" else {}
    found = decode(encode(frames[0], kind, save_all=True, append_images=frames[1:], **options))
    assert found.getpixel((4, 4)) == (255, 0, 0)


def test_palette_with_transparency_keeps_its_colours_without_a_warning() -> None:
    picture = Image.new("P", (4, 4), 1)
    picture.putpalette([0, 0, 0, 10, 200, 30])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert decode(encode(picture, "PNG", transparency=bytes([0, 128]))).getpixel((0, 0)) == (10, 200, 30)


@pytest.mark.parametrize("side", [10_000, 60_000])
def test_a_decompression_bomb_is_refused_before_it_is_decoded(side: int) -> None:
    """100 million and 3.6 billion pixels announced by a header; no such picture follows."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
    bomb = b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    with pytest.raises(BadPicture, match="too large to decode"):
        decode(bomb)


def test_postscript_is_not_handed_to_an_interpreter() -> None:
    with pytest.raises(BadPicture, match="not in a known picture format"):
        decode(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n")


@pytest.mark.parametrize("data", [b"", b"\0", b"no picture at all", png((1, 2, 3))[:50]])
def test_what_is_no_picture_is_a_bad_picture(data: bytes) -> None:
    with pytest.raises(BadPicture):
        decode(data)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF"])
def test_damaged_bytes_give_a_picture_or_a_bad_picture(kind: str, capfd: pytest.CaptureFixture[str]) -> None:
    chance = random.Random(kind)
    noise = Image.frombytes("RGB", (16, 16), chance.randbytes(16 * 16 * 3))
    whole = encode(noise, kind)
    reasons = []
    for _ in range(150):
        damaged = bytearray(whole)
        for _ in range(chance.randint(1, 8)):
            damaged[chance.randrange(min(len(damaged), 200))] = chance.randrange(256)
        try:
            assert decode(bytes(damaged[: chance.randint(20, len(damaged))])).mode == "RGB"
        except BadPicture as error:
            reasons.append(str(error))
    assert reasons
    assert not [reason for reason in reasons if "\n" in reason or "object at 0x" in reason]
    assert capfd.readouterr() == ("", "")


def test_the_picture_needs_its_bytes_no_longer() -> None:
    found = decode(png((1, 2, 3)))
    copy = io.BytesIO()
    found.save(copy, "PNG")
    assert copy.getvalue()
