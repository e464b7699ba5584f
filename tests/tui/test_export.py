"""What is on the screen, in every format."""

import csv
import errno
import io
import json
import os
import random
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest
from textual.widgets import Input, OptionList

from microscope_tui import figures
from microscope_tui.errors import MicroscopeError
from microscope_tui.results import Measurement, Profile
from microscope_tui.settings import Settings
from microscope_tui.terms import Metric
from microscope_tui.tui.data.desk import Desk
from microscope_tui.tui.output.export import (
    FORMATS,
    Seen,
    bare,
    file_stem,
    save,
    seen,
    to_csv,
    to_figure,
    to_json,
    value_text,
    write,
)
from microscope_tui.tui.screens.save import Save
from microscope_tui.tui.session import Session
from tests.sure import sure
from tests.tui.closer import looked_at
from tests.tui.driving import Driven, explorer, filled
from tests.tui.fake import MODELS, SLICE, FakeSource, Shape, made_up

SESSION = Session(MODELS, SLICE)
BOTH = [made_up(shape=Shape(layers=6, gap=(2,))), made_up(MODELS[1], shape=Shape(layers=6, tilt=1.0))]
SCREEN = '<svg><style>src: local("Fira"), url("https://cdn.example/a.woff2") format("woff2");</style></svg>'


def on_screen(session: Session = SESSION, measurements: list[Measurement] = BOTH) -> Seen:
    desk, requests = Desk(), session.requests(Settings(cache=Path("/nowhere")))
    for request, measurement in zip(requests, measurements, strict=True):
        desk.forget(request)
        desk.measured(request, measurement)
    found = seen(session, desk, requests)
    assert found
    return found


def test_the_page_of_a_difference_has_both_numbers_of_rows_and_the_test(tmp_path: Path):
    other = made_up(MODELS[1], shape=Shape(layers=6, tilt=1.0, n=3000))
    found = on_screen(replace(SESSION, difference=True, zoomed=True), [BOTH[0], other])
    text = save(FORMATS[2], found, SCREEN, tmp_path, "page").read_text()
    ((_, _, difference),) = found.differences
    assert "<th>n of A</th><th>n of B</th><th>n/d of A</th><th>n/d of B</th>" in text
    row = text[text.index("<tr><td>1</td>") :].partition("</tr>")[0]
    assert f"<td>4,812</td><td>3,000</td><td>{4812 / 64:.1f}</td><td>{3000 / 64:.1f}</td>" in row
    assert f"<td>{'yes' if difference.significant[1] else 'no'}</td>" in row
    assert "n = 4,812 and 3,000" in text
    assert f"tested at {difference.tested} layers (Bonferroni)" in text
    assert "<th>n</th>" not in text


def rows_of(found: Seen) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(to_csv(found))))


def test_csv_has_a_row_for_each_layer_of_each_pane():
    rows = rows_of(on_screen())
    assert len(rows) == 2 * 4 * 6
    assert {row["model"] for row in rows} == set(MODELS)
    assert {(row["modality"], row["stream"]) for row in rows} == {
        (modality, stream) for modality in ("text", "image") for stream in ("main", "residual")
    }
    profile = BOTH[0].profiles[0]
    assert [float(row["value"]) for row in rows[:2]] == list(profile_of(rows[0]).value[:2])
    assert profile.metric == rows[0]["metric"]


def profile_of(row: dict[str, str]) -> Profile:
    return next(p for p in BOTH[0].profiles if (p.method, p.modality, p.stream) == ("in-sample", "text", row["stream"]))


def test_an_undefined_value_is_empty_and_says_why():
    gap = rows_of(on_screen())[2]
    assert gap["value"] == gap["low"] == ""
    assert "too few" in gap["notes"]
    assert (gap["n"], gap["d"]) == ("4812", "64")


def test_a_zoomed_pane_is_exported_alone():
    session = replace(SESSION, models=MODELS[:1], slots=(), zoomed=True, pane=3)
    found = on_screen(session, BOTH[:1])
    assert {(row["modality"], row["stream"]) for row in rows_of(found)} == {("image", "residual")}
    assert to_figure(found).columns == 1


