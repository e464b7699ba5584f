"""The cards: what a number is, what can go wrong with it here, and all in which two curves differ."""

import re
from dataclasses import replace
from typing import Any

import pytest
import torch
from textual.widgets import Label

from microscope_tui.geometry import dimension
from microscope_tui.methods import METHODS, method_of
from microscope_tui.results import Estimate, Measurement, Note, Profile, Skipped, Trap, about
from microscope_tui.terms import Metric, Modality, Request, Stream
from microscope_tui.tui.content.cards import MEANINGS, Section, metric_card
from microscope_tui.tui.content.contrast import contrast, contrast_card
from microscope_tui.tui.content.lines import inspector_lines
from microscope_tui.tui.content.measured import shown
from microscope_tui.tui.content.readout import fit
from microscope_tui.tui.content.view import PaneView, pane_views, said_of
from microscope_tui.tui.data.desk import Desk
from microscope_tui.tui.screens.card import Card
from microscope_tui.tui.screens.help import WORDS
from microscope_tui.tui.session import DARK, Session
from microscope_tui.tui.themes import PALETTES
from tests.sure import sure
from tests.tui.driving import Driven, explorer, filled
from tests.tui.fake import MODELS, SLICE, FakeSource, Shape, made_up


def _measured(*numbers: tuple[Metric, str, Stream, Estimate], model: str = MODELS[0], **more: Any) -> Measurement:
    profiles = tuple(
        Profile.of(metric, method, Modality.TEXT, stream, [estimate], d=estimate.d, examples=200)
        for metric, method, stream, estimate in numbers
    )
    return replace(Measurement(model, SLICE, profiles, examples=200, tokens={"text": 1000}), **more)


def _view(session: Session, measurement: Measurement) -> PaneView:
    desk, (request,) = Desk(), [Request(model, SLICE) for model in session.models]
    desk.forget(request)
    desk.measured(request, measurement)
    return pane_views(session, desk, [request])[session.pane]


def _card(session: Session, *measurements: Measurement, at: int = 0) -> tuple[Section, ...]:
    desk = Desk()
    requests = [Request(model, SLICE) for model in session.models]
    for request, measurement in zip(requests, measurements, strict=True):
        desk.forget(request)
        desk.measured(request, measurement)
    found = {curve.slot: each for curve, each in zip(session.curves, shown(desk, requests), strict=True)}
    view = pane_views(session, desk, requests)[session.pane]
    return metric_card(view, at, session.metric, session.method(), found)


def _warned(sections: tuple[Section, ...]) -> str:
    return "\n".join(row.text for section in sections for row in section.rows if row.severe)


def _all(sections: tuple[Section, ...]) -> str:
    return "\n".join(f"{row.name} {row.text}" for section in sections for row in section.rows)


RESIDUAL = Session(MODELS[:1], SLICE, streams=(Stream.RESIDUAL,))


def test_every_method_has_an_estimator_and_a_source():
    known = [method_of(metric, name) for metric in Metric for name in METHODS[metric]]
    assert all(how.formula and how.short and how.estimator and how.source for how in known)
    assert all(len(how.short) < len(how.formula) for how in known)


def test_few_rows_a_dimension_inflate_the_in_sample_score():
    estimate = Estimate(0.95, n=141, d=100)
    said = _warned(_card(RESIDUAL, _measured((Metric.LINEARITY, "in-sample", Stream.RESIDUAL, estimate))))
    # adjusted: 1 − 0.05 · 140/40 = 0.825; rows without any relation: 100/140
    assert "n/d = 1.4: in-sample score inflated by about 0.13" in said
    assert "rows without any relation would score 0.71" in said


def test_many_rows_a_dimension_do_not():
    estimate = Estimate(0.95, n=10_000, d=100)
    sections = _card(RESIDUAL, _measured((Metric.LINEARITY, "in-sample", Stream.RESIDUAL, estimate)))
    assert "inflated" not in _warned(sections)
    assert "inflated by about 0.0005" in _all(sections)


def test_a_small_update_is_told_with_what_a_linear_map_explains_of_it():
    numbers = (
        (Metric.LINEARITY, "in-sample", Stream.RESIDUAL, Estimate(0.98, n=10_000, d=10)),
        (Metric.LINEARITY, "in-sample", Stream.UPDATE, Estimate(0.6, n=10_000, d=10)),
        (Metric.LINEARITY, "held-out", Stream.RESIDUAL, Estimate(0.85, n=10_000, d=10)),
    )
    said = _warned(_card(RESIDUAL, _measured(*numbers)))
    assert "ρ = 0.05" in said  # (1 − 0.98)/(1 − 0.6)
    assert "pure noise would score 0.95" in said
    assert "explains 0.6" in said
    assert "held out by examples it is 0.8500" in said


