"""The session of last time: restored whole, refused when it is damaged, beaten by flags."""

import fcntl
import json
import os
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from microscope_tui.settings import Settings
from microscope_tui.terms import Metric, Modality, SliceSpec, Stream
from microscope_tui.tui.app import ExplorerApp
from microscope_tui.tui.session import LIGHT, Session
from microscope_tui.tui.state import FILE, LARGEST, Keeper, Remembered, restore
from tests.tui.driving import DEADLINE, Driven, filled
from tests.tui.fake import MODELS, SLICE, FakeSource, made_up

START = Session(("demo:start",), SliceSpec("demo:scienceqa"))
RICH = Session(
    ("demo:a", "demo:b"),
    SliceSpec("demo:scienceqa", filter="image", count=40),
    Metric.DIMENSION,
    methods=((Metric.LINEARITY, "held-out"),),
    modalities=(Modality.IMAGE,),
    streams=(Stream.UPDATE, Stream.RESIDUAL),
    layer=-2,
    pane=1,
    zoomed=True,
    theme=LIGHT,
    others=(SliceSpec("other/data", count=3),),
    logs=(Metric.DIMENSION,),
    without=("sinks",),
    before=True,
)


def test_everything_comes_back(tmp_path: Path):
    Keeper(tmp_path).keep(RICH, Remembered())
    session, recent, note = restore(tmp_path, START, ())
    assert session == RICH
    assert recent == Remembered(("demo:a", "demo:b"), (str(RICH.slice), "other/data?count=3"))
    assert note == ""


def test_the_file_is_private_and_nothing_else_is_left(tmp_path: Path):
    Keeper(tmp_path / "new").keep(RICH, Remembered())
    Keeper(tmp_path / "new").keep(START, Remembered())
    assert os.listdir(tmp_path / "new") == [FILE]
    assert (tmp_path / "new" / FILE).stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o700


def test_of_two_that_write_at_the_same_time_one_is_left_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("microscope_tui.tui.state.PATIENCE", 0.0)
    both_write = threading.Barrier(2, timeout=120)

    def dump(data, opened, **options):
        both_write.wait()
        opened.write(json.dumps(data))

    monkeypatch.setattr("microscope_tui.tui.state.json.dump", dump)
    with ThreadPoolExecutor(2) as threads:
        for done in [threads.submit(Keeper(tmp_path).keep, session, Remembered()) for session in (RICH, START)]:
            done.result()
    assert restore(tmp_path, START, ())[0] in (RICH, START)
    assert os.listdir(tmp_path) == [FILE]


def test_what_is_given_wins_and_takes_along_what_was_laid_over(tmp_path: Path):
    Keeper(tmp_path).keep(RICH, Remembered())
    session, _, _ = restore(tmp_path, replace(START, metric=Metric.ANISOTROPY), ("models", "metric"))
    assert session.models == START.models
    assert session.metric is Metric.ANISOTROPY
    assert (session.others, session.slots) == ((), (0,))
    assert (session.slice, session.theme, session.layer) == (RICH.slice, LIGHT, -2)


def test_what_was_looked_at_comes_first_and_the_list_has_an_end():
    recent = Remembered(tuple(f"m{i}" for i in range(30)))
    after = recent.after(START)
    assert after.models[:2] == ("demo:start", "m0")
    assert len(after.models) == 12


def test_favourites_come_back_and_can_be_taken_away():
    names = Remembered().favoured(model="a").favoured(model="b").favoured(slice="s")
    assert (names.favourite_models, names.favourite_slices) == (("a", "b"), ("s",))
    assert names.favoured(model="a").favourite_models == ("b",)
    assert names.after(START).favourite_models == ("a", "b")


def test_of_the_names_each_explorer_changes_only_its_own(tmp_path: Path):
    Keeper(tmp_path).keep(START, Remembered().favoured(model="ours").favoured(slice="old"))
    _, restored, _ = restore(tmp_path, START, ())
    one, other = Keeper(tmp_path, restored), Keeper(tmp_path, restored)
    folder = replace(START, models=("/a/folder",))
    one.keep(folder, restored.favoured(model="/a/folder").favoured(slice="old"))
    other.keep(replace(START, models=("demo:b",)), restored)
    other.keep(RICH, restored.favoured(model="demo:a"))
    _, names, _ = restore(tmp_path, START, ())
    assert names.favourite_models == ("ours", "/a/folder", "demo:a")
    assert names.favourite_slices == ()
    assert names.models == ("demo:a", "demo:b", "/a/folder", "demo:start")
    other.keep(RICH, restored)
    one.keep(folder, restored.favoured(model="/a/folder"))
    assert restore(tmp_path, START, ())[1].favourite_models == ("ours", "/a/folder")


def test_names_that_could_not_be_kept_are_with_the_next_time(tmp_path: Path):
    keeper, names = Keeper(tmp_path / "folder"), Remembered().favoured(model="mine")
    (tmp_path / "folder").write_text("in the way")
    keeper.keep(START, names)
    (tmp_path / "folder").unlink()
    Keeper(tmp_path / "folder").keep(RICH, Remembered().favoured(model="theirs"))
    keeper.keep(START, names)
    assert restore(tmp_path / "folder", START, ())[1].favourite_models == ("theirs", "mine")


