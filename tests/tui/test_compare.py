"""Curves laid over each other, their difference, hidden panes, axes and rows left out, driven by keys."""

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

import pytest
from textual.widgets import Input, OptionList

from microscope_tui.pairing import reach
from microscope_tui.results import Measurement, Profile
from microscope_tui.terms import JobState, Metric, Modality, Progress, Stream
from microscope_tui.tui.content.difference import difference
from microscope_tui.tui.session import Session
from microscope_tui.tui.themes import MARKERS
from microscope_tui.tui.widgets.pane import Pane
from tests.sure import sure
from tests.tui.driving import Driven, explorer, filled
from tests.tui.fake import MODELS, SLICE, FakeSource, Shape, made_up

NAMES = (*MODELS, "demo:third", "demo:fourth")
FEW = replace(SLICE, count=50)


@pytest.fixture
def source() -> FakeSource:
    models = [made_up(name, shape=Shape(tilt=i / 3)) for i, name in enumerate(NAMES)]
    return FakeSource([*models, made_up(spec=FEW, shape=Shape(tilt=2.0))])


def _shown(e: Driven) -> list[str]:
    return [pane.face.view.title for pane in e.explorer.query(Pane) if pane.display and pane.face]


async def test_four_models_are_told_apart_and_a_fifth_is_refused(source: FakeSource):
    async with explorer(source, session=Session(NAMES, SLICE, layer=12)) as e:
        await filled(e)
        for sign, name in zip("●◆▲■", ("llava-next", "omnifusion", "third", "fourth"), strict=True):
            assert f"{sign} {name}" in e.bar("header")
            assert f"{sign} {name}" in e.pane(0)
        for number, sign in enumerate("●◆▲■", start=1):
            assert sign in e.bar(f"inspector-{number}" if number > 1 else "inspector")
        await e.press("c")
        await e.until(lambda: "- takes one off" in e.notes)
        assert e.app.screen is e.explorer


async def test_a_pane_without_room_for_four_lines_of_values_keeps_the_pinned_one(source: FakeSource):
    async with explorer(source, size=(60, 20), session=Session(NAMES, SLICE, layer=12)) as e:
        await filled(e)
        await e.press("p", "p", "p")
        face = e.face()
        assert "fourth" in [series.label for series in face.read_out]
        assert len(face.read_out) < 4
        assert sum(ord(char) > 0x2800 for char in e.pane(0)) > 10
        assert "■" in e.bar("inspector")


async def test_the_pinned_curve_is_drawn_over_the_others():
    source = FakeSource([made_up(), made_up(MODELS[1])])  # the same values, so that one lies on the other
    async with explorer(source, session=Session(MODELS, SLICE, layer=12)) as e:
        await filled(e)
        face = e.face()
        assert face.view.lines[0].colour == 0
        await e.press("p")
        assert e.session.top == 1
        face = e.face()
        assert face.view.lines[0].colour == 1
        cells: Counter[str] = Counter()
        for segment in (segment for row in face.rows() for segment in row if segment.style):
            if dots := sum(ord(char) > 0x2800 for char in segment.text):
                cells[sure(sure(segment.style).color).name] += dots
        assert [colour for colour, _ in cells.most_common()] == [e.explorer.palette.of(n) for n in (1, 0)]


async def test_another_slice_is_laid_over_and_taken_off(source: FakeSource):
    async with explorer(source) as e:
        await filled(e)
        await e.press("C")
        await e.until(lambda: e.app.screen.query_one(OptionList).option_count)
        e.app.screen.query_one(Input).value = str(FEW)
        await e.pilot.pause()
        await e.press("enter")
        await e.until(lambda: e.session.comparing)
        await filled(e)
        assert "llava-next on  ● whole scienceqa  ◆ count=50" in " ".join(e.bar("header").split(" "))
        assert "◆ count=50" in e.pane(0)
        assert [request.slice for request in e.explorer.requests] == [SLICE, FEW]
        await e.press("minus")
        assert not e.session.comparing


def _by_group(measurement: Measurement, own: float) -> Measurement:
    """With the influence of 10 groups of examples, most of it common to all models; `own` is what is not."""
    moved = tuple(0.05 * math.sin(3 * k) + own * math.cos(5 * k) for k in range(10))
    profiles = tuple(replace(p, influence=(moved,) * len(p.layers)) for p in measurement.profiles)
    return replace(measurement, profiles=profiles, provenance={**measurement.provenance, "slice": "one digest"})


