"""The picker: what is typed is searched for, looked at, judged and completed."""

import asyncio
import threading
from pathlib import Path

import pytest
from rich.text import Text
from textual.widget import Widget
from textual.widgets import Input, Label, OptionList

from microscope_tui.catalogue.listing import Entry
from microscope_tui.settings import Settings
from microscope_tui.terms import JobKind, JobState, SliceSpec
from microscope_tui.tui.content.offers import Offer, Shop
from microscope_tui.tui.screens.picker import Picker
from microscope_tui.tui.session import Session
from microscope_tui.tui.state import Keeper, Remembered, restore
from tests.sure import sure
from tests.tui import looked
from tests.tui.driving import DEADLINE, Driven, explorer, filled
from tests.tui.fake import MODELS, SLICE, FakeSource, made_up


@pytest.fixture
def source() -> FakeSource:
    return FakeSource([made_up(), made_up(MODELS[1]), made_up(spec=SliceSpec("demo:scienceqa", count=5))])


def lines(e: Driven) -> list[str]:
    options = e.app.screen.query_one(OptionList)
    return [str(options.get_option_at_index(i).prompt) for i in range(options.option_count)]


def sure_text(prompt: object) -> Text:
    assert isinstance(prompt, Text)
    return prompt


def box(e: Driven) -> Input:
    return e.app.screen.query_one(Input)


def text_of(e: Driven, name: str) -> str:
    return str(e.app.screen.query_one(name).render())


async def opened(e: Driven, key: str, *typed: str) -> None:
    await filled(e)
    await e.press(key)
    assert e.here(Picker)
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


async def test_the_line_under_the_cursor_alone_has_nothing_faint(source: FakeSource):
    async with explorer(source) as e:
        await opened(e, "m")
        options = e.app.screen.query_one(OptionList)

        def faint() -> list[bool]:
            return ["dim" in [span.style for span in sure_text(option.prompt).spans] for option in options.options]

        for at in (0, 1, 0):
            await e.until(lambda at=at: faint() == [i != at for i in range(len(lines(e)))])  # type: ignore[misc]
            await e.press("up" if at else "down")


async def test_a_short_list_leaves_no_empty_half_of_a_dialog_and_a_refusal_names_the_way_out(source: FakeSource):
    async with explorer(source, size=(120, 60)) as e:
        await opened(e, "m")
        dialog = e.app.screen.query_one("#dialog")
        await e.until(lambda: dialog.region.height <= 26)
        box(e).value = "demo:nothing"
        await e.until(lambda: "no demo model" in text_of(e, "#said").lower())
        assert text_of(e, "#said").endswith("· esc back")


async def test_the_hub_is_asked_for_the_size_of_what_is_not_here(source: FakeSource):
    name = "llava-hf/llava-v1.6-mistral-7b-hf"
    source.hub[name] = Entry(
        name, "LLaVA-NeXT, Mistral 7B", "", here=False, size=15_100_000_000, weights=15_000_000_000
    )
    async with explorer(source, size=(160, 40)) as e:
        await opened(e, "m")
        await e.press("down", "down")
        await e.until(lambda: "15.1 GB on the hub, not on this machine" in text_of(e, "#plan"))
        assert "15.1 GB · " in lines(e)[2]
        await e.press("enter")
        await e.until(lambda: "15.1 GB will be downloaded from the hub" in text_of(e, "#said"))
        box(e).value = "someone/unheard-of"
        await e.until(lambda: "size not known yet, the hub cannot be reached" in text_of(e, "#plan"))
        await e.press("enter")
        await e.until(lambda: "its size is not known (the hub cannot be reached)." in text_of(e, "#said"))
        await e.press("enter")
        await e.until(lambda: e.session.models == ("someone/unheard-of",))


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

    def slow(shop: Shop) -> tuple[Offer, ...]:
        assert read.wait(DEADLINE)
        return offers(shop)

    monkeypatch.setattr(Shop, "offers", slow)
    async with explorer(source) as e:
        await filled(e)
        await e.press("m", *"omfu", "enter")
        assert e.here(Picker)
        assert "not the name" not in text_of(e, "#said")
        read.set()
        await e.until(lambda: e.session.models == (MODELS[1],))


