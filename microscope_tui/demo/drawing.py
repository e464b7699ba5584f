"""The pictures of the demo questions: small, flat and deterministic.

A painter takes the facts of a question (what there is and where) and a random generator that only decides what
does not matter (shades, small shifts). Every picture is 96×96, 96×48 or 48×96 pixels: one to four tiles of 48.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import Any

from PIL import Image, ImageDraw

Facts = Mapping[str, Any]
Colour = tuple[int, int, int]
Painter = Callable[[Facts, Random], Image.Image]

COLOURS: Mapping[str, Colour] = {
    "red": (220, 40, 40),
    "blue": (40, 70, 220),
    "green": (30, 160, 60),
    "yellow": (235, 205, 30),
    "purple": (140, 50, 170),
    "orange": (240, 130, 20),
}
SHAPES = ("circle", "square", "triangle", "star")
ORGANISMS = ("grass", "insect", "frog", "bird", "snake", "fox")
BACKGROUNDS: Sequence[Colour] = ((255, 255, 255), (245, 245, 235), (235, 245, 250), (250, 240, 245))
BLACK, WHITE = (0, 0, 0), (255, 255, 255)
TILE = 48


def counted(facts: Facts, rng: Random) -> Image.Image:
    """Shapes of two colours in some cells of a 3×3 grid. Facts: `things`, a list of (colour, shape, cell)."""
    image, draw = _canvas(96, 96, rng)
    for colour, shape, cell in facts["things"]:
        x, y = 16 + 32 * (cell % 3) + rng.randint(-3, 3), 16 + 32 * (cell // 3) + rng.randint(-3, 3)
        _shape(draw, shape, x, y, rng.randint(10, 12), _shade(colour, rng))
    return image


def coloured(facts: Facts, rng: Random) -> Image.Image:
    """Two or three different shapes in a row. Facts: `things`, a list of (colour, shape, place 0–2)."""
    image, draw = _canvas(96, 48, rng)
    for colour, shape, place in facts["things"]:
        x, y = 16 + 32 * place + rng.randint(-2, 2), 24 + rng.randint(-6, 6)
        _shape(draw, shape, x, y, rng.randint(11, 13), _shade(colour, rng))
    return image


def bars(facts: Facts, rng: Random) -> Image.Image:
    """A chart of four bars. Facts: `bars`, a list of (colour, height 1–8)."""
    image, draw = _canvas(96, 96, rng)
    draw.line([6, 4, 6, 90], fill=BLACK, width=2)
    draw.line([6, 90, 94, 90], fill=BLACK, width=2)
    for place, (colour, height) in enumerate(facts["bars"]):
        left = 11 + 21 * place
        draw.rectangle([left, 90 - 10 * height, left + 15, 89], fill=_shade(colour, rng))
    return image


def magnets(facts: Facts, rng: Random) -> Image.Image:
    """Two pairs of bar magnets. Facts: `north_left` of top left, top right, bottom left, bottom right; `shift`."""
    image, draw = _canvas(96, 48, rng)
    for place, north_left in enumerate(facts["north_left"]):
        x, y = (6, 52)[place % 2] + facts["shift"][0], (12, 36)[place // 2] + facts["shift"][1]
        for half, north in ((0, north_left), (1, not north_left)):
            left = x + 19 * half
            draw.rectangle([left, y - 8, left + 18, y + 8], fill=_shade("red" if north else "blue", rng))
            draw.text((left + 6, y - 6), "N" if north else "S", fill=WHITE)
    return image


def town_map(facts: Facts, rng: Random) -> Image.Image:
    """A house and a lake on a 5×5 grid. Facts: `house`, `lake`, each (column, row); `shift` of the grid."""
    image, draw = _canvas(96, 96, rng)
    right, down = facts["shift"]
    for k in range(6):
        draw.line([3 + 18 * k + right, 3, 3 + 18 * k + right, 93], fill=(200, 200, 200))
        draw.line([3, 3 + 18 * k + down, 93, 3 + 18 * k + down], fill=(200, 200, 200))
    x, y = 12 + 18 * facts["house"][0] + right, 12 + 18 * facts["house"][1] + down
    draw.rectangle([x - 6, y - 3, x + 6, y + 7], fill=(150, 90, 40))
    draw.polygon([(x - 8, y - 3), (x + 8, y - 3), (x, y - 9)], fill=(200, 40, 40))
    x, y = 12 + 18 * facts["lake"][0] + right, 12 + 18 * facts["lake"][1] + down
    draw.ellipse([x - 7, y - 7, x + 7, y + 7], fill=_shade("blue", rng))
    return image


def thermometer(facts: Facts, rng: Random) -> Image.Image:
    """A column over a scale of eleven marks. Facts: `level` 0–10, `shift` in pixels."""
    image, draw = _canvas(48, 96, rng)
    x, red = 24 + facts["shift"], _shade("red", rng)
    draw.rectangle([x - 5, 3, x + 5, 84], outline=(60, 60, 60), fill=WHITE)
    draw.ellipse([x - 9, 78, x + 9, 95], fill=red)
    draw.rectangle([x - 3, 80 - 7 * facts["level"], x + 3, 84], fill=red)
    for mark in range(11):
        draw.line([x + 6, 80 - 7 * mark, x + (13 if mark % 5 == 0 else 9), 80 - 7 * mark], fill=BLACK)
    return image


def food_chain(facts: Facts, rng: Random) -> Image.Image:
    """Three organisms and two arrows the same way. Facts: `organisms`, left to right; `rightwards`."""
    image, draw = _canvas(96, 48, rng)
    for place, organism in enumerate(facts["organisms"]):
        _organism(draw, organism, 14 + 34 * place, 24 + rng.randint(-5, 5))
    for left, right in ((27, 34), (61, 68)):
        start, end = (left, right) if facts["rightwards"] else (right, left)
        sign = 1 if end > start else -1
        draw.line([start, 24, end, 24], fill=BLACK, width=2)
        draw.polygon([(end + 3 * sign, 24), (end - 3 * sign, 20), (end - 3 * sign, 28)], fill=BLACK)
    return image


def particles(facts: Facts, rng: Random) -> Image.Image:
    """A box of particles. Facts: `state` (solid, liquid, gas), `colour`, `count` of loose ones, `shift` of rows."""
    image, draw = _canvas(96, 96, rng)
    colour, (right, down) = _shade(facts["colour"], rng), facts["shift"]
    draw.rectangle([8, 8, 88, 88], outline=BLACK, width=2)
    if facts["state"] == "solid":
        centres = [(26 + right + 9 * i, 30 + down + 9 * j) for i in range(6) for j in range(6)]
    else:
        top = 46 if facts["state"] == "liquid" else 14
        centres = [(rng.randint(14, 82), rng.randint(top, 82)) for _ in range(facts["count"])]
    for x, y in centres:
        draw.ellipse([x - 4, y - 4, x + 4, y + 4], fill=colour)
    return image


def animal(facts: Facts, rng: Random) -> Image.Image:
    """A body with legs, seen from above. Facts: `legs` (4, 6, 8), `shade`, `shift` (x, y), `facing` (−1, 1)."""
    image, draw = _canvas(96, 48, rng)
    x, y = 48 + facts["shift"][0], 24 + facts["shift"][1]
    colour = _vary(((60, 40, 30), (30, 30, 30), (70, 70, 40))[facts["shade"]], rng)
    head = x + 26 * facts["facing"]
    draw.ellipse([x - 22, y - 7, x + 22, y + 7], fill=colour)
    draw.ellipse([head - 7, y - 6, head + 7, y + 6], fill=colour)
    pairs = facts["legs"] // 2
    for k in range(pairs):
        root = x - 18 + 36 * k / (pairs - 1)
        for side in (-1, 1):
            foot = root + (k - (pairs - 1) / 2) * 3
            draw.line([root, y, foot, y + side * rng.randint(15, 19)], fill=colour, width=2)
    return image


def moon(facts: Facts, rng: Random) -> Image.Image:
    """The moon among stars. Facts: `phase` (crescent, half, gibbous, full), `lit` (−1 left, 1 right), `place`."""
    image = Image.new("RGB", (96, 48), _vary((20, 20, 45), rng))
    draw = ImageDraw.Draw(image)
    for _ in range(rng.randint(6, 12)):
        star = (rng.randint(1, 94), rng.randint(1, 46))
        draw.point([star, (star[0] + 1, star[1])], fill=(220, 220, 220))
    (x, y), radius, light = facts["place"], 16, _vary((235, 230, 200), rng)
    draw.ellipse([x - radius, y - radius, x + radius, y + radius], fill=(70, 70, 85))
    # The border of light and shade is half an ellipse; its width over the radius says how much is lit.
    bulge = {"crescent": -0.6, "half": 0.0, "gibbous": 0.6, "full": 1.0}[facts["phase"]]
    for dy in range(-radius, radius + 1):
        half = math.sqrt(radius**2 - dy**2)
        ends = sorted((x + facts["lit"] * half, x - facts["lit"] * bulge * half))
        draw.line([ends[0], y + dy, ends[1], y + dy], fill=light)
    return image


def tiles_of(image: Image.Image) -> list[Image.Image]:
    """The whole picture in one tile, then its tiles row by row: what LLaVA-NeXT's processor cuts from it."""
    width, height = image.size
    crops = [(x, y, x + TILE, y + TILE) for y in range(0, height, TILE) for x in range(0, width, TILE)]
    return [image.resize((TILE, TILE), Image.Resampling.BICUBIC), *(image.crop(box) for box in crops)]


