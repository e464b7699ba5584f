"""The explorer over the fake source, as a program: for the tests in a real terminal."""

import resource
import sys
from dataclasses import replace

from microscope_tui.settings import Settings
from microscope_tui.terms import JobKind
from microscope_tui.tui.session import Session
from microscope_tui.tui.start import run
from tests.tui import looked
from tests.tui.fake import MODELS, SLICE, FakeSource, Shape, made_up


def source() -> FakeSource:
    """Two models of which everything that can be looked at is there."""
    measured = (made_up(), made_up(MODELS[1], shape=Shape(tilt=1.0)))
    found = FakeSource([replace(each, answers=looked.answers(every=2 + i)) for i, each in enumerate(measured)])
    for model in MODELS:
        found.looks[model, JobKind.PREVIEW, None] = looked.preview(total=200)
        for example in range(12):
            found.looks[model, JobKind.TOKENS, example] = looked.table(model, example, layers=24)
        found.looks[model, JobKind.WORST, None] = looked.worst(model, layers=24)
        for kind in (JobKind.MAP, JobKind.TSNE):
            found.looks[model, kind, None] = looked.cloud(model, layers=25)
    return found


if __name__ == "__main__":
    if "cramped" in sys.argv:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_000, 1_000))
    models = MODELS if "compare" in sys.argv else MODELS[:1]
    sys.exit(run(Settings.load({"cache": "/nowhere"}), Session(models, SLICE, layer=12), source=source()))
