"""Makes the pictures of this folder from the real app on the shipped demo: `make screenshots`.

The worker measures in a cache of its own; then the explorer is opened at each size, driven by keys, and what
it shows is saved as SVG and PNG.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

# The pictures show the themes' own colours, whatever the terminal that they are made in can do.
os.environ["COLORTERM"] = "truecolor"
os.environ.pop("NO_COLOR", None)

from microscope_tui import figures
from microscope_tui.cli.commands import DEMO_MODEL, DEMO_RIVAL, DEMO_SLICE
from microscope_tui.settings import Settings
from microscope_tui.terms import SliceSpec
from microscope_tui.tui.app import ExplorerApp
from microscope_tui.tui.data.live import WorkerSource
from microscope_tui.tui.output.export import bare
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
        svg = bare(app.export_screenshot(title="microscope-tui"))
    (HERE / f"{shot.name}.svg").write_text(svg)
    figures.write_png(svg, HERE / f"{shot.name}.png")
    print(f"screenshots/{shot.name}.png")


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