async def test_models_on_the_same_examples_are_compared_in_pairs():
    first, second = (_by_group(made_up(model), own) for model, own in zip(MODELS, (0.0, 1e-4), strict=True))
    async with explorer(FakeSource([first, second]), session=Session(MODELS, SLICE, layer=3)) as e:
        await filled(e)
        await e.press("f")
        assert "paired, marked by max-T × 24" in e.bar("metric")
        view = e.face().view
        assert view.paired
        assert " (p " in e.bar("inspector")
        profile = view.series[0].profile
        assert profile is not None
        assert profile.low[3] is not None
        moved = tuple(1e-4 * math.cos(5 * k) for k in range(10))
        assert sure(profile.value[3]) - profile.low[3] == pytest.approx(reach(moved, 10))


@pytest.mark.parametrize(
    ("third", "marked"),
    [
        ("partial", "B, C − A, paired, marked by max-T × 24"),
        ("complete", "B, C − A, marked by max-T or Bonferroni × 24"),
    ],
)
async def test_a_third_curve_that_is_not_paired_changes_nothing_about_the_pair(third: str, marked: str):
    pair = [_by_group(made_up(model), own) for model, own in zip(MODELS, (0.0, 1e-4), strict=True)]
    other = made_up("demo:third", shape=Shape(tilt=3.0))
    if third == "partial":  # it has no intervals yet: nothing of it is tested
        bare = tuple(replace(p, low=(None,) * len(p.low), high=(None,) * len(p.high)) for p in other.profiles)
        other = replace(other, profiles=bare, complete=False)
    source = FakeSource([*pair, other])
    async with explorer(source, session=Session((*MODELS, "demo:third"), SLICE, layer=3), size=(160, 40)) as e:
        await filled(e)
        await e.press("f")
        assert marked in e.bar("metric")
        assert " (p " in e.bar("inspector")


async def test_layers_are_marked_by_as_many_folds_as_there_was_memory_for():
    """Both asked for 10 folds; one has had room for 3, and a third has rows in 4 of them only."""
    few = made_up(MODELS[1], shape=Shape(tilt=3.0))
    few = replace(few, provenance={**few.provenance, "folds": 3})
    sparse = made_up("demo:third", shape=Shape(tilt=3.0))
    moved = (0.1, 0.0, 0.0, -0.2, 0.0, 0.1, 0.0, 0.0, 0.2, 0.0)
    profiles = tuple(replace(p, influence=(moved,) * len(p.layers)) for p in sparse.profiles)
    source = FakeSource([made_up(), few, replace(sparse, profiles=profiles)])
    async with explorer(source, session=Session((*MODELS, "demo:third"), SLICE, layer=3)) as e:
        await filled(e)
        await e.press("f")
        view = e.face().view
        first, *others = (
            sure(source.stored[model, str(SLICE)].profile(Metric.LINEARITY, Modality.TEXT, Stream.MAIN))
            for model in (*MODELS, "demo:third")
        )
        for series, other, groups in zip(view.series, others, (3, 4), strict=True):
            marks = {
                n: difference(first, other, first.layers, other.layers, groups=n).significant for n in (groups, 10)
            }
            assert series.marks == marks[groups] != marks[10]


async def test_f_shows_the_difference_and_where_it_is_significant(source: FakeSource):
    async with explorer(source, session=Session(MODELS, SLICE, layer=3)) as e:
        await filled(e)
        a, b = (
            sure(source.stored[model, str(SLICE)].profile(Metric.LINEARITY, Modality.TEXT, Stream.MAIN))
            for model in MODELS
        )
        await e.press("f")
        assert f"{sure(b.value[3]) - sure(a.value[3]):+.4f}" in e.pane(0)
        assert "Bonferroni × 24" in e.bar("metric")
        assert "less llava-next" in str(e.explorer.query_one("#pane-0").border_title)
        view = e.face().view
        (line,) = view.lines
        said = "differs" if line.marks[3] else "not significant"
        assert said in e.bar("inspector")
        assert f"{b.value[3]:.4f} against {a.value[3]:.4f}" in e.bar("inspector")
        await e.press("f")
        assert f"{a.value[3]:.4f}" in e.pane(0)


