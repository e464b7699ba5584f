"""The fourteen families of questions: what each asks, shows and answers.

A maker draws the contents of one question: its words, its choices with the right one first named by `word`, what
the picture shows (`facts`, for the painter) and the same as class numbers (`attributes`, for the vision encoder).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from microscope_tui.demo import drawing
from microscope_tui.demo.drawing import COLOURS, ORGANISMS, SHAPES

NAMES = tuple(COLOURS)


@dataclass(frozen=True)
class Family:
    """A kind of question, and the columns that ScienceQA gives it. `weight`: how often it is asked in training."""

    make: Callable[[Random], dict[str, Any]]
    painter: drawing.Painter | None
    subject: str
    topic: str
    category: str
    skill: str
    grade: str
    lecture: str
    weight: float = 1.0


def _choose(rng: Random, word: str, pool: Sequence[str], count: int) -> list[str]:
    return [word, *rng.sample([other for other in pool if other != word], count - 1)]


def _a(word: str) -> str:
    return f"{'an' if word[0] in 'aeiou' else 'a'} {word}"


def _at(thing: str, place: tuple[int, int]) -> str:
    return f"The {thing} is in column {place[0] + 1} and row {place[1] + 1}."


def _shift(rng: Random, most: int = 2) -> list[int]:
    return [rng.randint(-most, most), rng.randint(-most, most)]


def _listed(words: Sequence[str]) -> str:
    return ", ".join(words)


def _counting(rng: Random) -> dict[str, Any]:
    first, second = rng.sample(NAMES, 2)
    many = rng.randint(1, 6)
    few = rng.randint(1, min(3, 9 - many))
    cells = rng.sample(range(9), many + few)
    shapes = rng.choice(SHAPES), rng.choice(SHAPES)
    things = [(first, shapes[0], c) for c in cells[:many]] + [(second, shapes[1], c) for c in cells[many:]]
    asked, number, top = (first, many, 6) if rng.random() < 0.75 else (second, few, 3)
    counts = dict.fromkeys(NAMES, 0) | {first: many, second: few}
    return {
        "question": f"How many {asked} shapes are there?",
        "word": str(number),
        "choices": _choose(rng, str(number), [str(n) for n in range(1, top + 1)], 4 if top == 6 else 3),
        "solution": f"There are {many} {first} and {few} {second} shapes.",
        "facts": {"things": sorted(things, key=lambda t: t[2])},
        "attributes": {f"count {colour}": n for colour, n in counts.items()},
    }


def _colours(rng: Random) -> dict[str, Any]:
    number = rng.randint(2, 3)
    shapes, colours, places = rng.sample(SHAPES, number), rng.sample(NAMES, number), rng.sample(range(3), number)
    asked = rng.randrange(number)
    by_shape = rng.random() < 0.5
    word, pool = (colours[asked], NAMES) if by_shape else (shapes[asked], SHAPES)
    listed = _listed([f"{_a(c)} {s}" for _, s, c in sorted(zip(places, shapes, colours, strict=True))])
    seen = {s: NAMES.index(c) for s, c in zip(shapes, colours, strict=True)}
    return {
        "question": f"Which color is the {shapes[asked]}?" if by_shape else f"Which shape is {colours[asked]}?",
        "word": word,
        "choices": _choose(rng, word, pool, 4),
        "solution": f"The picture shows {listed}.",
        "facts": {"things": sorted(zip(colours, shapes, places, strict=True), key=lambda t: t[2])},
        "attributes": {f"color of {shape}": seen.get(shape, len(NAMES)) for shape in SHAPES},
    }


def _bar_chart(rng: Random) -> dict[str, Any]:
    colours, heights = rng.sample(NAMES, 4), rng.sample(range(1, 9), 4)
    tallest = rng.random() < 0.5
    order = [colour for _, colour in sorted(zip(heights, colours, strict=True))]
    attributes = {f"bar {i} color": NAMES.index(c) for i, c in enumerate(colours)}
    return {
        "question": f"The chart shows the height of plants. Which plant is the {'tallest' if tallest else 'shortest'}?",
        "word": order[-1 if tallest else 0],
        "choices": colours,
        "solution": f"From shortest to tallest the bars are {_listed(order)}.",
        "facts": {"bars": list(zip(colours, heights, strict=True))},
        "attributes": attributes | {f"bar {i} height": h - 1 for i, h in enumerate(heights)},
    }


def _magnets(rng: Random) -> dict[str, Any]:
    north_left = [rng.random() < 0.5 for _ in range(4)]
    # Facing poles differ, and so attract, if both magnets of a pair lie the same way round.
    top, bottom = ("attract" if a == b else "repel" for a, b in (north_left[:2], north_left[2:]))
    # The pole of the left magnet at its right end, and the pole of the right magnet at its left end.
    ends = (("south" if a else "north", "north" if b else "south") for a, b in (north_left[:2], north_left[2:]))
    above, below = (" faces ".join(pair) for pair in ends)
    asked = rng.choice(("top", "bottom"))
    return {
        "question": f"Will the magnets in the {asked} pair attract or repel each other?",
        "word": top if asked == "top" else bottom,
        "choices": ("attract", "repel"),
        "hint": "Red is the north pole and blue is the south pole." if rng.random() < 0.5 else "",
        "solution": f"In the top pair {above}, so they {top}. In the bottom pair {below}, so they {bottom}.",
        "facts": {"north_left": north_left, "shift": _shift(rng)},
        "attributes": {f"magnet {i}": int(n) for i, n in enumerate(north_left)},
    }


def _map(rng: Random) -> dict[str, Any]:
    house = lake = (0, 0)
    while (house[0] == lake[0]) == (house[1] == lake[1]):
        house, lake = ((rng.randrange(5), rng.randrange(5)) for _ in range(2))
    asked, other = ("house", "lake") if rng.random() < 0.5 else ("lake", "house")
    place = {"house": house, "lake": lake}
    dx, dy = (a - b for a, b in zip(place[asked], place[other], strict=True))
    word = "east" if dx > 0 else "west" if dx < 0 else "south" if dy > 0 else "north"
    return {
        "question": f"On the map, in which direction is the {asked} from the {other}?",
        "word": word,
        "choices": ("north", "south", "east", "west"),
        "hint": "North is at the top of the map." if rng.random() < 0.5 else "",
        "solution": f"{_at('house', house)} {_at('lake', lake)} The {asked} is {word} of the {other}.",
        "facts": place | {"shift": _shift(rng)},
        "attributes": {"house x": house[0], "house y": house[1], "lake x": lake[0], "lake y": lake[1]},
    }


def _thermometer(rng: Random) -> dict[str, Any]:
    level, shift = rng.randint(0, 10), rng.randint(-6, 6)
    word = str(10 * level)
    return {
        "question": "What temperature does the thermometer show?",
        "word": word,
        "choices": _choose(rng, word, [str(10 * k) for k in range(11)], 3),
        "hint": "The scale goes from 0 to 100 degrees." if rng.random() < 0.5 else "",
        "solution": f"The red column ends at {word} degrees.",
        "facts": {"level": level, "shift": shift},
        "attributes": {"temperature": level},
    }


def _food_chain(rng: Random) -> dict[str, Any]:
    organisms, rightwards = rng.sample(ORGANISMS, 3), rng.random() < 0.5
    eaten, middle, eater = organisms if rightwards else organisms[::-1]  # an arrow points to the eater
    first = rng.random() < 0.5
    prey, hunter = (eaten, middle) if first else (middle, eater)
    asks_hunter = rng.random() < 0.5
    word, given = (hunter, prey) if asks_hunter else (prey, hunter)
    third = eater if first else eaten
    fourth = rng.choice([o for o in ORGANISMS if o not in (eaten, middle, eater)])
    asked = f"what eats the {given}" if asks_hunter else f"what does the {given} eat"
    return {
        "question": f"In this food chain, {asked}?",
        "word": word,
        "choices": (word, third, fourth),
        "hint": "An arrow points to the organism that eats." if rng.random() < 0.5 else "",
        "solution": f"The {middle} eats the {eaten} and the {eater} eats the {middle}.",
        "facts": {"organisms": organisms, "rightwards": rightwards},
        "attributes": {f"organism {i}": ORGANISMS.index(o) for i, o in enumerate(organisms)}
        | {"rightwards": int(rightwards)},
    }


STATES = ("solid", "liquid", "gas")


def _matter(rng: Random) -> dict[str, Any]:
    state = rng.choice(STATES)
    count = {"solid": 36, "liquid": rng.randint(42, 50), "gas": rng.randint(6, 14)}[state]
    looks = {"solid": "in rows", "liquid": "close together", "gas": "far apart"}[state]
    return {
        "question": "The picture shows the particles of a sample. What state of matter is it?",
        "word": state,
        "choices": STATES,
        "solution": f"The particles are {looks}, so it is a {state}.",
        "facts": {"state": state, "colour": rng.choice(NAMES), "count": count, "shift": _shift(rng, 4)},
        "attributes": {"state": STATES.index(state)},
    }


LEGS = {"lizard": 4, "insect": 6, "spider": 8}


def _animals(rng: Random) -> dict[str, Any]:
    word = rng.choice(tuple(LEGS))
    return {
        "question": "Which kind of animal is in the picture?",
        "word": word,
        "choices": tuple(LEGS),
        "hint": "An insect has 6 legs and a spider has 8 legs." if rng.random() < 0.5 else "",
        "solution": f"The animal has {LEGS[word]} legs, so it is a {word}.",
        "facts": {
            "legs": LEGS[word],
            "shade": rng.randrange(3),
            "shift": _shift(rng, 3),
            "facing": rng.choice((-1, 1)),
        },
        "attributes": {"legs": LEGS[word] // 2 - 2},
    }


PHASES = ("crescent", "half", "gibbous", "full")


def _moon(rng: Random) -> dict[str, Any]:
    phase, side = rng.choice(PHASES), rng.choice((-1, 1))
    return {
        "question": "Which phase of the moon does the picture show?",
        "word": phase,
        "choices": PHASES,
        "solution": f"The {'right' if side > 0 else 'left'} side is lit and the moon is {phase}.",
        "facts": {"phase": phase, "lit": side, "place": [rng.randint(20, 76), rng.randint(20, 28)]},
        "attributes": {"phase": PHASES.index(phase), "lit side": (side + 1) // 2},
    }


KINDS = {
    "mammal": ("dog", "whale", "bat", "horse", "mouse"),
    "plant": ("fern", "rose", "tree", "moss", "cactus"),
    "rock": ("granite", "basalt", "marble", "slate", "chalk"),
    "planet": ("mars", "venus", "saturn", "earth", "jupiter"),
    "metal": ("iron", "copper", "gold", "silver", "zinc"),
}


def _kinds(rng: Random) -> dict[str, Any]:
    kind = rng.choice(tuple(KINDS))
    word = rng.choice(KINDS[kind])
    others = rng.sample([k for k in KINDS if k != kind], 3)
    return {
        "question": f"Which of these is a {kind}?",
        "word": word,
        "choices": (word, *(rng.choice(KINDS[k]) for k in others)),
        "solution": f"The {word} is a {kind}.",
    }


UNITS = {
    "length": ("meter", "mile", "inch"),
    "mass": ("gram", "pound", "ton"),
    "time": ("second", "hour", "day"),
    "volume": ("liter", "gallon", "cup"),
}


def _units(rng: Random) -> dict[str, Any]:
    quantity = rng.choice(tuple(UNITS))
    word = rng.choice(UNITS[quantity])
    return {
        "question": f"Which of these is a unit of {quantity}?",
        "word": word,
        "choices": (word, *(rng.choice(UNITS[q]) for q in UNITS if q != quantity)),
        "solution": f"The {word} is a unit of {quantity}.",
    }


THINGS = ("ball", "box", "rock", "car")


def _masses(rng: Random) -> dict[str, Any]:
    (first, second, third), thing = rng.sample(NAMES, 3), rng.choice(THINGS)
    a, b = rng.sample(range(1, 10), 2)
    heavier = rng.random() < 0.5
    compared = "heavier" if heavier else "lighter"
    word = first if (a > b) == heavier else second
    return {
        "question": f"Which {thing} is {compared}?",
        "word": word,
        "choices": (first, second, third),
        "hint": f"The mass of the {first} {thing} is {a} kg. The mass of the {second} {thing} is {b} kg.",
        "solution": f"The {word} {thing} is {compared}.",
    }


def _properties(rng: Random) -> dict[str, Any]:
    number = rng.randint(2, 3)
    shapes, colours = rng.sample(SHAPES, number), rng.sample(NAMES, number)
    asked = rng.randrange(number)
    by_shape = rng.random() < 0.5
    word, pool = (colours[asked], NAMES) if by_shape else (shapes[asked], SHAPES)
    listed = _listed([f"{_a(c)} {s}" for c, s in zip(colours, shapes, strict=True)])
    return {
        "question": f"Which color is the {shapes[asked]}?" if by_shape else f"Which shape is {colours[asked]}?",
        "word": word,
        "choices": _choose(rng, word, pool, 4),
        "hint": f"Sam has {listed}.",
        "solution": f"Sam has {listed}.",
    }


_SCIENCE, _SOCIAL = "natural science", "social science"
FAMILIES: Mapping[str, Family] = {
    "counting": Family(
        _counting, drawing.counted, _SCIENCE, "science-and-engineering-practices", "Observing", "Count the objects",
        "grade1", "To count things, point at each one once.", 1.5,
    ),
    "colors": Family(
        _colours, drawing.coloured, _SCIENCE, "physics", "Materials", "Identify properties of an object",
        "grade2", "An object has properties such as color and shape.", 2.0,
    ),
    "bar charts": Family(
        _bar_chart, drawing.bars, _SCIENCE, "science-and-engineering-practices", "Data", "Read a bar chart",
        "grade3", "A bar chart shows numbers with bars. A higher bar is a larger number.", 1.0,
    ),
    "magnets": Family(
        _magnets, drawing.magnets, _SCIENCE, "physics", "Magnets", "Predict whether magnets attract or repel",
        "grade3", "Different poles attract. The same poles repel.", 1.5,
    ),
    "maps": Family(
        _map, drawing.town_map, _SOCIAL, "geography", "Maps", "Use cardinal directions",
        "grade3", "A map has four main directions: north, east, south and west.", 1.8,
    ),
    "thermometers": Family(
        _thermometer, drawing.thermometer, _SCIENCE, "physics", "Measurement", "Read a thermometer",
        "grade2", "Read a thermometer at the top of the red column.", 0.6,
    ),
    "food chains": Family(
        _food_chain, drawing.food_chain, _SCIENCE, "biology", "Ecosystems", "Interpret food chains",
        "grade4", "A food chain shows how matter moves from one organism to the next.", 1.8,
    ),
    "matter": Family(
        _matter, drawing.particles, _SCIENCE, "chemistry", "States of matter", "Identify solids, liquids and gases",
        "grade4", "In a solid the particles are in rows. In a liquid they are close. In a gas they are far apart.", 0.4,
    ),
    "animals": Family(
        _animals, drawing.animal, _SCIENCE, "biology", "Classification", "Classify animals",
        "grade3", "Scientists group animals by traits they share, such as the number of legs.", 0.6,
    ),
    "moon": Family(
        _moon, drawing.moon, _SCIENCE, "earth-science", "Astronomy", "Identify phases of the moon",
        "grade4", "The moon looks different through the month as more or less of its lit side faces us.", 0.5,
    ),
    "kinds": Family(
        _kinds, None, _SCIENCE, "biology", "Classification", "Group things by kind",
        "grade2", "Things are grouped by what they are.", 0.3,
    ),
    "units": Family(
        _units, None, _SCIENCE, "units-and-measurement", "Units", "Choose the right unit",
        "grade3", "A unit belongs to what it measures: a meter to length, a gram to mass.", 0.3,
    ),
    "masses": Family(
        _masses, None, _SCIENCE, "physics", "Force and motion", "Compare masses",
        "grade3", "Mass is the amount of matter in an object. More kilograms are heavier.", 1.0,
    ),
    "properties": Family(
        _properties, None, _SCIENCE, "physics", "Materials", "Use text to identify properties",
        "grade2", "An object has properties such as color and shape.", 1.5,
    ),
}  # fmt: skip
PICTURE_FAMILIES = tuple(name for name, family in FAMILIES.items() if family.painter)
TEXT_FAMILIES = tuple(name for name in FAMILIES if name not in PICTURE_FAMILIES)

ATTRIBUTES: Mapping[str, int] = (
    {"family": len(PICTURE_FAMILIES), "temperature": 11, "rightwards": 2, "state": 3, "legs": 3, "phase": 4}
    | {"lit side": 2}
    | {f"count {colour}": 7 for colour in NAMES}
    | {f"color of {shape}": len(NAMES) + 1 for shape in SHAPES}
    | {f"bar {i} color": len(NAMES) for i in range(4)}
    | {f"bar {i} height": 8 for i in range(4)}
    | {f"magnet {i}": 2 for i in range(4)}
    | {f"{thing} {axis}": 5 for thing in ("house", "lake") for axis in "xy"}
    | {f"organism {i}": len(ORGANISMS) for i in range(3)}
)
"""What a picture can be asked for, and in how many classes: the vision encoder's lessons."""