def test_the_facts_beside_a_value_are_explained_where_they_stand():
    estimate = Estimate(0.98, n=10_000, d=10, facts=("ρ 0.05", "rank 10 of 10"))
    plain = (Metric.LINEARITY, "held-out", Stream.RESIDUAL, Estimate(0.9, n=10_000, d=10, facts=("10 folds",)))
    measured = _measured((Metric.LINEARITY, "in-sample", Stream.RESIDUAL, estimate), plain)
    told = {row.name: row.text for section in _card(RESIDUAL, measured) for row in section.rows}
    assert told["ρ"].startswith("tr Cov(update)/tr Cov(what leaves the block)")
    assert "directions" in told["rank"]
    assert "shrunk by" not in told
    assert {"n  d  n/d", "sinks", "duplicates", "max-T × 8", *MEANINGS} <= {word for word, _ in WORDS}


NOTES = (
    Note("n/d = 3.0: independent rows would score 0.33", Trap.FEW_ROWS),
    Note("ρ = 0.05: y is nearly x, so that even an update of pure noise would score 0.95", Trap.SMALL_UPDATE),
    Note("12 sink rows of 1,000 (norm over 10× the median of their example) may rule this number", Trap.SINKS),
    "condition number 1.0e+06",
)


def test_what_the_card_tells_of_is_known_by_what_a_note_is_about_and_not_by_its_words():
    notes = tuple(Note("otherwise", about(note)) for note in NOTES)
    numbers = (
        (Metric.LINEARITY, "in-sample", Stream.RESIDUAL, Estimate(0.98, n=300, d=100, notes=notes[:3])),
        (Metric.LINEARITY, "in-sample", Stream.UPDATE, Estimate(0.6, n=300, d=100)),
    )
    measured = _measured(*numbers, sinks={"text": 12})
    assert "otherwise" not in _warned(_card(RESIDUAL, measured))
    plain = tuple(str(note) for note in NOTES[:3])  # the words alone say nothing to the program
    numbers = ((*numbers[0][:3], replace(numbers[0][3], notes=plain)), numbers[1])
    assert _warned(_card(RESIDUAL, _measured(*numbers, sinks={"text": 12}))).count("n/d = ") == 2


def test_what_the_estimate_warns_of_is_said_once():
    notes = NOTES
    numbers = (
        (Metric.LINEARITY, "in-sample", Stream.RESIDUAL, Estimate(0.98, n=300, d=100, notes=notes)),
        (Metric.LINEARITY, "in-sample", Stream.UPDATE, Estimate(0.6, n=300, d=100)),
    )
    measured = _measured(*numbers, sinks={"text": 12})
    said = _warned(_card(RESIDUAL, measured))
    for once in ("ρ = ", "n/d = ", "12 ", "condition number"):
        assert said.count(once) == 1, once
    alone = _warned(_card(RESIDUAL, replace(measured, profiles=measured.profiles[:1], sinks={})))
    assert "y is nearly x" in alone  # nothing else says it
    assert "12 sink rows" in alone


def test_sinks_are_counted_and_the_key_that_leaves_them_out_is_named():
    estimate = Estimate(0.4, n=1000, d=10)
    measured = _measured((Metric.LINEARITY, "in-sample", Stream.RESIDUAL, estimate), sinks={"text": 12})
    assert "12 of 1,000 rows (1.2 %) have a massive norm" in _warned(_card(RESIDUAL, measured))
    assert "S leaves them out" in _warned(_card(RESIDUAL, measured))
    none = replace(measured, sinks={"text": 0})
    assert "no row has a massive norm" in _all(_card(RESIDUAL, none))
    assert "massive" not in _warned(_card(RESIDUAL, none))


