"""A cache that is only looked at: somebody else's results, and not a byte written."""

import hashlib
import os
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from microscope_tui.cli import main
from microscope_tui.errors import MicroscopeError
from microscope_tui.inspection import TokenTable
from microscope_tui.results import Measurement
from microscope_tui.settings import Settings
from microscope_tui.stamps import stamps_of
from microscope_tui.store import Store
from microscope_tui.terms import Job, JobKind, Metric, Modality, Request, SliceSpec, Stream
from microscope_tui.tui.app import ExplorerApp
from microscope_tui.tui.content.cards import metric_card
from microscope_tui.tui.content.measured import made_otherwise, shown
from microscope_tui.tui.content.view import pane_views
from microscope_tui.tui.data.apart import apart
from microscope_tui.tui.data.archive import ArchiveSource, stock_of
from microscope_tui.tui.data.desk import Desk
from microscope_tui.tui.session import Session
from microscope_tui.tui.start import is_sealed
from microscope_tui.tui.state import Keeper, Remembered
from microscope_tui.tui.widgets.canvas import Canvas
from microscope_tui.versions import methods
from tests.sure import sure
from tests.terminal import Terminal
from tests.tui import looked
from tests.tui.driving import Driven, filled
from tests.tui.fake import FakeSource, Shape, made_up

THEIRS = "/home/ann/checkpoints/llava"
SLICE = SliceSpec("ann/questions", count=40)


def variant(**provenance: object) -> Measurement:
    shape = Shape(layers=4, tilt=float(len(provenance)))
    return replace(made_up(THEIRS, SLICE, shape), provenance={"dtype": "float32", **provenance})


PLAIN = {"without": [], "one_tile": False, "before": False, "reference": False}


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """What comes out of `cache export` and `cache import`: results without the names they were asked for by."""
    folder = tmp_path / "theirs"
    with Store(tmp_path / "made") as made:
        made.put_measurement("old", made_up("demo:other", SLICE, Shape(layers=4)))
        made.put_measurement("plain", variant(**PLAIN))
        made.put_measurement("bare", variant(**{**PLAIN, "without": ["sinks"]}, more=1))
        made.put_blob("state-abc-40-x-y", b"x" * 5000)
        made.export_to(tmp_path / "results.tar")
    with Store(folder) as theirs:
        assert theirs.import_from(tmp_path / "results.tar") == 4
    return folder


def fingerprint(folder: Path) -> dict[str, str]:
    return {
        str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }


@pytest.fixture
def source(cache: Path) -> ArchiveSource:
    return ArchiveSource(Settings(cache=cache, read_only=True))


def test_results_are_found_by_model_and_slice_though_their_files_are_elsewhere(source: ArchiveSource):
    assert sure(source.recall(Request(THEIRS, SLICE))).provenance == variant(**PLAIN).provenance
    assert sure(source.recall(Request(THEIRS, SLICE, without=("sinks",)))).provenance["more"] == 1
    assert sure(source.recall(Request(THEIRS, SLICE, before=True))).provenance == variant(**PLAIN).provenance
    assert source.recall(Request(THEIRS, SLICE, without=("duplicates",))) is None
    assert source.recall(Request("demo:llava-next", SLICE)) is None


def archive(folder: Path, *made: Measurement) -> ArchiveSource:
    """A cache of these measurements, the oldest first."""
    with Store(folder) as store:
        for number, measurement in enumerate(made):
            store.put_measurement(str(number), measurement)
    return ArchiveSource(Settings(cache=folder, read_only=True))


ASKED = {"dtype": "float32", "device": "cpu", "folds": 10, "sample_tokens": 4096, **methods()}


