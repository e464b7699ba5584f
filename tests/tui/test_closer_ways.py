"""The ways from one of the screens that look closer to another, what nobody waits for then, and their cards."""

from dataclasses import replace

import pytest

from microscope_tui.terms import JobKind, JobState, Stream
from microscope_tui.tui.content.tokens import Quantity
from microscope_tui.tui.data.looks import Look
from microscope_tui.tui.data.values import Value
from microscope_tui.tui.screens.card import Card
from microscope_tui.tui.screens.closer import Closer
from microscope_tui.tui.screens.examples import Examples
from microscope_tui.tui.screens.map import Map
from microscope_tui.tui.screens.tokens import TokenScreen
from microscope_tui.tui.screens.worst import Worst
from tests.sure import sure
from tests.tui import looked
from tests.tui.closer import BOTH, ONE, bar, canvas, looked_at, opened
from tests.tui.driving import Driven, explorer, filled
from tests.tui.fake import MODELS, SLICE, FakeSource, made_up

KINDS: dict[str, type[Closer]] = {"E": Examples, "T": TokenScreen, "X": Worst, "M": Map}


@pytest.fixture
def source() -> FakeSource:
    return looked_at()


def kinds(e: Driven) -> list[type]:
    """What lies over the panes."""
    return [type(screen) for screen in e.app.screen_stack[1:]]


@pytest.mark.parametrize("start", KINDS)
async def test_from_each_screen_to_each_other_and_back_to_the_panes(source: FakeSource, start: str):
    async with explorer(source, session=BOTH) as e:
        for key, kind in KINDS.items():
            await opened(e, start, KINDS[start])
            await e.press(key)
            await e.until(lambda kind=kind: kinds(e) == [kind])  # type: ignore[misc]
            await e.press("escape")
            await e.until(lambda: e.app.screen is e.explorer)


async def test_a_screen_that_was_left_behind_is_gone_back_to(source: FakeSource):
    async with explorer(source, session=BOTH) as e:
        worst = await opened(e, "X", Worst)
        await e.press("down", "enter")
        await e.until(lambda: kinds(e) == [Worst, TokenScreen])
        await e.press("E")
        await e.until(lambda: kinds(e) == [Worst, Examples])
        await e.press("enter")
        await e.until(lambda: kinds(e) == [Worst, Examples, TokenScreen])
        await e.press("X")
        await e.until(lambda: e.app.screen is worst)
        assert (kinds(e), worst.at) == ([Worst], 1)


async def test_the_model_that_is_looked_at_is_taken_along(source: FakeSource):
    async with explorer(source, session=BOTH) as e:
        await opened(e, "T", TokenScreen)
        await e.press("c", "X")
        worst = e.here(Worst)
        await e.until(lambda: worst.value)
        assert worst.request.model == MODELS[1]
        assert bar(e, "title").startswith(" ◆ Worst tokens")
        await e.press("E", "T")
        assert e.here(TokenScreen).request.model == MODELS[1]


@pytest.mark.parametrize("key", KINDS)
async def test_the_model_that_is_pinned_on_top_is_looked_at_first(source: FakeSource, key: str):
    async with explorer(source, session=BOTH) as e:
        await filled(e)
        await e.press("p")
        screen = await opened(e, key, KINDS[key])
        assert screen.requests[screen.model].model == MODELS[1]
        await e.press("escape", "p", key)
        again = e.here(KINDS[key])
        assert again.requests[again.model].model == MODELS[0]


async def test_on_two_slices_it_is_the_one_model_that_is_looked_at(source: FakeSource):
    other = replace(SLICE, seed=1)
    source.stored[MODELS[0], str(other)] = made_up(MODELS[0], other)
    async with explorer(source, session=replace(ONE, others=(other,))) as e:
        await filled(e)
        await e.press("p")
        assert e.session.top == 1
        screen = await opened(e, "M", Map)
        assert screen.request.model == MODELS[0]


async def test_the_cursor_of_layers_is_where_it_was_left(source: FakeSource):
    async with explorer(source, session=ONE) as e:
        await opened(e, "X", Worst)
        await e.press("right", "right", "M")
        assert e.here(Map).at_layer == 7
        await e.press("escape")
        assert "layer 7" in e.bar("inspector")