def _canvas(width: int, height: int, rng: Random) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    image = Image.new("RGB", (width, height), rng.choice(BACKGROUNDS))
    return image, ImageDraw.Draw(image)


def _shade(colour: str, rng: Random) -> Colour:
    return _vary(COLOURS[colour], rng)


def _vary(colour: Colour, rng: Random) -> Colour:
    red, green, blue = (max(0, min(255, value + rng.randint(-18, 18))) for value in colour)
    return red, green, blue


def _shape(draw: ImageDraw.ImageDraw, shape: str, x: int, y: int, r: int, colour: Colour) -> None:
    match shape:
        case "circle":
            draw.ellipse([x - r, y - r, x + r, y + r], fill=colour)
        case "square":
            draw.rectangle([x - r + 1, y - r + 1, x + r - 1, y + r - 1], fill=colour)
        case "triangle":
            draw.polygon([(x, y - r), (x - r, y + r), (x + r, y + r)], fill=colour)
        case _:
            reach = [r if i % 2 == 0 else 0.42 * r for i in range(10)]
            angle = [i * math.pi / 5 for i in range(10)]
            corners = [(x + k * math.sin(a), y - k * math.cos(a)) for k, a in zip(reach, angle, strict=True)]
            draw.polygon(corners, fill=colour)