async def test_favourites_and_what_was_looked_at_stand_in_front(source: FakeSource, tmp_path: Path):
    settings = Settings(cache=tmp_path, favourite_models=("llava-hf/llava-v1.6-mistral-7b-hf",))
    async with explorer(source, settings=settings) as e:
        e.explorer.remembered = Remembered((MODELS[1],))
        await opened(e, "m")
        assert lines(e)[0].startswith("★   llava-hf/llava")
        assert lines(e)[1].startswith("● ✓ demo:llava-next")
        assert lines(e)[2].startswith("◦ ✓ demo:omnifusion")


async def test_a_key_makes_the_line_under_the_cursor_a_favourite_for_the_next_start(source: FakeSource, tmp_path: Path):
    settings = Settings(cache=tmp_path)
    async with explorer(source, settings=settings) as e:
        await opened(e, "m")
        await e.press("down", "ctrl+f")
        assert lines(e)[1].startswith(f"★ ✓ {MODELS[1]}")
        assert "a favourite" in text_of(e, "#said")
        assert e.app.screen.query_one(OptionList).highlighted == 1
        await e.press("up", "ctrl+f", "escape")
        Keeper(tmp_path).keep(e.session, e.explorer.remembered)
    _, remembered, _ = restore(tmp_path, Session(MODELS[:1], SLICE), ())
    assert remembered.favourite_models == (MODELS[1], MODELS[0])
    again = FakeSource(list(source.stored.values()))
    async with explorer(again, settings=settings) as e:
        e.explorer.remembered = remembered
        await opened(e, "m")
        assert lines(e)[0].startswith(f"★ ✓ {MODELS[1]}")
        assert lines(e)[1].startswith(f"●★✓ {MODELS[0]}")
        box(e).value = "omni"
        await e.pilot.pause()
        await e.press("ctrl+f")
        assert lines(e)[0].startswith(f"  ✓ {MODELS[1]}")
        assert "no favourite any more" in text_of(e, "#said")
    assert e.explorer.remembered.favourite_models == (MODELS[0],)


async def test_what_is_typed_can_be_a_favourite_and_what_cannot_be_is_none(source: FakeSource):
    async with explorer(source) as e:
        await opened(e, "d", "org/data?count=7")
        await e.press("ctrl+f")
        assert lines(e)[0] == "★ use org/data?count=7"
        assert e.explorer.remembered.favourite_slices == ("org/data?count=7",)
        box(e).value = "org/data?cuont=7"
        await e.pilot.pause()
        await e.press("ctrl+f")
        assert "no option 'cuont'" in text_of(e, "#said")
        assert e.explorer.remembered.favourite_slices == ("org/data?count=7",)


async def test_a_favourite_of_the_settings_is_taken_away_there(source: FakeSource, tmp_path: Path):
    settings = Settings(cache=tmp_path, favourite_models=(MODELS[1],))
    async with explorer(source, settings=settings) as e:
        await opened(e, "m", "omni")
        await e.press("ctrl+f")
        assert "take it out of favourite_models there" in text_of(e, "#said")
        assert lines(e)[0].startswith("★ ✓")
        assert e.explorer.remembered.favourite_models == ()


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
        assert e.here(Picker)
        await e.until(lambda: any("filter=image" in line for line in lines(e)))
        await e.press("tab")
        assert box(e).value == "demo:scienceqa?filter=image"
        assert "no filter" not in text_of(e, "#said")
        box(e).value = "demo:scienceqa?count=5"
        await e.pilot.pause()
        await e.until(lambda: "measured" in text_of(e, "#plan"))
        await e.press("enter")
        await e.until(lambda: e.session.slice == SliceSpec("demo:scienceqa", count=5))
        assert source.submitted == []


async def test_what_is_known_to_be_no_name_stands_after_what_it_finds(source: FakeSource):
    async with explorer(source) as e:
        await opened(e, "c", "demo:omni")
        assert "no demo model" in text_of(e, "#said").lower()
        assert "demo:omnifusion" in lines(e)[0]
        assert "use demo:omni" in lines(e)[-1]
        await e.press("enter")
        await e.until(lambda: e.session.models == MODELS)


async def test_a_folder_is_completed_and_described(source: FakeSource, tmp_path: Path):
    (tmp_path / "llava").mkdir()
    (tmp_path / "llava" / "config.json").write_text('{"model_type": "llava", "architectures": ["LlavaForX"]}')
    async with explorer(source) as e:
        await opened(e, "m", f"{tmp_path}/ll")
        await e.until(lambda: str(tmp_path / "llava") in lines(e)[0])
        await e.press("tab")
        assert box(e).value == str(tmp_path / "llava")
        await e.until(lambda: "LlavaForX" in text_of(e, "#plan"))
        await e.press("enter")
        await e.until(lambda: "It is incomplete: model.safetensors is missing" in text_of(e, "#said"))


