"""What the screens that look closer show, how it is made and what can go wrong with it: their cards, as plain text."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

from microscope_tui.inspection import Cloud, Projection, WorstToken, WorstTokens
from microscope_tui.methods import RAZZHIGAEV_2024
from microscope_tui.terms import SINK_RATIO, Modality, Request
from microscope_tui.tui.content.browse import Listing
from microscope_tui.tui.content.cards import STREAMS, Row, Section, by_harm
from microscope_tui.tui.content.detail import value_text
from microscope_tui.tui.content.names import short_name
from microscope_tui.tui.content.tokens import BY_FOLD, MEANING, Line, Quantity, Tokens
from microscope_tui.tui.keys import key_of

SUN_2024 = "Sun et al. 2024, Massive Activations in Large Language Models, arXiv 2402.17762"
NOSTALGEBRAIST_2020 = "nostalgebraist 2020, interpreting GPT: the logit lens"
MAATEN_2008 = "van der Maaten & Hinton 2008, JMLR 9:2579"
LEFT_OF_A_TOKEN = (
    "its mean over all rows that a map is fitted on is 1 − linearity in-sample: a token's share of what is not linear"
)
HOW: Mapping[Quantity, tuple[tuple[str, str], ...]] = {
    Quantity.RESIDUAL: (
        ("estimator", "least squares from the sums of the measured slice, one map for each block and modality"),
        ("relation", LEFT_OF_A_TOKEN),
        ("source", RAZZHIGAEV_2024 + ", token by token"),
    ),
    Quantity.NORM: (
        ("what", "Euclidean norm of the hidden state; that of the last layer before the final norm"),
        ("source", SUN_2024),
    ),
    Quantity.UPDATE: (("what", "the size of what block l adds, by the size of what it is added to"),),
}

MAPS: Mapping[Projection, tuple[tuple[str, str], ...]] = {
    Projection.PCA: (
        ("what", "the rows of all modalities together, centred, on the two main axes of their covariance"),
        (
            "axes",
            "of each layer its own, in the units of the rows; one has no sign: it points to where it fits that of the "
            "layer before",
        ),
    ),
    Projection.TSNE: (
        ("what", "t-SNE by scikit-learn: who is near whom"),
        ("axes", "mean nothing; each layer is begun from the one before and turned to fit it"),
        ("source", MAATEN_2008),
    ),
}


def tokens_card(tokens: Tokens, line: Line, layer: int, quantity: Quantity) -> Sequence[Section]:
    """Of a token, or a block of them, at a layer."""
    table, block = tokens.table, line.block
    what = f"token {line.start} “{table.tokens[line.start]}”, {table.modality[line.start]}"
    here = [Row("what", what if block is None else f"the mean of the {block.length} tokens of {block.name}")]
    here.append(Row("where", f"layer {layer} of {tokens.last}, {short_name(table.model)}, example {table.card.index}"))
    here += [Row(each.said, value_text(tokens, line, layer, each)) for each in Quantity]
    if block is None and (words := tokens.lens(layer, line.start)):
        here.append(Row("lens", "  ".join(f"“{word}” {share:.1%}" for word, share in words)))
    of_lens = (
        Row("words", "final norm and output head on h_l: the likeliest next words if the decoder ended here"),
        Row("to know", "the word at token t is a guess at token t + 1; early layers were not trained to be read so"),
        Row("source", NOSTALGEBRAIST_2020),
    )
    sections = (
        Section("At the cursor", tuple(here)),
        *by_harm(_token_traps(tokens, line, layer)),
        Section(quantity.said, (Row("formula", MEANING[quantity]), *(Row(*each) for each in HOW[quantity]))),
        Section("Logit lens", of_lens if table.lens else ()),
    )
    return [section for section in sections if section.rows]


def _token_traps(tokens: Tokens, line: Line, layer: int) -> Iterator[Row]:
    table = tokens.table
    yield from (Row("", note, True) for note in table.notes)
    if table.residual and table.fitted:
        yield Row("", f"the linear maps are fitted on {table.fitted:,} examples")
    residual = tokens.value(Quantity.RESIDUAL, layer, line.start) if line.block is None else None
    if residual is not None and residual > 1:
        said = f"a {Quantity.RESIDUAL.said} of {residual:.3g} is worse than taking the mean of all rows for it"
        yield Row("", said, True)
    norms = table.norm[min(layer, tokens.last)]
    times = norms[line.start] / (statistics.median(norms) or 1.0)
    if line.block is None and times > SINK_RATIO:
        said = f"its norm is {times:.3g} times the median of this example's tokens: a sink rules whatever it counts in"
        yield Row("", said, True)


def worst_card(value: WorstTokens, layer: int, token: WorstToken | None) -> Sequence[Section]:
    """Of the list of a layer, with the cursor on a token of it."""
    here = [Row("where", f"layer {layer}, from h_{layer} to h_{layer + 1}, of {short_name(value.model)}")]
    if token:
        where = f"example {token.index} ({token.example}), token {token.position} “{token.token}”, {token.modality}"
        here += [Row("token", where), Row(BY_FOLD, f"{token.residual:.6g}")]
    rows = ", ".join(f"{count:,} {modality}" for modality, count in value.rows.items())
    how = (
        Row("formula", f"{BY_FOLD}: {MEANING[Quantity.RESIDUAL]}"),
        Row("looked for", f"in the sample of the measurement: {rows} rows; of rows alike one stands for all"),
        Row("kept", "as many of each modality, and as many of all together: those beyond may be others"),
        Row("estimator", "least squares on all folds of examples but the one that the token's example is in"),
        Row("relation", LEFT_OF_A_TOKEN),
        Row(
            "to know",
            f"the {Quantity.RESIDUAL.said} in the view of its example is another number: there the map leaves out that "
            "example alone",
        ),
        Row("source", RAZZHIGAEV_2024 + ", token by token"),
    )
    sections = (
        Section("At the cursor", tuple(here)),
        *by_harm(Row("", note, True) for note in value.notes),
        Section("Worst tokens", how),
    )
    return [section for section in sections if section.rows]


def massive_rows(cloud: Cloud, layer: int, request: Request) -> tuple[str, ...]:
    """That massive rows stretch the plane of a layer, if they do: no t-SNE is stretched."""
    of = Counter(cloud.modality)
    found = {Modality(name): counts[layer] for name, counts in cloud.massive.items() if layer < len(counts)}
    told = [f"{count:,} of {of[modality]:,} {modality} rows" for modality, count in found.items() if count]
    if not told or cloud.projection is Projection.TSNE:
        return ()
    key = key_of("without('sinks')")
    remedy = "" if "sinks" in request.without else f"; {key} in the explorer leaves sinks out"
    return (f"a massive norm at layer {layer}: {' and '.join(told)}, which stretch the plane{remedy}",)


def map_card(shown: Sequence[tuple[int, Request, Cloud]], layer: int) -> Sequence[Section]:
    """Of one map or more, each with the number of its curve, at a layer."""
    here: list[Row] = []
    traps: list[Row] = []
    for slot, request, cloud in shown:
        counts = " and ".join(f"{count:,} {modality}" for modality, count in Counter(cloud.modality).items())
        said = f"{counts} rows of {len(set(cloud.example)):,} examples"
        if layer < len(cloud.share):
            said += f"; {cloud.share[layer]:.4g} of their variance is on the plane"
        elif layer >= len(cloud.points):
            said += "; the stream ends before this layer"
        here.append(Row(short_name(cloud.model), said, False, slot))
        wrong = [*((text, True) for text in massive_rows(cloud, layer, request)), *((n, False) for n in cloud.notes)]
        traps += [Row(short_name(cloud.model), text, severe, slot) for text, severe in wrong]
    first = shown[0][2]
    if len(shown) > 1:
        traps.append(Row("", "each model has axes of its own: places on two maps cannot be compared"))
    traps.append(Row("", "equally many rows of each modality, whatever their share among the tokens is"))
    how = MAPS[first.projection]
    return [
        Section(f"Layer {layer}", tuple(here)),
        *by_harm(traps),
        Section("Map", (*(Row(*each) for each in how), Row("stream", STREAMS[first.stream]))),
    ]


def examples_card(listing: Listing, slots: Sequence[int]) -> Sequence[Section]:
    """Of what the models answer to the examples of a slice."""
    rows: list[Row] = [Row("slice", f"{listing.total:,} examples")]
    for slot, (request, measurement), (_, given) in zip(slots, listing.measured, listing.answers, strict=True):
        name = short_name(request.model)
        if not given:
            why = "not measured yet" if measurement is None else "nothing was scored"
            rows.append(Row(name, why, False, slot))
            continue
        right = sum(answer.right for answer in given.values())
        margin = statistics.median(answer.margin for answer in given.values())
        said = f"{right:,} of {len(given):,} right ({right / len(given):.1%}); median margin {margin:+.2f}"
        rows.append(Row(name, said, False, slot))
    traps: list[Row] = []
    if listing.reasons:
        traps.append(Row("", f"{len(listing.reasons):,} examples were skipped: the list says why of each", True))
    if any(measurement and not measurement.complete for _, measurement in listing.measured):
        traps.append(Row("", "still being measured: more answers come", True))
    traps.append(Row("", f"what guessing would give: {_chance(listing)}"))
    how = (
        Row("score", "of an option: the largest logit of its letter and of its first word at the last position"),
        Row("margin", "the score of the chosen option less that of the next best one, in logits"),
        Row("not scored", "questions without an answer, or with an option that no token tells apart"),
    )
    return [
        Section("Answers", tuple(rows)),
        *by_harm(traps),
        Section("How they are scored", how),
    ]


def _chance(listing: Listing) -> str:
    """The share that a guess would have right, of the examples that are here."""
    counts: Iterable[int] = (len(card.choices) for card in listing.cards.values() if len(card.choices) > 1)
    shares = [1 / count for count in counts]
    if not shares:
        return "unknown, no choices have been read yet"
    return f"{statistics.fmean(shares):.1%} ({len(shares):,} examples with their choices read)"
