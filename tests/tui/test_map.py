"""The worst tokens of a layer and the map of sampled rows, driven by keys over a fake source."""

import re
from dataclasses import replace

import pytest

from microscope_tui.inspection import Projection
from microscope_tui.terms import JobKind, JobState, Modality, Progress, Stream
from microscope_tui.tui.screens.map import Map
from microscope_tui.tui.screens.tokens import TokenScreen
from microscope_tui.tui.screens.worst import Worst
from microscope_tui.tui.session import Session
from tests.sure import sure
from tests.tui import looked
from tests.tui.closer import BOTH, ONE, bar, canvas, looked_at, opened
from tests.tui.driving import explorer, filled
from tests.tui.fake import MODELS, SLICE, FakeSource, News, Shape, made_up


@pytest.fixture
def source() -> FakeSource:
    return looked_at()


async def test_from_the_worst_token_of_a_layer_to_its_example(source: FakeSource):
    async with explorer(source, session=ONE) as e:
        screen = await opened(e, "X", Worst)
        value = looked.worst()
        assert "Worst tokens  layer 5  of 800 text, 3,200 image rows" in bar(e, "title")
        assert f"{value.layers[5][0].residual:.4g}" in canvas(e, "body").splitlines()[1]
        await e.press("right", "down")
        assert f"{value.layers[6][1].residual:.4g}" in canvas(e, "body").splitlines()[2]
        await e.press("f", "f")
        assert {t.modality for t in screen.listed} == {"image"}
        await e.press("enter")
        tokens = e.here(TokenScreen)
        await e.until(lambda: tokens.reading)
        await e.pilot.pause()
        chosen = value.layers[6][1]
        assert (tokens.example, sure(tokens.reading).line.start, tokens.at_layer) == (chosen.index, chosen.position, 6)
        assert "▼ image 1 base" in canvas(e, "heat")
        assert "picture 1 · base" in canvas(e, "picture")


async def test_the_worst_of_all_are_no_more_than_are_kept_of_each_modality():
    """A third text token may be worse than the images, but is not kept."""
    kept = looked.worst()
    text = [4.0, 3.0]
    image = [0.2867, 0.28]
    places = zip([*text, *image], kept.layers[5], strict=True)
    layer = tuple(
        replace(token, residual=value, modality=Modality.TEXT if value > 1 else Modality.IMAGE)
        for value, token in places
    )
    source = looked_at()
    source.looks[MODELS[0], JobKind.WORST, None] = replace(kept, layers=(layer,) * 12)
    async with explorer(source, session=ONE) as e:
        await opened(e, "X", Worst)
        head, *lines = filter(str.strip, canvas(e, "body").splitlines())
        assert "the 2 worst of all modalities together" in head
        assert [line.strip("▌ ").split()[0] for line in lines] == ["4.000", "3.000"]
        await e.press("f", "f")
        head, *lines = filter(str.strip, canvas(e, "body").splitlines())
        assert "the 2 worst of image" in head
        assert [line.strip("▌ ").split()[0] for line in lines] == ["0.2867", "0.2800"]
        assert head.index("token ") - lines[0].index("row-") < 16


async def test_a_layer_without_a_block_has_no_worst_tokens_and_says_so(source: FakeSource):
    async with explorer(source, session=replace(ONE, layer=12)) as e:
        await opened(e, "X", Worst)
        assert "layer 12: no block starts here" in canvas(e, "body")


async def test_worst_tokens_come_by_themselves_once_the_slice_is_measured():
    source = FakeSource()
    async with explorer(source, session=ONE) as e:
        await e.until(lambda: source.worked)
        (measuring,) = source.worked.values()
        await e.press("X")
        await e.until(lambda: len(source.worked) == 2)
        asked = source.worked["job-2"]
        source.move(asked, JobState.FAILED, error="The worst tokens are not known: measure this slice first.")
        await e.until(lambda: "measure this slice first" in canvas(e, "body"))
        source.stored[MODELS[0], str(ONE.slice)] = made_up(MODELS[0], shape=Shape(layers=12))
        source.looks[MODELS[0], JobKind.WORST, None] = looked.worst()
        source.move(measuring, JobState.DONE)
        await e.until(lambda: f"{looked.worst().layers[5][0].residual:.4g}" in canvas(e, "body"))


