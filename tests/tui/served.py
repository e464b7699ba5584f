"""The explorer over the fake source, as a program: for the tests in a real terminal."""

import sys

from microscope_tui.settings import Settings
from microscope_tui.tui.app import run
from microscope_tui.tui.session import Session
from tests.tui.fake import MODELS, SLICE, FakeSource, Shape, made_up

if __name__ == "__main__":
    models = MODELS if "compare" in sys.argv else MODELS[:1]
    source = FakeSource([made_up(), made_up(MODELS[1], shape=Shape(tilt=1.0))])
    sys.exit(run(Settings.load({"cache": "/nowhere"}), Session(models, SLICE, layer=12), source=source))
