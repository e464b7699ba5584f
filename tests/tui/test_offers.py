"""What the pickers offer, and what they say of it before it is loaded."""

from dataclasses import replace
from pathlib import Path

import pytest

from microscope_tui.catalogue.listing import Entry
from microscope_tui.errors import MicroscopeError
from microscope_tui.tui.content.offers import Offer, Room, completions, fitted, folders, offers, search, wrong_slice

GB = 10**9
SEVEN_B = Entry("ann/seven", "SevenForX", "", size=15 * GB, weights=14 * GB, dtype="bfloat16", model_type="llava")
KNOWN = [
    Entry("demo:llava-next", "LLaVA-NeXT, small", "shipped"),
    Entry("demo:omnifusion", "OmniFusion, small", "shipped"),
    Entry("llava-hf/llava-v1.6-mistral-7b-hf", "LLaVA-NeXT, Mistral 7B", "on the hub", here=False),
    Entry("Qwen/Qwen2.5-VL-7B-Instruct", "Qwen2_5_VLForConditionalGeneration", "in the local hub cache"),
]


def names(found):
    return [offer.name for offer, _ in found]


def shelf(known=KNOWN):
    return [Offer(entry) for entry in known]


def test_letters_in_their_order_find_a_name_and_show_where():
    (best, places), *_ = search(shelf(), "qw7b")
    assert best.name == "Qwen/Qwen2.5-VL-7B-Instruct"
    assert "".join(best.name[place] for place in places).lower() == "qw7b"
    assert names(search(shelf(), "omni")) == ["demo:omnifusion"]
    assert names(search(shelf(), "mistral llava")) == ["llava-hf/llava-v1.6-mistral-7b-hf"]
    assert names(search(shelf(), "shipped")) == ["demo:llava-next", "demo:omnifusion"]
    assert names(search(shelf(), "zzz")) == []
    assert names(search(shelf(), "")) == [entry.name for entry in KNOWN]


def test_favourites_come_first_then_what_was_looked_at_and_each_once():
    asked = []

    def describe(name: str) -> Entry:
        asked.append(name)
        if name == "/gone":
            raise MicroscopeError("There is no folder /gone.")
        return Entry(name, "a folder", "")

    found = offers(
        KNOWN,
        ["/data/mine", "demo:omnifusion", "/gone"],
        ["demo:omnifusion", "/old", "/gone"],
        describe,
        lambda name: name == "demo:llava-next",
    )
    assert [offer.name for offer in found] == [
        *("/data/mine", "demo:omnifusion", "/gone", "/old", "demo:llava-next"),
        *("llava-hf/llava-v1.6-mistral-7b-hf", "Qwen/Qwen2.5-VL-7B-Instruct"),
    ]
    assert [offer.tag for offer in found][:5] == ["favourite", "favourite", "favourite", "recent", ""]
    assert asked == ["/data/mine", "/gone", "/old"]
    assert "There is no folder /gone" in found[2].doubt
    assert [offer.name for offer in found if offer.measured] == ["demo:llava-next"]


def test_what_was_looked_at_and_is_gone_is_not_offered():
    def gone(name: str) -> Entry:
        raise MicroscopeError("gone")

    assert [offer.name for offer in offers(KNOWN[:1], [], ["/gone"], gone, lambda name: False)] == ["demo:llava-next"]


@pytest.mark.parametrize(
    ("room", "needs", "fit"),
    [
        (Room(100 * GB, (24 * GB,)), 14, "fits"),
        (Room(100 * GB, (16 * GB,)), 14, "tight"),
        (Room(100 * GB, (8 * GB,)), 14, "too large"),
        (Room(100 * GB, (8 * GB, 24 * GB), "cuda:1"), 14, "fits"),
        (Room(100 * GB, (8 * GB, 24 * GB), "cuda:7"), 14, ""),
        (Room(100 * GB, (8 * GB, 24 * GB), "balanced"), 14, "fits"),
        (Room(100 * GB, (8 * GB,), "cpu"), 28, "fits"),
        (Room(20 * GB), 28, "too large"),
        (Room(20 * GB, dtype="bfloat16"), 14, "fits"),
        (Room(100 * GB, (24 * GB,), dtype="float32"), 28, "too large"),
    ],
)
def test_how_a_model_fits_depends_on_where_and_how_it_is_loaded(room: Room, needs: int, fit: str):
    offer = fitted(Offer(SEVEN_B), room)
    assert offer.needs == needs * GB
    assert offer.fit == fit


