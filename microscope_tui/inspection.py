"""What a look at single examples and rows gives: values that go from the worker through the store to the screen.

Everything here is a frozen value that goes through JSON unchanged, as the words of `terms` do.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from enum import StrEnum
from typing import Any, Self, overload

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

    `pictures` are its images, then the first frame of each video. Control characters in texts are escaped, but for
    line ends.

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


PAGE = 200
"""Examples of a page of a slice."""


@dataclass(frozen=True)
class Preview:
    """A page of the examples of a slice of `total`, without a model: `chosen` and `margin` are not known.

    The page is of the examples from number `start` on, which `PAGE` divides. That of the first has the `keys` of all
    examples of the slice. An example that cannot be used has an empty question, and its `hint` says why.
    """

    slice: SliceSpec
    total: int
    examples: tuple[ExampleCard, ...]
    start: int = 0
    keys: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "slice": str(self.slice)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        examples = tuple(ExampleCard.from_json(card) for card in data["examples"])
        return cls(SliceSpec.parse(data["slice"]), data["total"], examples, data["start"], tuple(data["keys"]))


@dataclass(frozen=True)
class Patch:
    """Where an image token comes from: a box in the example's picture number `picture` (of `ExampleCard.pictures`).

    The edges are shares of the picture's width and height, from its left and its top; boxes of different views of a
    picture lie over one another.
    """

    picture: int
    left: float
    top: float
    right: float
    bottom: float


Words = tuple[tuple[str, float], ...]
"""Words with their probabilities, the likeliest first."""


class Lens(Sequence[tuple[Words, ...]]):
    """The words of the logit lens, `lens[l][t]`, kept small: of 3,000 tokens and 33 layers they take 100 MB as tuples.

    `spelt` has every word once; `ids` and `shares` have a flat array a layer, with `top` entries a token.
    """

    def __init__(
        self, spelt: Sequence[str], top: int, ids: Sequence[Sequence[int]], shares: Sequence[Sequence[float]]
    ) -> None:
        self.spelt, self.top = tuple(spelt), top
        self.ids = tuple(array("L", layer) for layer in ids)
        self.shares = tuple(array("d", layer) for layer in shares)
        self._last: tuple[int, tuple[Words, ...]] | None = None

    @classmethod
    def of(cls, layers: Sequence[Sequence[Words]]) -> Self:
        """The same words, packed; every token has equally many."""
        numbers: dict[str, int] = {}
        pairs = [[pair for words in layer for pair in words] for layer in layers]
        ids = [[numbers.setdefault(word, len(numbers)) for word, _ in layer] for layer in pairs]
        top = max((len(words) for layer in layers for words in layer), default=0)
        return cls(tuple(numbers), top, ids, [[share for _, share in layer] for layer in pairs])

    def __len__(self) -> int:
        return len(self.ids)

    @overload
    def __getitem__(self, layer: int) -> tuple[Words, ...]: ...

    @overload
    def __getitem__(self, layer: slice) -> tuple[tuple[Words, ...], ...]: ...

    def __getitem__(self, layer: int | slice) -> tuple[Words, ...] | tuple[tuple[Words, ...], ...]:
        if isinstance(layer, slice):
            return tuple(self[i] for i in range(*layer.indices(len(self))))
        if self._last is None or self._last[0] != layer:  # mostly one layer is looked at for a while
            pairs = [(self.spelt[i], share) for i, share in zip(self.ids[layer], self.shares[layer], strict=True)]
            self._last = layer, tuple(tuple(pairs[i : i + self.top]) for i in range(0, len(pairs), self.top))
        return self._last[1]

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Lens):
            return (self.spelt, self.top, self.ids, self.shares) == (other.spelt, other.top, other.ids, other.shares)
        return tuple(self) == other

    def __hash__(self) -> int:
        return hash((self.spelt, self.top))

    def to_json(self) -> dict[str, Any]:
        ids, shares = ([list(layer) for layer in layers] for layers in (self.ids, self.shares))
        return {"words": list(self.spelt), "top": self.top, "ids": ids, "shares": shares}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        return cls(data["words"], data["top"], data["ids"], data["shares"])


@dataclass(frozen=True)
class TokenTable:
    """The T tokens of one example in a decoder of L blocks.

    `tokens` are spelt for people: with the space before a word, control characters escaped, and what is no word of the
    tokenizer in angle brackets. `modality` and `group` (empty for none) are of each. `norm` (L+1, T) is ‖h_l‖; `update`
    (L, T) is ‖h_{l+1} − h_l‖/‖h_l‖, None where h_l is zero.

    `residual` (L, T) is how much of the token's output the pooled linear map of block l leaves unexplained,
    ‖ỹ−x̃A‖²/mean‖ỹ‖², with the map, the means and the scale of all rows of its modality but this example's: 0 is
    linear, 1 as bad as guessing the mean. (Of a model too large for its sums to be kept, this example's rows are among
    them; `notes` says so.) It is None for a token whose modality has no map, and empty when no map is at hand (`notes`
    says why). `fitted` are the examples that the map was fitted on: 0 without one. `walked` are those whose sums were
    there when the table was made: a measurement of more of them makes a better one.

    `lens[l][t]` are the likeliest words of the logit lens at layer l = 0 … L (final norm and output head on h_l), the
    likeliest first, each with its probability; empty for a model without an output head. The word at t is a guess at
    token t + 1. `patches[t]` is where an image token comes from, None for others and where it is not known.
    """

    model: str
    slice: SliceSpec
    card: ExampleCard
    tokens: tuple[str, ...]
    modality: tuple[Modality, ...]
    group: tuple[str, ...]
    norm: tuple[tuple[float, ...], ...]
    update: tuple[tuple[float | None, ...], ...]
    residual: tuple[tuple[float | None, ...], ...]
    lens: Sequence[Sequence[Words]]
    patches: tuple[Patch | None, ...]
    fitted: int = 0
    notes: tuple[str, ...] = ()
    walked: int = 0

    def to_json(self) -> dict[str, Any]:
        # Field by field: a copy of every number, as `asdict` makes, takes seconds.
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        patches = [None if patch is None else asdict(patch) for patch in self.patches]
        lens = Lens.of(self.lens).to_json()
        return {**values, "slice": str(self.slice), "card": asdict(self.card), "lens": lens, "patches": patches}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        values = {f.name: data[f.name] for f in fields(cls) if f.name != "walked"} | {"walked": data.get("walked", 0)}
        values["slice"] = SliceSpec.parse(values["slice"])
        values["card"] = ExampleCard.from_json(values["card"])
        values["modality"] = tuple(Modality(word) for word in values["modality"])
        for name in ("tokens", "group", "notes"):
            values[name] = tuple(values[name])
        for name in ("norm", "update", "residual"):
            values[name] = tuple(tuple(row) for row in values[name])
        values["lens"] = Lens.from_json(values["lens"])
        values["patches"] = tuple(None if patch is None else Patch(**patch) for patch in values["patches"])
        return cls(**values)


@dataclass(frozen=True)
class WorstToken:
    """A token that a linear map explains badly: number `position` of an example, which is number `index` of the slice.

    `example` is its key. `token`, `modality`, `group` and `residual` are as in `TokenTable`, the last of one layer and
    by a map without all examples of the fold that this one is in.
    """

    example: str
    index: int
    position: int
    token: str
    modality: Modality
    group: str
    residual: float

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        return cls(**{**data, "modality": Modality(data["modality"])})


@dataclass(frozen=True)
class WorstTokens:
    """For each of the L blocks the tokens that its linear map leaves most of unexplained, the worst first.

    They are looked for in the `rows` sampled rows of each modality, and each modality has as many of its own, or all
    it has: `worst_of`, not `layers`, says which are the worst of all. The map is fitted on all folds of examples but
    the one that the token's example is in. `fitted` is as in `TokenTable`: a measurement of more examples makes others.
    """

    model: str
    slice: SliceSpec
    layers: tuple[tuple[WorstToken, ...], ...]
    rows: Mapping[str, int]
    fitted: int
    notes: tuple[str, ...] = ()

    @property
    def walked(self) -> int:
        """As in `TokenTable`."""
        return self.fitted

    def worst_of(self, layer: int, modality: Modality | None = None) -> tuple[WorstToken, ...]:
        """The worst tokens of one modality at a block, or of all of them together.

        Of all together there are as many as the modality with the most of them has: a further one may be worse than
        the last of the others, but is not here.
        """
        found = self.layers[layer]
        if modality is not None:
            return tuple(token for token in found if token.modality is modality)
        return found[: max(Counter(token.modality for token in found).values(), default=0)]

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "slice": str(self.slice)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        values = {f.name: data[f.name] for f in fields(cls)}
        values["slice"] = SliceSpec.parse(values["slice"])
        values["layers"] = tuple(tuple(WorstToken.from_json(token) for token in layer) for layer in values["layers"])
        values["notes"] = tuple(values["notes"])
        return cls(**values)


class Projection(StrEnum):
    """How rows come on a plane: their two main axes, or who is near whom."""

    PCA = "pca"
    TSNE = "t-sne"


@dataclass(frozen=True)
class Cloud:
    """A sample of rows of one stream, on a plane at each of its layers.

    There are L+1 `layers`, L of the update stream; while a map is being made, or when that was stopped, there are the
    first of them only. `points[l][i]` is (x, y) of row i at layer l on its first and second principal axis, in the
    units of the rows. Each layer has axes of its own, which have no sign: each points to where it fits that of the
    layer before better. `share[l]` is the share of the variance on the plane. By t-SNE the axes mean nothing, and there
    is no share. `modality` and `example` (its key) are of each row.

    `massive[modality][l]` is how many of the rows at layer l are over ten times as long as the median of those of
    their modality (`geometry.masks.sinks`, as the profiles of dimension count them). `walked` is as in `TokenTable`,
    for the sample that the rows are from.
    """

    model: str
    slice: SliceSpec
    stream: Stream
    modality: tuple[Modality, ...]
    example: tuple[str, ...]
    points: tuple[tuple[tuple[float, float], ...], ...]
    share: tuple[float, ...]
    notes: tuple[str, ...] = ()
    projection: Projection = Projection.PCA
    massive: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    walked: int = 0
    layers: int | None = None

    @property
    def complete(self) -> bool:
        """Whether every layer is there."""
        return self.layers is None or len(self.points) == self.layers

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
            notes=tuple(data["notes"]),
            projection=Projection(data["projection"]),
            massive={modality: tuple(counts) for modality, counts in data["massive"].items()},
            walked=data.get("walked", 0),
            layers=data.get("layers"),
        )
