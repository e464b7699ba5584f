"""The browser of examples, driven by keys over a fake source."""

from dataclasses import replace

import pytest
from textual.widgets import Input

from microscope_tui.inspection import PAGE
from microscope_tui.terms import JobKind, JobState
from microscope_tui.tui.screens.examples import Examples
from microscope_tui.tui.screens.find import Find
from tests.tui import looked
from tests.tui.closer import BOTH, ONE, bar, canvas, looked_at, opened
from tests.tui.driving import Driven, explorer
from tests.tui.fake import MODELS, SLICE, FakeSource, made_up


@pytest.fixture
def source() -> FakeSource:
    return looked_at()


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
        assert "5,000 of 5,000" in bar(e, "title")
        await e.press("f")
        assert "No example is right" in " ".join(canvas(e, "list").split())


def large(total: int = 5000) -> FakeSource:
    """A slice of many examples, every third of them answered wrong, whose pages are in the store."""
    measured = replace(made_up(), answers=looked.answers(total, every=3), examples=total)
    source = FakeSource([measured])
    for start in range(0, total, PAGE):
        page = looked.preview(min(PAGE, total - start), total, start=start)
        source.looks[MODELS[0], JobKind.PREVIEW, start or None] = page
    return source


async def test_all_of_a_large_slice_can_be_gone_through():
    async with explorer(large(), session=ONE) as e:
        await opened(e, "E", Examples)
        await e.press("G")
        assert e.explorer.example == 4999
        await e.until(lambda: "Which animal is shown in picture 4999?" in canvas(e, "card"))
        assert canvas(e, "list").splitlines()[-1].startswith("▌4999 ●✓")
        await e.press("pageup")
        middle = e.explorer.example
        assert 4900 < middle < 4999
        assert f"in picture {middle}?" in canvas(e, "card")
        await e.press("g")
        assert "in picture 0?" in canvas(e, "card")
        for _ in range(PAGE // 30 + 2):  # over the end of the first page
            await e.press("pagedown")
        after = e.explorer.example
        assert after > PAGE
        await e.until(lambda: f"in picture {after}?" in canvas(e, "card"))
        assert "…" not in [line.split()[-1] for line in canvas(e, "list").splitlines()]
        await e.press("enter")
        assert e.explorer.example == after


async def test_a_page_that_is_not_there_yet_shows_what_is_known_and_is_asked_for():
    source = large()
    page = source.looks.pop((MODELS[0], JobKind.PREVIEW, 4800))
    async with explorer(source, session=ONE) as e:
        await opened(e, "E", Examples)
        await e.press("G")
        assert canvas(e, "list").splitlines()[-1].startswith("▌4999 ●✓")
        await e.until(lambda: "queued" in canvas(e, "card"))
        assert (MODELS[0], JobKind.PREVIEW, 4800) in source.looked_at
        job = next(job for job in source.worked.values() if job.example == 4800)
        source.looks[MODELS[0], JobKind.PREVIEW, 4800] = page
        source.move(job, JobState.DONE)
        await e.until(lambda: "in picture 4999?" in canvas(e, "card"))


async def test_a_page_that_was_passed_over_is_not_waited_for():
    source = large()
    del source.looks[MODELS[0], JobKind.PREVIEW, 4800]
    async with explorer(source, session=ONE) as e:
        await opened(e, "E", Examples)
        await e.press("G")
        await e.until(lambda: any(job.example == 4800 for job in source.worked.values()))
        await e.press("g")
        await e.until(lambda: source.cancelled)


async def test_a_filter_looks_at_all_of_a_large_slice():
    async with explorer(large(), session=ONE) as e:
        await opened(e, "E", Examples)
        await e.press("f", "f")
        wrong = [i for i in range(5000) if i % 3 == 0 and i != 3]
        assert f" {len(wrong):,} of 5,000 " in bar(e, "title")
        await e.press("G")
        assert e.explorer.example == wrong[-1]
        await e.until(lambda: f"in picture {wrong[-1]}?" in canvas(e, "card"))


async def test_without_colours_a_sentence_stands_for_the_picture(source: FakeSource, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("NO_COLOR", "1")
    async with explorer(source, session=ONE) as e:
        await opened(e, "E", Examples)
        assert "▀" not in canvas(e, "card")
        assert "too few colours" in canvas(e, "card")


async def find(e: Driven, words: str) -> None:
    await e.press("slash")
    e.here(Find).query_one(Input).value = words
    await e.press("enter")


async def test_a_number_is_gone_to_whatever_is_filtered():
    async with explorer(large(), session=ONE) as e:
        screen = await opened(e, "E", Examples)
        await find(e, "4321")
        await e.until(lambda: "in picture 4321?" in canvas(e, "card"))
        await find(e, "5000")
        await e.until(lambda: "There is no example 5,000: the last one is 4,999." in e.notes)
        assert e.explorer.example == 4321
        await e.press("f")  # right: every third is wrong
        await find(e, "6")
        assert (e.explorer.example, screen.filter) == (6, "all")


async def test_words_are_found_on_pages_that_are_not_here_yet():
    source = large()
    page = source.looks.pop((MODELS[0], JobKind.PREVIEW, 600))
    async with explorer(source, session=ONE) as e:
        await opened(e, "E", Examples)
        await find(e, "which PICTURE 777?")
        await e.until(lambda: any(job.example == 600 for job in source.worked.values()))
        assert "looking for “which PICTURE 777?” from example 600 on" in bar(e, "title")
        await e.press("escape")
        assert "looking for" not in bar(e, "title")
        assert e.explorer.example == 0
        source.looks[MODELS[0], JobKind.PREVIEW, 600] = page
        await find(e, "picture 777?")
        await e.until(lambda: e.explorer.example == 777)
        await e.until(lambda: "in picture 777?" in canvas(e, "card"))


async def test_the_same_words_find_the_next_one_and_none_is_said(source: FakeSource):
    async with explorer(source, session=ONE) as e:
        await opened(e, "E", Examples)
        found = []
        for _ in range(3):
            await find(e, "picture 1")
            found.append(e.explorer.example)
        assert found == [1, 10, 11]
        await e.press("slash")
        assert e.here(Find).query_one(Input).value == "picture 1"
        await e.press("escape")
        await find(e, "zebra")
        await e.until(lambda: "No example of these has the words “zebra”." in e.notes)
        assert e.explorer.example == 11


async def test_in_a_narrow_window_the_list_has_all_of_its_width(source: FakeSource):
    async with explorer(source, session=BOTH, size=(80, 24)) as e:
        await opened(e, "E", Examples)
        await e.until(lambda: "Which animal is shown in picture 0?" in canvas(e, "list").splitlines()[0])
        assert "Which animal is shown in picture 0?" in canvas(e, "card")


async def test_where_no_picture_is_drawn_the_list_has_its_room_and_stays_as_it_is(
    source: FakeSource, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("NO_COLOR", "1")
    short = replace(looked.card(1), question="Which?", choices=("a dog", "a cat"), hint="")
    page = looked.preview()
    cards = tuple(short if card.index == 1 else card for card in page.examples)
    source.looks[MODELS[0], JobKind.PREVIEW, None] = replace(page, examples=cards)
    async with explorer(source, session=BOTH, size=(80, 24)) as e:
        screen = await opened(e, "E", Examples)
        below, above = screen.query_one("#card"), screen.query_one("#list")
        await e.until(lambda: canvas(e, "card").rstrip().count("\n") + 1 == below.size.height)
        assert "too few colours" in canvas(e, "card")
        assert "hint: Look at the ears." in canvas(e, "card").splitlines()[-1]
        assert above.size.height + below.size.height == 24 - 3
        assert len(canvas(e, "list").strip().splitlines()) == above.size.height > 7
        before = above.size
        await e.press("n")
        assert "hint:" not in canvas(e, "card")
        assert above.size == before


async def test_a_long_example_leaves_the_list_a_third_and_a_slice_without_pictures_is_no_other(source: FakeSource):
    page = looked.preview()
    cards = [replace(card, pictures=()) for card in page.examples]
    cards[0] = replace(cards[0], hint="Look at the ears. " * 60)
    source.looks[MODELS[0], JobKind.PREVIEW, None] = replace(page, examples=tuple(cards))
    async with explorer(source, session=ONE, size=(80, 24)) as e:
        screen = await opened(e, "E", Examples)
        await e.until(lambda: (screen.query_one("#list").size.height, screen.query_one("#card").size.height) == (7, 14))
    cards[0] = replace(cards[0], hint="")
    source.looks[MODELS[0], JobKind.PREVIEW, None] = replace(page, examples=tuple(cards))
    async with explorer(source, session=ONE, size=(80, 24)) as e:
        screen = await opened(e, "E", Examples)
        await e.until(lambda: screen.query_one("#list").size.height > 10)
        assert "Which animal is shown in picture 0?" in canvas(e, "card")
