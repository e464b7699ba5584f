"""What the screens that look closer show, as rows of a table for other programs."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence

from microscope_tui.inspection import Cloud, ExampleCard, TokenTable, WorstTokens
from microscope_tui.results import Answer

Record = Mapping[str, object]


def to_csv(records: Iterable[Record]) -> str:
    """A row a record, with the names of the first one's values above; what is None is empty."""
    out = io.StringIO()
    writer: csv.DictWriter[str] | None = None
    for record in records:
        if writer is None:
            writer = csv.DictWriter(out, list(record), lineterminator="\n")
            writer.writeheader()
        writer.writerow(record)
    return out.getvalue()


def token_records(table: TokenTable) -> Iterator[Record]:
    """A row for each token at each layer, with the likeliest word of the lens."""
    for layer in range(len(table.norm)):
        for position in range(len(table.tokens)):
            yield token_record(table, layer, position)


def token_record(table: TokenTable, layer: int, position: int) -> Record:
    words = table.lens[layer][position] if layer < len(table.lens) else ()
    word, share = words[0] if words else (None, None)
    return {
        "model": table.model,
        "slice": str(table.slice),
        "example": table.card.key,
        "index": table.card.index,
        "position": position,
        "token": table.tokens[position],
        "modality": table.modality[position],
        "group": table.group[position],
        "layer": layer,
        "residual": _at(table.residual, layer, position),
        "norm": _at(table.norm, layer, position),
        "update": _at(table.update, layer, position),
        "lens": word,
        "lens_share": share,
    }


def example_records(
    cards: Sequence[ExampleCard],
    answers: Sequence[tuple[str, Mapping[str, Answer]]],
    reasons: Mapping[str, str],
) -> Iterator[Record]:
    """A row for each example, with what each model (by name) answered."""
    for card in cards:
        record: dict[str, object] = {
            "index": card.index,
            "example": card.key,
            "question": card.question,
            "choices": " | ".join(card.choices),
            "answer": card.answer,
            "skipped": reasons.get(card.key),
        }
        for model, given in answers:
            answer = given.get(card.key)
            record |= {
                f"{model} chosen": answer and answer.chosen,
                f"{model} right": answer and answer.right,
                f"{model} margin": answer and answer.margin,
            }
        yield record


def worst_records(worst: WorstTokens, layers: Iterable[int]) -> Iterator[Record]:
    """A row for each of the worst tokens of some layers."""
    for layer in layers:
        for rank, token in enumerate(worst.layers[layer] if layer < len(worst.layers) else (), start=1):
            yield {
                "model": worst.model,
                "slice": str(worst.slice),
                "layer": layer,
                "rank": rank,
                "example": token.example,
                "index": token.index,
                "position": token.position,
                "token": token.token,
                "modality": token.modality,
                "group": token.group,
                "residual": token.residual,
            }


def cloud_records(clouds: Iterable[Cloud], layers: Iterable[int]) -> Iterator[Record]:
    """A row for each row of the maps at some layers."""
    chosen = tuple(layers)
    for cloud in clouds:
        for layer in chosen:
            points = cloud.points[layer] if layer < len(cloud.points) else ()
            for (x, y), modality, example in zip(points, cloud.modality, cloud.example, strict=False):
                yield {
                    "model": cloud.model,
                    "slice": str(cloud.slice),
                    "stream": cloud.stream,
                    "projection": cloud.projection,
                    "layer": layer,
                    "share": cloud.share[layer] if cloud.share else None,
                    "modality": modality,
                    "example": example,
                    "x": x,
                    "y": y,
                }


def _at(values: Sequence[Sequence[float | None]], layer: int, position: int) -> float | None:
    return values[layer][position] if layer < len(values) else None