async def test_one_curve_alone_has_no_difference(source: FakeSource):
    async with explorer(source) as e:
        await filled(e)
        await e.press("f")
        await e.until(lambda: "nothing to subtract" in e.notes)
        assert not e.session.difference


async def test_rows_and_columns_are_hidden_and_shown_again(source: FakeSource):
    async with explorer(source) as e:
        await filled(e)
        await e.press("w")
        assert _shown(e) == ["image · main", "image · residual"]
        await e.press("W")
        assert _shown(e) == ["image · residual"]
        await e.until(lambda: e.explorer.query_one("#pane-0").size.width > 100)
        await e.press("w", "W")
        assert _shown(e) == ["image · residual"]
        await e.press("a")
        await e.until(lambda: len(_shown(e)) == 6)
        assert e.session.focus == (Modality.IMAGE, Stream.RESIDUAL)


async def test_a_row_of_videos_appears_by_itself():
    measured = made_up()
    video = tuple(replace(p, modality=Modality.VIDEO) for p in measured.profiles if p.modality is Modality.IMAGE)
    with_video = replace(measured, profiles=measured.profiles + video, tokens={**measured.tokens, "video": 999})
    async with explorer(FakeSource([with_video])) as e:
        await filled(e)
        await e.until(lambda: "video · main" in _shown(e))
        assert len(_shown(e)) == 6
        await e.press("tab", "tab", "tab", "tab", "w")
        assert "video · main" not in _shown(e)


async def test_x_compares_models_of_different_depth_by_the_share_of_it():
    source = FakeSource([made_up(shape=Shape(layers=16)), made_up(MODELS[1], shape=Shape(layers=32))])
    async with explorer(source, session=Session(MODELS, SLICE, layer=16)) as e:
        await filled(e)
        assert "no block starts here" in e.bar("inspector")
        await e.press("x")
        shallow = sure(source.stored[MODELS[0], str(SLICE)].profile(Metric.LINEARITY, Modality.TEXT, Stream.MAIN))
        assert f"{shallow.value[8]:.4f}" in e.bar("inspector")
        assert "depth 0.50" in e.bar("inspector")
        assert "layer 8 " in e.bar("inspector")
        assert "layer 16 " in e.bar("inspector-2")
        assert " 0.50 " in e.pane(0).splitlines()[-1]


async def test_g_makes_the_axis_logarithmic_for_its_metric_only(source: FakeSource):
    async with explorer(source) as e:
        await filled(e)
        await e.press("2")
        before = e.pane(0)
        await e.press("g")
        assert e.pane(0) != before
        assert "log y" in e.bar("metric")
        await e.press("1")
        assert "log y" not in e.bar("metric")


async def test_rows_left_out_are_measured_anew_and_until_then_it_is_said_what_is_shown(source: FakeSource):
    async with explorer(source) as e:
        await filled(e)
        before = e.pane(0)
        await e.press("S")
        await e.until(lambda: source.submitted)
        assert source.submitted[0].without == ("sinks",)
        assert "without sinks" in e.bar("metric")
        assert e.pane(0) == before
        assert "still all rows" in str(e.explorer.query_one("#pane-0").border_title)
        job = source.move(source.worked["job-1"], JobState.RUNNING, Progress("measuring", 3, 60))
        await e.until(lambda: "measuring 3/60" in e.bar("header"))
        source.variants[job.request] = made_up(shape=Shape(tilt=3.0))
        source.move(job, JobState.DONE)
        await e.until(lambda: "still" not in str(e.explorer.query_one("#pane-0").border_title))
        assert e.pane(0) != before
        await e.press("S")
        await e.until(lambda: e.pane(0) == before)
        assert "without" not in e.bar("metric")
        assert len(source.submitted) == 1


async def test_r_shows_what_the_reference_gives(source: FakeSource):
    async with explorer(source) as e:
        await filled(e)
        usual = e.explorer.requests[0]
        source.variants[replace(usual, reference=True)] = _with_reference(made_up())
        await e.press("R")
        await e.until(lambda: "llm-microscope" in e.bar("metric"))
        assert "reference" in e.bar("metric")
        await e.press("3")
        assert "llm-microscope" in e.bar("metric")
        await e.press("R", "1")
        assert "in-sample" in e.bar("metric")


