"""The screens that look closer, driven by keys over a fake source: examples, tokens, worst tokens, map."""

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import pytest
from textual.strip import Strip

from microscope_tui.errors import MicroscopeError
from microscope_tui.terms import JobKind, JobState, Progress, Stream
from microscope_tui.tui.content.ramp import RAMPS
from microscope_tui.tui.content.tokens import Quantity
from microscope_tui.tui.screens.closer import Closer
from microscope_tui.tui.screens.examples import Examples
from microscope_tui.tui.screens.help import Help
from microscope_tui.tui.screens.map import Map
from microscope_tui.tui.screens.tokens import TokenScreen
from microscope_tui.tui.screens.worst import Worst
from microscope_tui.tui.session import Session
from microscope_tui.tui.widgets.bar import Bar
from microscope_tui.tui.widgets.canvas import Canvas
from microscope_tui.tui.widgets.heat import Columns, Heat
from tests.tui import looked
from tests.tui.driving import Driven, explorer, filled
from tests.tui.fake import MODELS, SLICE, FakeSource, Shape, made_up

S = TypeVar("S", bound=Closer)

BOTH = Session(MODELS, SLICE, layer=5)
ONE = Session(MODELS[:1], SLICE, layer=5)


@pytest.fixture
def source() -> FakeSource:
    """Two models with answers; everything that can be looked at is in the store."""
    made = [made_up(m, shape=Shape(layers=12)) for m in MODELS]
    source = FakeSource([replace(m, answers=looked.answers(every=2 + i)) for i, m in enumerate(made)])
    for model in MODELS:
        source.looks[model, JobKind.PREVIEW, None] = looked.preview()
        source.looks[model, JobKind.WORST, None] = looked.worst(model)
        source.looks[model, JobKind.MAP, None] = looked.cloud(model)
        for index in range(12):
            source.looks[model, JobKind.TOKENS, index] = looked.table(model, index)
    return source


def canvas(e: Driven, name: str) -> str:
    return e.app.screen.query_one(f"#{name}", Canvas).text


def bar(e: Driven, name: str) -> str:
    return e.app.screen.query_one(f"#{name}", Bar).text


def here(e: Driven, kind: type[S]) -> S:
    """The screen that is shown."""
    screen: object = e.app.screen
    assert isinstance(screen, kind)
    return screen


def here_help(e: Driven) -> Help:
    screen: object = e.app.screen
    assert isinstance(screen, Help)
    return screen


async def opened(e: Driven, key: str, kind: type[S]) -> S:
    """Press a key of the explorer, and wait for what it opens to have its value."""
    await filled(e)
    await e.press(key)
    screen = here(e, kind)
    await e.until(lambda: all(screen.see(look).value for look in screen.asked))
    await e.pilot.pause()
    return screen


# Examples


async def test_the_browser_lists_the_examples_with_what_each_model_answered(source: FakeSource):
    async with explorer(source, session=BOTH) as e:
        await opened(e, "E", Examples)
        lines = canvas(e, "list").splitlines()
        assert lines[0].startswith("▌ 0 ●✗ ◆✗  +0.5 Which")
        assert lines[1].startswith("  1 ●✓ ◆✓  +0.6 Which")
        assert lines[2].startswith("  2 ●✗ ◆✓")
        assert lines[3].startswith("  3 – its picture is cut off")
        card = canvas(e, "card")
        assert "▀" in card
        assert "Which animal is shown in picture 0?" in card
        assert "✓ A  a dog" in card
        assert "B  a cat   ● +0.50   ◆ +0.50" in card
        assert "demo:llava-next  wrong: B, margin +0.50" in card
        await e.press("n")
        assert "✓ B  a cat   ● +0.60   ◆ +0.60" in canvas(e, "card")
        await e.press("p", "p")
        assert e.explorer.example == 0
        assert source.looked_at == []


