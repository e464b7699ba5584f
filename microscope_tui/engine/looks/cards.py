"""Examples as people read them: their words, and their pictures made small."""

from __future__ import annotations

import base64

from PIL.Image import Image, Resampling

from microscope_tui.engine.looks.looking import Tell
from microscope_tui.errors import BadExample
from microscope_tui.inspection import PAGE, ExampleCard, Preview, Thumbnail
from microscope_tui.models.words import printable
from microscope_tui.slices import Example, Slice
from microscope_tui.terms import Progress

SMALL, LARGE = 48, 128
"""Pixels of the longer side of a picture: in a list, and by itself."""


def preview(slice_: Slice, start: int, tell: Tell) -> Preview:
    """The page of a slice that begins at example number `start`."""
    cards = []
    page = range(start, min(start + PAGE, len(slice_)))
    for i in page:
        tell(Progress("reading examples", i - start, len(page)))
        try:
            cards.append(card_of(slice_.example(i), i, SMALL))
        except BadExample as error:
            cards.append(ExampleCard(slice_.keys[i], i, "", hint=harmless(error.reason)))
    return Preview(slice_.spec, len(slice_), tuple(cards), start, () if start else slice_.keys)


def card_of(example: Example, index: int, edge: int, choice: tuple[int, float] | None = None) -> ExampleCard:
    """The card of an example with pictures of at most `edge` pixels: its images, then the first frame of each video.

    `choice` is the option that the model takes, and its margin, if that is known.
    """
    pictures = (*example.images, *(film[0] for film in example.videos if film))
    return ExampleCard(
        example.key,
        index,
        harmless(example.question),
        choices=tuple(map(harmless, example.choices)),
        answer=example.answer,
        hint=harmless(example.hint),
        pictures=tuple(thumbnail(picture, edge) for picture in pictures),
        chosen=choice and choice[0],
        margin=choice and choice[1],
    )


def thumbnail(picture: Image, edge: int) -> Thumbnail:
    """A picture made to fit into a square of `edge` pixels, never larger than it is."""
    small = picture.convert("RGB")
    small.thumbnail((edge, edge), Resampling.LANCZOS)
    return Thumbnail(small.width, small.height, base64.b64encode(small.tobytes()).decode())


def harmless(text: str) -> str:
    """A text without what a terminal could take for a command: control characters but line ends are escaped."""
    return "\n".join(map(printable, text.split("\n")))