async def test_r_says_which_variant_it_takes_the_place_of_and_brings_that_back(source: FakeSource):
    async with explorer(source) as e:
        await filled(e)
        source.variants[replace(e.explorer.requests[0], reference=True)] = _with_reference(made_up())
        await e.press("v")
        assert "held-out" in e.bar("metric")
        await e.press("R")
        assert e.notes == "llm-microscope: its own functions on the same rows; R goes back to held-out"
        await e.until(lambda: "llm-microscope" in e.bar("metric"))
        await e.press("R")
        await e.until(lambda: "linearity: held-out again." in e.notes)
        assert "held-out" in e.bar("metric")


async def test_stages_before_the_decoder_can_be_reached_by_the_cursor():
    usual = made_up()
    before = replace(usual, profiles=tuple(map(_with_stages, usual.profiles)))
    source = FakeSource([usual])
    async with explorer(source) as e:
        await filled(e)
        source.variants[replace(e.explorer.requests[0], before=True)] = before
        await e.press("B", "3")
        await e.until(lambda: e.explorer.first == -3)
        await e.press("home", "tab", "tab", "tab")
        assert e.session.layer == -3
        assert "vision tower" in e.bar("inspector")
        assert "d 32" in e.bar("inspector")
        assert "vision tower" in e.pane(3).splitlines()[-1]
        await e.press("right", "right")
        assert " connector " in e.pane(3).splitlines()[-1]
        await e.press("home", "shift+tab", "shift+tab", "shift+tab")
        assert f"vision tower: no anisotropy measured for {_shown(e)[0]}" in e.bar("inspector")


async def test_little_is_drawn_for_a_slow_line(source: FakeSource):
    async with explorer(source) as e:
        await filled(e)
        assert "│" in e.pane(0)
        dots = e.pane(0).count("·")
        await e.press("b")
        assert e.pane(0).count("·") < dots / 4
        assert "thin line" in e.bar("metric")


def _with_reference(measured: Measurement) -> Measurement:
    first = {Metric.LINEARITY: "in-sample", Metric.DIMENSION: "mle", Metric.ANISOTROPY: "top-eigenvalue"}
    more = (replace(p, method="llm-microscope") for p in measured.profiles if p.method == first[p.metric])
    return replace(measured, profiles=(*measured.profiles, *more))


def _with_stages(profile: Profile) -> Profile:
    if profile.metric is Metric.LINEARITY or profile.modality is Modality.TEXT or profile.stream is not Stream.RESIDUAL:
        return profile
    return replace(
        profile,
        layers=(-3, -2, -1, *profile.layers),
        value=(0.3, 0.3, 0.4, *profile.value),
        low=(None,) * 3 + profile.low,
        high=(None,) * 3 + profile.high,
        n=(50,) * 3 + profile.n,
        notes=((),) * 3 + profile.notes,
        facts=((),) * 3 + profile.facts,
        influence=((),) * 3 + profile.influence,
        shares=((),) * 3 + profile.shares,
        repeated=(None,) * 3 + profile.repeated,
        stages=("vision tower", "vision tower", "connector", *profile.stages),
        widths=(32, 32, profile.d, *profile.widths),
    )


async def test_the_cursor_comes_back_from_stages_that_are_shown_no_more():
    usual = made_up()
    source = FakeSource([usual])
    async with explorer(source) as e:
        await filled(e)
        before = replace(usual, profiles=tuple(map(_with_stages, usual.profiles)))
        source.variants[replace(e.explorer.requests[0], before=True)] = before
        await e.press("B")
        await e.until(lambda: e.explorer.first == -3)
        await e.press("home", "B")
        assert e.session.layer == 0


async def test_a_narrow_pane_says_what_it_still_shows(source: FakeSource):
    async with explorer(source, size=(60, 20)) as e:
        await filled(e)
        await e.press("S")
        await e.until(lambda: source.submitted)
        assert "still all" in e.pane(0)
        assert "…" in e.pane(0).splitlines()[0] or "still all rows" in e.pane(0)