def test_an_explorer_waits_until_another_one_has_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("microscope_tui.tui.state.PATIENCE", DEADLINE)
    lock, waits = fcntl.flock, threading.Event()

    def locked(descriptor: int, how: int) -> None:
        try:
            lock(descriptor, how)
        except BlockingIOError:
            waits.set()
            raise

    monkeypatch.setattr("microscope_tui.tui.state.fcntl.flock", locked)
    dump = json.dump
    with ThreadPoolExecutor(1) as thread:

        def dump_while_another_comes(data, opened, **options):
            monkeypatch.setattr("microscope_tui.tui.state.json.dump", dump)
            others.append(thread.submit(Keeper(tmp_path).keep, START, Remembered().favoured(model="theirs")))
            assert waits.wait(DEADLINE)
            dump(data, opened, **options)

        others: list[Future[None]] = []
        monkeypatch.setattr("microscope_tui.tui.state.json.dump", dump_while_another_comes)
        Keeper(tmp_path).keep(RICH, Remembered().favoured(model="mine"))
        others[0].result()
    assert restore(tmp_path, START, ())[1].favourite_models == ("mine", "theirs")


def test_a_file_of_before_there_were_favourites_is_read(tmp_path: Path):
    Keeper(tmp_path).keep(RICH, Remembered(favourite_models=("demo:a",)))
    data = json.loads((tmp_path / FILE).read_text())
    assert data["recent"].pop("favourite_models") == ["demo:a"]
    del data["recent"]["favourite_slices"]
    (tmp_path / FILE).write_text(json.dumps(data))
    session, remembered, note = restore(tmp_path, START, ())
    assert (session, note) == (RICH, "")
    assert remembered.favourite_models == ()


async def test_a_favourite_is_kept_before_the_connection_can_be_lost(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr("microscope_tui.tui.app.KEEP_EVERY", 0.05)
    source = FakeSource([made_up()])
    app = ExplorerApp(Settings(cache=tmp_path), Session(MODELS[:1], SLICE), source, keep=Keeper(tmp_path).keep)
    async with app.run_test(size=(120, 40)) as pilot:
        e = Driven(app, pilot, source)
        await filled(e)
        app.explorer.remembered = app.explorer.remembered.favoured(model="org/mine")
        await e.until(lambda: restore(tmp_path, START, ())[1].favourite_models == ("org/mine",))


def test_without_a_file_one_starts_anew_and_without_a_word(tmp_path: Path):
    assert restore(tmp_path / "none", START, ()) == (START, Remembered(), "")


def _with(name: str, value: object) -> str:
    session = {"models": ["demo:a"], "slice": "demo:x", name: value}
    return json.dumps({"version": 1, "session": session, "recent": {"models": [], "slices": []}})


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "{}",
        '{"version": 99}',
        "[" * 100_000,
        _with("models", []),
        _with("models", [3]),
        _with("models", "demo:a"),
        _with("slice", "demo:x?count=none"),
        _with("metric", "beauty"),
        _with("layer", "3"),
        _with("layer", True),
        _with("pane", 99),
        _with("pane", -1),
        _with("streams", []),
        _with("methods", [["linearity"]]),
        " " * (LARGEST + 1),
    ],
)
def test_a_damaged_file_is_said_and_ignored(tmp_path: Path, text: str):
    (tmp_path / FILE).write_text(text)
    session, recent, note = restore(tmp_path, START, ())
    assert (session, recent) == (START, Remembered())
    assert "could not be restored" in note
    assert len(note) < 400


def test_fields_of_another_version_are_left_alone(tmp_path: Path):
    (tmp_path / FILE).write_text(_with("from_the_future", {"x": 1}))
    assert restore(tmp_path, START, ())[0].models == ("demo:a",)


def test_a_folder_that_cannot_be_written_is_no_trouble(tmp_path: Path):
    (tmp_path / "file").write_text("")
    Keeper(tmp_path / "file" / "sub").keep(START, Remembered())
    assert os.listdir(tmp_path) == ["file"]


def test_a_link_in_the_way_is_replaced_and_not_followed(tmp_path: Path):
    outside = tmp_path / "outside"
    outside.write_text("mine")
    cache = tmp_path / "cache"
    cache.mkdir()
    (cache / FILE).symlink_to(outside)
    Keeper(cache).keep(START, Remembered())
    assert outside.read_text() == "mine"
    assert not (cache / FILE).is_symlink()


async def test_a_change_is_kept_before_the_connection_can_be_lost(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("microscope_tui.tui.app.KEEP_EVERY", 0.05)
    kept: list[tuple[Session, Remembered]] = []
    source = FakeSource([made_up()])
    app = ExplorerApp(
        Settings(cache=Path("/nowhere")), Session(MODELS[:1], SLICE), source, keep=lambda *now: kept.append(now)
    )
    async with app.run_test(size=(120, 40)) as pilot:
        e = Driven(app, pilot, source)
        await filled(e)
        settled = len(kept)
        await e.press("2", "right")
        await e.until(lambda: kept and kept[-1][0].metric is Metric.DIMENSION and kept[-1][0].layer == 1)
        count = len(kept)
        await pilot.pause(0.3)
        assert settled <= 1
        assert len(kept) == count


async def test_why_nothing_was_restored_is_said():
    source = FakeSource([made_up()])
    app = ExplorerApp(Settings(cache=Path("/nowhere")), Session(MODELS[:1], SLICE), source, note="It is torn.")
    async with app.run_test(size=(120, 40)) as pilot:
        e = Driven(app, pilot, source)
        await e.until(lambda: "It is torn." in e.notes)
