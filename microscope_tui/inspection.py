"""What a look at single examples and rows gives: values that go from the worker through the store to the screen.

Everything here is a frozen value that goes through JSON unchanged, as the words of `terms` do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Self

from microscope_tui.terms import Modality, SliceSpec, Stream


@dataclass(frozen=True)
class Thumbnail:
    """A small picture: `rgb` is the base64 text of `height` × `width` × 3 bytes, row by row from the top."""

    width: int
    height: int
    rgb: str

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        return cls(**data)


@dataclass(frozen=True)
class ExampleCard:
    """One example as people read it. `answer` and `chosen` are indices into `choices`, None where unknown.

    `margin` is the logit of the model's choice less that of the next best one, None where it was not scored.
    """

    key: str
    index: int
    question: str
    choices: tuple[str, ...] = ()
    answer: int | None = None
    hint: str = ""
    pictures: tuple[Thumbnail, ...] = ()
    chosen: int | None = None
    margin: float | None = None

    @property
    def right(self) -> bool | None:
        """Whether the model chose the answer, None where that is not known."""
        return None if self.answer is None or self.chosen is None else self.answer == self.chosen

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        values = dict(data)
        values["choices"] = tuple(values["choices"])
        values["pictures"] = tuple(Thumbnail.from_json(picture) for picture in values["pictures"])
        return cls(**values)


@dataclass(frozen=True)
class Preview:
    """Examples of a slice, `total` in all, without a model. Those that cannot be read have a hint that says why."""

    slice: SliceSpec
    total: int
    examples: tuple[ExampleCard, ...]

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "slice": str(self.slice)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        examples = tuple(ExampleCard.from_json(card) for card in data["examples"])
        return cls(SliceSpec.parse(data["slice"]), data["total"], examples)


@dataclass(frozen=True)
class Patch:
    """Where an image token comes from: a box in the picture, as shares of its width and height."""

    picture: int
    left: float
    top: float
    right: float
    bottom: float


@dataclass(frozen=True)
class TokenTable:
    """The T tokens of one example in a decoder of L blocks.

    `tokens` are spelt as the tokenizer does, `modality` and `group` (empty for none) are of each. `norm` (L+1, T) is
    ‖h_l‖; `update` (L, T) is ‖h_{l+1} − h_l‖/‖h_l‖; `residual` (L, T) is how much of the token's output the pooled
    linear map of block l leaves unexplained, ‖ỹ − x̃A‖²/mean‖ỹ‖², fitted without this example, empty when no map
    is at hand (`notes` says why). `lens[l][t]` are the likeliest words of the logit lens at layer l, each with its
    probability. `patches[t]` is where an image token comes from, None for others and where it is not known.
    """

    model: str
    slice: SliceSpec
    card: ExampleCard
    tokens: tuple[str, ...]
    modality: tuple[Modality, ...]
    group: tuple[str, ...]
    norm: tuple[tuple[float, ...], ...]
    update: tuple[tuple[float, ...], ...]
    residual: tuple[tuple[float, ...], ...]
    lens: tuple[tuple[tuple[tuple[str, float], ...], ...], ...]
    patches: tuple[Patch | None, ...]
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "slice": str(self.slice)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        values = {f.name: data[f.name] for f in fields(cls)}
        values["slice"] = SliceSpec.parse(values["slice"])
        values["card"] = ExampleCard.from_json(values["card"])
        values["modality"] = tuple(Modality(word) for word in values["modality"])
        for name in ("tokens", "group", "notes"):
            values[name] = tuple(values[name])
        for name in ("norm", "update", "residual"):
            values[name] = _rows(values[name])
        values["lens"] = tuple(
            tuple(tuple((word, share) for word, share in words) for words in layer) for layer in values["lens"]
        )
        values["patches"] = tuple(None if patch is None else Patch(**patch) for patch in values["patches"])
        return cls(**values)


@dataclass(frozen=True)
class Cloud:
    """A sample of rows of one stream, on the plane of their two main axes at each of the L+1 layers.

    `points[l][i]` is (x, y) of row i at layer l, `share[l]` the share of the variance on that plane; `modality` and
    `example` are of each row.
    """

    model: str
    slice: SliceSpec
    stream: Stream
    modality: tuple[Modality, ...]
    example: tuple[str, ...]
    points: tuple[tuple[tuple[float, float], ...], ...]
    share: tuple[float, ...]

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "slice": str(self.slice)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        return cls(
            model=data["model"],
            slice=SliceSpec.parse(data["slice"]),
            stream=Stream(data["stream"]),
            modality=tuple(Modality(word) for word in data["modality"]),
            example=tuple(data["example"]),
            points=tuple(tuple((x, y) for x, y in layer) for layer in data["points"]),
            share=tuple(data["share"]),
        )


def _rows(table: Sequence[Sequence[float]]) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(row) for row in table)