def test_what_does_no_harm_is_told_apart_from_what_can_go_wrong():
    estimate = Estimate(0.4, n=1000, d=10, notes=("condition number 1.0e+06",))
    measured = _measured((Metric.LINEARITY, "in-sample", Stream.RESIDUAL, estimate), sinks={"text": 0})
    told = {section.heading: section.rows for section in _card(RESIDUAL, measured)}
    assert [row.text for row in told["What can go wrong here"]] == ["condition number 1.0e+06"]
    harmless = told["To know here"]
    assert "no row has a massive norm" in [row.text for row in harmless]
    assert [row.name for row in harmless] == [f"● {MODELS[0].removeprefix('demo:')}", *[""] * (len(harmless) - 1)]
    plain = replace(measured, profiles=(replace(measured.profiles[0], notes=((),) * len(measured.profiles[0].notes)),))
    assert "What can go wrong here" not in {section.heading for section in _card(RESIDUAL, plain)}


def test_repeated_rows_are_counted_for_every_metric_and_the_key_that_leaves_them_out_is_named():
    rows = torch.randn(300, 8, generator=torch.Generator().manual_seed(0))
    copied = torch.cat([rows, rows[:100]])
    linearity = (Metric.LINEARITY, "in-sample", Stream.RESIDUAL, Estimate(0.4, n=1000, d=10))
    told = {
        "25 % of the sampled rows at this layer repeat others and count as often as they come: D leaves them": copied,
        "no sampled row repeats another": rows,
        "": None,
    }
    for said, given in told.items():
        more = () if given is None else ((Metric.DIMENSION, "mle", Stream.RESIDUAL, dimension(given)),)
        measured = _measured(linearity, *more)
        view = _view(RESIDUAL, measured)
        (line,) = inspector_lines(view, 0, PALETTES[DARK], 200)
        assert ("duplicates 25 %" in fit(said_of(view, view.series[0], 0), 200)) == (given is copied)
        assert ("duplicates 25 %" in "".join(span.text for span in line)) == (given is copied)
        assert ("duplicates" in "".join(span.text for span in line)) == (given is copied)
        card = _all(_card(RESIDUAL, measured))
        assert said in card
        assert ("repeat" in card) == (given is not None)


def test_examples_that_were_skipped_are_named_with_their_reasons_and_so_are_notes():
    estimate = Estimate(0.4, n=1000, d=10)
    skipped = tuple(Skipped(f"row {number}", "the picture is corrupt") for number in range(10))
    measured = _measured(
        (Metric.LINEARITY, "in-sample", Stream.RESIDUAL, estimate),
        skipped=skipped,
        notes=("the moments are kept on the host",),
    )
    sections = _card(RESIDUAL, measured)
    assert "skipped row 7: the picture is corrupt" in _warned(sections)
    assert "row 8" not in _warned(sections)
    assert "2 more examples were skipped: E names each of them" in _warned(sections)
    assert "the moments are kept on the host" in _all(sections)
    assert "skipped" not in _all(_card(RESIDUAL, replace(measured, skipped=())))


def test_an_anisotropy_near_that_of_even_rows_is_told():
    session = replace(RESIDUAL, metric=Metric.ANISOTROPY)
    even = _measured((Metric.ANISOTROPY, "top-eigenvalue", Stream.RESIDUAL, Estimate(0.04, n=100, d=100)))
    assert "would give about 0.04 at n/d = 1.0" in _warned(_card(session, even))
    clear = _measured((Metric.ANISOTROPY, "top-eigenvalue", Stream.RESIDUAL, Estimate(0.5, n=100, d=100)))
    assert "would give" not in _warned(_card(session, clear))


def test_dimensions_of_different_n_are_not_compared_in_silence():
    session = Session(MODELS, SLICE, metric=Metric.DIMENSION, streams=(Stream.RESIDUAL,))
    few = _measured((Metric.DIMENSION, "mle", Stream.RESIDUAL, Estimate(9.0, n=300, d=10)))
    many = _measured((Metric.DIMENSION, "mle", Stream.RESIDUAL, Estimate(12.0, n=4000, d=10)), model=MODELS[1])
    said = _warned(_card(session, few, many))
    assert "different n (llava-next 300, omnifusion 4,000)" in said
    assert "off by about 0.52" in said  # 9/√300
    assert "different n" not in _warned(_card(session, few, replace(few, model=MODELS[1])))


def test_the_main_stream_and_partial_results_are_warned_of():
    session = Session(MODELS[:1], SLICE, streams=(Stream.MAIN,))
    measured = _measured((Metric.LINEARITY, "in-sample", Stream.MAIN, Estimate(0.9, n=1000, d=10)), complete=False)
    said = _warned(_card(session, measured))
    assert "counterfactual" in said
    assert "only 200 examples so far" in said


