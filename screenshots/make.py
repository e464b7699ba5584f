"""Makes the pictures of this folder from the real app on the shipped demo: `make screenshots`.

The worker measures in a cache of its own; then the explorer is opened at each size, driven by keys, and what
it shows is saved as SVG and PNG.
"""

from __future__ import annotations

import asyncio
import importlib.util
import os
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import resvg_py

# The pictures show the themes' own colours, whatever the terminal that they are made in can do.
os.environ["COLORTERM"] = "truecolor"
os.environ.pop("NO_COLOR", None)

from microscope_tui.cli.commands import DEMO_MODEL, DEMO_RIVAL, DEMO_SLICE
from microscope_tui.settings import Settings
from microscope_tui.terms import SliceSpec
from microscope_tui.tui.app import ExplorerApp
from microscope_tui.tui.data.live import WorkerSource
from microscope_tui.tui.screens.closer import Closer
from microscope_tui.tui.session import DARK, LIGHT, Session
from microscope_tui.worker.client import Client

HERE = Path(__file__).parent
PATIENCE = 600.0
"""Seconds to wait for the worker, at most."""


@dataclass(frozen=True)
class Shot:
    """One picture: the size of the terminal, the theme, whether two models are compared, and the keys to press; what
    the first of them asks of the worker is waited for."""

    name: str
    size: tuple[int, int]
    theme: str = DARK
    compare: bool = True
    keys: tuple[str, ...] = ("right", "right")


SHOTS = (
    Shot("compare", (130, 40)),
    Shot("dark", (110, 34), compare=False),
    Shot("light", (110, 34), theme=LIGHT, keys=("3", "right")),
    Shot("80x24", (80, 24)),
    Shot("zoom", (110, 34), keys=("2", "tab", "tab", "tab", "z", "right", "right", "right")),
    Shot("tokens", (120, 40), keys=("T", "tab", "tab", "y", "y")),
    Shot("examples", (110, 34), keys=("E", "n", "n")),
)


async def take(shot: Shot, settings: Settings, source: WorkerSource) -> None:
    """Open the explorer, wait until its profiles are complete, press the keys and save the picture."""
    models = (DEMO_MODEL, DEMO_RIVAL) if shot.compare else (DEMO_MODEL,)
    app = ExplorerApp(settings, Session(models, SliceSpec.parse(DEMO_SLICE), theme=shot.theme), source)
    deadline = time.monotonic() + PATIENCE
    async with app.run_test(size=shot.size) as pilot:
        while not all(app.explorer.desk.of(request).complete for request in app.explorer.requests):
            if time.monotonic() > deadline:
                raise TimeoutError(f"{shot.name}: the worker did not finish in {PATIENCE:.0f} s")
            await pilot.pause(0.1)
        for key in shot.keys:
            await pilot.press(key)
            await pilot.pause()
            while isinstance(app.screen, Closer) and not all(app.screen.see(look).value for look in app.screen.asked):
                if time.monotonic() > deadline:
                    raise TimeoutError(f"{shot.name}: what {key} shows did not come in {PATIENCE:.0f} s")
                await pilot.pause(0.1)
        svg = app.export_screenshot(title="microscope-tui")
    (HERE / f"{shot.name}.svg").write_text(svg)
    (HERE / f"{shot.name}.png").write_bytes(png(svg))
    print(f"screenshots/{shot.name}.png")


def png(svg: str) -> bytes:
    """A Textual screenshot as PNG, in the fonts that matplotlib ships: the machine may have none."""
    spec = importlib.util.find_spec("matplotlib")
    if spec is None or spec.origin is None:
        raise SystemExit("The pictures need the fonts of matplotlib: pip install matplotlib.")
    fonts = Path(spec.origin).parent / "mpl-data" / "fonts" / "ttf"
    mono, sans = "DejaVu Sans Mono", "DejaVu Sans"
    return bytes(
        resvg_py.svg_to_bytes(
            svg_string=svg,
            skip_system_fonts=True,
            font_dirs=[str(fonts)],
            font_family=mono,
            monospace_family=mono,
            sans_serif_family=sans,
        )
    )


def main() -> int:
    with tempfile.TemporaryDirectory() as cache:
        settings = Settings.load({"cache": cache})
        source = WorkerSource(settings)
        try:
            for shot in SHOTS:
                asyncio.run(take(shot, settings, source))
        finally:
            source.close()
            Client.connect(settings.cache, start=False).stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