def _organism(draw: ImageDraw.ImageDraw, name: str, x: int, y: int, r: int = 9) -> None:
    match name:
        case "grass":
            for k in (-6, -2, 2, 6):
                draw.line([x + 0.5 * k, y + r, x + 1.3 * k, y - r], fill=COLOURS["green"], width=2)
        case "insect":
            draw.ellipse([x - 5, y - 4, x + 5, y + 4], fill=(40, 40, 40))
            for k in (-4, 0, 4):
                draw.line([x + k, y - 9, x + k, y + 9], fill=(40, 40, 40))
        case "frog":
            draw.ellipse([x - r, y - 5, x + r, y + 7], fill=(90, 190, 60))
            for eye in (x - 7, x + 2):
                draw.ellipse([eye, y - 9, eye + 5, y - 4], fill=(20, 90, 20))
        case "bird":
            draw.polygon([(x - r, y), (x + 3, y - 7), (x + r, y), (x + 3, y + 7)], fill=COLOURS["blue"])
            draw.polygon([(x + r - 2, y - 2), (x + r + 3, y), (x + r - 2, y + 2)], fill=COLOURS["orange"])
        case "snake":
            points = [(x - r, y + 4), (x - 5, y - 5), (x, y + 4), (x + 5, y - 5), (x + r, y + 4)]
            draw.line(points, fill=COLOURS["purple"], width=4)
        case _:
            draw.polygon([(x - r, y - r), (x + r, y - r), (x, y + r)], fill=COLOURS["orange"])
            draw.polygon([(x - 3, y + 3), (x + 3, y + 3), (x, y + r)], fill=WHITE)