def test_a_layer_where_no_block_starts_gives_that_reason():
    measured = _measured((Metric.LINEARITY, "in-sample", Stream.RESIDUAL, Estimate(0.9, n=1000, d=10)))
    assert "layer 1: no block starts here" in _all(_card(RESIDUAL, measured, at=1))


def test_an_undefined_value_gives_its_reason():
    estimate = Estimate(None, n=40, d=64, reason="n = 40 ≤ d + 1 = 65")
    said = _warned(_card(RESIDUAL, _measured((Metric.LINEARITY, "in-sample", Stream.RESIDUAL, estimate))))
    assert "undefined: n = 40 ≤ d + 1 = 65" in said


ONE = {"model": "a1", "architecture": "Llava", "dtype": "float32", "versions": {"torch": "2.13"}, "key": "x"}


def _contrast(first: Measurement, second: Measurement) -> str:
    desk = Desk()
    requests = [Request(model, SLICE) for model in MODELS]
    for request, measurement in zip(requests, (first, second), strict=True):
        desk.forget(request)
        desk.measured(request, measurement)
    sections = contrast_card(shown(desk, requests), ("a", "b"), (0, 1))
    return "\n".join(f"{section.heading}\n{_all((section,))}" for section in sections)


def test_everything_that_differs_is_listed_and_what_is_the_same_too():
    first = replace(made_up(), provenance=ONE)
    other = {**ONE, "model": "b2", "dtype": "bfloat16", "versions": {"torch": "2.14"}, "key": "y"}
    second = replace(made_up(MODELS[1]), provenance=other, tokens={"text": 4812, "image": 2000})
    said = _contrast(first, second)
    for line in (
        "identity of the checkpoint a1",
        " b2",
        "dtype float32",
        " bfloat16",
        "versions · torch 2.13",
        "architecture Llava",
    ):
        assert line in said
    assert "tokens an example · image 72.2" in said
    assert "4 things differ at once: " in said
    assert "No difference between the curves can be put down to any one of them" in said
    assert "key" not in said
    assert "set dtype in the settings" in said


def test_one_difference_allows_a_causal_reading_and_none_is_said():
    first = replace(made_up(), provenance=ONE)
    second = replace(made_up(MODELS[1]), provenance={**ONE, "dtype": "bfloat16"})
    assert "Only one thing differs (dtype)" in _contrast(first, second)
    assert "Nothing that is recorded differs" in _contrast(first, replace(first, model=MODELS[1]))


def _of_slices(first: Measurement, second: Measurement) -> str:
    desk = Desk()
    requests = [Request(MODELS[0], each.slice) for each in (first, second)]
    for request, measurement in zip(requests, (first, second), strict=True):
        desk.forget(request)
        desk.measured(request, measurement)
    return _all(contrast_card(shown(desk, requests), ("a", "b"), (0, 1)))


def test_slices_of_different_size_differ_in_n_as_well_and_are_named():
    few = replace(SLICE, count=60)
    known = {**ONE, "parts": PARTS, "weights": TRAINED}
    first = replace(made_up(shape=Shape(n=22_912)), provenance={**known, "slice": "f00"})
    second = replace(made_up(spec=few, shape=Shape(n=1920)), provenance={**known, "slice": "ba5"})
    said = _of_slices(first, second)
    assert "Only one thing differs (data), but with it the number of rows" in said
    assert "can be put down to it" not in said
    assert "different n text 22,912 rows (n/d 358) against 1,920 rows (n/d 30.0); image 68,736" in said
    assert "Held-out linearity (v) is not inflated, N matches n for dimension" in said
    assert f"data {SLICE} (digest f00)" in said
    assert f" {few} (digest ba5)" in said
    of_one_size = replace(made_up(spec=replace(SLICE, seed=7), shape=Shape(n=22_912)), provenance=second.provenance)
    said = _of_slices(first, of_one_size)
    assert "Only one thing differs (data): on these examples" in said
    assert "different n" not in said


def test_two_names_of_the_same_data_are_no_difference():
    made = {**ONE, "slice": "f00"}
    first = replace(made_up(), provenance=made)
    said = _of_slices(first, replace(made_up(spec=replace(SLICE, count=200)), provenance=made))
    assert "Nothing that is recorded differs" in said


PARTS = {
    "vision encoder": "CLIP: 5 layers",
    "connector": "Projector: Linear 64 to 96",
    "decoder": "Mistral: 8 layers",
    "tokens of a picture": "88 (square), 52 (2:1)",
}
TRAINED = {"vision encoder": "e1", "connector": "c1", "decoder": "d1"}


