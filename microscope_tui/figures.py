"""Profiles as figures for a paper, and pictures of the screen: the optional extra `figures`.

Matplotlib and the rasteriser are slow to import and hold on to memory, so others run this module as a program:
`python -m microscope_tui.figures FILE` reads what to draw from its standard input, as JSON, and writes FILE as its
suffix says. Of the program's own it needs the words of `terms` only.
"""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

from microscope_tui.errors import MicroscopeError
from microscope_tui.results import Profile, unbroken
from microscope_tui.settings import how_to_install

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SECONDS: Final = 120.0

UNWRITABLE: Final = 2
"""What the program that draws ends with where the file cannot be written."""

# Okabe & Ito's colours for white paper; line styles and markers tell the series apart in print without colour.
COLOURS: Final = ("#0072b2", "#d55e00", "#882255", "#000000")
DASHES: Final[Sequence[tuple[float, ...]]] = ((), (4, 2), (5, 2, 1, 2), (1, 2))
"""Lengths of the strokes and the gaps of a line, in its widths."""
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
    return how_to_install("figures") if any(find_spec(name) is None for name in needed) else ""


def write_figure(figure: Figure, file: Path) -> None:
    """Write a figure as PDF or SVG. Blocks. Raises `MicroscopeError`."""
    _run(file, json.dumps({"figure": figure.to_json()}))


def write_png(svg: str, file: Path) -> None:
    """Write a picture of the screen, given as Textual's SVG, as PNG. Blocks. Raises `MicroscopeError`."""
    _run(file, json.dumps({"svg": svg}))


def _run(file: Path, text: str) -> None:
    """Have a program of its own write `file`, as a whole or not at all."""
    format = file.suffix.lstrip(".")
    part = file.with_name(f".{file.stem}.part{file.suffix}")
    if command := missing(format):
        raise MicroscopeError(f"A {format.upper()} needs libraries that are not installed: {command}.")
    command_line = [sys.executable, "-P", "-m", "microscope_tui.figures", str(part)]
    # -P and PYTHONPATH: found where this program was found, whatever lies in the current folder.
    found = os.pathsep.join(filter(None, (str(Path(__file__).parent.parent), os.environ.get("PYTHONPATH"))))
    environment = os.environ | {"PYTHONPATH": found}
    try:
        done = subprocess.run(
            command_line, input=text, capture_output=True, text=True, timeout=SECONDS, check=False, env=environment
        )
        if done.returncode == 0:
            part.replace(file)
    except subprocess.TimeoutExpired:
        raise MicroscopeError(
            f"{file} was not drawn within {SECONDS:.0f} s: try again when there is less to do."
        ) from None
    except OSError as error:
        raise MicroscopeError(f"{file} cannot be written ({error.strerror}): name another folder.") from error
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)
    last = (done.stderr.strip().splitlines() or ["nothing was said"])[-1]
    if done.returncode == UNWRITABLE:
        raise MicroscopeError(f"{file} cannot be written ({last}): name another folder.")
    if done.returncode < 0:
        raise MicroscopeError(f"{file} was not drawn, for its program was killed: free some memory and try again.")
    if done.returncode:
        raise MicroscopeError(f"{file} cannot be drawn, which is a defect here ({last}): save another format.")


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
        # By way of memory: over a disk that is full matplotlib stumbles in ways of its own.
        drawn.savefig(written := io.BytesIO(), format=file.suffix[1:], metadata={**metadata, **stamp})
        plt.close(drawn)
    file.write_bytes(written.getvalue())


def draw_panel(axis: Axes, panel: Panel) -> None:
    """The curves of a pane with their intervals as bands; undefined layers are gaps."""
    axis.set_title(panel.title, loc="left")
    if panel.log:
        axis.set_yscale("log")
    for track in panel.tracks:
        profile, places = track.profile, track.places
        colour, mark = COLOURS[track.number % len(COLOURS)], MARKS[track.number % len(MARKS)]
        style = (0, DASHES[track.number % len(DASHES)]) if track.number % len(DASHES) else "-"
        value, low, high = _nan(profile.value), _nan(profile.low), _nan(profile.high)
        for n, run in enumerate(unbroken((y == y for y in value), profile.stages)):
            xs, ys = [places[i] for i in run], [value[i] for i in run]
            axis.plot(xs, ys, linestyle=style, color=colour, marker=mark, label="" if n else track.label)
        for run in unbroken((a == a and b == b for a, b in zip(low, high, strict=True)), profile.stages):
            xs, below, above = [places[i] for i in run], [low[i] for i in run], [high[i] for i in run]
            axis.fill_between(xs, below, above, color=colour, alpha=0.18, linewidth=0)
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
        return UNWRITABLE
    return 0


if __name__ == "__main__":
    sys.exit(main())