def test_a_difference_is_exported_as_such_and_names_both():
    rows = rows_of(on_screen(replace(SESSION, difference=True)))
    assert {row["model"] for row in rows} == {f"{MODELS[1]} − {MODELS[0]}"}
    less, more = (m.profiles[0] for m in BOTH)
    shown = next(row for row in rows if row["stream"] == less.stream and row["layer"] == "3")
    assert float(shown["value"]) == pytest.approx(sure(more.value[3]) - sure(less.value[3]))


def test_a_difference_is_exported_with_its_test_and_what_is_of_which_side():
    shapes = (Shape(layers=6, n=300), Shape(layers=6, n=900, tilt=1.0))
    one, other = (made_up(model, shape=shape) for model, shape in zip(MODELS, shapes, strict=True))
    other = replace(other, accuracy=0.5, examples=100)
    found = on_screen(replace(SESSION, difference=True), [one, other])
    row = rows_of(found)[0]
    assert (row["n_a"], row["n_b"], row["examples_a"], row["examples_b"]) == ("300", "900", "200", "100")
    assert (row["accuracy_a"], row["accuracy_b"]) == ("0.71", "0.5")
    assert not {"n", "accuracy", "examples"} & row.keys()
    by_layer = sure(found.views[0].series[0].difference)
    assert row["significant"] == str(by_layer.significant[0])
    (data,) = json.loads(to_json(found))
    assert (data["a"]["model"], data["a"]["accuracy"]) == (MODELS[0], 0.71)
    assert (data["b"]["model"], data["b"]["accuracy"]) == (MODELS[1], 0.5)
    profile = data["profiles"][0]
    assert (profile["n_a"][0], profile["n_b"][0]) == (300, 900)
    assert profile["significant"] == list(by_layer.significant)
    assert profile["tested"] == 6
    assert "n" not in profile


def test_a_small_difference_is_copied_with_its_sign_as_the_screen_writes_it():
    one, other = made_up(shape=Shape(layers=3)), made_up(MODELS[1], shape=Shape(layers=3))
    first = one.profiles[0]
    shifted = replace(first, value=tuple(sure(v) + 0.0003 for v in first.value))
    other = replace(other, profiles=tuple(shifted if p == first else p for p in other.profiles))
    found = on_screen(replace(SESSION, difference=True, layer=1), [one, other])
    assert "\tlayer 1\t+0.0003 [" in "".join(value_text(found, view) for view in found.views)


def test_the_p_of_a_difference_in_pairs_has_a_column_of_its_own():
    draw = random.Random(3)

    def paired(measurement: Measurement, shift: float) -> Measurement:
        def moved(p: Profile) -> Profile:
            each = tuple(tuple(draw.gauss(0, 0.01) for _ in range(10)) for _ in p.layers)
            values = tuple(None if v is None else v + shift for v in p.value)
            return replace(p, value=values, influence=each, shares=((0.1,) * 10,) * len(p.layers))

        return replace(
            measurement, profiles=tuple(map(moved, measurement.profiles)), provenance={"slice": "a", "folds": 10}
        )

    both = [paired(made_up(model, shape=Shape(layers=6)), shift) for model, shift in zip(MODELS, (0, 0.3), strict=True)]
    rows = rows_of(on_screen(replace(SESSION, difference=True), both))
    assert {row["paired"] for row in rows} == {"True"}
    assert all((float(row["p"]) <= 0.05) == (row["significant"] == "True") for row in rows)
    assert {row["significant"] for row in rows} == {"True"}
    assert rows[0]["facts"].startswith("differs (p ")


def test_json_holds_the_profiles_as_the_command_line_prints_them():
    data = json.loads(to_json(on_screen()))
    assert [m["model"] for m in data] == list(MODELS)
    assert len(data[0]["profiles"]) == 4
    assert all(Profile.from_json(profile) in BOTH[0].profiles for profile in data[0]["profiles"])
    assert data[0]["profiles"][0]["value"][2] is None