def _made(parts: dict[str, str], weights: dict[str, str], **others: str) -> Measurement:
    provenance = {**ONE, **others, "parts": {**PARTS, **parts}, "weights": {**TRAINED, **weights}}
    return replace(made_up(), provenance=provenance)


def test_what_follows_from_another_connector_does_not_count_as_a_difference_of_its_own():
    adapter = {"connector": "Adapter: TransformerEncoderLayer", "tokens of a picture": "16"}
    weights = {"connector": "c2", "decoder": "d2"}
    second = _made(adapter, weights, model="b2", architecture="OmniFusion", state="s2")
    second = replace(second, tokens={"text": 4812, "image": 2000})
    said = _contrast(_made({}, {}), second)
    assert "2 things differ at once: connector, tokens of a picture." in said
    assert "pictures cut into tiles can be measured as one tile each" in said
    assert "Weights of the connector and the decoder differ as well" in said
    assert "vision encoder CLIP: 5 layers" in said.partition("are the same")[2]
    assert "architecture" in said.partition("Differs with them")[2].partition("are the same")[0]
    assert "s2" not in said
    three = {**weights, "vision encoder": "v2"}
    of_three = re.findall(
        r"Weights of the ([^,]*), the ([^,]*) and the (.*) differ", _contrast(_made({}, {}), _made(adapter, three))
    )
    assert [{*names} for names in of_three] == [{*three}]
    alone = _contrast(_made({}, {}), _made({"connector": "Adapter"}, weights, model="b2"))
    assert "Only one thing differs (connector)" in alone


def test_two_trainings_of_one_design_differ_in_their_weights_alone():
    said = _contrast(_made({}, {}), _made({}, {"decoder": "d2"}, model="b2"))
    assert "Only weights differ (decoder)" in said


def test_the_depth_of_the_models_is_a_difference():
    desk = Desk()
    requests = [Request(model, SLICE) for model in MODELS]
    for request, layers in zip(requests, (16, 24), strict=True):
        desk.forget(request)
        desk.measured(request, made_up(request.model, shape=Shape(layers=layers)))
    facts = {fact.name: fact for fact in contrast(shown(desk, requests))}
    assert facts["layers L"].values == ("16", "24")
    assert facts["layers L"].differs
    assert not facts["width d"].differs


@pytest.fixture
def source() -> FakeSource:
    return FakeSource([made_up(), made_up(MODELS[1], shape=Shape(tilt=1.0))])


def _open(e: Driven) -> Card:
    card = e.app.screen_stack[-1]
    assert isinstance(card, Card)
    return card


async def test_i_opens_the_card_and_the_cursor_moves_in_it(source: FakeSource):
    async with explorer(source) as e:
        await filled(e)
        await e.press("i")
        card = _open(e)
        profile = sure(source.stored[MODELS[0], str(SLICE)].profile(Metric.LINEARITY, Modality.TEXT, Stream.MAIN))
        assert f"layer 12: {profile.value[12]:.4f}" in card.text
        assert "arXiv 2405.12250" in card.text
        await e.press("right")
        assert e.session.layer == 13
        assert f"layer 13: {profile.value[13]:.4f}" in card.text
        await e.press("escape")
        assert e.app.screen is e.explorer


async def test_k_lists_the_differences_of_two_curves(source: FakeSource):
    async with explorer(source) as e:
        await filled(e)
        await e.press("k")
        await e.until(lambda: "nothing to compare" in e.notes)
    async with explorer(source, session=Session(MODELS, SLICE)) as e:
        await filled(e)
        await e.press("k")
        assert "are the same" in _open(e).text


async def test_the_title_of_the_differences_names_every_model_to_its_end():
    names = ("demo:llava-next", "demo:omnifusion", "demo:llava-next@init", "demo:llava-next-base")
    source = FakeSource([made_up(name) for name in names])
    async with explorer(source, size=(80, 24), session=Session(names, SLICE, layer=5)) as e:
        await filled(e)
        await e.press("k")
        title = e.here(Card).query_one("#title", Label)
        lines = [title.render_line(y).text.strip() for y in range(title.size.height)]
        said = "llava-next against omnifusion against llava-next@init against llava-next-base"
        assert " ".join(lines).strip() == said
        assert title.region.right <= e.here(Card).query_one("#page").region.right