async def test_words_that_find_nothing_say_how_a_name_is_written(source: FakeSource):
    async with explorer(source) as e:
        await opened(e, "m", "qwen")
        assert "A model is named OWNER/NAME as on the hub, or by its folder." in text_of(e, "#plan")
        await e.press("escape", "d")
        await e.until(lambda: lines(e))
        box(e).value = "vqa"
        await e.pilot.pause()
        assert "with ?filter=image&count=200" in text_of(e, "#plan")


async def test_a_folder_without_a_checkpoint_and_a_file_are_said_before_they_are_chosen(
    source: FakeSource, tmp_path: Path
):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file.txt").write_text("x")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "config.json").write_text("{ no")
    told = (
        ("empty", "there is no checkpoint in it"),
        ("broken", "its config.json is damaged"),
        ("file.txt", "it is a file"),
    )
    async with explorer(source) as e:
        for name, said in told:
            await opened(e, "m", str(tmp_path / name))
            await e.until(lambda said=said: f"cannot be measured: {said}" in text_of(e, "#plan"))  # type: ignore[misc]
            await e.press("enter")
            await e.until(lambda: "Enter once more" in text_of(e, "#said"))
            await e.press("escape")
        assert e.session.models == MODELS[:1]


@pytest.mark.parametrize("key", ["m", "d"])
async def test_the_home_of_nobody_is_said_at_once(source: FakeSource, key: str):
    async with explorer(source) as e:
        await opened(e, key, "~nobody-of-this-name/llava")
        assert "no home of nobody-of-this-name" in text_of(e, "#said")
        for press in ("ctrl+f", "enter"):
            await e.press(press)
            assert "no home of nobody-of-this-name" in text_of(e, "#said")
        assert e.here(Picker)


async def test_a_click_chooses_a_line(source: FakeSource):
    async with explorer(source) as e:
        await opened(e, "m")
        options = e.app.screen.query_one(OptionList)
        await e.pilot.click(options, offset=(6, 1))
        await e.until(lambda: e.session.models == (MODELS[1],))


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
        source.move(job, JobState.FAILED, error="The data has no column question. " * 3 + "Name one.")
        await e.until(lambda: "no column question" in text_of(e, "#peek"))
        assert " ".join(text_of(e, "#peek").split()).endswith("Name one.")
        assert max(map(len, text_of(e, "#peek").splitlines())) < 110
        await e.press("escape")


@pytest.mark.parametrize("last", ["typed", "list", "plan", "said"])
async def test_what_is_told_while_a_picker_goes_is_not_shown_on_what_is_left_of_it(
    source: FakeSource, monkeypatch: pytest.MonkeyPatch, last: str
):
    """Its widgets go before it does, in any order: here `last` goes when news has come meanwhile."""
    told: list[str] = []

    async with explorer(source, session=Session(MODELS, SLICE)) as e:

        async def linger(widget: Widget) -> None:
            if widget.id != last or told:
                return
            picker = sure(widget.parent)
            while isinstance(picker, Widget) and not isinstance(picker, Picker):
                picker = sure(picker.parent)
            while picker.query("#peek"):
                await asyncio.sleep(0)
            assert picker.is_attached
            e.explorer.watchers.append(lambda: told.append(last))  # called behind the picker's own
            source.move(source.submit(e.explorer.requests[0]), JobState.RUNNING)
            while not told and e.app.is_running:
                await asyncio.sleep(0)
            e.explorer.watchers.pop()

        await opened(e, "d", "demo:scienceqa?count=5")
        for kind in (Input, OptionList, Label):
            monkeypatch.setattr(kind, "on_unmount", linger, raising=False)
        await e.press("enter")
        await e.until(lambda: e.session.slice == SliceSpec("demo:scienceqa", count=5))
        await e.until(lambda: last in told)  # once or, with more news at that moment, more often
        await e.until(lambda: not e.explorer.watchers)
        assert e.app.screen is e.explorer


async def test_nobody_waits_for_a_slice_that_was_passed_over(source: FakeSource):
    async with explorer(source) as e:
        await opened(e, "d")
        await e.until(lambda: source.worked)
        await e.press("escape")
        await e.until(lambda: source.cancelled == [job.id for job in source.worked.values()])
