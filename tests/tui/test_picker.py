"""The picker: what is typed is searched for, looked at, judged and completed."""

import threading
from collections.abc import Sequence
from pathlib import Path

import pytest
from textual.widgets import Input, OptionList

from microscope_tui.catalogue import Entry
from microscope_tui.settings import Settings
from microscope_tui.terms import JobKind, JobState, SliceSpec
from microscope_tui.tui.content.offers import Offer, Shop
from microscope_tui.tui.screens.picker import Picker
from microscope_tui.tui.session import Session
from microscope_tui.tui.state import Recent
from tests.tui import looked
from tests.tui.driving import Driven, explorer, filled
from tests.tui.fake import MODELS, SLICE, FakeSource, made_up


@pytest.fixture
def source() -> FakeSource:
    return FakeSource([made_up(), made_up(MODELS[1]), made_up(spec=SliceSpec("demo:scienceqa", count=5))])


def lines(e: Driven) -> list[str]:
    options = e.app.screen.query_one(OptionList)
    return [str(options.get_option_at_index(i).prompt) for i in range(options.option_count)]


def box(e: Driven) -> Input:
    return e.app.screen.query_one(Input)


def text_of(e: Driven, name: str) -> str:
    return str(e.app.screen.query_one(name).render())


async def opened(e: Driven, key: str, *typed: str) -> None:
    await filled(e)
    await e.press(key)
    assert isinstance(e.app.screen, Picker)
    await e.until(lambda: lines(e))
    for text in typed:
        box(e).value = text
        await e.pilot.pause()


async def test_what_is_measured_for_this_slice_is_ticked(source: FakeSource):
    async with explorer(source) as e:
        await opened(e, "m")
        ticked = [line for line in lines(e) if "✓" in line]
        assert len(ticked) == 2
        assert lines(e)[0].startswith("● ✓ demo:llava-next")
        assert "not here yet" in lines(e)[2]


async def test_letters_in_their_order_find_a_model(source: FakeSource):
    async with explorer(source) as e:
        await opened(e, "m", "omfu")
        assert len(lines(e)) == 1
        await e.press("enter")
        await e.until(lambda: e.session.models == (MODELS[1],))


async def test_words_entered_before_the_list_is_there_are_searched_for_once_it_is(
    source: FakeSource, monkeypatch: pytest.MonkeyPatch
):
    """Who types fast is ahead of the disk: `omfu` and enter, all before a single name was read."""
    read = threading.Event()
    offers = Shop.offers

    def slow(shop: Shop, recent: Sequence[str]) -> tuple[Offer, ...]:
        assert read.wait(10)
        return offers(shop, recent)

    monkeypatch.setattr(Shop, "offers", slow)
    async with explorer(source) as e:
        await filled(e)
        await e.press("m", *"omfu", "enter")
        assert isinstance(e.app.screen, Picker)
        assert "not the name" not in text_of(e, "#said")
        read.set()
        await e.until(lambda: e.session.models == (MODELS[1],))


async def test_favourites_and_what_was_looked_at_stand_in_front(source: FakeSource, tmp_path: Path):
    settings = Settings(cache=tmp_path, favourite_models=("llava-hf/llava-v1.6-mistral-7b-hf",))
    async with explorer(source, settings=settings) as e:
        e.explorer.recent = Recent((MODELS[1],))
        await opened(e, "m")
        assert lines(e)[0].startswith("★   llava-hf/llava")
        assert lines(e)[1].startswith("● ✓ demo:llava-next")
        assert lines(e)[2].startswith("◦ ✓ demo:omnifusion")


async def test_what_is_doubtful_says_why_and_is_chosen_twice(source: FakeSource, monkeypatch: pytest.MonkeyPatch):
    bad = Entry("ann/clip", "CLIPModel", "", refused="it is an encoder", architecture="CLIPModel", model_type="clip")
    monkeypatch.setattr(source, "models", lambda: (bad,))
    async with explorer(source) as e:
        await opened(e, "m", "clip")
        assert "cannot be measured" in lines(e)[0]
        assert "CLIPModel" in text_of(e, "#plan")
        await e.press("enter")
        await e.until(lambda: "it is an encoder. Enter once more" in text_of(e, "#said"))
        assert e.session.models == MODELS[:1]
        await e.press("enter")
        await e.until(lambda: e.session.models == ("ann/clip",))