@pytest.mark.parametrize("key", KINDS)
async def test_who_leaves_waits_for_nothing_any_more(source: FakeSource, key: str):
    source.looks.clear()
    async with explorer(source, session=BOTH) as e:
        await filled(e)
        await e.press(key)
        screen = e.here(KINDS[key])
        await e.until(lambda: len(source.worked) == len(screen.asked))
        await e.until(lambda: all(screen.see(look).job for look in screen.asked))
        await e.press("escape")
        await e.until(lambda: sorted(source.cancelled) == sorted(source.worked))


async def test_what_somebody_else_waits_for_is_not_cancelled(source: FakeSource):
    source.looks.clear()
    async with explorer(source, session=ONE) as e:
        await filled(e)
        looks, look = e.explorer.looks, Look(e.explorer.requests[0], JobKind.WORST)
        looks.ask(look)
        for who in ("one", "other"):
            looks.wait(who, [look])
        await e.until(lambda: looks.of(look).job)
        looks.wait("one", ())
        assert looks.of(look).waiting
        looks.wait("other", ())
        await e.until(lambda: source.cancelled == [*source.worked])


@pytest.mark.parametrize(
    ("key", "kind", "old"),
    [
        ("M", JobKind.MAP, replace(looked.cloud(), walked=0, notes=("rows of 32 of 200 examples",))),
        ("T", JobKind.TOKENS, replace(looked.table(mapped=False), walked=0)),
        ("X", JobKind.WORST, replace(looked.worst(), fitted=20)),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_what_was_made_before_the_slice_was_measured_is_made_anew_by_itself(
    source: FakeSource, key: str, kind: JobKind, old: Value
):
    """Once, and what there is stays on the screen until then."""
    look = (MODELS[0], kind, 0 if kind is JobKind.TOKENS else None)
    better = source.looks[look]
    source.looks[look] = old
    async with explorer(source, session=ONE, size=(120, 24)) as e:
        screen = await opened(e, key, KINDS[key])
        if isinstance(screen, TokenScreen):
            await e.press("down", "down")
        await e.until(lambda: source.looked_at == [look])
        assert screen.see(screen.asked[0]).value is old
        (job,) = source.worked.values()
        source.looks[look] = better
        source.move(job, JobState.DONE)
        await e.until(lambda: screen.see(screen.asked[0]).value is better)
        if isinstance(screen, TokenScreen):
            assert sure(screen.reading).line.start == 2
            assert screen.quantity is Quantity.RESIDUAL


async def test_what_cannot_be_made_anew_stays_and_is_not_asked_for_twice(source: FakeSource):
    old = replace(looked.cloud(), walked=0)
    source.looks[MODELS[0], JobKind.MAP, None] = old
    async with explorer(source, session=ONE) as e:
        screen = await opened(e, "M", Map)
        await e.until(lambda: source.worked)
        (job,) = source.worked.values()
        source.move(job, JobState.FAILED, error="It does not fit.")
        await e.until(lambda: not screen.see(screen.asked[0]).waiting)
        await e.press("right", "left")
        assert screen.see(screen.asked[0]).value is old
        assert "does not fit" not in canvas(e, "map-0")
        assert len(source.worked) == 1


async def test_looks_are_those_of_the_rows_whatever_is_computed_from_them(source: FakeSource):
    """As many rows for dimension, or the reference beside it, make no other map."""
    async with explorer(source, session=ONE) as e:
        await filled(e)
        rows = replace(e.session, rows=500, reference=True)
        for request in rows.requests(e.explorer.settings):
            source.variants[request] = sure(source.stored[MODELS[0], str(SLICE)])
            assert Look(request, JobKind.MAP) == Look(e.explorer.requests[0], JobKind.MAP)
        e.explorer.change(rows)
        screen = await opened(e, "M", Map)
        assert {look.request.matched for look in screen.asked} == {None}
        assert not source.looked_at


async def test_what_another_explorer_waits_for_is_left_to_it(source: FakeSource):
    source.looks.clear()
    async with explorer(source, session=ONE) as e:
        await filled(e)
        await e.press("M")
        screen = e.here(Map)
        await e.until(lambda: screen.see(screen.asked[0]).job)
        (job,) = source.worked
        source.wanted_elsewhere.add(job)
        await e.press("escape")
        await e.until(lambda: source.left == [job])
        assert source.cancelled == []


async def test_who_comes_back_at_once_does_not_read_that_it_was_cancelled(source: FakeSource):
    """Leaving cancels the job; asked for again it may be found on its way, just before it is cancelled."""
    source.looks.clear()
    async with explorer(source, session=ONE) as e:
        await filled(e)
        await e.press("T")
        screen = e.here(TokenScreen)
        await e.until(lambda: screen.see(screen.asked[0]).job)
        (first,) = source.worked.values()
        e.explorer.looks.wait(screen, ())
        source.worked.clear()
        source.submit = lambda *_: first  # type: ignore[method-assign]
        screen.see(screen.asked[0])
        await e.until(lambda: screen.see(screen.asked[0]).job)
        del source.submit
        source.worked[first.id] = first
        source.move(first, JobState.CANCELLED)
        await e.until(lambda: any(job.id != first.id for job in source.worked.values()))
        await e.until(lambda: "queued" in canvas(e, "heat"))


async def test_i_tells_of_the_tokens_and_follows_the_layer(source: FakeSource):
    async with explorer(source, session=ONE) as e:
        screen = await opened(e, "T", TokenScreen)
        table = looked.table(MODELS[0], 0)
        await e.press("down", "down", "i")
        card = e.here(Card)
        assert str(card.query_one("#title").render()) == "tokens of demo:scienceqa"
        assert "token 2 “:”, text" in card.text
        assert f"residual: {table.residual[5][2]:#.4g}" in card.text
        assert "fitted on 180 examples" in card.text
        await e.press("right")
        assert f"residual: {table.residual[6][2]:#.4g}" in card.text
        await e.press("escape")
        assert (e.here(TokenScreen), screen.at_layer) == (screen, 6)
        assert "layer 6  token 2" in canvas(e, "detail")


async def test_i_tells_of_a_sink_among_the_tokens(source: FakeSource):
    async with explorer(source, session=ONE) as e:
        await opened(e, "T", TokenScreen)
        norms = sorted(looked.table(MODELS[0], 0).norm[5])
        times = looked.table(MODELS[0], 0).norm[5][0] / ((norms[70] + norms[71]) / 2)
        assert times > 10
        await e.press("i")
        assert f"its norm is {times:.3g} times the median" in e.here(Card).text


async def test_a_modality_can_be_chosen_while_the_worst_tokens_are_looked_for(source: FakeSource):
    found = source.looks.pop((MODELS[0], JobKind.WORST, None))
    async with explorer(source, session=ONE) as e:
        await filled(e)
        await e.press("X")
        await e.until(lambda: source.looked_at)
        for chosen in ("text", "image", "all", "text"):
            await e.press("f")
            assert bar(e, "title").rstrip().endswith(chosen)
        source.looks[MODELS[0], JobKind.WORST, None] = found
        (job,) = (job for job in source.worked.values() if job.kind is JobKind.WORST)
        source.move(job, JobState.DONE)
        await e.until(lambda: "worst of text" in canvas(e, "body"))


async def test_i_tells_of_the_worst_tokens_the_map_and_the_answers(source: FakeSource):
    async with explorer(source, session=BOTH) as e:
        await opened(e, "X", Worst)
        await e.press("i")
        said = e.here(Card).text
        assert "linearity residual by fold: 3.95" in said
        assert "in the view of its example is another number" in said
        assert "layer 5, from h_5 to h_6, of llava-next" in said
        assert "800 text, 3,200 image rows" in said
        await e.press("escape", "M", "i")
        await e.until(lambda: "on the plane" in e.here(Card).text)
        said = e.here(Card).text
        assert "100 text and 200 image rows of 20 examples; 0.55 of their variance is on the plane" in said
        assert "each model has axes of its own" in said
        await e.press("escape", "E", "i")
        said = e.here(Card).text
        answers = sure(source.stored[MODELS[0], str(ONE.slice)]).answers
        right = sum(answer.right for answer in answers)
        assert f"llava-next: {right} of {len(answers)} right ({right / len(answers):.1%})" in said
        assert "what guessing would give: 33.3%" in said
        assert "layer" not in str(e.here(Card).query_one("#said").render())


async def test_the_map_tells_of_massive_rows_only_at_their_layer(source: FakeSource):
    given = replace(looked.cloud(), stream=Stream.MAIN, massive={"text": (0,) * 5 + (3, 0), "image": (0,) * 5 + (1, 0)})
    source.looks[MODELS[0], JobKind.MAP, None] = given
    async with explorer(source, session=ONE, size=(160, 40)) as e:
        await opened(e, "M", Map)
        said = " ".join(canvas(e, "map-0").split())
        assert "a massive norm at layer 5: 3 of 100 text rows and 1 of 200 image rows, which stretch the plane" in said
        assert "S in the explorer leaves sinks out" in said
        await e.press("right")
        assert "massive" not in canvas(e, "map-0")