async def test_the_map_moves_with_the_layer_and_says_its_share(source: FakeSource):
    async with explorer(source, session=BOTH) as e:
        screen = await opened(e, "M", Map)
        cloud = looked.cloud()
        for number, name in enumerate(("llava-next", "omnifusion")):
            head, *body, limits = canvas(e, f"map-{number}").splitlines()
            assert name in head
            assert f"{cloud.share[5]:.0%} of the variance" in head
            assert "T text 100" in head
            assert "I image 200" in head
            assert sum(ord(char) > 0x2800 for line in body for char in line) > 100
            assert "of 300 outside" in limits
        before = canvas(e, "map-0")
        await e.press("right")
        assert f"{cloud.share[6]:.0%} of the variance" in canvas(e, "map-0")
        assert canvas(e, "map-0") != before
        await e.press("z")
        assert "outside" not in canvas(e, "map-0")
        await e.press("f")
        assert "image" not in canvas(e, "map-0").splitlines()[0]
        await e.press("v")
        assert canvas(e, "map-1").startswith(" ◆ omnifusion")
        assert screen.at_layer == 6


async def test_a_line_parts_two_maps_and_one_has_none(source: FakeSource):
    for session, parted in ((BOTH, True), (ONE, False)):
        async with explorer(source, size=(80, 24), session=session) as e:
            await opened(e, "M", Map)
            await e.until(lambda: "of the" in canvas(e, "map-0") or "%" in canvas(e, "map-0"))
            row = "".join(segment.text for segment in e.app.screen._compositor.render_strips()[10])
            assert ("│" in row or "|" in row) == parted, row


async def test_of_four_models_the_one_that_is_come_from_is_shown_first_and_c_goes_on_to_the_others():
    names = ("demo:a", "demo:b", "demo:c", "demo:d")
    source = FakeSource([made_up(name, shape=Shape(layers=12)) for name in names])
    for name in names:
        source.looks[name, JobKind.TOKENS, 0] = looked.table(name, 0)
        source.looks[name, JobKind.MAP, None] = looked.cloud(name)
    async with explorer(source, session=Session(names, SLICE, layer=5), size=(80, 24)) as e:
        await opened(e, "T", TokenScreen)
        await e.press("c", "c", "M")
        screen = e.here(Map)
        for shown, said in (("cd", "3, 4 of 4"), ("da", "4, 1 of 4"), ("ab", "1, 2 of 4")):
            await e.until(lambda: all(screen.clouds))
            await e.pilot.pause()
            assert [canvas(e, f"map-{number}").split()[0] for number in (0, 1)] == list(shown)
            assert f"models {said}" in bar(e, "title")
            assert f"models {said} are shown" in str(screen.card()[-1])
            await e.press("c")


async def test_u_asks_for_the_map_of_another_stream(source: FakeSource):
    async with explorer(source, session=ONE) as e:
        screen = await opened(e, "M", Map)
        assert screen.asked[0].request.streams == (screen.stream,)
        await e.press("u")
        assert screen.stream is Stream.RESIDUAL
        assert screen.asked[0].request.streams == (Stream.RESIDUAL,)
        await e.until(lambda: screen.see(screen.asked[0]).value)


async def test_p_asks_for_t_sne_and_goes_back(source: FakeSource):
    axes = looked.cloud()
    source.looks[MODELS[0], JobKind.TSNE, None] = replace(
        axes, projection=Projection.TSNE, share=(), notes=("t-SNE of perplexity 30",)
    )
    async with explorer(source, session=ONE) as e:
        screen = await opened(e, "M", Map)
        assert "p PCA" in bar(e, "title")
        assert "z Core/whole" in bar(e, "footer")
        assert "of the variance" in canvas(e, "map-0")
        await e.press("p")
        assert screen.asked[0].kind is JobKind.TSNE
        await e.until(lambda: "t-SNE of perplexity 30" in canvas(e, "map-0"))
        assert "p t-SNE" in bar(e, "title")
        assert "of the variance" not in canvas(e, "map-0")
        assert not re.search(r"\b[xy] -?[0-9]", canvas(e, "map-0")), "distances mean nothing, nor do places"
        await e.press("right", "p")
        assert f"{axes.share[6]:.0%} of the variance" in canvas(e, "map-0")
        assert re.search(r"\bx -?[0-9]", canvas(e, "map-0"))