@pytest.mark.parametrize(
    ("asked", "theirs", "said"),
    [
        ({"dtype": "bfloat16"}, {"dtype": "bfloat16"}, "in bfloat16"),
        ({"device": "cuda:1"}, {"device": "cuda"}, "on cuda"),
        ({"device": "balanced"}, {"device": "cuda"}, "on cuda"),
        ({"folds": 3}, {"folds": 3}, "3 folds"),
        ({"sample_tokens": 100}, {"sample_tokens": 100}, "100 sampled rows"),
        ({}, {"estimators": 1}, "estimators 1"),
        ({}, {"before": True}, "from the vision tower on"),
    ],
)
def test_of_two_measurements_that_is_shown_which_was_made_as_asked(
    tmp_path: Path, asked: dict[str, object], theirs: dict[str, object], said: str
):
    """Whichever is older; where there is only the other one, the pane and the card say what it is."""
    plain, other = variant(**PLAIN, **ASKED), variant(**{**PLAIN, **ASKED, **theirs})
    ours = Request(THEIRS, SLICE, dtype="float32", device="cpu")
    wanted = replace(ours, **asked) if asked else ours  # type: ignore[arg-type]  # passed on as they are
    for name, made in (("one", (plain, other)), ("two", (other, plain))):
        source = archive(tmp_path / name, *made)
        assert sure(source.recall(wanted)).provenance == (other if asked else plain).provenance
        assert sure(source.recall(ours)).provenance == plain.provenance
    assert made_otherwise(wanted, other if asked else plain) == ""
    found = sure(archive(tmp_path / "three", other).recall(ours))
    assert made_otherwise(ours, found) == said
    desk, session = Desk(read_only=True), Session((THEIRS,), SLICE)
    desk.measured(ours, found)
    for view in pane_views(session, desk, [ours]):
        assert view.warning == f"here only {said}"
        card = metric_card(view, 0, session.metric, "in-sample", dict(enumerate(shown(desk, [ours]))))
        told = {row.text for section in card for row in section.rows}
        how = found.provenance
        assert {f"here only {said}", f"measured in {how['dtype']} on {how['device']}"} <= told


def test_a_model_that_does_not_cut_pictures_has_one_tile_anyway(tmp_path: Path):
    asked = Request(THEIRS, SLICE, one_tile=True)
    assert not apart(asked, variant(**PLAIN, tiles=False))
    assert apart(asked, variant(**PLAIN, tiles=True)) == {"one_tile": False}


def test_of_two_measurements_that_are_alike_the_later_one_is_shown(tmp_path: Path):
    older, newer = variant(**PLAIN, number=1), variant(**PLAIN, number=2)
    assert sure(archive(tmp_path, older, newer).recall(Request(THEIRS, SLICE))).provenance["number"] == 2


def test_of_two_looks_that_is_shown_which_was_made_as_asked(tmp_path: Path):
    with Store(tmp_path) as store:
        for dtype, fitted in (("bfloat16", 1), ("float32", 2), ("float16", 3)):
            table = replace(looked.table(THEIRS, 3), fitted=fitted).to_json()
            store.remember_look(Request(THEIRS, SLICE, dtype=dtype), JobKind.TOKENS, 3, table, {})
    source = ArchiveSource(Settings(cache=tmp_path, read_only=True))
    for dtype, fitted in (("bfloat16", 1), ("float32", 2), ("auto", 3)):
        found = source.look(Request(THEIRS, SLICE, dtype=dtype), JobKind.TOKENS, 3)
        assert isinstance(found, TokenTable)
        assert found.fitted == fitted


@pytest.fixture
def looked_at(tmp_path: Path) -> ArchiveSource:
    """An exported cache with looks at examples and rows, of files that are not on this machine."""
    theirs, request = tmp_path / "looked", Request(THEIRS, SLICE, dtype="bfloat16")
    files = stamps_of([Path(__file__)])
    with Store(tmp_path / "made") as made:
        made.put_measurement("plain", variant(**PLAIN))
        made.remember_look(request, JobKind.TOKENS, 3, looked.table(THEIRS, 3).to_json(), files)
        made.remember_look(request, JobKind.PREVIEW, None, looked.preview(spec=SLICE).to_json(), files)
        for stream in (Stream.RESIDUAL, Stream.UPDATE):
            cloud = looked.cloud(THEIRS, stream)
            made.remember_look(replace(request, streams=(stream,)), JobKind.MAP, None, cloud.to_json(), files)
        made.export_to(tmp_path / "looks.tar")
    with Store(theirs) as opened:
        assert opened.import_from(tmp_path / "looks.tar") == 5
        assert opened.look("look/nothing") is None
    return ArchiveSource(Settings(cache=theirs, read_only=True))