async def test_a_grid_of_four_by_three_at_every_size():
    measured = made_up()
    more = tuple(
        replace(p, modality=modality)
        for modality in (Modality.VIDEO, Modality.AUDIO)
        for p in measured.profiles
        if p.modality is Modality.IMAGE
    )
    tokens = {**measured.tokens, "video": 999, "audio": 99}
    source = FakeSource([replace(measured, profiles=measured.profiles + more, tokens=tokens), made_up(MODELS[1])])
    async with explorer(source, size=(200, 50), session=Session(MODELS, SLICE, layer=12)) as e:
        await filled(e)
        await e.press("a", "f")
        await e.until(lambda: len(_shown(e)) == 12)
        for size in ((60, 20), (1, 1), (80, 24), (300, 90)):
            await e.pilot.resize_terminal(*size)
            await e.press("right", "tab", "f", "2", "g", "z", "z")
            assert "cannot be drawn" not in " ".join(pane.text for pane in e.explorer.query(Pane))
        await e.until(lambda: "text · main" in _shown(e)[0])


async def test_curves_without_a_line_of_values_are_counted():
    names = ("demo:a", "demo:b", "demo:c", "demo:d")
    source = FakeSource([made_up(name, shape=Shape(tilt=k / 4)) for k, name in enumerate(names)])
    async with explorer(source, size=(80, 24), session=Session(names, SLICE, layer=12)) as e:
        await filled(e)
        for number in range(4):
            values = [line for line in e.pane(number).splitlines() if "[" in line]
            assert len(values) == 3
            assert values[-1].endswith(" +1 more")
            assert not any("more" in line for line in values[:-1])
        await e.pilot.resize_terminal(120, 40)
        await e.until(lambda: "more" not in e.pane(0))


async def test_of_four_curves_in_three_columns_every_title_has_the_signs():
    names = ("demo:a", "demo:b", "demo:c", "demo:d")
    source = FakeSource([made_up(name) for name in names])
    async with explorer(source, size=(80, 24), session=Session(names, SLICE, layer=12)) as e:
        await filled(e)
        await e.press("a")
        await e.until(lambda: len(_shown(e)) > 4)
        for number, title in enumerate(_shown(e)):
            head = e.pane(number).splitlines()[0]
            assert title in head
            assert all(sign in head for sign in MARKERS[:4]), head


def _with_rows(measured: Measurement, n: Mapping[Modality, int]) -> Measurement:
    """A measurement whose dimension has so many different rows, fewer at the first layer."""
    profiles = tuple(
        replace(p, n=(90, *(n[p.modality],) * (len(p.n) - 1))) if p.metric is Metric.DIMENSION else p
        for p in measured.profiles
    )
    return replace(measured, profiles=profiles)


async def test_n_gives_every_curve_the_same_number_of_different_rows():
    pair = (
        _with_rows(made_up(), {Modality.TEXT: 2938, Modality.IMAGE: 4096}),
        _with_rows(made_up(MODELS[1]), {Modality.TEXT: 3000, Modality.IMAGE: 4096}),
    )
    source = FakeSource(pair)
    async with explorer(source, session=Session(MODELS, SLICE)) as e:
        await filled(e)
        await e.press("N")
        await e.until(lambda: len(source.submitted) == 2)
        assert [request.matched for request in source.submitted] == [2938, 2938]
        assert {request.sample_tokens for request in source.submitted} == {4096}  # the same sample, no other one
        assert "matched n ≤ 2,938" in e.bar("metric")
        assert "still all different rows" in str(e.explorer.query_one("#pane-0").border_title)
        await e.press("N")
        assert {request.matched for request in e.explorer.requests} == {None}


async def test_n_says_when_there_is_nothing_to_match():
    same = _with_rows(made_up(), {Modality.TEXT: 4096, Modality.IMAGE: 4096})
    async with explorer(FakeSource([same])) as e:
        await filled(e)
        await e.press("N")
        await e.until(lambda: "Dimension has 4,096 different rows of each already." in e.notes)
        assert e.session.rows is None


async def test_n_waits_for_the_whole_of_dimension():
    source = FakeSource()
    async with explorer(source) as e:
        await e.until(lambda: source.worked)
        source.move(source.worked["job-1"], JobState.RUNNING, partial=made_up(complete=False))
        await filled(e)
        await e.press("N")
        await e.until(lambda: "is known when dimension is measured to the end" in e.notes)
        assert e.session.rows is None