async def test_f_filters_and_says_when_nothing_is_left(source: FakeSource):
    async with explorer(source, session=BOTH) as e:
        await opened(e, "E", Examples)
        seen = {}
        for name in ("right", "wrong", "differ", "skipped"):
            await e.press("f")
            seen[name] = [int(line.strip("▌ ").split()[0]) for line in canvas(e, "list").splitlines() if line.strip()]
        wrong = {m: {a.example for a in source.stored[m, str(SLICE)].answers if not a.right} for m in MODELS}
        assert seen["wrong"] == [i for i in range(12) if f"row-{i}" in wrong[MODELS[0]]]
        assert seen["right"] == [i for i in range(12) if i not in seen["wrong"] and i != 3]
        assert seen["differ"] == [
            i for i in range(12) if (f"row-{i}" in wrong[MODELS[0]]) != (f"row-{i}" in wrong[MODELS[1]])
        ]
        assert seen["skipped"] == [3]
        assert "skipped: its picture is cut off" in canvas(e, "card")


async def test_what_is_not_answered_yet_is_said():
    source = FakeSource()
    source.looks[MODELS[0], JobKind.PREVIEW, None] = looked.preview(total=5000)
    async with explorer(source, session=ONE) as e:
        await e.press("E")
        await e.until(lambda: "has not answered yet" in canvas(e, "card"))
        assert "12 of 5,000" in bar(e, "title")
        assert "the first 12 listed" in bar(e, "title")
        await e.press("f")
        assert "No example is right here" in " ".join(canvas(e, "list").split())