def test_a_figure_has_the_panes_as_they_stand():
    figure = to_figure(on_screen(replace(SESSION, depth=True)))
    assert [panel.title for panel in figure.panels] == [
        *("text · main", "text · residual"),
        *("image · main", "image · residual"),
    ]
    assert (figure.columns, figure.ylabel, figure.xlabel) == (2, "linearity (in-sample)", "relative depth")
    assert [track.label for track in figure.panels[0].tracks] == ["llava-next", "omnifusion"]


@pytest.mark.parametrize("format", FORMATS, ids=lambda format: format.ending)
def test_every_format_is_written(tmp_path: Path, format):
    picture = SCREEN if format.needs != "png" else '<svg xmlns="http://www.w3.org/2000/svg" width="4" height="4"/>'
    file = save(format, on_screen(), picture, tmp_path, "stem")
    assert file == tmp_path / f"stem{format.ending}"
    begin = {".csv": b"model,", ".json": b"[", ".html": b"<!doctype", ".pdf": b"%PDF", ".png": b"\x89PNG", ".svg": b"<"}
    assert file.read_bytes().startswith(begin[file.suffix])


def test_a_picture_of_the_screen_asks_no_server():
    assert "http" not in bare(SCREEN)
    assert 'src: local("Fira");' in bare(SCREEN)


def test_each_sign_of_a_picture_stands_in_its_own_cell():
    drawn = '<text class="r1" x="12.2" y="20" textLength="48.8" clip-path="url(#a)">⣀⠤&#160;漢</text>'
    at = '<text class="r1" x="12.2 21.96 31.72 41.48" y="20" clip-path="url(#a)">⣀⠤&#160;漢</text>'
    assert bare(drawn) == at
    letters = '<text x="0" y="20" textLength="36.6" clip-path="url(#a)">a&#160;b</text>'
    assert bare(letters) == letters


def test_names_are_safe_on_every_file_system():
    odd = Session(("/data/my models/<x>:y",), replace(SLICE, source="a/b?c*d"))
    assert file_stem(odd, datetime(2026, 1, 2, 3, 4, 5)) == "x-y-b-c-d-linearity-in-sample-20260102-030405"
    assert len(file_stem(Session(("m" * 500,), SLICE), datetime(2026, 1, 2))) < 160


def test_names_of_files_tell_slices_and_variants_apart():
    few = replace(SESSION, slice=replace(SLICE, count=60, filter="image"), methods=((Metric.LINEARITY, "held-out"),))
    name = file_stem(replace(few, without=("sinks",), rows=500, difference=True), datetime(2026, 1, 2, 3, 4, 5))
    assert name == (
        "llava-next-omnifusion-scienceqa-filter-image-count-60"
        "-linearity-held-out-without-sinks-n-500-difference-20260102-030405"
    )
    closer = replace(few, without=("sinks",), rows=500, difference=True, one_tile=True)
    assert file_stem(closer, datetime(2026, 1, 2, 3, 4, 5), "map-t-SNE") == (
        "llava-next-omnifusion-scienceqa-filter-image-count-60-map-t-SNE-without-sinks-one-tile-20260102-030405"
    )


def test_a_missing_folder_is_said(tmp_path: Path):
    with pytest.raises(MicroscopeError, match="cannot be written"):
        write(tmp_path / "missing", {"a.csv": "x"})