async def test_layers_of_t_sne_are_shown_as_they_come(source: FakeSource):
    whole = replace(looked.cloud(), projection=Projection.TSNE, share=(), notes=("t-SNE of perplexity 30",))
    async with explorer(source, session=ONE) as e:
        screen = await opened(e, "M", Map)
        await e.press("p")
        await e.until(lambda: source.worked)
        (job,) = source.worked.values()
        for layers in (4, 6):
            source.looks[MODELS[0], JobKind.TSNE, None] = replace(whole, points=whole.points[:layers])
            moved = source.move(job, JobState.RUNNING, Progress("t-SNE", layers, 13, unit="layers"))
            source.news.put(News("partial", moved))
            if layers == 4:
                await e.until(lambda: "layer 5 comes later" in canvas(e, "map-0"))
                assert "layers 0 to 3 of 13 are there" in canvas(e, "map-0")
                await e.until(lambda: "t-SNE 4/13" in canvas(e, "map-0"))
        await e.until(lambda: "t-SNE of perplexity 30" in canvas(e, "map-0"))
        assert screen.see(screen.asked[0]).waiting
        await e.press(*["right"] * 9)
        assert screen.at_layer == 12
        source.looks[MODELS[0], JobKind.TSNE, None] = whole
        source.move(job, JobState.DONE)
        await e.until(lambda: "text" in canvas(e, "map-0").splitlines()[0])
        assert not screen.see(screen.asked[0]).waiting


async def test_a_map_that_was_stopped_half_way_is_shown_and_made_to_its_end(source: FakeSource):
    whole = replace(looked.cloud(), projection=Projection.TSNE, share=(), notes=("t-SNE of perplexity 30",))
    source.looks[MODELS[0], JobKind.TSNE, None] = replace(whole, points=whole.points[:8])
    async with explorer(source, session=ONE) as e:
        await opened(e, "M", Map)
        await e.press("p")
        await e.until(lambda: "t-SNE of perplexity 30" in canvas(e, "map-0"))
        await e.until(lambda: [job.kind for job in source.worked.values()] == [JobKind.TSNE])


async def test_maps_that_were_passed_over_are_not_waited_for(source: FakeSource):
    for kind in (JobKind.MAP, JobKind.TSNE):
        source.looks.pop((MODELS[0], kind, None), None)
    async with explorer(source, session=ONE) as e:
        await filled(e)
        await e.press("M")
        screen = e.here(Map)
        for number, key in enumerate(("u", "u", "p"), 1):
            await e.until(lambda number=number: len(source.worked) == number)  # type: ignore[misc]
            await e.press(key)
        await e.until(lambda: len(source.worked) == 4)
        jobs = list(source.worked)
        await e.until(lambda: sorted(source.cancelled) == sorted(jobs[:3]))
        assert screen.asked[0].kind is source.worked[jobs[3]].kind is JobKind.TSNE


async def test_a_map_that_cannot_be_had_says_why(source: FakeSource):
    async with explorer(source, session=ONE) as e:
        await opened(e, "M", Map)
        await e.press("p")
        await e.until(lambda: source.worked)
        (job,) = source.worked.values()
        source.move(job, JobState.FAILED, error="A map by t-SNE needs scikit-learn, which is not installed: pip it.")
        await e.until(lambda: "needs scikit-learn" in canvas(e, "map-0"))
        await e.press("p")
        assert "of the variance" in canvas(e, "map-0")


async def test_on_a_small_screen_the_legend_of_two_maps_fits(source: FakeSource):
    async with explorer(source, session=BOTH, size=(80, 24)) as e:
        await opened(e, "M", Map)
        for number in (0, 1):
            head = canvas(e, f"map-{number}").splitlines()[0]
            assert "T text" in head
            assert "I image" in head
            assert "%" in head
            limits = canvas(e, f"map-{number}").splitlines()[-1]
            assert re.search(r"\d outside  x \S+…\S+  y \S+…[-\d.]+ *$", limits), limits