async def test_a_slice_is_judged_while_it_is_typed(source: FakeSource):
    async with explorer(source) as e:
        await opened(e, "d", "demo:scienceqa?filter=ima")
        assert "There is no filter 'ima'" in text_of(e, "#said")
        await e.press("enter")
        assert isinstance(e.app.screen, Picker)
        await e.until(lambda: any("filter=image" in line for line in lines(e)))
        await e.press("down", "tab")
        assert box(e).value == "demo:scienceqa?filter=image"
        assert "no filter" not in text_of(e, "#said")
        box(e).value = "demo:scienceqa?count=5"
        await e.pilot.pause()
        await e.until(lambda: "measured" in text_of(e, "#plan"))
        await e.press("enter")
        await e.until(lambda: e.session.slice == SliceSpec("demo:scienceqa", count=5))
        assert source.submitted == []


async def test_a_folder_is_completed_and_described(source: FakeSource, tmp_path: Path):
    (tmp_path / "llava").mkdir()
    (tmp_path / "llava" / "config.json").write_text('{"model_type": "llava", "architectures": ["LlavaForX"]}')
    async with explorer(source) as e:
        await opened(e, "m", f"{tmp_path}/ll")
        await e.until(lambda: any(str(tmp_path / "llava") in line for line in lines(e)))
        await e.press("down", "tab")
        assert box(e).value == str(tmp_path / "llava")
        await e.until(lambda: "LlavaForX" in text_of(e, "#plan"))
        await e.press("enter")
        await e.until(lambda: "model.safetensors must be downloaded first" in text_of(e, "#said"))


async def test_an_answer_for_what_is_no_longer_typed_is_dropped(source: FakeSource, tmp_path: Path):
    source.refuse[f"{tmp_path}/gone"] = "There is no such folder."
    async with explorer(source) as e:
        await opened(e, "m", f"{tmp_path}/gone", "omni")
        await e.pilot.pause(0.4)
        assert "no such folder" not in text_of(e, "#said")
        assert [line for line in lines(e) if "omnifusion" in line]


async def test_what_is_laid_over_twice_is_said(source: FakeSource):
    async with explorer(source, session=Session(MODELS, SLICE)) as e:
        await opened(e, "c", "omni")
        await e.press("enter")
        await e.until(lambda: "shown already" in e.notes)
        assert e.session.models == MODELS


async def test_a_slice_is_looked_into_before_it_is_chosen(source: FakeSource):
    source.looks[MODELS[0], JobKind.PREVIEW, None] = looked.preview(total=700)
    async with explorer(source) as e:
        await opened(e, "d")
        await e.until(lambda: "700 examples" in text_of(e, "#peek"))
        assert "▣ Which animal is shown in picture 0?  a dog · a cat · a bird" in text_of(e, "#peek")
        assert source.looked_at == []
        await e.press("down")  # this one is not on the machine: it is not fetched for a look
        await e.until(lambda: text_of(e, "#peek") == "")
        await e.press("escape")
        assert len(e.explorer.watchers) == 0


async def test_the_worker_reads_a_slice_that_nobody_has_looked_into_and_says_what_is_wrong(source: FakeSource):
    async with explorer(source) as e:
        await opened(e, "d")
        await e.until(lambda: source.looked_at)
        assert "reading its first examples" in text_of(e, "#peek")
        (job,) = source.worked.values()
        source.move(job, JobState.FAILED, error="The data has no column question.")
        await e.until(lambda: "no column question" in text_of(e, "#peek"))
        await e.press("escape")


async def test_nobody_waits_for_a_slice_that_was_passed_over(source: FakeSource):
    async with explorer(source) as e:
        await opened(e, "d")
        await e.until(lambda: source.worked)
        await e.press("escape")
        await e.until(lambda: source.cancelled == [job.id for job in source.worked.values()])
