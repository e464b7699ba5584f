"""What the screens that look closer show, as rows of a table for other programs."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

from microscope_tui.inspection import Cloud, ExampleCard, TokenTable, WorstTokens
from microscope_tui.results import Answer, Measurement
from microscope_tui.tui.content.difference import Difference

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


def difference_records(a: Measurement, b: Measurement, found: Difference) -> Iterator[Record]:
    """A row for each layer of a difference, with what it is of on both sides.

    `p` is empty where the interval decides, and `significant` where there is neither. `tested` are the layers that it
    is corrected for.
    """
    p = found.profile
    for i, layer in enumerate(p.layers):
        n_a, n_b = found.rows[i]
        width = p.widths[i]
        yield {
            "model": f"{b.model} − {a.model}",
            "slice": str(b.slice) if a.slice == b.slice else f"{b.slice} − {a.slice}",
            "metric": p.metric,
            "method": p.method,
            "modality": p.modality,
            "stream": p.stream,
            "layer": layer,
            "stage": p.stages[i],
            "value": p.value[i],
            "low": p.low[i],
            "high": p.high[i],
            "p": found.p[i],
            "significant": None if p.low[i] is None else found.significant[i],
            "tested": found.tested,
            "paired": found.paired,
            "n_a": n_a,
            "n_b": n_b,
            "d": p.d,
            "width": width,
            "n_over_d_a": n_a / width if width else None,
            "n_over_d_b": n_b / width if width else None,
            "examples_a": a.examples,
            "examples_b": b.examples,
            "accuracy_a": a.accuracy,
            "accuracy_b": b.accuracy,
            "complete": a.complete and b.complete,
            "notes": "; ".join(p.notes[i]),
            "facts": "; ".join(p.facts[i]),
        }


def worst_records(worst: WorstTokens, layers: Iterable[int]) -> Iterator[Record]:
    """A row for each of the worst tokens of some layers: its rank among those of its modality, and among those of all
    where that is known."""
    for layer in layers:
        found = worst.layers[layer] if layer < len(worst.layers) else ()
        ranked = len(worst.worst_of(layer)) if found else 0
        ranks: Counter[str] = Counter()
        for rank, token in enumerate(found, start=1):
            ranks[token.modality] += 1
            yield {
                "model": worst.model,
                "slice": str(worst.slice),
                "layer": layer,
                "rank": rank if rank <= ranked else None,
                "rank_in_modality": ranks[token.modality],
                "example": token.example,
                "index": token.index,
                "position": token.position,
                "token": token.token,
                "modality": token.modality,
                "group": token.group,
                "residual_by_fold": token.residual,
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