def test_what_is_known_is_said_before_a_load_and_doubts_with_their_reason():
    offer = fitted(Offer(SEVEN_B), Room(100 * GB, (8 * GB,)))
    assert offer.plan == (
        "bfloat16 · 15.0 GB on disk · weights 14.0 GB of 8.0 GB free on the GPU: too large · "
        "kind is not tested here · not measured yet"
    )
    assert offer.doubt == "Its weights take 14.0 GB and the GPU has 8.0 GB free."
    lacking = Entry("a/b", "X", "", missing=("model-2.safetensors", "model-3.safetensors"))
    assert "model-2.safetensors and 1 more must be downloaded" in Offer(lacking).doubt
    assert Offer(KNOWN[2]).askable
    assert "it will be downloaded from the hub, its size is not known." in Offer(KNOWN[2]).doubt
    assert (
        "on the hub, not on this machine: size not known yet, the hub is asked for its size …" in Offer(KNOWN[2]).plan
    )
    alone = Offer(KNOWN[2], unsized="the hub cannot be reached")
    assert not alone.askable
    assert "its size is not known (the hub cannot be reached)." in alone.doubt
    assert "size not known yet, the hub cannot be reached" in alone.plan
    told = fitted(Offer(replace(SEVEN_B, here=False)), Room(100 * GB, (8 * GB,)))
    assert told.doubt == (
        "It is not on this machine: 15.0 GB will be downloaded from the hub, and needs 14.0 GB of memory: too large."
    )
    assert told.plan.startswith("bfloat16 · 15.0 GB on the hub, not on this machine · weights 14.0 GB of 8.0 GB free")
    assert (
        Offer(Entry("a/b", "X", "", refused="it takes text only")).doubt == "It cannot be measured: it takes text only."
    )
    assert Offer(KNOWN[2], measured=True).doubt == ""
    assert Offer(KNOWN[0]).doubt == ""


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("demo:scienceqa", ""),
        ("demo:scienceqa?filter=image&count=100", ""),
        ("demo:scienceqa?filter=subject:natural science,image", ""),
        ("demo:scienceqa?filter=ima", "'ima'"),
        ("demo:scienceqa?filter=subject:", "'subject:'"),
        ("demo:scienceqa?count=x", "whole number"),
        ("demo:scienceqa?cuont=1", "'cuont'"),
        ("?count=1", "no source"),
    ],
)
def test_a_slice_is_judged_as_it_is_typed(text: str, part: str):
    said = wrong_slice(text)
    assert bool(said) == bool(part)
    assert part in said


def test_options_are_offered_to_go_on_with():
    assert completions("demo:scienceqa") == []
    assert completions("demo:scienceqa?")[0] == "demo:scienceqa?count=200"
    assert completions("demo:scienceqa?fi") == ["demo:scienceqa?filter=image", "demo:scienceqa?filter=text-only"]
    assert completions("demo:scienceqa?filter=im") == ["demo:scienceqa?filter=image"]
    more = completions("demo:scienceqa?filter=image")
    assert "demo:scienceqa?filter=image&count=200" in more
    assert not any(name.count("filter=") > 1 for name in more)
    assert completions("demo:scienceqa?filter=image&c") == ["demo:scienceqa?filter=image&count=200"]


def test_folders_complete_a_typed_path(tmp_path: Path):
    for name in ("llava", "llama", ".hidden", "other"):
        (tmp_path / name).mkdir()
    (tmp_path / "llfile").write_text("")
    assert folders(f"{tmp_path}/ll") == [f"{tmp_path}/llama", f"{tmp_path}/llava"]
    assert folders(f"{tmp_path}/") == [f"{tmp_path}/{name}" for name in ("llama", "llava", "other")]
    assert folders(f"{tmp_path}/none/") == []