async def test_without_colours_a_sentence_stands_for_the_picture(source: FakeSource, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("NO_COLOR", "1")
    async with explorer(source, session=ONE) as e:
        await opened(e, "E", Examples)
        assert "▀" not in canvas(e, "card")
        assert "too few colours" in canvas(e, "card")


# Tokens


async def test_enter_shows_the_tokens_of_the_example(source: FakeSource):
    async with explorer(source, session=ONE) as e:
        await opened(e, "E", Examples)
        await e.press("n", "n", "enter")
        screen = here(e, TokenScreen)
        await e.until(lambda: screen.tokens)
        await e.pilot.pause()
        assert "example 2 of 12" in bar(e, "title")
        assert "▶ image 1 base ×36" in canvas(e, "heat")
        await e.press("escape")
        assert isinstance(e.app.screen, Examples)
        await e.press("escape")
        assert e.app.screen is e.explorer


async def test_the_values_at_the_cursor_are_the_tables_own(source: FakeSource):
    async with explorer(source, session=ONE) as e:
        screen = await opened(e, "T", TokenScreen)
        table = looked.table(MODELS[0], 0)
        await e.press("down", "down", "right")
        assert screen.at_layer == 6
        detail = canvas(e, "detail")
        assert "layer 6  token 2 of 142  text  “:”  then “ ”" in detail.replace("“ ”", "“ ”")
        for name in ("residual", "norm", "update"):
            assert f"{name} {getattr(table, name)[6][2]:.6g} " in detail
        for word, share in table.lens[6][2]:
            assert f"“{word}” {share:.1%}" in detail
        await e.press("end")
        assert "residual – (no block starts here)" in canvas(e, "detail")
        assert f"norm {table.norm[12][2]:.6g}" in canvas(e, "detail")
        await e.press("escape")
        assert e.session.layer == 12


async def test_number_keys_choose_the_quantity_and_y_its_scale(source: FakeSource):
    async with explorer(source, session=ONE) as e:
        screen = await opened(e, "T", TokenScreen)
        seen = set()
        for key, quantity in (("2", "norm"), ("3", "update"), ("1", "residual")):
            await e.press(key)
            assert screen.quantity == quantity
            assert "y log" in bar(e, "title")
            seen.add(str(screen.query_one("#heat", Canvas)._rows))
        for scale in ("linear", "each layer"):
            await e.press("y")
            assert f"y {scale}" in bar(e, "title")
            seen.add(str(screen.query_one("#heat", Canvas)._rows))
        assert len(seen) == 5
        values = sorted(looked.table(MODELS[0], 0).residual[5])
        assert f" {values[1]:.3g} " in bar(e, "title")
        assert f" {values[-2]:.3g} " in bar(e, "title")


async def test_pictures_unfold_and_fold_with_the_cursor_on_them(source: FakeSource):
    async with explorer(source, session=ONE) as e:
        screen = await opened(e, "T", TokenScreen)
        folded = len(screen.tokens.lines(screen.opened))
        await e.press("tab")
        assert screen.line.block.name == "image 1 base"
        mean = sum(screen.tokens.table.residual[5][4:40]) / 36
        assert f"residual {mean:.6g}" in canvas(e, "detail")
        assert "likeliest at most of the 36" in canvas(e, "detail")
        await e.press("enter", "down", "down")
        assert screen.line.start == 5
        assert "▼ image 1 base ×36" in canvas(e, "heat")
        await e.press("space")
        assert screen.line.block.start == 4
        assert len(screen.tokens.lines(screen.opened)) == folded
        await e.press("f")
        assert len(screen.tokens.lines(screen.opened)) == screen.tokens.count + 2
        await e.press("f")
        assert len(screen.tokens.lines(screen.opened)) == folded


async def test_tab_jumps_between_modalities_and_views(source: FakeSource):
    async with explorer(source, session=ONE) as e:
        screen = await opened(e, "T", TokenScreen)
        starts = [screen.line.start]
        for _ in range(3):
            await e.press("tab")
            starts.append(screen.line.start)
        assert starts == [0, 4, 40, 118]
        await e.press("shift+tab", "shift+tab")
        assert screen.line.start == 4
        await e.press("G")
        assert screen.line.start == screen.tokens.count - 1
        await e.press("g")
        assert screen.line.start == 0


async def test_the_picture_follows_the_cursor_from_base_to_tiles(source: FakeSource):
    async with explorer(source, session=ONE) as e:
        await opened(e, "T", TokenScreen)
        assert "picture 1 · base · residual at layer 5" in canvas(e, "picture")
        await e.press("tab", "tab", "right")
        assert "picture 1 · tiles · residual at layer 6" in canvas(e, "picture")
        await e.press("b")
        assert "picture 1 · base" in canvas(e, "picture")
        assert "▀" in canvas(e, "picture")


async def test_v_shows_the_values_alone_and_the_picture_alone(source: FakeSource):
    async with explorer(source, session=ONE) as e:
        screen = await opened(e, "T", TokenScreen)
        field = screen.query_one("#picture", Canvas)

        def colours() -> set[str]:
            cells = [s for line in field._rows[1:14] for s in line if s.style and s.style.bgcolor]
            return {s.style.bgcolor.name for s in cells} - {screen.palette.background}

        tinted = colours()
        await e.press("v")
        assert "residual at layer 5 alone" in canvas(e, "picture")
        assert colours() <= set(RAMPS[True])
        assert not tinted <= set(RAMPS[True])
        await e.press("v")
        assert "picture 1 · base · as it is" in canvas(e, "picture")
        assert not colours() & set(RAMPS[True])
        await e.press("v")
        assert colours() == tinted


async def test_on_a_thin_line_values_stand_alone_and_no_picture_is_sent(source: FakeSource):
    async with explorer(source, session=replace(ONE, thin=True)) as e:
        await opened(e, "E", Examples)
        assert "No picture: little is drawn" in canvas(e, "card")
        await e.press("enter")
        screen = here(e, TokenScreen)
        await e.until(lambda: screen.tokens)
        await e.pilot.pause()
        assert "picture 1 · base" in canvas(e, "picture")
        assert "▀" not in canvas(e, "picture")


async def test_o_goes_through_tokens_and_picture_on_a_small_screen(source: FakeSource):
    async with explorer(source, session=ONE, size=(80, 24)) as e:
        screen = await opened(e, "T", TokenScreen)

        def displayed() -> list[str]:
            return [name for name in ("heat", "picture") if screen.query_one(f"#{name}").display]

        assert displayed() == ["heat"]
        await e.press("o")
        assert displayed() == ["picture"]
        assert "layer 5" in canvas(e, "picture")
        await e.press("o")
        assert displayed() == ["heat"]


async def test_n_and_p_go_through_the_examples_of_the_slice(source: FakeSource):
    async with explorer(source, session=ONE) as e:
        await opened(e, "E", Examples)
        await e.press("enter")
        here(e, TokenScreen)
        for _ in range(14):
            await e.press("n")
        await e.until(lambda: "example 11 of 12" in bar(e, "title"))
        await e.press("p")
        await e.until(lambda: "example 10 of 12" in bar(e, "title"))
        await e.until(lambda: "picture 10?" in canvas(e, "detail"))


async def test_c_shows_the_same_example_in_the_other_model(source: FakeSource):
    source.looks[MODELS[1], JobKind.TOKENS, 0] = looked.table(MODELS[1], 0, side=5, tiles=(0, 0))
    async with explorer(source, session=BOTH) as e:
        screen = await opened(e, "T", TokenScreen)
        await e.press("c")
        await e.until(lambda: "image 1 base ×25" in canvas(e, "heat"))
        assert screen.request.model == MODELS[1]
        assert bar(e, "title").startswith(" ◆ ")


async def test_a_table_without_a_map_shows_norms_and_says_why(source: FakeSource):
    source.looks[MODELS[0], JobKind.TOKENS, 0] = looked.table(mapped=False, lens=False)
    async with explorer(source, session=ONE) as e:
        screen = await opened(e, "T", TokenScreen)
        assert screen.quantity is Quantity.NORM
        assert "residual unknown" in canvas(e, "detail")
        assert "this slice is not measured yet" in canvas(e, "detail")
        assert "lens not known for this model" in canvas(e, "detail")
        await e.press("1")
        assert "residual: no linear map: this slice is not measured yet" in " ".join(canvas(e, "heat").split())
        assert "r asks again" in canvas(e, "detail")


async def test_an_undefined_residual_is_said_at_the_cursor(source: FakeSource):
    given = looked.table()
    holed = tuple(tuple(None if t > 3 else v for t, v in enumerate(row)) for row in given.residual)
    source.looks[MODELS[0], JobKind.TOKENS, 0] = replace(given, residual=holed)
    async with explorer(source, session=ONE) as e:
        await opened(e, "T", TokenScreen)
        await e.press("tab")
        assert "residual undefined (no map for image)" in canvas(e, "detail")
        assert "·" * 20 in canvas(e, "heat")


async def test_without_colours_the_map_is_drawn_in_characters(source: FakeSource, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("NO_COLOR", "1")
    async with explorer(source, session=ONE) as e:
        await opened(e, "T", TokenScreen)
        assert {"@", "=", ":"} <= set(canvas(e, "heat"))
        picture = canvas(e, "picture").splitlines()
        assert any(line.count("#") + line.count("%") + line.count("*") > 10 for line in picture[1:])
        assert " .:-=+*#%@" in bar(e, "title")


async def test_a_click_moves_the_cursor(source: FakeSource):
    async with explorer(source, session=ONE) as e:
        screen = await opened(e, "T", TokenScreen)
        heat = screen.query_one("#heat", Canvas)
        x = screen.heat(screen.tokens, heat.size.height).columns(heat.size.width).label
        await e.pilot.click("#heat", offset=(x, 3))
        await e.pilot.pause()
        assert (screen.line.start, screen.at_layer) == (2, 0)
        await e.pilot.click("#picture", offset=(screen.query_one("#picture").size.width // 2, 5))
        await e.pilot.pause()
        assert screen.tokens.table.patches[screen.line.start] is not None
        assert screen.line.block is None


async def test_a_long_example_stays_quick_and_only_what_is_seen_is_drawn(
    source: FakeSource, monkeypatch: pytest.MonkeyPatch
):
    big = looked.table(side=24, tiles=(2, 2), layers=32, text=60)
    assert len(big.tokens) > 2900
    source.looks[MODELS[0], JobKind.TOKENS, 0] = big
    async with explorer(source, session=ONE) as e:
        screen = await opened(e, "T", TokenScreen)
        await e.press("f")
        drawn: list[int] = []
        line = Heat._line

        def counted(self: Heat, number: int, layout: Columns, width: int) -> Strip:
            drawn.append(number)
            return line(self, number, layout, width)

        monkeypatch.setattr(Heat, "_line", counted)
        await e.press("down")
        assert 0 < len(drawn) <= 2 * screen.query_one("#heat").size.height
        await e.press("G")
        assert screen.line.start == screen.tokens.count - 1


# What is not there yet


async def test_a_look_is_asked_of_the_worker_and_read_when_it_is_done(source: FakeSource):
    table = source.looks.pop((MODELS[0], JobKind.TOKENS, 0))
    async with explorer(source, session=ONE) as e:
        await filled(e)
        await e.press("T")
        await e.until(lambda: "queued: the worker takes it up now" in canvas(e, "heat"))
        (job,) = source.worked.values()
        assert source.looked_at == [(MODELS[0], JobKind.TOKENS, 0)]
        job = source.move(job, JobState.RUNNING, Progress("loading model"))
        await e.until(lambda: "loading model" in canvas(e, "heat"))
        source.looks[MODELS[0], JobKind.TOKENS, 0] = table
        source.move(job, JobState.DONE)
        await e.until(lambda: "▶ image 1 base" in canvas(e, "heat"))
        assert len(source.looked_at) == 1
        assert e.explorer.desk.of(e.explorer.requests[0]).complete, "the measurement of the request is untouched"
        await e.press("r")
        await e.until(lambda: len(source.looked_at) == 2)


async def test_a_failed_look_says_why_and_r_asks_again(source: FakeSource):
    table = source.looks.pop((MODELS[0], JobKind.TOKENS, 0))
    async with explorer(source, session=ONE) as e:
        await filled(e)
        await e.press("T")
        await e.until(lambda: source.worked)
        (job,) = source.worked.values()
        source.move(job, JobState.FAILED, error="row-0: its picture is cut off")
        await e.until(lambda: "its picture is cut off" in canvas(e, "heat"))
        assert "r asks again" in canvas(e, "heat")
        source.looks[MODELS[0], JobKind.TOKENS, 0] = table
        await e.press("r")
        await e.until(lambda: "▶ image 1 base" in canvas(e, "heat"))


async def test_examples_that_were_passed_over_are_not_waited_for(source: FakeSource):
    source.looks.clear()
    async with explorer(source, session=ONE) as e:
        await filled(e)
        await e.press("T")
        await e.until(lambda: source.worked)
        for example in (1, 2):
            await e.press("n")
            await e.until(lambda n=example: (MODELS[0], JobKind.TOKENS, n) in source.looked_at)  # type: ignore[misc]
        await e.until(lambda: len(source.cancelled) == 2)
        left = [job.example for job in source.worked.values() if not job.state.ended]
        assert left == [2]
        await e.press("p")
        await e.until(lambda: source.looked_at[-1] == (MODELS[0], JobKind.TOKENS, 1))
        await e.until(lambda: "queued" in canvas(e, "heat"))


@pytest.mark.parametrize("key", ["E", "T", "X", "M"])
async def test_a_worker_that_dies_is_said_where_the_value_would_be(source: FakeSource, key: str):
    source.looks.clear()
    async with explorer(source, session=ONE) as e:
        await filled(e)
        await e.press(key)
        await e.until(lambda: source.worked)
        name = {"E": "list", "T": "heat", "X": "body", "M": "map-0"}[key]
        await e.until(lambda: "queued" in canvas(e, name))
        source.news.put(MicroscopeError("The worker has died; its log may say why."))
        await e.until(lambda: "has died" in " ".join(canvas(e, name).split()))


# Worst tokens and map


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
        tokens = here(e, TokenScreen)
        await e.until(lambda: tokens.tokens)
        await e.pilot.pause()
        chosen = value.layers[6][1]
        assert (tokens.example, tokens.line.start, tokens.at_layer) == (chosen.index, chosen.position, 6)
        assert "▼ image 1 base" in canvas(e, "heat")
        assert "picture 1 · base" in canvas(e, "picture")


async def test_a_layer_without_a_block_has_no_worst_tokens_and_says_so(source: FakeSource):
    async with explorer(source, session=replace(ONE, layer=12)) as e:
        await opened(e, "X", Worst)
        assert "layer 12: no block starts here" in canvas(e, "body")


async def test_the_map_moves_with_the_layer_and_says_its_share(source: FakeSource):
    async with explorer(source, session=BOTH) as e:
        screen = await opened(e, "M", Map)
        cloud = looked.cloud()
        for number, name in enumerate(("llava-next", "omnifusion")):
            head, *body, limits = canvas(e, f"map-{number}").splitlines()
            assert name in head
            assert f"{cloud.share[5]:.0%} of the variance" in head
            assert "● text 100" in head
            assert "◆ image 200" in head
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
        await e.press("c")
        assert canvas(e, "map-1").startswith(" ◆ omnifusion")
        assert screen.at_layer == 6


async def test_u_asks_for_the_map_of_another_stream(source: FakeSource):
    async with explorer(source, session=ONE) as e:
        screen = await opened(e, "M", Map)
        assert screen.asked[0].request.streams == (screen.stream,)
        await e.press("u")
        assert screen.stream is Stream.RESIDUAL
        assert screen.asked[0].request.streams == (Stream.RESIDUAL,)
        await e.until(lambda: screen.see(screen.asked[0]).value)


# Taking it along


@pytest.mark.parametrize(
    ("key", "kind", "name", "rows"),
    [
        ("E", Examples, "examples", 12),
        ("T", TokenScreen, "tokens", 13 * 142),
        ("X", Worst, "worst-tokens", 12 * 4),
        ("M", Map, "map", 2 * 13 * 300),
    ],
)
async def test_e_saves_all_that_the_screen_has(
    source: FakeSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str, kind, name: str, rows: int
):
    monkeypatch.chdir(tmp_path)
    async with explorer(source, session=BOTH) as e:
        screen = await opened(e, key, kind)
        await e.press("e")
        await e.until(lambda: f"-{name}.json" in e.notes)
        (table,) = tmp_path.glob(f"*-{name}.csv")
        (data,) = tmp_path.glob(f"*-{name}.json")
        with table.open(newline="") as file:
            assert sum(1 for _ in csv.DictReader(file)) == rows
        values = [screen.see(look).value for look in screen.asked]
        assert [type(v).from_json(d) for v, d in zip(values, json.loads(data.read_text()), strict=True)] == values


async def test_the_saved_values_are_those_of_the_table(source: FakeSource, tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    async with explorer(source, session=ONE) as e:
        await opened(e, "T", TokenScreen)
        await e.press("e")
        await e.until(lambda: "-tokens.csv" in e.notes)
        (path,) = tmp_path.glob("*.csv")
        with path.open(newline="") as file:
            rows = list(csv.DictReader(file))
    table = looked.table(MODELS[0], 0)
    row = rows[5 * 142 + 7]
    assert (row["layer"], row["position"], row["modality"]) == ("5", "7", "image")
    assert float(row["residual"]) == table.residual[5][7]
    assert float(row["norm"]) == table.norm[5][7]
    assert (row["lens"], float(row["lens_share"])) == table.lens[5][7][0]
    assert rows[-1]["residual"] == rows[-1]["update"] == ""


@pytest.mark.parametrize(
    ("key", "kind", "value", "rows"),
    [
        ("E", Examples, "Which animal is shown in picture 0?", 12),
        ("T", TokenScreen, "token 0 of 142", 142),
        ("X", Worst, "layer 5: residual 3.95 at example 0 (row-0), token 115 “ dog”", 4),
        ("M", Map, "demo:llava-next: 0.55 of the variance on the plane of layer 5", 2 * 300),
    ],
)
async def test_what_is_at_the_cursor_and_what_is_shown_can_be_copied(
    source: FakeSource, monkeypatch: pytest.MonkeyPatch, key: str, kind, value: str, rows: int
):
    for name in ("TMUX", "STY"):
        monkeypatch.delenv(name, raising=False)
    async with explorer(source, session=BOTH) as e:
        await opened(e, key, kind)
        await e.press("Y")
        await e.until(lambda: "copied what is at the cursor" in e.notes)
        assert value in e.app.clipboard
        await e.press("ctrl+y")
        await e.until(lambda: "copied what is shown" in e.notes)
        assert len(e.app.clipboard.splitlines()) == rows + 1


# Manners


KINDS: tuple[tuple[str, type[Examples | TokenScreen | Worst | Map]], ...] = (
    ("E", Examples),
    ("T", TokenScreen),
    ("X", Worst),
    ("M", Map),
)


@pytest.mark.parametrize(("key", "kind"), KINDS)
async def test_every_key_of_a_screen_does_something_and_is_in_its_help(
    source: FakeSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str, kind
):
    monkeypatch.chdir(tmp_path)
    async with explorer(source, session=BOTH, size=(80, 24)) as e:
        screen = await opened(e, key, kind)
        for deed in kind.TABLE:
            assert hasattr(screen, f"action_{deed.action.partition('(')[0]}"), deed.action
            for one in deed.keys.split(","):
                if deed.action in ("back", "open", "picture", "worst", "help"):
                    continue
                await e.press(one)
                assert e.app.screen is screen, one
        await e.press("question_mark")
        shown = "\n".join(str(widget.render()) for widget in here_help(e).query(".group"))
        assert all(deed.group in shown for deed in kind.TABLE)
        await e.press("escape", "escape")
        assert e.app.screen is e.explorer


@pytest.mark.parametrize(("key", "kind"), KINDS)
async def test_any_size_does_no_harm(source: FakeSource, key: str, kind):
    async with explorer(source, session=BOTH) as e:
        screen = await opened(e, key, kind)
        for size in ((1, 1), (10, 5), (59, 19), (60, 20), (300, 90), (80, 24)):
            await e.pilot.resize_terminal(*size)
            await e.pilot.pause()
        assert "cannot be drawn" not in "".join(c.text for c in screen.query(Canvas))
        assert bar(e, "footer").strip()


async def test_long_names_many_layers_and_foreign_letters_do_no_harm():
    name = "demo:" + "x" * 200
    given = looked.table(name, layers=100)
    foreign = (chr(27) + "[31mred", "日本語", "\u202etxt", "a" * 300, *given.tokens[4:])
    asked = replace(given.card, question="Q " * 400, choices=("long " * 90,) * 30, answer=3, chosen=29)
    source = FakeSource([made_up(name, shape=Shape(layers=100))])
    source.looks[name, JobKind.TOKENS, 0] = replace(given, tokens=foreign, card=asked)
    source.looks[name, JobKind.PREVIEW, None] = replace(
        looked.preview(), examples=(replace(asked, pictures=asked.pictures * 9),)
    )
    async with explorer(source, session=Session((name,), SLICE, layer=99), size=(80, 24)) as e:
        screen = await opened(e, "T", TokenScreen)
        assert "\x1b" not in canvas(e, "heat")
        assert "日本語" in canvas(e, "heat")
        assert " 99" in canvas(e, "heat").splitlines()[0]
        assert f"residual {given.residual[99][0]:.6g}" in canvas(e, "detail")
        await e.press("home")
        assert f"residual {given.residual[0][0]:.6g}" in canvas(e, "detail")
        await e.press("right", "down", "down", "down")
        assert all(line.cell_length == 80 for line in screen.query_one("#heat", Canvas)._rows)
        await e.press("escape")
        await opened(e, "E", Examples)
        assert "cannot be drawn" not in canvas(e, "card")
        assert "▀" in canvas(e, "card")


async def test_palette_offers_the_deeds_of_the_screen(source: FakeSource):
    async with explorer(source, session=ONE) as e:
        screen = await opened(e, "T", TokenScreen)
        titles = [command.title for command in e.app.get_system_commands(screen)]
        assert any(title.startswith("Unfold") for title in titles)
        assert not any(title.startswith("Compare") for title in titles)
