"""The explorer starts without anything heavy."""

import subprocess
import sys
import threading

import pytest

from tests.tui.driving import DEADLINE, explorer, filled
from tests.tui.fake import FakeSource, made_up

HEAVY = ("torch", "transformers", "datasets", "numpy", "PIL", "pyarrow", "pandas", "scipy", "huggingface_hub")
LATER = (
    *("microscope_tui.catalogue.listing", "microscope_tui.inspection", "microscope_tui.store", "microscope_tui.worker"),
    *("microscope_tui.tui.data.looks", "microscope_tui.tui.content.difference", "plotext", "sqlite3", "tomllib"),
)
"""What the first frame does not need."""
STARTS = {
    "the screens": "import microscope_tui.tui.app, microscope_tui.tui.screens.explorer",
    "the real source": "import microscope_tui.tui.data.live",
    "the first paint": """
import asyncio
from pathlib import Path
from microscope_tui.settings import Settings
from microscope_tui.tui.app import ExplorerApp
from tests.tui.driving import explorer, filled
from tests.tui.fake import FakeSource, made_up
async def main():
    async with explorer(FakeSource([made_up()])) as e:
        await filled(e)
        assert any(ord(char) > 0x2800 for char in e.pane(0))
asyncio.run(main())
""",
}


@pytest.mark.parametrize("start", STARTS.values(), ids=STARTS.keys())
def test_nothing_heavy_is_imported(start: str):
    code = f"{start}\nimport sys\nprint([m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"


def test_what_the_first_frame_does_not_need_is_imported_after_it():
    start = "import microscope_tui.tui.start, microscope_tui.tui.app, microscope_tui.tui.data.live, sys"
    code = f"{start}\nprint([m for m in {LATER!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=240, check=False)
    assert (done.stdout.strip(), done.stderr) == ("[]", "")


async def test_the_worker_is_asked_for_news_when_the_first_results_are_there(monkeypatch: pytest.MonkeyPatch):
    source, asked, answer = FakeSource([made_up()]), threading.Event(), threading.Event()
    recall = source.recall

    def slow(request):
        asked.set()
        answer.wait(DEADLINE)
        return recall(request)

    monkeypatch.setattr(source, "recall", slow)
    async with explorer(source) as e:
        try:
            await e.until(asked.is_set)
            assert not e.explorer.clerk.inbox.following
        finally:
            answer.set()
        await filled(e)
        await e.until(lambda: e.explorer.clerk.inbox.following)
