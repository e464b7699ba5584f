"""Values that a worker would make of single examples and rows, made up for the tests."""

from __future__ import annotations

import base64
import math
import random
from functools import lru_cache

from microscope_tui.inspection import (
    Cloud,
    ExampleCard,
    Patch,
    Preview,
    Thumbnail,
    TokenTable,
    WorstToken,
    WorstTokens,
)
from microscope_tui.results import Answer
from microscope_tui.terms import Modality, SliceSpec, Stream
from tests.tui.fake import MODELS, SLICE

WORDS = " the , a of to and in picture shows which animal is this answer : A B C dog cat".split(" ")


@lru_cache
def thumbnail(width: int = 96, height: int = 64) -> Thumbnail:
    """A red disc on a blue ground that grows lighter to the right."""
    data = bytearray()
    for y in range(height):
        for x in range(width):
            inside = math.hypot(x - width / 3, y - height / 2) < height / 3
            data += bytes((220, 60, 40) if inside else (20, 40 + 150 * x // width, 120 + 100 * x // width))
    return Thumbnail(width, height, base64.b64encode(bytes(data)).decode())


def card(index: int = 0, *, chosen: int | None = None, pictures: int = 1) -> ExampleCard:
    return ExampleCard(
        f"row-{index}",
        index,
        f"Which animal is shown in picture {index}?",
        choices=("a dog", "a cat", "a bird"),
        answer=index % 3,
        hint="Look at the ears.",
        pictures=tuple(thumbnail() for _ in range(pictures)),
        chosen=chosen,
        margin=None if chosen is None else 1.25,
    )


def preview(count: int = 12, total: int | None = None, spec: SliceSpec = SLICE, start: int = 0) -> Preview:
    """A page of `count` examples, of which number 3 cannot be read."""
    cards = [card(i) for i in range(start, start + count)]
    if start == 0 and count > 3:
        cards[3] = ExampleCard("row-3", 3, "", hint="its picture is cut off")
    keys = () if start else tuple(f"row-{i}" for i in range(total or count))
    return Preview(spec, total or count, tuple(cards), start, keys)


def answers(count: int = 12, *, every: int = 2) -> tuple[Answer, ...]:
    """Answers of which each `every`-th is wrong; number 3 was skipped."""
    found = []
    for i in range(count):
        if i != 3:
            wrong = i % every == 0
            found.append(Answer(f"row-{i}", (i + wrong) % 3, not wrong, 0.5 + i / 10))
    return tuple(found)


@lru_cache(maxsize=64)
def table(
    model: str = MODELS[0],
    index: int = 0,
    *,
    layers: int = 12,
    text: int = 24,
    side: int = 6,
    tiles: tuple[int, int] = (2, 1),
    mapped: bool = True,
    lens: bool = True,
    seed: int = 0,
) -> TokenTable:
    """An example of LLaVA-NeXT: some text, a picture as a base view of `side`² tokens and `tiles` (across, down) with a
    mark at the end of each row, and `text` tokens behind it. With `side` 24, `tiles` (2, 2): 2,900 tokens."""
    draw = random.Random(seed + index)
    tokens, modality, group, patches = [], [], [], list[Patch | None]()

    def add(word: str, kind: Modality, part: str, patch: Patch | None = None) -> None:
        tokens.append(word)
        modality.append(kind)
        group.append(part)
        patches.append(patch)

    for word in ("<s>", "USER", ":", " "):
        add(word, Modality.TEXT, "special" if word == "<s>" else "")
    for y in range(side):
        for x in range(side):
            add("<image>", Modality.IMAGE, "base", _box(x, y, side, side))
    across, down = tiles
    for y in range(side * down):
        for x in range(side * across):
            add("<image>", Modality.IMAGE, "tiles", _box(x, y, side * across, side * down))
        add("<image>", Modality.IMAGE, "newline")
    for i in range(text):
        add(" " + WORDS[i % len(WORDS)], Modality.TEXT, "")
    count = len(tokens)

    def levels(rows: int, low: float, high: float) -> tuple[tuple[float, ...], ...]:
        """Smooth over the picture and the layers, larger for image tokens, with one massive token."""
        lines = []
        for layer in range(rows):
            line = []
            for t in range(count):
                patch = patches[t]
                place = (
                    0.2 if patch is None else 0.3 + 0.6 * math.exp(-8 * math.hypot(patch.left - 0.3, patch.top - 0.4))
                )
                share = place * (0.5 + 0.5 * math.sin(layer / 3 + t / 40)) + 0.05 * draw.random()
                line.append(low + (high - low) * share + (40 * high if t == 0 and layer > 2 else 0))
            lines.append(tuple(line))
        return tuple(lines)

    residual = levels(layers, 0.02, 1.4) if mapped else ()
    words = [tuple((draw.choice(WORDS) or " x", 0.5 / (k + 1)) for k in range(3)) for _ in range(97)]
    return TokenTable(
        model=model,
        slice=SLICE,
        card=card(index, chosen=0),
        tokens=tuple(tokens),
        modality=tuple(modality),
        group=tuple(group),
        norm=levels(layers + 1, 2.0, 30.0),
        update=levels(layers, 0.05, 0.9),
        residual=residual,
        lens=tuple(tuple(words[(7 * layer + t) % 97] for t in range(count)) for layer in range(layers + 1))
        if lens
        else (),
        patches=tuple(patches),
        fitted=180 if mapped else 0,
        notes=() if mapped else ("no linear map: this slice is not measured yet",),
        walked=200,
    )


def _box(x: int, y: int, across: int, down: int) -> Patch:
    return Patch(0, x / across, y / down, (x + 1) / across, (y + 1) / down)


def worst(model: str = MODELS[0], layers: int = 12) -> WorstTokens:
    """Of each modality two tokens a layer."""

    def token(layer: int, place: int) -> WorstToken:
        text = place % 2 == 0
        kind, word, group = (Modality.TEXT, " dog", "") if text else (Modality.IMAGE, "<image>", "base")
        position = 110 + layer % 8 if text else 4 + layer
        return WorstToken(f"row-{place}", place, position, word, kind, group, 4.0 - place / 2 - layer / 100)

    found = tuple(tuple(token(layer, place) for place in range(4)) for layer in range(layers))
    return WorstTokens(model, SLICE, found, {"text": 800, "image": 3200}, 200)


def cloud(model: str = MODELS[0], stream: Stream = Stream.RESIDUAL, layers: int = 13, rows: int = 300) -> Cloud:
    """Two clouds that drift apart with the layers, and one row far out."""
    draw = random.Random(1)
    kinds = tuple(Modality.IMAGE if i % 3 else Modality.TEXT for i in range(rows))

    def point(i: int, layer: int) -> tuple[float, float]:
        shift = layer if kinds[i] is Modality.IMAGE else -layer
        return (500.0, 400.0) if i == 0 else (shift + draw.gauss(0, 2), draw.gauss(0, 2))

    points = tuple(tuple(point(i, layer) for i in range(rows)) for layer in range(layers))
    shares = tuple(0.3 + 0.05 * layer for layer in range(layers))
    examples = tuple(f"row-{i % 20}" for i in range(rows))
    return Cloud(model, SLICE, stream, kinds, examples, points, shares, walked=200, layers=layers)
