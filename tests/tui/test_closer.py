"""What the screens that look closer have in common: what is not there yet, saving and copying, manners."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import pytest

from microscope_tui.errors import MicroscopeError
from microscope_tui.terms import Job, JobKind, JobState, Progress, Request
from microscope_tui.tui.keys import deeds
from microscope_tui.tui.screens.examples import Examples
from microscope_tui.tui.screens.help import Help
from microscope_tui.tui.screens.map import Map
from microscope_tui.tui.screens.tokens import TokenScreen
from microscope_tui.tui.screens.worst import Worst
from microscope_tui.tui.session import Session
from microscope_tui.tui.widgets.canvas import Canvas
from tests.tui import looked
from tests.tui.closer import BOTH, ONE, bar, canvas, looked_at, opened
from tests.tui.driving import explorer, filled
from tests.tui.fake import MODELS, SLICE, FakeSource, Shape, made_up


@pytest.fixture
def source() -> FakeSource:
    return looked_at()


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


async def test_a_look_of_which_no_news_came_is_found_by_looking(source: FakeSource, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("microscope_tui.tui.data.inbox.CHECK_EVERY", 0.05)
    table = source.looks.pop((MODELS[0], JobKind.TOKENS, 0))
    async with explorer(source, session=ONE) as e:
        await filled(e)
        await e.press("T")
        screen = e.here(TokenScreen)
        await e.until(lambda: screen.see(screen.asked[0]).job)
        (job,) = source.worked.values()
        source.looks[MODELS[0], JobKind.TOKENS, 0] = table
        source.worked[job.id] = replace(job, state=JobState.DONE)  # without a word
        await e.until(lambda: "▶ image 1 base" in canvas(e, "heat"))
        assert source.looked_at == [(MODELS[0], JobKind.TOKENS, 0)]


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


@pytest.mark.parametrize(
    ("key", "kind", "name", "rows"),
    [
        ("E", Examples, "examples", 12),
        ("T", TokenScreen, "tokens-example-0", 13 * 142),
        ("X", Worst, "worst-tokens", 12 * 4),
        ("M", Map, "map-PCA", 2 * 13 * 300),
    ],
)
async def test_e_saves_all_that_the_screen_has(
    source: FakeSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str, kind, name: str, rows: int
):
    monkeypatch.chdir(tmp_path)
    async with explorer(source, session=BOTH) as e:
        screen = await opened(e, key, kind)
        await e.press("e")
        await e.until(lambda: ".json" in e.notes)
        (table,) = tmp_path.glob(f"*-scienceqa*-{name}-2*.csv")
        (data,) = tmp_path.glob(f"*-scienceqa*-{name}-2*.json")
        assert not [each.name for each in tmp_path.glob("*.*") if "linearity" in each.name]
        with table.open(newline="") as file:
            assert sum(1 for _ in csv.DictReader(file)) == rows
        if key == "X":
            assert "residual_by_fold" in table.read_text().splitlines()[0].split(",")
            assert "res. by fold  example" in canvas(e, "body").splitlines()[0]
        values = [screen.see(look).value for look in screen.asked]
        assert [type(v).from_json(d) for v, d in zip(values, json.loads(data.read_text()), strict=True)] == values


async def test_the_saved_values_are_those_of_the_table(source: FakeSource, tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    async with explorer(source, session=ONE) as e:
        await opened(e, "T", TokenScreen)
        await e.press("e")
        await e.until(lambda: ".csv" in e.notes)
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
        ("T", TokenScreen, "token 0 of 0–141", 142),
        ("X", Worst, "layer 5: linearity residual by fold 3.95 at example 0 (row-0), token 115 “ dog”", 2),
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
        for deed in deeds(kind.KEYS):
            assert hasattr(screen, f"action_{deed.action.partition('(')[0]}"), deed.action
            for one in deed.keys.split(","):
                if deed.action in ("back", "open", "picture", "help", "card", "find") or deed.group == "Closer":
                    continue
                await e.press(one)
                assert e.app.screen is screen, one
        await e.press("question_mark")
        shown = "\n".join(str(widget.render()) for widget in e.here(Help).query(".group"))
        assert all(deed.group in shown for deed in deeds(kind.KEYS))
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


async def test_a_window_that_is_too_small_says_so_in_its_middle(source: FakeSource):
    async with explorer(source, session=BOTH) as e:
        screen = await opened(e, "M", Map)
        await e.pilot.resize_terminal(45, 12)
        small = screen.query_one("#small")
        await e.until(lambda: small.size == (45, 12))
        lines = [small.render_line(y).text for y in range(small.size.height)]
        assert (len(lines), len(lines[0])) == (12, 45)
        (at,) = [y for y, line in enumerate(lines) if "This window is 45x12" in line]
        assert 3 <= at <= 5
        text = lines[at]
        assert abs((len(text) - len(text.lstrip())) - (len(text) - len(text.rstrip()))) <= 1


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
        assert f"residual {given.residual[99][0]:#.4g}" in canvas(e, "detail")
        await e.press("home")
        assert f"residual {given.residual[0][0]:#.4g}" in canvas(e, "detail")
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


async def test_r_starts_the_worker_for_a_look_that_waits_and_is_not_doubled(
    source: FakeSource, monkeypatch: pytest.MonkeyPatch
):
    source.looks.pop((MODELS[0], JobKind.TOKENS, 0))
    async with explorer(source, session=ONE) as e:
        await filled(e)
        await e.press("T")
        await e.until(lambda: "queued: the worker takes it up now" in canvas(e, "heat"))
        (job,) = source.worked.values()
        asked: list[int | None] = []

        def found(request: Request, kind: JobKind = JobKind.MEASURE, example: int | None = None) -> Job:
            asked.append(example)
            return job

        monkeypatch.setattr(source, "submit", found)
        await e.press("r")
        await e.until(lambda: asked == [0])
        await e.until(lambda: "queued: the worker takes it up now" in canvas(e, "heat"))
        assert source.cancelled == []
