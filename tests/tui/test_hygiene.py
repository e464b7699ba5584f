"""The explorer starts without anything heavy."""

import subprocess
import sys

import pytest

HEAVY = ("torch", "transformers", "datasets", "numpy", "PIL", "pyarrow", "pandas", "scipy", "huggingface_hub")
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
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"
