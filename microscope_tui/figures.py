"""Profiles as figures for a paper, and pictures of the screen: the optional extra `figures`.

Matplotlib and the rasteriser are slow to import and hold on to memory, so others run this module as a program:
`python -m microscope_tui.figures FILE` reads what to draw from its standard input, as JSON, and writes FILE as its
suffix says. Of the program's own it needs the words of `terms` only.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

from microscope_tui.errors import MicroscopeError
from microscope_tui.results import Profile

if TYPE_CHECKING:
    from matplotlib.axes import Axes

EXTRA: Final = "pip install 'microscope_tui[figures]'"

SECONDS: Final = 120.0

# Okabe & Ito's colours for white paper; line styles and markers tell the series apart in print without colour.
COLOURS: Final = ("#0072b2", "#d55e00", "#882255", "#000000")
STYLES: Final = ("-", "--", "-.", ":")
MARKS: Final = ("o", "D", "^", "s")

PANE_INCHES: Final = (3.25, 2.3)
"""Width of a pane, that of a column of a two-column paper, and its height."""

STYLE: Final[Mapping[str, Any]] = {
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "legend.fontsize": 7,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "lines.linewidth": 1.2,
    "lines.markersize": 3,
    "pdf.fonttype": 42,  # letters stay letters: publishers refuse type 3
    "ps.fonttype": 42,
    "svg.fonttype": "none",
    "svg.hashsalt": "microscope_tui",  # the same figure is the same file
}


@dataclass(frozen=True)
class Track:
    """One curve: its name, the number that gives its colour and its sign, and where its layers stand on the x axis."""

    label: str
    number: int
    places: tuple[float, ...]
    profile: Profile

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        return cls(data["label"], data["number"], tuple(data["places"]), Profile.from_json(data["profile"]))


@dataclass(frozen=True)
class Panel:
    """One pane: its title and its curves; `log` draws powers of ten."""

    title: str
    tracks: tuple[Track, ...]
    log: bool = False

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        return cls(data["title"], tuple(Track.from_json(track) for track in data["tracks"]), data["log"])


@dataclass(frozen=True)
class Figure:
    """Panes in rows of `columns`. `ylabel` is the metric, `xlabel` what the layers stand on (`layer`, `relative
    depth`), `caption` says what the numbers are of; it goes into the file's metadata."""

    panels: tuple[Panel, ...]
    columns: int
    ylabel: str
    xlabel: str = "layer"
    caption: str = ""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        panels = tuple(Panel.from_json(panel) for panel in data["panels"])
        return cls(panels, data["columns"], data["ylabel"], data["xlabel"], data["caption"])


def missing(format: str) -> str:
    """What must be installed to write this format, as a command; empty when all is there."""
    needed = {"pdf": ("matplotlib",), "svg": ("matplotlib",), "png": ("resvg_py", "matplotlib")}[format]
    return EXTRA if any(find_spec(name) is None for name in needed) else ""


def write_figure(figure: Figure, file: Path) -> None:
    """Write a figure as PDF or SVG. Blocks. Raises `MicroscopeError`."""
    _run(file, json.dumps({"figure": figure.to_json()}))


def write_png(svg: str, file: Path) -> None:
    """Write a picture of the screen, given as Textual's SVG, as PNG. Blocks. Raises `MicroscopeError`."""
    _run(file, json.dumps({"svg": svg}))


def _run(file: Path, text: str) -> None:
    format = file.suffix.lstrip(".")
    if command := missing(format):
        raise MicroscopeError(f"A {format.upper()} needs libraries that are not installed: {command}.")
    command_line = [sys.executable, "-P", "-m", "microscope_tui.figures", str(file)]
    # -P and PYTHONPATH: found where this program was found, whatever lies in the current folder.
    found = os.pathsep.join(filter(None, (str(Path(__file__).parent.parent), os.environ.get("PYTHONPATH"))))
    environment = os.environ | {"PYTHONPATH": found}
    try:
        done = subprocess.run(
            command_line, input=text, capture_output=True, text=True, timeout=SECONDS, check=False, env=environment
        )
    except subprocess.TimeoutExpired:
        raise MicroscopeError(
            f"{file} was not drawn within {SECONDS:.0f} s: try again when there is less to do."
        ) from None
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["nothing was said"])[-1]
        raise MicroscopeError(f"{file} cannot be written: {last}")


def draw(figure: Figure, file: Path) -> None:
    """Draw a figure with matplotlib, in this process."""
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot as plt
    from matplotlib.style import context

    columns = max(1, min(figure.columns, len(figure.panels)))
    rows = -(-len(figure.panels) // columns)
    with context(dict(STYLE)):
        size = (PANE_INCHES[0] * columns, PANE_INCHES[1] * rows)
        drawn, axes = plt.subplots(rows, columns, figsize=size, squeeze=False, layout="constrained")
        flat = [axis for row in axes for axis in row]
        for axis, panel in zip(flat, figure.panels, strict=False):
            draw_panel(axis, panel)
        for axis in flat[len(figure.panels) :]:
            axis.set_axis_off()
        for row in axes:
            row[0].set_ylabel(figure.ylabel)
        for axis in axes[-1]:
            axis.set_xlabel(figure.xlabel)
        metadata = {"Title": figure.ylabel, "Subject" if file.suffix == ".pdf" else "Description": figure.caption}
        stamp = {"CreationDate": None} if file.suffix == ".pdf" else {"Date": None}
        drawn.savefig(file, metadata={**metadata, **stamp})
        plt.close(drawn)


def draw_panel(axis: Axes, panel: Panel) -> None:
    """The curves of a pane with their intervals as bands; undefined layers are gaps."""
    axis.set_title(panel.title, loc="left")
    if panel.log:
        axis.set_yscale("log")
    for track in panel.tracks:
        profile, places = track.profile, track.places
        colour, style, mark = (each[track.number % len(each)] for each in (COLOURS, STYLES, MARKS))
        axis.plot(places, _nan(profile.value), style, color=colour, marker=mark, label=track.label)
        bounded = [low is not None and high is not None for low, high in zip(profile.low, profile.high, strict=True)]
        low, high = _nan(profile.low), _nan(profile.high)
        axis.fill_between(places, low, high, where=bounded, color=colour, alpha=0.18, linewidth=0)
    if len(panel.tracks) > 1:
        axis.legend(frameon=False)


def rasterise(svg: str, file: Path) -> None:
    """Write Textual's SVG of a screen as PNG in this process, in the fonts that matplotlib ships."""
    import resvg_py

    spec = find_spec("matplotlib")
    # `missing` has seen that it is there.
    fonts = Path(str(spec and spec.origin)).parent / "mpl-data" / "fonts" / "ttf"
    mono = "DejaVu Sans Mono"
    picture = resvg_py.svg_to_bytes(
        svg_string=svg,
        skip_system_fonts=True,
        font_dirs=[str(fonts)],
        font_family=mono,
        monospace_family=mono,
        sans_serif_family="DejaVu Sans",
    )
    file.write_bytes(bytes(picture))


def _nan(values: Sequence[float | None]) -> list[float]:
    return [float("nan") if value is None else value for value in values]


def main() -> int:
    file, data = Path(sys.argv[1]), json.load(sys.stdin)
    try:
        if "svg" in data:
            rasterise(data["svg"], file)
        else:
            draw(Figure.from_json(data["figure"]), file)
    except OSError as error:
        print(error.strerror or error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