def test_the_command_line_exports_looks_as_well(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    with Store(tmp_path / "made") as made:
        made.put_measurement("plain", variant(**PLAIN))
        made.put_blob("state-abc-40-x-y", b"x")
        made.remember_look(Request(THEIRS, SLICE), JobKind.TOKENS, 3, looked.table(THEIRS, 3).to_json(), {})
    archive = tmp_path / "theirs.tar"
    assert main(["--cache", str(tmp_path / "made"), "cache", "export", str(archive)]) == 0
    assert "2 results" in capsys.readouterr().err
    assert main(["--cache", str(tmp_path / "opened"), "cache", "import", str(archive)]) == 0
    source = ArchiveSource(Settings(cache=tmp_path / "opened", read_only=True))
    assert source.look(Request(THEIRS, SLICE), JobKind.TOKENS, 3) == looked.table(THEIRS, 3)


def test_looks_that_were_made_are_shown_and_others_are_said_to_be_missing(looked_at: ArchiveSource):
    request = Request(THEIRS, SLICE)
    assert looked_at.look(request, JobKind.TOKENS, 3) == looked.table(THEIRS, 3)
    assert looked_at.look(request, JobKind.PREVIEW, None) == looked.preview(spec=SLICE)
    assert looked_at.look(Request("another", SLICE), JobKind.PREVIEW, None) is not None
    for stream in (Stream.RESIDUAL, Stream.UPDATE):
        found = looked_at.look(replace(request, streams=(stream,)), JobKind.MAP, None)
        assert found == looked.cloud(THEIRS, stream)
    assert looked_at.look(request, JobKind.TOKENS, 4) is None
    assert looked_at.look(replace(request, without=("sinks",)), JobKind.TOKENS, 3) is None
    assert looked_at.look(replace(request, streams=(Stream.MAIN,)), JobKind.MAP, None) is None
    main = replace(request, streams=(Stream.MAIN,))
    with pytest.raises(MicroscopeError, match=r"no map of main, .* there is one of residual and of update: u"):
        looked_at.submit(main, JobKind.MAP)
    with pytest.raises(
        MicroscopeError, match=r"^This cache holds no t-SNE map of main, and none is made, for it is open read-only\.$"
    ):
        looked_at.submit(main, JobKind.TSNE)
    with pytest.raises(MicroscopeError, match="This cache holds no tokens of example 4, and"):
        looked_at.submit(request, JobKind.TOKENS, 4)


@pytest.mark.parametrize(("key", "said"), [("X", "no worst tokens, "), ("M", "no map of main, ")])
async def test_what_a_cache_does_not_hold_is_said_in_words_and_no_key_promises_it(
    looked_at: ArchiveSource, key: str, said: str
):
    app = ExplorerApp(Settings(cache=Path("/nowhere"), read_only=True), Session((THEIRS,), SLICE), looked_at)
    async with app.run_test(size=(100, 30)) as pilot:
        driven = Driven(app, pilot, looked_at)  # type: ignore[arg-type]
        await filled(driven)
        app.explorer.session = replace(
            app.explorer.session, pane=app.explorer.session.panes.index((Modality.TEXT, Stream.MAIN))
        )
        await driven.press(key)
        name = {"X": "#body", "M": "#map-0"}[key]
        await driven.until(lambda: f"This cache holds {said}" in app.screen.query_one(name, Canvas).text)
        told = app.screen.query_one(name, Canvas).text
        assert "escape goes back" in told or "esc goes back" in told
        assert "asks again" not in told


async def test_the_tokens_of_an_exported_cache_are_shown(looked_at: ArchiveSource):
    app = ExplorerApp(Settings(cache=Path("/nowhere"), read_only=True), Session((THEIRS,), SLICE), looked_at)
    async with app.run_test(size=(100, 30)) as pilot:
        driven = Driven(app, pilot, looked_at)  # type: ignore[arg-type]
        await filled(driven)
        app.explorer.example = 3
        await driven.press("T")
        await driven.until(lambda: "USER" in app.screen.query_one("#heat", Canvas).text)
        await driven.press("n")
        await driven.until(lambda: "holds no tokens of example 4" in app.screen.query_one("#heat", Canvas).text)


def test_the_pickers_offer_what_there_are_results_of(source: ArchiveSource):
    assert {entry.name for entry in source.models()} == {THEIRS, "demo:other"}
    assert [entry.name for entry in source.slices()] == [str(SLICE)]
    assert source.slices()[0].title == "2 models measured"


def test_nothing_is_measured_removed_or_steered(source: ArchiveSource, cache: Path):
    before = fingerprint(cache)
    with pytest.raises(MicroscopeError, match=r"^Not measured, for this cache is open read-only: it has nothing of it"):
        source.submit(Request("demo:llava-next", SLICE))
    with pytest.raises(MicroscopeError, match="only other rows of it"):
        source.submit(Request(THEIRS, SLICE, without=("duplicates",)))
    with pytest.raises(MicroscopeError, match=r"(?i)read-only"):
        source.submit(Request(THEIRS, SLICE), JobKind.TOKENS, 3)
    for refused in (source.cancel, source.pause, source.resume, source.retry, source.remove):
        with pytest.raises(MicroscopeError, match=r"(?i)read-only"):
            refused("x")
    for act in (lambda: source.reorder("x", 0), source.tidy):
        with pytest.raises(MicroscopeError, match=r"(?i)read-only"):
            act()
    assert source.look(Request(THEIRS, SLICE), JobKind.MAP, None) is None
    assert source.jobs() == []
    assert source.verify() == []
    assert fingerprint(cache) == before


def test_the_stock_names_what_each_value_is_and_touches_nothing(cache: Path):
    before = fingerprint(cache)
    stock = stock_of(cache, 10**9)
    assert fingerprint(cache) == before
    assert sorted(held.kind for held in stock.held) == ["result", "result", "result", "sums"]
    said = {held.what for held in stock.held}
    assert f"{THEIRS} on {SLICE}: linearity, dimension, anisotropy" in said
    assert "sums after 40 examples: a larger slice, or work that was stopped, goes on from here" in said
    assert [held.size for held in stock.held] == sorted((held.size for held in stock.held), reverse=True)


def test_each_value_is_called_by_what_people_know_it_as(tmp_path: Path):
    request, files = Request("demo:a", SLICE), stamps_of([])
    with Store(tmp_path) as store:
        store.put_measurement("key", made_up("demo:a", SLICE, Shape(layers=4)))
        store.remember(request, "key", files)
        store.put_job(Job("1", request))
        store.put_partial("1", made_up("demo:a", SLICE, Shape(layers=4), complete=False))
        store.put_blobs({"state-abc-40-x-y": b"x", "maps-abc-1": b"x"})
        store.remember_look(request, JobKind.TOKENS, 7, looked.table().to_json(), files)
        store.remember_look(request, JobKind.PREVIEW, None, looked.preview().to_json(), files)
        for kind in (JobKind.MAP, JobKind.TSNE):
            store.remember_look(request, kind, None, looked.cloud().to_json(), files)
        store.remember_look(request, JobKind.WORST, None, looked.worst().to_json(), files)
    held = {each.kind: each for each in stock_of(tmp_path, 10**9).held}
    looks = {"tokens", "examples", "map", "t-SNE map", "worst tokens"}
    assert held.keys() == {"result", "part of a run", "sums", "linear maps"} | looks
    assert held["tokens"].what == f"tokens of example 7 of demo:a on {SLICE}"
    assert (held["tokens"].model, held["tokens"].slice) == ("demo:a", str(SLICE))
    assert (held["examples"].model, held["examples"].slice) == ("", str(SLICE))
    assert held["part of a run"].what.endswith("so far")


def test_damage_is_said_and_left_where_it_is(source: ArchiveSource, cache: Path):
    blob = max((file for file in (cache / "store").rglob("*") if file.is_file()), key=lambda file: file.stat().st_size)
    value = next(file for file in (cache / "store").rglob("*.val"))
    assert blob.exists()
    value.write_bytes(b"y" * value.stat().st_size)
    before = fingerprint(cache)
    assert len(source.verify()) == 1
    assert fingerprint(cache) == before


async def test_the_explorer_starts_on_what_is_there_and_says_what_it_is(source: ArchiveSource, cache: Path):
    before = fingerprint(cache)
    settings = Settings(cache=cache, read_only=True)
    session = source.start(Session(("demo:llava-next",), SliceSpec("demo:scienceqa")), ())
    assert session.models[0] in (THEIRS, "demo:other")
    app = ExplorerApp(settings, replace(session, models=(THEIRS,)), source)
    async with app.run_test(size=(120, 40)) as pilot:
        e = Driven(app, pilot, FakeSource())
        await filled(e)
        assert "read-only" in e.bar("header")
        assert any(ord(char) > 0x2800 for char in e.pane(0))
        for key in ("D", "D", "O"):
            said = list(e.app._notifications)
            await e.press(key)
            await e.until(lambda said=said: e.notes and list(e.app._notifications) != said)  # type: ignore[misc]
            assert e.explorer.requests[0].without == ()
            assert not e.explorer.requests[0].one_tile
            assert "still" not in str(e.explorer.query_one("#pane-0").border_title)
        await e.until(lambda: "Not measured, for this cache is open read-only: it has only other rows" in e.notes)
        await e.press("S")  # which is there
        await e.until(lambda: "without sinks" in e.bar("metric"))
        await e.pilot.pause()
        assert e.explorer.requests[0].without == ("sinks",)
        await e.press("K", "escape", "j", "escape")
    source.close()
    assert fingerprint(cache) == before
    assert not (cache / "session.json").exists()


def test_the_command_shows_the_view_of_last_time_and_writes_nothing(cache: Path):
    Keeper(cache).keep(Session((THEIRS,), SLICE, Metric.ANISOTROPY, layer=2), Remembered())
    before = fingerprint(cache)
    terminal = Terminal("microscope_tui", "--read-only", "--cache", str(cache))
    try:
        shown = ("λ₁/Σλ", "read-only", "layer 2")
        terminal.until(lambda: terminal.braille > 40 and all(text in terminal.text for text in shown))
        terminal.press("1", lambda: "1 − min" in terminal.text)
        terminal.child.send("q")
        assert terminal.end() == 0
        assert terminal.is_clean()
    finally:
        terminal.close()
    assert fingerprint(cache) == before


def test_a_cache_that_cannot_be_written_is_looked_at_without_being_told_to(cache: Path):
    Keeper(cache).keep(Session((THEIRS,), SLICE, Metric.ANISOTROPY, layer=2), Remembered())
    before = fingerprint(cache)
    cache.chmod(0o500)
    try:
        with closing(Terminal("microscope_tui", "--cache", str(cache))) as terminal:
            shown = ("λ₁/Σλ", "layer 2", "is read-only: what it holds is shown")

            def said() -> str:
                return " ".join(terminal.text.replace("▌", " ").split())

            terminal.until(lambda: terminal.braille > 40 and all(text in said() for text in shown))
            terminal.press("D", lambda: "open read-only: it has only other rows" in said())
            terminal.child.send("q")
            assert terminal.end() == 0
            assert terminal.is_clean()
    finally:
        cache.chmod(0o700)
    assert fingerprint(cache) == before


def test_only_a_store_that_is_there_and_cannot_be_written_is_sealed(cache: Path, tmp_path: Path):
    empty = tmp_path / "empty"
    empty.mkdir(0o500)
    assert not is_sealed(tmp_path / "none")
    assert not is_sealed(empty)
    assert not is_sealed(cache)
    cache.chmod(0o500)
    try:
        assert is_sealed(cache)
        with pytest.raises(MicroscopeError, match="is read-only"):
            Store(cache)
    finally:
        cache.chmod(0o700)


def test_flags_win_over_the_view_of_last_time(cache: Path):
    Keeper(cache).keep(Session((THEIRS,), SLICE, Metric.ANISOTROPY), Remembered())
    terminal = Terminal("microscope_tui", "--read-only", "--cache", str(cache), "--metric", "dimension")
    try:
        terminal.until(lambda: terminal.braille > 40 and "TwoNN" in terminal.text)
    finally:
        terminal.close()


def test_what_was_asked_for_by_name_is_shown_whatever_there_is(source: ArchiveSource):
    wanted = Session(("demo:llava-next",), SliceSpec("demo:scienceqa"))
    assert source.start(wanted, ("models",)) == wanted


def test_an_empty_folder_is_an_empty_archive(tmp_path: Path):
    empty = ArchiveSource(Settings(cache=tmp_path / "none", read_only=True))
    assert empty.models() == []
    wanted = Session(("demo:llava-next",), SliceSpec("demo:scienceqa"))
    assert empty.start(wanted, ()) == wanted
    assert os.listdir(tmp_path) == []
