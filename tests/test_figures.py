"""Figures for papers and pictures of the screen, drawn by a program of their own."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest

from microscope_tui import figures
from microscope_tui.errors import MicroscopeError
from microscope_tui.figures import Figure, Panel, Track, write_figure, write_png
from tests.sure import sure
from tests.tui.fake import MODELS, Shape, made_up

GAPPED = made_up(shape=Shape(layers=8, gap=(2, 3))).profiles[0]
OTHER = made_up(MODELS[1], shape=Shape(layers=8, tilt=1.0)).profiles[0]
LLAVA = Track("llava", 0, tuple(map(float, GAPPED.layers)), GAPPED)
OMNI = Track("omni", 1, tuple(map(float, OTHER.layers)), OTHER)
FIGURE = Figure((Panel("text · main", (LLAVA, OMNI)), Panel("image", (OMNI,))), 2, "R²", caption="of")
SVG = (
    '<svg xmlns="http://www.w3.org/2000/svg" width="40" height="20"><rect width="40" height="20" fill="#ff0000"/></svg>'
)


def test_a_figure_goes_through_json():
    assert Figure.from_json(FIGURE.to_json()) == FIGURE


def test_a_pdf_has_the_letters_as_letters_and_is_the_same_each_time(tmp_path: Path):
    for name in ("a.pdf", "b.pdf"):
        write_figure(FIGURE, tmp_path / name)
    written = (tmp_path / "a.pdf").read_bytes()
    assert written.startswith(b"%PDF")
    assert b"/Type3" not in written
    assert b"/CIDFontType2" in written
    assert written == (tmp_path / "b.pdf").read_bytes()


def test_an_svg_names_axes_and_series_and_leaves_gaps(tmp_path: Path):
    write_figure(FIGURE, tmp_path / "a.svg")
    written = (tmp_path / "a.svg").read_text()
    assert all(f">{word}<" in written for word in ("layer", "R²", "llava", "omni", "text · main"))
    assert "#0072b2" in written
    assert "#d55e00" in written


def test_the_curve_is_that_of_the_profile():
    mpl.use("agg")
    from matplotlib import pyplot as plt

    drawn, axis = plt.subplots()
    figures.draw_panel(axis, FIGURE.panels[0])
    drawn_of = [each for each in axis.lines if each.get_color() == figures.COLOURS[0]]
    assert len(drawn_of) == 2, "there is a gap"
    known = [(layer, value) for layer, value in zip(GAPPED.layers, GAPPED.value, strict=True) if value is not None]
    drawn_at = [np.column_stack(each.get_data()) for each in drawn_of]
    assert [tuple(point) for point in np.concatenate(drawn_at)] == known
    assert [text.get_text() for text in sure(axis.get_legend()).get_texts()] == ["llava", "omni"]
    styles = {(each.get_linestyle(), each.get_marker()) for each in axis.lines}
    assert len(styles) == 2
    band = np.asarray(axis.collections[-1].get_paths()[0].vertices)
    assert band[:, 1].min() == pytest.approx(min(map(sure, OTHER.low)))
    assert band[:, 1].max() == pytest.approx(max(map(sure, OTHER.high)))
    plt.close(drawn)


def test_a_line_breaks_where_a_stage_before_the_decoder_ends():
    mpl.use("agg")
    from matplotlib import pyplot as plt

    staged = replace(OTHER, stages=("tower",) * 2 + ("",) * (len(OTHER.layers) - 2))
    drawn, axis = plt.subplots()
    figures.draw_panel(axis, Panel("p", (Track("omni", 1, tuple(map(float, staged.layers)), staged),)))
    assert [len(np.asarray(line.get_xdata())) for line in axis.lines] == [2, len(OTHER.layers) - 2]
    plt.close(drawn)


def test_a_png_has_the_pixels_of_the_svg(tmp_path: Path):
    from PIL import Image

    write_png(SVG, tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as image:
        assert image.size == (40, 20)
        assert image.convert("RGB").getpixel((20, 10)) == (255, 0, 0)


@pytest.mark.parametrize("format", ["pdf", "svg", "png"])
def test_what_is_not_installed_is_said_with_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, format: str):
    monkeypatch.setattr(figures, "find_spec", lambda name: None)
    with pytest.raises(MicroscopeError, match="pip install matplotlib resvg-py"):
        write_figure(FIGURE, tmp_path / f"a.{format}")


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path):
    with pytest.raises(MicroscopeError, match="No such file"):
        write_png(SVG, tmp_path / "none" / "a.png")


def test_a_disk_that_fills_leaves_the_file_that_was_there(tmp_path: Path):
    file = tmp_path / "a.pdf"
    write_figure(FIGURE, file)
    before = file.read_bytes()
    code = (
        "import resource, signal, sys; from pathlib import Path; from microscope_tui.errors import MicroscopeError\n"
        "from tests.test_figures import FIGURE, write_figure\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
        "try: write_figure(FIGURE, Path(sys.argv[1]))\n"
        "except MicroscopeError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(file)], capture_output=True, text=True, check=True)
    assert done.stdout == f"{file} cannot be written (File too large): name another folder.\n"
    assert file.read_bytes() == before
    assert list(tmp_path.iterdir()) == [file]


def test_a_defect_of_what_draws_is_not_put_to_the_users_account(tmp_path: Path):
    with pytest.raises(MicroscopeError, match=r"cannot be drawn, which is a defect here .*: save another format"):
        write_png("<svg", tmp_path / "a.png")
    assert list(tmp_path.iterdir()) == []


def test_nothing_slow_is_imported_by_who_asks_for_a_figure():
    code = "import sys, microscope_tui.figures; print(sorted({'matplotlib', 'numpy', 'resvg_py'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