async def test_the_screen_saves_format_after_format(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    source = FakeSource([made_up(), made_up(MODELS[1], shape=Shape(tilt=1.0))])
    async with explorer(source, session=Session(MODELS, SLICE, layer=12)) as e:
        await filled(e)
        await e.press("e")
        assert e.here(Save)
        await e.press("enter")
        await e.until(lambda: list(tmp_path.glob("*.csv")))
        await e.until(lambda: "saved" in said(e))
        await e.press("tab")
        typed(e).value = str(tmp_path / "none")
        await e.press("enter", "down", "enter")
        await e.until(lambda: "name another folder" in said(e))
        typed(e).value = str(tmp_path)
        await e.press("enter")
        await e.until(lambda: list(tmp_path.glob("*.json")))
        await e.press(*["down"] * 4, "enter")
        await e.until(lambda: list(tmp_path.glob("*-screen.svg")))
        picture = next(tmp_path.glob("*-screen.svg")).read_text()
        assert "llava-next" in picture
        assert "Save&#160;what" not in picture
        await e.press("escape")
        assert e.app.screen is e.explorer


async def test_the_folder_named_last_is_where_the_next_files_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "figures").mkdir()
    monkeypatch.chdir(tmp_path)
    async with explorer(looked_at()) as e:
        await filled(e)
        await e.press("e", "tab")
        typed(e).value = str(tmp_path / "figures")
        await e.press("enter", "enter")
        await e.until(lambda: "saved" in said(e))
        await e.press("escape", "s")
        await e.until(lambda: list(tmp_path.glob("figures/*-screen.svg")))
        await e.press("e")
        assert typed(e).value == str(tmp_path / "figures")
        await e.press("escape", "E", "e")
        await e.until(lambda: list(tmp_path.glob("figures/*-examples-2*.json")))
        await e.press("s")
        await e.until(lambda: list(tmp_path.glob("figures/*-examples-2*-screen.svg")))
        assert [file.name for file in tmp_path.iterdir()] == ["figures"]


async def test_the_home_of_nobody_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    async with explorer(FakeSource([made_up()])) as e:
        await filled(e)
        await e.press("e", "tab")
        typed(e).value = "~nobody-of-this-name/x"
        await e.press("enter", "enter")
        await e.until(lambda: "is no folder" in said(e))


async def test_a_picture_that_cannot_be_written_is_said_and_nothing_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """The disk is full once a part of the file is written."""
    monkeypatch.chdir(tmp_path)
    write_text = Path.write_text

    def full(path: Path, text: str, encoding: str = "utf-8") -> int:
        write_text(path, text[:100], encoding)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    async with explorer(FakeSource([made_up()])) as e:
        await filled(e)
        monkeypatch.setattr(Path, "write_text", full)
        await e.press("s")
        await e.until(lambda: "No space left on device" in e.notes)
        assert list(tmp_path.iterdir()) == []
        await e.press("right")
        assert e.session.layer == 13


def test_a_file_that_cannot_be_replaced_as_a_whole_stays_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write(tmp_path, {"a.csv": "old"})
    monkeypatch.setattr(Path, "write_text", lambda *_, **__: (_ for _ in ()).throw(OSError(errno.EIO, "I/O error")))
    with pytest.raises(MicroscopeError, match="I/O error"):
        write(tmp_path, {"a.csv": "new"})
    assert (tmp_path / "a.csv").read_bytes() == b"old"


async def test_what_is_not_installed_is_listed_with_its_command(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(figures, "find_spec", lambda name: None)
    async with explorer(FakeSource([made_up()])) as e:
        await filled(e)
        await e.press("e")
        options = e.app.screen.query_one(OptionList)
        lines = {FORMATS[i].ending: str(options.get_option_at_index(i).prompt) for i in range(options.option_count)}
        need = {ending for ending, line in lines.items() if "pip install matplotlib resvg-py" in line}
        assert need == {"-figure.pdf", "-figure.svg", "-screen.png"}
        await e.press("down", "down", "down", "enter")
        await e.until(lambda: "not installed" in said(e))


async def test_there_is_nothing_to_save_before_the_first_value():
    async with explorer(FakeSource()) as e:
        await e.press("e")
        await e.until(lambda: "nothing to save" in e.notes)
        assert e.app.screen is e.explorer


def typed(e: Driven) -> Input:
    return e.app.screen.query_one(Input)


def said(e: Driven) -> str:
    return str(e.app.screen.query_one("#said").render())
